"""Transformations of one function."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx

PARAMS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
GRADS = {"a": jnp.array([3.0, 4.0]), "b": jnp.array(-1.0)}


def of_trees(updates, params):
    return jax.tree.map(lambda g, p: g * p, updates, GRADS if params is None else params)


def of_leaves(g, p):
    return 2 * g if p is None else g - 0.1 * p


@pytest.mark.parametrize("params", [PARAMS, None], ids=["params", "none"])
@pytest.mark.parametrize(("name", "f"), [("stateless", of_trees), ("stateless_with_tree_map", of_leaves)])
def test_equals_optax(name, f, params):
    ours, theirs = getattr(gradtx, name)(f), getattr(optax, name)(f)
    updates, state = jax.jit(ours.update)(GRADS, ours.init(PARAMS), params)
    expected, _ = theirs.update(GRADS, theirs.init(PARAMS), params)
    jax.tree.map(np.testing.assert_array_equal, updates, expected)
    assert state == gradtx.EmptyState()


def test_extras_reach_the_function_that_names_them():
    tx = gradtx.chain(gradtx.stateless(lambda u, p, value: jax.tree.map(lambda g: g / value, u)), gradtx.sgd(1.0))
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS, value=2.0, key=jax.random.key(0))
    np.testing.assert_array_equal(updates["a"], [-1.5, -2.0])


def test_leaves_are_computed_in_float32_and_absent_ones_stay_absent():
    grads = {"a": jnp.full(2, 300, jnp.bfloat16), "b": None}
    tx = gradtx.stateless_with_tree_map(lambda g, p: (g + 1) - 300)
    updates, _ = tx.update(grads, tx.init(grads))
    np.testing.assert_array_equal(updates["a"].astype(jnp.float32), [1.0, 1.0])
    assert updates["a"].dtype == jnp.bfloat16
    assert updates["b"] is None


def test_errors():
    with pytest.raises(
        gradtx.errors.ArgumentTypeError, match=r"stateless: expected f to be a function of \(updates, p"
    ):
        gradtx.stateless(lambda updates: updates)
    with pytest.raises(
        gradtx.errors.ArgumentTypeError, match=r"stateless_with_tree_map: expected f to be a function of"
    ):
        gradtx.stateless_with_tree_map(jnp.ones(2))
    tx = gradtx.stateless_with_tree_map(lambda g, p: jnp.sum(g))
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"a result of shape \[2\], got \[\] at \['a'\]"):
        tx.update(GRADS, tx.init(PARAMS))
