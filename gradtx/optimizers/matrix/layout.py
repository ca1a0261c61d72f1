"""How a leaf is made of matrices: a word for each of its axes."""

import dataclasses
import math
import re
from typing import Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.errors import ArgumentValueError

Word = Literal["in", "out", "batch"]


@dataclasses.dataclass(frozen=True)
class MatrixLayout:
    """How one leaf is made of matrices.

    Attributes:
      words: what each axis is.
      shape: the shape of the leaf.
      axis: the axis that is cut into parts.
      sizes: the sizes of the parts, which are matrices of their own; empty if no axis is cut.
    """

    words: tuple[Word, ...]
    shape: tuple[int, ...]
    axis: int = 0
    sizes: tuple[int, ...] = ()

    @classmethod
    def read(cls, text: str, shape: tuple[int, ...]) -> "MatrixLayout":
        """The layout that a text means for a shape.

        Raises:
          ArgumentValueError: the text is no layout, or none of a leaf of this shape.
        """
        axes = read_words(text)
        words = [word for word, _ in axes]
        if "..." in words:
            at, missing = words.index("..."), len(shape) - len(words) + 1
            axes[at : at + 1] = [("batch", None)] * max(missing, 0)
        if len(axes) != len(shape):
            raise ArgumentValueError(f"a layout with a word for each axis of {list(shape)}", got=repr(text))
        final = tuple(cast(Word, word) for word, _ in axes)
        for axis, (_, parts) in enumerate(axes):
            if parts:
                return cls(final, shape, axis, _sizes(parts, shape[axis], text))
        return cls(final, shape)

    @property
    def _order(self) -> list[int]:
        """The axes, those of the batch first, then inputs, then outputs."""
        return [i for word in ("batch", "in", "out") for i, own in enumerate(self.words) if own == word]

    def matrices(self, x: jax.Array) -> list[jax.Array]:
        """The matrices of a leaf, as arrays [batch, inputs, outputs]: one, or one for each part."""
        parts = jnp.split(x, np.cumsum(self.sizes)[:-1].tolist(), self.axis) if self.sizes else [x]
        return [part.transpose(self._order).reshape(self._flat(part.shape)) for part in parts]

    def leaf(self, matrices: list[jax.Array]) -> jax.Array:
        """The leaf that is made of matrices; it undoes `matrices`."""
        order = self._order
        back = [order.index(i) for i in range(len(order))]
        parts = []
        for k, x in enumerate(matrices):
            shape = self.part_shape(k)
            parts.append(x.reshape([shape[i] for i in order]).transpose(back))
        return jnp.concatenate(parts, self.axis) if self.sizes else parts[0]

    def part_shape(self, k: int) -> tuple[int, ...]:
        """The shape of a part of the leaf."""
        if not self.sizes:
            return self.shape
        return (*self.shape[: self.axis], self.sizes[k], *self.shape[self.axis + 1 :])

    def _flat(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The numbers of matrices, inputs and outputs."""
        batch, inputs, outputs = (
            math.prod(n for n, own in zip(shape, self.words, strict=True) if own == word)
            for word in ("batch", "in", "out")
        )
        return batch, inputs, outputs

    @property
    def flat_shapes(self) -> list[tuple[int, int, int]]:
        """The shapes [batch, inputs, outputs] of `matrices`."""
        return [self._flat(self.part_shape(k)) for k in range(max(len(self.sizes), 1))]


def read_words(text: str) -> list[tuple[str, str | None]]:
    """The words of a layout, each with the parts that its axis is cut into.

    Raises:
      ArgumentValueError: the text is no layout.
    """
    found = [re.fullmatch(r"(in|out|batch|\.\.\.)(?:/(\d+(?:\+\d+)*))?", word) for word in text.split()]
    axes = [(match[1], match[2]) for match in found if match]
    words = [word for word, _ in axes]
    cut = [word for word, parts in axes if parts]
    if len(axes) < len(found) or not {"in", "out"} <= set(words) or words.count("...") > 1:
        wanted = 'matrices to say layouts such as "in out", "batch in out" or "in out/3"'
        raise ArgumentValueError(wanted, got=repr(text))
    if len(cut) > 1 or set(cut) & {"batch", "..."}:
        raise ArgumentValueError("matrices to cut one axis of inputs or outputs at most", got=repr(text))
    return axes


def _sizes(parts: str, size: int, text: str) -> tuple[int, ...]:
    """The sizes of the parts of an axis: a number of equal ones, or the sizes themselves."""
    numbers = [int(number) for number in parts.split("+")]
    if len(numbers) == 1 and numbers[0] > 0 and size % numbers[0] == 0:
        return (size // numbers[0],) * numbers[0]
    if len(numbers) == 1 or sum(numbers) != size or 0 in numbers:
        raise ArgumentValueError(f"parts that make up an axis of {size}", got=f"{parts} in {text!r}")
    return tuple(numbers)
