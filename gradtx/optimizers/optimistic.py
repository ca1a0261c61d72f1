"""Optimizers for games that extrapolate the gradient from the last one."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, alias, optimizer
from gradtx.transforms import scale_by_adam, scale_by_learning_rate, scale_by_optimistic_gradient
from gradtx.typing import Decay, DTypeName, NonNegative, Numeric


@optimizer
def optimistic_gradient_descent(
    learning_rate: NonNegative, alpha: Numeric = 1.0, beta: Numeric = 1.0
) -> GradientTransformation:
    """Optimistic gradient descent: where plain descent circles around the solution of a game, it converges.

    Composition: `scale_by_optimistic_gradient`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      alpha: the weight of the gradient.
      beta: the weight of its change since the last step.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.optimistic_gradient_descent(0.1)
      >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0]
      Array([-0.1], dtype=float32)

    References:
      - Daskalakis et al., Training GANs with optimism, 2017, arXiv:1711.00141.
      - Mokhtari, Ozdaglar, Pattathil, A unified analysis of extra-gradient and optimistic gradient methods for saddle
        point problems, 2019, arXiv:1901.08511.
    """
    return chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


@optimizer
def optimistic_adam(
    learning_rate: NonNegative,
    *,
    alpha: Numeric = 1.0,
    beta: Numeric = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    nesterov: bool = True,
) -> GradientTransformation:
    """Adam whose direction is extrapolated from the last one.

    Composition: `scale_by_adam`, `scale_by_optimistic_gradient`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      alpha: the weight of Adam's direction.
      beta: the weight of its change since the last step.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      nesterov: Nesterov's momentum, on by default as in Optax; the paper has none.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.optimistic_adam(0.1, nesterov=False)
      >>> tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))[0]
      Array([-0.1], dtype=float32)

    References:
      - Daskalakis et al., Training GANs with optimism, 2017, arXiv:1711.00141.

    Differences from Optax: this is its ``optimistic_adam_v2``, a name that works here too; the ``optimistic_adam`` that
    is deprecated there has no counterpart.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )


optimistic_adam_v2 = alias("optimistic_adam_v2", optimistic_adam)
"""Optax's other name for `optimistic_adam`."""
