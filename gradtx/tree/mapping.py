"""One function of the leaves of several trees."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.errors import ArgumentTypeError, GradtxError, TreeMismatchError
from gradtx.tree.arithmetic import accumulator_dtype, cast, widen
from gradtx.tree.paths import flatten_like, is_inert, is_none, leaf_paths, type_name

Row = tuple[Any, ...]
"""An array of each tree, all at one leaf."""

HINT = "make the state with init(params) from the params that the gradients belong to"


def map_leaves(leaf: Callable[..., Any], *trees: Any, read: Sequence[Any] = (), **numbers: Any) -> Any:
    """Replace several trees by the outputs of one function of their leaves.

    ``a, b = map_leaves(leaf, a, b, read=(c,))`` calls ``leaf(a_i, b_i, c_i)`` for each leaf i. Output k takes the
    place of tree k and keeps its dtype; the trees under `read` are only read. The function sees every array in at
    least float32 (complex64 if complex), so it does its arithmetic there whatever the storage. Numbers that are arrays
    are given by name: ``map_leaves(lambda u, *, rate: rate * u, u, rate=rate)``. Each leaf gets them in its own real
    dtype; a function that found them around itself would be raised to float64 by them in x64 mode.

    Args:
      leaf: a function of one array per tree that returns one array per tree of `trees` (a tuple if several).
      *trees: the trees to replace. The first one decides the structure. Where it has no number (``None``, float0, which
        is the gradient of an integer, or a PRNG key), the leaf is skipped: all trees keep what they have there.
      read: further trees of the same structure.
      **numbers: what the function gets by name: numbers, or trees of them.

    Returns:
      One tree, or a tuple of trees, like `trees`.

    Raises:
      TreeMismatchError: the structures or shapes differ, or an output does not have the shape of the leaf it replaces.
    """
    treedef: Any
    leaves, treedef = jax.tree.flatten(trees[0], is_leaf=is_none)
    columns = [leaves]
    columns += [flatten_like(trees[0], treedef, tree, "the state") for tree in trees[1:]]
    columns += [flatten_like(trees[0], treedef, tree, "params") for tree in read]
    outputs: list[Row] = []
    for index, row in enumerate(zip(*columns, strict=True)):
        kept = row[: len(trees)]
        if is_inert(row[0]):
            outputs.append(kept)
            continue
        try:
            outputs.append(_replaced(leaf, len(trees), arrays_of_one_shape(trees[0], index, row), numbers))
        except GradtxError as error:
            error.at = error.at or leaf_paths(trees[0])[index]
            raise
    results = tuple(treedef.unflatten(column) for column in zip(*outputs, strict=True)) if outputs else trees
    return results[0] if len(trees) == 1 else results


def _replaced(leaf: Callable[..., Any], kept: int, row: Row, numbers: dict[str, Any]) -> Row:
    """The outputs of a leaf function, its arithmetic in accumulator dtypes, its results as they are stored."""
    wide = tuple(map(widen, row))
    outputs = leaf(*wide, **numbers_beside(wide, numbers))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    if len(outputs) != kept:
        raise ArgumentTypeError(f"a leaf function with {kept} outputs, one per tree", got=str(len(outputs)))
    for y in outputs:
        require_shape(y, row[0])
    return tuple(cast(y, stored_dtype(x.dtype)) for x, y in zip(row, outputs, strict=False))


def numbers_beside(row: Row, numbers: Any) -> Any:
    """Numbers in the real dtype of the arrays they meet; those of Python, counters and flags as they are."""
    real = accumulator_dtype(np.result_type(*(x.dtype for x in row)), real=True)

    def beside(x: Any) -> Any:
        return cast(x, real) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(beside, numbers)


def require_shape(y: Any, x: Any) -> None:
    """Refuse a result that does not have the shape of the array it replaces."""
    if jnp.shape(y) != jnp.shape(x):
        raise TreeMismatchError(
            f"a result of shape {list(jnp.shape(x))}",
            got=str(list(jnp.shape(y))),
            hint="hyperparameters are scalars here; to sweep an array of them use jax.vmap with sweep_axes(tx)",
        )


def stored_dtype(dtype: Any) -> Any:
    """The dtype of a result: that of what it replaces, unless an integer could not hold it."""
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else accumulator_dtype(dtype)


def arrays_of_one_shape(tree: Any, index: int, row: Row) -> Row:
    """A row with numbers made arrays of one shape, or an error with the path of leaf `index` of the tree."""
    for x in row:
        if is_inert(x) or not jax.tree_util.all_leaves([x]):
            at = leaf_paths(tree)[index]
            raise TreeMismatchError("an array in every tree", got=type_name(x), at=at, hint=HINT)
    arrays = tuple(x if isinstance(x, jax.Array) else jnp.asarray(x) for x in row)
    for x in arrays[1:]:
        if x.shape != arrays[0].shape:
            shapes = (f"{a.dtype}{list(a.shape)}" for a in (arrays[0], x))
            at = leaf_paths(tree)[index]
            raise TreeMismatchError(
                "updates, state and params of one shape", got=" and ".join(shapes), at=at, hint=HINT
            )
    return arrays
