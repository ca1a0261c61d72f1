import functools
import itertools
import json
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtx
from gradtx import errors
from gradtx.gradients.plateau import reduce_on_plateau
from gradtx.schedules import PlateauState, cosine_decay_schedule, observe, plateau_schedule

from .checks import drawn, x64


def plain(metrics, init=1.0, factor=0.1, patience=10, rtol=1e-4, atol=0.0, cooldown=0, size=1, floor=0.0, mode="min"):
    """The value after each metric, in plain Python."""
    value, best, bad, cool, waiting, values = init, None, 0, 0, [], []
    for metric in metrics:
        waiting.append(metric)
        if len(waiting) >= size:
            observed, waiting = sum(waiting) / len(waiting), []
            margin = 0 if best is None or math.isinf(best) else rtol * abs(best) + atol
            if math.isnan(observed):
                improved = False
            elif best is None:
                improved = observed != (math.inf if mode == "min" else -math.inf)
            else:
                improved = observed < best - margin if mode == "min" else observed > best + margin
            if improved:
                best, bad = observed, 0
            elif cool == 0:
                bad += 1
            if cool > 0:
                bad, cool = 0, cool - 1
            elif bad >= max(patience, 1):
                value, bad, cool = max(value * factor, floor), 0, cooldown
        values.append(value)
    return values


@jax.jit
def follow(made, metrics):
    """The value after each metric, and the last state."""

    def step(state, metric):
        state = made.update(state, value=metric)
        return state, made(state)

    return jax.lax.scan(step, made.init(), metrics)


def first_drops(values):
    """The numbers, from 1, of the observations after which the value fell."""
    return [i for i, (a, b) in enumerate(itertools.pairwise(values), start=2) if b < a]


# --- the rule ---------------------------------------------------------------------------------------------------------

# Multiples of powers of two: sums, averages of 1, 2 or 4 and margins are exact in float32, so no tie is ambiguous.
metrics = st.lists(
    st.integers(-8, 8).map(lambda n: n / 4) | st.sampled_from([math.nan, math.inf, -math.inf]), min_size=24, max_size=24
)


@drawn
@given(
    metrics,
    st.integers(0, 4),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.sampled_from([0.0, 0.25]),
    st.integers(0, 3),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([0.0, 0.125]),
    st.sampled_from(["min", "max"]),
)
def test_equal_to_the_rule_in_plain_python(metrics, patience, rtol, atol, cooldown, size, floor, mode):
    arguments = (0.5, patience, rtol, atol, cooldown, size, floor, mode)
    expected = plain(metrics, 1.0, *arguments)
    _, values = follow(plateau_schedule(1.0, *arguments), jnp.array(metrics))
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("patience", "cooldown", "drops"),
    [
        (2, 0, [3, 5, 7, 9, 11, 13]),
        (2, 1, [3, 6, 9, 12]),
        (2, 3, [3, 8, 13]),
        (1, 0, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
        (0, 0, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
        (1, 1, [2, 4, 6, 8, 10, 12]),
        (10, 0, [11]),
        (2.5, 0, [4, 7, 10, 13]),
    ],
)
def test_a_constant_metric_reduces_at(patience, cooldown, drops):
    made = plateau_schedule(1.0, 0.5, patience, cooldown=cooldown)
    for metric in (1.0, 0.0, -1.0):
        _, values = follow(made, jnp.full(13, metric))
        assert first_drops(values.tolist()) == drops


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=24, max_size=24),
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([1, 3]),
)
def test_equal_to_optax_for_positive_metrics(losses, patience, cooldown, size):
    arguments = {"factor": 0.5, "patience": patience, "cooldown": cooldown, "accumulation_size": size}
    _, ours = follow(plateau_schedule(1.0, **arguments), jnp.array(losses, float))
    theirs = optax.contrib.reduce_on_plateau(**arguments)
    state, expected = theirs.init(jnp.ones(())), []
    update = jax.jit(lambda state, value: theirs.update(jnp.ones(()), state, value=value))
    for loss in losses:
        scale, state = update(state, float(loss))
        expected.append(scale)
    np.testing.assert_array_equal(ours, expected)


def test_an_improvement_is_measured_against_the_magnitude_of_the_best():
    def drops(metrics, **arguments):
        _, values = follow(plateau_schedule(1.0, 0.5, 1, **arguments), jnp.array(metrics, float))
        return first_drops(values.tolist())

    rtol = {"rtol": 0.1}
    assert drops([-10, -10.9, -11.1, -12.1], **rtol) == [2, 4]
    assert drops([10, 9.1, 8.9, 8.1], **rtol) == [2, 4]
    assert drops([10, 10.9, 11.1, 12.1], mode="max", **rtol) == [2, 4]
    assert drops([-10, -9.1, -8.9, -8.1], mode="max", **rtol) == [2, 4]
    assert drops([0.0, -0.4, -0.6], rtol=0.0, atol=0.5) == [2]
    assert drops([0.0, 0.4, 0.6], rtol=0.0, atol=0.5, mode="max") == [2]


def test_the_best_is_updated_during_the_cooldown():
    made = plateau_schedule(1.0, 0.5, patience=2, cooldown=2)
    state, values = follow(made, jnp.array([5.0, 5, 5, 1, 6, 4, 4]))
    assert state.best_value == 1
    assert first_drops(values.tolist()) == [3, 7]


def test_nan_is_no_improvement_and_spoils_one_average_only():
    made = plateau_schedule(1.0, 0.5, patience=2)
    for mode in ("min", "max"):
        state, values = follow(made.replace(mode=mode), jnp.array([math.nan, math.nan, math.nan]))
        assert first_drops(values.tolist()) == [2]
        assert state.best_value == (math.inf if mode == "min" else -math.inf)
    averaging = made.replace(accumulation_size=2, patience=1)
    state, values = follow(averaging, jnp.array([3.0, math.nan, 3.0, 1.0, 1.0, 2.0]))
    assert state.best_value == 1.5
    assert values.tolist() == [1, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_values_are_averaged_before_they_are_judged():
    made = plateau_schedule(1.0, 0.5, patience=1, accumulation_size=3)
    state, values = follow(made, jnp.array([9.0, 0, 0, 1, 1, 9, 2, 2]))
    assert first_drops(values.tolist()) == [6]
    assert (state.best_value, state.count, state.total) == (3, 2, 4)


def test_the_value_stops_at_the_minimum():
    made = plateau_schedule(1.0, 0.1, patience=1, min_value=0.05)
    state, values = follow(made, jnp.ones(5))
    np.testing.assert_allclose(values, [1, 0.1, 0.05, 0.05, 0.05], rtol=1e-6)
    # Nothing is reduced further below it, so a minimum lowered later is not jumped to.
    np.testing.assert_allclose(state.scale, 0.01, rtol=1e-6)


def test_the_scale_stops_at_the_minimum():
    tx = reduce_on_plateau(0.1, patience=1, min_scale=0.05)
    state, scales = tx.init(jnp.ones(())), []
    for _ in range(4):
        scale, state = tx.update(jnp.ones(()), state, value=1.0)
        scales.append(float(scale))
    np.testing.assert_allclose(scales, [1, 0.1, 0.05, 0.05], rtol=1e-6)


# --- the state --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [plateau_schedule(1, 0.5, 2, cooldown=1), plateau_schedule(1.0, 0.5, 2.0, mode="max")])
def test_the_structure_of_the_state_is_fixed(made):
    def signature(state):
        return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state)

    def check(dtype):
        first = made.init()
        kinds = {(x.shape, str(x.dtype), x.weak_type) for x in jax.tree.leaves(first)}
        assert kinds == {((), dtype, False), ((), "int32", False)}
        for value in (None, 1, np.float64(1), jnp.bfloat16(1), jnp.int32(1), jnp.float32(1)):
            assert signature(made.update(first, value=value)) == signature(first)
            traced = jax.eval_shape(functools.partial(made.update, value=value), first)
            assert signature(traced) == signature(first)
        assert signature(observe(first, value=1)) == signature(first)

    check("float32")
    with x64():
        check("float64")


def test_an_update_without_value_changes_nothing():
    made = plateau_schedule(1.0, 0.5, 1)
    state, _ = follow(made, jnp.array([1.0, 2.0, 0.5]))
    for other in (made.update(state), made.update(state, value=None, grad=1), jax.jit(made.update)(state)):
        jax.tree.map(np.testing.assert_array_equal, other, state)


def test_the_state_shares_no_buffer_with_the_arguments():
    made = plateau_schedule(jnp.float32(1), jnp.float32(0.5), jnp.float32(1))
    leaves = [*jax.tree.leaves(made.init()), made.init_value, made.factor, made.patience]
    assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)


def test_nothing_is_nan_on_the_way():
    with jax.debug_nans(True):
        for mode, expected in (("min", 0.125), ("max", 0.25)):
            made = plateau_schedule(0.5, 0.5, 1, rtol=0.0, mode=mode)
            state = made.init()
            for metric in (1.0, 2.0, 1.0):
                state = made.update(state, value=metric)
            assert made(state) == expected


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        plateau_schedule(0.1),
        plateau_schedule(0.1, 0.5, 3, 1e-3, 0.1, 2, 4, 1e-3, "max"),
        reduce_on_plateau(),
        reduce_on_plateau(0.5, 3, 1e-3, 0.1, 2, 4, 1e-3, "max"),
        0.5 * plateau_schedule(0.1) * cosine_decay_schedule(1.0, 10),
    ],
    ids=repr,
)
def test_text_config_and_pickle_round_trip(made):
    assert gradtx.parse(repr(made)) == made
    assert gradtx.from_config(json.loads(json.dumps(gradtx.to_config(made)))) == made
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301


def test_a_sweep_equals_separate_schedules():
    losses = jnp.array([3.0, 2, 2, 2, 1, 1, 1, 1])
    settings = [(1.0, 0.5, 1), (2.0, 0.1, 2), (1.0, 0.9, 3)]
    swept = plateau_schedule(*(jnp.array(column, float) for column in zip(*settings, strict=True)))
    axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, swept)
    _, together = jax.vmap(follow, in_axes=(axes, None))(swept, losses)
    for row, arguments in zip(together, settings, strict=True):
        np.testing.assert_array_equal(row, follow(plateau_schedule(*arguments), losses)[1])


def test_derivatives():
    def last(made):
        return follow(made, jnp.array([1.0, 1, 1, 0.5]))[1][-1]

    slope = jax.grad(last)(plateau_schedule(2.0, 0.5, 1.0, accumulation_size=1.0, cooldown=0.0))
    assert slope.init_value == 0.25
    assert slope.factor == 2 * 2.0 * 0.5
    assert all(np.isfinite(x) for x in jax.tree.leaves(slope))


def test_arguments_may_change_from_step_to_step():
    factor = gradtx.custom_schedule(lambda n: jnp.where(n < 2, 0.5, 0.1))
    tx = reduce_on_plateau(factor, patience=1)
    state, scales = tx.init(jnp.ones(())), []
    for loss in (1.0, 1.0, 1.0):
        scale, state = tx.update(jnp.ones(()), state, value=loss)
        scales.append(float(scale))
    np.testing.assert_allclose(scales, [1, 0.5, 0.05], rtol=1e-6)
    np.testing.assert_allclose(gradtx.tree.get_field(state, "settings").factor, 0.1, rtol=1e-6)


def test_arguments_are_tunable_and_the_state_follows():
    tx = gradtx.tunable(gradtx.scale_by_learning_rate(plateau_schedule(1.0, 0.5, patience=1), flip_sign=False))
    state = tx.init(jnp.ones(()))

    @jax.jit
    def update(state, value=None):
        return tx.update(jnp.ones(()), state, value=value)

    for loss, expected in ((1.0, 1.0), (1.0, 0.5)):
        rate, state = update(state, loss)
        assert rate == expected
    state = gradtx.set_hyperparams(state, init_value=4.0, patience=2.0)
    rate, state = update(state)
    assert rate == 2
    for loss, expected in ((1.0, 2.0), (1.0, 1.0)):
        rate, state = update(state, loss)
        assert rate == expected


# --- two faces --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
def test_both_faces_give_the_same_updates(mode):
    arguments = {"factor": 0.5, "patience": 2, "cooldown": 1, "accumulation_size": 2, "mode": mode}
    as_schedule = gradtx.scale_by_learning_rate(plateau_schedule(0.5, **arguments))
    as_transformation = gradtx.chain(gradtx.scale_by_learning_rate(0.5), reduce_on_plateau(**arguments))
    losses = np.random.default_rng(0).integers(0, 5, 40).astype(np.float32)
    grads = {"w": jnp.array([1.0, -2.0]), "b": None, "h": jnp.ones(2, jnp.bfloat16)}

    def run(tx):
        def step(state, loss):
            updates, state = tx.update(grads, state, value=loss)
            return state, updates

        return jax.jit(functools.partial(jax.lax.scan, step))(tx.init(grads), losses)

    (one, first), (two, second) = run(as_schedule), run(as_transformation)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert len(np.unique(np.asarray(first["w"][:, 0]))) > 3
    assert one.schedules["learning_rate"].scale == two[1].value
    assert first["h"].dtype == jnp.bfloat16


def test_the_observation_comes_before_the_scale_is_used():
    tx = reduce_on_plateau(0.5, patience=1)
    state = tx.init(jnp.ones(()))
    _, state = tx.update(jnp.ones(()), state, value=1.0)
    update, _ = tx.update(jnp.ones(()), state, value=1.0)
    assert update == 0.5


def test_the_scale_is_in_force_without_value():
    tx = reduce_on_plateau(0.5, patience=1)
    state = observe(observe(tx.init(jnp.ones(())), value=1.0), value=1.0)
    update, after = tx.update(jnp.ones(()), state)
    assert update == 0.5
    jax.tree.map(np.testing.assert_array_equal, after, state)


# --- observe ----------------------------------------------------------------------------------------------------------


def test_observe_finds_every_plateau_in_a_nested_state():
    params = {"w": jnp.ones(2), "b": jnp.ones(())}
    tx = gradtx.chain(
        gradtx.partition(
            {"slow": gradtx.adam(plateau_schedule(0.5, 0.5, 1)), "fast": gradtx.sgd(1.0)}, {"w": "slow", "b": "fast"}
        ),
        gradtx.masked(reduce_on_plateau(0.1, 1), {"w": True, "b": False}),
        reduce_on_plateau(factor=cosine_decay_schedule(0.5, 10), patience=1),
        optax.chain(optax.identity(), reduce_on_plateau(0.25, 2)),
    )
    state = tx.init(params)
    advance = jax.jit(observe)
    for loss in (1.0, 2.0):
        before, state = state, advance(state, value=loss)
    assert jax.tree.structure(before) == jax.tree.structure(state)
    plateaus = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, PlateauState))
    values = [float(x.value) for x in plateaus if isinstance(x, PlateauState)]
    np.testing.assert_allclose(values, [0.25, 0.1, 0.5, 1], rtol=1e-6)
    rates = gradtx.get_hyperparams(state)
    assert [float(rate) for name, rate in rates.items() if name.endswith("learning_rate")] == [0.25]
    updates, _ = jax.jit(tx.update)(params, state, params)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(updates))


def test_observe_once_an_epoch_equals_value_in_an_update():
    tx = gradtx.sgd(plateau_schedule(0.5, 0.5, 1))
    by_value = by_observe = tx.init(jnp.ones(()))
    for loss in (2.0, 3.0, 1.0, 1.0):
        one, by_value = tx.update(jnp.ones(()), by_value, value=loss)
        by_observe = observe(by_observe, value=loss)
        two, by_observe = tx.update(jnp.ones(()), by_observe)
        assert one == two
    jax.tree.map(np.testing.assert_array_equal, by_value, by_observe)


def test_a_combination_follows_at_the_next_update():
    tx = gradtx.sgd(plateau_schedule(1.0, 0.5, 1) * gradtx.constant_schedule(0.5))
    state = tx.init(jnp.ones(()))
    for loss in (1.0, 1.0):
        state = observe(state, value=loss)
    assert gradtx.get_hyperparams(state)["learning_rate"] == 0.5
    update, state = tx.update(jnp.ones(()), state)
    assert update == -0.25
    assert gradtx.get_hyperparams(state)["learning_rate"] == 0.25


def test_observe_uses_the_arguments_of_the_last_update():
    tx = reduce_on_plateau(gradtx.custom_schedule(lambda n: jnp.where(n < 1, 0.5, 0.1)), patience=1)
    state = tx.init(jnp.ones(()))
    for _ in range(2):
        _, state = tx.update(jnp.ones(()), state)
    for loss in (1.0, 1.0):
        state = observe(state, value=loss)
    np.testing.assert_allclose(gradtx.tree.get_field(state, "value"), 0.1, rtol=1e-6)


# --- errors -----------------------------------------------------------------------------------------------------------


def message(call):
    with pytest.raises((errors.ArgumentValueError, errors.ArgumentTypeError)) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("factor", [0.0, 1.0, 1.5, -0.1])
def test_the_factor_lies_between_0_and_1(factor):
    assert message(lambda: plateau_schedule(1.0, factor)).startswith(
        f"gradtx.plateau_schedule: expected factor in (0, 1), got {factor}"
    )
    assert message(lambda: reduce_on_plateau(factor)).startswith(
        f"gradtx.reduce_on_plateau: expected factor in (0, 1), got {factor}"
    )


def test_argument_errors():
    assert message(lambda: plateau_schedule(1.0, accumulation_size=0)) == (
        "gradtx.plateau_schedule: expected accumulation_size in [1, inf), got 0"
    )
    assert message(lambda: plateau_schedule(0.1, min_value=0.2)) == (
        "gradtx.plateau_schedule: expected min_value to be at most init_value, got 0.2 > 0.1; a plateau only reduces"
    )
    assert message(lambda: reduce_on_plateau(mode="auto")) == (
        "gradtx.reduce_on_plateau: expected mode to be one of 'min', 'max', got 'auto'"
    )


def test_the_metric_is_a_real_scalar():
    state = plateau_schedule(1.0).init()
    assert message(lambda: observe(state, value=jnp.ones(3))) == (
        "gradtx.observe: expected value to be a scalar, got shape [3]; reduce it first: value=loss.mean()"
    )
    assert message(lambda: observe(state, value="1.0")) == (
        "gradtx.observe: expected value to be a real number, got '1.0' (str); pass the loss or the metric"
    )
    assert message(lambda: observe(state, value=None)).startswith("gradtx.observe: expected value to be a real number")
    assert message(lambda: observe(state, value=jnp.complex64(1))).startswith(
        "gradtx.observe: expected value to be a real number"
    )
    for tx in (reduce_on_plateau(), gradtx.sgd(plateau_schedule(1.0))):
        state = tx.init(jnp.ones(2))
        text = message(lambda: tx.update(jnp.ones(2), state, value=jnp.ones(1)))  # noqa: B023
        assert text.startswith("gradtx.")
        assert "expected value to be a scalar, got shape [1]" in text


def test_a_state_without_plateau_is_an_error():
    state = gradtx.adam(1e-3).init(jnp.ones(2))
    assert message(lambda: observe(state, value=1.0)) == (
        "gradtx.observe: expected a state with a plateau in it, got a tuple of 2; "
        "use plateau_schedule(...) for a hyperparameter, or reduce_on_plateau(...) in the chain"
    )


def test_a_plateau_observes_the_extra_it_is_told_to():
    s = gradtx.plateau_schedule(0.5, factor=0.5, patience=1, monitor="validation_loss")
    state = s.init()
    for loss in (1.0, 2.0):
        state = s.update(state, value=loss)
    assert float(s(state)) == 0.5
    for loss in (1.0, 2.0):
        state = s.update(state, value=0.0, validation_loss=loss)
    assert float(s(state)) == 0.25
    assert gradtx.parse(repr(s)) == s


def test_reduce_on_plateau_observes_the_extra_it_is_told_to():
    tx = gradtx.reduce_on_plateau(factor=0.5, patience=1, monitor="accuracy", mode="max")
    state = tx.init(jnp.zeros(1))
    for accuracy in (0.5, 0.4):
        updates, state = tx.update(jnp.ones(1), state, value=1.0, accuracy=accuracy)
    assert float(updates[0]) == 0.5
    assert float(gradtx.observe(state, value=0.3).scale) == 0.25
