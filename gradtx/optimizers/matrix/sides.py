"""What methods with a square matrix for each side of a matrix share: their states, and refreshes every k steps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.optimizers.matrix.batches import in_equal_batches


class Sides(NamedTuple):
    """A square matrix for each side of the matrices of a batch.

    Attributes:
      left: [batch, inputs, inputs], or ``None`` for the identity.
      right: [batch, outputs, outputs], or ``None`` for the identity.
    """

    left: Any
    right: Any


def second_moments(x: jax.Array) -> Sides:
    r""":math:`X X^*` and :math:`X^* X`, in full precision: small eigenvalues are differences of large numbers."""
    adjoint = x.mT.conj()
    return Sides(jnp.matmul(x, adjoint, precision="highest"), jnp.matmul(adjoint, x, precision="highest"))


def between(sides: Sides, x: jax.Array) -> jax.Array:
    """The matrices multiplied from the left and from the right."""
    x = x if sides.left is None else sides.left @ x
    return x if sides.right is None else x @ sides.right


def map_sides(function: Callable[..., Any], *trees: Sides) -> Sides:
    """A function of each side that is there in the first."""
    return Sides(*(None if row[0] is None else function(*row) for row in zip(*trees, strict=True)))


def adjoints(sides: Sides) -> Sides:
    """The conjugate transposes."""
    return map_sides(lambda q: q.mT.conj(), sides)


def full_sides(x: jax.Array, scale: float, largest: int, only_shorter: bool = False) -> Sides:
    """A multiple of the identity for each side of matrices.

    Args:
      x: the matrices, [batch, inputs, outputs].
      scale: the multiple.
      largest: a side that is longer has none.
      only_shorter: nor has the longer of the two sides; of equal ones, the outputs.
    """
    inputs, outputs = x.shape[1:]
    left_out = {"left": inputs > largest, "right": outputs > largest}
    if only_shorter:
        left_out["right" if inputs <= outputs else "left"] = True

    def side(name: str, vectors: jax.Array) -> Any:
        if left_out[name] or x.size == 0:
            return None
        # A product of vectors for its shape, and for its sharding, which is that of the rows or the columns.
        like = jnp.zeros_like(vectors @ vectors.mT)
        return like + scale * jnp.eye(like.shape[-1], dtype=x.dtype)

    return Sides(side("left", x[:, :, :1]), side("right", x[:, :1, :].mT))


def each_side(function: Callable[..., tuple[jax.Array, ...]], *columns: Sequence[Sides]) -> list[list[Sides]]:
    """Apply a function to all sides of all matrices, those of one size in one batch.

    Args:
      function: takes an array [batch, n, n] of each list, and returns a tuple of arrays [batch, ...].
      *columns: lists of `Sides`; those of the first say which sides there are.

    Returns:
      A list of `Sides` for each array that the function returns, with ``None`` where there is no side.
    """
    flat = [[side for sides in column for side in sides] for column in columns]
    there = [i for i, side in enumerate(flat[0]) if side is not None]
    results = in_equal_batches(function, *([column[i] for i in there] for column in flat))
    made = []
    for result in results:
        by_place = dict(zip(there, result, strict=True))
        made.append([Sides(by_place.get(2 * i), by_place.get(2 * i + 1)) for i in range(len(columns[0]))])
    return made


def turns(number: int, frequency: Any, stagger: bool) -> list[tuple[list[int], Any]]:
    """Which matrices are refreshed together, and by how many steps each of these groups is ahead of the first.

    Args:
      number: how many matrices there are.
      frequency: the number of steps between two refreshes.
      stagger: spread them over the steps; else all are one group.
    """
    if not stagger or number == 0:
        return [(list(range(number)), 0)]
    count = min(number, frequency) if isinstance(frequency, int) else number
    return [(list(range(i, number, count)), i * frequency // count) for i in range(count)]
