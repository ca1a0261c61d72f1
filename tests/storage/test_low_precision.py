"""Parameters in bfloat16 and float16 that learn: masters, remainders, Kahan's sums, rounding by chance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError

STEPS = 300
RATE = 6e-4


def problem(dtype):
    """A quadratic around 0.5, from 1.0, with a parameter in float32, one that is absent and one that is whole."""
    random = np.random.default_rng(0)
    start = jnp.asarray(1 + 0.1 * random.normal(size=32), dtype)
    return {"low": start, "wide": jnp.ones(3), "none": None, "count": jnp.arange(3)}


def gradient(params):
    def part(p):
        if p is None:
            return None
        if not jnp.issubdtype(p.dtype, jnp.floating):
            return np.zeros(p.shape, jax.dtypes.float0)
        return (p.astype(jnp.float32) - 0.5).astype(p.dtype)

    return jax.tree.map(part, params, is_leaf=lambda x: x is None)


def train(tx, params, steps=STEPS, key=None, run=jax.jit):
    state = tx.init(params)

    def step(params, state, i):
        updates, state = tx.update(gradient(params), state, params)
        made = None if key is None else jax.random.fold_in(key, i)
        return gradtx.apply_updates(params, updates, key=made), state

    step = run(step)
    for i in range(steps):
        params, state = step(params, state, i)
    return params, state


@functools.cache
def in_float32(dtype):
    """Where float32 parameters go from the same start."""
    params = problem(dtype) | {"low": problem(dtype)["low"].astype(jnp.float32)}
    return np.asarray(train(gradtx.adamw(RATE), params)[0]["low"])


def distance(params):
    return np.abs(np.asarray(params["low"], np.float64) - in_float32(str(params["low"].dtype))).max()


def test_plain_bfloat16_stands_still():
    params = problem(jnp.bfloat16)
    after, _ = train(gradtx.adamw(RATE), params)
    assert (after["low"] == params["low"]).mean() > 0.9
    assert distance(after) > 0.1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "wrap",
    [gradtx.master_weights, lambda tx: gradtx.master_weights(tx, "remainder"), gradtx.kahan],
    ids=["masters", "remainder", "kahan"],
)
def test_wrapped_they_follow_float32(wrap, dtype):
    after, _ = train(wrap(gradtx.adamw(RATE)), problem(dtype))
    assert after["low"].dtype == dtype
    assert distance(after) < 0.004  # a unit in the last place of bfloat16 is 0.008 near 1
    plain, _ = train(gradtx.adamw(RATE), problem(dtype))
    for name in ("wide", "count"):
        np.testing.assert_array_equal(after[name], plain[name])
    assert after["none"] is None


def test_rounding_by_chance_follows_float32_in_the_mean():
    after, _ = train(gradtx.adamw(RATE), problem(jnp.bfloat16), key=jax.random.key(0))
    error = np.asarray(after["low"], np.float64) - in_float32("bfloat16")
    assert np.abs(error.mean()) < 0.02 < distance(train(gradtx.adamw(RATE), problem(jnp.bfloat16))[0])


@pytest.mark.parametrize("keep", ["copy", "remainder"])
@pytest.mark.parametrize("run", [jax.jit, lambda f: f])
def test_params_are_the_rounded_masters_exactly(keep, run):
    """Also where a parameter and its master are of very different sizes."""
    params = {"w": jnp.array([1e-3, -1.0, 300.0, 1e-30, 0.0], jnp.bfloat16)}
    targets = jnp.array([1.2345, 1e-4, 2.71828, -3.14159, 1e-20])
    masters = {"w": params["w"].astype(jnp.float32)}
    tx = gradtx.master_weights(gradtx.stateless(lambda g, p: jax.tree.map(lambda g, p: targets - p, g, p)), keep)
    state = tx.init(params)
    updates, state = run(tx.update)(params, state, params)
    after = run(gradtx.apply_updates)(params, updates)
    masters = masters["w"] + (targets - masters["w"])
    np.testing.assert_array_equal(after["w"], masters.astype(jnp.bfloat16))
    assert after["w"].dtype == jnp.bfloat16
    if keep == "copy":
        np.testing.assert_array_equal(state.masters["w"], masters)


@pytest.mark.parametrize("keep", ["copy", "remainder"])
def test_the_inner_transformation_sees_the_masters(keep):
    """They shrink by a tenth of a unit in the last place at each step, which the parameters do not show at first."""
    inner = gradtx.chain(gradtx.set_to_zero(), gradtx.add_decayed_weights(4e-4), gradtx.scale(-1.0))
    tx = gradtx.master_weights(inner, keep)
    params, wide = jnp.array([1.0, 1.7], jnp.bfloat16), jnp.array([1.0, 1.7], jnp.bfloat16).astype(jnp.float32)
    state = tx.init(params)
    for _ in range(30):
        updates, state = tx.update(jnp.zeros_like(params), state, params)
        params, wide = gradtx.apply_updates(params, updates), wide - 4e-4 * wide
    np.testing.assert_array_equal(params, wide.astype(jnp.bfloat16))
    if keep == "copy":
        np.testing.assert_allclose(state.masters, wide, rtol=1e-6)


def test_copies_and_remainders_are_the_same_numbers():
    ways = [train(gradtx.master_weights(gradtx.adamw(RATE), keep), problem(jnp.bfloat16), 40) for keep in ("copy", "remainder")]  # fmt: skip  # noqa: E501
    (_, copied), (params, cut) = ways
    from gradtx.storage.rounding import join_float32

    np.testing.assert_array_equal(join_float32(params["low"], cut.masters["low"]), copied.masters["low"])


def test_bytes_and_what_is_kept():
    params = problem(jnp.bfloat16)
    inner = gradtx.sgd(1.0)
    txs = [gradtx.master_weights(inner), gradtx.master_weights(inner, "remainder"), gradtx.kahan(inner)]
    copy, remainder, lost = (tx.init(params)[0] for tx in txs)
    assert [x["low"].dtype for x in (copy, remainder, lost)] == [jnp.float32, jnp.uint16, jnp.bfloat16]
    assert copy["wide"] is remainder["wide"] is lost["wide"] is None
    assert (
        gradtx.master_weights(gradtx.sgd(1.0), "remainder").init(problem(jnp.float16)).masters["low"].dtype
        == jnp.float32
    )


def test_kahan_tracks_float32_for_ten_thousand_steps():
    """Plain bfloat16 takes none of these steps, and float32 all."""
    tx, steps = gradtx.kahan(gradtx.sgd(1.0)), 10_000
    grads = -1e-4 * jax.random.exponential(jax.random.key(0), (steps, 64))

    def run(tx, start):
        def body(carry, g):
            params, state = carry
            updates, state = tx.update(g.astype(params.dtype), state, params)
            return (gradtx.apply_updates(params, updates), state), None

        return jax.jit(lambda c: jax.lax.scan(body, c, grads)[0][0])((start, tx.init(start)))

    start = jnp.ones(64, jnp.bfloat16)
    expected = run(gradtx.sgd(1.0), start.astype(jnp.float32))
    np.testing.assert_allclose(run(tx, start).astype(float), expected, rtol=0.01)
    np.testing.assert_array_equal(run(gradtx.sgd(1.0), start), start)


def test_the_state_does_not_share_buffers_with_the_params():
    params = problem(jnp.bfloat16)
    step = jax.jit(lambda p, s: (p, s), donate_argnums=(0, 1))
    step(params, gradtx.master_weights(gradtx.adam(0.1)).init(params))


def test_a_training_step_that_rounds_by_chance():
    tx = gradtx.sgd(1e-3)

    def loss_fn(params, batch):
        return params.astype(jnp.float32).sum() + 0 * batch

    step = gradtx.build_step(loss_fn, tx, rounding="stochastic", donate=False)
    params = jnp.ones(2000, jnp.bfloat16)
    state = tx.init(params)
    after = step(params, state, 0.0, jax.random.key(0))[0]
    assert float(after.astype(float).mean()) == pytest.approx(0.999, abs=2e-4)
    assert len(np.unique(np.asarray(after, float))) == 2
    np.testing.assert_array_equal(after, step(params, state, 0.0, jax.random.key(0))[0])
    with pytest.raises(MissingExtraError, match="rounding by chance needs a new one at every step"):
        step(params, state, 0.0)
    with pytest.raises(ArgumentValueError, match="rounding to be 'nearest' or 'stochastic', got 'up'"):
        gradtx.build_step(loss_fn, tx, rounding="up")


def test_leaves_of_one_shape_are_rounded_independently():
    params = {"a": jnp.ones(1000, jnp.bfloat16), "b": jnp.ones(1000, jnp.bfloat16)}
    updates = {"a": jnp.full(1000, 1e-3), "b": jnp.full(1000, 1e-3)}
    after = gradtx.apply_updates(params, updates, key=jax.random.key(0))
    assert (after["a"] != after["b"]).any()
    wide = {"a": jnp.ones(3), "b": None}
    np.testing.assert_array_equal(gradtx.apply_updates(wide, {"a": jnp.full(3, 0.1), "b": None}, key=jax.random.key(0))["a"], np.float32(1.1))  # fmt: skip  # noqa: E501
    with pytest.raises(ArgumentTypeError, match="key to be a single JAX PRNG key"):
        gradtx.apply_updates(params, updates, key=3)


def test_params_are_asked_for():
    for wrap in (gradtx.master_weights, gradtx.kahan):
        tx = wrap(gradtx.sgd(0.1))
        with pytest.raises(MissingExtraError, match="params"):
            tx.update(jnp.ones(2, jnp.bfloat16), tx.init(jnp.ones(2, jnp.bfloat16)))
