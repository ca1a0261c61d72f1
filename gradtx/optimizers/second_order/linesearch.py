r"""What line searches share: the ray :math:`\eta \mapsto f(p + \eta u)`, their state, and how it is used again.

A search is a loop that stops when it has found a learning rate, so it is a `jax.lax.while_loop`, and the learning rate
it finds is a constant to derivatives. Everything else keeps its derivatives in both modes: the step through the params
and the direction, the value and the gradient at the new point through the function itself.
"""

import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.core import cond, value_and_ascent, value_and_grad_function, value_function, zero_count
from gradtx.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, require_extra
from gradtx.storage import apply_updates
from gradtx.tree.norms import all_finite
from gradtx.tree.paths import is_inert, is_none
from gradtx.typing import Count, Params, State, Updates


class LinesearchStop(enum.IntEnum):
    """Why a line search stopped: the codes of ``LinesearchState.reason``. From `MAX_LEARNING_RATE` on it failed."""

    NOT_RUN = 0
    """There was no search yet."""
    CONDITIONS_HOLD = 1
    """The learning rate meets every condition of the search."""
    STATIONARY = 2
    """The slope is exactly zero, as where the gradient is: the step is zero, and there is nothing to find."""
    MAX_LEARNING_RATE = 3
    """The function still falls too steeply at the largest learning rate allowed."""
    MAX_STEPS = 4
    """No more points may be tried."""
    SMALL_INTERVAL = 5
    """The interval that holds the learning rate cannot be divided further."""
    NOT_DESCENT = 6
    """The slope is positive: the updates point uphill."""
    NOT_FINITE = 7
    """The value or the slope at the params is NaN or infinite."""


class LinesearchState(NamedTuple):
    """The state of `scale_by_backtracking_linesearch` and of `scale_by_zoom_linesearch`.

    Attributes:
      learning_rate: what the last search multiplied its updates by, float []; 0 for no step, and 1 before the first.
      trial: what it would have tried next, float []: there the next search goes on if this one took no step; 1 before
        the first.
      value: the function at the params plus the step; infinite before the first search.
      grad: its gradient there, like the params, in accumulator dtype; an empty tuple if it is not stored.
      evaluations: how often the last search called the function, with or without its gradient, int32 [].
      total_evaluations: the same over all searches.
      reason: a code of `LinesearchStop`, int32 [].
      failed: whether the step does not meet the conditions of the search, bool [].
    """

    learning_rate: jax.Array
    trial: jax.Array
    value: jax.Array
    grad: Updates
    evaluations: Count
    total_evaluations: Count
    reason: jax.Array
    failed: jax.Array


class Point(NamedTuple):
    """A point of the ray.

    Attributes:
      learning_rate: how far along.
      value: the function there.
      slope: its derivative along the ray; 0 if the gradient is not computed.
      grad: its gradient; an empty tuple if it is not computed.
    """

    learning_rate: jax.Array
    value: jax.Array
    slope: jax.Array
    grad: Updates


class Outcome(NamedTuple):
    """What a search found: a point, how often it called the function, a `LinesearchStop`, and the next trial."""

    point: Point
    evaluations: jax.Array
    reason: jax.Array
    trial: jax.Array


class Last(NamedTuple):
    """The rate of the search before, 0 if it took no step, and that which it would have tried next."""

    learning_rate: jax.Array
    trial: jax.Array


Search = Callable[[Callable[[jax.Array], Point], Point, jax.Array, Last, Any], Outcome]
"""``search(at, start, reason, last, settings)``: along the ray `at` from `start`. If `reason` is not 0 there is nothing
to search."""


def number(x: Any) -> jax.Array:
    """A scalar of a search: in the default float dtype, and without a derivative."""
    return jax.lax.stop_gradient(jnp.asarray(x, jnp.result_type(float)))


def init_search(params: Params, *, store_grad: bool) -> LinesearchState:
    """The state before the first search."""
    grad = tree.zeros_accumulator(params) if store_grad else ()
    zero = jnp.zeros((), jnp.result_type(float))
    return LinesearchState(
        zero + 1, zero + 1, zero + jnp.inf, grad, zero_count(), zero_count(), zero_count(), jnp.zeros((), bool)
    )


def update_search(
    search: Search, settings: Any, updates: Updates, state: LinesearchState, params: Params | None, extra: Any
) -> tuple[Updates, LinesearchState]:
    """Search along the updates, and scale them by what was found."""
    require_extra(params, "params", "a line search begins there: tx.update(grads, state, params, value_fn=...)")
    value, grad, spent = _start(params, state, extra)
    evaluate, consts = jax.closure_convert(_evaluation(extra, state), params)
    slope = number(tree.inner(updates, grad))
    zero = jnp.zeros_like(slope)  # what it is added to differs between devices where the slope does, under shard_map

    origin, direction, fixed = jax.lax.stop_gradient((params, updates, consts))
    has_grad = bool(jax.tree.leaves(state.grad))

    def at(learning_rate: jax.Array) -> Point:
        value, grad = evaluate(apply_updates(origin, _scaled(direction, learning_rate)), *fixed)
        return Point(learning_rate, value, number(tree.inner(direction, grad)) if has_grad else number(0), grad)

    kept = jax.lax.stop_gradient(_like(grad, state.grad) if has_grad else state.grad)
    start = Point(zero, number(value) + zero, slope, kept)
    settings = jax.tree.map(number, settings)
    last = jax.lax.stop_gradient(Last(state.learning_rate, state.trial))
    point, evaluations, reason, trial = search(at, start, _before(start), last, settings)

    scaled = _scaled(updates, point.learning_rate)
    here = apply_updates(params, scaled)
    new_value, new_grad = _with_derivatives(evaluate, here, consts, (point.value, point.grad))
    evaluations = evaluations + spent
    total = jnp.where(
        state.total_evaluations > np.iinfo(np.int32).max - evaluations,
        np.iinfo(np.int32).max,
        state.total_evaluations + evaluations,
    )
    failed = reason >= LinesearchStop.MAX_LEARNING_RATE
    return scaled, LinesearchState(point.learning_rate, trial, new_value, new_grad, evaluations, total, reason, failed)


def _start(params: Params, state: LinesearchState, extra: Mapping[str, Any]) -> tuple[Any, Updates, int]:
    """Value and gradient at the params, and how often the function was called for them."""
    value, grad = extra.get("value"), extra.get("grad")
    if grad is None:
        return *value_and_grad_function(extra)(params), 1
    if value is None:
        return value_function(extra)(params), grad, 1
    return value, grad, 0


def _evaluation(extra: Mapping[str, Any], state: LinesearchState) -> Callable[[Params], tuple[jax.Array, Updates]]:
    """The value, and the gradient if the state has room for it, in the dtypes of the state."""
    dtype = state.value.dtype
    if not jax.tree.leaves(state.grad):
        value_fn = value_function(extra)
        return lambda params: (jnp.asarray(value_fn(params), dtype), state.grad)
    value_and_grad_fn = value_and_grad_function(extra)

    def evaluate(params: Params) -> tuple[jax.Array, Updates]:
        value, grad = value_and_grad_fn(params)
        return jnp.asarray(value, dtype), _like(grad, state.grad)

    return evaluate


def _like(grad: Updates, stored: Updates) -> Updates:
    """A gradient as the state stores it; an absent leaf is zero."""
    return jax.tree.map(
        lambda g, s: s if s is None else jnp.zeros_like(s) if is_inert(g) else jnp.asarray(g, s.dtype),
        grad,
        stored,
        is_leaf=is_none,
    )


def _scaled(updates: Updates, learning_rate: jax.Array) -> Updates:
    """The updates times a rate; zero where the rate is, even if an update is not finite."""

    def leaf(u: jax.Array) -> jax.Array:
        return jnp.where(learning_rate > 0, learning_rate.astype(jnp.real(u).dtype) * u, 0)

    return tree.map_leaves(leaf, updates)


def _before(start: Point) -> jax.Array:
    """The reason not to search at all, or 0."""
    finite = jnp.isfinite(start.value) & jnp.isfinite(start.slope)
    downhill = jnp.where(start.slope < 0, 0, int(LinesearchStop.NOT_DESCENT))
    reason = jnp.where(start.slope == 0, int(LinesearchStop.STATIONARY), downhill)
    return jnp.where(finite, reason, int(LinesearchStop.NOT_FINITE)).astype(jnp.int32)


def _with_derivatives(evaluate: Callable[..., Any], params: Params, consts: Any, found: Any) -> Any:
    """What was found at `params` by a search that has no derivatives, with those of ``evaluate(params, *consts)``.

    The function is called again only if something is differentiated.
    """

    @jax.custom_jvp
    def known(params: Params, consts: Any, found: Any) -> Any:
        return found

    @known.defjvp
    def known_jvp(primals: Any, tangents: Any) -> Any:
        _, tangent = jax.jvp(lambda params, consts: evaluate(params, *consts), primals[:2], tangents[:2])
        return primals[2], tangent

    return known(params, consts, found)


def choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    """One of two trees."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), yes, no)


def value_and_grad_from_state(
    value_fn: Callable[..., Any], has_aux: bool = False
) -> Callable[..., tuple[Any, Updates]]:
    """`jax.value_and_grad` that takes both from the state of a line search if they are there.

    A line search has evaluated the function at the point it accepted, so that the next step need not. Before the first
    search, and after one that began where the function is not finite, the function is called; otherwise it is not.

    It is for a function that does not change: with a fresh batch at each step the value in the state belongs to another
    function. It is also the caller's part that the params are those the search arrived at: nothing after the search
    in the chain may change the updates, nor may a wrapper such as `lookahead` move the params. If the search saw a part
    of the tree only (`partition`, `masked`), the function is called at every step.

    Args:
      value_fn: a function of the params, and of further arguments, that returns a scalar.
      has_aux: it returns a pair of the scalar and anything else. That is in no state: the function is called for it at
        every step, but not differentiated where the gradient is known.

    Returns:
      ``value_and_grad(params, *args, state, **kwargs) -> (value, grad)``, or ``((value, aux), grad)`` if `has_aux`:
      the value in the default float dtype, the gradient like the params; at complex leaves it is the direction of
      steepest ascent, the conjugate of `jax.grad`'s.

    Raises:
      UnknownNameError: the state has no line search, or several.
      ArgumentValueError: the search stores no gradient.
      ArgumentTypeError: `has_aux`, and `value_fn` returns no pair.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> def loss(p):
      ...     return jnp.sum(p**2)
      >>> tx, p = gradtx.lbfgs(), jnp.array([1.0, 2.0, 3.0])
      >>> state = tx.init(p)
      >>> for _ in range(3):
      ...     value, grad = gradtx.value_and_grad_from_state(loss)(p, state=state)
      ...     updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(loss(p) < 1e-8)
      True
    """

    def value_and_grad(params: Params, *args: Any, state: State, **kwargs: Any) -> tuple[Any, Updates]:
        stored = _stored(state)
        seen: Any = jax.tree.structure(stored.grad)

        def evaluate(params: Params) -> tuple[Any, Any]:
            made = value_fn(params, *args, **kwargs)
            return _pair(made) if has_aux else (made, None)

        def compute() -> tuple[jax.Array, Any, Updates]:
            (value, aux), grad = value_and_ascent(evaluate, has_aux=True)(params)
            return jnp.asarray(value, jnp.result_type(float)), aux, _at_numbers(grad, params)

        def take() -> tuple[jax.Array, Any, Updates]:
            aux = evaluate(params)[1] if has_aux else None
            return stored.value, aux, _at_numbers(stored.grad, params)

        if seen != jax.tree.structure(params):
            value, aux, grad = compute()
        else:
            usable = jnp.isfinite(stored.value) & all_finite(stored.grad)
            value, aux, grad = cond(usable, take, compute)
        grad = jax.tree.map(_of_integers, grad, params, is_leaf=is_none)
        return ((value, aux) if has_aux else value), grad

    return value_and_grad


def _pair(made: Any) -> tuple[Any, Any]:
    if not isinstance(made, tuple) or len(made) != 2:
        got = f"a tuple of {len(made)}" if isinstance(made, tuple) else "one value"
        expected = "value_fn to return a pair (value, aux), as has_aux is True"
        raise ArgumentTypeError(expected, got=got, origin="value_and_grad_from_state")
    return made


def _stored(state: State) -> LinesearchState:
    found = tree.find_nodes(state, LinesearchState)
    origin = "value_and_grad_from_state"
    if len(found) != 1:
        hint = "" if found else "use scale_by_zoom_linesearch, lbfgs(), or jax.value_and_grad"
        raise UnknownNameError("one LinesearchState in the state", got=str(len(found)), hint=hint, origin=origin)
    if isinstance(found[0].grad, tuple) and not found[0].grad:
        hint = "use scale_by_backtracking_linesearch(..., store_grad=True)"
        raise ArgumentValueError("a line search that stores the gradient", got="none", hint=hint, origin=origin)
    state_of_search: LinesearchState = found[0]
    return state_of_search


def _at_numbers(grad: Updates, params: Params) -> Updates:
    """A gradient in the dtypes of the params, ``None`` at integers."""
    return jax.tree.map(lambda g, p: jnp.asarray(g, p.dtype) if _inexact(p) else None, grad, params, is_leaf=is_none)


def _of_integers(grad: Any, param: Any) -> Any:
    """What JAX calls the gradient of an integer, where there is none."""
    return np.zeros(np.shape(param), jax.dtypes.float0) if grad is None and param is not None else grad


def _inexact(param: Any) -> bool:
    return param is not None and jnp.issubdtype(jnp.asarray(param).dtype, jnp.inexact)
