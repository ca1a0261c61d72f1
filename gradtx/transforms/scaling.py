"""Multiplication of all updates by one number."""

from typing import Any

import jax

from gradtx import tree
from gradtx.core import Pair, leafwise, scaled, transformation
from gradtx.typing import EmptyState, NonNegative, Numeric, Params, State, Updates


def _times(g: jax.Array, factor: Any) -> jax.Array:
    r""":math:`s\, g`."""
    return scaled(factor, g)


@transformation
def scale(step_size: Numeric) -> Pair:
    r"""Multiply updates by a number: :math:`u = s\, g`.

    Args:
      step_size: :math:`s`, any finite number or a schedule.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale(-0.5)
      >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
      Array([-1.], dtype=float32)
    """
    return leafwise(_times, step_size, share=False)


@transformation
def scale_by_schedule(step_size_fn: Numeric) -> Pair:
    r"""Multiply updates by a schedule: :math:`u_t = s(t-1)\, g_t`.

    The same as `scale`, which takes schedules too; here because Optax has the name.

    Args:
      step_size_fn: the schedule, or any function of the step.

    State:
      With a schedule, a `ScheduledState` that counts the steps.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_schedule(lambda step: -0.1 / (step + 1))
      >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
      Array([-0.2], dtype=float32)
    """
    return leafwise(_times, step_size_fn, share=False)


@transformation
def scale_by_learning_rate(learning_rate: NonNegative, *, flip_sign: bool = True) -> Pair:
    r"""Turn directions of ascent into steps of descent: :math:`u = -\eta\, g`.

    Args:
      learning_rate: :math:`\eta`, at least 0; a number or a schedule.
      flip_sign: multiply by :math:`-\eta`; ``False`` multiplies by :math:`\eta`, to maximise.

    State:
      `EmptyState`: nothing; with a schedule, a `ScheduledState` that counts the steps.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_learning_rate(0.1)
      >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
      Array([-0.2], dtype=float32)
    """
    factor = -learning_rate if flip_sign else learning_rate
    return leafwise(_times, factor, share=False)


@transformation
def identity() -> Pair:
    """Leave updates as they are: :math:`u = g`.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.identity().update(jnp.array([2.0]), gradtx.EmptyState())[0]
      Array([2.], dtype=float32)
    """

    def init(params: Params) -> EmptyState:
        return EmptyState()

    @tree.fusible
    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        return updates, state

    return init, update


@transformation
def set_to_zero() -> Pair:
    """Replace updates by zeros, so that parameters stay: :math:`u = 0`, also where the gradient is NaN.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.set_to_zero().update(jnp.array([2.0]), gradtx.EmptyState())[0]
      Array([0.], dtype=float32)
    """

    def init(params: Params) -> EmptyState:
        return EmptyState()

    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        return tree.zeros_like(updates), state

    return init, update
