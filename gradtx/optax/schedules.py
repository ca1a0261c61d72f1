"""``optax.schedules``: schedules of the step, and hyperparameters in the state."""

import functools
import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from gradtx.core import GradientTransformation, increment, zero_count
from gradtx.core import Schedule as _Schedule
from gradtx.errors import ArgumentValueError
from gradtx.optax._base import (
    ScalarOrSchedule,
    Schedule,
    ScheduleState,
    StatefulSchedule,
    WrappedSchedule,
    with_extra_args_support,
)
from gradtx.optax._form import pair, unbounded
from gradtx.typing import Params, State, Updates

constant_schedule = unbounded(gradtx.constant_schedule)
cosine_decay_schedule = unbounded(gradtx.cosine_decay_schedule)
cosine_onecycle_schedule = gradtx.cosine_onecycle_schedule
exponential_decay = unbounded(gradtx.exponential_decay)
join_schedules = gradtx.join_schedules
linear_onecycle_schedule = gradtx.linear_onecycle_schedule
linear_schedule = unbounded(gradtx.linear_schedule)
piecewise_constant_schedule = gradtx.piecewise_constant_schedule
piecewise_interpolate_schedule = gradtx.piecewise_interpolate_schedule
polynomial_schedule = unbounded(gradtx.polynomial_schedule)
sgdr_schedule = gradtx.sgdr_schedule
warmup_constant_schedule = unbounded(gradtx.warmup_constant_schedule)
warmup_cosine_decay_schedule = gradtx.warmup_cosine_decay_schedule
warmup_exponential_decay_schedule = unbounded(gradtx.warmup_exponential_decay_schedule)


class InjectHyperparamsState(NamedTuple):
    """Optax's older state of injected hyperparameters."""

    count: Any
    hyperparams: dict[str, Any]
    inner_state: State


class InjectStatefulHyperparamsState(NamedTuple):
    """The state of injected hyperparameters.

    Attributes:
      count: the number of updates.
      hyperparams: by the names of the factory's arguments, the numbers the next update uses; a program may set those
        that follow no schedule.
      hyperparams_states: by name, the states of the schedules.
      inner_state: the state of the transformation.
    """

    count: Any
    hyperparams: dict[str, Any]
    hyperparams_states: dict[str, Any]
    inner_state: State


def inject_hyperparams(
    inner_factory: Callable[..., Any], static_args: str | Iterable[str] = (), hyperparam_dtype: Any = None
) -> Callable[..., GradientTransformation]:
    """A factory whose numbers are in the state, where a program reads and sets them.

    The factory may be any function that returns a transformation: it is called at each step, with the numbers in
    force. Booleans, what is no number and what `static_args` names are given as they are.

    Args:
      inner_factory: the factory.
      static_args: the names of arguments that stay out of the state.
      hyperparam_dtype: the dtype of the numbers; float32 if None (float64 in x64 mode). Optax takes that of the params.
    """
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    signature = inspect.signature(inner_factory)
    if not static <= set(signature.parameters):
        expected = f"static_args among the arguments ({', '.join(signature.parameters)})"
        raise ArgumentValueError(expected, got=str(sorted(static)), origin="inject_hyperparams")

    def as_stored(x: Any) -> Any:
        if isinstance(x, jax.Array) and not getattr(x, "weak_type", False):
            return x
        dtype = jnp.result_type(x)
        wanted = jnp.result_type(float) if hyperparam_dtype is None else hyperparam_dtype
        return jnp.asarray(x, wanted if jnp.issubdtype(dtype, jnp.floating) else None)

    @functools.wraps(inner_factory)
    def make(*args: Any, **kwargs: Any) -> GradientTransformation:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        schedules, numbers, others = _sorted(bound.arguments, static)

        def build(hyperparams: dict[str, Any]) -> GradientTransformation:
            call = inspect.BoundArguments(signature, type(bound.arguments)(others | hyperparams))
            call.arguments = {name: call.arguments[name] for name in bound.arguments}  # in the order of the signature
            return with_extra_args_support(inner_factory(*call.args, **call.kwargs))

        def values(states: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            return {name: as_stored(s(states[name], **extra)) for name, s in schedules.items()}

        def init(params: Params) -> InjectStatefulHyperparamsState:
            states = {name: s.init() for name, s in schedules.items()}
            hyperparams = {name: as_stored(x) for name, x in numbers.items()} | values(states, {})
            return InjectStatefulHyperparamsState(zero_count(), hyperparams, states, build(hyperparams).init(params))

        def update(
            updates: Updates, state: InjectStatefulHyperparamsState, params: Params | None = None, **extra: Any
        ) -> tuple[Updates, State]:
            hyperparams = {name: as_stored(x) for name, x in state.hyperparams.items()}
            hyperparams |= values(state.hyperparams_states, extra)
            states = {name: s.update(state.hyperparams_states[name], **extra) for name, s in schedules.items()}
            updates, inner_state = build(hyperparams).update(updates, state.inner_state, params, **extra)
            state = InjectStatefulHyperparamsState(increment(state.count), hyperparams, states, inner_state)
            return updates, state

        return pair(init, update)

    return make


def _sorted(arguments: dict[str, Any], static: set[str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The arguments of a call: schedules, numbers, and others."""
    schedules: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in static or isinstance(value, bool):
            others[name] = value
        elif _is_stateful(value):
            schedules[name] = value
        elif callable(value):
            schedules[name] = WrappedSchedule(value)
        elif isinstance(value, int | float | jax.Array | np.ndarray):
            numbers[name] = value
        else:
            others[name] = value
    return schedules, numbers, others


def _is_stateful(value: Any) -> bool:
    if isinstance(value, _Schedule):
        return value.stateful
    return isinstance(value, StatefulSchedule) and not isinstance(value, GradientTransformation)


def inject_stateful_hyperparams(
    inner_factory: Callable[..., Any], static_args: str | Iterable[str] = (), hyperparam_dtype: Any = None
) -> Callable[..., GradientTransformation]:
    """Another name of `inject_hyperparams`."""
    warnings.warn("inject_stateful_hyperparams is inject_hyperparams", DeprecationWarning, stacklevel=2)
    return inject_hyperparams(inner_factory, static_args, hyperparam_dtype)


__all__ = [
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "ScalarOrSchedule",
    "Schedule",
    "ScheduleState",
    "StatefulSchedule",
    "WrappedSchedule",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "exponential_decay",
    "inject_hyperparams",
    "inject_stateful_hyperparams",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]
