"""L-BFGS and line searches, whose function may take further arguments, as in Optax."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import gradtx
from gradtx.core import GradientTransformation, zero_count
from gradtx.errors import ArgumentValueError
from gradtx.optax._form import View, pair, renamed, unbounded, viewed
from gradtx.tree.fields import find_nodes, map_nodes
from gradtx.typing import Params, State, Updates


class ScaleByLBFGSState(NamedTuple):
    """The state of `scale_by_lbfgs`: Optax's six fields, and four of gradtx's, which keeps only pairs with curvature.

    Attributes:
      count: updates seen.
      params: the last parameters.
      updates: the last gradients.
      diff_params_memory: differences of parameters, in the order they were written.
      diff_updates_memory: differences of gradients.
      weights_memory: the reciprocals of their products.
      next: the place to be written next.
      scale: the scale of the initial inverse Hessian.
      kept: pairs in memory.
      skipped: pairs that were not kept.
    """

    count: Any
    params: Params
    updates: Updates
    diff_params_memory: Any
    diff_updates_memory: Any
    weights_memory: Any
    next: Any
    scale: Any
    kept: Any
    skipped: Any


_LBFGS = renamed(
    gradtx.ScaleByLbfgsState,
    ScaleByLBFGSState,
    {
        "updates": "grads",
        "diff_params_memory": "params_memory",
        "diff_updates_memory": "grads_memory",
        "weights_memory": "weights",
    },
)


@unbounded
def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> GradientTransformation:
    """The direction of L-BFGS."""
    return viewed(gradtx.scale_by_lbfgs(memory_size, scale_init_precond), _LBFGS)


class BacktrackingLinesearchInfo(NamedTuple):
    """What a backtracking search found: the points it tried, and 0, or infinity if it failed."""

    num_linesearch_steps: Any
    decrease_error: Any


class ZoomLinesearchInfo(NamedTuple):
    """What a search found: the points it tried, and 0, or infinity if it failed."""

    num_linesearch_steps: Any
    decrease_error: Any
    curvature_error: Any


class ScaleByBacktrackingLinesearchState(NamedTuple):
    """The state of a backtracking search: Optax's fields, and the next rate to try."""

    learning_rate: Any
    value: Any
    grad: Updates | None
    info: BacktrackingLinesearchInfo
    trial: Any = 1.0


class ScaleByZoomLinesearchState(NamedTuple):
    """The state of a search for the strong Wolfe conditions: Optax's fields, and the next rate to try."""

    learning_rate: Any
    value: Any
    grad: Updates
    info: ZoomLinesearchInfo
    trial: Any = 1.0


def _error(state: Any) -> jax.Array:
    return jnp.where(state.failed, jnp.inf, jnp.zeros_like(state.value))


def _own(state: Any) -> Any:
    grad = () if state.grad is None else state.grad
    steps = jnp.asarray(state.info.num_linesearch_steps, jnp.int32)
    trial = jnp.asarray(state.trial, jnp.result_type(float))
    failed = jnp.asarray(state.info.decrease_error) > 0
    return gradtx.LinesearchState(
        state.learning_rate, trial, state.value, grad, steps, zero_count(), zero_count(), failed
    )


def _backtracking(state: Any) -> ScaleByBacktrackingLinesearchState:
    info = BacktrackingLinesearchInfo(state.evaluations, _error(state))
    grad = None if isinstance(state.grad, tuple) and not state.grad else state.grad
    return ScaleByBacktrackingLinesearchState(state.learning_rate, state.value, grad, info, state.trial)


def _zoom(state: Any) -> ScaleByZoomLinesearchState:
    info = ZoomLinesearchInfo(state.evaluations, _error(state), _error(state))
    return ScaleByZoomLinesearchState(state.learning_rate, state.value, state.grad, info, state.trial)


_BACKTRACKING, _ZOOM = View(_backtracking, _own), View(_zoom, _own)


def _with_arguments(tx: GradientTransformation) -> GradientTransformation:
    """The search, whose function gets those extras that it has arguments for."""

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        value_fn = extra.get("value_fn")
        if value_fn is not None:
            extra = extra | {"value_fn": _closed(value_fn, extra)}
        return tx.update(updates, state, params, **extra)

    return pair(tx.init, update)


def _closed(value_fn: Callable[..., Any], extra: dict[str, Any]) -> Callable[[Params], Any]:
    try:
        _, *names = inspect.signature(value_fn).parameters
    except (TypeError, ValueError):
        names = []
    given = {name: extra[name] for name in names if name in extra}
    return lambda params: value_fn(params, **given)


@unbounded
def scale_by_backtracking_linesearch(
    max_backtracking_steps: Any, slope_rtol: Any = 1e-4, decrease_factor: Any = 0.8, increase_factor: Any = 1.5,
    max_learning_rate: Any = 1.0, atol: Any = 0.0, rtol: Any = 0.0, store_grad: bool = False, verbose: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Scale updates by a rate at which the function has fallen enough. `verbose` prints nothing here."""
    del verbose
    # An infinite factor means: begin again at the largest rate.
    increase_factor = 1e38 if increase_factor == float("inf") else increase_factor
    tx = gradtx.scale_by_backtracking_linesearch(
        max_backtracking_steps, slope_rtol, decrease_factor, increase_factor, max_learning_rate, atol, rtol, store_grad
    )
    return _with_arguments(viewed(tx, _BACKTRACKING))


@unbounded
def scale_by_zoom_linesearch(
    max_linesearch_steps: Any, max_learning_rate: Any = None, tol: Any = 0.0, increase_factor: Any = 2.0,
    slope_rtol: Any = 1e-4, curv_rtol: Any = 0.9, approx_dec_rtol: Any = 1e-6, stepsize_precision: Any = 1e-5,
    initial_guess_strategy: str = "keep", verbose: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Scale updates by a rate that meets the strong Wolfe conditions. `verbose` prints nothing here."""
    del verbose
    tx = gradtx.scale_by_zoom_linesearch(
        max_linesearch_steps, max_learning_rate, tol, increase_factor, slope_rtol, curv_rtol, approx_dec_rtol,
        stepsize_precision, initial_guess_strategy,  # type: ignore[arg-type]
    )  # fmt: skip
    return _with_arguments(viewed(tx, _ZOOM))


def value_and_grad_from_state(value_fn: Callable[..., Any]) -> Callable[..., tuple[Any, Updates]]:
    """`jax.value_and_grad` that takes what a line search has in its state where it can."""
    inner = gradtx.value_and_grad_from_state(value_fn)

    def value_and_grad(params: Params, *args: Any, state: State, **kwargs: Any) -> tuple[Any, Updates]:
        kinds = (ScaleByZoomLinesearchState, ScaleByBacktrackingLinesearchState)
        if not find_nodes(state, kinds):
            raise ArgumentValueError("a line search in the state", got="none", origin="optax.value_and_grad_from_state")
        return inner(params, *args, state=map_nodes(_own, state, kinds), **kwargs)

    return value_and_grad
