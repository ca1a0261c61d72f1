"""Schedules one after another."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import Schedule, as_schedule, schedule
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.typing import NonNegative

StepFunction = Callable[[Any], Any]


@schedule
def join_schedules(schedules: Sequence[StepFunction], boundaries: Sequence[NonNegative]) -> StepFunction:
    r"""Follow one schedule after another, each counting its steps from where it begins.

    .. math:: s(n) = s_k(n - b_k) \quad \text{for } b_k \le n < b_{k+1}, \qquad b_0 = 0

    Where two boundaries are equal, or the first is 0, the schedule between them has no steps and is skipped. The last
    schedule goes on for ever.

    A member is never asked about a step before its own beginning, so one that is undefined there (a root, say) does no
    harm, neither to the value nor to its gradient; Optax asks for the negative steps too.

    Args:
      schedules: the schedules in order; a function of the step (`jax.numpy` inside) will do.
      boundaries: the steps at which the second, third, ... schedule begins; in [0, inf), none smaller than the one
        before, one fewer than `schedules`.

    Raises:
      ArgumentTypeError: a member is not a schedule, or is stateful: multiply by a plateau instead of joining it.
      ArgumentValueError: there are no schedules, the numbers of schedules and boundaries do not match, or a boundary is
        smaller than the one before (not checked for traced boundaries).

    Example:
      >>> import gradtx
      >>> s = gradtx.join_schedules([gradtx.linear_schedule(0.0, 1.0, 4), gradtx.constant_schedule(0.5)], [4])
      >>> s.sample(6).tolist()
      [0.0, 0.25, 0.5, 0.75, 0.5, 0.5]
    """
    members = _members(schedules)
    begins = [_whole(boundary) for boundary in _boundaries(boundaries, len(members) - 1)]

    def value(step: Any) -> Any:
        joined = members[0](step)
        for begin, member in zip(begins, members[1:], strict=True):
            joined = jnp.where(step < begin, joined, member(jnp.maximum(step - begin, 0)))
        return joined

    return value


def exceeds(a: Any, b: Any) -> bool:
    """Whether one argument is known to be larger than another; nothing is known of traced ones."""
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return False
    return bool(np.any(a > b))


def _members(schedules: Any) -> list[Schedule]:
    if not isinstance(schedules, list | tuple):
        raise ArgumentTypeError("schedules to be a list or tuple", got=type(schedules).__name__)
    if not schedules:
        raise ArgumentValueError("at least one schedule", got="none", hint="use constant_schedule(value)")
    for i, member in enumerate(schedules):
        if not callable(member):
            hint = f"use constant_schedule({member!r})" if isinstance(member, int | float) else ""
            raise ArgumentTypeError("a schedule or a function of the step", got=repr(member), at=f"[{i}]", hint=hint)
    members = [as_schedule(member) for member in schedules]
    for i, member in enumerate(members):
        if member.stateful:
            hint = "multiply instead: join_schedules(...) * plateau_schedule(1.0, ...)"
            raise ArgumentTypeError("schedules of the step alone", got=repr(member), at=f"[{i}]", hint=hint)
    return members


def _boundaries(boundaries: Any, wanted: int) -> list[Any]:
    if isinstance(boundaries, str) or not (isinstance(boundaries, Sequence) or np.ndim(boundaries) == 1):
        raise ArgumentTypeError("boundaries to be a sequence of steps", got=repr(boundaries))
    listed = list(boundaries)
    if len(listed) != wanted:
        expected, hint = f"{wanted} boundaries for {wanted + 1} schedules", "each schedule but the first begins at one"
        raise ArgumentValueError(expected, got=f"{len(listed)}", hint=hint)
    for before, after in itertools.pairwise(listed):
        if exceeds(before, after):
            raise ArgumentValueError("boundaries in order", got=f"{after!r} after {before!r}", hint="sort them")
    return listed


def _whole(boundary: Any) -> Any:
    """A boundary as an integer where it is known to be one, so that members see whole steps."""
    if isinstance(boundary, int | float):
        return int(boundary) if float(boundary).is_integer() and boundary < 2**31 else float(boundary)
    return boundary
