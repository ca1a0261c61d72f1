"""The words the library is written in: trees, states, and numbers with a range.

Trees are ordinary JAX pytrees, so ``Params``, ``Updates`` and ``State`` are ``Any`` to a type checker; the names say
what a value means. Numbers carry their permitted range in the annotation, and every factory checks it when it is
called: ``b1: Decay`` is both the documentation and the check.
"""

import dataclasses
import math
from typing import Annotated, Any, NamedTuple, TypeAlias

Params: TypeAlias = Annotated[Any, "params"]
"""A pytree of parameters."""

Updates: TypeAlias = Annotated[Any, "updates"]
"""A pytree like the parameters: gradients on the way in, steps to be added on the way out. The annotation of a field
of a state says that the field has an entry for each leaf: a moment, or arrays of other shapes."""

SecondMoments: TypeAlias = Annotated[Any, "updates", "not negative"]
"""A field of a state that has an entry for each leaf, of numbers that are never negative: `quantized` stores them
without a sign, and never as zero."""

State: TypeAlias = Any
"""What a transformation remembers between updates: a pytree of arrays of fixed structure."""

OptState: TypeAlias = State
"""Optax's name for `State`."""

Count: TypeAlias = Annotated[Any, "count"]
"""A step counter, int32 []; it begins at 0 and saturates at the largest int32."""

Mask: TypeAlias = Annotated[Any, "mask"]
"""A selection of leaves: a tree (or prefix) of booleans, a function of the tree that returns one, a glob on leaf
paths such as ``"*/kernel"``, or a tuple of globs."""


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


class MaskedNode(NamedTuple):
    """Stands where a leaf was left out: it has no leaves, so inner transformations do not see it."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The interval a numeric argument lies in; infinite ends are open."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __str__(self) -> str:
        left = "(" if self.open_low or math.isinf(self.low) else "["
        right = ")" if self.open_high or math.isinf(self.high) else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"

    def admits(self, value: float) -> bool:
        """Whether a number lies inside; NaN and the infinities never do."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below


Numeric: TypeAlias = Annotated[Any, Range()]
"""A finite number: a Python number, an array, a traced value, or a `Schedule` (or any function of the step)."""

NonNegative: TypeAlias = Annotated[Any, Range(low=0)]
"""A `Numeric` in [0, inf)."""

Positive: TypeAlias = Annotated[Any, Range(low=0, open_low=True)]
"""A `Numeric` in (0, inf)."""

AtLeastOne: TypeAlias = Annotated[Any, Range(low=1)]
"""A `Numeric` in [1, inf), such as a period in steps."""

Fraction: TypeAlias = Annotated[Any, Range(low=0, high=1)]
"""A `Numeric` in [0, 1]."""

OpenFraction: TypeAlias = Annotated[Any, Range(low=0, high=1, open_low=True, open_high=True)]
"""A `Numeric` in (0, 1), such as the factor by which a search steps back."""

Decay: TypeAlias = Annotated[Any, Range(low=0, high=1, open_high=True)]
"""A `Numeric` in [0, 1), the decay factor of a moving average."""

Operand: TypeAlias = Annotated[Any, Range(), "operand"]
"""A number, or a schedule that is combined with others as it is."""

DTypeName: TypeAlias = Annotated[Any, "dtype"]
"""A floating dtype or its name; kept as the name."""
