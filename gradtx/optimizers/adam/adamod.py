"""AdaMod: Adam whose step sizes are bounded by their own average."""

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
from gradtx.optimizers.adam.adam import moments
from gradtx.typing import Count, Decay, DTypeName, Mask, NonNegative, SecondMoments, Updates


class ScaleByAdamodState(NamedTuple):
    """The state of `scale_by_adamod`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the first moment, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the second moment, like the params, real, in accumulator dtype.
      step_sizes: the average of step sizes, like the params, real, in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: SecondMoments
    step_sizes: Updates


@transformation
def scale_by_adamod(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.999,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
) -> Form:
    r"""Rescale updates by the AdaMod rule: Adam whose step sizes are bounded by their own average.

    .. math::
        \eta_t = \frac{1}{\sqrt{\hat v_t} + \epsilon}, \qquad
        s_t = \beta_3 s_{t-1} + (1-\beta_3)\, \eta_t, \qquad
        u_t = \min(\eta_t, s_t)\, \hat m_t

    with the moments of `scale_by_adam`. The average begins at zero and is not corrected for it, which is a warm-up: the
    first step is :math:`1-\beta_3` of Adam's. Later, an element whose second moment falls does not get longer steps at
    once.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      b3: :math:`\beta_3`, in [0, 1); with 0 this is Adam.
      eps: :math:`\epsilon`, outside the root, at least 0. A parameter without gradients has step sizes of
        :math:`1/\epsilon`, and their average forgets them only slowly.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByAdamodState`: 12 bytes per float32 parameter (10 with ``mu_dtype="bfloat16"``), and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adamod(b1=0.5, b2=0.5, b3=0.75)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 0.25, -0.25], dtype=float32)

    References:
      - Ding et al., An adaptive and momental bound method for stochastic learning, 2019, arXiv:1910.12249.

    Differences from the paper: a learning rate comes after the bound, not into the averaged step sizes, which shows
    under a schedule. In the authors' code the step sizes have the correction of m in them, too, and so are larger in
    the first steps. Optax has no AdaMod.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        return *moments(mu_dtype)(p), tree.zeros_accumulator(p, real=True)

    def prepare(state: ScaleByAdamodState) -> tuple[ScaleByAdamodState, dict[str, Any]]:
        count = increment(state.count)
        return state._replace(count=count), {
            "ratio": divide_by_root(eps, nu_weight=complement_of_power(b2, count)),
            "correct": 1 / complement_of_power(b1, count),
        }

    def leaf(
        g: jax.Array, m: jax.Array, v: jax.Array, s: jax.Array, *, ratio: Any, correct: Any
    ) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        size = ratio(jnp.ones_like(v), v)
        s = moving_average(b3, s, size)
        return jnp.minimum(size, s) * (correct * m), m, v, s

    return leafwise(leaf, state=ScaleByAdamodState, init_leaf=init_leaf, prepare=prepare)


@optimizer
def adamod(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.999,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""AdaMod with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{AdaMod} + \lambda p)`.

    Composition: `scale_by_adamod`, `add_decayed_weights`, `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the paper.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      b3: decay of the average of step sizes, in [0, 1); 0.999 to 0.9999 in the paper.
      eps: outside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adamod(1e-3, b3=0.9999)).transforms[0]
      scale_by_adamod(b3=0.9999)

    References:
      - Ding et al., An adaptive and momental bound method for stochastic learning, 2019, arXiv:1910.12249.
    """
    return chain(
        scale_by_adamod(b1, b2, b3, eps, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
