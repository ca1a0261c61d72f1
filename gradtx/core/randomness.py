"""The random key of a step: each member of a chain makes its own of it."""

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core.transformation import GradientTransformation, expand
from gradtx.core.value import Value, nested_values
from gradtx.errors import ArgumentTypeError, require_extra


def member_key(extra: Mapping[str, Any], name: str) -> jax.Array:
    """The ``key`` of the extras, folded with a name: transformations of different names draw independent numbers.

    Raises:
      MissingExtraError: there is no ``key``.
      ArgumentTypeError: it is not a single key.
    """
    key: Any = extra.get("key")
    require_extra(key, "key", "pass a new one at every step: key=jax.random.fold_in(key, step)")
    if not _is_key(key):
        dtype = getattr(key, "dtype", None)
        got = f"{dtype}{list(jnp.shape(key))}" if dtype is not None else repr(key)
        hint = "make one with jax.random.key(seed), and a new one for every step with jax.random.fold_in(key, step)"
        raise ArgumentTypeError("key to be a single JAX PRNG key", got=got, hint=hint)
    return jax.random.fold_in(key, zlib.crc32(name.encode()) >> 1)


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
        if index == 0 or not _is_key(key):
            return extra
        return extra | {"key": jax.random.fold_in(key, index + _MOST_MEMBERS * depth())}

    return extras_at


_MOST_MEMBERS = 2**16
"""How many members have keys of their own."""


def _depth(value: Value) -> int:
    """How deep values are nested in a value, or in the composition that it stands for: 1 if there are none."""
    inside = list(nested_values(value.arguments))
    if isinstance(value, GradientTransformation) and value.factory.kind == "optimizer":
        inside.append(expand(value))
    return 1 + max(map(_depth, inside), default=0)


def _is_key(key: Any) -> bool:
    """Whether something is one JAX key, typed or of ``uint32`` words."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return jnp.ndim(key) == 0
    return bool(dtype == jnp.uint32 and jnp.ndim(key) == 1)
