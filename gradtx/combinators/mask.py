"""A transformation on some of the leaves."""

import dataclasses
import functools
import operator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators.selection import select_extras, selected
from gradtx.core import Form, GradientTransformation, leafwise, transformation
from gradtx.core.leafwise import Leafwise
from gradtx.typing import Mask, Params, State, Updates


class MaskedState(NamedTuple):
    """The state of `masked`.

    Attributes:
      inner_state: the state of the inner transformation, made for the selected leaves; `MaskedNode` at the others.
    """

    inner_state: State


@transformation
def masked(
    inner: GradientTransformation, mask: Mask, unselected: Literal["pass_through", "freeze"] = "pass_through"
) -> Form:
    """Apply a transformation to the selected leaves only; it does not see the others and keeps no state for them.

    Args:
      inner: the transformation.
      mask: the leaves to transform, True at each: a tree of booleans or a prefix of one, a function of the tree that
        returns one, or a glob (or tuple of globs) on leaf paths such as ``"*/kernel"``. A function is called with the
        params by ``init`` and with the updates by ``update``.
      unselected: what becomes of the other leaves' updates: ``"pass_through"`` leaves them as they came (as in
        Optax), ``"freeze"`` makes them zero, so that those parameters stay.

    State:
      `MaskedState` around the inner state.

    Raises:
      TreeMismatchError: the mask is not a prefix of the tree.
      ArgumentTypeError: a leaf of the mask is not a boolean.
      ArgumentValueError: the mask's globs match no leaf of the params.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.masked(gradtx.scale(-1.0), "*/kernel")
      >>> grads = {"dense": {"kernel": jnp.ones(2), "bias": jnp.ones(1)}}
      >>> updates, _ = tx.update(grads, tx.init(grads))
      >>> updates["dense"]["kernel"], updates["dense"]["bias"]
      (Array([-1., -1.], dtype=float32), Array([1.], dtype=float32))
    """
    choose, choose_at_init = functools.partial(tree.resolve_mask, mask), functools.partial(tree.require_matches, mask)

    if inner.leafwise:
        otherwise = jnp.zeros_like if unselected == "freeze" else lambda g: g
        form = selected(_without_whole_updates(inner.leafwise), choose, otherwise, choose_at_init)
        return _in_masked_state(form)

    def init(params: Params) -> MaskedState:
        return MaskedState(inner.init(tree.keep_selected(params, choose_at_init(params))))

    def update(
        updates: Updates, state: MaskedState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        chosen = choose(updates)
        part = None if params is None else tree.keep_selected(params, chosen)
        extra = select_extras(extra, params, chosen)
        extra.pop("whole_updates", None)  # to the member, these leaves are all there are
        changed, inner_state = inner.update(tree.keep_selected(updates, chosen), state.inner_state, part, **extra)
        rest = tree.zeros_like(updates) if unselected == "freeze" else updates
        return tree.put_back(changed, rest), MaskedState(inner_state)

    return init, update


def _without_whole_updates(form: Leafwise) -> Leafwise:
    """The same, for which the leaves it sees are all there are."""

    def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Any]:
        return form.prepare(updates, state, params, {k: x for k, x in extra.items() if k != "whole_updates"})

    return dataclasses.replace(form, prepare=prepare)


def _in_masked_state(form: Leafwise) -> Leafwise:
    """The same, with its state inside of a `MaskedState`."""

    def prepare(updates: Updates, state: MaskedState, params: Params, extra: dict[str, Any]) -> tuple[MaskedState, Any]:
        inner_state, scalars = form.prepare(updates, state.inner_state, params, extra)
        return MaskedState(inner_state), scalars

    return dataclasses.replace(
        form,
        init=lambda params: MaskedState(form.init(params)),
        prepare=prepare,
        split=lambda state, outline: form.split(state.inner_state, outline),
        merge=lambda state, outline, rows: MaskedState(form.merge(state.inner_state, outline, rows)),
        state_type=MaskedState,
    )


@transformation
def selective_transform(optimizer: GradientTransformation, *, freeze_mask: Mask) -> Form:
    """An optimizer of all leaves but the selected ones, which stay, and for which it keeps no state.

    It is ``masked(optimizer, mask, unselected="freeze")`` with the mask the other way round.

    Args:
      optimizer: the optimizer of the other leaves.
      freeze_mask: the leaves to freeze, True at each: as in `masked`.

    State:
      `MaskedState` around the state of the optimizer.

    Raises:
      TreeMismatchError: the mask is not a prefix of the tree.
      ArgumentTypeError: a leaf of the mask is not a boolean.
      ArgumentValueError: the mask's globs match no leaf of the params.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.selective_transform(gradtx.sgd(1.0), freeze_mask="embed*")
      >>> grads = {"embed": jnp.ones(2), "head": jnp.ones(1)}
      >>> updates, _ = tx.update(grads, tx.init(grads))
      >>> updates["embed"], updates["head"]
      (Array([0., 0.], dtype=float32), Array([-1.], dtype=float32))
    """

    def trained(whole: Any) -> Any:
        return jax.tree.map(operator.not_, tree.require_matches(freeze_mask, whole))

    return masked(optimizer, trained, unselected="freeze").form


@transformation
def freeze(mask: Mask) -> Form:
    """Make the updates of the selected leaves zero, so that these parameters stay; the others pass through.

    Put it last: a member after it, such as weight decay, would move them again. Members before it keep state for the
    frozen leaves too, and go on updating it; to save that, give `partition` the group `set_to_zero`, or the optimizer
    to `masked` with ``unselected="freeze"``. For a freeze that ends, see `conditionally_mask`.

    Args:
      mask: the leaves to freeze, True at each: as in `masked`.

    State:
      `EmptyState`: nothing.

    Raises:
      TreeMismatchError: the mask is not a prefix of the tree.
      ArgumentTypeError: a leaf of the mask is not a boolean.
      ArgumentValueError: the mask's globs match no leaf of the params.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.freeze("embed*"))
      >>> grads = {"embed": jnp.ones(2), "head": jnp.ones(1)}
      >>> updates, _ = tx.update(grads, tx.init(grads))
      >>> updates["embed"], updates["head"]
      (Array([0., 0.], dtype=float32), Array([-1.], dtype=float32))
    """
    choose, choose_at_init = functools.partial(tree.resolve_mask, mask), functools.partial(tree.require_matches, mask)
    return selected(leafwise(jnp.zeros_like), choose, choose_at_init=choose_at_init)
