"""QHM: a mixture of momentum with the newest gradient."""

from typing import NamedTuple

import jax

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, moving_average, optimizer, transformation
from gradtx.gradients import scale_by_learning_rate
from gradtx.typing import Decay, Fraction, NonNegative, Updates


class ScaleByQhmState(NamedTuple):
    """The state of `scale_by_qhm`.

    Attributes:
      mu: the average of gradients, like the params, in accumulator dtype.
    """

    mu: Updates


@transformation
def scale_by_qhm(decay: Decay = 0.999, nu: Fraction = 0.7) -> Form:
    r"""Replace updates by a mixture of their average and themselves (quasi-hyperbolic momentum).

    .. math::
        m_t = \beta m_{t-1} + (1-\beta)\, g_t, \qquad u_t = (1-\nu)\, g_t + \nu\, m_t

    The average may be very long, and the newest gradient still has a large part in the update. With :math:`\nu = 1`
    this is momentum, with :math:`\nu = 0` there is none, with :math:`\nu = \beta` it is Nesterov's. The average begins
    at zero and is not corrected.

    Args:
      decay: :math:`\beta`, in [0, 1).
      nu: :math:`\nu`, the weight of the average, in [0, 1].

    State:
      `ScaleByQhmState`: 4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_qhm(decay=0.75, nu=0.5)
      >>> tx.update(jnp.array([8.0]), tx.init(jnp.zeros(1)))[0]
      Array([5.], dtype=float32)

    References:
      - Ma, Yarats, Quasi-hyperbolic momentum and Adam for deep learning, 2018, arXiv:1810.06801.
    """

    def leaf(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
        m = moving_average(decay, m, g)
        return (1 - nu) * g + nu * m, m

    return leafwise(leaf, state=ScaleByQhmState, init_leaf=tree.zeros_accumulator)


@optimizer
def qhm(learning_rate: NonNegative, momentum: Decay = 0.999, nu: Fraction = 0.7) -> GradientTransformation:
    r"""Gradient descent with quasi-hyperbolic momentum.

    Composition: `scale_by_qhm`, `scale_by_learning_rate`.

    The momentum is an average, not a sum as in `sgd`: its rates are :math:`1/(1-\beta)` times as large. ``sgd(rate,
    beta)`` is ``qhm(rate / (1 - beta), beta, 1.0)``, and with Nesterov's momentum ``qhm(rate / (1 - beta), beta,
    beta)``. Where `sgd` with momentum 0.9 is good, ten times its rate with the defaults is a beginning.

    Args:
      learning_rate: at least 0; about 1 for networks.
      momentum: decay of the average, in [0, 1).
      nu: weight of the average, in [0, 1]; the newest gradient has the rest.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.qhm(1.0))
      chain(scale_by_qhm(), scale_by_learning_rate(learning_rate=1.0))

    References:
      - Ma, Yarats, Quasi-hyperbolic momentum and Adam for deep learning, 2018, arXiv:1810.06801.
    """
    return chain(scale_by_qhm(momentum, nu), scale_by_learning_rate(learning_rate))
