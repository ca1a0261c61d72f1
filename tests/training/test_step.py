"""The training step: what it hands on, what it reports, parts of a batch, keys, donation, bad input."""

import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import build_step
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError
from tests.effort import on_devices


def network(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def loss_fn(params, batch):
    return jnp.mean((network(params, batch["x"]) - batch["y"]) ** 2)


def start():
    keys = jax.random.split(jax.random.key(0), 2)
    return {"w": jax.random.normal(keys[0], (3, 5)), "v": jax.random.normal(keys[1], (5,))}


def batch_of(seed, examples=8):
    keys = jax.random.split(jax.random.key(100 + seed), 2)
    return {"x": jax.random.normal(keys[0], (examples, 3)), "y": jax.random.normal(keys[1], (examples,))}


def train(tx, loss=loss_fn, batches=None, params=None, **options):
    step = build_step(loss, tx, **options)
    params = start() if params is None else params
    state, reports = tx.init(params), []
    for batch in batches or [batch_of(i) for i in range(4)]:
        params, state, metrics = step(params, state, batch)
        reports.append(metrics)
    return params, state, reports


def spy(seen):
    """A transformation that notes the extras it gets, and descends."""

    def update(updates, state, params=None, **extra):
        seen.update(extra, updates=updates)
        return jax.tree.map(lambda g: -0.1 * g, updates), state

    return gradtx.from_functions(lambda params: (), update)


def test_a_step_is_what_one_would_write():
    tx = gradtx.chain(gradtx.clip_by_global_norm(0.5), gradtx.adamw(gradtx.cosine_decay_schedule(0.1, 10)))
    params, state = start(), tx.init(start())
    for i in range(4):
        value, grads = jax.value_and_grad(loss_fn)(params, batch_of(i))
        updates, state = tx.update(grads, state, params, value=value)
        params = gradtx.apply_updates(params, updates)
    got, got_state, reports = train(tx)
    chex.assert_trees_all_close((got, got_state), (params, state), rtol=1e-4, atol=1e-6)
    report = reports[-1]
    chex.assert_trees_all_close(
        (report.loss, report.grad_norm, report.update_norm),
        (value, gradtx.tree.global_norm(grads), gradtx.tree.global_norm(updates)),
        rtol=1e-4,
    )
    assert report.aux is None
    chex.assert_trees_all_close(report.hyperparams, gradtx.get_hyperparams(state), rtol=1e-6)
    assert [round(float(r.hyperparams["learning_rate"]), 4) for r in reports[:2]] == [0.1, 0.0976]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_standard_extra_is_of_this_batch(accumulate):
    def update(updates, state, params=None, **extra):
        shifted = jax.tree.map(lambda p: p + 1, params)
        value, grads = extra["value_and_grad_fn"](shifted)
        seen = {
            "value": extra["value"],
            "grad": extra["grad"],
            "value_fn": extra["value_fn"](shifted),
            "grad_fn": extra["grad_fn"](shifted),
            "value_and_grad_fn": (value, grads),
            "validation_loss": extra["validation_loss"],
        }
        return updates, seen

    params, batch = start(), batch_of(0)
    step = build_step(loss_fn, gradtx.from_functions(lambda p: (), update), accumulate=accumulate, donate=False)
    _, seen, _ = step(params, (), batch, validation_loss=0.5)
    here, there = (jax.value_and_grad(loss_fn)(p, batch) for p in (params, jax.tree.map(lambda p: p + 1, params)))
    expected = {
        "value": here[0],
        "grad": here[1],
        "value_fn": there[0],
        "grad_fn": there[1],
        "value_and_grad_fn": there,
        "validation_loss": 0.5,
    }
    chex.assert_trees_all_close(seen, expected, rtol=1e-4, atol=1e-6)


OPTIMIZERS = {
    "adam": gradtx.adam(0.1),
    "heun": gradtx.chain(gradtx.heun(0.1), gradtx.scale_by_learning_rate(0.1)),
    "extragradient": gradtx.extragradient(gradtx.sgd(0.1)),
    "partition": gradtx.partition({"w": gradtx.extragradient(gradtx.sgd(0.1)), "*": gradtx.adam(0.1)}),
}


@pytest.mark.parametrize("tx", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_give_what_the_whole_batch_gives(tx, parts):
    whole, _, reports = train(tx)
    got, _, part_reports = train(tx, accumulate=parts)
    chex.assert_trees_all_close(got, whole, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(part_reports, reports, rtol=1e-4, atol=1e-6)


def masked_loss(params, batch):
    """The mean over the tokens that count."""
    errors = (network(params, batch["x"]) - batch["y"]) ** 2
    return jnp.sum(errors * batch["mask"]) / jnp.sum(batch["mask"])


def with_mask(batch, counts):
    """A mask that lets as many examples of each part count: example j belongs to part j modulo the parts."""
    parts, examples = len(counts), len(batch["y"])
    mask = np.zeros(examples)
    for part, count in enumerate(counts):
        mask[part::parts][:count] = 1
    return {**batch, "mask": jnp.asarray(mask)}


@pytest.mark.parametrize("counts", [(1, 4), (4, 3), (2, 1, 1, 2), (0, 4), (0, 2, 0, 1)], ids=str)
def test_parts_of_unequal_token_counts_are_weighted_by_them(counts):
    batches = [with_mask(batch_of(i), counts) for i in range(3)]
    whole, _, reports = train(gradtx.adam(0.1), masked_loss, batches)
    weighted, _, part_reports = train(
        gradtx.adam(0.1), masked_loss, batches, accumulate=len(counts), weight_fn=lambda b: b["mask"].sum()
    )
    chex.assert_trees_all_close(weighted, whole, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(part_reports[-1].loss, reports[-1].loss, rtol=1e-5)
    if 0 not in counts and len(set(counts)) > 1:
        plain, _, _ = train(gradtx.adam(0.1), masked_loss, batches, accumulate=len(counts))
        assert np.max(np.abs(plain["v"] - whole["v"])) > 1e-3


def test_if_every_part_weighs_nothing_nothing_moves():
    batches = [with_mask(batch_of(0), (0, 0))]
    got, _, reports = train(gradtx.sgd(0.1), masked_loss, batches, accumulate=2, weight_fn=lambda b: b["mask"].sum())
    chex.assert_trees_all_equal(got, start())
    assert float(reports[0].loss) == 0


def test_a_nan_in_one_part_costs_one_step_only():
    tx = gradtx.apply_if_finite(gradtx.adam(0.1))
    good = [batch_of(i) for i in range(4)]
    spoilt = batch_of(9)
    spoilt["x"] = spoilt["x"].at[3, 0].set(jnp.nan)
    expected, expected_state, _ = train(tx, batches=good, accumulate=4)
    got, state, reports = train(tx, batches=[*good[:2], spoilt, *good[2:]], accumulate=4)
    chex.assert_trees_all_equal(got, expected)
    chex.assert_trees_all_equal(state.inner_state, expected_state.inner_state)
    assert [int(r.skipped) for r in reports] == [0, 0, 1, 1, 1]


def test_sums_are_in_float32():
    def loss(params, batch):
        return jnp.mean(batch) * params

    parts = 512
    params = jnp.ones((), jnp.bfloat16)
    batch = jnp.full((parts,), 1.01, jnp.bfloat16)
    seen = {}
    build_step(loss, spy(seen), accumulate=parts, donate=False).eval_shape(params, (), batch)
    assert seen["updates"].dtype == jnp.float32
    tx = gradtx.sgd(1.0)
    got, _, _ = train(tx, loss, [batch], params, accumulate=parts)
    assert got.dtype == jnp.bfloat16
    assert float(got) == pytest.approx(1 - float(jnp.bfloat16(1.01)), abs=2**-8)


def test_aux_of_every_part_is_reported():
    def loss(params, batch):
        errors = network(params, batch["x"]) - batch["y"]
        return jnp.mean(errors**2), {"worst": jnp.max(jnp.abs(errors))}

    batch = batch_of(0)
    _, _, (whole,) = train(gradtx.sgd(0.1), loss, [batch], has_aux=True)
    _, _, (parts,) = train(gradtx.sgd(0.1), loss, [batch], has_aux=True, accumulate=4)
    assert parts.aux["worst"].shape == (4,)
    assert float(parts.aux["worst"].max()) == pytest.approx(float(whole.aux["worst"]), rel=1e-6)


def test_keys():
    def loss(params, batch, key):
        return jnp.mean(batch) * params + jax.random.normal(key), key

    seen = {}

    def update(updates, state, params=None, *, key, **extra):
        return updates, key

    tx = gradtx.from_functions(lambda p: (), update)
    del seen
    step = build_step(loss, tx, has_aux=True, donate=False)
    again = build_step(loss, tx, has_aux=True, accumulate=2, donate=False)
    _, tx_key, metrics = step(jnp.ones(()), (), jnp.ones(2), jax.random.key(3))
    _, same_key, repeated = step(jnp.ones(()), (), jnp.ones(2), jax.random.key(3))
    _, _, parts = again(jnp.ones(()), (), jnp.ones(2), jax.random.key(3))
    _, _, other = step(jnp.ones(()), (), jnp.ones(2), jax.random.key(4))
    assert metrics.loss == repeated.loss
    assert metrics.loss != other.loss
    assert tx_key == same_key
    keys = [tx_key, metrics.aux, *parts.aux]
    assert len({tuple(jax.random.key_data(k).tolist()) for k in keys}) == 4
    with pytest.raises(MissingExtraError) as caught:
        step(jnp.ones(()), (), jnp.ones(2))
    assert str(caught.value) == (
        "gradtx.build_step: expected a key, got None; loss_fn takes one: step(params, state, batch, key)"
    )


def test_without_a_key_there_is_none():
    seen = {}
    build_step(loss_fn, spy(seen), donate=False)(start(), (), batch_of(0))
    assert "key" not in seen


def test_buffers_are_donated_and_reports_outlive_them():
    tx = gradtx.tunable(gradtx.adam(0.1), ("learning_rate",))
    step = build_step(loss_fn, tx)
    params, state = start(), tx.init(start())
    first, first_state, metrics = step(params, state, batch_of(0))
    assert params["w"].is_deleted()
    assert gradtx.tree.get_field(state, "mu")["w"].is_deleted()
    step(first, first_state, batch_of(1))
    assert float(metrics.hyperparams["learning_rate"]) == pytest.approx(0.1)
    params, state = start(), tx.init(start())
    build_step(loss_fn, tx, donate=False)(params, state, batch_of(0))
    assert not params["w"].is_deleted()


def test_it_is_traced_once():
    traces = []

    def loss(params, batch):
        traces.append(1)
        return loss_fn(params, batch)

    train(gradtx.adam(0.1), loss)
    assert len(traces) == 1


@pytest.mark.parametrize("accumulate", [1, 2])
def test_evaluations_of_a_line_search_are_used_again(accumulate):
    calls = []

    def loss(params, batch):
        jax.debug.callback(lambda: calls.append(1))
        return loss_fn(params, batch)

    counts, ends = {}, {}
    for reuse in (False, True):
        calls.clear()
        tx = gradtx.lbfgs()
        ends[reuse], _, _ = train(tx, loss, [batch_of(0)] * 5, accumulate=accumulate, reuse=reuse)
        jax.effects_barrier()
        counts[reuse] = len(calls) // accumulate

    chex.assert_trees_all_close(ends[True], ends[False], rtol=1e-3, atol=1e-4)
    assert counts[True] <= counts[False] - 4  # the first step evaluates the loss; the four after it need not


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_comes_beside_the_loss_is_that_of_the_params(accumulate):
    def loss(params, batch):
        return loss_fn(params, batch), {"norm": gradtx.global_norm(params), "count": jnp.int32(1)}

    batches = [batch_of(0)] * 4
    plain, _, _ = train(gradtx.lbfgs(), loss_fn, batches, accumulate=accumulate, reuse=True)
    fresh, _, expected = train(gradtx.lbfgs(), loss, batches, accumulate=accumulate, has_aux=True)
    again, _, reports = train(gradtx.lbfgs(), loss, batches, accumulate=accumulate, has_aux=True, reuse=True)
    chex.assert_trees_all_close(again, plain, rtol=1e-6)
    chex.assert_trees_all_close(again, fresh, rtol=1e-3, atol=1e-4)
    for report, wanted in zip(reports, expected, strict=True):
        chex.assert_trees_all_close(report.aux, wanted.aux, rtol=1e-3)
        chex.assert_trees_all_equal_shapes_and_dtypes(report, wanted)


def test_norms_may_be_left_out():
    _, _, reports = train(gradtx.sgd(0.1), norms=False)
    assert reports[0].grad_norm is reports[0].update_norm is None


def test_guards_are_counted_together_and_curvature_pairs_are_not():
    tx = gradtx.chain(
        gradtx.apply_if_finite(gradtx.sgd(0.1)), gradtx.skip_if(gradtx.identity(), lambda u, p, **_: True)
    )
    _, _, reports = train(tx)
    assert [int(r.skipped) for r in reports] == [1, 2, 3, 4]


GUARDS = {
    "apply_if_finite": gradtx.apply_if_finite(gradtx.sgd(0.1)),
    "skip_if": gradtx.skip_if(gradtx.sgd(0.1), lambda updates, params, value: ~jnp.isfinite(value)),
    "skip_large_updates": gradtx.skip_large_updates(gradtx.sgd(0.1)),
}


@pytest.mark.parametrize("tx", GUARDS.values(), ids=GUARDS)
def test_every_guard_is_counted(tx):
    bad = jax.tree.map(lambda x: jnp.nan * x, batch_of(0))
    _, _, reports = train(tx, batches=[bad, batch_of(1)])
    assert [int(r.skipped) for r in reports] == [1, 1]


def test_complex_parameters_descend():
    def loss(params, batch):
        return jnp.mean(jnp.abs(params - batch) ** 2)

    target = jnp.array([[1 + 2j], [1 + 2j]])
    got, _, _ = train(gradtx.sgd(0.25), loss, [target] * 30, jnp.zeros(1, jnp.complex64))
    np.testing.assert_allclose(got, [1 + 2j], rtol=1e-5)
    parts, _, _ = train(gradtx.sgd(0.25), loss, [target] * 30, jnp.zeros(1, jnp.complex64), accumulate=2)
    np.testing.assert_allclose(parts, got, rtol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_integer_and_absent_leaves_stay(accumulate):
    params = {"w": jnp.ones(3), "table": jnp.arange(3), "none": None}

    def loss(params, batch):
        return jnp.mean(batch @ params["w"]) ** 2

    tx = gradtx.extragradient(gradtx.adam(0.1))
    step = build_step(loss, tx, accumulate=accumulate, donate=False)
    after, _, _ = step(params, tx.init(params), jnp.ones((4, 3)))
    np.testing.assert_array_equal(after["table"], [0, 1, 2])
    assert after["none"] is None
    assert float(after["w"][0]) < 1


def test_a_plateau_may_listen_to_a_loss_of_its_own():
    tx = gradtx.sgd(gradtx.plateau_schedule(0.1, factor=0.5, patience=1, monitor="validation_loss"))
    step = build_step(loss_fn, tx)
    params, state, rates = start(), tx.init(start()), []
    for validation_loss in (1.0, 2.0, 0.5):
        params, state, metrics = step(params, state, batch_of(0), validation_loss=validation_loss)
        rates.append(round(float(metrics.hyperparams["learning_rate"]), 4))
    assert rates == [0.1, 0.05, 0.05]


def returning(value):
    return lambda params, batch: value(params)


BAD_LOSSES = {
    "vector": (
        returning(lambda p: p),
        {},
        "loss_fn to return a real scalar, got float32[2]; take the mean over the batch",
    ),
    "integer": (
        returning(lambda p: 1),
        {},
        "loss_fn to return a real scalar, got int32[]; take the mean over the batch",
    ),
    "tuple": (returning(lambda p: (p.sum(), 1)), {}, "loss_fn to return a number, got a tuple; pass has_aux=True"),
    "no aux": (
        returning(lambda p: p.sum()),
        {"has_aux": True},
        "loss_fn to return a pair (loss, aux), as has_aux is True, got one value",
    ),
    "indivisible": (
        returning(lambda p: p.sum()),
        {"accumulate": 2},
        (
            "a number of examples divisible by 2, got 3 at batch['x']; choose a batch size that is a multiple of 2, "
            "or another accumulate"
        ),
    ),
    "weights": (
        returning(lambda p: p.sum()),
        {"accumulate": 3, "weight_fn": lambda batch: batch["x"]},
        "weight_fn to return a scalar, got shape [1]; sum it: the number of tokens, for example",
    ),
}


@pytest.mark.parametrize(("loss", "options", "message"), BAD_LOSSES.values(), ids=BAD_LOSSES)
def test_bad_losses(loss, options, message):
    step = build_step(loss, gradtx.sgd(0.1), **options)
    with pytest.raises((ArgumentTypeError, ArgumentValueError)) as caught:
        step(jnp.ones(2), gradtx.sgd(0.1).init(jnp.ones(2)), {"x": jnp.ones(3)})
    assert str(caught.value) == f"gradtx.build_step: expected {message}"


BAD_BATCHES = {
    "scalar": (
        {"x": jnp.ones(2), "rate": 0.1},
        (
            "a leaf with an axis of examples, got a scalar at batch['rate']; "
            "give every leaf of the batch a leading axis of examples"
        ),
    ),
    "uneven": (
        {"x": jnp.ones(2), "y": jnp.ones(4)},
        "as many examples in every leaf of the batch, got [2, 4] at batch['y']",
    ),
}


@pytest.mark.parametrize(("batch", "message"), BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_bad_batches(batch, message):
    step = build_step(lambda params, batch: params.sum(), gradtx.sgd(0.1), accumulate=2)
    with pytest.raises(ArgumentValueError) as caught:
        step(jnp.ones(2), gradtx.sgd(0.1).init(jnp.ones(2)), batch)
    assert str(caught.value) == f"gradtx.build_step: expected {message}"


BAD_ARGUMENTS = {
    "no function": ((3, gradtx.sgd(0.1)), {}, "loss_fn to be a function, got 3"),
    "one argument": (
        (lambda params: params, gradtx.sgd(0.1)),
        {},
        "loss_fn(params, batch) or loss_fn(params, batch, key), got loss_fn(params)",
    ),
    "factory": ((loss_fn, gradtx.adam), {}, "tx to be a transformation, got the function 'adam'; call it: adam(...)"),
    "zero parts": ((loss_fn, gradtx.sgd(0.1)), {"accumulate": 0}, "accumulate in [1, inf), got 0"),
    "half a part": (
        (loss_fn, gradtx.sgd(0.1)),
        {"accumulate": 1.5},
        "accumulate to be a whole number, got 1.5 (float); it is a number of parts",
    ),
}


@pytest.mark.parametrize(("arguments", "options", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments(arguments, options, message):
    with pytest.raises((ArgumentTypeError, ArgumentValueError)) as caught:
        build_step(*arguments, **options)
    assert str(caught.value) == f"gradtx.build_step: expected {message}"


def test_an_error_inside_the_optimizer_keeps_its_name():
    step = build_step(loss_fn, gradtx.from_functions(lambda p: (), lambda u, s, p=None: ({"w": u["w"]}, s)))
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"gradtx.apply_updates: "):
        step(start(), (), batch_of(0))


def check_sharding() -> None:
    """On eight devices: a batch sharded by example, in parts, gives what one device gives, and stays where it is."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    by_example = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    batches = [batch_of(i, 32) for i in range(3)]
    tx = OPTIMIZERS["extragradient"]
    expected, _, _ = train(tx, batches=batches, accumulate=4)
    params, placed = jax.device_put(start(), everywhere), [jax.device_put(b, by_example) for b in batches]
    got, _, _ = train(tx, batches=placed, params=params, accumulate=4)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-6)
    step = build_step(loss_fn, tx, accumulate=4)
    compiled = step.lower(start(), jax.eval_shape(tx.init, start()), placed[0]).compile().as_text()
    assert "all-reduce" in compiled
    assert "all-gather" not in compiled
    assert "all-to-all" not in compiled
    print("same on", jax.device_count(), "devices")


def test_a_sharded_batch_in_parts():
    environment = on_devices(8)
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.test_step"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "same on 8 devices\n"


if __name__ == "__main__":
    check_sharding()
