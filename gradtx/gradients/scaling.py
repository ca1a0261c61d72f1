"""Multiplication of all updates by one number."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core import Form, leafwise, transformation
from gradtx.typing import NonNegative, Numeric


@transformation
def scale(step_size: Numeric) -> Form:
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

    def leaf(g: jax.Array) -> Any:
        return step_size * g

    return leafwise(leaf)


@transformation
def scale_by_schedule(step_size_fn: Numeric) -> Form:
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

    def leaf(g: jax.Array) -> Any:
        return step_size_fn * g

    return leafwise(leaf)


@transformation
def scale_by_learning_rate(learning_rate: NonNegative, *, flip_sign: bool = True) -> Form:
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
    rate = -learning_rate if flip_sign else learning_rate

    def leaf(g: jax.Array) -> Any:
        return rate * g

    return leafwise(leaf)


@transformation
def identity() -> Form:
    """Leave updates as they are: :math:`u = g`.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.identity().update(jnp.array([2.0]), gradtx.EmptyState())[0]
      Array([2.], dtype=float32)
    """
    return leafwise(lambda g: g)


@transformation
def set_to_zero() -> Form:
    """Replace updates by zeros, so that parameters stay: :math:`u = 0`, also where the gradient is NaN.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.set_to_zero().update(jnp.array([2.0]), gradtx.EmptyState())[0]
      Array([0.], dtype=float32)
    """
    return leafwise(jnp.zeros_like)
