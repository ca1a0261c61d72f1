"""Different transformations for different leaves."""

import difflib
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax

from gradtx import tree
from gradtx.combinators.keys import extras_of_members
from gradtx.combinators.selection import Marked, select_extras
from gradtx.core import Form, GradientTransformation, alias, as_transformation, transformation
from gradtx.core.leafwise import Leafwise, Outline
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.tree.paths import is_function
from gradtx.tree.select import broadcast_prefix, matches, no_match
from gradtx.typing import Params, State, Updates

Labels = Any


class PartitionState(NamedTuple):
    """The state of `partition`.

    Attributes:
      inner_states: by label, the state of each transformation, made for its own leaves; `MaskedNode` at the others.
    """

    inner_states: dict[Any, State]


@transformation
def partition(
    transforms: Mapping[Any, GradientTransformation],
    param_labels: Labels | Callable[[Params], Labels] | None = None,
) -> Form:
    """Apply to each leaf the transformation its label names.

    A member sees its own leaves only. As the extra ``whole_updates`` it gets the whole tree of updates as they came to
    the partition (of nested ones, to the outermost), by which `clip_by_global_norm` is global here too.

    Args:
      transforms: transformations by label. Without `param_labels`, the labels are globs on leaf paths, tried in
        order: ``{"*/kernel": adamw(1e-3), "*": sgd(1e-2)}``; ``*`` also matches ``/``.
      param_labels: a tree of labels or a prefix of one, or a function that returns one for a tree; it is called with
        the params by ``init`` and with the updates by ``update``.

    State:
      `PartitionState` around the inner states by label.

    Raises:
      ArgumentTypeError: `transforms` is not a mapping to transformations.
      ArgumentValueError: a leaf has a label that `transforms` lacks, or matches no glob; the message names the leaf.
        Or a glob other than ``"*"`` is left without a leaf.
      TreeMismatchError: the labels are not a prefix of the tree.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.partition({"*/bias": gradtx.set_to_zero(), "*": gradtx.sgd(0.1)})
      >>> grads = {"dense": {"kernel": jnp.ones(2), "bias": jnp.ones(1)}}
      >>> updates, _ = tx.update(grads, tx.init(grads))
      >>> updates["dense"]["kernel"], updates["dense"]["bias"]
      (Array([-0.1, -0.1], dtype=float32), Array([0.], dtype=float32))
    """
    if not isinstance(transforms, Mapping):
        raise ArgumentTypeError("transforms to be a mapping from labels to transformations", got=repr(transforms))
    members = {k: as_transformation(tx, f"transforms[{k!r}] to be a transformation") for k, tx in transforms.items()}
    try:
        sorted(members)
    except TypeError as error:  # JAX sorts the keys of a dict, and the state is one
        raise ArgumentTypeError("labels that can be sorted", got=str(list(members)), hint=str(error)) from None

    if not is_function(param_labels):
        _check_labels(param_labels, members)

    def labels_of(whole: Any) -> Any:
        if param_labels is None:
            return jax.tree.map(lambda name: _first_match(name, members), tree.leaf_names(whole))
        labels = param_labels(whole) if is_function(param_labels) else param_labels
        labels = broadcast_prefix(labels, whole, "the labels")
        _check_labels(labels, members)
        return labels

    def init(params: Params) -> PartitionState:
        labels = labels_of(params)
        if param_labels is None:
            _refuse_idle_globs(members, labels, params)
        return PartitionState(
            {k: tx.init(tree.keep_selected(params, _labelled(labels, k))) for k, tx in members.items()}
        )

    extras_at = extras_of_members(list(members.values()))
    forms = {k: tx.leafwise for k, tx in members.items()}
    if all(forms.values()):
        return _leafwise({k: form for k, form in forms.items() if form}, init, labels_of, extras_at)

    def update(
        updates: Updates, state: PartitionState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        labels = labels_of(updates)
        states, result = {}, updates
        for i, (k, tx) in enumerate(members.items()):
            part, part_params, part_extra = _of_member(updates, params, extras_at(extra, i), labels, k)
            changed, states[k] = tx.update(part, state.inner_states[k], part_params, **part_extra)
            result = tree.put_back(changed, result)
        return result, PartitionState(states)

    return init, update


def _leafwise(
    members: dict[Any, Leafwise],
    init: Callable[[Params], State],
    labels_of: Callable[[Any], Labels],
    extras_at: Callable[[dict[str, Any], int], dict[str, Any]],
) -> Leafwise:
    """Leafwise members as one: the leaf function of a leaf is that of the member its label names."""

    def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Any]:
        labels, states, scalars = labels_of(updates), {}, {}
        for i, (k, form) in enumerate(members.items()):
            part, part_params, part_extra = _of_member(updates, params, extras_at(extra, i), labels, k)
            states[k], scalars[k] = form.prepare(part, state.inner_states[k], part_params, part_extra)
        return PartitionState(states), scalars

    def split(state: State, outline: Outline) -> list[Any]:
        labels = outline.leaves(labels_of(outline.tree), "the labels")
        columns = {k: form.split(state.inner_states[k], outline) for k, form in members.items()}
        return [() if k is None else Marked(columns[k][i], k) for i, k in enumerate(labels)]

    def leaf(scalars: Any, index: Any, g: Any, s: Marked, p: Any) -> tuple[Any, Any]:
        g, state = members[s.mark].leaf(scalars[s.mark], index, g, s.state, p)
        return g, Marked(state, s.mark)

    def merge(state: State, outline: Outline, rows: list[Any]) -> State:
        merged = {}
        for k, form in members.items():
            before = form.split(state.inner_states[k], outline)
            ours = [row.state if row and row.mark == k else old for row, old in zip(rows, before, strict=True)]
            merged[k] = form.merge(state.inner_states[k], outline, ours)
        return PartitionState(merged)

    return Leafwise(
        init, prepare, split, leaf, merge,
        needs_updates=any(form.needs_updates for form in members.values()),
        needs_params=any(form.needs_params for form in members.values()),
        state_type=PartitionState,
    )  # fmt: skip


def _of_member(
    updates: Updates, params: Params | None, extra: dict[str, Any], labels: Labels, label: Any
) -> tuple[Updates, Params | None, dict[str, Any]]:
    """The updates, params and extras that a member is given."""
    chosen = _labelled(labels, label)
    part = None if params is None else tree.keep_selected(params, chosen)
    inner_extra = {"whole_updates": updates} | select_extras(extra, params, chosen)
    return tree.keep_selected(updates, chosen), part, inner_extra


def _labelled(labels: Labels, label: Any) -> Any:
    return jax.tree.map(lambda x: x == label, labels)


multi_transform = alias("multi_transform", partition)
"""Optax's other name for `partition`."""


def _check_labels(labels: Labels, members: Mapping[Any, Any]) -> None:
    for path, label in jax.tree_util.tree_leaves_with_path(labels):
        if not isinstance(label, Hashable) or label not in members:
            at = jax.tree_util.keystr(path)
            near = difflib.get_close_matches(str(label), [k for k in members if isinstance(k, str)], n=1)
            hint = f"did you mean {near[0]!r}?" if near else ""
            raise ArgumentValueError(f"param_labels among {list(members)}", got=repr(label), at=at, hint=hint)


def _refuse_idle_globs(globs: Mapping[Any, Any], labels: Any, params: Params) -> None:
    """A glob that no leaf is left for is taken for a mistake, unless it is the ``"*"`` for leaves like no other."""
    used = set(jax.tree.leaves(labels))
    idle = next((glob for glob in globs if glob not in used and glob != "*"), None)
    if jax.tree.leaves(params) and idle is not None:
        raise no_match(idle, params)


def _first_match(name: str, globs: Mapping[Any, Any]) -> str:
    for glob in globs:
        if not isinstance(glob, str):
            raise ArgumentTypeError("globs on leaf paths as labels", got=repr(glob), hint="or pass param_labels")
        if matches(name, glob):
            return glob
    hint = 'add a "*" entry last for the leaves no other glob matches, or pass param_labels'
    raise ArgumentValueError(f"a leaf that matches one of {list(globs)}", got="none", at=repr(name), hint=hint)
