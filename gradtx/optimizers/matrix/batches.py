"""Functions of all matrices of a tree: leaf by leaf, and matrices of one shape in one batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.optimizers.matrix.choice import Matrices, layouts_of
from gradtx.tree.arithmetic import cast, widen
from gradtx.tree.paths import flatten_like, is_inert, is_none
from gradtx.typing import Params


def map_matrices(function: Callable[[list[jax.Array]], list[jax.Array]], updates: Any, matrices: Matrices) -> Any:
    """Apply a function to all matrices of a tree.

    Args:
      function: takes arrays [batch, inputs, outputs] in accumulator dtype, and returns arrays of these shapes.
      updates: a tree of matrices; absent leaves stay absent.
      matrices: the declaration, `Matrices`.

    Returns:
      A tree like the updates, in their dtypes.

    Raises:
      TreeMismatchError: a leaf is no matrix.
    """
    treedef: Any = jax.tree.structure(updates, is_leaf=is_none)
    leaves = treedef.flatten_up_to(updates)
    layouts = layouts_of(matrices, updates, treedef)
    wide = [layout.matrices(widen(x)) for x, layout in zip(leaves, layouts, strict=True) if layout]
    made = iter(function([x for group in wide for x in group]))
    counts = iter(len(group) for group in wide)
    new = [
        cast(layout.leaf([next(made) for _ in range(next(counts))]), x.dtype) if layout else x
        for x, layout in zip(map(_as_array, leaves), layouts, strict=True)
    ]
    return treedef.unflatten(new)


def init_matrices(init: Callable[[jax.Array], Any], params: Params, matrices: Matrices) -> Any:
    """A tree like the params, with a tuple of what a function makes of each matrix of a leaf; ``None`` stays.

    Args:
      init: takes an array [batch, inputs, outputs] in accumulator dtype.
      params: a tree of matrices.
      matrices: the declaration, `Matrices`.
    """
    treedef: Any = jax.tree.structure(params, is_leaf=is_none)
    layouts = layouts_of(matrices, params, treedef)
    leaves = treedef.flatten_up_to(params)
    return treedef.unflatten(
        [
            tuple(init(m) for m in layout.matrices(widen(x))) if layout else None
            for x, layout in zip(leaves, layouts, strict=True)
        ]
    )


def join_matrices(entries: Any, updates: Any, matrices: Matrices) -> Any:
    """The leaves that are made of matrices, in the dtypes of those of `updates`; it undoes ``init_matrices(identity)``.

    Args:
      entries: a tree like `updates`, with a tuple of matrices for each leaf.
      updates: a tree of matrices; absent leaves stay absent.
      matrices: the declaration, `Matrices`.
    """
    flat = iter(jax.tree.leaves(entries))
    return map_matrices(lambda xs: [next(flat) for _ in xs], updates, matrices)


def map_matrices_with(
    function: Callable[..., list[list[jax.Array]]], updates: Any, states: tuple[Any, ...], matrices: Matrices
) -> tuple[Any, ...]:
    """Apply a function to all matrices of a tree, and to what belongs to each of them.

    Args:
      function: takes a list of arrays [batch, inputs, outputs] and one of entries for each state, and returns such
        lists, with other entries of the same dtypes.
      updates: a tree of matrices; absent leaves stay absent.
      states: trees as `init_matrices` makes them.
      matrices: the declaration, `Matrices`.

    Returns:
      The updates in the dtypes of the leaves, and the states.
    """
    treedef: Any = jax.tree.structure(updates, is_leaf=is_none)
    present = [not is_inert(x) for x in treedef.flatten_up_to(updates)]  # what belongs to the others stays as it is
    old = [flatten_like(updates, treedef, state, "the state") for state in states]
    entries = [[x for entry, used in zip(column, present, strict=True) if used for x in entry] for column in old]
    made: list[Any] = []

    def with_entries(xs: list[jax.Array]) -> list[jax.Array]:
        new, *rest = function(xs, *entries)
        made.extend(rest)
        return new

    updates = map_matrices(with_entries, updates, matrices)
    new_states = []
    for column, new in zip(old, made, strict=True):
        rest = iter(new)
        filled = [
            tuple(jax.tree.map(_stored_like, next(rest), x) for x in entry) if used else entry
            for entry, used in zip(column, present, strict=True)
        ]
        new_states.append(treedef.unflatten(filled))
    return updates, *new_states


def _stored_like(new: jax.Array, old: jax.Array) -> jax.Array:
    return cast(new, old.dtype)


def _as_array(x: Any) -> Any:
    return x if is_inert(x) else jnp.asarray(x)


STACK = 4
"""How many matrices of one shape are in one batch, at most. Each place of a stack is cut out by a program of its own,
which XLA's CPU backend compiles in 15 ms; with batches of equal lengths these are shared. And the temporaries of all
batches need not exist at once. A batch of four was as fast as one of 48."""


def in_batches(function: Callable[[jax.Array], jax.Array], matrices: list[jax.Array]) -> list[jax.Array]:
    r"""Apply a function to matrices, those of one shape in one batch, with the short side first.

    Of a matrix with more rows than columns the function sees the transpose, so it must satisfy
    :math:`f(X^\top) = f(X)^\top`.

    Args:
      function: takes and returns arrays [batch, m, n] with :math:`m \le n`.
      matrices: arrays [batch, inputs, outputs].
    """
    (made,) = in_equal_batches(lambda x: (function(x),), list(map(_short_side_first, matrices)))
    return [y.swapaxes(1, 2) if x.shape[1] > x.shape[2] else y for x, y in zip(matrices, made, strict=True)]


def in_equal_batches(
    function: Callable[..., tuple[jax.Array, ...]], *columns: list[jax.Array]
) -> list[list[jax.Array]]:
    """Apply a function to rows of arrays, those of equal shapes in one batch.

    Args:
      function: takes an array [batch, ...] of each column, and returns a tuple of arrays [batch, ...].
      *columns: lists of arrays [batch, ...], all of one length: matrices, and what belongs to each.

    Returns:
      A list of arrays for each array that the function returns; one empty list of no rows.
    """
    rows = list(zip(*columns, strict=True))
    alike: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        alike.setdefault(tuple((x.shape[1:], x.dtype) for x in row), []).append(i)
    made: list[Any] = [()] * len(rows)
    for places in (kind[i : i + STACK] for kind in alike.values() for i in range(0, len(kind), STACK)):
        if len(places) == 1:
            made[places[0]] = function(*rows[places[0]])
            continue
        stacks = function(*(jnp.concatenate(xs) for xs in zip(*(rows[i] for i in places), strict=True)))
        start = 0
        for i in places:
            length = len(rows[i][0])
            made[i] = tuple(y[start : start + length] for y in stacks)
            start += length
    return [list(column) for column in zip(*made, strict=True)] if rows else [[]]


def _short_side_first(x: jax.Array) -> jax.Array:
    return x if x.shape[1] <= x.shape[2] else x.swapaxes(1, 2)
