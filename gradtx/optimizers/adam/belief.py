"""AdaBelief: Adam by how far gradients stray from their average."""

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
    optimizer,
    transformation,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.adam import ScaleByAdamState, mean_gradient, moments, nesterov_weight
from gradtx.optimizers.adam.radam import rectified
from gradtx.typing import Decay, Mask, NonNegative


@transformation
def scale_by_belief(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    *,
    nesterov: bool = False,
    rectify: bool = False,
) -> Form:
    r"""Rescale updates by the AdaBelief rule: by how far gradients stray from their average.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad
        s_t = \beta_2 s_{t-1} + (1-\beta_2)\, |g_t - m_t|^2 + \bar\epsilon, \quad
        u_t = \frac{\hat m_t}{\sqrt{\hat s_t} + \epsilon}

    :math:`\bar\epsilon` is added to the stored moment at every step and so grows to
    :math:`\bar\epsilon/(1-\beta_2)`. The first step has length :math:`1/\beta_1`, since
    :math:`g_1 - m_1 = \beta_1 g_1`.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, added to the moment, at least 0.
      nesterov: as in `scale_by_adam`.
      rectify: multiply the update by the factor :math:`r_t` of `scale_by_rectified_adam`, and return :math:`\hat m_t`
        while there is none, in the first steps. The authors' releases from 0.1 do so by default.

    State:
      `ScaleByAdamState`, with :math:`s` as ``nu``: 8 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_belief(b1=0.5)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 2., -2.], dtype=float32)

    References:
      - Zhuang et al., AdaBelief optimizer: adapting stepsizes by the belief in observed gradients, 2020,
        arXiv:2010.07468.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        count = increment(state.count)
        mu_weight = complement_of_power(b1, count)
        ratio: Any = divide_by_root(eps, mu_weight=mu_weight, nu_weight=complement_of_power(b2, count))
        ratio = rectified(ratio, b2, count, 5.0, 1 / mu_weight) if rectify else ratio
        return state._replace(count=count), {"ratio": ratio, "ahead": nesterov_weight(nesterov, b1, count, mu_weight)}

    def leaf(g: jax.Array, m: jax.Array, s: jax.Array, *, ratio: Any, ahead: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        # In this order the last sum is between two arrays, and XLA computes it once. Were eps_root added last, XLA
        # would compute it again for u, from a copy of the old s: 12 bytes per parameter more.
        s = b2 * s + (abs_sq(g - m, 1 - b2) + eps_root)
        return ratio(mean_gradient(b1, g, m, ahead), s), m, s

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(), prepare=prepare)


@optimizer
def adabelief(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    *,
    nesterov: bool = False,
    rectify: bool = False,
    weight_decay: NonNegative | None = None,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:
    r"""AdaBelief: steps are long where gradients agree with their average.

    Composition: `scale_by_belief`, `scale_by_learning_rate`; with a weight decay, `add_decayed_weights` between them.

    The authors' releases from 0.1 are ``adabelief(rate, rectify=True, weight_decay=0.0)``, with the decay decoupled.

    Args:
      learning_rate: at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0. The authors advise 1e-8 for convolutional networks.
      eps_root: added to the second moment at every step, at least 0.
      nesterov: Nesterov's momentum.
      rectify: rectify the rate, as `radam` does.
      weight_decay: :math:`\lambda` of a decoupled decay, at least 0; None for none.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adabelief(0.1))
      chain(scale_by_belief(), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Zhuang et al., AdaBelief optimizer: adapting stepsizes by the belief in observed gradients, 2020,
        arXiv:2010.07468.
    """
    decay = [] if weight_decay is None else [add_decayed_weights(weight_decay, weight_decay_mask)]
    return chain(
        scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov, rectify=rectify),
        *decay,
        scale_by_learning_rate(learning_rate),
    )
