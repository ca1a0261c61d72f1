"""Finding and replacing parts of a nested state by name or by type.

The annotations of a state class say what its fields are. A field annotated `Updates`, `SecondMoments` or `Params` is a
tree with an entry for each leaf of the params; everything else is shared by all leaves, or a state inside the state.
"""

import functools
import typing
from collections.abc import Callable
from typing import Any

import jax

from gradtx.errors import UnknownNameError
from gradtx.tree.paths import is_function
from gradtx.typing import Params, SecondMoments, Updates


def is_named_tuple(node: Any) -> bool:
    """Whether a node is a named tuple, the form of every state."""
    return isinstance(node, tuple) and hasattr(node, "_fields")


@functools.cache
def leaf_fields(state_type: type) -> tuple[str, ...]:
    """The fields of a state class that have an entry for each leaf of the params, by their annotations."""
    hints = getattr(state_type, "__annotations__", {})
    return tuple(name for name in getattr(state_type, "_fields", ()) if _is_per_leaf(hints.get(name)))


def _is_per_leaf(hint: Any) -> bool:
    if hint in (Updates, Params, SecondMoments):
        return True
    return any(_is_per_leaf(part) for part in typing.get_args(hint) if typing.get_origin(hint) is not typing.Annotated)


def second_moments_of(state: Any) -> Any:
    """A tree of booleans like a state: True in fields annotated `SecondMoments`, whose numbers are never negative."""
    if is_named_tuple(state):
        hints = getattr(type(state), "__annotations__", {})
        parts = [
            jax.tree.map(lambda _: True, part) if hints.get(name) == SecondMoments else second_moments_of(part)
            for name, part in zip(state._fields, state, strict=True)
        ]
        return type(state)(*parts)
    children, treedef = one_level(state)
    if len(children) == 1 and children[0][1] is state:
        return False
    return treedef.unflatten([second_moments_of(child) for _, child in children])


def one_level(node: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The children of one node with the names they go by, and the way to put them back together."""
    pairs, treedef = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    return [(jax.tree_util.keystr(path, simple=True), child) for path, child in pairs], treedef


def map_nodes(function: Callable[[Any], Any], tree: Any, kind: type | tuple[type, ...]) -> Any:
    """Replace each node of a given type by a function of it, innermost first."""
    children, treedef = one_level(tree)
    if not (len(children) == 1 and children[0][1] is tree):
        tree = treedef.unflatten([map_nodes(function, child, kind) for _, child in children])
    return function(tree) if isinstance(tree, kind) else tree


def find_nodes(tree: Any, kind: type | tuple[type, ...]) -> list[Any]:
    """Every node of a given type, innermost first."""
    found: list[Any] = []

    def note(node: Any) -> Any:
        found.append(node)
        return node

    map_nodes(note, tree, kind)
    return found


def get_all_fields(tree: Any, name: str) -> list[tuple[str, Any]]:
    """Every field of a named tuple called `name` in a nested state, with its path; an outer one hides those in it.

    A key of a dict is no field, nor is anything inside a tree like the params: a layer called ``"mu"`` is not taken for
    a moment.
    """
    found: list[tuple[str, Any]] = []

    def visit(node: Any, path: str) -> Any:
        found.append((path, node))
        return node

    _map_fields(visit, tree, name, "")
    return found


def get_field(tree: Any, name: str) -> Any:
    """The one field called `name` in a nested state: ``get_field(state, "mu")`` is Adam's first moment.

    Raises:
      UnknownNameError: there is none, or more than one.
    """
    found = get_all_fields(tree, name)
    if len(found) != 1:
        paths = ", ".join(path for path, _ in found) or "none"
        hint = "use get_all_fields to see every one" if found else "the names are those of fields of named tuples"
        raise UnknownNameError(f"one field {name!r} in the state", got=paths, hint=hint)
    return found[0][1]


def set_field(tree: Any, name: str, value: Any) -> Any:
    """The state with every field that `get_all_fields` finds replaced: by `value`, or ``value(old)`` of a function.

    Raises:
      UnknownNameError: there is no such field.
    """
    if not get_all_fields(tree, name):
        raise UnknownNameError(f"a field {name!r} in the state", got="none", hint="see the state's repr for its fields")
    return _map_fields(lambda node, _: value(node) if is_function(value) else value, tree, name, "")


def _map_fields(function: Callable[[Any, str], Any], node: Any, name: str, path: str) -> Any:
    """The state with each field of a name replaced by a function of it and of its path."""
    children, treedef = one_level(node)
    if len(children) == 1 and children[0][1] is node:
        return node
    fields = is_named_tuple(node)
    node_type: type = type(node)
    like_params = leaf_fields(node_type)

    def visit(key: str, child: Any) -> Any:
        here = f"{path}/{key}" if path else key
        if fields and key == name:
            return function(child, here)
        return child if key in like_params else _map_fields(function, child, name, here)

    return treedef.unflatten([visit(key, child) for key, child in children])
