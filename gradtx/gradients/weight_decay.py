"""Pulls towards zero."""

import functools
from typing import Any

import jax

from gradtx import tree
from gradtx.combinators.selection import selected
from gradtx.core import Form, leafwise, transformation
from gradtx.core.leafwise import PARAMS_HINT
from gradtx.errors import require_extra
from gradtx.typing import EmptyState, Mask, NonNegative, Params


@transformation
def add_decayed_weights(weight_decay: NonNegative = 0.0, mask: Mask = None) -> Form:
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

    def needing_params(state: EmptyState, params: Params) -> tuple[EmptyState, dict[str, Any]]:
        require_extra(params, "params", PARAMS_HINT)
        return state, {}

    def leaf(g: jax.Array, *, p: jax.Array) -> Any:
        return g + weight_decay * p

    nothing = isinstance(weight_decay, float | int) and weight_decay == 0  # then the leaves must not read the params
    form = leafwise(lambda g: g, prepare=needing_params) if nothing else leafwise(leaf)
    choose, choose_at_init = functools.partial(tree.resolve_mask, mask), functools.partial(tree.require_matches, mask)
    return form if mask is None else selected(form, choose, choose_at_init=choose_at_init)
