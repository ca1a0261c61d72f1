"""AdaBound and AMSBound: Adam whose rates are drawn in by two bounds, until it is gradient descent."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    complement_of_power,
    increment,
    leafwise,
    moving_average,
    moving_average_sq,
    optimizer,
    safe_sqrt,
    transformation,
    with_eps,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.adam import ScaleByAdamState, moments
from gradtx.optimizers.adam.amsgrad import ScaleByAmsgradState
from gradtx.typing import Decay, DTypeName, Mask, NonNegative, Positive


class _Bounds(NamedTuple):
    """What bounds the rates of a step.

    Attributes:
      correction: the bias corrections of both moments, in one factor.
      low: the bound from below.
      high: the bound from above.
    """

    correction: Any
    low: Any
    high: Any

    @classmethod
    def at(cls, count: jax.Array, b1: Any, b2: Any, final_ratio: Any, gamma: Any) -> "_Bounds":
        """Those of a step, counted from 1."""
        t = gamma * jnp.asarray(count, jnp.result_type(float))
        correction = jnp.sqrt(complement_of_power(b2, count)) / complement_of_power(b1, count)
        return cls(correction, final_ratio * t / (t + 1), final_ratio * (t + 1) / t)

    def rate(self, v: jax.Array, eps: Any) -> jax.Array:
        """The rate of each element, for a second moment."""
        return jnp.clip(self.correction / with_eps(safe_sqrt(v), eps), self.low, self.high)


@transformation
def scale_by_adabound(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    final_ratio: Positive = 100.0,
    gamma: Positive = 1e-3,
    mu_dtype: DTypeName | None = None,
) -> Form:
    r"""Rescale updates by the AdaBound rule: Adam with bounds on the rate of each element.

    .. math::
        m_t, v_t \text{ as in Adam}, \qquad
        u_t = m_t \cdot \operatorname{clip}\left(
            \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}\, \frac{1}{\sqrt{v_t} + \epsilon},\;
            r\,\frac{\gamma t}{\gamma t + 1},\; r\,\frac{\gamma t + 1}{\gamma t}\right)

    The bounds begin at 0 and at infinity, where this is Adam, and meet at r, where it is gradient descent with an
    average of gradients for momentum. :math:`1/\gamma` is the number of steps it takes to get half-way.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, before the bias correction, at least 0.
      final_ratio: r, above 0: the learning rate of gradient descent that it ends with, over that of Adam that it begins
        with; both follow the schedule of the learning rate. 0.1 over 0.001 in the authors' code.
      gamma: :math:`\gamma`, above 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter (6 with ``mu_dtype="bfloat16"``), and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adabound(final_ratio=3.0, gamma=1.0)
      >>> tx.update(jnp.array([0.1, -10.0]), tx.init(jnp.zeros(2)))[0]  # the rates are kept within 1.5 and 6
      Array([ 0.06, -1.5 ], dtype=float32)

    References:
      - Luo et al., Adaptive gradient methods with dynamic bound of learning rate, 2019, arXiv:1902.09843.

    Differences from the paper: the bias of both moments is corrected, and the rates do not fall as
    :math:`1/\sqrt t`, as in the authors' code. There, `final_lr` is a rate. Optax has no AdaBound.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        count = increment(state.count)
        return state._replace(count=count), {"bounds": _Bounds.at(count, b1, b2, final_ratio, gamma)}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, bounds: _Bounds) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        return bounds.rate(v, eps) * m, m, v

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(mu_dtype), prepare=prepare)


@transformation
def scale_by_amsbound(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    final_ratio: Positive = 100.0,
    gamma: Positive = 1e-3,
    mu_dtype: DTypeName | None = None,
) -> Form:
    r"""Rescale updates by the AMSBound rule: `scale_by_adabound` with a second moment that never falls.

    .. math::
        \bar v_t = \max(\bar v_{t-1}, v_t)

    takes the place of :math:`v_t` in the rate; its bias is corrected afterwards.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, before the bias correction, at least 0.
      final_ratio: the last learning rate over the first, above 0, as in `scale_by_adabound`.
      gamma: :math:`\gamma`, above 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByAmsgradState`: 12 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_amsbound()
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Luo et al., Adaptive gradient methods with dynamic bound of learning rate, 2019, arXiv:1902.09843.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        return *moments(mu_dtype)(p), tree.zeros_accumulator(p, real=True)

    def prepare(state: ScaleByAmsgradState) -> tuple[ScaleByAmsgradState, dict[str, Any]]:
        count = increment(state.count)
        return state._replace(count=count), {"bounds": _Bounds.at(count, b1, b2, final_ratio, gamma)}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, v_max: jax.Array, *, bounds: _Bounds) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        v_max = jnp.maximum(v_max, v)
        return bounds.rate(v_max, eps) * m, m, v, v_max

    return leafwise(leaf, state=ScaleByAmsgradState, init_leaf=init_leaf, prepare=prepare)


@optimizer
def adabound(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    final_ratio: Positive = 100.0,
    gamma: Positive = 1e-3,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""AdaBound with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{AdaBound} + \lambda p)`.

    Composition: `scale_by_adabound`, `add_decayed_weights`, `scale_by_learning_rate`.

    It begins as Adam and ends as gradient descent with the rate `final_ratio` times :math:`\eta`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the authors' code.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      final_ratio: the last learning rate over the first, above 0.
      gamma: how fast the bounds close, above 0: half-way after 1 / gamma steps.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0. The authors' ``AdaBoundW`` has this one, their ``AdaBound`` an L2
        penalty: ``chain(add_decayed_weights(0.1), adabound(1e-3))``.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adabound(1e-3)).transforms[0]
      scale_by_adabound()

    References:
      - Luo et al., Adaptive gradient methods with dynamic bound of learning rate, 2019, arXiv:1902.09843.
    """
    return chain(
        scale_by_adabound(b1, b2, eps, final_ratio, gamma, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@optimizer
def amsbound(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    final_ratio: Positive = 100.0,
    gamma: Positive = 1e-3,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""AMSBound with decoupled weight decay: AdaBound with a second moment that never falls.

    Composition: `scale_by_amsbound`, `add_decayed_weights`, `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the authors' code.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      final_ratio: the last learning rate over the first, above 0.
      gamma: how fast the bounds close, above 0: half-way after 1 / gamma steps.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.amsbound(1e-3)).transforms[0]
      scale_by_amsbound()

    References:
      - Luo et al., Adaptive gradient methods with dynamic bound of learning rate, 2019, arXiv:1902.09843.
    """
    return chain(
        scale_by_amsbound(b1, b2, eps, final_ratio, gamma, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
