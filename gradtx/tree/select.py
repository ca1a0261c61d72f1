"""Choosing leaves: masks as trees, functions or globs, and trees with leaves left out."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from gradtx.tree.paths import difference, is_function, is_none, leaf_names
from gradtx.typing import Mask, MaskedNode


def matches(name: str, globs: str | Sequence[str]) -> bool:
    """Whether a leaf name such as ``"dense/kernel"`` matches a glob, or any of several; ``*`` also matches ``/``."""
    patterns = (globs,) if isinstance(globs, str) else globs
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def broadcast_prefix(prefix: Any, tree: Any, label: str) -> Any:
    """Repeat each leaf of `prefix` over the subtree of `tree` at its place."""
    try:
        return jax.tree.map(lambda x, sub: jax.tree.map(lambda _: x, sub, is_leaf=is_none), prefix, tree)
    except ValueError as error:
        raise _prefix_error(prefix, tree, label) from error


def _prefix_error(prefix: Any, tree: Any, label: str) -> TreeMismatchError:
    ours = [path for path, _ in jax.tree_util.tree_leaves_with_path(prefix, is_leaf=is_none)]
    theirs = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_none)]
    expected = f"{label} to be a tree like the params, or a prefix of it"
    surplus = next((p for p in ours if not any(p == q[: len(p)] for q in theirs)), None)
    if surplus is not None:
        return TreeMismatchError(expected, got="an extra entry", at=jax.tree_util.keystr(surplus))
    missing = next((q for q in theirs if not any(p == q[: len(p)] for p in ours)), None)
    if missing is not None:
        return TreeMismatchError(expected, got="no entry", at=jax.tree_util.keystr(missing))
    return TreeMismatchError(expected, got=f"{jax.tree.structure(prefix)} for {jax.tree.structure(tree)}")


def resolve_mask(mask: Mask, tree: Any) -> Any:
    """The tree of Python booleans that a mask means for `tree`.

    Args:
      mask: ``None`` (everything), a glob, a tuple of globs, a function of the tree, or a tree or prefix of booleans.
      tree: the tree whose leaves are chosen.

    Raises:
      ArgumentTypeError: a leaf of the mask is not a boolean.
      TreeMismatchError: the mask's structure is not a prefix of the tree's.
    """
    if mask is None:
        return jax.tree.map(lambda _: True, tree, is_leaf=is_none)
    if is_glob(mask):
        return jax.tree.map(lambda name: matches(name, mask), leaf_names(tree))
    chosen = broadcast_prefix(mask(tree) if is_function(mask) else mask, tree, "the mask")
    check_flags(chosen, "a mask of booleans", hint="use True or False at each leaf")
    return jax.tree.map(bool, chosen)


def check_flags(mask: Any, expected: str, hint: str = "") -> None:
    """Raise an `ArgumentTypeError` at the first leaf of a tree that is not a boolean."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(mask):
        if isinstance(leaf, bool) or (getattr(leaf, "dtype", None) == jnp.bool_ and leaf.ndim == 0 and _concrete(leaf)):
            continue
        raise ArgumentTypeError(expected, got=f"{leaf!r}", at=jax.tree_util.keystr(path), hint=hint)


def require_matches(mask: Mask, params: Any) -> Any:
    """`resolve_mask`, for ``init``: a glob that matches no leaf at all is taken for a mistake.

    Raises:
      ArgumentValueError: the mask is one glob or several, the tree has leaves, and one of the globs matches none.
    """
    chosen = resolve_mask(mask, params)
    if is_glob(mask) and jax.tree.leaves(params):
        names = jax.tree.leaves(leaf_names(params))
        for glob in (mask,) if isinstance(mask, str) else mask:
            if not any(matches(name, glob) for name in names):
                raise no_match(glob, params)
    return chosen


def no_match(glob: Any, params: Any) -> ArgumentValueError:
    """The error for a glob that matches no leaf."""
    names = [name for name in jax.tree.leaves(leaf_names(params)) if name]
    shown = ", ".join(map(repr, names[:4])) + (", ..." if len(names) > 4 else "")
    return ArgumentValueError(
        f"a glob that is the first to match some leaf of {shown}",
        got=f"{glob!r}",
        hint="'*' matches '/' too, but '*/kernel' does not match a leaf 'kernel' at the top",
    )


def is_glob(mask: Mask) -> bool:
    """Whether a mask is a glob, or several."""
    if isinstance(mask, str):
        return True
    return isinstance(mask, tuple | list) and bool(mask) and all(isinstance(g, str) for g in mask)


def _concrete(x: Any) -> bool:
    return not isinstance(x, jax.core.Tracer)


def keep_selected(tree: Any, chosen: Any) -> Any:
    """`tree` with a `MaskedNode` at each leaf that is not chosen; an absent leaf (``None``) stays as it is."""
    try:
        return jax.tree.map(lambda c, x: x if c is None or c else MaskedNode(), chosen, tree, is_leaf=is_none)
    except ValueError as error:
        raise difference(chosen, tree, "params") from error


def put_back(part: Any, whole: Any) -> Any:
    """`whole` with the leaves of `part` put back where `part` is not masked."""
    return jax.tree.map(
        lambda p, w: w if isinstance(p, MaskedNode) else p,
        part,
        whole,
        is_leaf=lambda node: node is None or isinstance(node, MaskedNode),
    )
