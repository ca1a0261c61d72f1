"""RMSProp, plain and centered: division by the root mean square of recent gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
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
    moving_average_sq,
    optimizer,
    transformation,
)
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.momentum.sgd import trace
from gradtx.typing import Count, Decay, Fraction, NonNegative, SecondMoments, Updates


def divide_by_root_of(eps: Any, eps_in_sqrt: bool, nu_weight: Any = None) -> Any:
    r""":math:`g / \sqrt{\hat v + \epsilon}` or :math:`g / (\sqrt{\hat v} + \epsilon)`, a function of g and v."""
    return divide_by_root(*((0.0, eps) if eps_in_sqrt else (eps, 0.0)), nu_weight=nu_weight)


class ScaleByRmsState(NamedTuple):
    """The state of `scale_by_rms`.

    Attributes:
      count: the number of updates, int32 [].
      nu: the average of squared gradients, like the params, real, in accumulator dtype.
    """

    count: Count
    nu: SecondMoments


@transformation
def scale_by_rms(
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    initial_scale: NonNegative = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Form:
    r"""Divide by the root of the moving average of squared gradients (RMSProp).

    .. math::
        v_t = \alpha\, v_{t-1} + (1-\alpha)\, |g_t|^2, \qquad
        u_t = \frac{g_t}{\sqrt{v_t + \epsilon}} \quad\text{or}\quad \frac{g_t}{\sqrt{v_t} + \epsilon}

    Args:
      decay: :math:`\alpha`, in [0, 1).
      eps: :math:`\epsilon`, at least 0.
      initial_scale: :math:`v_0`, at least 0.
      eps_in_sqrt: the first form (Optax, the d2l text); ``False`` for the second (torch).
      bias_correction: use :math:`v_t/(1-\alpha^t)` for :math:`v_t`.

    State:
      `ScaleByRmsState`: 4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_rms(decay=0.75)
      >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
      Array([2.], dtype=float32)

    References:
      - Tieleman, Hinton, Lecture 6.5: RMSProp, Coursera: neural networks for machine learning, 2012.
    """

    def init_leaf(p: jax.Array) -> Any:
        return tree.full_accumulator(p, initial_scale, real=True)

    def prepare(state: ScaleByRmsState) -> tuple[ScaleByRmsState, dict[str, Any]]:
        count = increment(state.count)
        nu_weight = complement_of_power(decay, count) if bias_correction else None
        return state._replace(count=count), {"ratio": divide_by_root_of(eps, eps_in_sqrt, nu_weight)}

    def leaf(g: jax.Array, v: jax.Array, *, ratio: Any) -> tuple[jax.Array, jax.Array]:
        v = moving_average_sq(decay, v, g)
        return ratio(g, v), v

    return leafwise(leaf, state=ScaleByRmsState, init_leaf=init_leaf, prepare=prepare)


class ScaleByStddevState(NamedTuple):
    """The state of `scale_by_stddev`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the average of gradients, like the params, in accumulator dtype.
      nu: the average of squared gradients, like the params, real, in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: SecondMoments


@transformation
def scale_by_stddev(
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    initial_scale: NonNegative = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Form:
    r"""Divide by the moving standard deviation of gradients (centered RMSProp).

    .. math::
        m_t = \alpha\, m_{t-1} + (1-\alpha)\, g_t, \quad
        v_t = \alpha\, v_{t-1} + (1-\alpha)\, |g_t|^2, \quad
        u_t = \frac{g_t}{\sqrt{v_t - |m_t|^2 + \epsilon}}

    The variance is kept from falling below zero, where rounding would put it for a constant gradient.

    Args:
      decay: :math:`\alpha`, in [0, 1).
      eps: :math:`\epsilon`, at least 0.
      initial_scale: :math:`v_0`, at least 0; :math:`m_0 = 0`.
      eps_in_sqrt: :math:`\epsilon` inside the root as above; ``False`` adds it to the root.
      bias_correction: divide both averages by :math:`1-\alpha^t`.

    State:
      `ScaleByStddevState`: 8 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_stddev(decay=0.5)
      >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))[0]
      Array([2.], dtype=float32)

    References:
      - Graves, Generating sequences with recurrent neural networks, 2013, arXiv:1308.0850.
    """

    def init_leaf(p: jax.Array) -> tuple[Any, Any]:
        return tree.zeros_accumulator(p), tree.full_accumulator(p, initial_scale, real=True)

    def prepare(state: ScaleByStddevState) -> tuple[ScaleByStddevState, dict[str, Any]]:
        count = increment(state.count)
        return state._replace(count=count), {
            "correct": 1 / complement_of_power(decay, count) if bias_correction else 1.0,
            "ratio": divide_by_root_of(eps, eps_in_sqrt),
        }

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, correct: Any, ratio: Any) -> tuple[jax.Array, ...]:
        m = moving_average(decay, m, g)
        v = moving_average_sq(decay, v, g)
        # Where squares overflow, the variance is infinite and the update 0, not infinity minus infinity.
        square_mean = jnp.minimum(abs_sq(correct * m), np.finfo(v.dtype).max)
        variance = jnp.maximum(correct * v - square_mean, 0)
        return ratio(g, variance), m, v

    return leafwise(leaf, state=ScaleByStddevState, init_leaf=init_leaf, prepare=prepare)


@optimizer
def rmsprop(
    learning_rate: NonNegative,
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    initial_scale: NonNegative = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Fraction | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformation:
    """RMSProp: each coordinate divided by the root mean square of its recent gradients.

    Composition: `scale_by_rms` (`scale_by_stddev` if centered), `scale_by_learning_rate`, `trace` (if there is a
    momentum).

    Args:
      learning_rate: at least 0.
      decay: of the moving average, in [0, 1); 0.99 in torch.
      eps: at least 0.
      initial_scale: the average to begin with, at least 0.
      eps_in_sqrt: where eps is added; ``False`` as in torch.
      centered: divide by the standard deviation.
      momentum: of the steps taken, in [0, 1]; ``None`` keeps none.
      nesterov: Nesterov's momentum.
      bias_correction: correct the averages for their start.

    State:
      4 bytes per float32 parameter, 4 more if centered and 4 more with momentum.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.rmsprop(0.1, momentum=0.9))
      chain(scale_by_rms(), scale_by_learning_rate(learning_rate=0.1), trace(decay=0.9))

    References:
      - Tieleman, Hinton, Lecture 6.5: RMSProp, Coursera: neural networks for machine learning, 2012.
      - Graves, Generating sequences with recurrent neural networks, 2013, arXiv:1308.0850 (for `centered`).
    """
    rescale = scale_by_stddev if centered else scale_by_rms
    members = [rescale(decay, eps, initial_scale, eps_in_sqrt, bias_correction), scale_by_learning_rate(learning_rate)]
    return chain(*members) if momentum is None else chain(*members, trace(momentum, nesterov))
