"""AdEMAMix: Adam with a second, very slow average of gradients beside the fast one."""

from typing import Any, NamedTuple

import jax

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
from gradtx.typing import Count, Decay, DTypeName, Mask, NonNegative, SecondMoments, Updates


class ScaleByAdemamixState(NamedTuple):
    """The state of `scale_by_ademamix`.

    Attributes:
      count: the number of updates, int32 [].
      m1: the fast average of gradients, like the params, in accumulator dtype (or ``mu_dtype``).
      m2: the slow average of gradients, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the second moment, like the params, real, in accumulator dtype.
    """

    count: Count
    m1: Updates
    m2: Updates
    nu: SecondMoments


@transformation
def scale_by_ademamix(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    alpha: NonNegative = 6.0,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
) -> Form:
    r"""Rescale updates by the AdEMAMix rule.

    .. math::
        m^1_t &= \beta_1 m^1_{t-1} + (1-\beta_1)\, g_t, \\
        m^2_t &= \beta_3 m^2_{t-1} + (1-\beta_3)\, g_t, \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, |g_t|^2, \\
        u_t &= \frac{\hat m^1_t + \alpha\, m^2_t}{\sqrt{\hat v_t + \bar\epsilon} + \epsilon}

    with :math:`\hat m^1_t = m^1_t/(1-\beta_1^t)` and :math:`\hat v_t = v_t/(1-\beta_2^t)`. The slow average is not
    corrected: it fills up over :math:`1/(1-\beta_3)` steps, which is to be a good part of the run.

    *Schedules.* Early in a run, large :math:`\alpha` and :math:`\beta_3` may make it diverge. The authors let both rise
    over the whole run: ``alpha=linear_schedule(0.0, 8.0, steps)`` and ``b3=half_life_schedule(0.9, 0.9999, steps)``. In
    their code the first step already has the values of step 1, the last but one those of the end.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      b3: :math:`\beta_3`, in [0, 1).
      alpha: :math:`\alpha`, at least 0; 6 as in Optax, which has 5 in `ademamix`; 4 to 10 in the paper.
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.
      mu_dtype: the dtype both averages are stored in; at least float32 by default. In bfloat16 the slow one would
        stand still: a 1 - 0.9999th of it is far below half a unit in the last place.

    State:
      `ScaleByAdemamixState`: 12 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_ademamix(b3=0.75, alpha=2.0)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1.5, -1.5], dtype=float32)

    References:
      - Pagliardini, Ablin, Grangier, The AdEMAMix optimizer: better, faster, older, 2024, arXiv:2409.03137.

    Differences from Optax: ``mu_dtype`` is that of the averages and not of the second moment; there is one counter.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        m1, m2 = (tree.zeros_accumulator(p, dtype=mu_dtype) for _ in range(2))
        return m1, m2, tree.zeros_accumulator(p, real=True)

    def prepare(state: ScaleByAdemamixState) -> tuple[ScaleByAdemamixState, dict[str, Any]]:
        count = increment(state.count)
        weight = complement_of_power(b1, count)
        ratio = divide_by_root(eps, eps_root, mu_weight=weight, nu_weight=complement_of_power(b2, count))
        # Both averages are divided by the weight of the fast one: for the slow one that is made up for here.
        return state._replace(count=count), {"ratio": ratio, "slow": alpha * weight}

    def leaf(
        g: jax.Array, m1: jax.Array, m2: jax.Array, v: jax.Array, *, ratio: Any, slow: Any
    ) -> tuple[jax.Array, ...]:
        m1 = moving_average(b1, m1, g)
        m2 = moving_average(b3, m2, g)
        v = moving_average_sq(b2, v, g)
        return ratio(m1 + slow * m2, v), m1, m2, v

    return leafwise(leaf, state=ScaleByAdemamixState, init_leaf=init_leaf, prepare=prepare)


@optimizer
def ademamix(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    alpha: NonNegative = 5.0,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""AdEMAMix with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{AdEMAMix} + \lambda p)`.

    Composition: `scale_by_ademamix`, `add_decayed_weights`, `scale_by_learning_rate`.

    It pays in long runs, where old gradients still say something. See `scale_by_ademamix` for the schedules of
    :math:`\alpha` and :math:`\beta_3` that the authors use.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the authors' code.
      b1: decay of the fast average, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      b3: decay of the slow average, in [0, 1); a number or a schedule.
      alpha: weight of the slow average, at least 0; a number or a schedule. 5 as in Optax, 2 in the authors' code.
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of both averages; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.ademamix(1e-3, alpha=gradtx.linear_schedule(0.0, 8.0, 1000))
      ademamix(learning_rate=0.001, alpha=linear_schedule(init_value=0.0, end_value=8.0, transition_steps=1000))

    References:
      - Pagliardini, Ablin, Grangier, The AdEMAMix optimizer: better, faster, older, 2024, arXiv:2409.03137.
    """
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
