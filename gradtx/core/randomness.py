"""The random key of a step, which every member of a chain is given and each makes its own."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import ArgumentTypeError, require_extra


def own_key(extra: Mapping[str, Any], name: str) -> jax.Array:
    """The ``key`` of the extras, folded with a name: members of one chain draw numbers independent of each other's.

    Raises:
      MissingExtraError: there is no ``key``.
      ArgumentTypeError: it is not a single key.
    """
    key: Any = extra.get("key")
    require_extra(key, "key", "pass a new one at every step: key=jax.random.fold_in(key, step)")
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and jnp.ndim(key) == 0
    if not typed and not (dtype == jnp.uint32 and jnp.ndim(key) == 1):
        got = f"{dtype}{list(jnp.shape(key))}" if dtype is not None else repr(key)
        hint = "make one with jax.random.key(seed), and a new one for every step with jax.random.fold_in(key, step)"
        raise ArgumentTypeError("key to be a single JAX PRNG key", got=got, hint=hint)
    return jax.random.fold_in(key, zlib.crc32(name.encode()) >> 1)
