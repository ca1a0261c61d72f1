"""States in eight bits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.storage.quantized import decode, dynamic_map, encode
from tests.proofs.runs import check, descent, in_chain


def is_stored(x: Any) -> bool:
    return isinstance(x, gradtx.Quantized)


# --- the reference ----------------------------------------------------------------------------------------------------


def kept(x: Any, table: Any, block: int) -> Any:
    """What is left of an array that is stored."""
    pieces = [x[..., i : i + block] for i in range(0, x.shape[-1], block)]
    made = []
    for piece in pieces:
        largest = np.abs(piece).max(axis=-1, keepdims=True)
        relative = piece / np.where(largest == 0, 1, largest)
        made.append(table[np.abs(relative[..., None] - table).argmin(axis=-1)] * largest)
    return np.concatenate(made, axis=-1) if made else x


class Reference:
    """Dettmers et al. 2022: Adam whose moments are stored after each step, a leaf."""

    def __init__(self) -> None:
        self.t, self.m, self.v = 0, 0.0, 0.0

    def __call__(self, g: Any, p: Any) -> Any:
        self.t += 1
        m, v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g**2
        stored = g.size >= 64
        self.m = kept(m, dynamic_map(signed=True), 16) if stored else m
        self.v = kept(v, dynamic_map(signed=False), 16) if stored else v
        return m / (1 - 0.9**self.t) / (np.sqrt(v / (1 - 0.999**self.t)) + 1e-8)


def small(inner: Any) -> Any:
    return gradtx.quantized(inner, block_size=16, min_size=64)


# --- the tests --------------------------------------------------------------------------------------------------------


def test_the_maps_are_those_of_the_paper():
    signed, unsigned = dynamic_map(signed=True), dynamic_map(signed=False)
    assert len(signed) == len(unsigned) == 256
    assert signed[127] == 0 < unsigned[0] < unsigned[1]
    np.testing.assert_allclose([signed[0], signed[128], signed[255]], [-0.99297, 5.5e-7, 1], rtol=1e-5)
    np.testing.assert_allclose(unsigned[1:3], [3.25e-7, 7.75e-7])


@pytest.mark.parametrize("shape", [(256,), (7, 100), (2, 3, 64), (3, 0)])
@pytest.mark.parametrize("signed", [True, False])
def test_numbers_come_back_as_the_nearest_of_the_map(shape, signed):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x = x if signed else x**2
    blocks = encode(jnp.asarray(x), 64, signed=signed)
    assert (blocks.codes.dtype, blocks.codes.shape, blocks.scales.shape) == (jnp.uint8, shape, (*shape[:-1], -(-shape[-1] // 64)))  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(decode(blocks), kept(np.float64(x), dynamic_map(signed=signed), 64), rtol=1e-5)
    zeros = encode(jnp.zeros(shape), 64, signed=signed)
    assert not decode(zeros).any()


def test_it_runs_everywhere():
    # A number halfway between two of the map goes to one or the other by a rounding.
    check(lambda rate: in_chain(small(gradtx.scale_by_adam()), rate), lambda: descent(Reference()), share=0.98)


@pytest.mark.parametrize(
    "inner",
    [
        gradtx.adamw(0.1),
        gradtx.adamw(gradtx.linear_schedule(0.1, 0.0, 9), mu_dtype="bfloat16"),
        gradtx.tunable(gradtx.lion(0.1)),
        gradtx.partition({"w": gradtx.adam(0.1), "*": gradtx.sgd(0.1, momentum=0.9)}),
        gradtx.masked(gradtx.amsgrad(0.1), "w"),
        gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.rmsprop(0.1, momentum=0.9)),
    ],
)
def test_it_wraps_any_leafwise_transformation(inner):
    params = {"w": jnp.linspace(-1.0, 1.0, 96).reshape(8, 12), "b": jnp.ones(70)}
    tx = gradtx.chain(small(inner), gradtx.scale(1.0))
    wide, state = inner.init(params), tx.init(params)
    for i in range(3):
        grads = jax.tree.map(lambda p, i=i: jnp.cos(9 * p + i), params)
        expected, wide = inner.update(grads, wide, params)
        updates, after = jax.jit(tx.update)(grads, state, params)
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
        assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
        state = after
        jax.tree.map(
            lambda u, v: np.testing.assert_allclose(np.median(jnp.abs(u - v)), 0, atol=0.01), updates, expected
        )
    codes = [x for x in jax.tree.leaves(state, is_leaf=is_stored) if is_stored(x)]
    assert codes
    assert sum(x.size for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)) < 30


def test_float32_leaves_stay_float32_in_x64_mode(x64):
    params = {"w": jnp.ones((8, 8), "float32")}
    tx = small(gradtx.adam(0.1))
    state = tx.init(params)
    assert {x.dtype.name for x in jax.tree.leaves(state) if x.ndim} == {"uint8", "float32"}
    assert "f64[8,8]" not in str(jax.make_jaxpr(tx.update)(params, state, params))


def temporaries(tx: Any, params: Any) -> tuple[int, int]:
    """The bytes of a training step beside its arguments, and those of the state."""

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return gradtx.apply_updates(params, updates), state

    state = jax.eval_shape(tx.init, params)
    memory = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile().memory_analysis()
    return memory.temp_size_in_bytes, sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def test_no_whole_copy_of_the_state_is_made():
    leaf, count = 2**14, 8
    params = {str(i): jax.ShapeDtypeStruct((64, leaf // 64), jnp.float32) for i in range(count)}
    _, wide = temporaries(gradtx.adamw(0.1), params)
    made, kept = temporaries(gradtx.quantized(gradtx.adamw(0.1)), params)
    assert kept / wide == pytest.approx((1 + 4 / 256) / 4, rel=1e-3)
    # The updates of all leaves, and the new moments of one.
    assert made == pytest.approx(4 * leaf * count + 8 * leaf, rel=0.02)


def test_an_inner_transformation_that_is_not_leafwise_is_refused():
    with pytest.raises(gradtx.errors.ArgumentTypeError, match=r"quantized: expected inner to be leafwise.*put norms"):
        gradtx.quantized(gradtx.lbfgs())


@pytest.mark.parametrize("wrong", [{"block_size": 0}, {"min_size": 0}])
def test_sizes_are_at_least_one(wrong):
    (name,) = wrong
    with pytest.raises(gradtx.errors.ArgumentValueError, match=f"{name} of at least 1, got 0"):
        gradtx.quantized(gradtx.adam(0.1), **wrong)


def test_what_is_not_finite_is_stored_as_zero_and_spoils_no_neighbour():
    x = jnp.array([1.0, jnp.nan, jnp.inf, -0.5])
    np.testing.assert_array_equal(decode(encode(x, 4, signed=True))[1:3], 0)
    np.testing.assert_allclose(decode(encode(x, 4, signed=True))[jnp.array([0, 3])], [1.0, -0.5], rtol=0.02)
    tx, params = gradtx.quantized(gradtx.adam(0.1), 4, 1), jnp.zeros(8)
    updates, state = tx.update(jnp.ones(8).at[2].set(jnp.nan), tx.init(params), params)
    assert np.isnan(updates[2])
    assert np.isfinite(np.delete(updates, 2)).all()
    updates, _ = tx.update(jnp.ones(8), state, params)
    assert np.isfinite(updates).all()


def test_an_outlier_makes_no_huge_step_of_its_neighbours():
    """Their second moments are below the least code; stored as zero, the next step would be 50 times too long."""
    tx, params = gradtx.quantized(gradtx.scale_by_adam(), 64, 1), jnp.zeros(64)
    state = tx.init(params)
    for g in (jnp.full(64, 1e-5).at[0].set(1.0), jnp.zeros(64)):
        updates, state = tx.update(g, state, params)
    assert np.abs(updates).max() < 2


def test_second_moments_have_no_sign_and_first_ones_have():
    params = {"w": jnp.ones((16, 16))}
    state = gradtx.quantized(gradtx.amsgrad(0.1), min_size=1).init(params)[0]
    assert {name: getattr(state, name)["w"].signed for name in ("mu", "nu", "nu_max")} == {
        "mu": True, "nu": False, "nu_max": False,
    }  # fmt: skip


def test_saved_codes_come_back_and_other_blocks_are_refused():
    params = {"w": jnp.linspace(-1, 1, 512).reshape(2, 256)}
    tx = gradtx.quantized(gradtx.adam(0.1), min_size=1)
    _, state = tx.update(params, tx.init(params), params)
    saved = gradtx.checkpoint.to_state_dict(state)
    again = gradtx.checkpoint.from_state_dict(tx.init(params), saved)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, state))
    with pytest.raises(gradtx.errors.GradtxError, match=r"float32\[2, 4\], got float32\[2, 1\] at .*scales"):
        gradtx.checkpoint.from_state_dict(gradtx.quantized(gradtx.adam(0.1), 64, 1).init(params), saved)


@pytest.mark.parametrize(
    ("inner", "bound"), [(gradtx.adamw(3e-3, weight_decay=1e-2), 1.03), (gradtx.sgd(0.1, momentum=0.9), 1.1)]
)
def test_it_trains_as_well(inner, bound):
    """A regression with a hidden layer, where float32 ends at a hundredth of the loss."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(256, 32)), jnp.float32)
    y = jnp.sin(x @ jnp.asarray(random.normal(size=(32, 4)), jnp.float32) / 4)
    start = {"a": jnp.asarray(random.normal(size=(32, 128)) / 6, jnp.float32), "b": jnp.zeros((128, 4))}

    def loss_fn(params):
        return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"] - y) ** 2)

    def train(tx):
        def body(carry, _):
            params, state = carry
            updates, state = tx.update(jax.grad(loss_fn)(params), state, params)
            return (gradtx.apply_updates(params, updates), state), None

        (params, _), _ = jax.jit(lambda c: jax.lax.scan(body, c, length=200))((start, tx.init(start)))
        return float(loss_fn(params))

    exact = train(inner)
    assert exact < 0.2 * float(loss_fn(start))
    assert train(gradtx.quantized(inner, min_size=128)) < bound * exact


def test_it_is_described():
    params = {"w": jnp.ones((128, 128)), "b": jnp.ones(128)}
    shown = str(gradtx.describe(gradtx.chain(gradtx.clip(1.0), gradtx.quantized(gradtx.adamw(0.1))), params))
    assert "quantized" in shown
    assert "scale_by_adam" in shown
