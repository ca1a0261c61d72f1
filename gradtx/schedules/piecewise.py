"""Schedules given by their values at some steps."""

import itertools
import math
import operator
from collections.abc import Mapping
from typing import Any, Literal

from gradtx.core import Schedule, schedule
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.schedules.arithmetic import constant_schedule
from gradtx.schedules.compose import join_schedules
from gradtx.schedules.decay import SHAPES, Shape, transition
from gradtx.typing import NonNegative, Numeric


@schedule
def piecewise_constant_schedule(
    init_value: Numeric, boundaries_and_scales: Mapping[int, NonNegative] | None = None
) -> Schedule:
    r"""Multiply by a factor at each of some steps, and hold the value in between.

    .. math:: s(n) = \text{init\_value} \prod_{b_i \le n} \text{scale}_i

    A factor at step 0 holds from the start. Without boundaries the schedule is constant.

    Args:
      init_value: the value before the first boundary; any finite number.
      boundaries_and_scales: by step (an `int` in [0, inf)), the factor (in [0, inf)) the value is multiplied by from
        there on.

    Raises:
      ArgumentTypeError: a boundary is not a number.
      ArgumentValueError: a boundary is negative.

    Example:
      >>> import gradtx
      >>> gradtx.piecewise_constant_schedule(1.0, {2: 0.5, 4: 0.25}).sample(6).tolist()
      [1.0, 1.0, 0.5, 0.5, 0.125, 0.125]
    """
    boundaries, values = _levels(init_value, boundaries_and_scales)
    return join_schedules([constant_schedule(value) for value in values], boundaries)


@schedule
def piecewise_interpolate_schedule(
    interpolate_type: Literal["linear", "cosine"],
    init_value: Numeric,
    boundaries_and_scales: Mapping[int, NonNegative] | None = None,
) -> Schedule:
    r"""Pass through given values at given steps, along straight lines or half periods of the cosine.

    .. math:: s(b_i) = v_i = v_{i-1} \cdot \text{scale}_i, \qquad b_0 = 0, \quad v_0 = \text{init\_value}

    and in between :math:`s(n) = w v_i + (1 - w) v_{i+1}` with :math:`x = (b_{i+1} - n)/(b_{i+1} - b_i)` and
    :math:`w = x` or :math:`w = (1 - \cos \pi x)/2`. The values are those of `piecewise_constant_schedule`; they are met
    exactly, and the last one is held. A boundary at step 0 replaces the initial value. Without boundaries the schedule
    is constant.

    Args:
      interpolate_type: ``"linear"`` or ``"cosine"``.
      init_value: the value at step 0; any finite number.
      boundaries_and_scales: by step (an `int` in [0, inf)), the value there as a multiple (in [0, inf)) of the value at
        the boundary before.

    Raises:
      ArgumentTypeError: a boundary is not a number.
      ArgumentValueError: a boundary is negative.

    Example:
      >>> import gradtx
      >>> gradtx.piecewise_interpolate_schedule("linear", 1.0, {2: 2.0, 4: 0.5}).sample(6).tolist()
      [1.0, 1.5, 2.0, 1.5, 1.0, 1.0]
    """
    boundaries, values = _levels(init_value, boundaries_and_scales)
    return interpolate(SHAPES[interpolate_type], boundaries, values)


def interpolate(shape: Shape, boundaries: list[Any], values: list[Any]) -> Schedule:
    """Transitions between consecutive values: the first begins at step 0, the others at the boundaries."""
    begins = [0, *boundaries]
    moves = [
        transition(before, after, shape, stop - begin)
        for (begin, stop), (before, after) in zip(itertools.pairwise(begins), itertools.pairwise(values), strict=True)
    ]
    return join_schedules([*moves, constant_schedule(values[-1])], boundaries)


def _levels(init_value: Any, boundaries_and_scales: Mapping[int, Any] | None) -> tuple[list[Any], list[Any]]:
    """The boundaries in order, and the values before, between and after them."""
    scales = boundaries_and_scales or {}
    for boundary in scales:
        if isinstance(boundary, bool) or not isinstance(boundary, int | float):
            got, hint = f"{boundary!r} ({type(boundary).__name__})", "write boundaries as int"
            raise ArgumentTypeError("boundaries_and_scales to have steps for keys", got=got, hint=hint)
        if not 0 <= boundary < math.inf:
            raise ArgumentValueError("boundaries_and_scales to have keys in [0, inf)", got=f"{boundary!r}")
    boundaries = sorted(scales)
    return boundaries, list(itertools.accumulate((scales[b] for b in boundaries), operator.mul, initial=init_value))
