"""Schedules one after another."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import Schedule, as_float, as_number, as_schedule, one_for_zero, schedule
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.typing import AtLeastOne, NonNegative

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


@schedule
def repeat_schedule(
    cycle: StepFunction, period: AtLeastOne, period_factor: AtLeastOne = 1.0, value_factor: NonNegative = 1.0
) -> StepFunction:
    r"""Follow a schedule from its beginning again and again.

    .. math:: s(n) = f^k\, c\left(\frac{n - b_k}{q^k}\right) \quad \text{for } b_k \le n < b_{k+1}, \qquad
        b_k = P\,(1 + q + \dots + q^{k-1})

    with :math:`c` the cycle, :math:`P` its period, and :math:`q` and :math:`f` the factors of period and value. With
    ``cosine_decay_schedule(rate, period)`` for a cycle, these are the warm restarts of SGDR, without an end: the
    ``CosineAnnealingWarmRestarts`` of torch and ``CosineDecayRestarts`` of Keras. For cycles of different kinds, take
    `sgdr_schedule` or `join_schedules`.

    Args:
      cycle: the schedule of the first cycle; a function of the step (`jax.numpy` inside) will do.
      period: :math:`P`, the length of the first cycle in steps, in [1, inf); it may be fractional.
      period_factor: :math:`q`, in [1, inf): how many times longer each cycle is than the one before.
      value_factor: :math:`f`, in [0, inf): how many times larger the values of each cycle are than those of the one
        before.

    Raises:
      ArgumentTypeError: the cycle is not a schedule, or is stateful: multiply by a plateau instead.

    Example:
      >>> import gradtx
      >>> gradtx.repeat_schedule(gradtx.linear_schedule(1.0, 0.0, 2), 2, 2.0, 0.5).sample(7).tolist()
      [1.0, 0.5, 0.5, 0.375, 0.25, 0.125, 0.25]

    References:
      - Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016, arXiv:1608.03983
      - Smith, "Cyclical Learning Rates for Training Neural Networks", 2015, arXiv:1506.01186
    """
    member = _member(cycle, "repeat_schedule", label="cycle to be ")
    alike = isinstance(period_factor, int | float) and period_factor == 1
    whole_period = _whole(period)

    def value(step: Any) -> Any:
        length, growth = as_number(period), as_number(period_factor)
        if alike:  # whole steps stay whole
            k = jnp.maximum(step, 0) // whole_period
            inside = jnp.maximum(step, 0) - k * whole_period
        else:
            k = _cycle_of(jnp.maximum(as_float(step), 0), length, growth)
            inside = (jnp.maximum(as_float(step), 0) - _begin(k, length, growth)) / _power(growth, k)
        return as_number(value_factor) ** k.astype(jnp.int32) * member(inside)

    return value


def _cycle_of(n: Any, length: Any, growth: Any) -> Any:
    """The number of the cycle that a step is in, exact also where rounding makes the logarithm miss it by one."""
    ratio = n / length
    x = ratio * (growth - 1)
    smooth = jnp.where(x > 0, jnp.log1p(x) / one_for_zero(jnp.log(growth)), ratio)
    k = jnp.floor(jax.lax.stop_gradient(smooth))
    k = jnp.where(n < _begin(k, length, growth), k - 1, k)
    return jax.lax.stop_gradient(jnp.where(n >= _begin(k + 1, length, growth), k + 1, k))


def _begin(k: Any, length: Any, growth: Any) -> Any:
    """The step at which a cycle begins."""
    rate = jnp.log(growth)
    return _snapped(length * k * _mean_exp(k * rate) / _mean_exp(rate))


def _power(base: Any, k: Any) -> Any:
    """A power with a whole exponent."""
    return _snapped(jnp.exp(k * jnp.log(base)))


def _snapped(x: Any) -> Any:
    """A number, or the whole one that rounding alone keeps it from; its derivatives are those of the number.

    Without it, a cycle of 4 and 6 steps would end a step late where their sum comes out as 10.000001.
    """
    x = jnp.minimum(x, 2.0**40)  # no infinity, whose difference from itself would be NaN
    missed = jnp.round(x) - x
    return x + jax.lax.stop_gradient(jnp.where(jnp.abs(missed) <= 32 * np.finfo(x.dtype).eps * x, missed, 0))


def _mean_exp(x: Any) -> Any:
    r"""The mean of the exponential between 0 and x, :math:`(e^x - 1)/x`, with its derivatives near 0."""
    near = jnp.abs(x) < 1e-3
    series = 1 + x / 2 * (1 + x / 3 * (1 + x / 4))
    return jnp.where(near, series, jnp.expm1(jnp.where(near, 1, x)) / jnp.where(near, 1, x))


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
    return [_member(member, "join_schedules", f"[{i}]") for i, member in enumerate(schedules)]


def _member(member: Any, whole: str, at: str = "", label: str = "") -> Schedule:
    """A function of the step as a schedule; an error if it is anything else, or observes."""
    if not callable(member):
        hint = f"use constant_schedule({member!r})" if isinstance(member, int | float) else ""
        raise ArgumentTypeError(f"{label}a schedule or a function of the step", got=repr(member), at=at, hint=hint)
    made = as_schedule(member)
    if made.stateful:
        hint = f"multiply instead: {whole}(...) * plateau_schedule(1.0, ...)"
        expected = f"{label}a schedule of the step alone" if label else "schedules of the step alone"
        raise ArgumentTypeError(expected, got=repr(member), at=at, hint=hint)
    return made


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
