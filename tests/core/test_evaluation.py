"""Values and gradients at other points: what is derived from what, and what parts of a tree see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx import adam, chain, masked, partition, sgd
from gradtx.combinators.selection import select_extras
from gradtx.core import from_functions, grad_function, value_and_grad_function, value_function
from gradtx.errors import ArgumentTypeError, MissingExtraError


def loss(p):
    return jnp.sum(p**3)


def both(p):
    return loss(p), 3 * p**2


P = jnp.array([1.0, -2.0])
SUFFICIENT = {
    "value_fn": {"value_fn": loss},
    "value_and_grad_fn": {"value_and_grad_fn": both},
    "value_fn, grad_fn": {"value_fn": loss, "grad_fn": lambda p: both(p)[1]},
}


@pytest.mark.parametrize("extra", SUFFICIENT.values(), ids=SUFFICIENT)
def test_each_is_derived_from_another(extra):
    assert value_function(extra)(P) == -7
    np.testing.assert_array_equal(grad_function(extra)(P), [3, 12])
    value, grad = value_and_grad_function(extra)(P)
    assert value == -7
    np.testing.assert_array_equal(grad, [3, 12])


def test_what_is_passed_is_what_is_used():
    extra = {"value_fn": loss, "grad_fn": lambda p: 0 * p, "value_and_grad_fn": lambda p: (jnp.float32(1), p)}
    assert value_function(extra)(P) == -7
    np.testing.assert_array_equal(grad_function(extra)(P), [0, 0])
    np.testing.assert_array_equal(value_and_grad_function(extra)(P)[1], P)


def test_a_value_cannot_be_derived_from_a_gradient():
    extra = {"grad_fn": jax.grad(loss)}
    for derive, keyword in ((value_function, "value_fn"), (value_and_grad_function, "value_and_grad_fn")):
        with pytest.raises(MissingExtraError, match=keyword):
            derive(extra)


@pytest.mark.parametrize("keyword", ["value_fn", "grad_fn", "value_and_grad_fn"])
def test_a_function_of_more_than_the_params_is_an_error(keyword):
    def wants_more(p, batch, *, key):
        return p

    derive = {"value_fn": value_function, "grad_fn": grad_function, "value_and_grad_fn": value_and_grad_function}[
        keyword
    ]
    for function in (wants_more, jax.jit(wants_more)):
        with pytest.raises(ArgumentTypeError, match=rf"{keyword} .* that wants batch, key too; close over the batch"):
            derive({keyword: function})
    for function in (
        functools.partial(wants_more, batch=1, key=2),
        lambda p, batch=1: p,
        lambda *args, **kwargs: args[0],
        jnp.sum,
        max,
    ):
        assert derive({keyword: function}) is function


def test_the_error_names_member_keyword_and_build_step():
    tx = from_functions(lambda params: (), lambda u, s, params=None, **extra: (grad_function(extra)(params), s))
    message = (
        r"gradtx.from_functions: expected update\(..., grad_fn=...\), got neither it nor a function it can be made of; "
        r"build_step passes it; by hand, pass grad_fn, a function of the params for this step's batch"
    )
    with pytest.raises(MissingExtraError, match=message):
        chain(sgd(0.1), tx).update(P, ((), ()), P)


def test_a_derived_gradient_of_a_complex_leaf_ascends():
    target = jnp.array([1 + 2j])
    z = jnp.array([0j])
    grad = grad_function({"value_fn": lambda z: jnp.sum(jnp.abs(z - target) ** 2)})(z)
    np.testing.assert_allclose(z - 0.5 * grad, target)


def test_an_integer_leaf_has_no_gradient():
    grads = grad_function({"value_fn": lambda p: jnp.sum(p["w"] ** 2)})({"w": P, "table": jnp.arange(2)})
    np.testing.assert_array_equal(grads["w"], 2 * P)
    assert grads["table"].dtype == jax.dtypes.float0


def step_along_gradient_at_double():
    """Asks for the gradient at twice the parameters it sees."""

    def update(updates, state, params=None, **extra):
        grads = grad_function(extra)(jax.tree.map(lambda p: 2 * p, params))
        assert jax.tree.structure(grads) == jax.tree.structure(params)
        return grads, state

    return from_functions(lambda params: (), update)


def product(p):
    return p["a"] * p["b"] ** 2


@pytest.mark.parametrize(
    "extra",
    [{"value_fn": product}, {"value_and_grad_fn": jax.value_and_grad(product)}, {"grad_fn": jax.grad(product)}],
    ids=list,
)
@pytest.mark.parametrize("around", ["masked", "partition", "nested"])
def test_a_part_of_a_tree_gets_functions_of_that_part(extra, around):
    inner = step_along_gradient_at_double()
    tx = {
        "masked": masked(inner, "b"),
        "partition": partition({"b": inner, "*": adam(0.1)}),
        "nested": partition({"b": masked(inner, "b"), "*": adam(0.1)}),
    }[around]
    params = {"a": jnp.float32(3.0), "b": jnp.float32(5.0)}
    updates, _ = jax.jit(lambda u, s, p: tx.update(u, s, p, **extra))(params, tx.init(params), params)
    assert updates["b"] == 2 * 3.0 * (2 * 5.0)  # a is held at 3


def test_restrict_narrows_the_gradients_before_any_transformation():
    params = {"a": P, "b": P}
    extra = select_extras({"grad": params, "key": 1}, None, {"a": True, "b": False})
    assert jax.tree.leaves(extra["grad"])[0] is P
    assert len(jax.tree.leaves(extra["grad"])) == 1
    assert extra["key"] == 1
