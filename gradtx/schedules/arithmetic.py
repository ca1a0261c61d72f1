"""Sums, differences, products and quotients of schedules and numbers."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from gradtx.core import Schedule, Stateful, as_number, schedule
from gradtx.typing import Numeric, Operand


def _operate(operation: Callable[[Any, Any], Any], *operands: Any) -> Stateful | Callable[[Any], Any]:
    """A function of schedules and numbers, as the parts of a schedule."""
    schedules = [x if isinstance(x, Schedule) else constant_schedule(x) for x in operands]

    def value(step: Any, states: Any) -> Any:
        return operation(*(s.value(step, state) for s, state in zip(schedules, states, strict=True)))

    observers = [s.parts if isinstance(s.parts, Stateful) else None for s in schedules]

    def update(states: Any, **extra: Any) -> Any:
        pairs = zip(observers, states, strict=True)
        return tuple(parts.update(state, **extra) if parts else () for parts, state in pairs)

    def init() -> Any:
        return tuple(parts.init() if parts else () for parts in observers)

    if any(observers):
        reads_step = any(
            p.reads_step if p else isinstance(x, Schedule) for x, p in zip(operands, observers, strict=True)
        )
        return Stateful(init, update, value, reads_step)
    return lambda step: value(step, ((),) * len(schedules))


@schedule
def constant_schedule(value: Numeric) -> Callable[[Any], Any]:
    r"""A schedule that never changes: :math:`s(n) = \text{value}`.

    Args:
      value: any finite number.

    Example:
      >>> import gradtx
      >>> gradtx.constant_schedule(0.5).sample(3).tolist()
      [0.5, 0.5, 0.5]
    """
    return lambda step: jnp.broadcast_to(as_number(value), jnp.broadcast_shapes(jnp.shape(value), jnp.shape(step)))


@schedule
def add_schedules(left: Operand, right: Operand) -> Stateful | Callable[[Any], Any]:
    """The sum of two schedules or numbers: what ``left + right`` makes.

    Args:
      left: a schedule or number.
      right: a schedule or number.

    Example:
      >>> import gradtx
      >>> (gradtx.constant_schedule(0.5) + 1.0).sample(2).tolist()
      [1.5, 1.5]
    """
    return _operate(jnp.add, left, right)


@schedule
def subtract_schedules(left: Operand, right: Operand) -> Stateful | Callable[[Any], Any]:
    """The difference of two schedules or numbers: what ``left - right`` makes.

    Args:
      left: a schedule or number.
      right: a schedule or number.

    Example:
      >>> import gradtx
      >>> (gradtx.constant_schedule(0.5) - 1.0).sample(2).tolist()
      [-0.5, -0.5]
    """
    return _operate(jnp.subtract, left, right)


@schedule
def multiply_schedules(left: Operand, right: Operand) -> Stateful | Callable[[Any], Any]:
    """The product of two schedules or numbers: what ``left * right`` makes.

    Args:
      left: a schedule or number.
      right: a schedule or number.

    Example:
      >>> import gradtx
      >>> (gradtx.constant_schedule(0.5) * 3.0).sample(2).tolist()
      [1.5, 1.5]
    """
    return _operate(jnp.multiply, left, right)


@schedule
def divide_schedules(left: Operand, right: Operand) -> Stateful | Callable[[Any], Any]:
    """The quotient of two schedules or numbers: what ``left / right`` makes.

    Args:
      left: a schedule or number.
      right: a schedule or number; its value must not be zero.

    Example:
      >>> import gradtx
      >>> (gradtx.constant_schedule(0.5) / 2.0).sample(2).tolist()
      [0.25, 0.25]
    """
    return _operate(jnp.divide, left, right)
