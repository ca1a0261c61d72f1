"""States as nested dicts of plain arrays with names, and back."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import ScheduledState
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError, TreeMismatchError
from gradtx.tree.fields import is_named_tuple
from gradtx.tree.paths import type_name
from gradtx.typing import State

SCHEMA = 1
"""The version of the form that `to_state_dict` writes."""

StateDict: TypeAlias = dict[str, Any]
KeyPath: TypeAlias = tuple[Any, ...]


# --- fields that changed ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Changes:
    """What has become of the fields of a class since states of it were first saved."""

    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


_changes: dict[type, Changes] = {}


def fields_changed(
    kind: type, *, renamed: Mapping[str, str] | None = None, added: Iterable[str] = (), removed: Iterable[str] = ()
) -> None:
    """Say how the fields of a state class have changed, so that states saved before still load.

    Call it beside the class. The changes of several calls add up. Names alone decide, so do not give the name of an
    old field to a new one.

    Args:
      kind: the class, a named tuple.
      renamed: from the names that were saved to those of today.
      added: fields that old states lack; they keep the value they have in the template.
      removed: fields that old states have; they are dropped.

    Raises:
      ArgumentTypeError: the class is not a named tuple.
      ArgumentValueError: a name of today is not a field of the class, or an old one is.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> from typing import NamedTuple
      >>> class MyState(NamedTuple):
      ...     mu: gradtx.Updates  # called "momentum" in version 1
      >>> gradtx.checkpoint.fields_changed(MyState, renamed={"momentum": "mu"})
      >>> old = {"schema": 1, "state": {"momentum": jnp.ones(2)}}
      >>> gradtx.checkpoint.from_state_dict(MyState(jnp.zeros(2)), old)
      MyState(mu=Array([1., 1.], dtype=float32))
    """
    origin = "checkpoint.fields_changed"
    if not (isinstance(kind, type) and hasattr(kind, "_fields")):
        raise ArgumentTypeError("a named tuple class", got=repr(kind), origin=origin)
    renamed, added, removed = dict(renamed or {}), frozenset(added), frozenset(removed)
    fields: tuple[str, ...] = kind._fields
    unknown = sorted({*renamed.values(), *added} - {*fields})
    if unknown:
        raise ArgumentValueError(f"fields of {kind.__name__}, {list(fields)}", got=repr(unknown[0]), origin=origin)
    kept = sorted({*renamed, *removed} & {*fields})
    if kept:
        got = f"{kept[0]!r}, which {kind.__name__} has"
        raise ArgumentValueError("names of old fields", got=got, origin=origin)
    known = _changes.get(kind, Changes())
    _changes[kind] = Changes({**known.renamed, **renamed}, known.added | added, known.removed | removed)


def _of_today(node: Any, saved: StateDict) -> tuple[StateDict, frozenset[str]]:
    """The saved entries of a node under today's names, and the names that the template fills in."""
    changes = _changes.get(type(node), Changes())
    entries = {name: x for name, x in saved.items() if name not in changes.removed}
    for old, new in changes.renamed.items():
        if old in entries and new not in entries:
            entries[new] = entries.pop(old)
    return entries, changes.added - {*entries}


# --- writing ----------------------------------------------------------------------------------------------------------


def to_state_dict(state: State) -> StateDict:
    """A state as nested dicts of plain arrays, for any file format.

    A named tuple becomes a dict by field, a tuple or list a dict by index (``"0"``, ``"1"``, ...); the keys of a dict
    become strings; a JAX key becomes its ``uint32`` words. What holds no array (`EmptyState`, ``None``, an empty
    tuple) becomes ``{}``. The arrays are those of the state, on their devices, not copies: write them before a donated
    step reuses them. Works on any pytree: ``to_state_dict((params, state))``.

    Args:
      state: the state of any transformation.

    Returns:
      ``{"schema": 1, "state": {...}}``, with the version of this form.

    Raises:
      ArgumentValueError: two keys of a dict are one string.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.clip(1.0), gradtx.trace(0.9))
      >>> gradtx.checkpoint.to_state_dict(tx.init({"w": jnp.ones(2)}))["state"]
      {'0': {}, '1': {'trace': {'w': Array([0., 0.], dtype=float32)}}}
    """
    try:
        return {"schema": np.asarray(SCHEMA, np.int32), "state": _to_entry(state, ())}
    except GradtxError as error:
        error.locate("checkpoint.to_state_dict")
        raise


def _to_entry(node: Any, at: KeyPath) -> Any:
    children, _ = _children(node)
    if children is None:
        return _to_array(node)
    entries: StateDict = {}
    for key, child in children:
        name = _name(key)
        if name in entries:
            raise ArgumentValueError("different names", got=f"{name!r} twice", at=_text(at))
        entries[name] = _to_entry(child, (*at, key))
    return entries


def _children(node: Any) -> tuple[list[tuple[Any, Any]] | None, Any]:
    """The children of one node by key, ``None`` for a leaf, and the way to put them back together."""
    pairs, treedef = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    leaf = any(not path for path, _ in pairs)
    return None if leaf else [(path[0], child) for path, child in pairs], treedef


def _name(key: Any) -> str:
    return jax.tree_util.keystr((key,), simple=True)


def _text(at: KeyPath) -> str:
    return jax.tree_util.keystr(at) or "the top"


def _is_key(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _to_array(x: Any) -> Any:
    if _is_key(x):
        return jax.random.key_data(x) if isinstance(x, jax.Array) else jax.eval_shape(jax.random.key_data, x)
    return x if hasattr(x, "shape") and hasattr(x, "dtype") else np.asarray(x)


# --- reading ----------------------------------------------------------------------------------------------------------


def from_state_dict(template: State, d: Mapping[str, Any]) -> State:
    """The state that `to_state_dict` wrote, in the structure of a template.

    An array goes where the template's is: if that has been placed on devices (*committed*, as JAX says), it is placed
    alike. Otherwise JAX's arrays stay where they are, and NumPy's are free to be moved. A JAX array that is there
    already is taken as it is, not copied, and none is fetched to the host: its parts may be in several processes.

    Small formats, such as ``bfloat16`` and ``float8_e4m3fn``, which NumPy returns from an ``.npz`` file as nameless
    bytes, are those that the template says.

    Args:
      template: a state of the same transformation for the same params: ``tx.init(params)``, or without allocating
        anything ``jax.eval_shape(tx.init, params)``, whose leaves may carry shardings.
      d: what `to_state_dict` returned, perhaps after a trip through a file.

    Raises:
      TreeMismatchError: an entry is missing, there is one too many, or one has another shape or dtype; the message has
        its path. `fields_changed` says what happened to fields that were renamed, added or removed.
      ArgumentTypeError: `d` is not such a dict, or its schema is no integer.
      ArgumentValueError: a newer version of gradtx wrote it, or none.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.adam(0.1), jnp.ones(2)
      >>> _, state = tx.update(params, tx.init(params))
      >>> saved = gradtx.checkpoint.to_state_dict(state)
      >>> restored = gradtx.checkpoint.from_state_dict(tx.init(params), saved)
      >>> gradtx.tree.get_field(restored, "mu")
      Array([0.1, 0.1], dtype=float32)
    """
    try:
        _check_schema(d)
        return _from_entry(template, d.get("state", {}), ())
    except GradtxError as error:
        error.locate("checkpoint.from_state_dict")
        raise


def _check_schema(d: Any) -> None:
    expected = 'a dict {"schema": ..., "state": ...}'
    if not isinstance(d, Mapping) or "schema" not in d:
        hint = "pass what to_state_dict returned; unflatten_state_dict makes it from a flat file"
        raise ArgumentTypeError(expected, got=type_name(d), hint=hint)
    if any(isinstance(name, str) and name.startswith("state/") for name in d):
        raise ArgumentTypeError(expected, got="a flat one", hint="make it nested: unflatten_state_dict(d)")
    version = _integer(d["schema"])
    if version is None or version < 1:
        hint = "the file is damaged, or something else than to_state_dict wrote it"
        if version is None:
            raise ArgumentTypeError("a schema that is an integer", got=_shown(d["schema"]), hint=hint)
        raise ArgumentValueError("a schema of at least 1", got=str(version), hint=hint)
    if version > SCHEMA:
        raise ArgumentValueError(f"a schema up to {SCHEMA}", got=str(version), hint="upgrade gradtx to read it")


def _integer(x: Any) -> int | None:
    """A whole number, also as an array of no axes; ``None`` for anything else, such as texts and booleans."""
    if isinstance(x, np.ndarray | np.generic | jax.Array):
        return int(x) if x.shape == () and jnp.issubdtype(x.dtype, jnp.integer) else None
    return x if type(x) is int else None


def _shown(x: Any) -> str:
    """A number or a text as Python writes it, an array by dtype and shape."""
    return repr(x) if x is None or isinstance(x, str | bytes | bool | int | float) else described(x)


def _from_entry(node: Any, entry: Any, at: KeyPath) -> Any:
    children, treedef = _children(node)
    if children is None:
        return _from_array(node, entry, at)
    entry = {} if entry is None else entry
    if not isinstance(entry, Mapping):
        raise TreeMismatchError(f"entries for {type_name(node)}", got=described(entry), at=_text(at))
    entries, kept = _of_today(node, _by_text(entry, at))
    names = [_name(key) for key, _ in children]
    surplus = [name for name, x in entries.items() if name not in names and _holds_something(x)]
    lacking = [key for key, x in children if _name(key) not in {*entries, *kept} and jax.tree.leaves(x)]
    if lacking or surplus:
        raise _misfit(node, entries, lacking, surplus, at)
    return treedef.unflatten(
        _filled(x, (*at, key)) if _name(key) in kept else _from_entry(x, entries.get(_name(key)), (*at, key))
        for key, x in children
    )


def _by_text(entry: Mapping[Any, Any], at: KeyPath) -> StateDict:
    """The entries by the texts of their names; a file format may have read ``"0"`` back as 0."""
    entries = {str(name): x for name, x in entry.items()}
    if len(entries) < len(entry):
        names = [str(name) for name in entry]
        twice = next(name for name in names if names.count(name) > 1)
        raise TreeMismatchError("different names", got=f"{twice!r} twice", at=_text(at))
    return entries


def _holds_something(entry: Any) -> bool:
    """Whether there is anything but empty dicts in an entry."""
    return any(map(_holds_something, entry.values())) if isinstance(entry, Mapping) else bool(jax.tree.leaves(entry))


# --- what does not fit ------------------------------------------------------------------------------------------------

_HINT = "restore into the state of the same transformation for the same params"


def _misfit(node: Any, entries: StateDict, lacking: list[Any], surplus: list[str], at: KeyPath) -> TreeMismatchError:
    """The error for a node some entries of which are missing or too many: whose state it is, as far as one can tell."""
    children = [(_name(key), x) for key, x in _children(node)[0] or []]
    names = [name for name, _ in children]
    nothing = not _holds_something(entries)
    own = children if is_named_tuple(node) else []
    inside = next((name for name, x in own if name in _INNER and _fits(x, entries, nothing)), None)
    around = next((name for name in _INNER if name in entries and _fits(node, entries[name])), None)
    scheduled = {"count", "hyperparams"} <= {*entries} and "hyperparams" not in names
    got = ""
    if inside:
        got = f"the state of {_WITHOUT_SCHEDULE if isinstance(node, ScheduledState) else 'what it wraps'}"
    elif around or scheduled:
        got = f"the state of {'an optimizer with a schedule' if scheduled else 'a wrapper around it'}"
    elif lacking and surplus and is_named_tuple(node) and not _may_be_renamed(node, entries, lacking, surplus):
        got = f"another optimizer's state: a dict with {list(entries)}"
    if got:
        expected = f"the state of {_WITH_SCHEDULE}" if isinstance(node, ScheduledState) else _kind(node, names)
        hint = f"{_HINT}; tree.set_field(state, {inside!r}, ...) puts it into a new one" if inside else _HINT
        return TreeMismatchError(expected, got=got, at=_text(at), hint=hint)
    if lacking:
        renamed = surplus and is_named_tuple(node)
        hint = f"a field that was renamed from {surplus[0]!r}? see fields_changed" if renamed else _HINT
        return TreeMismatchError(f"an entry {_name(lacking[0])!r}", got="none", at=_text((*at, lacking[0])), hint=hint)
    return TreeMismatchError(f"entries {names}", got=f"{surplus[0]!r} too", at=_text(at), hint=_HINT)


_INNER = ("inner", "inner_state")
"""The fields in which wrappers keep the state of what they wrap."""

_WITH_SCHEDULE, _WITHOUT_SCHEDULE = "an optimizer with a schedule", "an optimizer without a schedule"


def _kind(node: Any, names: list[str]) -> str:
    """What a template's node is, with the names of its entries."""
    kind = type(node).__name__
    return (f"{kind} with {names}" if names else kind) if is_named_tuple(node) else f"entries {names}"


def _may_be_renamed(node: Any, entries: StateDict, lacking: list[Any], surplus: list[str]) -> bool:
    """Whether fields of a class of the user's may have been renamed: gradtx says so itself of its own."""
    own = type(node).__module__.partition(".")[0] == "gradtx"
    return not own and (len(entries) > len(surplus) or len(lacking) == len(surplus))


def _fits(node: Any, entry: Any, nothing: bool = False) -> bool:
    """Whether an entry has the names of a node, and so on inside; whether nothing fits where there is nothing."""
    children, _ = _children(node)
    if children is None or not isinstance(entry, Mapping):
        return (children is None) == hasattr(entry, "dtype")
    wanted = {_name(key): x for key, x in children if jax.tree.leaves(x)}
    entries, kept = _of_today(node, {str(name): x for name, x in entry.items() if _holds_something(x)})
    if {*wanted} - kept != {*entries}:
        return False
    return all(_fits(wanted[name], x) for name, x in entries.items()) if entries else nothing


def _filled(node: Any, at: KeyPath) -> Any:
    """The template's own value for a field that was added since."""
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(node)):
        hint = "make the template with tx.init(params)"
        raise TreeMismatchError("a template with values for a field that was added", at=_text(at), hint=hint)
    return node


# --- arrays -----------------------------------------------------------------------------------------------------------


def _from_array(node: Any, entry: Any, at: KeyPath) -> Any:
    if isinstance(entry, Mapping | jax.ShapeDtypeStruct) or not (hasattr(entry, "dtype") and hasattr(entry, "shape")):
        raise TreeMismatchError("an array", got=type_name(entry), at=_text(at), hint=_HINT)
    wanted = _to_array(node)
    x = _with_dtype(entry, wanted.dtype)
    if described(x) != described(wanted):
        hint = _HINT if x.shape != wanted.shape else "change the entry with astype, if that is meant"
        raise TreeMismatchError(described(wanted), got=described(x), at=_text(at), hint=hint)
    placed = placed_like(node, x)
    return jax.random.wrap_key_data(placed, impl=_key_impl(node)) if _is_key(node) else placed


def _with_dtype(x: Any, dtype: Any) -> Any:
    """What NumPy read from a file, in a dtype of which it does not know the name; anything else as it is."""
    if x.dtype == np.dtype(f"V{dtype.itemsize}") and dtype.isbuiltin == _REGISTERED:
        return x.view(dtype)
    return _cast_bits(x, dtype) if _is_unreadable(dtype) and x.dtype == np.uint8 else x


_REGISTERED = 2
"""What NumPy says by ``isbuiltin`` of a dtype that another package has registered."""


def _is_unreadable(dtype: Any) -> bool:
    """Whether NumPy writes a dtype to files under a name that it cannot read: ``float8_e5m2`` as ``<f1``."""
    return isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.isbuiltin == _REGISTERED


def _cast_bits(x: Any, dtype: Any) -> Any:
    """An array, or what describes one, in another dtype of as many bits."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(x.shape, dtype, sharding=x.sharding)  # type: ignore[no-untyped-call]
    return jax.lax.bitcast_convert_type(x, dtype) if isinstance(x, jax.Array) else np.asarray(x).view(dtype)


def _key_impl(key: Any) -> Any:
    """The algorithm of a key, which JAX tells of arrays and tracers only."""
    found = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), key)
    return found[0]


def placed_like(node: Any, x: Any) -> jax.Array:
    """An array where the template's is, if that has a place; sharing no memory with NumPy, which may write there."""
    sharding = getattr(node, "sharding", None)
    if sharding is not None and getattr(node, "committed", True):
        return _placed(x, sharding)
    # A counter tied to one device could not meet params on others, and only NumPy loosens it. An array stays where it
    # is: to fetch it would take long, and it fails if parts of it are in other processes.
    tied = isinstance(x, jax.Array) and x.committed and not np.ndim(node) and len(x.sharding.device_set) == 1
    return x if isinstance(x, jax.Array) and not tied else jnp.array(np.asarray(x))


def _placed(x: Any, sharding: Any) -> jax.Array:
    """An array in a place; of NumPy's, each process takes its own parts."""
    if isinstance(x, jax.Array):
        placed: jax.Array = jax.device_put(x, sharding)
        return placed
    # Where there are other processes, device_put would compare the whole arrays of all. The parts are copied: not even
    # may_alias=False keeps the CPU backend from using NumPy's memory as it is.
    return jax.make_array_from_callback(x.shape, sharding, lambda part: np.array(x[part]), dtype=x.dtype)


def described(x: Any) -> str:
    """An array by dtype and shape, ``float32[2, 3]``; anything else by its type."""
    return f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") and hasattr(x, "shape") else type_name(x)


# --- flat files -------------------------------------------------------------------------------------------------------


def flatten_state_dict(d: Mapping[str, Any]) -> StateDict:
    """A nested dict as a flat one by path, ``"state/0/mu/dense/kernel"``, for ``.npz`` and safetensors files.

    In a name, ``/`` is written ``~1`` and ``~`` is written ``~0``, as in a JSON pointer. Arrays of ``float8_e5m2``
    become their bits, ``uint8``: NumPy would write them to a file that it cannot read. `from_state_dict` knows that.

    Args:
      d: what `to_state_dict` returned.

    Raises:
      ArgumentTypeError: `d` is no dict, or a name in it is not a string.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> state = gradtx.trace(0.9).init({"w": jnp.ones(2)})
      >>> flat = gradtx.checkpoint.flatten_state_dict(gradtx.checkpoint.to_state_dict(state))
      >>> list(flat)
      ['schema', 'state/trace/w']
    """
    origin = "checkpoint.flatten_state_dict"
    if not isinstance(d, Mapping):
        raise ArgumentTypeError(
            "a nested dict", got=type_name(d), hint="pass what to_state_dict returned", origin=origin
        )
    try:
        return dict(_flat(d, ""))
    except GradtxError as error:
        error.locate(origin)
        raise


def _flat(entry: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(entry, Mapping):
        yield path, _cast_bits(entry, np.dtype(np.uint8)) if _is_unreadable(getattr(entry, "dtype", None)) else entry
        return
    for name, x in entry.items():
        _check_name(name, path)
        escaped = name.replace("~", "~0").replace("/", "~1")
        yield from _flat(x, f"{path}/{escaped}" if path else escaped)


def _check_name(name: Any, at: str = "") -> None:
    if not isinstance(name, str):
        hint = "to_state_dict makes strings of the keys of a state"
        raise ArgumentTypeError("names that are strings", got=repr(name), at=repr(at) if at else "", hint=hint)


def unflatten_state_dict(flat: Mapping[str, Any]) -> StateDict:
    """The nested dict that `flatten_state_dict` made flat; empty dicts are left out, and `from_state_dict` allows that.

    Args:
      flat: arrays by path; what `numpy.load` returns for an ``.npz`` file will do.

    Raises:
      ArgumentTypeError: `flat` is no dict, a name in it is not a string, or it is nested already.
      TreeMismatchError: a path leads through an array.

    Example:
      >>> import gradtx
      >>> gradtx.checkpoint.unflatten_state_dict({"schema": 1, "state/0/count": 5, "state/2/count": 6})
      {'schema': 1, 'state': {'0': {'count': 5}, '2': {'count': 6}}}
    """
    try:
        return _nested(flat)
    except GradtxError as error:
        error.locate("checkpoint.unflatten_state_dict")
        raise


def _nested(flat: Any) -> StateDict:
    if not isinstance(flat, Mapping):
        hint = "pass what flatten_state_dict returned, or numpy.load"
        raise ArgumentTypeError("a dict of arrays by path", got=type_name(flat), hint=hint)
    nested: StateDict = {}
    for path, x in flat.items():
        _check_name(path)
        if isinstance(x, Mapping) and x:
            hint = "what is nested already goes to from_state_dict as it is"
            raise ArgumentTypeError("a dict of arrays by path", got="a dict", at=repr(path), hint=hint)
        *parents, last = (name.replace("~1", "/").replace("~0", "~") for name in path.split("/"))
        entries = nested
        for name in parents:
            entries = entries.setdefault(name, {})
            if not isinstance(entries, dict):
                break
        if not isinstance(entries, dict) or last in entries:
            raise TreeMismatchError("an array or further names", got="both", at=repr(path))
        entries[last] = {} if isinstance(x, Mapping) else x  # a caller's dict would get what further paths put there
    return nested
