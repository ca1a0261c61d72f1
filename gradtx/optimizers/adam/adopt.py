"""ADOPT: a gradient is divided by the second moment of those before it, and only then averaged."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    increment,
    leafwise,
    moving_average,
    moving_average_sq,
    one_for_zero,
    optimizer,
    safe_sqrt,
    transformation,
)
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.adam.adam import ScaleByAdamState, moments
from gradtx.typing import Decay, DTypeName, NonNegative


@transformation
def scale_by_adopt(
    b1: Decay = 0.9,
    b2: Decay = 0.9999,
    eps: NonNegative = 1e-6,
    mu_dtype: DTypeName | None = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: NonNegative | None = None,
) -> Form:
    r"""Rescale updates by the ADOPT rule.

    .. math::
        n_t &= \operatorname{clip}\!\left(\frac{g_t}{\max(\sqrt{v_{t-1}}, \epsilon)}, \pm c_t\right), \\
        u_t = m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, n_t, \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, |g_t|^2

    for :math:`t = 1, 2, \dots`, after a step 0 that moves nothing and takes :math:`v_0 = |g_0|^2`. Adam divides a
    gradient by a moment that it is a part of, which for some :math:`\beta_2` makes Adam diverge; ADOPT converges for
    every :math:`\beta_2`. There is no bias correction.

    *The bound.* :math:`c_t = t^{1/4}` in the authors' later code and in Optax, so that an element whose first gradient
    was tiny makes no huge step; the paper has none. The real and imaginary parts of a complex element are clipped
    separately.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, the least divisor, at least 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.
      nesterov: return :math:`\beta_1 m_t + (1-\beta_1)\, n_t`.
      use_clipping: ``False`` for no bound.
      clip_value_fn: :math:`c`, at least 0: a schedule or any function of the step (whose value at step 0 is not used),
        or a number; :math:`t^{1/4}` if None.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter (6 with ``mu_dtype="bfloat16"``), and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adopt()
      >>> _, state = tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))
      >>> tx.update(jnp.array([0.5, -1.5]), state)[0]
      Array([ 0.1 , -0.05], dtype=float32)

    References:
      - Taniguchi et al., ADOPT: modified Adam can converge with any beta2 with the optimal rate, 2024,
        arXiv:2411.02853.

    Differences from Optax: the bound may be a number or a schedule, and a transformation with the default one prints
    and compares as a value; complex gradients are clipped, by their parts; where the divisor is zero, with ``eps=0``,
    it is 1.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        first = state.count == 0
        scalars = {"first": first, "keep": jnp.where(first, 0, b2)}
        if use_clipping:
            scalars["bound"] = state.count**0.25 if clip_value_fn is None else jnp.asarray(clip_value_fn, float)
        return state._replace(count=increment(state.count)), scalars

    def leaf(
        g: jax.Array, m: jax.Array, v: jax.Array, *, first: Any, keep: Any, bound: Any = None
    ) -> tuple[jax.Array, ...]:
        n = g / one_for_zero(jnp.maximum(safe_sqrt(v), eps))
        n = n if bound is None else _clipped(n, bound)
        m = jnp.where(first, m, moving_average(b1, m, n))
        u = jnp.where(first, m, moving_average(b1, m, n)) if nesterov else m
        return u, m, moving_average_sq(keep, v, g)

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(mu_dtype), prepare=prepare)


def _clipped(x: jax.Array, bound: Any) -> jax.Array:
    """The elements, real and imaginary parts apart, in an interval around zero."""
    if jnp.iscomplexobj(x):
        return jax.lax.complex(_clipped(x.real, bound), _clipped(x.imag, bound))
    return jnp.clip(x, -bound, bound)


@optimizer
def adopt(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.9999,
    eps: NonNegative = 1e-6,
    mu_dtype: DTypeName | None = None,
    *,
    nesterov: bool = False,
    use_clipping: bool = True,
    clip_value_fn: NonNegative | None = None,
) -> GradientTransformation:
    r"""ADOPT: Adam that converges for every :math:`\beta_2`.

    Composition: `scale_by_adopt`, `scale_by_learning_rate`.

    The first update is zero, whatever its rate: it measures the gradient. With decoupled weight decay it is
    ``chain(scale_by_adopt(), add_decayed_weights(0.01), scale_by_learning_rate(rate))``; torch's code leaves out the
    decay at the first step, too.

    Args:
      learning_rate: at least 0; 0.001 in the authors' code.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: the least divisor, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      nesterov: Nesterov's momentum.
      use_clipping: ``False`` for no bound on a rescaled gradient, as in the paper.
      clip_value_fn: the bound: a schedule or any function of the step, or a number; :math:`t^{1/4}` if None.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adopt(1e-3, use_clipping=False))
      chain(scale_by_adopt(use_clipping=False), scale_by_learning_rate(learning_rate=0.001))

    References:
      - Taniguchi et al., ADOPT: modified Adam can converge with any beta2 with the optimal rate, 2024,
        arXiv:2411.02853.
    """
    return chain(
        scale_by_adopt(
            b1, b2, eps, mu_dtype, nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=clip_value_fn
        ),
        scale_by_learning_rate(learning_rate),
    )
