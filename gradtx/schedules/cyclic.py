"""Schedules made of cycles that rise and fall."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from gradtx.core import Schedule, as_float, schedule
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.schedules.compose import exceeds, join_schedules
from gradtx.schedules.decay import cosine, linear
from gradtx.schedules.piecewise import interpolate
from gradtx.schedules.warmup import warmup_cosine_decay_schedule
from gradtx.typing import Fraction, NonNegative, Numeric, Positive


@schedule
def cosine_onecycle_schedule(
    transition_steps: NonNegative,
    peak_value: Numeric,
    pct_start: Fraction = 0.3,
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 1e4,
) -> Schedule:
    r"""Rise to a peak and fall far below the beginning, along half periods of the cosine.

    .. math:: \frac{\text{peak}}{\text{div}} \;\to\; \text{peak} \;\to\; \frac{\text{peak}}{\text{div} \cdot
        \text{final\_div}} \qquad \text{at steps } 0,\; \lfloor \text{pct\_start} \cdot \text{steps} \rfloor,\;
        \text{steps}

    The three values are met exactly and the last one is held. A phase that rounds to 0 steps is skipped: with
    1 transition step the schedule starts at the peak, with 0 (an error in Optax) it has its last value from the start.

    Args:
      transition_steps: the length of the cycle in steps, in [0, inf).
      peak_value: the largest value; any finite number.
      pct_start: the fraction of the steps spent rising, in [0, 1]. A product that misses a whole number of steps by
        rounding alone, such as ``0.29 * 100``, counts as whole (Optax rounds it down by a step).
      div_factor: the peak over the first value, in (0, inf).
      final_div_factor: the first value over the last, in (0, inf).

    Example:
      >>> import gradtx
      >>> [round(float(x), 2) for x in gradtx.cosine_onecycle_schedule(8, 1.0, pct_start=0.5).sample(10)]
      [0.04, 0.18, 0.52, 0.86, 1.0, 0.85, 0.5, 0.15, 0.0, 0.0]

    References:
      - Smith, Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2017,
        arXiv:1708.07120
    """
    first = peak_value / div_factor
    boundaries = [_whole_steps(pct_start, transition_steps), transition_steps]
    return interpolate(cosine, boundaries, [first, peak_value, first / final_div_factor])


@schedule
def linear_onecycle_schedule(
    transition_steps: NonNegative,
    peak_value: Numeric,
    pct_start: Fraction = 0.3,
    pct_final: Fraction = 0.85,
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 1e4,
) -> Schedule:
    r"""Rise to a peak, fall back, and fall further to the end, in straight lines.

    .. math:: \frac{\text{peak}}{\text{div}} \;\to\; \text{peak} \;\to\; \frac{\text{peak}}{\text{div}} \;\to\;
        \frac{\text{peak}}{\text{div} \cdot \text{final\_div}} \qquad \text{at steps } 0,\;
        \lfloor \text{pct\_start} \cdot \text{steps} \rfloor,\; \lfloor \text{pct\_final} \cdot \text{steps} \rfloor,\;
        \text{steps}

    The values are met exactly and the last one is held. A phase that rounds to 0 steps is skipped, so with 1 transition
    step only the last phase is left, with 2 the schedule starts at the peak, and with 0 (an error in Optax) it has its
    last value from the start. Where phases of 0 steps coincide, Optax drops one of the factors and goes on from a
    wrong value.

    Args:
      transition_steps: the length of the cycle in steps, in [0, inf).
      peak_value: the largest value; any finite number.
      pct_start: the fraction of the steps at which the peak is reached, in [0, 1]. As in `cosine_onecycle_schedule`, a
        product that misses a whole number by rounding alone counts as whole.
      pct_final: the fraction of the steps at which the value is back, in [pct_start, 1].
      div_factor: the peak over the first value, in (0, inf).
      final_div_factor: the first value over the last, in (0, inf).

    Raises:
      ArgumentValueError: `pct_start` exceeds `pct_final` (not checked for traced values).

    Example:
      >>> import gradtx
      >>> s = gradtx.linear_onecycle_schedule(8, 1.0, pct_start=0.25, pct_final=0.75)
      >>> [round(float(x), 2) for x in s.sample(10)]
      [0.04, 0.52, 1.0, 0.76, 0.52, 0.28, 0.04, 0.02, 0.0, 0.0]

    References:
      - Smith, Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2017,
        arXiv:1708.07120
    """
    if exceeds(pct_start, pct_final):
        got, hint = f"{pct_start!r} > {pct_final!r}", "the peak comes before the way back"
        raise ArgumentValueError("pct_start to be at most pct_final", got=got, hint=hint)
    first = peak_value / div_factor
    boundaries = [_whole_steps(pct, transition_steps) for pct in (pct_start, pct_final)]
    return interpolate(linear, [*boundaries, transition_steps], [first, peak_value, first, first / final_div_factor])


def _whole_steps(fraction: Any, steps: Any) -> Any:
    """A fraction of some steps, rounded down to a whole step unless it is one but for rounding."""
    if isinstance(fraction, int | float) and isinstance(steps, int | float):
        return min(math.floor(fraction * steps * (1 + 1e-12)), steps)
    product = as_float(fraction) * as_float(steps)
    return jnp.minimum(jnp.floor(product * (1 + 4 * np.finfo(product.dtype).eps)), as_float(steps))


@schedule
def sgdr_schedule(cosine_kwargs: Sequence[Mapping[str, Numeric]]) -> Schedule:
    r"""Restart `warmup_cosine_decay_schedule` again and again, with other arguments each time.

    .. math:: s(n) = s_k(n - b_k) \quad \text{for } b_k \le n < b_{k+1}, \qquad
        b_{k+1} = b_k + \text{decay\_steps}_k

    After the last cycle its end value is held. A cycle of 0 steps is skipped.

    Args:
      cosine_kwargs: for each cycle a mapping of the arguments of `warmup_cosine_decay_schedule`; its ``decay_steps`` is
        the length of the cycle.

    Raises:
      ArgumentTypeError: `cosine_kwargs` is not a list or tuple of mappings, or an argument is missing or unknown.
      ArgumentValueError: there are no cycles, or an argument is out of range.

    Example:
      >>> import gradtx
      >>> cycle = dict(init_value=0.0, peak_value=1.0, warmup_steps=1, decay_steps=3)
      >>> [round(float(x), 4) for x in gradtx.sgdr_schedule([cycle, cycle | dict(peak_value=0.5)]).sample(7)]
      [0.0, 1.0, 0.5, 0.0, 0.5, 0.25, 0.0]

    References:
      - Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016, arXiv:1608.03983
    """
    if not isinstance(cosine_kwargs, list | tuple) or not all(isinstance(x, Mapping) for x in cosine_kwargs):
        hint = "give one mapping of arguments per cycle"
        raise ArgumentTypeError("cosine_kwargs to be a list or tuple of mappings", got=repr(cosine_kwargs), hint=hint)
    if not cosine_kwargs:
        raise ArgumentValueError("at least one cycle", got="none", hint="use constant_schedule(value)")
    cycles = [warmup_cosine_decay_schedule(**arguments) for arguments in cosine_kwargs]
    begins = itertools.accumulate(cycle.decay_steps for cycle in cycles[:-1])
    return join_schedules(cycles, list(begins))
