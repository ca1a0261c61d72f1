"""Simplified AdEMAMix: one sum of gradients, and today's gradient beside it."""

from typing import Any

import jax

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    complement_of_power,
    divide_by_root,
    increment,
    leafwise,
    moving_average_sq,
    optimizer,
    transformation,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.adam import ScaleByAdamState, moments
from gradtx.typing import Decay, Mask, NonNegative


@transformation
def scale_by_simplified_ademamix(
    b1: Decay = 0.99,
    b2: Decay = 0.95,
    alpha: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
) -> Form:
    r"""Rescale updates by the simplified AdEMAMix rule.

    .. math::
        m_t = \beta_1 m_{t-1} + g_t, \quad
        v_t = \beta_2 v_{t-1} + (1-\beta_2)\, |g_t|^2, \quad
        u_t = \frac{m_t + \alpha\, g_t}{\sqrt{\hat v_t + \bar\epsilon} + \epsilon}

    with :math:`\hat v_t = v_t/(1-\beta_2^t)`. Where AdEMAMix mixes a fast and a slow average, the fast one is the
    gradient itself here, and the slow one a sum: nothing is corrected and nothing needs a schedule.

    *The size of a step.* The sum grows to :math:`1/(1-\beta_1)` gradients. A learning rate for Adam is to be multiplied
    by :math:`1-\beta_1`: with ``alpha=0`` and ``b2`` alike, that is Adam without the correction of its first moment.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      alpha: :math:`\alpha`, at least 0; a number or a schedule.
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_simplified_ademamix(alpha=2.0)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 3., -3.], dtype=float32)

    References:
      - Morwani et al., Connections between schedule-free optimizers, AdEMAMix, and accelerated SGD variants, 2025,
        arXiv:2502.02431.

    Differences from Optax: the second moment of complex gradients is that of their absolute values, and real.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        count = increment(state.count)
        ratio = divide_by_root(eps, eps_root, nu_weight=complement_of_power(b2, count))
        return state._replace(count=count), {"ratio": ratio}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, ratio: Any) -> tuple[jax.Array, ...]:
        m = b1 * m + g
        v = moving_average_sq(b2, v, g)
        return ratio(m + alpha * g, v), m, v

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(), prepare=prepare)


@optimizer
def simplified_ademamix(
    learning_rate: NonNegative,
    b1: Decay = 0.99,
    b2: Decay = 0.95,
    alpha: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""Simplified AdEMAMix with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u + \lambda p)`.

    Composition: `scale_by_simplified_ademamix`, `add_decayed_weights`, `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0; that of `adamw` times ``1 - b1``.
      b1: decay of the sum of gradients, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      alpha: weight of the gradient beside the sum, at least 0; a number or a schedule.
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      weight_decay: :math:`\lambda`, at least 0: that of `adamw` divided by ``1 - b1``, as the rate is smaller.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.simplified_ademamix(1e-5, alpha=100.0)).transforms[0]
      scale_by_simplified_ademamix(alpha=100.0)

    References:
      - Morwani et al., Connections between schedule-free optimizers, AdEMAMix, and accelerated SGD variants, 2025,
        arXiv:2502.02431.
    """
    return chain(
        scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
