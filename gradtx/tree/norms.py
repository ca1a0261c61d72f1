"""Norms of whole trees, in accumulator dtype."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.tree.arithmetic import accumulator_dtype
from gradtx.tree.paths import absent


def squared_norm(tree: Any) -> jax.Array:
    r"""The sum of :math:`|x|^2` over every element of every leaf, real, at least float32; 0 for an empty tree."""

    def leaf(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        x = x.astype(accumulator_dtype(x.dtype))
        return jnp.sum(jnp.real(x * jnp.conj(x)) if jnp.iscomplexobj(x) else x * x)

    return sum((leaf(x) for x in jax.tree.leaves(tree) if not absent(x)), start=jnp.zeros((), jnp.float32))


def global_norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all leaves taken together, in at least float32.

    Its gradient at zero is zero, not NaN. A NaN anywhere makes it NaN.
    """
    total = squared_norm(tree)
    zero = total == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, total)))
