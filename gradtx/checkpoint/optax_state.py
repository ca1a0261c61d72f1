"""States made by Optax, read. Nothing here imports it: its states are recognised by the names of their fields."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.checkpoint.state_dict import described, placed_like
from gradtx.core import GradientTransformation, ScheduledState, as_transformation
from gradtx.errors import GradtxError, TreeMismatchError
from gradtx.gradients import ClipByGlobalNormState
from gradtx.tree.fields import find_nodes
from gradtx.tree.paths import is_none
from gradtx.typing import Params, State
from gradtx.wrappers import TunableState


def from_optax_state(tx: GradientTransformation, optax_state: Any, params: Params) -> State:
    """The state with which `tx` continues where an Optax optimizer stopped.

    ``tx`` has the algorithm and the numbers of the Optax optimizer: where that was
    ``optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))``, it is the same without ``optax.``. Both need
    not be nested alike, but their parts must come in one order.

    Read are the states of all transformations that keep the same things under the same names in both: momentum
    (`trace`), Adam and its descendants, AdaGrad, RMSProp, AdaDelta, Adafactor, Lion; in chains, under masks and
    partitions; with schedules of the learning rate. The state of ``optax.inject_hyperparams`` is read into that of
    `tunable`, or of a schedule. Moments are cast to the dtype they have here: at least float32.

    Args:
      tx: the transformation that is to continue.
      optax_state: the state that Optax's ``init`` or ``update`` returned; for Flax, the ``opt_state``.
      params: the parameters that belong to it.

    Returns:
      A state like ``tx.init(params)``; it shares no memory with the other.

    Raises:
      TreeMismatchError: a part of one state has no counterpart in the other, or belongs to other params; or one is no
        named tuple, and nothing says what it is.

    Example:
      >>> import jax.numpy as jnp, gradtx, optax
      >>> params = jnp.ones(2)
      >>> old = optax.adam(0.1)
      >>> _, optax_state = old.update(params, old.init(params))
      >>> state = gradtx.checkpoint.from_optax_state(gradtx.adam(0.1), optax_state, params)
      >>> gradtx.tree.get_field(state, "mu")
      Array([0.1, 0.1], dtype=float32)
    """
    try:
        tx = as_transformation(tx, "tx to be a transformation")
        fresh, like_params = tx.init(params), _named_tuples(params)
        for node in (fresh, optax_state):
            _require_named(node, like_params)
        pieces = list(_pieces(optax_state))
        state = _filled(fresh, pieces)
        if pieces:
            hint = _INJECTED if "hyperparams" in pieces[0]._fields else _HINT
            raise TreeMismatchError("a place for every part of the Optax state", got=_shown(pieces[0]), hint=hint)
    except GradtxError as error:
        error.locate("checkpoint.from_optax_state")
        raise
    return _in_force(tx, state)


_HINT = "make the same chain as in Optax; a wrapper's state cannot be read, but what it wraps can"
_BARE = "read the parts that are, one by one, and put the others into the state of init(params)"
_with_paths = jax.tree_util.tree_leaves_with_path

_INJECTED = "hyperparameters were injected: continue with tunable(...), or a schedule"


_WRAPPERS = {"inner_state", "inner_states"}
"""The fields of states that hold no numbers of their own: those of masks and partitions."""

_COUNTERS = {"count", "count_m2"}
"""Counters that one state has where the other does not, or counts twice, as AdEMAMix's does in Optax."""

_INNER = {"inner", *_WRAPPERS}
"""The fields that hold a state inside a state with numbers of its own."""


def _fields(node: Any) -> tuple[str, ...] | None:
    return getattr(node, "_fields", None) if isinstance(node, tuple) else None


def _named_tuples(params: Params) -> set[type]:
    """The classes of named tuples in the params: one in a state is a tree like the params, whatever its fields."""
    return {type(node) for node in find_nodes(params, tuple) if _fields(node)}


def _require_named(node: Any, like_params: set[type]) -> None:
    """Refuse a state some of whose arrays are in no named tuple, so that nothing says what they are."""
    fields = _fields(node)
    if fields and type(node) not in like_params and not {*fields} <= _WRAPPERS:
        for name in fields:
            if name in _INNER:
                _require_named(getattr(node, name), like_params)
    elif isinstance(node, tuple | list | dict) and type(node) not in like_params:
        for child in node.values() if isinstance(node, dict) else node:
            _require_named(child, like_params)
    elif jax.tree.leaves(node):
        got = described(node) if _fields(node) is None else _shown(node)
        raise TreeMismatchError("states that are named tuples", got=got, hint=_BARE)


def _shown(piece: Any) -> str:
    return f"{type(piece).__name__}({', '.join(piece._fields)})"


def _pieces(node: Any) -> Iterator[Any]:
    """The parts of an Optax state that hold numbers, in order."""
    fields = _fields(node)
    if fields and not {*fields} <= _WRAPPERS:
        yield node
        if "hyperparams" in fields:
            yield from _pieces(node.inner_state)
    elif isinstance(node, dict):
        for name in sorted(node, key=str):
            yield from _pieces(node[name])
    elif isinstance(node, tuple | list):
        for child in node:
            yield from _pieces(child)


def _filled(node: Any, pieces: list[Any]) -> Any:
    """The node of our state with the numbers of the pieces, which are used up one by one."""
    fields = _fields(node)
    match node:
        case ClipByGlobalNormState():  # Optax keeps nothing here
            return node
        case ScheduledState():
            inner = _filled(node.inner, pieces)
            piece = _take(pieces, ("count",), lambda has: has == {"count"} or has >= {"count", "hyperparams"})
            return node._replace(count=_like(node.count, piece.count), inner=inner)
        case TunableState():
            given = _take(pieces, ("hyperparams",), lambda has: "hyperparams" in has).hyperparams
            values = {name: _like(x, given.get(name, x)) for name, x in node.hyperparams.items()}
            return TunableState(values, _filled(node.inner, pieces))
        case dict():
            return {name: _filled(node[name], pieces) for name in sorted(node, key=str)}
        case tuple() if fields is None:
            return tuple(_filled(child, pieces) for child in node)
    if fields is None or {*fields} <= _WRAPPERS:
        return node if not fields else type(node)(*(_filled(child, pieces) for child in node))
    piece = _take(pieces, fields, lambda has: has ^ {*fields} <= _COUNTERS)
    both = {*fields} & {*piece._fields}
    return node._replace(**{name: _like(getattr(node, name), getattr(piece, name)) for name in both})


def _take(pieces: list[Any], wanted: tuple[str, ...], fits: Callable[[set[str]], bool]) -> Any:
    """The first piece whose fields fit, taken from the list."""
    for i, piece in enumerate(pieces):
        if fits({*piece._fields}):
            return pieces.pop(i)
    got = ", ".join(map(_shown, pieces)) or "nothing further"
    raise TreeMismatchError(f"an Optax state with the fields {list(wanted)}", got=got, hint=_HINT)


def _like(ours: Any, theirs: Any) -> Any:
    """A tree of Optax's in the dtypes of ours, and where ours is."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(ours)
    names, others = _leaf_paths(ours), _without_placeholders(ours, theirs)
    if names != list(others):
        odd = sorted({*names} ^ {*others})[0]
        raise TreeMismatchError("moments of the same params", got="a leaf in one only", at=odd, hint="pass its params")
    made = []
    for x, y, at in zip(leaves, others.values(), names, strict=True):
        if jnp.shape(x) != jnp.shape(y):
            raise TreeMismatchError(f"{described(x)}, as the params", got=described(y), at=at, hint="pass its params")
        made.append(placed_like(x, jnp.array(y, x.dtype)))
    return treedef.unflatten(made)


def _without_placeholders(ours: Any, theirs: Any) -> dict[str, Any]:
    """The leaves of Optax's tree by path, but for what stands where ours has None: an array of one element."""
    absent = {jax.tree_util.keystr(path) for path, x in _with_paths(ours, is_leaf=is_none) if x is None}
    leaves = {jax.tree_util.keystr(path): y for path, y in _with_paths(theirs)}
    return {path: y for path, y in leaves.items() if not (path in absent and jnp.shape(y) == (1,))}


def _leaf_paths(node: Any) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in _with_paths(node)]


def _in_force(tx: Any, state: State) -> State:
    """The state with the hyperparameters that the last update used, as far as `tx` and chains in it have schedules."""
    if isinstance(state, ScheduledState):
        last = jnp.maximum(state.count - 1, 0)
        values = {name: tx.arguments[name].value(last, state.schedules.get(name, ())) for name in state.hyperparams}
        return state._replace(hyperparams=values)
    if isinstance(tx, GradientTransformation) and tx.factory.name == "chain":
        return tuple(_in_force(member, part) for member, part in zip(tx.arguments["transforms"], state, strict=True))
    return state
