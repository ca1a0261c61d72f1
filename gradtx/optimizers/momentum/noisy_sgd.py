"""Gradient descent on noisy gradients."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.gradients import add_noise, scale_by_learning_rate
from gradtx.typing import NonNegative


@optimizer
def noisy_sgd(learning_rate: NonNegative, eta: NonNegative = 0.01, gamma: NonNegative = 0.55) -> GradientTransformation:
    r"""Gradient descent on gradients to which normal noise is added, less and less of it.

    Composition: `add_noise`, `scale_by_learning_rate`.

    .. math::
        x_{t+1} = x_t - \alpha\left(g_t + \mathcal{N}\!\left(0, \tfrac{\eta}{t^\gamma} I\right)\right)

    `update` takes a ``key``: a new one at every step. To put the noise before another method, chain it:
    ``chain(add_noise(0.01, 0.55), adam(1e-3))``.

    Args:
      learning_rate: :math:`\alpha`, at least 0.
      eta: :math:`\eta`, the variance of the noise at the first step, at least 0.
      gamma: :math:`\gamma`, at least 0: how fast the variance falls.

    State:
      A counter.

    Raises:
      MissingExtraError: `update` was called without ``key``.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.noisy_sgd(0.1), jnp.array([1.0, -2.0])
      >>> state, key = tx.init(params), jax.random.key(0)
      >>> for step in range(100):
      ...     updates, state = tx.update(2 * params, state, params, key=jax.random.fold_in(key, step))
      ...     params = gradtx.apply_updates(params, updates)
      >>> bool(jnp.abs(params).max() < 0.1)
      True

    References:
      - Neelakantan et al., Adding gradient noise improves learning for very deep networks, 2015, arXiv:1511.06807.

    Differences from Optax: no key or seed; the key comes with each update.
    """
    return chain(add_noise(eta, gamma), scale_by_learning_rate(learning_rate))
