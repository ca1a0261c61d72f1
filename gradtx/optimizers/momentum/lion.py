"""Lion: steps of one length, in the direction of a sign."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, as_stored, leafwise, moving_average, optimizer, transformation
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.typing import Decay, DTypeName, Mask, NonNegative, Updates


class ScaleByLionState(NamedTuple):
    """The state of `scale_by_lion`.

    Attributes:
      mu: the average of gradients, like the params, in accumulator dtype (or ``mu_dtype``).
    """

    mu: Updates


@transformation
def scale_by_lion(b1: Decay = 0.9, b2: Decay = 0.99, mu_dtype: DTypeName | None = None) -> Form:
    r"""Replace updates by the sign of an average between the gradient and its momentum (Lion).

    .. math::
        u_t = \operatorname{sign}\bigl(\beta_1 m_{t-1} + (1-\beta_1)\, g_t\bigr), \qquad
        m_t = \beta_2 m_{t-1} + (1-\beta_2)\, g_t

    Every element moves by the learning rate or not at all. A complex element becomes :math:`c/|c|`.

    *Form.* Solved for the new moment, the direction is
    :math:`\operatorname{sign}(\beta_1 m_t + (\beta_2-\beta_1)\, g_t)`. Where :math:`\beta_1 \le \beta_2` and
    :math:`\beta_2 > 0` are Python numbers this form is computed: it reads nothing that is overwritten, so that a
    compiled step with donated buffers moves 28 bytes per float32 parameter and makes no copy. Its coefficients are
    not negative: nothing cancels that does not in the first form, and the signs can differ only where
    :math:`|\beta_1 m_{t-1} + (1-\beta_1)\, g_t|` is within a few roundings of
    :math:`\beta_1 |m_{t-1}| + (1-\beta_1)\, |g_t|`. Traced numbers (schedules, sweeps) take the first form.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default. The second form
        reads :math:`m_t` as it is stored.

    State:
      `ScaleByLionState`: 4 bytes per float32 parameter (2 with ``mu_dtype="bfloat16"``).

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_lion()
      >>> tx.update(jnp.array([0.5, 0.0, -3.0]), tx.init(jnp.zeros(3)))[0]
      Array([ 1.,  0., -1.], dtype=float32)

    References:
      - Chen et al., Symbolic discovery of optimization algorithms, 2023, arXiv:2302.06675.

    Differences from Optax: the state has no counter, which nothing reads; there are no smoothed signs (``mode``).
    """
    numbers = all(isinstance(b, float | int) for b in (b1, b2))
    by_new_moment = numbers and b1 <= b2 and b2 > 0

    def init_leaf(p: jax.Array) -> Any:
        return tree.zeros_accumulator(p, dtype=mu_dtype)

    def leaf(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
        now = as_stored(moving_average(b2, m, g), mu_dtype)
        direction = b1 * now + (b2 - b1) * g if by_new_moment else moving_average(b1, m, g)
        return jnp.sign(direction), now

    return leafwise(leaf, state=ScaleByLionState, init_leaf=init_leaf)


@optimizer
def lion(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 1e-3,
    mask: Mask = None,
) -> GradientTransformation:
    r"""Lion with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{Lion} + \lambda p)`.

    Composition: `scale_by_lion`, `add_decayed_weights`, `scale_by_learning_rate`.

    Since every element moves by the whole learning rate, the authors advise one 3 to 10 times smaller than for
    `adamw`, a weight decay as many times larger, and large batches.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.0001 in the authors' code.
      b1: decay of the average whose sign is taken, in [0, 1).
      b2: decay of the average that is kept, in [0, 1).
      mu_dtype: the dtype of the moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0; 0.001 as in Optax, 0 in the authors' code.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.lion(1e-4, mask="*/kernel")).transforms[1]
      add_decayed_weights(weight_decay=0.001, mask='*/kernel')

    References:
      - Chen et al., Symbolic discovery of optimization algorithms, 2023, arXiv:2302.06675.
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
