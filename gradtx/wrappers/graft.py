"""Grafting: which way from one method, how far from another."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators.keys import extras_of_members
from gradtx.core import Form, GradientTransformation, increment, one_for_zero, transformation, zero_count
from gradtx.typing import Count, NonNegative, Params, State, Updates


class GraftState(NamedTuple):
    """The state of `graft`.

    Attributes:
      count: the number of updates, int32 [].
      direction: the state of the method that says which way.
      magnitude: the state of the one that says how far.
    """

    count: Count
    direction: State
    magnitude: State


@transformation
def graft(direction: GradientTransformation, magnitude: GradientTransformation, start: NonNegative = 0) -> Form:
    r"""Take the directions of one method and the lengths of another's, leaf by leaf.

    .. math::
        u_t = \lVert m_t \rVert\, \frac{d_t}{\lVert d_t \rVert}
        \quad \text{from the step } s \text{ on, before that} \quad u_t = m_t

    A preconditioner then needs no learning rate of its own: it takes that of the method whose lengths it has. Both see
    the same gradients. Where one of them stands still, so does the whole.

    Args:
      direction: says which way, such as `scale_by_shampoo`.
      magnitude: says how far, such as ``scale_by_rms(0.999, bias_correction=True)``, which are the lengths of Adam's
        steps. Directions of ascent, or both of them optimizers.
      start: :math:`s`, at least 0: while a preconditioner knows little, the steps are those of the other.

    State:
      `GraftState`: those of both, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.graft(gradtx.identity(), gradtx.scale_by_sign())
      >>> print(jnp.round(tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))[0], 4))
      [0.8485 1.1314]

    References:
      - Agarwal et al., Disentangling adaptive gradient methods from learning rates, 2020, arXiv:2002.11803.
      - Anil et al., Scalable second order optimization for deep learning, 2020, arXiv:2002.09018.
    """
    extras_at = extras_of_members([direction, magnitude])

    def init(params: Params) -> GraftState:
        return GraftState(zero_count(), direction.init(params), magnitude.init(params))

    def leaf(d: jax.Array, m: jax.Array, *, early: jax.Array) -> jax.Array:
        unit = d / one_for_zero(tree.global_norm(d))
        return jnp.where(early, m, unit * tree.global_norm(m))

    def update(
        updates: Updates, state: GraftState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        d, direction_state = direction.update(updates, state.direction, params, **extras_at(extra, 0))
        m, magnitude_state = magnitude.update(updates, state.magnitude, params, **extras_at(extra, 1))
        made = tree.map_leaves(leaf, d, read=(m,), early=state.count < start)
        return made, GraftState(increment(state.count), direction_state, magnitude_state)

    return init, update
