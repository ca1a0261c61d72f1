"""Some of the leaves: what a member that sees no others is given, and leafwise transformations of some leaves."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax

from gradtx.core.leafwise import LeafState, Leafwise, Outline, Scalars
from gradtx.tree.select import keep_selected, put_back
from gradtx.typing import Params, State, Updates


def select_extras(extra: Mapping[str, Any], params: Params | None, chosen: Any) -> dict[str, Any]:
    """The extras for a member that sees some leaves only: gradients at these, and functions of them.

    The other leaves are held at their values in `params`.

    Args:
      extra: the extras for the whole tree.
      params: the whole tree.
      chosen: a tree of booleans, True at the leaves the member sees.
    """
    value_fn, grad_fn, both = (extra.get(name) for name in ("value_fn", "grad_fn", "value_and_grad_fn"))
    selected = dict(extra)
    if extra.get("grad") is not None:
        selected["grad"] = keep_selected(extra["grad"], chosen)
    if params is None:
        return selected
    if value_fn is not None:
        selected["value_fn"] = lambda part: value_fn(put_back(part, params))
    if grad_fn is not None:
        selected["grad_fn"] = lambda part: keep_selected(grad_fn(put_back(part, params)), chosen)
    if both is not None:

        def part_value_and_grad(part: Params) -> tuple[jax.Array, Updates]:
            value, grads = both(put_back(part, params))
            return value, keep_selected(grads, chosen)

        selected["value_and_grad_fn"] = part_value_and_grad
    return selected


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Marked:
    """The state of one leaf with a mark that is a part of the program: whether it is selected, or its label."""

    state: LeafState
    mark: Hashable = dataclasses.field(metadata={"static": True})


def selected(
    form: Leafwise,
    choose: Callable[[Any], Any],
    otherwise: Callable[[Any], Any] = lambda g: g,
    choose_at_init: Callable[[Any], Any] | None = None,
) -> Leafwise:
    """A leafwise transformation of some leaves only. Its state is that of `form`, with a `MaskedNode` at the others.

    Args:
      form: the transformation.
      choose: the tree of booleans for a tree of params or of updates.
      otherwise: what becomes of the update of another leaf.
      choose_at_init: the same for the params of ``init``, with further checks; `choose` if there is none.
    """

    def init(params: Params) -> State:
        return form.init(keep_selected(params, (choose_at_init or choose)(params)))

    def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Scalars]:
        chosen = choose(updates)
        part = keep_selected(updates, chosen)
        part_params = None if params is None else keep_selected(params, chosen)
        return form.prepare(part, state, part_params, select_extras(extra, params, chosen))

    def split(state: State, outline: Outline) -> list[LeafState]:
        chosen = outline.leaves(choose(outline.tree), "the mask")
        return [Marked(s, bool(mark)) for s, mark in zip(form.split(state, outline), chosen, strict=True)]

    def leaf(scalars: Scalars, index: Any, g: Any, s: Marked, p: Any) -> tuple[Any, LeafState]:
        if not s.mark:
            return otherwise(g), s
        g, state = form.leaf(scalars, index, g, s.state, p)
        return g, Marked(state, s.mark)

    def merge(state: State, outline: Outline, rows: list[LeafState]) -> State:
        return form.merge(state, outline, [row.state for row in rows])

    return dataclasses.replace(form, init=init, prepare=prepare, split=split, leaf=leaf, merge=merge)
