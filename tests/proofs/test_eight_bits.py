"""Adam with its moments in eight bits: a wrapper around any leafwise transformation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.xla_metadata import set_xla_metadata

import gradtx
from gradtx import tree
from gradtx.core import one_for_zero
from gradtx.core.leafwise import Outline
from tests.proofs.runs import check, descent, in_chain

# --- the sketch -------------------------------------------------------------------------------------------------------


def dynamic_map(*, signed: bool) -> Any:
    """The 256 numbers in [-1, 1] or [0, 1] that a code stands for: ever finer, decade by decade, towards 0."""
    found = [0.0, 1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2**decade * (1 if signed else 2) + 1)
        middles = (edges[1:] + edges[:-1]) / 2 * 10.0 ** (decade - 6)
        found += [*middles, *-middles] if signed else [*middles]
    return np.sort(found)


MAPS = {signed: dynamic_map(signed=signed).astype(np.float32) for signed in (True, False)}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Blocks:
    """An array as codes of numbers relative to the largest of each block.

    Attributes:
      codes: uint8 [blocks, elements of a block]; the last block is filled up with zeros.
      scales: the largest magnitude in each block, float32 [blocks].
      shape: that of the array.
      signed: whether the numbers may be negative.
    """

    codes: jax.Array
    scales: jax.Array
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    signed: bool = dataclasses.field(metadata={"static": True})


def codes_of(x: Any, *, signed: bool) -> Any:
    """The codes of the nearest numbers: how many of the points halfway between two lie below, decade by decade."""
    size, code, first = jnp.abs(x), 0, 0
    numbers = MAPS[signed][MAPS[signed] >= 0]
    halfway = (numbers[1:] + numbers[:-1]) / 2
    for decade in range(7):
        count = 2**decade * (1 if signed else 2)
        inside = jnp.floor((size * 10.0 ** (6 - decade) - 0.1) / 0.9 * count)
        code += (size > halfway[first]) + jnp.clip(inside, 0, count - 1)
        first += count
    code += size > halfway[first]
    return (jnp.maximum(127 + jnp.sign(x) * code, 0) if signed else code).astype(jnp.uint8)


def encode(x: Any, *, signed: bool, block: int) -> Blocks:
    flat = jnp.pad(x.ravel(), (0, -x.size % block)).reshape(-1, block)
    scales = jnp.max(jnp.abs(flat), axis=1)
    return Blocks(codes_of(flat / one_for_zero(scales)[:, None], signed=signed), scales, x.shape, signed)


def decode(kept: Blocks) -> Any:
    flat = jnp.asarray(MAPS[kept.signed])[kept.codes] * kept.scales[:, None]
    return flat.ravel()[: np.prod(kept.shape, dtype=int)].reshape(kept.shape)


def is_blocks(x: Any) -> bool:
    return isinstance(x, Blocks)


@gradtx.transformation
def in_eight_bits(
    inner: gradtx.GradientTransformation,
    block: int = 256,
    min_size: int = 4096,
    unsigned: tuple[str, ...] = ("nu",),
):
    """Keep the large arrays of the state of a transformation in eight bits.

    Args:
      inner: a transformation that is leafwise.
      block: how many elements share a scale.
      min_size: smaller arrays stay as they are.
      unsigned: the fields whose numbers are never negative.
    """
    form = inner.leafwise
    if form is None:
        raise gradtx.errors.ArgumentTypeError("an inner transformation that is leafwise", got=repr(inner))

    def init(params):
        state, outline = form.init(params), Outline.of(params)
        positive = jax.tree.map(lambda x: False, state)
        for name in unsigned:
            if tree.get_all_fields(state, name):
                positive = tree.set_field(positive, name, lambda field: jax.tree.map(lambda x: True, field))

        def kept(x, positive):
            if x.size < min_size or not jnp.issubdtype(x.dtype, jnp.floating):
                return x
            return encode(x, signed=not positive, block=block)

        rows = zip(form.split(state, outline), form.split(positive, outline), strict=True)
        return form.merge(state, outline, [jax.tree.map(kept, *row) for row in rows])

    def decoded_step(scalars, index, g, s, p):
        wide = jax.tree.map(lambda x: decode(x) if is_blocks(x) else x, s, is_leaf=is_blocks)
        u, wide = form.leaf(scalars, index, g, wide, p)

        def kept(old, x):
            return encode(x, signed=old.signed, block=block) if is_blocks(old) else x

        return u, jax.tree.map(kept, s, wide, is_leaf=is_blocks)

    @jax.jit
    def one_call(*args):
        with set_xla_metadata(inlineable="true"):
            return decoded_step(*args)

    def leaf(*args):
        # Were the call inlined, all leaves would be begun together, and the new state of all be in memory as float32.
        with set_xla_metadata(inlineable="false"):
            return one_call(*args)

    return dataclasses.replace(form, init=init, leaf=leaf)


# --- the reference ----------------------------------------------------------------------------------------------------


def kept(x: Any, table: Any, block: int) -> Any:
    """What is left of an array that is stored."""
    flat = np.pad(x.ravel(), (0, -x.size % block)).reshape(-1, block)
    largest = np.abs(flat).max(axis=1, keepdims=True)
    relative = flat / np.where(largest == 0, 1, largest)
    nearest = table[np.abs(relative[..., None] - table).argmin(axis=-1)]
    return (nearest * largest).ravel()[: x.size].reshape(x.shape)


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
    return in_eight_bits(inner, block=16, min_size=64)


# --- the tests --------------------------------------------------------------------------------------------------------


def test_the_maps_are_those_of_the_paper():
    signed, unsigned = dynamic_map(signed=True), dynamic_map(signed=False)
    assert len(signed) == len(unsigned) == 256
    assert signed[127] == unsigned[0] == 0
    np.testing.assert_allclose([signed[0], signed[128], signed[255]], [-0.99297, 5.5e-7, 1], rtol=1e-5)
    np.testing.assert_allclose(unsigned[1:3], [3.25e-7, 7.75e-7])


@pytest.mark.parametrize("shape", [(256,), (7, 100), (), (3, 0)])
@pytest.mark.parametrize("signed", [True, False])
def test_numbers_come_back_as_the_nearest_of_the_map(shape, signed):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    x = x if signed else x**2
    blocks = encode(jnp.asarray(x), signed=signed, block=64)
    assert blocks.codes.dtype == jnp.uint8
    np.testing.assert_allclose(decode(blocks), kept(np.float64(x), dynamic_map(signed=signed), 64), rtol=1e-5)
    zeros = encode(jnp.zeros(shape), signed=signed, block=64)
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
    codes = [x for x in jax.tree.leaves(state, is_leaf=is_blocks) if is_blocks(x)]
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
    made, kept = temporaries(in_eight_bits(gradtx.adamw(0.1)), params)
    assert kept / wide == pytest.approx((1 + 4 / 256) / 4, rel=1e-3)
    # The updates of all leaves, and the new moments of one.
    assert made == pytest.approx(4 * leaf * count + 8 * leaf, rel=0.02)


def test_an_inner_transformation_that_is_not_leafwise_is_refused():
    with pytest.raises(
        gradtx.errors.ArgumentTypeError, match="in_eight_bits: expected an inner transformation that is"
    ):
        in_eight_bits(gradtx.lbfgs())


def test_it_is_described():
    params = {"w": jnp.ones((128, 128)), "b": jnp.ones(128)}
    shown = str(gradtx.describe(gradtx.chain(gradtx.clip(1.0), in_eight_bits(gradtx.adamw(0.1))), params))
    assert "in_eight_bits" in shown
    assert "scale_by_adam" in shown
