"""The norm of a whole tree."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx import tree
from tests.compilations import COMPILED


def test_all_leaves_together():
    norm = tree.global_norm({"a": jnp.array([3.0]), "b": [jnp.array([[0.0, 4.0]]), jnp.array(12.0)]})
    assert norm.item() == 13.0
    assert tree.squared_norm({"a": jnp.array([3.0, 4.0])}).item() == 25.0


def test_complex_numbers_count_by_absolute_value():
    norm = tree.global_norm([jnp.array([3 + 4j, 12j])])
    assert norm.item() == 13.0
    assert norm.dtype == jnp.float32


def test_narrow_numbers_are_summed_in_float32():
    # 300 ones: a bfloat16 sum would stop at 256; 300 squared overflows float16.
    assert tree.squared_norm(jnp.ones(300, jnp.bfloat16)).item() == 300.0
    norm = tree.global_norm([jnp.full(2, 300.0, jnp.float16)])
    assert norm.dtype == jnp.float32
    np.testing.assert_allclose(norm, 300 * np.sqrt(2), rtol=1e-6)


def test_double_precision(x64):
    norm = tree.global_norm([jnp.array([1.0]), jnp.array([1.0], jnp.float32)])
    assert norm.dtype == jnp.float64
    assert norm.item() == np.sqrt(2.0)


def test_leaves_of_two_precisions_where_none_is_implicit(x64):
    leaves = [jnp.array([1.0]), jnp.array([2.0], jnp.float32)]
    tree.accumulator_dtype.cache_clear()
    with jax.numpy_dtype_promotion("strict"):
        for total in (tree.squared_norm, jax.jit(tree.squared_norm), lambda x: tree.inner(x, x)):
            assert (total(leaves).item(), total(leaves).dtype) == (5.0, jnp.float64)


@pytest.mark.parametrize("empty", [{}, None, {"a": None}, jnp.zeros((0, 3))])
def test_nothing_has_norm_zero(empty):
    for norm in (tree.global_norm(empty), jax.jit(tree.global_norm)(empty)):
        assert (norm.dtype, norm.shape, norm.item()) == (jnp.float32, (), 0.0)


def test_absent_leaves_do_not_count():
    float0 = np.zeros(2, jax.dtypes.float0)
    assert tree.global_norm({"a": jnp.array([3.0, 4.0]), "b": None, "c": float0}).item() == 5.0


def test_the_gradient_at_zero_is_zero():
    params = {"a": jnp.zeros(3), "b": jnp.zeros(())}
    chex.assert_trees_all_equal(jax.grad(tree.global_norm)(params), params)
    chex.assert_trees_all_equal(jax.jit(jax.grad(tree.global_norm))(params), params)


def test_the_gradient_elsewhere_is_the_direction():
    grads = jax.grad(tree.global_norm)({"a": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)})
    chex.assert_trees_all_close(grads, {"a": jnp.array([0.6, 0.0]), "b": jnp.array(0.8)}, rtol=1e-6)


def sums(function, *trees):
    """How many calls sum something up."""
    return sum("jit" in eqn.primitive.name for eqn in jax.make_jaxpr(function)(*trees).eqns)


def test_eight_small_leaves_that_are_alike_are_summed_by_one_call():
    small, large = jnp.ones((64, 64)), jnp.ones((64, 65))
    many = {"small": [small] * 17, "large": [large] * 2, "narrow": [small.astype(jnp.bfloat16)], "half": [small[:32]]}
    assert sums(tree.squared_norm, many) == 3 + 2 + 1  # in float32, the narrow one is like the others
    assert sums(tree.inner, many, many) == 3 + 2 + 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("count", [1, 3, 8, 24, 26])
def test_sums_are_of_every_leaf_once(count, compiled):
    rng = np.random.default_rng(count)
    x, y = ({i: rng.normal(size=[(), (5,), (3, 2)][i % 3]).astype(np.float32) for i in range(count)} for _ in range(2))
    for function, trees in ((tree.squared_norm, (x,)), (tree.inner, (x, y))):
        got = (jax.jit(function) if compiled else function)(*trees)
        wide = [jax.tree.map(np.float64, t) for t in trees]
        assert got.item() == pytest.approx(sum(np.sum(wide[0][i] * wide[-1][i]) for i in range(count)), rel=1e-5)


def test_in_a_batch_each_has_its_own_norm():
    batch = [jnp.arange(6.0).reshape(3, 2)] * 3
    for norm in (tree.squared_norm, jax.jit(tree.squared_norm)):
        np.testing.assert_allclose(jax.vmap(norm)(batch), 3 * jnp.sum(batch[0] ** 2, axis=1))
    assert sums(jax.vmap(tree.squared_norm), batch) == 1


def test_nothing_is_compiled_again_outside_a_program():
    batch = [jnp.arange(15.0).reshape(3, 5)] * 2
    functions = tree.squared_norm, jax.grad(tree.squared_norm)
    for _ in range(2):
        before = len(COMPILED)
        jax.block_until_ready([(f([b[0] for b in batch]), jax.vmap(f)(batch)) for f in functions])
    assert 0 < before == len(COMPILED)


def test_not_finite_numbers_show():
    assert jnp.isnan(tree.global_norm([jnp.array([jnp.nan, 1.0])]))
    assert jnp.isinf(tree.global_norm([jnp.array([jnp.inf, 1.0])]))


RANGE = [1e-36, 1e-30, 1e-25, 1e-19, 1e-10, 1.0, 1e10, 1e18, 1e20, 1e30, 1e38]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_norm_is_right_wherever_it_is_a_float(dtype, compiled):
    """Squares of float32 leave the range of the floats below 1e-19 and above 1e19."""
    norm = jax.jit(tree.global_norm) if compiled else tree.global_norm
    for size in RANGE:
        leaves = {"a": jnp.array([2.0, -1.0], dtype) * size, "b": jnp.full((1, 2), size / 10, "float32"), "c": None}
        wide = np.concatenate([np.asarray(x).astype(np.complex128).ravel() for x in jax.tree.leaves(leaves)])
        np.testing.assert_allclose(norm(leaves), np.linalg.norm(wide), rtol=1e-6)


def test_zeros_that_are_constants_of_a_program_have_norm_zero():
    """XLA multiplies what scales small numbers with itself first, where it knows the numbers."""
    zeros = {"a": jnp.zeros(3), "b": jnp.zeros(())}
    assert float(jax.jit(lambda: tree.global_norm(zeros))()) == 0


def test_the_norm_is_right_in_batches_and_in_double_precision(x64):
    sizes = jnp.array([0.0, 1e-300, 1e-160, 1e-25, 1.0, 1e25, 1e160, 1e300])
    leaves = [sizes[:, None] * jnp.array([[3.0, 4.0]]), jnp.zeros((8, 2), jnp.float32)]
    for norm in (jax.vmap(tree.global_norm), jax.jit(jax.vmap(tree.global_norm))):
        np.testing.assert_allclose(norm(leaves), 5 * sizes, rtol=1e-13)
    mixed = [jnp.array([3e30], jnp.float32), jnp.array([4e30])]
    np.testing.assert_allclose(tree.global_norm(mixed), 5e30, rtol=1e-7)
    np.testing.assert_allclose(tree.global_norm([jnp.full(2, 3e38, jnp.float32), jnp.ones(1)]), 18**0.5 * 1e38, 1e-7)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_gradient_is_right_wherever_the_norm_is(size):
    for transform in (lambda f: f, jax.jit, lambda f: lambda x: jax.vmap(f)(x[None])[0]):
        np.testing.assert_allclose(
            transform(jax.grad(tree.global_norm))(jnp.array([3.0, 4.0]) * size), [0.6, 0.8], 1e-6
        )


def test_the_second_derivative_is_right():
    np.testing.assert_allclose(jax.hessian(tree.global_norm)(jnp.array([3.0, 4.0]))[0], [0.128, -0.096], rtol=1e-6)


def test_derivatives_of_every_order_are_zero_at_zero():
    with jax.debug_nans(True):
        assert not jax.hessian(tree.global_norm)(jnp.zeros(2)).any()
        assert not jax.jit(jax.hessian(tree.global_norm))(jnp.zeros(2)).any()


def test_infinite_numbers_of_any_kind_make_the_norm_infinite_without_a_nan():
    with jax.debug_nans(True):
        for leaves in (
            [jnp.array([1.0, -jnp.inf])],
            [jnp.array([complex(1, np.inf)]), jnp.ones(2)],
            [jnp.full(9, 3e38)],
        ):
            assert jnp.isinf(tree.global_norm(leaves))
            assert jnp.isinf(jax.jit(tree.global_norm)(leaves))


def test_inner_products_are_of_real_and_imaginary_parts():
    x, y = {"a": jnp.array([1 + 2j]), "b": jnp.array([3.0])}, {"a": jnp.array([4 - 1j]), "b": jnp.array([5.0])}
    assert tree.inner(x, y).item() == 1 * 4 + 2 * -1 + 15
    assert tree.inner(x, y).dtype == jnp.float32
    assert tree.inner(x, x).item() == tree.squared_norm(x).item()


def test_inner_products_pass_over_what_is_absent_and_are_wide():
    narrow = jnp.full(300, 1, jnp.bfloat16)
    integers = np.zeros(2, jax.dtypes.float0)
    x, y = {"a": narrow, "b": None, "c": jnp.ones(2)}, {"a": narrow, "b": jnp.ones(2), "c": integers}
    assert tree.inner(x, y).item() == tree.inner(y | {"b": None}, x).item() == 300
    assert tree.inner({}, {}).item() == 0
    with pytest.raises(ValueError, match="an extra leaf"):
        tree.inner({"a": narrow}, {})


def test_a_weakly_typed_leaf_is_summed_in_float64_too(x64):
    total = jax.jit(lambda weak: tree.squared_norm({"w": weak}))(0.1)
    assert total.dtype == jnp.float64
    assert float(total) == pytest.approx(0.01, rel=1e-14)
