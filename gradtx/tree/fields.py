"""Finding and replacing parts of a nested state by name or by type."""

from collections.abc import Callable
from typing import Any

import jax

from gradtx.errors import UnknownNameError


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
    """Every field called `name` in a nested state, with its path; an outer one hides those in it.

    Fields of named tuples come first: only where none has the name are dict keys and attributes looked at, so that a
    layer called ``"mu"`` is not taken for a moment.
    """
    return _search(tree, name, _named_tuple) or _search(tree, name, lambda _: True)


def _named_tuple(node: Any) -> bool:
    return isinstance(node, tuple) and hasattr(node, "_fields")


def _search(tree: Any, name: str, eligible: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []

    def visit(node: Any, path: str) -> None:
        children, _ = one_level(node)
        for key, child in children:
            if child is node:
                continue
            here = f"{path}/{key}" if path else key
            if key == name and eligible(node):
                found.append((here, child))
            else:
                visit(child, here)

    visit(tree, "")
    return found


def get_field(tree: Any, name: str) -> Any:
    """The one field called `name` in a nested state: ``get_field(state, "mu")`` is Adam's first moment.

    Raises:
      UnknownNameError: there is none, or more than one.
    """
    found = get_all_fields(tree, name)
    if len(found) != 1:
        paths = ", ".join(path for path, _ in found) or "none"
        raise UnknownNameError(
            f"one field {name!r} in the state", got=paths, hint="use get_all_fields to see every one"
        )
    return found[0][1]


def set_field(tree: Any, name: str, value: Any) -> Any:
    """The state with every field that `get_all_fields` finds replaced: by `value`, or by ``value(old)`` if callable.

    Raises:
      UnknownNameError: there is no such field.
    """
    paths = {path for path, _ in get_all_fields(tree, name)}
    if not paths:
        raise UnknownNameError(f"a field {name!r} in the state", got="none", hint="see the state's repr for its fields")

    def visit(node: Any, path: str) -> Any:
        if path in paths:
            return value(node) if callable(value) else value
        children, treedef = one_level(node)
        if len(children) == 1 and children[0][1] is node:
            return node
        return treedef.unflatten([visit(child, f"{path}/{key}" if path else key) for key, child in children])

    return visit(tree, "")
