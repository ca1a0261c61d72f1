"""Optax's classes and types, and transformations without a state."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, Union, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from gradtx.core import GradientTransformation, as_transformation
from gradtx.optax._form import pair
from gradtx.typing import EmptyState, OptState, Params, Updates

GradientTransformationExtraArgs = GradientTransformation
"""Every transformation takes extra arguments, and ignores those it does not know."""

AdaptiveGradClipState = EmptyState
AddDecayedWeightsState = EmptyState
ClipByGlobalNormState = EmptyState
ClipState = EmptyState
NonNegativeParamsState = EmptyState
ScaleByTrustRatioState = EmptyState
ScaleState = EmptyState

NO_PARAMS_MSG = "the transformation reads the parameters: pass them third, tx.update(grads, state, params)"

Schedule = Callable[[jax.typing.ArrayLike], jax.typing.ArrayLike]
# Not `X | Y`: programs compare annotations with it, and some read its `__args__`.
ScalarOrSchedule = Union[float, jax.Array, Schedule]  # noqa: UP007
MaskOrFn: TypeAlias = Any
ScheduleState: TypeAlias = Any
PyTree: TypeAlias = Any
PRNGKey: TypeAlias = jax.Array
Numeric: TypeAlias = Any


@runtime_checkable
class StatefulSchedule(Protocol):
    """A schedule with a state: one that counts for itself, or observes."""

    def init(self) -> Any:
        """The first state."""

    def update(self, state: Any, **extra_args: Any) -> Any:
        """The next state."""

    def __call__(self, state: Any, **extra_args: Any) -> Any:
        """The value."""


class TransformInitFn(Protocol):
    """``init(params) -> state``."""

    def __call__(self, params: Params) -> OptState:
        """The first state."""


class TransformUpdateFn(Protocol):
    """``update(updates, state, params=None) -> (updates, state)``."""

    def __call__(self, updates: Updates, state: OptState, params: Params | None = None) -> tuple[Updates, OptState]:
        """The outgoing updates and the next state."""


class TransformUpdateExtraArgsFn(Protocol):
    """``update(updates, state, params=None, **extra_args) -> (updates, state)``."""

    def __call__(
        self, updates: Updates, state: OptState, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, OptState]:
        """The outgoing updates and the next state."""


def apply_updates(params: Params, updates: Updates) -> Params:
    """The params plus the updates."""
    return gradtx.apply_updates(params, updates)


def init_empty_state(params: Params) -> EmptyState:
    """The state of a transformation that remembers nothing."""
    del params
    return EmptyState()


def with_extra_args_support(tx: Any) -> GradientTransformation:
    """The transformation, which ignores extra arguments it has no parameters for."""
    return as_transformation(tx, "tx to be a transformation")


def identity() -> GradientTransformation:
    """Updates as they come."""
    return gradtx.identity()


def set_to_zero() -> GradientTransformation:
    """Updates of zero."""
    return gradtx.set_to_zero()


def stateless(f: Callable[..., Updates]) -> GradientTransformation:
    """The transformation ``f(updates, params)``."""
    return gradtx.stateless(lambda updates, params: f(updates, params))


def stateless_with_tree_map(f: Callable[..., Any]) -> GradientTransformation:
    """The transformation ``f(g, p)`` of each leaf; without params, ``f(g, None)``."""

    def update(updates: Updates, state: EmptyState, params: Params | None = None) -> tuple[Updates, EmptyState]:
        if params is None:
            return jax.tree.map(lambda g: f(g, None), updates), EmptyState()
        return jax.tree.map(f, updates, params), EmptyState()

    return pair(init_empty_state, update)


class WrappedScheduleState(NamedTuple):
    """The state of a `WrappedSchedule`: the step."""

    count: Any


class WrappedSchedule:
    """A function of the step as a stateful schedule, which counts the steps for itself."""

    def __init__(self, schedule_fn: Callable[[Any], Any]) -> None:
        self.schedule_fn = schedule_fn

    def init(self) -> WrappedScheduleState:
        """Step 0."""
        return WrappedScheduleState(jnp.zeros((), jnp.int32))

    def update(self, state: WrappedScheduleState, **extra_args: Any) -> WrappedScheduleState:  # noqa: ARG002
        """The next step."""
        return WrappedScheduleState(gradtx.core.increment(state.count))

    def __call__(self, state: WrappedScheduleState, **extra_args: Any) -> Any:  # noqa: ARG002
        """The value at the step."""
        return self.schedule_fn(state.count)


def as_key(key: Any) -> jax.Array:
    """A PRNG key from a key or from a seed."""
    if isinstance(key, int | np.integer) or (
        hasattr(key, "dtype") and key.ndim == 0 and jnp.issubdtype(key.dtype, jnp.integer)
    ):
        return jax.random.key(key)
    made: jax.Array = key
    return made
