"""Operations that cost little, traced and eagerly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx.tree.operations import add, compiled, divide, multiply, sum_elements
from tests.conformance.test_execution import COMPILED

OPERANDS = {
    "arrays": (jnp.array([1.0, 2.0]), jnp.array([4.0, 8.0])),
    "scalar": (jnp.float32(3), jnp.array([4.0, 8.0])),
    "scalar on the right": (jnp.array([4.0, 8.0]), jnp.float32(3)),
    "rows": (jnp.ones((2, 1)), jnp.array([4.0, 8.0])),
    "number": (3.0, jnp.array([4.0, 8.0])),
    "dtypes": (jnp.array([1.0, 2.0]), jnp.array([1 + 1j, 2j])),
}


@pytest.mark.parametrize("operands", OPERANDS.values(), ids=OPERANDS)
@pytest.mark.parametrize(("own", "plain"), [(add, jnp.add), (multiply, jnp.multiply), (divide, jnp.divide)])
def test_operations_are_those_of_jax_numpy(own, plain, operands):
    expected = plain(*operands)
    for result in (own(*operands), jax.jit(own)(*operands)):
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_sums():
    x = jnp.arange(6.0).reshape(2, 3)
    assert sum_elements(x).item() == jax.jit(sum_elements)(x).item() == 15.0


def test_a_python_number_beside_a_traced_double(x64):
    # To NumPy, None is a name for float64.
    x = jnp.array([4.0, 8.0])
    assert jax.jit(lambda x: multiply(3.0, x))(x).tolist() == [12.0, 24.0]


@compiled(2)
def shifted(a, x, negative):
    return a * x - 1 if negative else a * x + 1


def test_new_numbers_compile_nothing():
    x = jnp.ones(3)
    for a in (0.5, 2.0):
        assert shifted(a, x, True).tolist() == [a - 1] * 3
        assert shifted(a, x, False).tolist() == [a + 1] * 3
    before = len(COMPILED)
    shifted(8.5, x, True), shifted(9.5, x, False)
    assert len(COMPILED) == before


def test_a_compiled_function_leaves_no_call_in_a_program():
    jaxpr = jax.make_jaxpr(lambda x: shifted(0.5, x, True))(jnp.ones(3))
    assert {eqn.primitive.name for eqn in jaxpr.eqns} <= {"mul", "sub", "convert_element_type"}


def test_a_compiled_function_can_be_transformed():
    x = jnp.arange(3.0)
    assert jax.vmap(shifted, (0, None, None))(x, x, True).tolist() == (x[:, None] * x - 1).tolist()
    assert jax.grad(lambda a: shifted(a, x, True).sum())(2.0).item() == 3.0
