"""The cases themselves: what the laws are run with is consistent."""

import inspect

import chex
import jax
import jax.numpy as jnp
import pytest

from tests.conformance.cases import ARGUMENTS, REGISTRY, VALUES, extras, gradients, params_like


def test_every_registered_name_has_a_case():
    assert {name.partition("+")[0] for name in VALUES} == set(REGISTRY)


def test_every_argument_given_is_one_some_factory_requires():
    required = {
        key
        for factory in REGISTRY.values()
        for key, p in factory.signature.parameters.items()
        if p.default is inspect.Parameter.empty
    }
    assert set(ARGUMENTS) <= required


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_the_extras_of_a_step_belong_to_one_loss(dtype):
    params = params_like(dtype)
    grads = gradients(params, steps=1)
    grads = jax.tree.map(lambda x: x[0], grads)
    given = extras(params, grads, 3)
    elsewhere = jax.tree.map(lambda p: 2 * p + 1, params)
    assert given["value_fn"](params) == given["value"]
    chex.assert_trees_all_equal(given["grad_fn"](params), given["grad"])
    for q in (params, elsewhere):
        # JAX's derivative by a complex number is the conjugate of the direction of ascent, which updates are.
        expected = jax.tree.map(jnp.conj, jax.grad(given["value_fn"])(q))
        chex.assert_trees_all_close(given["grad_fn"](q), expected, rtol=1e-6)
        chex.assert_trees_all_equal(given["value_and_grad_fn"](q), (given["value_fn"](q), given["grad_fn"](q)))


def test_the_extras_pass_over_absent_gradients():
    params = {"a": jnp.ones(2), "b": jnp.arange(3), "c": None}
    grads = jax.grad(lambda p: jnp.sum(p["a"]), allow_int=True)(params) | {"a": None}
    given = extras(params, grads, 0)
    assert given["value_fn"](params) == given["value"]
    assert given["grad_fn"](params) == grads
