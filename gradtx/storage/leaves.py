"""Leaves in low precision."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.tree.arithmetic import widen
from gradtx.tree.paths import is_inert, is_none


def is_low(x: Any) -> bool:
    """Whether a leaf is of real numbers in fewer than 32 bits."""
    dtype = None if is_inert(x) else jnp.result_type(x)
    return dtype is not None and bool(jnp.issubdtype(dtype, jnp.floating)) and dtype.itemsize < 4


def in_float32(tree: Any) -> Any:
    """The tree with its leaves in low precision in float32."""
    return jax.tree.map(lambda x: widen(x) if is_low(x) else x, tree)


def map_all(function: Any, first: Any, *others: Any) -> Any:
    """A function of the leaves of several trees, absent ones among them."""
    return jax.tree.map(function, first, *others, is_leaf=is_none)
