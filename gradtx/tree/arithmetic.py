"""Trees of numbers: accumulators and casts."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.tree.paths import is_inert, is_none


@functools.cache
def accumulator_dtype(dtype: Any, *, real: bool = False) -> Any:
    """The dtype running sums of `dtype` are kept in: at least float32; the real part's if `real`."""
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize < 4  # 8-bit floats refuse promotion
    with jax.numpy_dtype_promotion("standard"):  # a choice made here, whatever may be implicit elsewhere
        wide = jnp.dtype(jnp.float32) if narrow else jnp.promote_types(dtype, jnp.float32)
    return np.zeros((), wide).real.dtype if real else wide


def full_accumulator(tree: Any, value: Any, *, dtype: Any = None, real: bool = False) -> Any:
    """A tree of constants to accumulate in, with the shapes and shardings of `tree`.

    A leaf without numbers, such as a PRNG key, becomes ``None``.

    Args:
      tree: a tree of arrays.
      value: the number to fill with.
      dtype: the dtype to store; by default `accumulator_dtype` of each leaf. A complex leaf keeps a complex dtype.
      real: store real numbers for complex leaves (second moments).
    """

    def full(x: Any) -> Any:
        if is_inert(x):
            return None
        x = jnp.asarray(x)
        wide = accumulator_dtype(x.dtype, real=real)
        stored = wide if dtype is None or jnp.issubdtype(wide, jnp.complexfloating) else jnp.dtype(dtype)
        return jnp.full_like(x, value, dtype=stored)

    return jax.tree.map(full, tree)


def zeros_accumulator(tree: Any, *, dtype: Any = None, real: bool = False) -> Any:
    """`full_accumulator` with zeros."""
    return full_accumulator(tree, 0, dtype=dtype, real=real)


def copy_accumulator(tree: Any) -> Any:
    """A copy of `tree` in accumulator dtypes that shares no buffer with it (so both may be donated)."""

    def copy(x: Any) -> Any:
        if is_inert(x):
            return None
        x = jnp.asarray(x)
        return jnp.array(x, dtype=accumulator_dtype(x.dtype), copy=True)

    return jax.tree.map(copy, tree)


def zeros_like(tree: Any) -> Any:
    """A tree of zeros like `tree`; a leaf without numbers stays."""
    return jax.tree.map(lambda x: x if is_inert(x) else jnp.zeros_like(x), tree)


def cast(x: Any, dtype: Any) -> jax.Array:
    """A number as an array of a dtype, never weakly typed; an array that is so already stays as it is."""
    array: jax.Array = x if isinstance(x, jax.Array) else jnp.asarray(x)
    return array if array.dtype == dtype and not array.aval.weak_type else array.astype(dtype)


def widen(x: Any) -> jax.Array:
    """A number or an array in the dtype in which it is computed with: its accumulator dtype."""
    array: jax.Array = x if isinstance(x, jax.Array) else jnp.asarray(x)
    return cast(array, accumulator_dtype(array.dtype))


def in_one_dtype(x: Any, y: Any) -> tuple[jax.Array, jax.Array]:
    """Two arrays in the accumulator dtype of both."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    dtype = np.promote_types(accumulator_dtype(x.dtype), accumulator_dtype(y.dtype))
    return cast(x, dtype), cast(y, dtype)


def cast_like(tree: Any, other: Any) -> Any:
    """`tree` with each leaf in the dtype of the leaf of `other`; a leaf without numbers stays."""
    return jax.tree.map(
        lambda x, y: x if is_inert(x) or is_inert(y) else cast(x, jnp.result_type(y)), tree, other, is_leaf=is_none
    )
