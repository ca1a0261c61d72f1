"""States as nested dicts of plain arrays with names, and back."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError, TreeMismatchError
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
    alike; otherwise JAX stays free to move it. A JAX array that is there already is taken as it is, not copied. Where
    the template has no array, the dict needs no entry.

    ``bfloat16`` read from an ``.npz`` file, which NumPy returns as two nameless bytes, is understood.

    Args:
      template: a state of the same transformation for the same params: ``tx.init(params)``, or without allocating
        anything ``jax.eval_shape(tx.init, params)``, whose leaves may carry shardings.
      d: what `to_state_dict` returned, perhaps after a trip through a file.

    Raises:
      TreeMismatchError: an entry is missing, there is one too many, or one has another shape or dtype; the message has
        its path. `fields_changed` says what happened to fields that were renamed, added or removed.
      ArgumentTypeError: `d` is not such a dict.
      ArgumentValueError: a newer version of gradtx wrote it.

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
    if not isinstance(d, Mapping) or "schema" not in d:
        hint = "pass what to_state_dict returned; unflatten_state_dict makes it from a flat file"
        raise ArgumentTypeError('a dict {"schema": ..., "state": ...}', got=type_name(d), hint=hint)
    version = int(np.asarray(d["schema"]))
    if version > SCHEMA:
        raise ArgumentValueError(f"a schema up to {SCHEMA}", got=str(version), hint="upgrade gradtx to read it")


def _from_entry(node: Any, entry: Any, at: KeyPath) -> Any:
    children, treedef = _children(node)
    if children is None:
        return _from_array(node, entry, at)
    entry = {} if entry is None else entry
    if not isinstance(entry, Mapping):
        raise TreeMismatchError(f"entries for {type_name(node)}", got=described(entry), at=_text(at))
    entries, kept = _of_today(node, {str(name): x for name, x in entry.items()})
    names = [_name(key) for key, _ in children]
    surplus = [name for name, x in entries.items() if name not in names and jax.tree.leaves(x)]
    lacking = [key for key, x in children if _name(key) not in {*entries, *kept} and jax.tree.leaves(x)]
    if lacking:
        hint = f"a field that was renamed from {surplus[0]!r}? see fields_changed" if surplus else _HINT
        raise TreeMismatchError(f"an entry {_name(lacking[0])!r}", got="none", at=_text((*at, lacking[0])), hint=hint)
    if surplus:
        raise TreeMismatchError(f"entries {names}", got=f"{surplus[0]!r} too", at=_text(at), hint=_HINT)
    return treedef.unflatten(
        _filled(x, (*at, key)) if _name(key) in kept else _from_entry(x, entries.get(_name(key)), (*at, key))
        for key, x in children
    )


_HINT = "restore into the state of the same transformation for the same params"


def _filled(node: Any, at: KeyPath) -> Any:
    """The template's own value for a field that was added since."""
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(node)):
        hint = "make the template with tx.init(params)"
        raise TreeMismatchError("a template with values for a field that was added", at=_text(at), hint=hint)
    return node


def _from_array(node: Any, entry: Any, at: KeyPath) -> Any:
    if isinstance(entry, Mapping) or not hasattr(entry, "dtype"):
        raise TreeMismatchError("an array", got=described(entry), at=_text(at), hint=_HINT)
    wanted, x = _to_array(node), entry
    if x.dtype == np.dtype("V2") and wanted.dtype == jnp.bfloat16:
        x = np.asarray(x).view(jnp.bfloat16)
    if described(x) != described(wanted):
        hint = _HINT if x.shape != wanted.shape else "change the entry with astype, if that is meant"
        raise TreeMismatchError(described(wanted), got=described(x), at=_text(at), hint=hint)
    if _is_key(node):
        x = jax.random.wrap_key_data(jnp.array(x), impl=_key_impl(node))
    return placed_like(node, x)


def _key_impl(key: Any) -> Any:
    """The algorithm of a key, which JAX tells of arrays and tracers only."""
    found = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), key)
    return found[0]


def placed_like(node: Any, x: Any) -> jax.Array:
    """An array where the template's is, if that has a place; sharing no memory with NumPy, which may write there."""
    sharding = getattr(node, "sharding", None)
    if sharding is not None and getattr(node, "committed", True):
        # Not even may_alias=False keeps the CPU backend from using NumPy's memory as it is.
        placed: jax.Array = jax.device_put(x if isinstance(x, jax.Array) else np.array(x), sharding)
        return placed
    # What is tied to one device could not meet what is spread over several, and only NumPy loosens it.
    return x if isinstance(x, jax.Array) and not x.committed else jnp.array(np.asarray(x))


def described(x: Any) -> str:
    """An array by dtype and shape, ``float32[2, 3]``; anything else by its type."""
    return f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") and hasattr(x, "shape") else type_name(x)


# --- flat files -------------------------------------------------------------------------------------------------------


def flatten_state_dict(d: Mapping[str, Any]) -> StateDict:
    """A nested dict as a flat one by path, ``"state/0/mu/dense/kernel"``, for ``.npz`` and safetensors files.

    In a name, ``/`` is written ``~1`` and ``~`` is written ``~0``, as in a JSON pointer.

    Args:
      d: what `to_state_dict` returned.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> state = gradtx.trace(0.9).init({"w": jnp.ones(2)})
      >>> flat = gradtx.checkpoint.flatten_state_dict(gradtx.checkpoint.to_state_dict(state))
      >>> list(flat)
      ['schema', 'state/trace/w']
    """
    return dict(_flat(d, ""))


def _flat(entry: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(entry, Mapping):
        yield path, entry
        return
    for name, x in entry.items():
        escaped = name.replace("~", "~0").replace("/", "~1")
        yield from _flat(x, f"{path}/{escaped}" if path else escaped)


def unflatten_state_dict(flat: Mapping[str, Any]) -> StateDict:
    """The nested dict that `flatten_state_dict` made flat; empty dicts are left out, and `from_state_dict` allows that.

    Args:
      flat: arrays by path; what `numpy.load` returns for an ``.npz`` file will do.

    Raises:
      TreeMismatchError: a path leads through an array.

    Example:
      >>> import gradtx
      >>> gradtx.checkpoint.unflatten_state_dict({"schema": 1, "state/0/count": 5, "state/2/count": 6})
      {'schema': 1, 'state': {'0': {'count': 5}, '2': {'count': 6}}}
    """
    nested: StateDict = {}
    for path, x in flat.items():
        *parents, last = (name.replace("~1", "/").replace("~0", "~") for name in path.split("/"))
        entries = nested
        for name in parents:
            entries = entries.setdefault(name, {})
            if not isinstance(entries, dict):
                break
        if not isinstance(entries, dict) or last in entries:
            origin = "checkpoint.unflatten_state_dict"
            raise TreeMismatchError("an array or further names", got="both", at=repr(path), origin=origin)
        entries[last] = x
    return nested
