"""Gradient descent with a step size that follows from the value."""

from typing import Literal

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.evaluations import scale_by_polyak
from gradtx.transforms import scale_by_learning_rate
from gradtx.typing import NonNegative, Numeric


@optimizer
def polyak_sgd(
    max_learning_rate: NonNegative = 1.0,
    scaling: NonNegative = 1.0,
    f_min: Numeric = 0.0,
    eps: NonNegative = 0.0,
    variant: Literal["sps", "sps+"] = "sps",
) -> GradientTransformation:
    r"""Gradient descent with Polyak's step size, which follows from the value: `update` needs ``value``.

    Composition: `scale_by_learning_rate` with `scaling`, `scale_by_polyak`.

    Args:
      max_learning_rate: the largest step size, at least 0.
      scaling: a factor of the gradient, at least 0. The step size :math:`(f - f^*) / |g|^2` is made of the scaled
        gradient, as in Optax: at 2, the step is half as long.
      f_min: :math:`f^*`, the value at the minimum, or a guess of it.
      eps: what is added to the squared norm, at least 0.
      variant: ``"sps"``, or ``"sps+"``, which stays where the value is below :math:`f^*`.

    State:
      One scalar.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.polyak_sgd(), jnp.array([1.0, 2.0])
      >>> state = tx.init(p)
      >>> for _ in range(20):
      ...     value, grad = jax.value_and_grad(lambda p: jnp.sum(p**2))(p)
      ...     updates, state = tx.update(grad, state, p, value=value)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(value < 1e-10)
      True

    References:
      - Loizou et al., Stochastic Polyak step-size for SGD: an adaptive learning rate for fast convergence, 2021,
        arXiv:2002.10542.
    """
    return chain(scale_by_learning_rate(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))
