"""Yogi: Adam with a second moment that changes by at most the squared gradient."""

from typing import Any

import jax
import jax.numpy as jnp

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
    optimizer,
    transformation,
)
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.adam.adam import ScaleByAdamState, moments
from gradtx.typing import Decay, NonNegative


@transformation
def scale_by_yogi(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-3,
    eps_root: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 1e-6,
    *,
    bias_correction: bool = True,
) -> Form:
    r"""Rescale updates by the Yogi rule: Adam with a second moment that changes by at most the squared gradient.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad
        v_t = v_{t-1} + (1-\beta_2)\, \operatorname{sign}(|g_t|^2 - v_{t-1})\, |g_t|^2, \quad
        u_t = \frac{\hat m_t}{\sqrt{\hat v_t + \bar\epsilon} + \epsilon}

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.
      initial_accumulator_value: :math:`v_0` and :math:`m_0`, at least 0: 1e-6 as in the paper's code and Optax (the
        paper's code leaves :math:`m_0` at 0), 0 as in the d2l chapter.
      bias_correction: divide the moments by :math:`1-\beta^t`; ``False`` is the rule as the paper states it.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_yogi(eps=0.0, initial_accumulator_value=0.0)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        count = increment(state.count)
        mu_weight = complement_of_power(b1, count) if bias_correction else None
        nu_weight = complement_of_power(b2, count) if bias_correction else None
        ratio = divide_by_root(eps, eps_root, mu_weight=mu_weight, nu_weight=nu_weight)
        return state._replace(count=count), {"ratio": ratio}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, ratio: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        change = (1 - b2) * abs_sq(g)
        # Comparing, rather than the sign of a difference, keeps a moment that overflowed infinite, not NaN.
        v = v + jnp.where(abs_sq(g) > v, change, jnp.where(abs_sq(g) < v, -change, 0))
        return ratio(m, v), m, v

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(None, initial_accumulator_value), prepare=prepare)


@optimizer
def yogi(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-3,
    eps_root: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 1e-6,
) -> GradientTransformation:
    """Yogi: Adam with a second moment that changes slowly.

    Composition: `scale_by_yogi`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; 0.01 in the paper's experiments and the d2l chapter.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      initial_accumulator_value: both moments to begin with, at least 0; 0 as in the d2l chapter.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.yogi(0.01, initial_accumulator_value=0.0))
      chain(scale_by_yogi(initial_accumulator_value=0.0), scale_by_learning_rate(learning_rate=0.01))

    References:
      - Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018.
    """
    return chain(scale_by_yogi(b1, b2, eps, eps_root, initial_accumulator_value), scale_by_learning_rate(learning_rate))
