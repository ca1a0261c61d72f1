"""Adam and its descendants: momentum divided by an estimate of the gradient's scale."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import (
    Pair,
    abs_sq,
    complement_of_power,
    increment,
    moving_average,
    moving_average_sq,
    rescaling,
    transformation,
    weighted_sum,
    zero_count,
)
from gradtx.typing import Count, Decay, DTypeName, NonNegative, Params, State, Updates


class ScaleByAdamState(NamedTuple):
    """The state of `scale_by_adam`, `scale_by_belief`, `scale_by_yogi` and `scale_by_rectified_adam`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the first moment, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the second moment, like the params, real, in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: Updates


def init_moments(params: Params, value: Any = 0, mu_dtype: Any = None) -> ScaleByAdamState:
    """Both moments at a constant."""
    mu = tree.full_accumulator(params, value, dtype=mu_dtype)
    return ScaleByAdamState(zero_count(), mu, tree.full_accumulator(params, value, real=True))


def first_moment(
    b1: Any, count: jax.Array, nesterov: bool, debias: bool = True
) -> tuple[Any, Callable[[Any, Any], Any]]:
    r"""The weight (or None for 1) that the mean gradient has to be divided by, and what makes it of g and m."""
    weight = complement_of_power(b1, count) if debias else None
    if not nesterov:
        return weight, lambda _, m: m
    ahead = weight / complement_of_power(b1, increment(count)) if weight is not None else 1.0
    return weight, lambda g, m: weighted_sum(b1 * ahead, m, 1 - b1, g)


@transformation
def scale_by_adam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    nesterov: bool = False,
    bias_correction: bool = True,
) -> Pair:
    r"""Rescale updates by the Adam rule.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad
        v_t = \beta_2 v_{t-1} + (1-\beta_2)\, |g_t|^2, \quad
        u_t = \frac{\hat m_t}{\sqrt{\hat v_t + \bar\epsilon} + \epsilon}

    with :math:`\hat m_t = m_t/(1-\beta_1^t)` and :math:`\hat v_t = v_t/(1-\beta_2^t)`.

    *Without bias correction.* Decay factors that change with t make the correction needless: with
    :math:`\beta_t = \beta(1-\beta^{t-1})/(1-\beta^t)` the stored moments are the corrected ones. That is
    ``scale_by_adam(debiased_decay(0.9), debiased_decay(0.999), bias_correction=False)``, equal to ``scale_by_adam()``.

    *Moments from a first, larger batch.* With ``bias_correction=False``, put them into the state made by ``init``:
    ``state = tree.set_field(tree.set_field(state, "mu", grads), "nu", squared_grads)``.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0. It is not needed to differentiate through the
        update: the derivative is finite where a gradient is 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.
      nesterov: use :math:`\beta_1 m_t/(1-\beta_1^{t+1}) + (1-\beta_1) g_t/(1-\beta_1^t)` for :math:`\hat m_t`.
      bias_correction: ``False`` uses :math:`m_t` and :math:`v_t` as they are.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter (6 with ``mu_dtype="bfloat16"``), and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adam()
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Kingma, Ba, Adam: a method for stochastic optimization, 2015, arXiv:1412.6980.
      - Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016 (for `nesterov`).

    Differences from Optax: moments of bfloat16 and float16 parameters are float32; bias corrections are exact to the
    last bits also at t = 1; ``bias_correction`` is an argument.
    """

    def init(params: Params) -> ScaleByAdamState:
        return init_moments(params, mu_dtype=mu_dtype)

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByAdamState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count = increment(state.count)
        weight, mean = first_moment(b1, count, nesterov, bias_correction)
        nu_weight = complement_of_power(b2, count) if bias_correction else None
        rescale = rescaling(eps, eps_root, mu_weight=weight, nu_weight=nu_weight)

        def leaf(g: jax.Array, m: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            m = moving_average(b1, m, g)
            v = moving_average_sq(b2, v, g)
            return rescale(mean(g, m), v), m, v

        updates, mu, nu = tree.map_leaves(leaf, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count, mu, nu)

    return init, update


class ScaleByAmsgradState(NamedTuple):
    """The state of `scale_by_amsgrad`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the first moment, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the second moment, like the params, real, in accumulator dtype.
      nu_max: the largest second moment so far, like the params, real, in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: Updates
    nu_max: Updates


@transformation
def scale_by_amsgrad(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    bias_correction: Literal["before_max", "after_max", "none"] = "before_max",
) -> Pair:
    r"""Rescale updates by the AMSGrad rule: Adam with a second moment that never falls.

    .. math::
        m_t, v_t \text{ as in Adam}, \qquad
        \bar v_t = \max(\bar v_{t-1}, \hat v_t), \qquad
        u_t = \frac{\hat m_t}{\sqrt{\bar v_t + \bar\epsilon} + \epsilon}

    Three conventions are in use, and they differ:

    - ``"before_max"`` (Optax): the maximum of the corrected :math:`\hat v_t`, as above. The first of them is
      :math:`g_1^2`, so that a large first gradient shortens every later step.
    - ``"after_max"`` (torch, TensorFlow): :math:`\bar v_t = \max(\bar v_{t-1}, v_t)`, corrected afterwards.
    - ``"none"`` (the paper): no correction of either moment.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.
      mu_dtype: the dtype :math:`m` is stored in; at least float32 by default.
      bias_correction: the convention.

    State:
      `ScaleByAmsgradState`: 12 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_amsgrad()
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Reddi, Kale, Kumar, On the convergence of Adam and beyond, ICLR 2018, arXiv:1904.09237.
    """

    def init(params: Params) -> ScaleByAmsgradState:
        return ScaleByAmsgradState(*init_moments(params, mu_dtype=mu_dtype), tree.zeros_accumulator(params, real=True))

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByAmsgradState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count = increment(state.count)
        weight, mean = first_moment(b1, count, nesterov=False, debias=bias_correction != "none")
        nu_weight = complement_of_power(b2, count)
        before = 1 / nu_weight if bias_correction == "before_max" else 1.0
        after = nu_weight if bias_correction == "after_max" else None
        rescale = rescaling(eps, eps_root, mu_weight=weight, nu_weight=after)

        def leaf(g: jax.Array, m: jax.Array, v: jax.Array, v_max: jax.Array) -> tuple[jax.Array, ...]:
            m = moving_average(b1, m, g)
            v = moving_average_sq(b2, v, g)
            v_max = jnp.maximum(v_max, before * v)
            return rescale(mean(g, m), v_max), m, v, v_max

        updates, mu, nu, nu_max = tree.map_leaves(leaf, updates, state.mu, state.nu, state.nu_max)
        return updates, ScaleByAmsgradState(count, mu, nu, nu_max)

    return init, update


@transformation
def scale_by_belief(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    *,
    nesterov: bool = False,
) -> Pair:
    r"""Rescale updates by the AdaBelief rule: by how far gradients stray from their average.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad
        s_t = \beta_2 s_{t-1} + (1-\beta_2)\, |g_t - m_t|^2 + \bar\epsilon, \quad
        u_t = \frac{\hat m_t}{\sqrt{\hat s_t} + \epsilon}

    :math:`\bar\epsilon` is added to the stored moment at every step and so grows to
    :math:`\bar\epsilon/(1-\beta_2)`. The first step has length :math:`1/\beta_1`, since
    :math:`g_1 - m_1 = \beta_1 g_1`.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, added to the moment, at least 0.
      nesterov: as in `scale_by_adam`.

    State:
      `ScaleByAdamState`, with :math:`s` as ``nu``: 8 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_belief(b1=0.5)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 2., -2.], dtype=float32)

    References:
      - Zhuang et al., AdaBelief optimizer: adapting stepsizes by the belief in observed gradients, 2020,
        arXiv:2010.07468.
    """

    def init(params: Params) -> ScaleByAdamState:
        return init_moments(params)

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByAdamState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count = increment(state.count)
        weight, mean = first_moment(b1, count, nesterov)
        rescale = rescaling(eps, mu_weight=weight, nu_weight=complement_of_power(b2, count))

        def leaf(g: jax.Array, m: jax.Array, s: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            m = moving_average(b1, m, g)
            # In this order the sum is between two arrays, and XLA computes it once; were eps_root added last, it would
            # do so again for u, from a copy of the old s.
            s = b2 * s + ((1 - b2) * abs_sq(g - m) + eps_root)
            return rescale(mean(g, m), s), m, s

        updates, mu, nu = tree.map_leaves(leaf, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count, mu, nu)

    return init, update


@transformation
def scale_by_yogi(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-3,
    eps_root: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 1e-6,
    *,
    bias_correction: bool = True,
) -> Pair:
    r"""Rescale updates by the Yogi rule: Adam with a second moment that changes by at most the squared gradient.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad
        v_t = v_{t-1} + (1-\beta_2)\, \operatorname{sign}(|g_t|^2 - v_{t-1})\, |g_t|^2, \quad
        u_t = \frac{\hat m_t}{\sqrt{\hat v_t + \bar\epsilon} + \epsilon}

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.
      initial_accumulator_value: :math:`v_0` and :math:`m_0`, at least 0: 1e-6 as in the paper's code and Optax (the
        paper's code leaves :math:`m_0` at 0), 0 as in the d2l chapter.
      bias_correction: divide the moments by :math:`1-\beta^t`; ``False`` is the rule as the paper states it.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_yogi(eps=0.0, initial_accumulator_value=0.0)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018.
    """

    def init(params: Params) -> ScaleByAdamState:
        return init_moments(params, initial_accumulator_value)

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByAdamState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count = increment(state.count)
        weight, mean = first_moment(b1, count, nesterov=False, debias=bias_correction)
        nu_weight = complement_of_power(b2, count) if bias_correction else None
        rescale = rescaling(eps, eps_root, mu_weight=weight, nu_weight=nu_weight)

        def leaf(g: jax.Array, m: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            m = moving_average(b1, m, g)
            change = (1 - b2) * abs_sq(g)
            # Comparing, rather than the sign of a difference, keeps a moment that overflowed infinite, not NaN.
            v = v + jnp.where(abs_sq(g) > v, change, jnp.where(abs_sq(g) < v, -change, 0))
            return rescale(mean(g, m), v), m, v

        updates, mu, nu = tree.map_leaves(leaf, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count, mu, nu)

    return init, update
