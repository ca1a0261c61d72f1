"""diffGrad: Adam that slows down where the gradient does not change."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
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
from gradtx.optimizers.adam.adam import moments
from gradtx.typing import Count, Decay, DTypeName, Mask, NonNegative, SecondMoments, Updates


class ScaleByDiffgradState(NamedTuple):
    """The state of `scale_by_diffgrad`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the first moment, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the second moment, like the params, real, in accumulator dtype.
      previous: the last gradient, like the params, in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: SecondMoments
    previous: Updates


@transformation
def scale_by_diffgrad(
    b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-8, mu_dtype: DTypeName | None = None
) -> Form:
    r"""Rescale updates by the diffGrad rule: Adam with a friction where the gradient does not change.

    .. math::
        \xi_t = \frac{1}{1 + e^{-|g_t - g_{t-1}|}}, \qquad
        u_t = \xi_t\, \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}

    with :math:`g_0 = 0` and the moments of `scale_by_adam`. The friction :math:`\xi` is between 1/2, for a gradient
    that stays, and 1.

    *The size of gradients matters*, which it does not in Adam: where differences are far below 1, all steps are half of
    Adam's, where they are far above, they are Adam's.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByDiffgradState`: 12 bytes per float32 parameter (10 with ``mu_dtype="bfloat16"``), and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_diffgrad()
      >>> u, state = tx.update(jnp.array([100.0, -3e-8]), tx.init(jnp.zeros(2)))
      >>> u, tx.update(jnp.array([100.0, 0.0]), state)[0][:1].round(3)
      (Array([ 1.   , -0.375], dtype=float32), Array([0.5], dtype=float32))

    References:
      - Dubey et al., diffGrad: an optimization method for convolutional neural networks, 2019, arXiv:1909.11015.

    Differences from the authors' code: they add :math:`\epsilon` before the correction of the bias, which is a larger
    one over the first :math:`1/(1-\beta_2)` steps. Optax has no diffGrad.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        return *moments(mu_dtype)(p), tree.zeros_accumulator(p)

    def prepare(state: ScaleByDiffgradState) -> tuple[ScaleByDiffgradState, dict[str, Any]]:
        count = increment(state.count)
        ratio = divide_by_root(eps, mu_weight=complement_of_power(b1, count), nu_weight=complement_of_power(b2, count))
        return state._replace(count=count), {"ratio": ratio}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, previous: jax.Array, *, ratio: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        return jax.nn.sigmoid(jnp.abs(g - previous)) * ratio(m, v), m, v, g

    return leafwise(leaf, state=ScaleByDiffgradState, init_leaf=init_leaf, prepare=prepare)


@optimizer
def diffgrad(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""DiffGrad with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{diffGrad} + \lambda p)`.

    Composition: `scale_by_diffgrad`, `add_decayed_weights`, `scale_by_learning_rate`.

    The weight decay of the authors' code is an L2 penalty: ``chain(add_decayed_weights(0.01), diffgrad(rate))``.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the authors' code.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.diffgrad(1e-3, b1=0.95)).transforms[0]
      scale_by_diffgrad(b1=0.95)

    References:
      - Dubey et al., diffGrad: an optimization method for convolutional neural networks, 2019, arXiv:1909.11015.
    """
    return chain(
        scale_by_diffgrad(b1, b2, eps, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
