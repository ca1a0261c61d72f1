"""Bounds on the size of updates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Pair, increment, leafwise, transformation, zero_count
from gradtx.typing import Count, NonNegative, Params, State, Updates


@transformation
def clip(max_delta: NonNegative) -> Pair:
    r"""Clip each element to an interval: :math:`u = \min(\max(g, -\delta), \delta)`.

    The real and imaginary parts of a complex element are clipped separately. NaN stays NaN.

    Args:
      max_delta: :math:`\delta`, at least 0.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.clip(1.0).update(jnp.array([2.0, 0.5]), gradtx.EmptyState())[0]
      Array([1. , 0.5], dtype=float32)
    """

    def bound(x: jax.Array) -> jax.Array:
        return jnp.clip(x, -max_delta, max_delta)

    def leaf(g: jax.Array) -> jax.Array:
        return jax.lax.complex(bound(g.real), bound(g.imag)) if jnp.iscomplexobj(g) else bound(g)

    return leafwise(leaf)


class ClipByGlobalNormState(NamedTuple):
    """The state of `clip_by_global_norm`.

    Attributes:
      norm: the norm of the last updates before clipping, float32 [].
      clipped: how many updates were clipped, int32 [].
    """

    norm: jax.Array
    clipped: Count


@transformation
def clip_by_global_norm(max_norm: NonNegative) -> Pair:
    r"""Shrink all updates together so that their norm is at most a bound.

    .. math::
        u = g \cdot \min\!\left(1, \frac{c}{\lVert g \rVert_2}\right)

    The norm is taken over all leaves, in at least float32. If it is NaN, nothing is shrunk: the leaves that are right
    stay right.

    Args:
      max_norm: :math:`c`, at least 0.

    State:
      `ClipByGlobalNormState`: two scalars.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.clip_by_global_norm(1.0)
      >>> u, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
      >>> u, state.norm
      (Array([0.6, 0.8], dtype=float32), Array(5., dtype=float32))

    References:
      - Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013, arXiv:1211.5063.
    """

    def init(params: Params) -> ClipByGlobalNormState:
        return ClipByGlobalNormState(jnp.zeros_like(tree.global_norm(params)), zero_count())

    def update(
        updates: Updates, state: ClipByGlobalNormState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        norm = tree.global_norm(updates)
        exceeds = norm > max_norm
        # One scalar factor fuses into every reader; dividing each leaf would write a clipped copy of the gradients.
        factor = jnp.where(exceeds, max_norm / jnp.where(exceeds, norm, 1), 1)
        updates = tree.map_leaves(lambda g: factor * g, updates)
        clipped = jnp.where(exceeds, increment(state.clipped), state.clipped)
        return updates, ClipByGlobalNormState(norm.astype(state.norm.dtype), clipped)

    return init, update
