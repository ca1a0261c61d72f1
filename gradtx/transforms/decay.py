"""Pulls towards zero."""

from typing import Any

import jax

from gradtx import tree
from gradtx.core import Pair, add_scaled, transformation
from gradtx.errors import require_extra
from gradtx.typing import EmptyState, Mask, NonNegative, Params, State, Updates


@transformation
def add_decayed_weights(weight_decay: NonNegative = 0.0, mask: Mask = None) -> Pair:
    r"""Add a multiple of the parameters to the updates: :math:`u = g + \lambda\, p`.

    After the scaling of an adaptive method and before the learning rate this is decoupled weight decay (AdamW); before
    it, an L2 penalty of :math:`\tfrac{\lambda}{2}\lVert p\rVert^2`.

    Args:
      weight_decay: :math:`\lambda`, at least 0; a number or a schedule.
      mask: the leaves to decay: a tree of booleans or a prefix of one, a function of the updates that returns one, or
        a glob (or tuple of globs) on leaf paths such as ``"*/kernel"``; all leaves if ``None``.

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentTypeError, ArgumentValueError, TreeMismatchError: the mask does not fit the params, or its globs match no
        leaf of them.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.add_decayed_weights(0.1)
      >>> p = jnp.array([2.0])
      >>> tx.update(jnp.zeros(1), tx.init(p), p)[0]
      Array([0.2], dtype=float32)

    References:
      - Loshchilov, Hutter, Decoupled weight decay regularization, 2019, arXiv:1711.05101 (for `weight_decay`).
    """

    def init(params: Params) -> EmptyState:
        tree.select(mask, params)
        return EmptyState()

    def leaf(g: jax.Array, p: jax.Array) -> Any:
        return add_scaled(g, weight_decay, p)

    @tree.fusible
    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "weight decay needs them: tx.update(grads, state, params)")
        if isinstance(weight_decay, float | int) and weight_decay == 0:
            return updates, state  # a member that does nothing must not read the parameters
        if mask is None:
            return tree.map_leaves(leaf, updates, read=(params,), share=False), state
        chosen = tree.resolve_mask(mask, updates)
        decayed = tree.map_leaves(leaf, tree.keep(updates, chosen), read=(tree.keep(params, chosen),), share=False)
        return tree.restore(decayed, updates), state

    return init, update
