"""Counters that do not overflow, and norms and roots whose derivatives are finite."""

from typing import Any

import jax
import jax.numpy as jnp


def safe_increment(count: Any) -> jax.Array:
    """The counter plus 1, or as it is at the largest number of its dtype."""
    count = jnp.asarray(count)
    info: Any = jnp.finfo if jnp.issubdtype(count.dtype, jnp.floating) else jnp.iinfo
    larger = count + jnp.ones((), count.dtype)
    return jnp.where(count < info(count.dtype).max, larger, count)


safe_int32_increment = safe_increment


def safe_norm(x: Any, min_norm: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> jax.Array:  # noqa: A002
    """The norm, at least `min_norm`, with a derivative of 0 where it is smaller."""
    norm = jnp.linalg.norm(x, ord=ord, axis=axis, keepdims=True)
    shown = norm if keepdims else jnp.linalg.norm(x, ord=ord, axis=axis)
    # The norm is taken again of ones where it is small: its derivative at 0 is NaN, and a selection keeps that.
    elsewhere = jnp.linalg.norm(jnp.where(norm <= min_norm, jnp.ones_like(x), x), ord=ord, axis=axis, keepdims=keepdims)
    return jnp.where(shown <= min_norm, min_norm, elsewhere)


def safe_root_mean_squares(x: Any, min_rms: Any) -> jax.Array:
    """The root of the mean square, at least `min_rms`, with a derivative of 0 where it is smaller."""
    square = jnp.mean(jnp.real(jnp.conj(x) * x))
    small = square <= min_rms**2
    return jnp.where(small, min_rms, jnp.sqrt(jnp.where(small, 1.0, square)))
