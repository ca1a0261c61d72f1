"""AdaGrad: each coordinate's rate falls with the sum of its squared gradients."""

from typing import Any, NamedTuple

import jax

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, abs_sq, leafwise, optimizer, transformation
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.adaptive.rmsprop import divide_by_root_of
from gradtx.typing import NonNegative, SecondMoments


class ScaleByRssState(NamedTuple):
    """The state of `scale_by_rss`.

    Attributes:
      sum_of_squares: the sum of squared gradients, like the params, real, in accumulator dtype.
    """

    sum_of_squares: SecondMoments


@transformation
def scale_by_rss(
    initial_accumulator_value: NonNegative = 0.1, eps: NonNegative = 1e-7, eps_in_sqrt: bool = True
) -> Form:
    r"""Divide by the root of the sum of all squared gradients so far (AdaGrad).

    .. math::
        h_t = h_{t-1} + |g_t|^2, \qquad
        u_t = \frac{g_t}{\sqrt{h_t + \epsilon}} \quad\text{or}\quad \frac{g_t}{\sqrt{h_t} + \epsilon}

    Args:
      initial_accumulator_value: :math:`h_0`, at least 0.
      eps: :math:`\epsilon`, at least 0. With 0, an element whose gradients were all zero gets a zero update.
      eps_in_sqrt: the first form (Optax, the d2l text); ``False`` for the second (torch).

    State:
      `ScaleByRssState`: 4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_rss(initial_accumulator_value=0.0)
      >>> tx.update(jnp.array([2.0, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Duchi, Hazan, Singer, Adaptive subgradient methods for online learning and stochastic optimization, JMLR 2011.
    """

    def init_leaf(p: jax.Array) -> Any:
        return tree.full_accumulator(p, initial_accumulator_value, real=True)

    def leaf(g: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = h + abs_sq(g)
        return divide_by_root_of(eps, eps_in_sqrt)(g, h), h

    return leafwise(leaf, state=ScaleByRssState, init_leaf=init_leaf)


@optimizer
def adagrad(
    learning_rate: NonNegative,
    initial_accumulator_value: NonNegative = 0.1,
    eps: NonNegative = 1e-7,
    eps_in_sqrt: bool = True,
) -> GradientTransformation:
    """AdaGrad: each coordinate's rate falls with the sum of its squared gradients.

    Composition: `scale_by_rss`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      initial_accumulator_value: the sum to begin with, at least 0; 0 in the paper, torch and the d2l text.
      eps: at least 0.
      eps_in_sqrt: where eps is added.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adagrad(0.1))
      chain(scale_by_rss(), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Duchi, Hazan, Singer, Adaptive subgradient methods for online learning and stochastic optimization, JMLR 2011.
    """
    return chain(scale_by_rss(initial_accumulator_value, eps, eps_in_sqrt), scale_by_learning_rate(learning_rate))
