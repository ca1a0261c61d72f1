"""QHAdam: a mixture of Adam's averages with the newest gradient."""

from typing import Any

import jax

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
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
from gradtx.typing import Decay, DTypeName, Fraction, Mask, NonNegative


@transformation
def scale_by_qhadam(
    b1: Decay = 0.995,
    b2: Decay = 0.999,
    nu1: Fraction = 0.7,
    nu2: Fraction = 1.0,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
) -> Form:
    r"""Rescale updates by the QHAdam rule.

    .. math::
        u_t = \frac{(1-\nu_1)\, g_t + \nu_1 \hat m_t}{\sqrt{(1-\nu_2)\, |g_t|^2 + \nu_2 \hat v_t} + \epsilon}

    with the moments of `scale_by_adam`. The average may then be long, so that :math:`\beta_1 = 0.995`, and the newest
    gradient still has a large part in the update. With :math:`\nu_1 = \nu_2 = 1` this is Adam, with
    :math:`\nu_1 = \beta_1, \nu_2 = 1` NAdam up to the correction of the bias, with :math:`\nu_1 = 0, \nu_2 = 1`
    RMSProp.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      nu1: :math:`\nu_1`, the weight of the average of gradients, in [0, 1].
      nu2: :math:`\nu_2`, the weight of the average of squares, in [0, 1].
      eps: :math:`\epsilon`, outside the root, at least 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter (6 with ``mu_dtype="bfloat16"``), and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_qhadam(b1=0.5, b2=0.5, nu1=0.5, nu2=0.5)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Ma, Yarats, Quasi-hyperbolic momentum and Adam for deep learning, 2018, arXiv:1810.06801.

    Differences from the authors' code: the defaults are what they advise; theirs, with which it is Adam, are
    :math:`\beta_1 = 0.9, \nu_1 = 1`. Optax has no QHAdam.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        count = increment(state.count)
        return state._replace(count=count), {
            "ratio": divide_by_root(eps),
            "weight": nu1 / complement_of_power(b1, count),
            "square_weight": nu2 / complement_of_power(b2, count),
        }

    def leaf(
        g: jax.Array, m: jax.Array, v: jax.Array, *, ratio: Any, weight: Any, square_weight: Any
    ) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        return ratio((1 - nu1) * g + weight * m, abs_sq(g, 1 - nu2) + square_weight * v), m, v

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(mu_dtype), prepare=prepare)


@optimizer
def qhadam(
    learning_rate: NonNegative,
    b1: Decay = 0.995,
    b2: Decay = 0.999,
    nu1: Fraction = 0.7,
    nu2: Fraction = 1.0,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""QHAdam with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{QHAdam} + \lambda p)`.

    Composition: `scale_by_qhadam`, `add_decayed_weights`, `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the authors' code.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      nu1: weight of the first moment, in [0, 1]; the newest gradient has the rest.
      nu2: weight of the second moment, in [0, 1]; the newest square has the rest.
      eps: outside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.qhadam(1e-3, nu1=0.8)).transforms[0]
      scale_by_qhadam(nu1=0.8)

    References:
      - Ma, Yarats, Quasi-hyperbolic momentum and Adam for deep learning, 2018, arXiv:1810.06801.
    """
    return chain(
        scale_by_qhadam(b1, b2, nu1, nu2, eps, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
