"""Random keys of the members of a chain or a partition."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from gradtx.core import GradientTransformation, expand
from gradtx.core.randomness import is_key
from gradtx.core.value import Value, nested_values


def extras_of_members(members: Sequence[GradientTransformation]) -> Callable[[dict[str, Any], int], dict[str, Any]]:
    """A function of the extras and of the place of a member: the extras with a ``key`` of the member's own.

    Without it two members of one name would draw the same numbers. The first member gets the key as it is. The others
    fold it with their place and with how deep transformations are nested in the members, or else the second member of
    a chain that comes first would draw what the first member of a chain that comes second does.

    Args:
      members: the transformations of a chain or of a partition.
    """
    depth = functools.cache(lambda: max(map(_depth, members)))  # asked for only if there is a key

    def extras_at(extra: dict[str, Any], index: int) -> dict[str, Any]:
        key: Any = extra.get("key")
        if index == 0 or not is_key(key):
            return extra
        return extra | {"key": jax.random.fold_in(key, index + _MOST_MEMBERS * depth())}

    return extras_at


_MOST_MEMBERS = 2**16
"""How many members have keys of their own."""


def _depth(value: Value) -> int:
    """How deep values are nested in a value, or in the composition that it stands for: 1 if there are none."""
    inside = list(nested_values(value.arguments))
    if isinstance(value, GradientTransformation) and value.factory.composed:
        inside.append(expand(value))
    return 1 + max(map(_depth, inside), default=0)
