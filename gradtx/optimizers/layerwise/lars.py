"""LARS: gradient descent whose steps are as long as a part of each layer's parameters."""

import functools
from typing import Any, Literal

import jax

from gradtx import tree
from gradtx.combinators import chain, masked
from gradtx.core import GradientTransformation, optimizer
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.layerwise.trust_ratio import scale_by_trust_ratio
from gradtx.optimizers.momentum import trace
from gradtx.typing import Fraction, Mask, NonNegative


@optimizer
def lars(
    learning_rate: NonNegative,
    weight_decay: NonNegative = 0.0,
    weight_decay_mask: Mask = True,
    trust_coefficient: NonNegative = 0.001,
    eps: NonNegative = 0.0,
    trust_ratio_mask: Mask = True,
    momentum: Fraction = 0.9,
    nesterov: bool = False,
    *,
    denominator: Literal["norm_of_sum", "sum_of_norms"] = "norm_of_sum",
) -> GradientTransformation:
    r"""LARS: gradient descent with momentum and decay, of which each layer has a rate of its own.

    .. math::
        m_t = \mu\, m_{t-1} + \eta\, \frac{c \lVert p \rVert_2}{n + \epsilon}\, (g_t + \lambda p), \qquad
        p \leftarrow p - m_t, \qquad
        n = \begin{cases} \lVert g_t + \lambda p \rVert_2 & \text{norm\_of\_sum} \\
        \lVert g_t \rVert_2 + \lambda \lVert p \rVert_2 & \text{sum\_of\_norms} \end{cases}

    Composition: `add_decayed_weights`, `scale_by_trust_ratio`, `scale_by_learning_rate`, `trace`.

    The learning rate is inside the momentum, as in the paper: a step keeps the rate it was made with. Where a norm is
    0, the step is that of gradient descent. In practice biases and the scales of norms are left out of both masks.

    Args:
      learning_rate: :math:`\eta`, at least 0; with the default :math:`c`, far larger than that of `sgd`.
      weight_decay: :math:`\lambda`, at least 0; 0.0005 in the paper.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      trust_coefficient: :math:`c`, at least 0.
      eps: :math:`\epsilon`, at least 0.
      trust_ratio_mask: the leaves that have rates of their own; the others take steps of gradient descent.
      momentum: :math:`\mu`, in [0, 1].
      nesterov: Nesterov's momentum.
      denominator: :math:`n`: ``"norm_of_sum"`` as in Optax, or ``"sum_of_norms"`` as in the paper, whose steps are
        shorter, as the sum of norms is no less than the norm of the sum.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.lars(1.0, trust_coefficient=0.1), jnp.array([3.0, 4.0])
      >>> tx.update(jnp.array([0.0, 2.0]), tx.init(params), params)[0]
      Array([ 0. , -0.5], dtype=float32)

    References:
      - You, Gitman, Ginsburg, Large batch training of convolutional networks, 2017, arXiv:1708.03888.

    Differences from Optax: `denominator` is an argument.
    """

    def ratio(decay: Any) -> GradientTransformation:
        return scale_by_trust_ratio(0.0, trust_coefficient, eps, weight_decay=decay)

    everything = weight_decay_mask is True or weight_decay_mask is None
    scaling = ratio(0.0 if denominator == "norm_of_sum" else weight_decay)
    if denominator == "sum_of_norms" and not everything:
        decayed, plain = (functools.partial(_leaves, weight_decay_mask, wanted) for wanted in (True, False))
        scaling = chain(masked(scaling, decayed), masked(ratio(0.0), plain))
    return chain(
        add_decayed_weights(weight_decay, None if everything else weight_decay_mask),
        scaling if trust_ratio_mask is True or trust_ratio_mask is None else masked(scaling, trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


def _leaves(mask: Mask, wanted: bool, params: Any) -> Any:
    """Where a mask is True, or where it is not. What it does not match is no mistake: other leaves may be left out."""
    return jax.tree.map(lambda chosen: chosen is wanted, tree.resolve_mask(mask, params))
