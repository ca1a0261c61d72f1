"""A line search for the strong Wolfe conditions: find an interval that has a good point, and zoom in on it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import Pair, transformation, while_loop
from gradtx.optimizers.second_order.linesearch import (
    Last,
    LinesearchState,
    LinesearchStop,
    Outcome,
    Point,
    choose,
    init_search,
    number,
    update_search,
)
from gradtx.typing import AtLeastOne, Decay, Fraction, NonNegative, Params, Positive, State, Updates


class _Settings(NamedTuple):
    max_steps: Any
    max_learning_rate: Any
    tol: Any
    increase_factor: Any
    slope_rtol: Any
    curv_rtol: Any
    approx_dec_rtol: Any
    stepsize_precision: Any


@transformation
def scale_by_zoom_linesearch(
    max_linesearch_steps: AtLeastOne,
    max_learning_rate: Positive | None = None,
    tol: NonNegative = 0.0,
    increase_factor: AtLeastOne = 2.0,
    slope_rtol: Decay = 1e-4,
    curv_rtol: Fraction = 0.9,
    approx_dec_rtol: NonNegative | None = 1e-6,
    stepsize_precision: NonNegative = 1e-5,
    initial_guess_strategy: Literal["keep", "one"] = "keep",
) -> Pair:
    r"""Scale the updates by a learning rate that meets the strong Wolfe conditions.

    With :math:`\phi(\eta) = f(p + \eta u)`,

    .. math::
        \phi(\eta) \le \phi(0) + c_1 \eta\, \phi'(0) + \epsilon, \qquad
        |\phi'(\eta)| \le c_2 |\phi'(0)| + \epsilon

    The first learning rate is increased until an interval has a point that meets both; then the interval shrinks around
    it, at each step to the minimum of the cubic (or parabola) through its ends. Where :math:`\phi` is so flat that the
    first condition is lost in rounding, :math:`\phi(\eta) \le \phi(0) + c_3 |\phi(0)|` and
    :math:`\phi'(\eta) \le (2 c_1 - 1) \phi'(0)` do in its place.

    The updates :math:`u` that come in are the step to be scaled, sign and all: put the search after
    ``sgd(learning_rate=1.0)`` or ``scale(-1.0)``, not before. What goes out is :math:`\eta u`.

    `update` needs ``value_fn`` or ``value_and_grad_fn``, and takes the value and the gradient at the params from
    ``value`` and ``grad``; whichever of them is missing costs one evaluation more. `value_and_grad_from_state` gives
    both for the next step. A point at which value or slope is NaN or infinite is too far. If no learning rate
    does, the one with the least value tried is taken, if that is less than at the params; if there is none, the step is
    zero. So it is if the updates point uphill, or the value or slope at the params is not finite. The state says which
    (`LinesearchStop`).

    Derivatives of what follows take :math:`\eta` for a constant.

    Args:
      max_linesearch_steps: how many points are tried, at least 1.
      max_learning_rate: no larger learning rate is tried; ``None`` for no bound. If the function still falls too
        steeply there, that is the step, and the search counts as failed.
      tol: :math:`\epsilon`, at least 0.
      increase_factor: how much further the next point is while no interval is found, at least 1.
      slope_rtol: :math:`c_1`, in [0, 1).
      curv_rtol: :math:`c_2`, in [0, 1]; some point meets both conditions if it is more than :math:`c_1` and the
        function is bounded below.
      approx_dec_rtol: :math:`c_3`, at least 0; ``None`` for the first condition alone.
      stepsize_precision: an interval shorter than this part of its larger end is not divided further; at least 0.
      initial_guess_strategy: the first point tried: ``"one"``, right for Newton's and quasi-Newton directions, or
        ``"keep"`` what the last search found. After a zero step, that goes on in the interval which had been found.

    State:
      `LinesearchState`: 4 bytes per float32 parameter, and seven scalars.

    Raises:
      MissingExtraError: `update` was called without ``params``, or without a function.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.scale_by_zoom_linesearch(15))
      >>> p = jnp.array([1.0, 2.0])
      >>> updates, state = tx.update(20 * p, tx.init(p), p, value_fn=lambda p: 10 * jnp.sum(p**2))
      >>> state[1].learning_rate, state[1].evaluations, gradtx.LinesearchStop(int(state[1].reason)).name
      (Array(0.05, dtype=float32), Array(3, dtype=int32), 'CONDITIONS_HOLD')

    References:
      - Nocedal, Wright, Numerical optimization, 2nd edition, 2006, algorithms 3.5 and 3.6.
      - Hager, Zhang, Algorithm 851: CG_DESCENT, a conjugate gradient method with guaranteed descent, 2006.

    Differences from Optax: the gradient and the value at the params may be left out; functions are closed over their
    batch; ``stepsize_precision`` is relative, so that the scale of the updates does not matter; a search that
    fails takes the best point it has seen; the state counts, and says why the search stopped, in place of ``verbose``.
    """
    settings = _Settings(
        max_linesearch_steps,
        max_learning_rate,
        tol,
        increase_factor,
        slope_rtol,
        curv_rtol,
        approx_dec_rtol,
        stepsize_precision,
    )

    def init(params: Params) -> LinesearchState:
        return init_search(params, store_grad=True)

    def update(
        updates: Updates, state: LinesearchState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        def search(at: Any, start: Point, reason: jax.Array, last: Last, s: _Settings) -> Outcome:
            kept = jnp.where(last.learning_rate > 0, *last)
            return _search(at, start, reason, kept if initial_guess_strategy == "keep" else jnp.ones_like(kept), s)

        return update_search(search, settings, updates, state, params, extra)

    return init, update


class _End(NamedTuple):
    """An end of the interval: a point without its gradient."""

    learning_rate: jax.Array
    value: jax.Array
    slope: jax.Array


class _Progress(NamedTuple):
    """A search under way.

    Attributes:
      trial: the next learning rate to try.
      lo: the end of the interval with the smaller value; while there is no interval, the last point.
      hi: the other end; infinitely far while there is no interval.
      width: the length of the interval before the last step.
      best: what is taken if the search ends here.
      evaluations: how many points were tried.
      reason: 0 while it goes on.
    """

    trial: jax.Array
    lo: _End
    hi: _End
    width: jax.Array
    best: Point
    evaluations: jax.Array
    reason: jax.Array


def _search(
    at: Callable[[jax.Array], Point], start: Point, reason: jax.Array, guess: jax.Array, s: _Settings
) -> Outcome:
    # An infinite rate would make a NaN of an update that is zero.
    largest = np.finfo(guess.dtype).max if s.max_learning_rate is None else s.max_learning_rate

    def step(progress: _Progress) -> _Progress:
        new = at(progress.trial)
        finite = jnp.isfinite(new.value) & jnp.isfinite(new.slope)
        enough = finite & _decreased(new, start, s)
        holds = enough & (jnp.abs(new.slope) <= s.curv_rtol * jnp.abs(start.slope) + s.tol)
        better = finite & (new.value < progress.best.value)
        best = choose(holds | better, new, progress.best)

        lo, hi = _narrow(progress.lo, progress.hi, _End(*new[:3]), enough)
        width = jnp.abs(hi.learning_rate - lo.learning_rate)
        bracketed = jnp.isfinite(width)
        further = jnp.minimum(s.increase_factor * new.learning_rate, largest)
        slow = (width > 0.66 * progress.width) & jnp.isfinite(progress.width)
        trial = jnp.where(bracketed, _divide(lo, hi, slow), further)

        evaluations = progress.evaluations + 1
        small = bracketed & (width <= s.stepsize_precision * jnp.maximum(lo.learning_rate, hi.learning_rate))
        stop = jnp.where(number(evaluations) >= s.max_steps, int(LinesearchStop.MAX_STEPS), 0)
        stop = jnp.where(small, int(LinesearchStop.SMALL_INTERVAL), stop)
        at_bound = ~bracketed & (new.learning_rate >= largest)
        stop = jnp.where(at_bound, int(LinesearchStop.MAX_LEARNING_RATE), stop)
        stop = jnp.where(holds, int(LinesearchStop.CONDITIONS_HOLD), stop).astype(jnp.int32)
        return _Progress(trial, lo, hi, width, best, evaluations, stop)

    nowhere = jnp.full_like(guess, jnp.inf)
    begin = _Progress(
        trial=jnp.minimum(guess, largest),
        lo=_End(*start[:3]),
        hi=_End(nowhere, nowhere, nowhere),
        width=nowhere,
        best=start,
        evaluations=jnp.zeros((), jnp.int32),
        reason=reason,
    )
    end = while_loop(lambda progress: progress.reason == 0, step, begin)
    trial = jnp.where(jnp.isfinite(end.width), end.trial, begin.trial)
    return Outcome(end.best, end.evaluations, end.reason, trial)


def _decreased(new: Point, start: Point, s: _Settings) -> Any:
    """Whether the first condition holds, exactly or as far as rounding lets it be seen."""
    enough = new.value <= start.value + s.slope_rtol * new.learning_rate * start.slope + s.tol
    if s.approx_dec_rtol is None:
        return enough
    level = new.value <= start.value + s.approx_dec_rtol * jnp.abs(start.value)
    return enough | (level & (new.slope <= (2 * s.slope_rtol - 1) * start.slope))


def _narrow(lo: _End, hi: _End, new: _End, enough: jax.Array) -> tuple[_End, _End]:
    """The interval after one more point: it always has a point that meets both conditions, near `lo`."""
    far = ~enough | (new.value >= lo.value)
    passed = jnp.where(hi.learning_rate > lo.learning_rate, new.slope >= 0, new.slope <= 0)
    return choose(far, lo, new), choose(far, new, choose(passed, lo, hi))


def _divide(lo: _End, hi: _End, halve: jax.Array) -> jax.Array:
    """Where to divide an interval: the minimum of the cubic through both ends, of a parabola, or the middle."""
    # Each quotient is of numbers that it exists for: there would be NaNs otherwise, dropped here but found by those who
    # look for their own with jax.debug_nans.
    known = jnp.isfinite(hi.learning_rate) & jnp.isfinite(hi.value) & jnp.isfinite(hi.slope)
    width = jnp.where(jnp.isfinite(hi.learning_rate), hi.learning_rate, lo.learning_rate + 1) - lo.learning_rate
    hi = choose(known, hi, lo)
    rise = (hi.value - lo.value) / jnp.where(width == 0, 1, width)
    steepest = jnp.maximum(jnp.maximum(jnp.abs(lo.slope), jnp.abs(hi.slope)), jnp.abs(rise))
    known &= (steepest >= np.finfo(steepest.dtype).tiny) & jnp.isfinite(steepest)
    unit = jnp.where(known, steepest, 1)  # in which no square overflows
    first, last, mean = (jnp.where(known, x, 0) / unit for x in (lo.slope, hi.slope, rise))
    bend = first + last - 3 * mean
    square = bend**2 - first * last
    root = jnp.sign(width) * jnp.sqrt(jnp.maximum(square, 0))
    above, below = last + root - bend, last - first + 2 * root
    cubic = 1 - above / jnp.where(below == 0, 1, below)
    flat = first == mean
    parabola = first / (2 * jnp.where(flat, 1, first - mean))
    of_cubic = (square >= 0) & (below != 0) & jnp.isfinite(cubic)
    part = jnp.where(of_cubic, cubic, parabola)
    usable = known & (of_cubic | ~flat) & jnp.isfinite(part) & ~halve
    part = jnp.where(usable, part, 0.5)
    return lo.learning_rate + jnp.clip(part, 0.01, 0.99) * width
