"""Gradient descent that tells little about any single example."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.gradients import differentially_private_aggregate
from gradtx.optimizers.momentum.sgd import sgd
from gradtx.typing import Fraction, NonNegative


@optimizer
def dpsgd(
    learning_rate: NonNegative,
    l2_norm_clip: NonNegative,
    noise_multiplier: NonNegative,
    momentum: Fraction | None = None,
    nesterov: bool = False,
) -> GradientTransformation:
    r"""Gradient descent that tells little about any single example: each is clipped, and noise is added to their sum.

    Composition: `differentially_private_aggregate`, `sgd`.

    `update` takes the gradient of each example, in a leading axis on every leaf, and a ``key``: a new one at every
    step.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      l2_norm_clip: the bound :math:`C` on the norm of an example's gradient, at least 0.
      noise_multiplier: :math:`\sigma`: the noise has the standard deviation :math:`\sigma C`, at least 0.
      momentum: :math:`\mu` of `trace`, in [0, 1]; ``None`` keeps no momentum and no state.
      nesterov: Nesterov's momentum.

    State:
      That of `sgd`.

    Raises:
      MissingExtraError: `update` was called without ``key``.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> def loss_fn(params, x, y):
      ...     return (params @ x - y) ** 2
      >>> params, x, y = jnp.zeros(2), jnp.eye(2), jnp.array([1.0, -2.0])
      >>> tx = gradtx.dpsgd(0.1, l2_norm_clip=1.0, noise_multiplier=0.5)
      >>> state, key = tx.init(params), jax.random.key(0)
      >>> for step in range(100):
      ...     examples = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(params, x, y)
      ...     updates, state = tx.update(examples, state, params, key=jax.random.fold_in(key, step))
      ...     params = gradtx.apply_updates(params, updates)
      >>> bool(jnp.linalg.norm(params - y) < 0.5)
      True

    References:
      - Abadi et al., Deep learning with differential privacy, 2016, arXiv:1607.00133.

    Differences from Optax: no seed; the key comes with each update.
    """
    return chain(
        differentially_private_aggregate(l2_norm_clip, noise_multiplier), sgd(learning_rate, momentum, nesterov)
    )
