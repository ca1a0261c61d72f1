"""NovoGrad: momentum of gradients that are divided by a moving norm of their layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    increment,
    leafwise,
    moving_average,
    optimizer,
    safe_sqrt,
    transformation,
    with_eps,
)
from gradtx.gradients import scale_by_learning_rate
from gradtx.typing import Count, Decay, DTypeName, NonNegative, SecondMoments, Updates


class ScaleByNovogradState(NamedTuple):
    """The state of `scale_by_novograd`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the momentum, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: for each leaf the mean square of its gradients' norms, real [], in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: SecondMoments


@transformation
def scale_by_novograd(
    b1: Decay = 0.9,
    b2: Decay = 0.25,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
) -> Form:
    r"""Accumulate gradients, each divided by the moving norm of its layer (NovoGrad).

    .. math::
        v_t = \beta_2 v_{t-1} + (1-\beta_2) \lVert g_t \rVert_2^2, \qquad
        m_t = \beta_1 m_{t-1} + \frac{g_t}{\sqrt{v_t + \bar\epsilon} + \epsilon} + \lambda p, \qquad
        u_t = m_t

    with :math:`v_1 = \lVert g_1 \rVert_2^2`, so that no bias has to be corrected. There is one :math:`v` for each leaf.

    The decay is inside the momentum. The gradients are summed, not averaged: where the authors' code has
    ``grad_averaging``, the rate here is :math:`1-\beta_1` times theirs.

    Args:
      b1: :math:`\beta_1`, in [0, 1); 0.95 in the paper.
      b2: :math:`\beta_2`, in [0, 1): how long norms are remembered, which is where codes differ most. 0.25 and less
        forget at once; 0.98, as in the paper, averages fifty steps.
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.
      weight_decay: :math:`\lambda`, at least 0. With 0, ``params`` are not needed.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByNovogradState`: 4 bytes per float32 parameter (2 with ``mu_dtype="bfloat16"``), 4 for each leaf, and a
      counter.

    Raises:
      MissingExtraError: there is a decay, and `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_novograd()
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 0.6, -0.8], dtype=float32)

    References:
      - Ginsburg et al., Stochastic gradient methods with layer-wise adaptive moments for training of deep networks,
        2019, arXiv:1905.11286.
      - Li et al., Jasper: an end-to-end convolutional neural acoustic model, 2019, arXiv:1904.03288.

    Differences from Optax: norms and moments of bfloat16 and float16 parameters are float32; `update` needs no params
    where there is no decay.
    """
    decayed = not (isinstance(weight_decay, float | int) and weight_decay == 0)

    def init_leaf(p: jax.Array) -> tuple[Any, jax.Array]:
        return tree.zeros_accumulator(p, dtype=mu_dtype), jnp.zeros((), tree.accumulator_dtype(p.dtype, real=True))

    def prepare(state: ScaleByNovogradState) -> tuple[ScaleByNovogradState, dict[str, Any]]:
        count = increment(state.count)
        return state._replace(count=count), {"memory": jnp.where(count == 1, 0.0, b2)}

    def normalized(g: jax.Array, v: jax.Array, memory: Any) -> tuple[jax.Array, jax.Array]:
        v = moving_average(memory, v, jnp.sum(abs_sq(g)))
        return g / with_eps(safe_sqrt(v + eps_root), eps), v

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, memory: Any) -> tuple[jax.Array, ...]:
        direction, v = normalized(g, v, memory)
        m = b1 * m + direction
        return m, m, v

    def leaf_with_decay(g: jax.Array, m: jax.Array, v: jax.Array, *, memory: Any, p: jax.Array) -> Any:
        direction, v = normalized(g, v, memory)
        m = b1 * m + direction + weight_decay * p
        return m, m, v

    return leafwise(
        leaf_with_decay if decayed else leaf, state=ScaleByNovogradState, init_leaf=init_leaf, prepare=prepare
    )


@optimizer
def novograd(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.25,
    eps: NonNegative = 1e-6,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
) -> GradientTransformation:
    r"""NovoGrad: momentum of gradients, each divided by the moving norm of its layer.

    Composition: `scale_by_novograd`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      b1: decay of the momentum, in [0, 1); 0.95 in the paper.
      b2: decay of the squared norms, in [0, 1); 0.98 in the paper, 0.25 in Jasper.
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      weight_decay: :math:`\lambda`, inside the momentum, at least 0; 0.001 in Jasper.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.novograd(0.1))
      chain(scale_by_novograd(eps=1e-06), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Ginsburg et al., Stochastic gradient methods with layer-wise adaptive moments for training of deep networks,
        2019, arXiv:1905.11286.
      - Li et al., Jasper: an end-to-end convolutional neural acoustic model, 2019, arXiv:1904.03288.
    """
    return chain(
        scale_by_novograd(b1, b2, eps, eps_root, weight_decay),
        scale_by_learning_rate(learning_rate),
    )
