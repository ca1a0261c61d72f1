"""Adan: Nesterov's momentum from gradients at one point, by their differences."""

from typing import Any, NamedTuple

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
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.typing import Count, Decay, Mask, NonNegative, SecondMoments, Updates


class ScaleByAdanState(NamedTuple):
    """The state of `scale_by_adan`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the average of gradients, like the params, in accumulator dtype.
      delta: the average of differences of gradients, like the params, in accumulator dtype.
      nu: the average of squares, like the params, real, in accumulator dtype.
      previous: the last gradient, like the params, in accumulator dtype.
    """

    count: Count
    mu: Updates
    delta: Updates
    nu: SecondMoments
    previous: Updates


@transformation
def scale_by_adan(
    b1: Decay = 0.98, b2: Decay = 0.92, b3: Decay = 0.99, eps: NonNegative = 1e-8, eps_root: NonNegative = 0.0
) -> Form:
    r"""Rescale updates by the Adan rule.

    .. math::
        d_t &= g_t - g_{t-1}, \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, d_t, \\
        n_t &= \beta_3 n_{t-1} + (1-\beta_3)\, |g_t + \beta_2 d_t|^2, \\
        u_t &= \frac{\hat m_t + \beta_2 \hat v_t}{\sqrt{\hat n_t + \bar\epsilon} + \epsilon}

    with :math:`d_1 = 0`, and :math:`\hat m_t = m_t/(1-\beta_1^t)`, :math:`\hat v_t = v_t/(1-\beta_2^t)`,
    :math:`\hat n_t = n_t/(1-\beta_3^t)`. A difference of gradients, weighed by :math:`\beta_2`, stands for the gradient
    at the point to which Nesterov's momentum looks ahead.

    *What is before it.* The last gradient is kept as it came: after a clip, it is the clipped one. If it is lost, as
    where only moments are restored, one difference is wrong.

    Args:
      b1: :math:`\beta_1`, in [0, 1); as in the authors' code, 1 minus that of the paper, and so are the others.
      b2: :math:`\beta_2`, in [0, 1).
      b3: :math:`\beta_3`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.

    State:
      `ScaleByAdanState`: 16 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adan()
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Xie et al., Adan: adaptive Nesterov momentum algorithm for faster optimizing deep models, 2022,
        arXiv:2208.06677.

    Differences from Optax: the weight of a difference is :math:`\beta_2 = 0.92`, as in the paper and the authors' code;
    Optax 0.2.8 takes :math:`1-\beta_2 = 0.08` in both places. With ``b2=0.5`` both are the same.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        m, v, previous = (tree.zeros_accumulator(p) for _ in range(3))
        return m, v, tree.zeros_accumulator(p, real=True), previous

    def prepare(state: ScaleByAdanState) -> tuple[ScaleByAdanState, dict[str, Any]]:
        count = increment(state.count)
        mu_weight = complement_of_power(b1, count)
        ratio = divide_by_root(eps, eps_root, mu_weight=mu_weight, nu_weight=complement_of_power(b3, count))
        # Both averages are divided by the weight of m: that of v is made up for here.
        ahead = b2 * mu_weight / complement_of_power(b2, count)
        return state._replace(count=count), {"first": count == 1, "ahead": ahead, "ratio": ratio}

    def leaf(
        g: jax.Array,
        m: jax.Array,
        v: jax.Array,
        n: jax.Array,
        previous: jax.Array,
        *,
        first: Any,
        ahead: Any,
        ratio: Any,
    ) -> tuple[jax.Array, ...]:
        d = jnp.where(first, 0, g - previous)
        m = moving_average(b1, m, g)
        v = moving_average(b2, v, d)
        n = moving_average_sq(b3, n, g + b2 * d)
        return ratio(m + ahead * v, n), m, v, n, g

    return leafwise(leaf, state=ScaleByAdanState, init_leaf=init_leaf, prepare=prepare)


@optimizer
def adan(
    learning_rate: NonNegative,
    b1: Decay = 0.98,
    b2: Decay = 0.92,
    b3: Decay = 0.99,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""Adan with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{Adan} + \lambda p)`.

    Composition: `scale_by_adan`, `add_decayed_weights`, `scale_by_learning_rate`.

    The rate is usually 2 to 10 times that of `adamw`. The authors' code decays by
    :math:`p \leftarrow (p - \eta u)/(1 + \eta\lambda)`; with ``no_prox=True``, as here. The two differ by terms of the
    order of :math:`\eta^2`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the authors' code.
      b1: decay of the average of gradients, in [0, 1).
      b2: decay of the average of differences, and their weight, in [0, 1).
      b3: decay of the average of squares, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0: 1e-8 as in Optax, where `scale_by_adan` has 0; there is none in the
        authors' code. It slows down what has gradients of 1e-4 and less.
      weight_decay: :math:`\lambda`, at least 0; 0.02 in the authors' recipes.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      16 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adan(1e-3, weight_decay=0.02)).transforms[1]
      add_decayed_weights(weight_decay=0.02)

    References:
      - Xie et al., Adan: adaptive Nesterov momentum algorithm for faster optimizing deep models, 2022,
        arXiv:2208.06677.

    Differences from Optax: the weights of `scale_by_adan`.
    """
    return chain(
        scale_by_adan(b1, b2, b3, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
