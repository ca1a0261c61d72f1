"""One leaf function, several trees, one traversal."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import ArgumentTypeError, TreeMismatchError
from gradtx.tree.arithmetic import accumulator_dtype, cast, widened
from gradtx.tree.fusion import Deferred, LeafCall, Row, deferring, fusing, joins, settle
from gradtx.tree.paths import absent, flatten_like, is_none, leaf_paths, type_name

_ARRAYS = (Deferred, jax.core.Tracer, jax.Array)
_NOT_YET = (Deferred, jax.core.Tracer)
_AT_ONCE = 8  # leaves in a program of an eager update: what is compiled stays small, however many there are


def map_leaves(
    leaf: Callable[..., Any], *trees: Any, read: Sequence[Any] = (), operands: Sequence[Any] = (), share: bool = True
) -> Any:
    """Replace several trees by the outputs of one function of their leaves.

    ``a, b = map_leaves(leaf, a, b, read=(c,))`` calls ``leaf(a_i, b_i, c_i)`` for each leaf i. Output k takes the
    place of tree k and keeps its dtype; the trees under `read` are only read. The function sees every array in at
    least float32 (complex64 if complex), so it does its arithmetic there whatever the storage.

    In a program (under `jax.jit`) the function is traced once for each distinct combination of shapes and dtypes, and
    leaves that are alike share one call. Otherwise it is called for each leaf, and nothing is compiled; but with
    `operands`, it is compiled for some leaves at a time.

    Args:
      leaf: a function of one array per tree that returns one array per tree of `trees` (a tuple if several).
        After the arrays it takes the operands, if there are any.
      *trees: the trees to replace. The first one decides the structure. Where it has ``None`` (or a float0 array,
        the gradient of an integer), the leaf is skipped: all trees keep what they have there.
      read: further trees of the same structure.
      operands: numbers and scalar arrays. With them, the function must be the same object at every update, such as one
        defined at the top of a module, and use nothing else that changes.
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
    traced = any(isinstance(x, _NOT_YET) for row in (*rows, operands) for x in row)
    later = traced and joins(share)
    if operands and not traced:
        outputs = _apply_compiled(leaf, operands, rows, len(trees), trees[0])
    else:
        call = _checked(leaf, operands, len(trees), trees[0])
        outputs = _apply(deferring(call, len(trees), _stored, share) if later else call, rows, len(trees), trees[0])
    results = tuple(treedef.unflatten(column) for column in zip(*outputs, strict=True))
    if not rows:
        results = trees
    if later and not fusing():
        results = settle(results)
    return results[0] if len(trees) == 1 else results


def _apply(call: Callable[[int, Row], Row], rows: list[Row], kept: int, tree: Any) -> list[Row]:
    """Call a function on every row of arrays of one shape; a row without a first array stays as it is."""
    outputs: list[Row] = []
    for index, row in enumerate(rows):
        if absent(row[0]):
            outputs.append(row[:kept])
            continue
        outputs.append(call(index, aligned(tree, index, row)))
    return outputs


def _apply_compiled(
    leaf: Callable[..., Any], operands: Sequence[Any], rows: list[Row], kept: int, tree: Any
) -> list[Row]:
    """`_apply` with one dispatch for several leaves that are in the same place."""
    outputs = [row[:kept] for row in rows]
    places: dict[Any, list[int]] = {}
    for index, row in enumerate(rows):
        if not absent(row[0]):
            rows[index] = row = aligned(tree, index, row)
            places.setdefault(row[0].sharding, []).append(index)
    for indices in places.values():
        for some in (indices[k : k + _AT_ONCE] for k in range(0, len(indices), _AT_ONCE)):
            made = _compiled(leaf, kept)([rows[index] for index in some], tuple(operands))
            for index, row in zip(some, made, strict=True):
                outputs[index] = _of_one_shape(tree, index, rows[index], row)
    return outputs


@functools.lru_cache
def _compiled(leaf: Callable[..., Any], kept: int) -> Callable[[list[Row], Row], list[Row]]:
    """A leaf function for several rows of arrays."""
    return jax.jit(lambda rows, operands: [_outputs(leaf, operands, row, kept) for row in rows])


def aligned(tree: Any, index: int, row: Row) -> Row:
    """A row of arrays of one shape, numbers made arrays; an error names the leaf of the tree that the index counts."""
    for x in row:
        if not isinstance(x, _ARRAYS):
            row = _arrays(tree, index, row)
            break
    shape = row[0].shape
    for x in row[1:]:
        if x.shape != shape:
            raise _shape_error(tree, index, row)
    return row


def _checked(leaf: Callable[..., Any], operands: Sequence[Any], kept: int, tree: Any) -> LeafCall:
    """The leaf function made ready for one row of arrays."""

    def call(index: int, row: Row) -> Row:
        return _of_one_shape(tree, index, row, _outputs(leaf, operands, row, kept))

    call.__name__ = call.__qualname__ = getattr(leaf, "__qualname__", "leaf").split(".<locals>")[0]
    return call


def _outputs(leaf: Callable[..., Any], operands: Sequence[Any], row: Row, kept: int) -> Row:
    """The leaf function with its arithmetic in accumulator dtypes, its results as they are stored."""
    outputs = leaf(*map(widened, row), *operands)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    if len(outputs) != kept:
        raise ArgumentTypeError(f"a leaf function with {kept} outputs, one per tree", got=str(len(outputs)))
    return tuple(map(_as_stored, outputs, row))


def _of_one_shape(tree: Any, index: int, row: Row, outputs: Row) -> Row:
    """The outputs, if they have the shape of the row's arrays."""
    shape = row[0].shape
    for y in outputs:
        if y.shape != shape:
            raise _output_error(tree, index, row, outputs)
    return outputs


def _as_stored(y: Any, x: jax.Array) -> jax.Array:
    """What replaces an array, in the dtype in which it is stored."""
    return cast(y, _stored(x.dtype))


@functools.cache
def _stored(dtype: Any) -> Any:
    """The dtype of a result: that of what it replaces, unless an integer could not hold it."""
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else accumulator_dtype(dtype)


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
