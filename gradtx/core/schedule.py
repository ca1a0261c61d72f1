"""Schedules: numbers that change from step to step, as values."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core.numerics import increment, zero_count
from gradtx.core.registry import lookup, register
from gradtx.core.value import Value, check_arguments
from gradtx.errors import ArgumentTypeError, GradtxError
from gradtx.typing import Count, State

P = ParamSpec("P")


class Stateful(NamedTuple):
    """What the factory of a stateful schedule returns.

    Attributes:
      init: ``init() -> state``.
      update: ``update(state, **extra) -> state``, called once per update before the value is read.
      value: ``value(step, state) -> number``.
      reads_step: whether `value` looks at the step. If not, the state needs no counter of its own.
    """

    init: Callable[[], State]
    update: Callable[..., State]
    value: Callable[[Any, State], Any]
    reads_step: bool = True


class SteppedState(NamedTuple):
    """The state of a schedule by itself, if its value depends on the step and on what it has observed.

    A transformation that follows schedules counts the steps for all of them, and keeps `inner` only.

    Attributes:
      count: the number of updates, int32 [].
      inner: what it has observed.
    """

    count: Count
    inner: State


class Schedule(Value):
    """A number that depends on the step, made by a `schedule` factory.

    ``schedule(step)`` takes a Python integer or an array, traced or not, and returns float32 (float64 in x64 mode).
    Schedules add, subtract, multiply and divide, with numbers and with one another. A *stateful* schedule (a plateau)
    depends on what it has observed: ``state = s.init()``, ``state = s.update(state, value=loss)``, ``s(state)``. The
    state of any other is the number of the step, and that of a product of both has the number in it, so that all can be
    used where Optax takes a stateful schedule.
    """

    @functools.cached_property
    def parts(self) -> Stateful | Callable[[Any], Any]:
        """What the factory returned: a function of the step, or the parts of a stateful schedule."""
        # The parts outlive the trace in which they may be made: what is known then is computed there and then.
        with jax.ensure_compile_time_eval():
            parts: Stateful | Callable[[Any], Any] = self.factory.call(self.factory.function, self.arguments)
        return parts

    @property
    def stateful(self) -> bool:
        """Whether the value depends on observations rather than on the step alone."""
        return isinstance(self.parts, Stateful)

    def init(self) -> State:
        """The state before anything was observed; step 0 if the schedule observes nothing."""
        if not isinstance(self.parts, Stateful):
            return zero_count()
        state = self.parts.init()
        return SteppedState(zero_count(), state) if self.parts.reads_step else state

    def update(self, state: State, **extra: Any) -> State:
        """The state after one update with the given extras; the next step if the schedule observes nothing."""
        if not isinstance(self.parts, Stateful):
            return increment(state)
        if isinstance(state, SteppedState):
            return SteppedState(increment(state.count), self.parts.update(state.inner, **extra))
        return self.parts.update(state, **extra)

    def value(self, step: Any, state: State = ()) -> jax.Array:
        """The value at a step, given the state of a stateful schedule."""
        if not isinstance(self.parts, Stateful):
            return as_float(self.parts(step))
        return as_float(self.parts.value(step, state.inner if isinstance(state, SteppedState) else state))

    def __call__(self, step_or_state: Any, **extra: Any) -> jax.Array:  # noqa: ARG002
        """The value at a step, or in a state if the schedule is stateful. Extras are for `update` and not looked at."""
        if not self.stateful:
            return self.value(step_or_state)
        step = step_or_state.count if isinstance(step_or_state, SteppedState) else 0
        return self.value(step, step_or_state)

    def sample(self, n: int) -> jax.Array:
        """The values at steps 0 to n - 1, as an array of shape [n]."""
        if self.stateful:
            raise ArgumentTypeError("a schedule of the step alone", got=repr(self), origin="Schedule.sample")
        return jax.vmap(self.value)(jnp.arange(n))

    def __add__(self, other: Any) -> "Schedule":
        return combine("add", self, other)

    def __radd__(self, other: Any) -> "Schedule":
        return combine("add", other, self)

    def __sub__(self, other: Any) -> "Schedule":
        return combine("subtract", self, other)

    def __rsub__(self, other: Any) -> "Schedule":
        return combine("subtract", other, self)

    def __mul__(self, other: Any) -> "Schedule":
        return combine("multiply", self, other)

    def __rmul__(self, other: Any) -> "Schedule":
        return combine("multiply", other, self)

    def __truediv__(self, other: Any) -> "Schedule":
        return combine("divide", self, other)

    def __rtruediv__(self, other: Any) -> "Schedule":
        return combine("divide", other, self)

    def __neg__(self) -> "Schedule":
        return combine("multiply", -1.0, self)


def combine(operation: str, left: Any, right: Any) -> Schedule:
    """A sum, difference, product or quotient of schedules, made by the factory of that name."""
    made: Schedule = lookup(f"{operation}_schedules").make(left, right)
    return made


def as_float(x: Any) -> jax.Array:
    """A number as an array in the default float dtype: float32, or float64 in x64 mode."""
    dtype = jnp.result_type(float)
    if isinstance(x, jax.Array):
        return x if x.dtype == dtype and not x.aval.weak_type else x.astype(dtype)
    return jnp.asarray(x, dtype)


def as_number(x: Any) -> Any:
    """A Python number in the default float dtype as NumPy has it, with which NumPy computes what is known at once.

    Anything else is an array, as of `as_float`.
    """
    return np.asarray(x, jnp.result_type(float))[()] if isinstance(x, int | float) else as_float(x)


def schedule(function: Callable[P, Callable[[Any], Any] | Stateful]) -> Callable[P, Schedule]:
    """Make a factory of functions of the step return `Schedule` values, and register it.

    Example:
      >>> import gradtx
      >>> def example():
      ...     @gradtx.schedule
      ...     def inverse_root(scale: gradtx.Numeric):
      ...         return lambda step: scale / (step + 1.0) ** 0.5
      ...     return inverse_root(0.1)
      >>> float(example()(3))
      0.05000000074505806
    """

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        arguments = check_arguments(factory, args, kwargs)
        for name, value in arguments.items():
            if factory.arguments[name].operand and callable(value):
                arguments[name] = as_schedule(value)
            elif factory.arguments[name].numeric and callable(value):
                hint = "combine schedules with + - * / or join_schedules"
                raise ArgumentTypeError(f"{name} to be a number", got=repr(value), hint=hint, origin=factory.name)
        made = Schedule.of(factory, arguments)
        try:
            made.parts  # noqa: B018  a factory checks its arguments against one another when it is called
        except GradtxError as error:
            error.locate(factory.name)
            raise
        return made

    factory = register("schedule", function, make)
    make.factory = factory  # type: ignore[attr-defined]
    return make


@schedule
def custom_schedule(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A schedule from any function of the step.

    A function given where a number is expected becomes one of these. It has no text: to print, parse and save it,
    register a factory with `schedule` instead.

    Args:
      function: maps a step (int32 []) to a number; it is traced, so it must be written with `jax.numpy`.

    Raises:
      ArgumentTypeError: it is not a function, or a factory that was not called.

    Example:
      >>> import gradtx
      >>> gradtx.custom_schedule(lambda step: 1.0 / (step + 1)).sample(4).tolist()
      [1.0, 0.5, 0.3333333432674408, 0.25]
    """
    if not callable(function) or isinstance(function, type):
        raise ArgumentTypeError("a function of the step", got=repr(function))
    if hasattr(function, "factory"):
        name = function.factory.name
        raise ArgumentTypeError("a function of the step", got=f"the factory {name!r}", hint=f"call it: {name}(...)")
    return function


def as_schedule(value: Any) -> Schedule:
    """A schedule unchanged, any other function of the step as a `custom_schedule`."""
    return value if isinstance(value, Schedule) else custom_schedule(value)
