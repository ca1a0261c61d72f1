"""Pulls towards zero."""

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators.selection import selected
from gradtx.core import Form, leafwise, transformation
from gradtx.core.leafwise import PARAMS_HINT
from gradtx.core.value import show
from gradtx.errors import ArgumentValueError, require_extra
from gradtx.typing import EmptyState, Mask, NonNegative, Params


@transformation
def add_decayed_weights(weight_decay: NonNegative = 0.0, mask: Mask = None) -> Form:
    r"""Add a multiple of the parameters to the updates: :math:`u = g + \lambda\, p`.

    After the scaling of an adaptive method and before the learning rate this is decoupled weight decay (AdamW); before
    it, an L2 penalty of :math:`\tfrac{\lambda}{2}\lVert p\rVert^2`.

    *Conventions.* The learning rate :math:`\eta` that follows multiplies the decay, too. The other conventions that
    `adamw` has names for are an arithmetic of numbers and schedules, which works in every optimizer with a decay: with
    ``weight_decay=decay / peak``, where ``peak`` is the largest rate, the decay is *independent* of the peak and
    follows the shape of the schedule alone; with ``weight_decay=decay * rate / peak`` it is *corrected*, and falls with
    the square of the rate.

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

    def leaf(g: jax.Array, *, p: jax.Array) -> Any:
        return g + weight_decay * p

    return _decay(leaf, weight_decay, mask)


DecayConvention: TypeAlias = Literal["coupled", "independent", "corrected"]
"""How the pull of a decoupled weight decay depends on the learning rate."""


def decay_under_rate(weight_decay: Any, learning_rate: Any, convention: DecayConvention, peak: Any) -> Any:
    r"""The decay to add before a learning rate :math:`\eta`, so that both together follow a convention.

    .. math::
        \text{coupled: } \lambda, \qquad \text{independent: } \lambda / \eta_\text{peak}, \qquad
        \text{corrected: } \lambda\, \eta / \eta_\text{peak}
    """
    if convention == "coupled":
        if peak is not None:
            hint = "say decay_convention='independent' or 'corrected'"
            raise ArgumentValueError("no peak_learning_rate for a coupled decay", got=show(peak), hint=hint)
        return weight_decay
    if peak is None:
        hint = "give the largest learning rate of the schedule"
        raise ArgumentValueError(f"a peak_learning_rate for the {convention} decay", got="none", hint=hint)
    relative = weight_decay / peak
    return relative if convention == "independent" else relative * learning_rate


@transformation
def add_cautious_weight_decay(weight_decay: NonNegative = 0.0, mask: Mask = None) -> Form:
    r"""Add a multiple of the parameters to the updates where the step goes towards zero anyway.

    .. math:: u = g + \lambda\, [\, g \odot p \ge 0 \,] \odot p

    An element that the updates move away from zero is not held back. Like `add_decayed_weights`, this comes after the
    scaling of an adaptive method and before the learning rate. Of complex numbers, the real part of :math:`\bar g\, p`
    decides.

    Args:
      weight_decay: :math:`\lambda`, at least 0; a number or a schedule. That of `add_decayed_weights` is a good one.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentTypeError, ArgumentValueError, TreeMismatchError: the mask does not fit the params, or its globs match no
        leaf of them.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.add_cautious_weight_decay(0.1)
      >>> p = jnp.array([2.0, 2.0, -2.0])
      >>> tx.update(jnp.array([1.0, -1.0, 0.0]), tx.init(p), p)[0]
      Array([ 1.2, -1. , -0.2], dtype=float32)

    References:
      - Chen et al., Cautious weight decay, 2025, arXiv:2510.12402.
    """

    def leaf(g: jax.Array, *, p: jax.Array) -> Any:
        return g + jnp.where(agreement(g, p) >= 0, weight_decay * p, 0)

    return _decay(leaf, weight_decay, mask)


def agreement(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""The sign of :math:`\operatorname{Re}(\bar x\, y)`, by signs: the product of two small numbers may vanish."""
    product = jnp.sign(x).conj() * jnp.sign(y)
    return product.real


def _decay(leaf: Callable[..., Any], weight_decay: Any, mask: Mask) -> Form:
    """A decay by a function of a leaf and its parameter, of some leaves only; of nothing where the decay is 0."""

    def needing_params(state: EmptyState, params: Params) -> tuple[EmptyState, dict[str, Any]]:
        require_extra(params, "params", PARAMS_HINT)
        return state, {}

    nothing = isinstance(weight_decay, float | int) and weight_decay == 0  # then the leaves must not read the params
    form = leafwise(lambda g: g, prepare=needing_params) if nothing else leafwise(leaf)
    choose, choose_at_init = functools.partial(tree.resolve_mask, mask), functools.partial(tree.require_matches, mask)
    return form if mask is None else selected(form, choose, choose_at_init=choose_at_init)
