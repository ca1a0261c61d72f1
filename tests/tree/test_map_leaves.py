"""One leaf function, several trees, one traversal: values, dtypes, absent leaves, and how often it is traced."""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx import tree
from gradtx.typing import MaskedNode


class Layer(NamedTuple):
    kernel: Any
    bias: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Block:
    weight: Any
    scale: Any


def test_one_output_replaces_one_tree():
    result = tree.map_leaves(lambda g: 2 * g, {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)})
    chex.assert_trees_all_equal(result, {"a": jnp.array([2.0, 4.0]), "b": jnp.array(6.0)})


def test_output_k_replaces_tree_k():
    a, b, c = (jnp.array([x]) for x in (1.0, 2.0, 3.0))
    assert tree.map_leaves(lambda a, b, c: (a, b, c), a, b, c) == (a, b, c)
    assert tree.map_leaves(lambda a, b, c: (c, a, b), a, b, c) == (c, a, b)


def test_read_trees_are_read_only():
    g, m, p = {"w": jnp.array([1.0])}, {"w": jnp.array([2.0])}, {"w": jnp.array([10.0])}
    u, n = tree.map_leaves(lambda g, m, p: (g + p, m * p), g, m, read=(p,))
    assert (u["w"].item(), n["w"].item()) == (11.0, 20.0)


def test_one_tree_with_read_gives_one_tree():
    assert tree.map_leaves(lambda g, p: g - p, jnp.array(3.0), read=(jnp.array(1.0),)).item() == 2.0


def test_a_tuple_of_one_output_is_unpacked():
    assert tree.map_leaves(lambda g: (g,), jnp.array(3.0)).item() == 3.0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
@pytest.mark.parametrize("traced", [False, True])
def test_narrow_leaves_are_computed_in_float32_and_kept_narrow(dtype, traced):
    seen = []

    def leaf(g, m):
        seen.append((g.dtype, m.dtype))
        return g, m

    def both(g, m):
        return tree.map_leaves(leaf, g, m)

    g, m = jnp.ones(3, dtype), jnp.ones(3, jnp.float32)
    out_g, out_m = (jax.jit(both) if traced else both)(g, m)
    assert set(seen) == {(jnp.dtype("float32"), jnp.dtype("float32"))}
    assert (out_g.dtype, out_m.dtype) == (jnp.dtype(dtype), jnp.dtype("float32"))


def test_arithmetic_in_float32_is_rounded_once():
    # 256 + 1 is not a bfloat16; with rounding after each operation the sum would stay at 256.
    g = jnp.array([256.0], jnp.bfloat16)
    assert tree.map_leaves(lambda g: (g + 1) + 1, g).astype(jnp.float32).item() == 258.0


def test_float64_stays_float64(x64):
    result = tree.map_leaves(lambda g: g / 3, jnp.array([1.0]))
    assert result.dtype == jnp.float64
    assert result.item() == 1 / 3


def test_complex_leaf_with_real_second_moment():
    g = jnp.array([3 + 4j])
    m, v = tree.zeros_accumulator(g), tree.zeros_accumulator(g, real=True)
    g, m, v = tree.map_leaves(lambda g, m, v: (g, m + g, v + jnp.real(g * jnp.conj(g))), g, m, v)
    assert (g.dtype, m.dtype, v.dtype) == (jnp.complex64, jnp.complex64, jnp.float32)
    assert (m.item(), v.item()) == (3 + 4j, 25.0)


def test_python_constants_take_the_dtype_and_no_weak_type():
    u, m = tree.map_leaves(lambda g, m: (jnp.zeros_like(g), m * 0.0 + 1), jnp.ones(2, jnp.bfloat16), jnp.ones(2))
    assert not u.weak_type
    assert not m.weak_type
    weak = jax.numpy.asarray(1.0)  # a scalar parameter written as a Python number
    assert not tree.map_leaves(lambda g: g, weak).weak_type


def test_none_leaves_stay_as_they_are():
    g = {"a": jnp.array(1.0), "b": None}
    m = {"a": jnp.array(2.0), "b": jnp.array(7.0)}
    out_g, out_m = tree.map_leaves(lambda g, m: (g + m, m + 1), g, m)
    assert out_g["b"] is None
    assert out_m["b"] is m["b"]
    assert (out_g["a"].item(), out_m["a"].item()) == (3.0, 3.0)


def test_a_none_gradient_may_stand_for_a_subtree():
    m = {"a": jnp.array(2.0), "b": {"c": jnp.array(1.0), "d": jnp.array(2.0)}}
    _, out = tree.map_leaves(lambda g, m: (g, m + g), {"a": jnp.array(1.0), "b": None}, m)
    assert out["b"] is m["b"]


def test_float0_leaves_stay_as_they_are():
    def loss(p):
        return p["x"] ** 2 * p["n"]

    params = {"n": jnp.array(3), "x": jnp.array(2.0)}
    grads = jax.grad(loss, allow_int=True)(params)
    assert grads["n"].dtype == jax.dtypes.float0
    u, m = tree.map_leaves(lambda g, m: (-g, m + g), grads, tree.zeros_accumulator(params))
    assert u["n"] is grads["n"]
    assert m["n"].item() == 0.0
    assert (u["x"].item(), m["x"].item()) == (-12.0, 12.0)


def test_masked_nodes_have_no_leaves():
    g = {"a": jnp.array(1.0), "b": MaskedNode()}
    out = tree.map_leaves(lambda g, m: (g, m + g), g, {"a": jnp.array(2.0), "b": MaskedNode()})
    assert out == ({"a": 1.0, "b": MaskedNode()}, {"a": 3.0, "b": MaskedNode()})


@pytest.mark.parametrize("empty", [{}, (), [], None, {"a": {}}])
def test_empty_trees(empty):
    never = pytest.fail
    assert tree.map_leaves(never, empty) == empty
    assert tree.map_leaves(never, empty, empty) == (empty, empty)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3)])
def test_scalar_and_zero_size_leaves(shape):
    out = tree.map_leaves(lambda g: g + 1, jnp.zeros(shape))
    chex.assert_trees_all_equal(out, jnp.ones(shape))


def test_python_and_numpy_numbers_are_leaves():
    out = tree.map_leaves(lambda g: g + 1, [1.0, np.float32(2.0), np.array([3.0], np.float32)])
    assert [float(x.reshape(())) for x in out] == [2.0, 3.0, 4.0]
    assert all(isinstance(x, jax.Array) for x in out)


@pytest.mark.parametrize("traced", [False, True])
def test_containers_are_kept(traced):
    nodes = [
        Layer(jnp.ones(2), jnp.zeros(1)),
        Block(jnp.ones(2), jnp.zeros(1)),
        [jnp.ones(2), (jnp.zeros(1),)],
        {"z": jnp.ones(2), "a": jnp.zeros(1)},
    ]

    def double(node):
        return tree.map_leaves(lambda g, m: (2 * g, m), node, node)

    for node in nodes:
        out, same = (jax.jit(double) if traced else double)(node)
        assert jax.tree.structure(out) == jax.tree.structure(same) == jax.tree.structure(node)
        chex.assert_trees_all_equal(out, jax.tree.map(lambda x: 2 * x, node))


def test_eager_calls_compile_nothing():
    def leaf(g):
        assert not isinstance(g, jax.core.Tracer)
        return g * 3

    chex.assert_trees_all_equal(tree.map_leaves(leaf, [jnp.full((3,), 2.0)] * 4), [jnp.full((3,), 6.0)] * 4)


def test_eager_equals_jit():
    rng = np.random.default_rng(0)
    shapes = [(3,), (3,), (2, 2), (), (0,), (3,)]
    g = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]
    m = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes]

    def step(g, m):
        return tree.map_leaves(lambda g, m, p: (g * p, 0.5 * m), g, m, read=(g,))

    chex.assert_trees_all_equal(step(g, m), jax.jit(step)(g, m))


def test_the_leaf_function_may_close_over_traced_values():
    def step(g, rate):
        return tree.map_leaves(lambda g: rate * g, g)

    out = jax.jit(step)([jnp.ones(2)] * 3, 0.5)
    chex.assert_trees_all_equal(out, [jnp.full(2, 0.5)] * 3)


def scaled_for_test(g, factor):
    return factor * g


def test_numbers_are_in_the_real_dtype_of_each_leaf(x64):
    """A number found around the leaf function would raise leaves to its own dtype."""
    seen = []

    def leaf(g, *, rate, counts):
        seen.append((g.dtype, rate.dtype, counts["steps"].dtype, type(counts["python"])))
        return rate * g

    leaves = [jnp.ones(2, dtype) for dtype in ("float32", "bfloat16", "complex64", "float64")]
    out = tree.map_leaves(leaf, leaves, rate=jnp.float64(0.5), counts={"steps": jnp.int32(1), "python": 0.5})
    expected = [("float32", "float32"), ("float32", "float32"), ("complex64", "float32"), ("float64", "float64")]
    assert seen == [(*pair, "int32", float) for pair in expected]
    assert [x.dtype for x in out] == [x.dtype for x in leaves]


def test_a_leaf_function_may_use_a_loop_variable_that_goes_on():
    def tenfold(x):
        for factor in (2.0, 5.0):
            x = tree.map_leaves(lambda g: factor * g, x)  # noqa: B023
        factor = jnp.nan
        return x

    for function in (tenfold, jax.jit(tenfold)):
        assert function({"a": jnp.ones(2)})["a"].tolist() == [10.0, 10.0]
