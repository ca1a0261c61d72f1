"""One leaf function, several trees, one traversal."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import ArgumentTypeError, TreeMismatchError
from gradtx.tree.arithmetic import accumulator_dtype, cast
from gradtx.tree.paths import absent, flatten_like, is_none, leaf_paths, type_name

Row = tuple[Any, ...]


def map_leaves(leaf: Callable[..., Any], *trees: Any, read: Sequence[Any] = (), share: bool = True) -> Any:
    """Replace several trees by the outputs of one function of their leaves.

    ``a, b = map_leaves(leaf, a, b, read=(c,))`` calls ``leaf(a_i, b_i, c_i)`` for each leaf i. Output k takes the
    place of tree k and keeps its dtype; the trees under `read` are only read. The function sees every array in at
    least float32 (complex64 if complex), so it does its arithmetic there whatever the storage.

    Under a trace the function is traced once for each distinct combination of shapes and dtypes, and leaves that are
    alike share one call in the lowered program.

    Args:
      leaf: a function of one array per tree that returns one array per tree of `trees` (a tuple if several).
      *trees: the trees to replace. The first one decides the structure. Where it has ``None`` (or a float0 array,
        the gradient of an integer), the leaf is skipped: all trees keep what they have there.
      read: further trees of the same structure.
      share: ``False`` repeats the operations for every leaf. For a function of one or two operations that is cheaper
        than a call: tracing and lowering take some 60 microseconds for an operation, and 140 for a call.

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
    rows: list[Row] = list(zip(*columns, strict=True))
    outputs = _apply(leaf, rows, len(trees), trees[0], share)
    results = tuple(treedef.unflatten(column) for column in zip(*outputs, strict=True))
    if not rows:
        results = trees
    return results[0] if len(trees) == 1 else results


def _apply(leaf: Callable[..., Any], rows: list[Row], kept: int, tree: Any, share: bool) -> list[Row]:
    """Call the leaf function on every row, through one shared trace where rows are alike."""

    def call(*row: Any) -> Row:
        outputs = leaf(*[cast(x, accumulator_dtype(x.dtype)) for x in row])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if len(outputs) != kept:
            raise ArgumentTypeError(f"a leaf function with {kept} outputs, one per tree", got=str(len(outputs)))
        return tuple([cast(y, _stored(x.dtype)) for x, y in zip(row, outputs, strict=False)])

    call.__name__ = call.__qualname__ = getattr(leaf, "__qualname__", "leaf").split(".<locals>")[0]
    # A function traced alone is cheaper to call than to share; eagerly, sharing would compile at every step.
    sharing = share and any(isinstance(x, jax.core.Tracer) for row in rows for x in row)
    repeats = collections.Counter(map(_key, rows)) if sharing else {}
    shared = jax.jit(call) if sharing else call

    outputs: list[Row] = []
    for index, row in enumerate(rows):
        if absent(row[0]):
            outputs.append(row[:kept])
            continue
        for x in row:
            if not isinstance(x, jax.Array):
                row = _arrays(tree, index, row)
                break
        shape = row[0].shape
        for x in row:
            if x.shape != shape:
                raise _shape_error(tree, index, row)
        output = (call if sharing and repeats[_key(row)] < 2 else shared)(*row)
        for y in output:
            if y.shape != shape:
                raise _output_error(tree, index, row, output)
        outputs.append(output)
    return outputs


@functools.cache
def _stored(dtype: Any) -> Any:
    """The dtype of a result: that of what it replaces, unless an integer could not hold it."""
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else accumulator_dtype(dtype)


def _key(row: Row) -> tuple[Any, ...]:
    return tuple((getattr(x, "shape", None), getattr(x, "dtype", None)) for x in row)


def _arrays(tree: Any, index: int, row: Row) -> Row:
    """A row with numbers made arrays; anything else in it is a difference between the trees."""
    for x in row:
        if absent(x) or not jax.tree_util.all_leaves([x]):
            raise TreeMismatchError(
                "an array in every tree",
                got=type_name(x),
                at=leaf_paths(tree)[index],
                hint="make the state with init(params) from the params that the gradients belong to",
            )
    return tuple(map(jnp.asarray, row))


def _shape_error(tree: Any, index: int, row: Row) -> TreeMismatchError:
    first, other = row[0], next(x for x in row if x.shape != row[0].shape)
    return TreeMismatchError(
        "updates, state and params of one shape",
        got=f"{first.dtype}{list(first.shape)} and {other.dtype}{list(other.shape)}",
        at=leaf_paths(tree)[index],
        hint="make the state with init(params) from the params that the gradients belong to",
    )


def _output_error(tree: Any, index: int, row: Row, output: Row) -> TreeMismatchError:
    x, y = next((x, y) for x, y in zip(row, output, strict=False) if x.shape != y.shape)
    return TreeMismatchError(
        f"a result of shape {list(x.shape)}",
        got=str(list(y.shape)),
        at=leaf_paths(tree)[index],
        hint="hyperparameters are scalars here; to sweep an array of them use jax.vmap with sweep_axes(tx)",
    )
