"""LaProp: a gradient is divided by its scale first, and averaged afterwards."""

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
    moving_average,
    moving_average_sq,
    optimizer,
    transformation,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.adam import ScaleByAdamState, moments
from gradtx.typing import Decay, DTypeName, Mask, NonNegative


@transformation
def scale_by_laprop(
    b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-15, mu_dtype: DTypeName | None = None
) -> Form:
    r"""Rescale updates by the LaProp rule.

    .. math::
        v_t = \beta_2 v_{t-1} + (1-\beta_2)\, |g_t|^2, \quad
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, \frac{g_t}{\sqrt{\hat v_t} + \epsilon}, \quad
        u_t = \hat m_t

    with :math:`\hat v_t = v_t/(1-\beta_2^t)` and :math:`\hat m_t = m_t/(1-\beta_1^t)`. Adam divides the average of
    gradients by today's scale; here each gradient was divided by the scale of its own day. So :math:`\beta_1` and
    :math:`\beta_2` may be chosen apart: the updates stay bounded also where :math:`\beta_1^2 > \beta_2`, or
    :math:`\beta_2 = 0`, which makes an average of signs.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter (6 with ``mu_dtype="bfloat16"``), and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_laprop()
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Ziyin, Wang, Ueda, LaProp: separating momentum and adaptivity in Adam, 2020, arXiv:2002.04839.

    Differences from the authors' code: a learning rate comes after the average, not into it, which shows under a
    schedule; the variants *centered* and *amsgrad* are not here. Optax has no LaProp.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        count = increment(state.count)
        ratio = divide_by_root(eps, nu_weight=complement_of_power(b2, count))
        return state._replace(count=count), {"ratio": ratio, "correct": 1 / complement_of_power(b1, count)}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, ratio: Any, correct: Any) -> tuple[jax.Array, ...]:
        v = moving_average_sq(b2, v, g)
        m = moving_average(b1, m, ratio(g, v))
        return correct * m, m, v

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(mu_dtype), prepare=prepare)


@optimizer
def laprop(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-15,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""LaProp with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{LaProp} + \lambda p)`.

    Composition: `scale_by_laprop`, `add_decayed_weights`, `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.0004 in the authors' code.
      b1: decay of the average of rescaled gradients, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      mu_dtype: the dtype of the average; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.laprop(4e-4, b2=0.99)).transforms[0]
      scale_by_laprop(b2=0.99)

    References:
      - Ziyin, Wang, Ueda, LaProp: separating momentum and adaptivity in Adam, 2020, arXiv:2002.04839.
    """
    return chain(
        scale_by_laprop(b1, b2, eps, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
