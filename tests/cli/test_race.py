"""The race: one program for all that differ in numbers only, and the same runs as a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.cli import program
from gradtx.cli.data import Dataset, Rows
from gradtx.cli.models import Model, linear
from gradtx.cli.program import Run, evaluated
from gradtx.cli.race import Entrant, Outcome, Plan, batch_order, group, race, ticks

KEY = jax.random.key(0)


def plan(**changes) -> Plan:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(23, 3)).astype(np.float32)
    rows = Rows(x, (x @ np.array([1.0, -2.0, 0.5]) + 0.1).astype(np.float32))
    usual = {"model": linear(3), "dataset": Dataset(rows, rows, None, ""), "batch": 5, "legs": 4, "every": 3}
    return Plan(**(usual | {"seeds": 2} | changes))


def by_hand(tx, plan: Plan, seed: int) -> tuple[list[float], Run]:
    """One run in a plain loop."""
    train = plan.dataset.train
    params = plan.model.init(np.random.default_rng([plan.seed, seed]))
    state = tx.init(params)
    losses = [plan.model.loss(params, train.x, train.y)]
    batches = batch_order(plan)[:, seed].reshape(plan.legs, plan.every, plan.batch)
    for leg in batches:
        for rows in leg:
            loss = lambda params, rows=rows: plan.model.loss(params, train.x[rows], train.y[rows])  # noqa: E731
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss)
            params = gradtx.apply_updates(params, updates)
        losses.append(plan.model.loss(evaluated(Run(params, state, KEY)), train.x, train.y))
    return losses, Run(params, state, KEY)


def descend_by_value():
    """A step as long as the loss, against the gradient."""

    def update(updates, state, params=None, *, value, grad):
        return jax.tree.map(lambda g: -0.1 * value * g, grad), state

    return gradtx.from_functions(lambda params: (), update)


def note_key():
    """Stands still, and remembers a number drawn with the last key."""

    def update(updates, state, params=None, *, key):
        return jax.tree.map(jnp.zeros_like, updates), jax.random.uniform(key)

    return gradtx.from_functions(lambda params: jnp.zeros(()), update)


def test_every_step_of_every_run_has_a_key_of_its_own():
    model, rows, tx = linear(3), plan().dataset.train, note_key()
    starts = jax.tree.map(lambda *x: np.stack(x), *(model.init(np.random.default_rng(i)) for i in range(2)))
    over = program.mapping(True)
    txs = program.stack([tx])
    train, runs, seen = jax.jit(program.training(model, over)), program.start(over, txs, 1, starts, 0), []
    for _ in range(3):
        runs, _ = train(txs, runs, np.zeros((2, 1, 1, 5), np.int32), rows, rows)
        seen += np.asarray(runs.state).ravel().tolist()
    assert len(set(seen)) == 6


@pytest.mark.parametrize("vectorised", [True, False])
def test_a_race_is_the_runs_one_by_one(vectorised):
    txs = [gradtx.adam(0.1), gradtx.adam(0.01, b1=0.5), gradtx.lookahead(gradtx.sgd(0.1), sync_period=4)]
    txs += [gradtx.chain(gradtx.heun(0.1), gradtx.scale_by_learning_rate(0.1)), descend_by_value()]
    entrants = [Entrant(repr(tx), tx) for tx in txs]
    told: list[tuple[str, int]] = []
    run = plan(vectorised=vectorised)
    finished: list[list[Outcome]] = []
    outcomes = race(entrants, run, lambda *what: told.append(what), finish=finished.append)
    assert [outcome.entrant for outcome in outcomes] == entrants
    assert [[entrants.index(o.entrant) for o in program] for program in finished] == [[0, 1], [2], [3], [4]]
    assert sum(done for _, done in told) == ticks(entrants, run)
    for tx, outcome in zip(txs, outcomes, strict=True):
        assert outcome.steps.tolist() == [0, 3, 6, 9, 12]
        for seed in range(2):
            np.testing.assert_allclose(outcome.losses[seed], by_hand(tx, run, seed)[0], rtol=2e-5)


def test_lookahead_is_judged_by_its_slow_weights():
    tx = gradtx.lookahead(gradtx.sgd(0.1), sync_period=100)
    outcome = race([Entrant("slow", tx)], plan(), lambda *_: None)[0]
    np.testing.assert_allclose(outcome.losses, np.broadcast_to(outcome.losses[:, :1], outcome.losses.shape), rtol=1e-6)


def test_schedule_free_learning_is_judged_by_its_average():
    tx = gradtx.schedule_free_sgd(0.1, b1=0.5)
    outcome = race([Entrant("average", tx)], plan(), lambda *_: None)[0]
    for seed in range(2):
        losses, run = by_hand(tx, plan(), seed)
        np.testing.assert_allclose(outcome.losses[seed], losses, rtol=2e-5)
        average = gradtx.schedule_free_eval_params(run.state, run.params)
        jax.tree.map(np.testing.assert_array_equal, evaluated(run), average)


def test_the_accuracy_is_that_of_the_average():
    rows = Rows(np.eye(3, dtype=np.float32), np.arange(3))
    model = Model(
        lambda rng: {"w": np.zeros(3, np.float32)},
        lambda params, x, y: jnp.sum((params["w"] - 1) ** 2),
        lambda params, x, y: params["w"][0],
    )
    tx = gradtx.schedule_free_sgd(0.1, b1=0.5)
    run = plan(model=model, dataset=Dataset(rows, rows, rows, ""), batch=3)
    outcome = race([Entrant("average", tx)], run, lambda *_: None)[0]
    w = by_hand(tx, run, 0)[1]
    average = gradtx.schedule_free_eval_params(w.state, w.params)["w"][0]
    np.testing.assert_allclose(outcome.accuracy, np.full(2, average), rtol=1e-5)
    assert abs(average - w.params["w"][0]) > 1e-3


def test_a_plateau_observes_the_loss_after_each_leg():
    falling = gradtx.sgd(gradtx.plateau_schedule(0.0, factor=0.5, patience=1) + 1e-30)
    stuck = gradtx.chain(gradtx.sgd(0.0), gradtx.reduce_on_plateau(factor=0.5, patience=2))
    rates = gradtx.sgd(gradtx.plateau_schedule(1e-12, factor=0.5, patience=2))
    outcomes = race([Entrant(repr(tx), tx) for tx in (falling, stuck, rates)], plan(legs=6), lambda *_: None)
    seen = outcomes[2].hyperparams["learning_rate"]
    np.testing.assert_allclose(seen, np.broadcast_to(1e-12 * np.array([1, 1, 1, 0.5, 0.5, 0.25]), (2, 6)), rtol=1e-6)


def whiten():
    """A step that decomposes a matrix."""

    def update(updates, state, params=None):
        return jax.tree.map(lambda g: -0.1 * jnp.linalg.qr(g[:, None])[0][:, 0] if g.ndim else g, updates), state

    return gradtx.from_functions(lambda params: (), update)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere, programs have other names for it")
def test_runs_that_decompose_matrices_go_one_after_another(monkeypatch):
    asked: list[bool] = []
    mapping = program.mapping
    monkeypatch.setattr(program, "mapping", lambda vectorised: asked.append(vectorised) or mapping(vectorised))
    outcomes = race([Entrant("qr", whiten()), Entrant("sgd", gradtx.sgd(0.1))], plan(), lambda *_: None)
    assert asked.count(False) == 1
    np.testing.assert_allclose(outcomes[0].losses[1], by_hand(whiten(), plan(), 1)[0], rtol=2e-5)


def test_several_programs_at_once_give_the_same():
    entrants = [Entrant("a", gradtx.sgd(0.1)), Entrant("b", gradtx.adam(0.1))]
    for one, other in zip(*(race(entrants, plan(), lambda *_: None, workers) for workers in (1, 2)), strict=True):
        assert np.array_equal(one.losses, other.losses)


def test_what_goes_wrong_in_a_worker_comes_out():
    broken = gradtx.masked(gradtx.sgd(0.1), {"nothing": True})
    with pytest.raises(gradtx.errors.TreeMismatchError):
        race([Entrant("a", broken), Entrant("b", gradtx.sgd(0.1))], plan(), lambda *_: None, workers=2)


def test_entrants_that_differ_in_numbers_share_a_program():
    txs = [gradtx.adam(1), gradtx.sgd(0.1), gradtx.adam(0.5, b2=0.9), gradtx.adam(0.1, nesterov=True)]
    entrants = [Entrant(repr(tx), tx) for tx in txs]
    assert [[entrants.index(member) for member in members] for members in group(entrants)] == [[0, 2], [1], [3]]


def test_each_epoch_sees_each_row_at_most_once():
    run = plan(legs=8, every=1, seeds=3)
    order = batch_order(run).swapaxes(0, 1).reshape(3, 2, 4 * 5)
    for epoch in order.reshape(6, 20):
        assert len(set(epoch)) == 20
    assert len({tuple(epoch) for epoch in order.reshape(6, 20)}) == 6


def test_steps_to_a_target_and_divergence():
    losses = np.array([[3.0, 2.0, 1.0], [3.0, np.nan, np.inf], [1.0, 5.0, 4.0]])
    outcome = Outcome(Entrant("x", gradtx.sgd(1.0)), np.array([0, 10, 20]), losses, {}, None, 0.0)
    assert outcome.steps_to(2.0).tolist() == [10, np.inf, 0]
    assert outcome.final.tolist() == [1.0, np.inf, 4.0]


def test_calls_divide_the_legs():
    assert [plan(legs=legs).calls for legs in (1, 7, 20, 60, 61)] == [1, 7, 20, 20, 1]


def test_params_of_a_run_without_lookahead_are_its_own():
    params = {"w": jnp.ones(2)}
    assert evaluated(Run(params, gradtx.adam(0.1).init(params), KEY)) is params
