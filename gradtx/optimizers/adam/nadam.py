"""NAdam: Adam with Nesterov's momentum, which may grow over the first steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    as_float,
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
from gradtx.optimizers.adam.adam import moments, scale_by_adam
from gradtx.typing import Count, Decay, DTypeName, NonNegative, Params, SecondMoments, Updates


class ScaleByNadamState(NamedTuple):
    r"""The state of `scale_by_nadam`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the first moment, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the second moment, like the params, real, in accumulator dtype.
      weight: :math:`1 - P_t`, what the momenta so far leave of a start at zero, float [].
    """

    count: Count
    mu: Updates
    nu: SecondMoments
    weight: Any


@transformation
def scale_by_nadam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    momentum_decay: NonNegative = 0.004,
) -> Form:
    r"""Rescale updates by the NAdam rule with a momentum that grows: Dozat's, torch's and Keras'.

    .. math::
        \mu_t = \beta_1 \bigl(1 - \tfrac{1}{2}\, 0.96^{\psi t}\bigr), \qquad P_t = \mu_1 \mu_2 \cdots \mu_t

    .. math::
        u_t = \Bigl(\frac{\mu_{t+1}\, m_t}{1-P_{t+1}} + \frac{(1-\mu_t)\, g_t}{1-P_t}\Bigr)
        \Big/ \bigl(\sqrt{\hat v_t + \bar\epsilon} + \epsilon\bigr)

    with the moments m and :math:`\hat v` of `scale_by_adam`, which decay by :math:`\beta_1` and :math:`\beta_2`
    throughout. The momentum grows from half of :math:`\beta_1` to :math:`\beta_1`, so that the first steps are about as
    long as Adam's. With a constant one they are half as long again: that is ``scale_by_adam(nesterov=True)``, Optax's.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.
      mu_dtype: the dtype :math:`m` is stored in; at least float32 by default.
      momentum_decay: :math:`\psi`, at least 0: how fast the momentum grows. 0.004 as in torch (half of the way takes
        4250 steps), 1 in Keras (17 steps).

    State:
      `ScaleByNadamState`: 8 bytes per float32 parameter, a counter and a number.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_nadam(b1=0.0)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016.

    Differences from torch: :math:`1 - P_t` is kept and not :math:`P_t`, to all digits.
    """

    def init_shared(params: Params) -> dict[str, Any]:
        return {"weight": jnp.zeros((), jnp.result_type(float))}

    def step(weight: Any, count: jax.Array) -> tuple[Any, Any, Any]:
        """The momentum, its complement, and the weight after it."""
        late = 0.5 * 0.96 ** (momentum_decay * as_float(count))
        momentum, rest = b1 * (1 - late), (1 - b1) + b1 * late
        return momentum, rest, weight + (1 - weight) * rest

    def prepare(state: ScaleByNadamState) -> tuple[ScaleByNadamState, dict[str, Any]]:
        count = increment(state.count)
        _, rest, weight = step(state.weight, count)
        momentum, _, next_weight = step(weight, increment(count))
        return state._replace(count=count, weight=weight.astype(state.weight.dtype)), {
            "ratio": divide_by_root(eps, eps_root, nu_weight=complement_of_power(b2, count)),
            "ahead": momentum / next_weight,
            "now": rest / weight,
        }

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, ratio: Any, ahead: Any, now: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        return ratio(ahead * m + now * g, v), m, v

    return leafwise(
        leaf, state=ScaleByNadamState, init_leaf=moments(mu_dtype), init_shared=init_shared, prepare=prepare
    )


@optimizer
def nadam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    momentum_decay: NonNegative | None = None,
) -> GradientTransformation:
    """Adam with Nesterov's momentum.

    Composition: `scale_by_adam` with ``nesterov=True``, or `scale_by_nadam` if there is a `momentum_decay`;
    `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; 0.002 in torch.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      momentum_decay: how fast the momentum grows over the first steps, at least 0: 0.004 in torch, 1 in Keras. None
        for a constant one, as in Optax, with which the first step is half as long again.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.nadam(0.1))
      chain(scale_by_adam(nesterov=True), scale_by_learning_rate(learning_rate=0.1))
      >>> gradtx.expand(gradtx.nadam(0.1, momentum_decay=0.004))
      chain(scale_by_nadam(), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016.
    """
    if momentum_decay is None:
        rescale = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=True)
    else:
        rescale = scale_by_nadam(b1, b2, eps, eps_root, mu_dtype, momentum_decay=momentum_decay)
    return chain(rescale, scale_by_learning_rate(learning_rate))
