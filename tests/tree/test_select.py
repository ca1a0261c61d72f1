"""Masks as trees, prefixes, functions and globs; trees with leaves left out; names and paths of leaves."""

import functools

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx import tree
from gradtx.errors import ArgumentTypeError, TreeMismatchError
from gradtx.tree.paths import is_function
from gradtx.tree.select import matches
from gradtx.typing import MaskedNode

PARAMS = {
    "dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
    "head": [{"kernel": jnp.ones(3), "bias": jnp.ones(1)}],
    "frozen": None,
}
ALL_FALSE = {
    "dense": {"kernel": False, "bias": False},
    "head": [{"kernel": False, "bias": False}],
    "frozen": False,
}
KERNELS = {
    "dense": {"kernel": True, "bias": False},
    "head": [{"kernel": True, "bias": False}],
    "frozen": False,
}
EVERYTHING = jax.tree.map(lambda _: True, ALL_FALSE)


def test_leaf_names_and_paths():
    assert tree.leaf_names(PARAMS) == {
        "dense": {"kernel": "dense/kernel", "bias": "dense/bias"},
        "head": [{"kernel": "head/0/kernel", "bias": "head/0/bias"}],
        "frozen": "frozen",
    }
    assert tree.leaf_paths(PARAMS) == [
        "['dense']['bias']",
        "['dense']['kernel']",
        "['frozen']",
        "['head'][0]['bias']",
        "['head'][0]['kernel']",
    ]
    assert tree.leaf_names(jnp.ones(2)) == ""
    assert tree.leaf_names({"attention": {"value": jnp.ones(2)}}) == {"attention": {"value": "attention/value"}}
    assert tree.leaf_names(MaskedNode()) == MaskedNode()


class Module(equinox.Module):
    weight: jax.Array

    def __call__(self, x):
        return self.weight * x

    def method(self, x):
        return x


def test_what_is_a_function_and_what_a_tree():
    module = Module(jnp.ones(2))
    partials = functools.partial(jnp.add, 1.0), jax.tree_util.Partial(jnp.add, jnp.ones(2))
    for function in (jnp.add, lambda x: x, Module, module.method, "".join, *partials):
        assert is_function(function)
    for other in (module, 3.0, "*", None, {"a": jnp.add}):
        assert not is_function(other)


@pytest.mark.parametrize(
    ("name", "globs", "expected"),
    [
        ("dense/kernel", "*/kernel", True),
        ("a/b/kernel", "*/kernel", True),
        ("kernel", "*/kernel", False),
        ("kernel", "*kernel", True),
        ("dense/Kernel", "*/kernel", False),
        ("layer1/w", "layer[0-3]/*", True),
        ("layer7/w", "layer[0-3]/*", False),
        ("dense/bias", ("*/kernel", "*/bias"), True),
        ("dense/bias", (), False),
        ("", "*", True),
    ],
)
def test_globs(name, globs, expected):
    assert matches(name, globs) is expected


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (None, EVERYTHING),
        (True, EVERYTHING),
        (False, ALL_FALSE),
        ("*/kernel", KERNELS),
        ("*kernel", KERNELS),
        (("dense/kernel", "head/*/kernel"), KERNELS),
        (["dense/kernel", "head/*/kernel"], KERNELS),
        ("nothing", ALL_FALSE),
        (KERNELS, KERNELS),
        (
            {"dense": {"kernel": np.bool_(True), "bias": jnp.array(False)}, "head": KERNELS["head"], "frozen": False},
            KERNELS,
        ),
        ({"dense": KERNELS["dense"], "head": [KERNELS["dense"]], "frozen": False}, KERNELS),
        (lambda params: jax.tree.map(lambda x: "kernel" in x, tree.leaf_names(params)), KERNELS),
        (
            {"dense": True, "head": False, "frozen": False},
            {**ALL_FALSE, "dense": {"kernel": True, "bias": True}},
        ),
    ],
)
def test_masks(mask, expected):
    resolved = tree.resolve_mask(mask, PARAMS)
    assert resolved == expected
    assert all(type(x) is bool for x in jax.tree.leaves(resolved))


def test_a_mask_of_none_leaves_follows_the_tree():
    by_ndim = tree.resolve_mask(lambda p: jax.tree.map(lambda x: x.ndim > 1, p), PARAMS)
    assert by_ndim["frozen"] is None
    assert by_ndim["dense"] == {"kernel": True, "bias": False}


@pytest.mark.parametrize(
    ("leaf", "shown"),
    [(1, "1"), (1.0, "1.0"), ("x", "'x'"), (np.array([True]), "array([ True])"), (np.float32(1), "np.float32(1.0)")],
)
def test_bad_mask_leaves(leaf, shown):
    with pytest.raises(ArgumentTypeError) as error:
        tree.resolve_mask({"a": {"b": leaf}, "c": True}, {"a": {"b": 1.0}, "c": 1.0})
    assert str(error.value) == (
        f"gradtx: expected a mask of booleans, got {shown} at ['a']['b']; use True or False at each leaf"
    )


def test_a_traced_mask_is_refused():
    def traced(params):
        return tree.resolve_mask(lambda p: jax.tree.map(lambda x: jnp.sum(x) > 0, p), params)

    with pytest.raises(ArgumentTypeError, match=r"expected a mask of booleans, got .* at \['w'\]"):
        jax.jit(traced)({"w": jnp.ones(2)})


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        ({"a": True}, "got no entry at ['b']"),
        ({"a": True, "b": True, "c": True}, "got an extra entry at ['c']"),
        ({"a": {"x": True}, "b": {"z": True}}, "got an extra entry at ['b']['z']"),
        ({"a": {"x": {"y": True}}, "b": True}, "got an extra entry at ['a']['x']['y']"),
        ([True, True], "got an extra entry at [0]"),
        ((), "got no entry at ['a']['x']"),
    ],
)
def test_masks_of_another_structure(mask, problem):
    with pytest.raises(TreeMismatchError) as error:
        tree.resolve_mask(mask, {"a": {"x": 1.0}, "b": 1.0})
    assert str(error.value) == f"gradtx: expected the mask to be a tree like the params, or a prefix of it, {problem}"


def test_masks_of_another_container():
    with pytest.raises(TreeMismatchError, match=r"got PyTreeDef\(\[\*\]\) for PyTreeDef\(\(\*,\)\)$"):
        tree.resolve_mask([True], (1.0,))


def test_keep_and_restore():
    whole = {"a": 1.0, "b": 2.0, "c": None}
    part = tree.keep_selected(whole, {"a": True, "b": False, "c": True})
    assert part == {"a": 1.0, "b": MaskedNode(), "c": None}
    assert jax.tree.leaves(part) == [1.0]
    assert tree.put_back(part, {"a": 9.0, "b": 8.0, "c": None}) == {"a": 1.0, "b": 8.0, "c": None}


def test_keep_treats_an_absent_choice_as_an_absent_leaf():
    assert tree.keep_selected({"a": None, "b": 1.0}, {"a": None, "b": False}) == {"a": None, "b": MaskedNode()}


def test_keep_names_the_leaf_that_differs():
    with pytest.raises(TreeMismatchError) as error:
        tree.keep_selected({"a": 1.0, "c": 1.0}, {"a": True, "b": True})
    assert str(error.value).startswith(
        "gradtx: expected updates with the structure of params, got an extra leaf at ['b']"
    )
