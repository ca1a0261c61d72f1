"""COCOB: each coordinate bets on the sign of its next gradient, and moves as far as its wealth allows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, one_for_zero, optimizer, transformation
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.typing import Mask, NonNegative, Params, Updates


class ScaleByCocobState(NamedTuple):
    """The state of `scale_by_cocob`.

    Attributes:
      init_params: the first params, like them, in accumulator dtype.
      theta: minus the sum of the gradients, likewise.
      scale: the largest absolute value of a gradient, like the params, real, in accumulator dtype.
      grad_sum: the sum of the absolute values of the gradients, likewise.
      reward: what the bets have won so far, likewise.
    """

    init_params: Params
    theta: Updates
    scale: Updates
    grad_sum: Updates
    reward: Updates


@transformation
def scale_by_cocob(alpha: NonNegative = 100.0, eps: NonNegative = 1e-8) -> Form:
    r"""Replace gradients by the steps of a bettor on their signs (COCOB-Backprop).

    .. math::
        L_t &= \max(L_{t-1}, |g_t|), \qquad G_t = G_{t-1} + |g_t|, \qquad \theta_t = \theta_{t-1} - g_t, \\
        R_t &= \max(R_{t-1} - g_t\,(p_t - p_0), 0), \qquad
        u_t = p_0 + \frac{\theta_t\, (L_t + R_t)}{L_t \max(G_t + L_t, \alpha L_t)} - p_t

    element by element, with :math:`L_0 = \epsilon`. There is no rate: multiplying all gradients by a number changes
    nothing but the weight of :math:`\epsilon`. The updates are steps to be added, sign and all: nothing should scale
    them any more, as what they are made of is where the params are.

    Args:
      alpha: :math:`\alpha`, at least 0: the first step of each element is 1 / alpha long.
      eps: :math:`\epsilon`, at least 0; of a schedule, the first value counts.

    State:
      `ScaleByCocobState`: 20 bytes per float32 parameter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_cocob(), jnp.array([1.0, 2.0])
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(p), p)[0].round(3)
      Array([-0.01,  0.01], dtype=float32)

    References:
      - Orabona, Tommasi, Training deep networks without learning rates through coin betting, 2017, arXiv:1705.07795.

    Differences from Optax: a complex number is one coordinate of two dimensions, with a bet on its direction.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        scale, grad_sum, reward = (tree.full_accumulator(p, x, real=True) for x in (eps, 0, 0))
        return tree.copy_accumulator(p), tree.zeros_accumulator(p), scale, grad_sum, reward

    def leaf(
        g: jax.Array, p0: jax.Array, theta: jax.Array, scale: jax.Array, grad_sum: jax.Array, reward: jax.Array,
        *, p: jax.Array,
    ) -> tuple[jax.Array, ...]:  # fmt: skip
        scale = jnp.maximum(scale, jnp.abs(g))
        grad_sum = grad_sum + jnp.abs(g)
        theta = theta - g
        reward = jnp.maximum(reward - jnp.real(jnp.conj(g) * (p - p0)), 0)
        # The product of the two scales of gradients is out of the range of the floats long before they are.
        bet = theta / one_for_zero(scale)
        wealth = (scale + reward) / one_for_zero(jnp.maximum(grad_sum + scale, alpha * scale))
        return p0 + bet * wealth - p, p0, theta, scale, grad_sum, reward

    return leafwise(leaf, state=ScaleByCocobState, init_leaf=init_leaf)


@optimizer
def cocob(
    learning_rate: NonNegative = 1.0,
    alpha: NonNegative = 100.0,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""COCOB: each coordinate bets on the sign of its next gradient, and moves as far as its wealth allows.

    Composition: `add_decayed_weights`, `scale_by_learning_rate` without its sign, `scale_by_cocob`.

    It has no rate to search for.

    Args:
      learning_rate: a factor of the gradients, at least 0. What follows does not depend on their scale, so that a
        constant does nothing; of a schedule, late gradients weigh less or more.
      alpha: how cautious the first steps are, at least 0.
      eps: the least scale of a gradient, at least 0.
      weight_decay: added to the gradient times the params, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      20 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.cocob(alpha=50.0)).transforms[2]
      scale_by_cocob(alpha=50.0)

    References:
      - Orabona, Tommasi, Training deep networks without learning rates through coin betting, 2017, arXiv:1705.07795.
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_cocob(alpha, eps),
    )
