"""Rounding of float32 numbers to narrower ones: up or down by chance, and with what is cut off kept."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core.numerics import rounded
from gradtx.tree.arithmetic import cast


def by_chance(x: jax.Array, dtype: Any, key: jax.Array) -> jax.Array:
    r"""One of the two neighbours of each number in a narrower dtype, the nearer one more often, right in the mean.

    .. math:: P(\text{up}) = \frac{x - \text{down}}{\text{up} - \text{down}}, \qquad E[\text{round}(x)] = x

    Infinities and NaN stay what they are. A number beyond the largest finite one is rounded to the nearest.

    Args:
      x: real numbers, at least float32.
      dtype: the dtype of the result, of 16 bits or fewer.
      key: a random key: of the same key and the same shape, the same choices.
    """
    if dtype == jnp.bfloat16 and x.dtype == jnp.float32:
        # A bfloat16 number is the first half of a float32 one: the sum carries into it as often as it should.
        bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
        carried = (bits + jax.random.bits(key, x.shape, jnp.uint16)) & np.uint32(0xFFFF0000)
        chosen = cast(jax.lax.bitcast_convert_type(carried, jnp.float32), dtype)
        return jnp.where(jnp.isfinite(x), chosen, cast(x, dtype))
    near = rounded(x, dtype)
    gap = x - cast(near, x.dtype)
    towards = jnp.where(gap > 0, jnp.inf, -jnp.inf).astype(dtype)
    other = jax.lax.nextafter(near, towards)
    step = cast(other, x.dtype) - cast(near, x.dtype)
    share = jnp.where(step == 0, 0, gap / jnp.where(step == 0, 1, step))
    goes = jax.random.uniform(key, x.shape, x.dtype) < share
    return jnp.where(goes & jnp.isfinite(near) & jnp.isfinite(other), other, near)


def split_float32(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A float32 number as the nearest bfloat16 one (halves go away from zero), and the 16 bits that are cut off.

    Together they are the number exactly: `join_float32`.

    Args:
      x: float32.

    Returns:
      The numbers, bfloat16, and the bits, uint16.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    low = bits & np.uint32(0xFFFF)
    high = (bits >> 16) + jnp.where(jnp.isfinite(x), low >> 15, 0)
    # The first bits of a NaN alone may be those of infinity.
    high = jnp.where(jnp.isnan(x), np.uint32(0x7FC0), high).astype(jnp.uint16)
    return jax.lax.bitcast_convert_type(high, jnp.bfloat16), jnp.where(jnp.isfinite(x), low, 0).astype(jnp.uint16)


def join_float32(near: jax.Array, low: jax.Array) -> jax.Array:
    """The float32 number that `split_float32` took apart."""
    high = jax.lax.bitcast_convert_type(near, jnp.uint16).astype(jnp.uint32)
    low = low.astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(((high - (low >> 15)) << 16) | low, jnp.float32)
