"""ACProp: a gradient is divided by how far those before it strayed from their average."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    complement_of_power,
    increment,
    leafwise,
    moving_average,
    optimizer,
    safe_sqrt,
    transformation,
    with_eps,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.adam import ScaleByAdamState, moments
from gradtx.typing import Decay, Mask, NonNegative


@transformation
def scale_by_acprop(
    b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-16, eps_root: NonNegative = 1e-16
) -> Form:
    r"""Rescale updates by the ACProp rule: by how far the gradients before this one strayed from their average.

    .. math::
        u_t &= \frac{g_t}{\sqrt{\hat s_{t-1}} + \epsilon}, \qquad \hat s_{t-1} = \frac{s_{t-1}}{1-\beta_2^{t-1}}, \\
        s_t &= \beta_2 s_{t-1} + (1-\beta_2)\, |g_t - m_{t-1}|^2 + \bar\epsilon, \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, g_t

    AdaBelief divides the average of gradients by an :math:`s` that knows the newest of them; here the gradient itself
    is divided, by an :math:`s` that does not know it. The average serves :math:`s` alone.

    *Elements without a past.* Where all gradients before were zero, as at the first step, the root is taken for 1, and
    the update is the gradient. Divided by the root of what :math:`\bar\epsilon` has piled up, it would be
    :math:`10^6` times that. (An element has no past where :math:`m_{t-1} = 0` and
    :math:`s_{t-1} \le (t-1)\,\bar\epsilon`.) A gradient far larger than those before it makes a large step all the
    same: the first 1 after many of :math:`10^{-4}` makes one of :math:`10^4`. Put a `clip` after this transformation
    where that happens.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, added to the moment at every step, at least 0.

    State:
      `ScaleByAdamState`, with :math:`s` as ``nu``: 8 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_acprop(b2=0.5)
      >>> u, state = tx.update(jnp.array([0.5, 0.0]), tx.init(jnp.zeros(2)))
      >>> u, tx.update(jnp.array([0.25, 0.25]), state)[0]
      (Array([0.5, 0. ], dtype=float32), Array([0.5 , 0.25], dtype=float32))

    References:
      - Zhuang et al., Momentum centering and asynchronous update for adaptive gradient methods, 2021, arXiv:2110.05454.

    Differences from Optax: elements without a past, which Optax lets explode after the first step.

    Differences from the authors' code: they take the distance from :math:`m_t`, which is :math:`\beta_1` times that
    from :math:`m_{t-1}`, so their steps after the first are :math:`1/\beta_1` times as long. By default they also
    rectify them, as `radam` does.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        piled_up = state.count * eps_root  # no less than s is where all gradients were zero
        past = complement_of_power(b2, jnp.maximum(state.count, 1))
        return state._replace(count=increment(state.count)), {"piled_up": piled_up, "past": past}

    def leaf(g: jax.Array, m: jax.Array, s: jax.Array, *, piled_up: Any, past: Any) -> tuple[jax.Array, ...]:
        without_past = (m == 0) & (s <= piled_up)
        u = g / with_eps(jnp.where(without_past, 1, safe_sqrt(s / past)), eps)
        s = b2 * s + (abs_sq(g - m, 1 - b2) + eps_root)
        return u, moving_average(b1, m, g), s

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(), prepare=prepare)


@optimizer
def acprop(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""ACProp with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{ACProp} + \lambda p)`.

    Composition: `scale_by_acprop`, `add_decayed_weights`, `scale_by_learning_rate`.

    The first step is that of gradient descent, :math:`\eta g`: nothing is known by then of the size of gradients.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the authors' code.
      b1: decay of the average of gradients, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: added to the second moment at every step, at least 0.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.acprop(1e-3, weight_decay=0.01)).transforms[1]
      add_decayed_weights(weight_decay=0.01)

    References:
      - Zhuang et al., Momentum centering and asynchronous update for adaptive gradient methods, 2021, arXiv:2110.05454.
    """
    return chain(
        scale_by_acprop(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
