"""A transformation on some of the leaves."""

from typing import Any, Literal, NamedTuple

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, as_transformation, restrict, transformation
from gradtx.typing import EmptyState, Mask, Params, State, Updates


class MaskedState(NamedTuple):
    """The state of `masked`.

    Attributes:
      inner_state: the state of the inner transformation, made for the selected leaves; `MaskedNode` at the others.
    """

    inner_state: State


@transformation
def masked(
    inner: GradientTransformation, mask: Mask, unselected: Literal["pass_through", "freeze"] = "pass_through"
) -> Pair:
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
    member = as_transformation(inner, "inner to be a transformation")

    def init(params: Params) -> MaskedState:
        return MaskedState(member.init(tree.keep(params, tree.select(mask, params))))

    def update(
        updates: Updates, state: MaskedState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        chosen = tree.resolve_mask(mask, updates)
        part = None if params is None else tree.keep(params, chosen)
        extra = restrict(extra, params, chosen)
        extra.pop("whole_updates", None)  # to the member, these leaves are all there are
        changed, inner_state = member.update(tree.keep(updates, chosen), state.inner_state, part, **extra)
        rest = tree.zeros_like(updates) if unselected == "freeze" else updates
        return tree.restore(changed, rest), MaskedState(inner_state)

    return init, update


@transformation
def freeze(mask: Mask) -> Pair:
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

    def init(params: Params) -> EmptyState:
        tree.select(mask, params)
        return EmptyState()

    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        frozen = tree.keep(updates, tree.resolve_mask(mask, updates))
        return tree.restore(tree.zeros_like(frozen), updates), state

    return init, update
