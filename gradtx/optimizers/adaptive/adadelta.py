"""AdaDelta: steps in the units of past steps."""

from typing import NamedTuple

import jax

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    leafwise,
    moving_average_sq,
    optimizer,
    safe_sqrt,
    transformation,
    with_eps,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.typing import Decay, Mask, NonNegative, SecondMoments


class ScaleByAdaDeltaState(NamedTuple):
    """The state of `scale_by_adadelta`.

    Attributes:
      e_g: the average of squared gradients, like the params, real, in accumulator dtype.
      e_x: the average of squared updates, like the params, real, in accumulator dtype.
    """

    e_g: SecondMoments
    e_x: SecondMoments


@transformation
def scale_by_adadelta(rho: Decay = 0.9, eps: NonNegative = 1e-6) -> Form:
    r"""Rescale by the ratio of the root mean squares of past updates and gradients (AdaDelta).

    .. math::
        G_t = \rho\, G_{t-1} + (1-\rho)\, |g_t|^2, \quad
        u_t = \frac{\sqrt{X_{t-1}+\epsilon}}{\sqrt{G_t+\epsilon}}\; g_t, \quad
        X_t = \rho\, X_{t-1} + (1-\rho)\, |u_t|^2

    Args:
      rho: :math:`\rho`, in [0, 1).
      eps: :math:`\epsilon`, at least 0; it sets the size of the first steps, and with 0 there are none.

    State:
      `ScaleByAdaDeltaState`: 8 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adadelta(rho=0.75, eps=1.0)
      >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
      Array([1.4142135], dtype=float32)

    References:
      - Zeiler, ADADELTA: an adaptive learning rate method, 2012, arXiv:1212.5701.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        return tree.zeros_accumulator(p, real=True), tree.zeros_accumulator(p, real=True)

    def leaf(g: jax.Array, e_g: jax.Array, e_x: jax.Array) -> tuple[jax.Array, ...]:
        square = (1 - rho) * abs_sq(g)
        e_g = rho * e_g + square
        e_x = moving_average_sq(rho, e_x, safe_sqrt((e_x + eps) / with_eps(e_g, eps)) * g)
        # The same step by the new e_x alone: were two outputs to read the old one, XLA would copy it first.
        # Solving the line above for the old e_x and inserting it gives this; nothing in it cancels.
        u = safe_sqrt((e_x + rho * eps) / with_eps(rho * e_g + square, rho * eps)) * g
        return u, e_g, e_x

    return leafwise(leaf, state=ScaleByAdaDeltaState, init_leaf=init_leaf)


@optimizer
def adadelta(
    learning_rate: NonNegative = 1.0,
    rho: Decay = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.0,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:
    """AdaDelta: steps in the units of past steps, so that no learning rate is needed.

    Composition: `add_decayed_weights`, `scale_by_adadelta`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; 1 is the method as published.
      rho: of both moving averages, in [0, 1).
      eps: inside both roots, at least 0.
      weight_decay: an L2 penalty, at least 0.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adadelta())
      chain(add_decayed_weights(), scale_by_adadelta(), scale_by_learning_rate(learning_rate=1.0))

    References:
      - Zeiler, ADADELTA: an adaptive learning rate method, 2012, arXiv:1212.5701.
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )
