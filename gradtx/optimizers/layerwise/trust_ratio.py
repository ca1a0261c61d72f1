"""The trust ratio: updates as long as the parameters they change."""

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Form, leafwise, transformation
from gradtx.typing import NonNegative, Positive


@transformation
def scale_by_trust_ratio(
    min_norm: NonNegative = 0.0,
    trust_coefficient: NonNegative = 1.0,
    eps: NonNegative = 0.0,
    *,
    max_norm: Positive | None = None,
    weight_decay: NonNegative = 0.0,
) -> Form:
    r"""Give the update of each leaf the length of the leaf's parameters.

    .. math::
        u = c\, \frac{\phi(\lVert p \rVert_2)}{n(g) + \epsilon}\, g, \qquad
        n(g) = \lVert g - \lambda p \rVert_2 + \lambda \lVert p \rVert_2, \qquad
        \phi(x) = \min(x, \text{max\_norm})

    With :math:`\lambda = 0` that is :math:`n(g) = \lVert g \rVert_2`. Norms are at least `min_norm`. Where one of them
    is still 0, the ratio is 1: a leaf of zeros begins to move, and a gradient of zeros is no update.

    A leaf is a layer: a kernel is one, a bias another. A scalar leaf moves by :math:`c\,|p|` whatever its gradient.
    Biases and the scales of norms are commonly left out: ``masked(scale_by_trust_ratio(), "*kernel")``.

    Args:
      min_norm: what both norms are taken to be at least; at least 0.
      trust_coefficient: :math:`c`, at least 0; 0.001 in LARS.
      eps: :math:`\epsilon`, at least 0.
      max_norm: what the norm of the parameters is taken to be at most, above 0; 10 in the authors' LAMB. ``None`` for
        no bound.
      weight_decay: :math:`\lambda`, at least 0, if the updates hold :math:`\lambda p` of `add_decayed_weights` whose
        length is to be counted apart, as in the LARS paper. Nothing is added here.

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.scale_by_trust_ratio(), jnp.array([3.0, 4.0])
      >>> tx.update(jnp.array([0.0, 0.1]), tx.init(params), params)[0]
      Array([0., 5.], dtype=float32)

    References:
      - You, Gitman, Ginsburg, Large batch training of convolutional networks, 2017, arXiv:1708.03888.
      - You et al., Large batch optimization for deep learning: training BERT in 76 minutes, 2020, arXiv:1904.00962.

    Differences from Optax: norms neither overflow nor vanish as long as their elements do not; the arithmetic of
    bfloat16 leaves is float32; `max_norm` and `weight_decay` are arguments.
    """
    separate = not (isinstance(weight_decay, float | int) and weight_decay == 0)

    def leaf(g: jax.Array, *, p: jax.Array) -> jax.Array:
        size = tree.global_norm(p)
        length = tree.global_norm(g - weight_decay * p) + weight_decay * size if separate else tree.global_norm(g)
        size, length = jnp.maximum(size, min_norm), jnp.maximum(length, min_norm)
        usable = (size != 0) & (length != 0)
        if max_norm is not None:
            size = jnp.minimum(size, max_norm)
        # The division comes first: the ratio alone is beyond the largest float where an update is very short.
        direction = g / jnp.where(usable, length + eps, 1)
        return jnp.where(usable, trust_coefficient * size, 1) * direction

    return leafwise(leaf)
