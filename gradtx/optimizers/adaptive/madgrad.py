"""MADGRAD: dual averaging with a cube root, and an average of its iterates for momentum."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    increment,
    leafwise,
    optimizer,
    transformation,
    with_eps,
)
from gradtx.gradients import add_decayed_weights
from gradtx.typing import Count, Fraction, NonNegative, Params, SecondMoments, Updates


class MadgradState(NamedTuple):
    """The state of `scale_by_madgrad`.

    Attributes:
      count: the number of updates, int32 [].
      grad_sum_sq: the weighted sum of squared gradients, like the params, real, in accumulator dtype.
      s: the weighted sum of gradients, like the params, in accumulator dtype.
      x0: the first params, in accumulator dtype; None where the momentum is the number 0, which does not need them.
    """

    count: Count
    grad_sum_sq: SecondMoments
    s: Updates
    x0: Params


@transformation
def scale_by_madgrad(learning_rate: NonNegative, momentum: Fraction = 0.9, eps: NonNegative = 1e-6) -> Form:
    r"""Turn gradients into the steps of MADGRAD, learning rate and sign included.

    .. math::
        \lambda_t &= (\eta_t + \epsilon) \sqrt t, \qquad
        \nu_t = \nu_{t-1} + \lambda_t |g_t|^2, \qquad
        s_t = s_{t-1} + \lambda_t g_t \\
        z_t &= x_0 - \frac{s_t}{\sqrt[3]{\nu_t} + \epsilon}, \qquad
        u_t = (1-\mu)(z_t - p_{t-1})

    All gradients count from the start, later ones the more: nothing is forgotten but by their growing weight. The
    steps are measured from :math:`x_0`, which is what the parameters are when the state is made; what changes the
    parameters otherwise is undone. Nothing after this in a chain may change the updates.

    Args:
      learning_rate: :math:`\eta`, at least 0; the authors say 0.01 to begin with. Where the rate is 0, :math:`\epsilon`
        still moves the parameters.
      momentum: :math:`\mu`, in [0, 1]. With the number 0, :math:`x_0` is recovered from the parameters of each step.
      eps: :math:`\epsilon`, at least 0; added to the root and to the learning rate.

    State:
      `MadgradState`: 12 bytes per float32 parameter (8 with ``momentum=0.0``), and a counter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_madgrad(0.001, momentum=0.5, eps=0.0), jnp.array([3.0, 4.0])
      >>> tx.update(jnp.array([1.0, -8.0]), tx.init(p), p)[0]
      Array([-0.005,  0.01 ], dtype=float32)

    References:
      - Defazio, Jelassi, Adaptivity without compromise: a momentumized, adaptive, dual averaged gradient method for
        stochastic optimization, 2021, arXiv:2101.11075.

    Differences from Optax: sums and :math:`x_0` are at least float32, the squares of complex gradients real; with
    ``momentum=0.0`` there is no :math:`x_0` in the state; the derivative is finite where a gradient is 0.

    Differences from the authors' code: that adds :math:`\epsilon` to a rate of 0 only in its first versions.
    """

    def init_leaf(p: jax.Array) -> tuple[Any, ...]:
        start = None if isinstance(momentum, float | int) and momentum == 0 else tree.copy_accumulator(p)
        return tree.zeros_accumulator(p, real=True), tree.zeros_accumulator(p), start

    def prepare(state: MadgradState) -> tuple[MadgradState, dict[str, Any]]:
        count = increment(state.count)
        weight = (learning_rate + eps) * jnp.sqrt(jnp.asarray(count, jnp.result_type(float)))
        return state._replace(count=count), {"weight": weight}

    def displacement(s: jax.Array, square: jax.Array) -> jax.Array:
        # The derivative of a cube root is infinite at 0.
        root = jnp.where(square > 0, jnp.cbrt(jnp.where(square > 0, square, 1)), 0)
        return s / with_eps(root, eps)

    def leaf(g: jax.Array, square: jax.Array, s: jax.Array, x0: Any, *, weight: Any, p: jax.Array) -> tuple[Any, ...]:
        start = p + displacement(s, square) if x0 is None else x0
        square = square + abs_sq(g, weight)
        s = s + weight * g
        z = start - displacement(s, square)
        return (1 - momentum) * (z - p), square, s, x0

    return leafwise(leaf, state=MadgradState, init_leaf=init_leaf, prepare=prepare)


@optimizer
def madgrad(
    learning_rate: NonNegative, momentum: Fraction = 0.9, weight_decay: NonNegative = 0.0, eps: NonNegative = 1e-6
) -> GradientTransformation:
    """MADGRAD: dual averaging with a cube root, and momentum.

    Composition: `add_decayed_weights`, `scale_by_madgrad`.

    For problems on which gradient descent does better than Adam. The rate is found by itself: it has nothing to do
    with that of another method.

    Args:
      learning_rate: at least 0; 0.01 in the authors' code.
      momentum: in [0, 1].
      weight_decay: an L2 penalty, at least 0; less than for gradient descent, the authors say, often none.
      eps: added to the root and to the learning rate, at least 0.

    State:
      12 bytes per float32 parameter; 8 with ``momentum=0.0``.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.madgrad(0.01))
      chain(add_decayed_weights(), scale_by_madgrad(learning_rate=0.01))

    References:
      - Defazio, Jelassi, Adaptivity without compromise: a momentumized, adaptive, dual averaged gradient method for
        stochastic optimization, 2021, arXiv:2101.11075.
    """
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))
