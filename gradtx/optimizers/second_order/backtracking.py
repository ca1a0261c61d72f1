"""A line search that steps back until the function has decreased enough (Armijo)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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
from gradtx.typing import AtLeastOne, Decay, NonNegative, OpenFraction, Params, Positive, State, Updates


class _Settings(NamedTuple):
    max_steps: Any
    slope_rtol: Any
    decrease_factor: Any
    increase_factor: Any
    max_learning_rate: Any
    atol: Any
    rtol: Any


@transformation
def scale_by_backtracking_linesearch(
    max_backtracking_steps: NonNegative,
    slope_rtol: Decay = 1e-4,
    decrease_factor: OpenFraction = 0.8,
    increase_factor: AtLeastOne = 1.5,
    max_learning_rate: Positive = 1.0,
    atol: NonNegative = 0.0,
    rtol: NonNegative = 0.0,
    store_grad: bool = False,
) -> Pair:
    r"""Scale the updates by the first learning rate, of ever smaller ones, at which the function decreases enough.

    .. math::
        f(p + \eta u) \le f(p) + c\, \eta \langle \nabla f(p), u \rangle + \delta |f(p)| + \epsilon, \qquad
        \eta = \min(a \eta_{t-1}, \eta_{\max})\, b^k, \quad k = 0, 1, \dots

    The updates :math:`u` that come in are the step to be scaled, sign and all: put the search after
    ``sgd(learning_rate=1.0)`` or ``scale(-1.0)``, not before. What goes out is :math:`\eta u`.

    `update` needs ``value_fn`` (or ``value_and_grad_fn``), and takes the value and the gradient at the params from
    ``value`` and ``grad``; whichever of them is missing costs one evaluation more. A point at which the value is NaN or
    infinite is too far. If no learning rate does, the best of those at which the function decreased at all is taken; if
    there is none, the step is zero. So it is if the updates point uphill, or the value or slope is not finite. The
    state says which (`LinesearchStop`).

    Derivatives of what follows take :math:`\eta` for a constant.

    Args:
      max_backtracking_steps: how often the rate is decreased, at least 0; one point more than that is tried.
      slope_rtol: :math:`c`, in [0, 1).
      decrease_factor: :math:`b`, in (0, 1).
      increase_factor: :math:`a`, at least 1: how much more than the last time is tried first. After a zero step the
        search goes on where that one ended.
      max_learning_rate: :math:`\eta_{\max}`, more than 0.
      atol: :math:`\epsilon`, at least 0.
      rtol: :math:`\delta`, at least 0.
      store_grad: compute the gradient with each value and keep that of the last point, for `value_and_grad_from_state`.

    State:
      `LinesearchState`: seven scalars; 4 bytes per float32 parameter more with ``store_grad``.

    Raises:
      MissingExtraError: `update` was called without ``params``, or without a function.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.scale_by_backtracking_linesearch(15))
      >>> p = jnp.array([1.0, 2.0])
      >>> updates, state = tx.update(20 * p, tx.init(p), p, value_fn=lambda p: 10 * jnp.sum(p**2))
      >>> state[1].learning_rate, state[1].evaluations, gradtx.LinesearchStop(int(state[1].reason)).name
      (Array(0.08589938, dtype=float32), Array(13, dtype=int32), 'CONDITIONS_HOLD')

    References:
      - Armijo, Minimization of functions having Lipschitz continuous first partial derivatives, 1966.
      - Nocedal, Wright, Numerical optimization, 2nd edition, 2006, algorithm 3.1.
      - Vaswani et al., Painless stochastic gradient: interpolation, line-search, and convergence rates, 2019,
        arXiv:1905.09997.

    Differences from Optax: the gradient and the value at the params may be left out; functions are closed over their
    batch; a search that fails never increases the function; the relative tolerance is of the magnitude of the
    value; the state counts, and says why the search stopped, in place of ``verbose``.
    """
    settings = _Settings(
        max_backtracking_steps, slope_rtol, decrease_factor, increase_factor, max_learning_rate, atol, rtol
    )

    def init(params: Params) -> LinesearchState:
        return init_search(params, store_grad=store_grad)

    def update(
        updates: Updates, state: LinesearchState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        return update_search(_search, settings, updates, state, params, extra)

    return init, update


class _Progress(NamedTuple):
    trial: jax.Array
    best: Point
    evaluations: jax.Array
    reason: jax.Array


def _search(
    at: Callable[[jax.Array], Point], start: Point, reason: jax.Array, last: Last, settings: _Settings
) -> Outcome:
    s = settings
    allowance = s.rtol * jnp.abs(start.value) + s.atol

    def step(progress: _Progress) -> _Progress:
        new = at(progress.trial)
        enough = new.value <= start.value + s.slope_rtol * new.learning_rate * start.slope + allowance
        finite = jnp.isfinite(new.value) & jnp.isfinite(new.slope)
        enough = enough & finite
        better = finite & (new.value < progress.best.value)
        evaluations = progress.evaluations + 1
        stop = jnp.where(number(evaluations) > s.max_steps, int(LinesearchStop.MAX_STEPS), 0)
        stop = jnp.where(enough, int(LinesearchStop.CONDITIONS_HOLD), stop).astype(jnp.int32)
        trial = s.decrease_factor * progress.trial
        return _Progress(trial, choose(enough | better, new, progress.best), evaluations, stop)

    first = jnp.where(last.learning_rate > 0, s.increase_factor * last.learning_rate, last.trial)
    first = jnp.where(first > 0, jnp.minimum(first, s.max_learning_rate), s.max_learning_rate)  # it may underflow
    begin = _Progress(first, start, jnp.zeros((), jnp.int32), reason)
    end = while_loop(lambda progress: progress.reason == 0, step, begin)
    return Outcome(end.best, end.evaluations, end.reason, end.trial)
