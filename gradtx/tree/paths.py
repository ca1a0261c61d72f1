"""Names of leaves, and errors that name the leaf at which two trees differ."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import TreeMismatchError


def is_none(node: Any) -> bool:
    """Whether a node is ``None``: an absent gradient or parameter, kept as a leaf where trees are compared."""
    return node is None


def is_inert(leaf: Any) -> bool:
    """Whether a leaf has no number to change: ``None``, float0 (JAX's gradient of an integer), or a typed PRNG key."""
    if leaf is None:
        return True
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and (dtype == jax.dtypes.float0 or jnp.issubdtype(dtype, jax.dtypes.extended))


def is_function(x: Any) -> bool:
    """Whether an argument is a function to call. A module that is a tree and can be called is a tree.

    Partial functions and bound methods are functions, though JAX and Equinox have some that are trees.
    """
    if not callable(x):
        return False
    return jax.tree_util.all_leaves([x]) or isinstance(x, functools.partial) or hasattr(x, "__func__")


def leaf_paths(tree: Any) -> list[str]:
    """The path of every leaf in Python's notation, such as ``['dense']['kernel']``; ``None`` counts as a leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_none)
    return [jax.tree_util.keystr(path) for path, _ in leaves]


def leaf_names(tree: Any) -> Any:
    """A tree like `tree` with each leaf replaced by its name, such as ``"dense/kernel"``, for globs to match.

    An array in one of Flax's boxes (a variable of NNX, ``nn.Partitioned``, ``nn.LogicallyPartitioned``) has the name of
    the box: ``"dense/kernel"``, not ``"dense/kernel/value"``.
    """

    def name(path: Any, node: Any) -> Any:
        text = jax.tree_util.keystr(path, simple=True, separator="/")
        return jax.tree.map(lambda _: text, node, is_leaf=is_none)

    return jax.tree_util.tree_map_with_path(name, tree, is_leaf=lambda node: node is None or _is_box(node))


_BOXES = {("Variable", "flax.nnx"), ("AxisMetadata", "flax.core")}
"""Flax's classes that hold an array and say something about it, by name, and the package each is defined in."""


def _is_box(node: Any) -> bool:
    kinds = type(node).__mro__
    return any(
        kind.__name__ == name and kind.__module__.startswith(package) for kind in kinds for name, package in _BOXES
    )


def flatten_like(tree: Any, treedef: Any, other: Any, label: str) -> list[Any]:
    """Flatten `other` up to the leaves of `tree`, or say at which leaf it differs."""
    try:
        leaves: list[Any] = treedef.flatten_up_to(other)
    except ValueError as error:
        raise difference(tree, other, label) from error
    return leaves


def difference(tree: Any, other: Any, label: str = "the state") -> TreeMismatchError:
    """The error that names the first leaf at which the structure of `other` differs from that of `tree`."""
    ours, theirs = leaf_paths(tree), leaf_paths(other)
    hint = "make the state with init(params) from the params that the gradients belong to"
    surplus, missing = _first_absent(ours, theirs), _first_absent(theirs, ours)
    if surplus is not None:
        return TreeMismatchError(f"updates with the structure of {label}", got="an extra leaf", at=surplus, hint=hint)
    if missing is not None:
        return TreeMismatchError(f"updates with the structure of {label}", got="no leaf", at=missing, hint=hint)
    expected, got = jax.tree.structure(other), jax.tree.structure(tree)
    return TreeMismatchError(f"updates with the structure of {label}, {expected}", got=str(got), hint=hint)


def _first_absent(names: Iterable[str], others: Iterable[str]) -> str | None:
    present = set(others)
    return next((name for name in names if name not in present), None)


def type_name(x: Any) -> str:
    """A short description of a node for messages: its type, and what is in it."""
    if is_inert(x):
        return "None" if x is None else f"{x.dtype}, which holds no number"
    if isinstance(x, dict):
        return f"a dict with {list(x)}"
    if type(x) in (tuple, list):
        return f"a {type(x).__name__} of {len(x)}"
    return type(x).__name__
