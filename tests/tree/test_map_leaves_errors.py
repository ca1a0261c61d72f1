"""Trees that do not fit: the message names the leaf, what was expected and what came."""

import jax
import jax.numpy as jnp
import pytest

from gradtx import tree
from gradtx.errors import ArgumentTypeError, TreeMismatchError

HINT = "; make the state with init(params) from the params that the gradients belong to"


def both(g, m):
    return g, m


def message(function, *args, kind=TreeMismatchError):
    with pytest.raises(kind) as error:
        function(*args)
    return str(error.value)


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_shape(jit):
    g = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    m = {"dense": {"kernel": jnp.ones((2, 4)), "bias": jnp.ones(3)}}
    assert message(jit(lambda g, m: tree.map_leaves(both, g, m)), g, m) == (
        "gradtx: expected updates, state and params of one shape, got float32[2, 3] and float32[2, 4] "
        f"at ['dense']['kernel']{HINT}"
    )


def test_shapes_are_not_broadcast():
    assert "got float32[3] and float32[]" in message(lambda: tree.map_leaves(both, jnp.ones(3), jnp.ones(())))


def test_an_extra_leaf():
    g, m = {"a": jnp.ones(1), "b": jnp.ones(1)}, {"a": jnp.ones(1)}
    assert message(tree.map_leaves, both, g, m) == (
        f"gradtx: expected updates with the structure of the state, got an extra leaf at ['b']{HINT}"
    )


def test_a_missing_leaf():
    g, m = {"a": jnp.ones(1)}, {"a": jnp.ones(1), "b": {"c": jnp.ones(1)}}
    assert message(tree.map_leaves, both, g, m) == (
        f"gradtx: expected updates with the structure of the state, got no leaf at ['b']['c']{HINT}"
    )


def test_read_trees_are_called_params():
    g, p = {"a": jnp.ones(1)}, {"b": jnp.ones(1)}
    assert message(lambda: tree.map_leaves(lambda g, p: g, g, read=(p,))) == (
        f"gradtx: expected updates with the structure of params, got an extra leaf at ['a']{HINT}"
    )


def test_another_container_with_the_same_paths():
    text = message(tree.map_leaves, both, [jnp.ones(1)], (jnp.ones(1),))
    assert text == (
        "gradtx: expected updates with the structure of the state, PyTreeDef((*,)), got PyTreeDef([*])" + HINT
    )


def test_a_subtree_where_a_leaf_is_expected():
    text = message(tree.map_leaves, both, {"a": jnp.ones(1)}, {"a": {"b": jnp.ones(1)}})
    assert text == f"gradtx: expected an array in every tree, got a dict with ['b'] at ['a']{HINT}"
    text = message(tree.map_leaves, both, {"a": jnp.ones(2)}, {"a": [1.0, 2.0]})
    assert text == f"gradtx: expected an array in every tree, got a list of 2 at ['a']{HINT}"


def test_an_absent_state_or_parameter():
    assert message(tree.map_leaves, both, {"a": jnp.ones(1)}, {"a": None}) == (
        f"gradtx: expected an array in every tree, got None at ['a']{HINT}"
    )
    assert message(lambda: tree.map_leaves(lambda g, p: g, jnp.ones(1), read=(None,))) == (
        f"gradtx: expected an array in every tree, got None{HINT}"
    )


def test_an_output_of_another_shape():
    rates = jnp.ones(2)
    text = message(lambda: tree.map_leaves(lambda g: rates[:, None] * g, {"w": jnp.ones(3)}))
    assert text == (
        "gradtx: expected a result of shape [3], got [2, 3] at ['w']; "
        "hyperparameters are scalars here; to sweep an array of them use jax.vmap with sweep_axes(tx)"
    )


@pytest.mark.parametrize(("outputs", "expected"), [(1, 2), (3, 2)])
def test_the_number_of_outputs(outputs, expected):
    text = message(
        lambda: tree.map_leaves(lambda g, m: (g,) * outputs, jnp.ones(1), jnp.ones(1)), kind=ArgumentTypeError
    )
    assert text == f"gradtx: expected a leaf function with {expected} outputs, one per tree, got {outputs}"
