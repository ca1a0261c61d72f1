"""Scaling by an estimate of each coordinate's second moment, without momentum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.core import (
    Pair,
    abs_sq,
    complement_of_power,
    increment,
    moving_average,
    moving_average_sq,
    plus,
    rescaling,
    safe_sqrt,
    transformation,
    zero_count,
)
from gradtx.tree.operations import compiled, divide, multiply
from gradtx.typing import Count, Decay, NonNegative, Params, State, Updates


def _normalizing(eps: Any, eps_in_sqrt: bool, nu_weight: Any = None) -> Callable[[jax.Array, jax.Array], jax.Array]:
    r""":math:`g / \sqrt{\hat v + \epsilon}` or :math:`g / (\sqrt{\hat v} + \epsilon)`, a function of g and v."""
    return rescaling(*((0.0, eps) if eps_in_sqrt else (eps, 0.0)), nu_weight=nu_weight)


class ScaleByRssState(NamedTuple):
    """The state of `scale_by_rss`.

    Attributes:
      sum_of_squares: the sum of squared gradients, like the params, real, in accumulator dtype.
    """

    sum_of_squares: Updates


@transformation
def scale_by_rss(
    initial_accumulator_value: NonNegative = 0.1, eps: NonNegative = 1e-7, eps_in_sqrt: bool = True
) -> Pair:
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

    def init(params: Params) -> ScaleByRssState:
        return ScaleByRssState(tree.full_accumulator(params, initial_accumulator_value, real=True))

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByRssState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        normalize = _normalizing(eps, eps_in_sqrt)

        def leaf(g: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = h + abs_sq(g)
            return normalize(g, h), h

        updates, h = tree.map_leaves(leaf, updates, state.sum_of_squares)
        return updates, ScaleByRssState(h)

    return init, update


class ScaleByRmsState(NamedTuple):
    """The state of `scale_by_rms`.

    Attributes:
      count: the number of updates, int32 [].
      nu: the average of squared gradients, like the params, real, in accumulator dtype.
    """

    count: Count
    nu: Updates


@transformation
def scale_by_rms(
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    initial_scale: NonNegative = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Pair:
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

    def init(params: Params) -> ScaleByRmsState:
        return ScaleByRmsState(zero_count(), tree.full_accumulator(params, initial_scale, real=True))

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByRmsState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count = increment(state.count)
        normalize = _normalizing(eps, eps_in_sqrt, complement_of_power(decay, count) if bias_correction else None)

        def leaf(g: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
            v = moving_average_sq(decay, v, g)
            return normalize(g, v), v

        updates, v = tree.map_leaves(leaf, updates, state.nu)
        return updates, ScaleByRmsState(count, v)

    return init, update


class ScaleByStddevState(NamedTuple):
    """The state of `scale_by_stddev`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the average of gradients, like the params, in accumulator dtype.
      nu: the average of squared gradients, like the params, real, in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: Updates


@transformation
def scale_by_stddev(
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    initial_scale: NonNegative = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Pair:
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

    def init(params: Params) -> ScaleByStddevState:
        nu = tree.full_accumulator(params, initial_scale, real=True)
        return ScaleByStddevState(zero_count(), tree.zeros_accumulator(params), nu)

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByStddevState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count = increment(state.count)
        correct = 1 / complement_of_power(decay, count) if bias_correction else 1.0
        normalize = _normalizing(eps, eps_in_sqrt)

        def leaf(g: jax.Array, m: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            m = moving_average(decay, m, g)
            v = moving_average_sq(decay, v, g)
            # Where squares overflow, the variance is infinite and the update 0, not infinity minus infinity.
            square_mean = jnp.minimum(abs_sq(correct * m), np.finfo(v.dtype).max)
            variance = jnp.maximum(correct * v - square_mean, 0)
            return normalize(g, variance), m, v

        updates, m, v = tree.map_leaves(leaf, updates, state.mu, state.nu)
        return updates, ScaleByStddevState(count, m, v)

    return init, update


class ScaleByAdaDeltaState(NamedTuple):
    """The state of `scale_by_adadelta`.

    Attributes:
      e_g: the average of squared gradients, like the params, real, in accumulator dtype.
      e_x: the average of squared updates, like the params, real, in accumulator dtype.
    """

    e_g: Updates
    e_x: Updates


@compiled()
def _times_root(g: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    r""":math:`\sqrt{x / y}\, g`."""
    return multiply(safe_sqrt(divide(x, y)), g)


@transformation
def scale_by_adadelta(rho: Decay = 0.9, eps: NonNegative = 1e-6) -> Pair:
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

    def init(params: Params) -> ScaleByAdaDeltaState:
        zeros = tree.zeros_accumulator
        return ScaleByAdaDeltaState(zeros(params, real=True), zeros(params, real=True))

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByAdaDeltaState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        def leaf(g: jax.Array, e_g: jax.Array, e_x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            square = (1 - rho) * abs_sq(g)
            e_g = rho * e_g + square
            e_x = moving_average_sq(rho, e_x, _times_root(g, e_x + eps, plus(e_g, eps)))
            # The same step by the new e_x alone: were two outputs to read the old one, XLA would copy it first.
            # Solving the line above for the old e_x and inserting it gives this; nothing in it cancels.
            return _times_root(g, e_x + rho * eps, plus(rho * e_g + square, rho * eps)), e_g, e_x

        updates, e_g, e_x = tree.map_leaves(leaf, updates, state.e_g, state.e_x)
        return updates, ScaleByAdaDeltaState(e_g, e_x)

    return init, update
