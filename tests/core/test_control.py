"""Control flow: Python's where everything is known, JAX's in a program."""

import jax
import jax.numpy as jnp
import pytest

from gradtx.core import cond, scan_carry, while_loop


def primitives(function, *args):
    return [str(eqn.primitive) for eqn in jax.make_jaxpr(function)(*args).eqns]


def halve(x):
    return while_loop(lambda x: x > 1, lambda x: x / 2, x)


def test_cond_calls_one_branch_that_gets_arrays():
    def never(x):
        raise AssertionError(x)

    def doubled(x):
        assert not isinstance(x, jax.core.Tracer)
        return 2 * x

    one = jnp.ones(())
    assert cond(one > 0, doubled, never, one) == 2
    assert cond(one < 0, never, doubled, one) == 2
    assert cond(True, doubled, never, one) == 2


def test_cond_of_a_traced_predicate_is_in_the_program():
    def absolute(x):
        return cond(x > 0, lambda x: x, lambda x: -x, x)

    assert "cond" in primitives(absolute, 1.0)
    assert jax.jit(absolute)(-3.0) == 3
    assert jax.vmap(absolute)(jnp.array([-1.0, 2.0])).tolist() == [1, 2]
    assert jax.grad(absolute)(-3.0) == -1


@pytest.mark.parametrize("start", [0.5, 1.0, 8.0, 9.0])
def test_while_loop(start):
    assert "while" in primitives(halve, start)
    assert halve(jnp.float32(start)) == jax.jit(halve)(jnp.float32(start)) <= 1


def test_while_loop_goes_on_in_a_program_once_its_value_is_traced():
    def steps(rate):
        def add(state):
            return state[0] + rate, state[1] + 1

        return while_loop(lambda state: state[0] < 10, add, (jnp.zeros(()), 0))

    assert jax.vmap(steps)(jnp.array([1.0, 4.0]))[1].tolist() == [10, 3]
    assert jax.jit(steps)(5.0)[1] == 2
    assert steps(jnp.float32(5.0))[1] == 2


def test_fold():
    def total(xs):
        return scan_carry(lambda total, x: total + x, jnp.zeros(()), xs)

    xs = jnp.arange(4.0)
    assert "scan" in primitives(total, xs)
    assert total(xs) == jax.jit(total)(xs) == 6
    assert total(xs[:0]) == 0
    keys = jax.random.split(jax.random.key(0), 3)
    drawn = scan_carry(lambda total, key: total + jax.random.normal(key), jnp.zeros(()), keys)
    assert jnp.allclose(drawn, sum(jax.random.normal(key) for key in keys))
