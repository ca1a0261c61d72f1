"""Updates divided by their common norm."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.core import Form, leafwise, transformation
from gradtx.gradients.clipping import zero_if_infinite
from gradtx.typing import EmptyState, NonNegative, Numeric, Updates


@transformation
def normalize() -> Form:
    r"""Divide all updates by their common norm: the step has the length of the learning rate, whatever the gradient.

    .. math:: u = \frac{g}{\lVert g \rVert_2}

    The norm is taken over all leaves, in at least float32; inside `partition`, over those of the group. Zero updates
    stay zero. If the norm is infinite, because an element is or the norm is beyond the largest float, all updates are
    zero. If it is NaN, the leaves that are right stay zero too. Norms below the least normal float are taken for zero.

    Normalized gradients of minibatches do not average to the direction of the mean gradient. The method that is
    analysed has the average before: ``chain(ema(0.9), normalize(), scale_by_learning_rate(0.1))``.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.normalize()
      >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))[0]
      Array([0.6, 0.8], dtype=float32)

    References:
      - Cutkosky, Mehta, Momentum improves normalized SGD, 2020, arXiv:2002.03305.

    Differences from Optax: zero updates stay zero, where Optax's are NaN.
    """
    return _divided_by_norm(1.0, 0.0)


@transformation
def normalize_by_update_norm(scale_factor: Numeric = 1.0, eps: NonNegative = 1e-6) -> Form:
    r"""Divide all updates by their common norm, and multiply them by a number.

    .. math:: u = c\, \frac{g}{\lVert g \rVert_2 + \epsilon}

    As `normalize`, which is this with :math:`c = 1` and :math:`\epsilon = 0`.

    Args:
      scale_factor: :math:`c`, any finite number; a negative one descends.
      eps: :math:`\epsilon`, at least 0: norms well below it are not enlarged to :math:`c`.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.normalize_by_update_norm(scale_factor=-0.1)
      >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))[0]
      Array([-0.06, -0.08], dtype=float32)

    References:
      - Hazan, Levy, Shalev-Shwartz, Beyond convexity: stochastic quasi-convex optimization, 2015, arXiv:1507.02030.

    Differences from Optax: a zero norm with an `eps` of zero gives zero updates, not NaN.
    """
    return _divided_by_norm(scale_factor, eps)


def _divided_by_norm(scale_factor: Any, eps: Any) -> Form:
    def prepare(state: EmptyState, updates: Updates) -> tuple[EmptyState, dict[str, Any]]:
        norm = tree.global_norm(updates)
        # The reciprocal of a smaller number may be infinite, and zero updates times infinity NaN.
        usable = norm + eps >= np.finfo(norm.dtype).tiny
        factor = jnp.where(usable, scale_factor, 0) / jnp.where(usable, norm + eps, 1)
        return state, {"factor": factor, "norm": norm}

    def leaf(g: jax.Array, *, factor: Any, norm: Any) -> Any:
        return factor * zero_if_infinite(g, norm)

    return leafwise(leaf, prepare=prepare)
