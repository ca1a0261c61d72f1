"""Leafwise transformations: some scalars once a step, then one function of each leaf.

Most transformations are that. Said so, the rest follows: a chain of them is one function of a leaf, their state can be
kept and placed leaf by leaf, and one `jax.jit` of the function serves all leaves of one shape and dtype: under
`jit` it is traced once for them, eagerly it is one dispatch for each.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.errors import ArgumentTypeError, GradtxError, TreeMismatchError, require_extra
from gradtx.tree.arithmetic import accumulator_dtype, cast
from gradtx.tree.fields import leaf_fields
from gradtx.tree.mapping import HINT, stored_dtype
from gradtx.tree.paths import flatten_like, is_inert, is_none, leaf_paths, type_name
from gradtx.typing import Count, EmptyState, Params, State, Updates

LeafState = Any
"""The part of a state that belongs to one leaf: a pytree of arrays of any shapes."""

Scalars = Any
"""What a step computes once for all leaves: a pytree of numbers."""


PARAMS_HINT = "pass them third: tx.update(grads, state, params)"
"""What to do if a transformation needs the params and got none."""


class Outline(NamedTuple):
    """The structure of the updates of a step.

    Attributes:
      tree: the updates, for their paths.
      treedef: their structure, in which ``None`` is a leaf.
    """

    tree: Updates
    treedef: Any

    @classmethod
    def of(cls, updates: Updates) -> "Outline":
        """The structure of some updates."""
        return cls(updates, jax.tree.structure(updates, is_leaf=is_none))

    def leaves(self, other: Any, label: str) -> list[Any]:
        """What stands in another tree at each leaf, or an error that says at which leaf it differs."""
        return flatten_like(self.tree, self.treedef, other, label)


@dataclasses.dataclass(frozen=True, eq=False)
class Leafwise:
    """A transformation, said leaf by leaf.

    Attributes:
      init: ``init(params) -> state``.
      prepare: ``prepare(updates, state, params, extra) -> (state, scalars)``, once a step: the state with its shared
        part of the next step, and what the leaf function needs to know of this one.
      split: ``split(state, outline) -> [leaf state, ...]``: the part of the state that belongs to each leaf of the
        updates, in their order.
      leaf: ``leaf(scalars, index, g, s, p) -> (u, s)``: the update of a leaf and its next state. The arrays are in
        accumulator dtypes, the floating scalars in the leaf's real one; `index` is the number of the leaf, int32 [].
      merge: ``merge(state, outline, [leaf state, ...]) -> state``, which undoes `split`.
      needs_updates: whether `prepare` looks at the updates. It then begins a group of a chain.
      needs_params: whether `leaf` reads the params.
      state_type: the class of the state; `object` if there is none of its own.
    """

    init: Callable[[Params], State]
    prepare: Callable[[Updates, State, Params, dict[str, Any]], tuple[State, Scalars]]
    split: Callable[[State, Outline], list[LeafState]]
    leaf: Callable[[Scalars, Any, Any, LeafState, Any], tuple[Any, LeafState]]
    merge: Callable[[State, Outline, list[LeafState]], State]
    needs_updates: bool = False
    needs_params: bool = False
    state_type: type = object

    @functools.cached_property
    def call(self) -> Callable[..., tuple[Any, LeafState]]:
        """`leaf` with its arithmetic in accumulator dtypes and its results as they are stored, one program a kind."""

        def leaf(scalars: Scalars, index: Any, g: Any, s: LeafState, p: Any) -> tuple[Any, LeafState]:
            return _in_accumulators(self, scalars, index, g, s, p)

        return jax.jit(leaf)


# --- saying one -------------------------------------------------------------------------------------------------------


def leafwise(
    leaf: Callable[..., Any],
    *,
    state: type = EmptyState,
    init_leaf: Callable[[jax.Array], Any] | None = None,
    init_shared: Callable[[Params], dict[str, Any]] | None = None,
    prepare: Callable[..., tuple[State, dict[str, Any]]] | None = None,
) -> Leafwise:
    """A transformation from one function of a leaf.

    A state class says which of its fields have an entry for each leaf: those annotated `Updates` or `Params`. The
    others are shared by all leaves; those annotated `Count` begin at 0.

    Args:
      leaf: ``leaf(g, *entries, **scalars)`` takes the update of a leaf, then the leaf's entry of each field in order,
        and by name the scalars of `prepare`. It returns the new update, or a tuple of it and the new entries. If it has
        an argument ``p``, it gets the parameter; ``index`` is the number of the leaf, to fold into a random key.
      state: the class of the state, a named tuple.
      init_leaf: ``init_leaf(p)`` returns the entry of a leaf, or a tuple with one for each field: arrays of any shapes,
        small trees of them, or None. It must not return `p` itself, but may return a copy. Make zeros with
        `tree.zeros_accumulator`: those of `jnp.zeros` are float64 in x64 mode, and so is then all arithmetic.
      init_shared: ``init_shared(params)`` returns the shared fields that are no counters, by name.
      prepare: ``prepare(state, ...)`` returns the state with its shared fields of the next step, and a dict of scalars
        for this one. Of ``updates``, ``params`` and the extras it gets those it has arguments for; an argument without
        a default has to be there.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> from typing import NamedTuple
      >>> def example():
      ...     class SmoothState(NamedTuple):
      ...         mu: gradtx.Updates
      ...     @gradtx.transformation
      ...     def smooth(decay: gradtx.Decay = 0.9):
      ...         def leaf(g, m):
      ...             m = decay * m + (1 - decay) * g
      ...             return m, m
      ...         return gradtx.leafwise(leaf, state=SmoothState, init_leaf=gradtx.tree.zeros_accumulator)
      ...     return smooth(0.5)
      >>> tx = example()
      >>> tx.update(jnp.ones(2), tx.init(jnp.zeros(2)))[0]
      Array([0.5, 0.5], dtype=float32)
    """
    fields, counters = leaf_fields(state), _counters(state)
    taken = _argument_names(leaf)
    wanted = _argument_names(prepare) if prepare else frozenset()
    compute = _prepared(prepare) if prepare else None
    if fields and not init_leaf:
        raise ArgumentTypeError(f"init_leaf, which makes a leaf's entry of {', '.join(fields)}", got="none")

    def init_entries(p: Any) -> tuple[Any, ...]:
        if is_inert(p) or init_leaf is None:
            return (None,) * len(fields)
        return _entries(init_leaf(jnp.asarray(p)), len(fields), f"init_leaf to return an entry for each of {fields}")

    def init(params: Params) -> State:
        treedef: Any
        leaves, treedef = jax.tree.flatten(params)
        rows = [init_entries(p) for p in leaves]
        columns = {name: treedef.unflatten([row[k] for row in rows]) for k, name in enumerate(fields)}
        shared = {name: jnp.zeros((), jnp.int32) for name in counters} | (init_shared(params) if init_shared else {})
        _require_fields(state, columns, shared)
        return state(**shared, **columns)

    def prepare_step(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Scalars]:
        if "p" in taken:
            require_extra(params, "params", PARAMS_HINT)
        return compute(state, {**extra, "updates": updates, "params": params}) if compute else (state, {})

    def split(state: State, outline: Outline) -> list[LeafState]:
        columns = [outline.leaves(getattr(state, name), "the state") for name in fields]
        return list(zip(*columns, strict=True)) if columns else [()] * outline.treedef.num_leaves

    def leaf_step(scalars: Scalars, index: Any, g: Any, s: LeafState, p: Any) -> tuple[Any, LeafState]:
        given = {"p": p, "index": index}
        made = leaf(g, *s, **{name: x for name, x in given.items() if name in taken}, **scalars)
        expected = f"a leaf function that returns an update and an entry for each of {fields}"
        u, *new = _entries(made, 1 + len(fields), expected)
        return u, tuple(new)

    def merge(state: State, outline: Outline, rows: list[LeafState]) -> State:
        if not fields:
            return state
        return state._replace(
            **{name: outline.treedef.unflatten([row[k] for row in rows]) for k, name in enumerate(fields)}
        )

    return Leafwise(
        init, prepare_step, split, leaf_step, merge,
        needs_updates="updates" in wanted, needs_params="p" in taken, state_type=state,
    )  # fmt: skip


def _counters(state_type: type) -> list[str]:
    """The fields of a state class that count from 0, by their annotations."""
    return [name for name, hint in getattr(state_type, "__annotations__", {}).items() if hint == Count]


def _entries(made: Any, count: int, expected: str) -> tuple[Any, ...]:
    """What a function returned for each of some fields; of one field, it is that of the field."""
    if count == 1:
        return (made,)
    if not isinstance(made, tuple) or len(made) != count:
        raise ArgumentTypeError(expected, got=f"a tuple of {len(made)}" if isinstance(made, tuple) else "one value")
    return made


def _argument_names(function: Callable[..., Any]) -> frozenset[str]:
    """The names of a function's arguments."""
    return frozenset(inspect.signature(function).parameters)


def _require_fields(state_type: type, columns: dict[str, Any], shared: dict[str, Any]) -> None:
    """Refuse shared fields of which nobody says how they begin."""
    begun = columns | shared | getattr(state_type, "_field_defaults", {})
    missing = [name for name in getattr(state_type, "_fields", ()) if name not in begun]
    if missing:
        hint = "annotate a field Count if it counts from 0, and Updates if it has an entry for each leaf"
        raise ArgumentTypeError(f"init_shared to return {', '.join(missing)}", got=str(list(shared)), hint=hint)


def _prepared(prepare: Callable[..., Any]) -> Callable[[State, dict[str, Any]], tuple[State, Scalars]]:
    """A function of the state and all there is, of which `prepare` gets what it has arguments for."""
    _, *arguments = inspect.signature(prepare).parameters.values()
    any_name = any(p.kind is p.VAR_KEYWORD for p in arguments)
    named = {p.name: p.default is p.empty for p in arguments if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}

    def compute(state: State, given: dict[str, Any]) -> tuple[State, Scalars]:
        for name, needed in named.items():
            if needed and name != "updates":  # which are there, if only as None
                by_name = f"pass it by name: tx.update(grads, state, params, {name}=...)"
                require_extra(given.get(name), name, PARAMS_HINT if name == "params" else by_name)
        made = prepare(state, **(given if any_name else {name: x for name, x in given.items() if name in named}))
        if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[1], dict):
            raise ArgumentTypeError("prepare to return the next state and a dict of scalars", got=type_name(made))
        return made

    return compute


# --- one step of one --------------------------------------------------------------------------------------------------


def update_leaves(
    form: Leafwise, updates: Updates, state: State, params: Params | None, extra: dict[str, Any]
) -> tuple[Updates, State]:
    """One update of a leafwise transformation."""
    outline = Outline.of(updates)
    state, scalars = form.prepare(updates, state, params, extra)
    gs = outline.treedef.flatten_up_to(updates)
    ss = form.split(state, outline)
    ps = outline.leaves(params, "params") if form.needs_params else [None] * len(gs)
    moving = [i for i, g in enumerate(gs) if not is_inert(g)]  # the others, and their states, stay as they are
    for i in moving:
        gs[i], ss[i] = _called(form.call, outline, i, scalars, np.int32(i), gs[i], ss[i], ps[i])
    return outline.treedef.unflatten(gs), form.merge(state, outline, ss)


def _called(call: Callable[..., Any], outline: Outline, index: int, *args: Any) -> Any:
    """The result of a leaf function, or its error with the path of the leaf."""
    try:
        return call(*args)
    except GradtxError as error:
        error.at = error.at or leaf_paths(outline.tree)[index]
        raise


def _in_accumulators(
    form: Leafwise, scalars: Scalars, index: Any, g: Any, s: LeafState, p: Any
) -> tuple[Any, LeafState]:
    """The leaf function on arrays in accumulator dtypes and scalars in the real one of the leaf.

    This is the one place in which numbers meet arrays. Without it, a float64 schedule value would raise a float32 leaf
    to float64 in x64 mode, and under strict promotion nothing but float32 would do.
    """
    _require_one_shape(g, p)
    real = _real_dtype((g, s, p))
    try:
        with jax.numpy_dtype_promotion("standard"):
            given = _computed_in(real, (scalars, s))
            u, new = form.leaf(given[0], index, _widened(real, g), given[1], _widened(real, p))
    except (TypeError, ValueError):
        _explain_state(form, g, s)
        raise
    if not _of_one_form(new, s):
        _explain_state(form, g, s)
        got = f"{_shapes(new)} for {_shapes(s)}"
        raise TreeMismatchError("a next state of a leaf with the structure and shapes of the last", got=got)
    return cast(u, stored_dtype(_dtype(g))), jax.tree.map(_stored_like, new, s)


def _real_dtype(row: Any) -> Any:
    """The real dtype in which the arrays of a row are computed with."""
    dtypes = map(_dtype, jax.tree.leaves(row))
    wide = [accumulator_dtype(dtype, real=True) for dtype in dtypes if jnp.issubdtype(dtype, jnp.inexact)]
    return np.result_type(np.float32, *wide)


def _dtype(x: Any) -> Any:
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


def _widened(real: Any, x: Any) -> Any:
    """An array in that dtype, or its complex one; integers too, as they are updates or params here."""
    if x is None:
        return None
    return cast(x, np.promote_types(real, np.complex64) if jnp.iscomplexobj(x) else real)


def _computed_in(real: Any, tree: Any) -> Any:
    """The floating numbers of a tree in that dtype; counters, codes, flags and keys as they are."""
    return jax.tree.map(lambda x: _widened(real, x) if jnp.issubdtype(_dtype(x), jnp.inexact) else x, tree)


def _stored_like(y: Any, x: Any) -> Any:
    """What replaces an array of a state, in its dtype."""
    return y if jnp.issubdtype(_dtype(x), jax.dtypes.extended) else cast(y, _dtype(x))


def _of_one_form(a: Any, b: Any) -> bool:
    """Whether two trees have one structure, and arrays of the same shapes."""
    structures: Any = jax.tree.structure(a), jax.tree.structure(b)
    shapes = [[jnp.shape(x) for x in jax.tree.leaves(tree)] for tree in (a, b)]
    return bool(structures[0] == structures[1]) and shapes[0] == shapes[1]


def _shapes(tree: Any) -> str:
    return str(jax.tree.map(lambda x: f"{_dtype(x)}{list(jnp.shape(x))}", tree))


def _require_one_shape(g: Any, p: Any) -> None:
    """Refuse a parameter that is not shaped like its update."""
    for x in (g,) if p is None else (g, p):
        if not jax.tree_util.all_leaves([x]):
            raise TreeMismatchError("an array in every tree", got=type_name(x), hint=HINT)
    if p is not None and jnp.shape(g) != jnp.shape(p):
        got = f"{_shapes(g)} and {_shapes(p)}"
        raise TreeMismatchError("updates, state and params of one shape", got=got, hint=HINT)


def _explain_state(form: Leafwise, g: Any, s: LeafState) -> None:
    """Raise an error if the state is not one for a leaf of this shape: then this is why the leaf function failed."""
    like: Any = jax.ShapeDtypeStruct(jnp.shape(g), _dtype(g))  # type: ignore[no-untyped-call]
    try:
        own = jax.eval_shape(lambda x: form.split(form.init(x), Outline.of(x))[0], like)
    except Exception:  # a mask or a label that depends on the path of the leaf: nothing is known of its state
        return
    if not _of_one_form(own, s):
        pairs = zip(jax.tree.leaves(s), jax.tree.leaves(own), strict=False)
        entry = next((x for x, y in pairs if jnp.shape(x) != jnp.shape(y)), s)
        got = f"an update {_shapes(g)} and a state {_shapes(entry)}"
        raise TreeMismatchError("updates, state and params of one shape", got=got, hint=HINT)
