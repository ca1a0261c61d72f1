"""AdaMax: Adam with the largest recent gradient in place of a second moment."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    complement_of_power,
    increment,
    leafwise,
    moving_average,
    one_for_zero,
    optimizer,
    transformation,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.adam import moments
from gradtx.typing import Count, Decay, Mask, NonNegative, SecondMoments, Updates


class ScaleByAdamaxState(NamedTuple):
    """The state of `scale_by_adamax`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the first moment, like the params, in accumulator dtype.
      nu: the largest absolute value of a gradient, which decays; like the params, real, in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: SecondMoments


@transformation
def scale_by_adamax(b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-8) -> Form:
    r"""Divide a mean gradient by the largest recent one (AdaMax).

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \qquad
        v_t = \max(\beta_2 v_{t-1},\; |g_t| + \epsilon), \qquad
        u_t = \frac{m_t / (1-\beta_1^t)}{v_t}

    It is Adam with the norm of order infinity of past gradients, in which a gradient of k steps ago weighs
    :math:`\beta_2^k`. No element is larger than about 1, and nothing is squared: gradients of 1e-30 and of 1e30 are the
    same to it.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, inside the maximum, at least 0. With 0, as in the paper, an element whose gradients were
        all zero gets a zero update.

    State:
      `ScaleByAdamaxState`: 8 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adamax()
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Kingma, Ba, Adam: a method for stochastic optimization, 2015, arXiv:1412.6980 (section 7.1).

    Differences from the paper: :math:`\epsilon`, as in torch and Optax; Keras adds it to the maximum.
    """

    def prepare(state: ScaleByAdamaxState) -> tuple[ScaleByAdamaxState, dict[str, Any]]:
        count = increment(state.count)
        return state._replace(count=count), {"mu_weight": complement_of_power(b1, count)}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, mu_weight: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = jnp.maximum(b2 * v, jnp.abs(g) + eps)
        # Were v multiplied by the weight, it might vanish where m has, and their quotient be NaN.
        return m / one_for_zero(v) / mu_weight, m, v

    return leafwise(leaf, state=ScaleByAdamaxState, init_leaf=moments(), prepare=prepare)


@optimizer
def adamax(
    learning_rate: NonNegative, b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-8
) -> GradientTransformation:
    """AdaMax: Adam with the largest recent gradient in place of a second moment.

    Composition: `scale_by_adamax`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; 0.002 in the paper and torch.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the largest gradient, in [0, 1).
      eps: added to the absolute value of a gradient, at least 0.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adamax(0.002))
      chain(scale_by_adamax(), scale_by_learning_rate(learning_rate=0.002))

    References:
      - Kingma, Ba, Adam: a method for stochastic optimization, 2015, arXiv:1412.6980 (section 7.1).
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


@optimizer
def adamaxw(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-4,
    mask: Mask = None,
) -> GradientTransformation:
    r"""AdaMax with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{AdaMax} + \lambda p)`.

    Composition: `scale_by_adamax`, `add_decayed_weights`, `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the largest gradient, in [0, 1).
      eps: added to the absolute value of a gradient, at least 0.
      weight_decay: :math:`\lambda`, at least 0; multiplied by the learning rate, as in `adamw`.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adamaxw(0.002, mask="*/kernel")).transforms[1]
      add_decayed_weights(weight_decay=0.0001, mask='*/kernel')

    References:
      - Kingma, Ba, Adam: a method for stochastic optimization, 2015, arXiv:1412.6980 (section 7.1).
      - Loshchilov, Hutter, Decoupled weight decay regularization, 2019, arXiv:1711.05101.
    """
    return chain(
        scale_by_adamax(b1, b2, eps), add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate)
    )
