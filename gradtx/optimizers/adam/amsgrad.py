"""AMSGrad: Adam with a second moment that never falls."""

from typing import Any, Literal, NamedTuple

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
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.adam.adam import moments
from gradtx.typing import Count, Decay, DTypeName, NonNegative, SecondMoments, Updates


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
    nu: SecondMoments
    nu_max: SecondMoments


@transformation
def scale_by_amsgrad(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    bias_correction: Literal["before_max", "after_max", "none"] = "before_max",
) -> Form:
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

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        return *moments(mu_dtype)(p), tree.zeros_accumulator(p, real=True)

    def prepare(state: ScaleByAmsgradState) -> tuple[ScaleByAmsgradState, dict[str, Any]]:
        count = increment(state.count)
        mu_weight = complement_of_power(b1, count) if bias_correction != "none" else None
        nu_weight = complement_of_power(b2, count)
        ratio = divide_by_root(
            eps, eps_root, mu_weight=mu_weight, nu_weight=nu_weight if bias_correction == "after_max" else None
        )
        before = 1 / nu_weight if bias_correction == "before_max" else 1.0
        return state._replace(count=count), {"before": before, "ratio": ratio}

    def leaf(
        g: jax.Array, m: jax.Array, v: jax.Array, v_max: jax.Array, *, before: Any, ratio: Any
    ) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        v_max = jnp.maximum(v_max, before * v)
        return ratio(m, v_max), m, v, v_max

    return leafwise(leaf, state=ScaleByAmsgradState, init_leaf=init_leaf, prepare=prepare)


@optimizer
def amsgrad(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    bias_correction: Literal["before_max", "after_max", "none"] = "before_max",
) -> GradientTransformation:
    """AMSGrad: Adam with a second moment that never falls.

    Composition: `scale_by_amsgrad`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      bias_correction: ``"before_max"`` (Optax), ``"after_max"`` (torch, TensorFlow) or ``"none"`` (the paper).

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.amsgrad(0.1, bias_correction="after_max"))
      chain(scale_by_amsgrad(bias_correction='after_max'), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Reddi, Kale, Kumar, On the convergence of Adam and beyond, ICLR 2018, arXiv:1904.09237.
    """
    return chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction=bias_correction),
        scale_by_learning_rate(learning_rate),
    )
