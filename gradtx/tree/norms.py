"""Norms of whole trees, in accumulator dtype."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.tree.arithmetic import accumulator_dtype, cast
from gradtx.tree.fusion import settle
from gradtx.tree.operations import add, compiled, multiply, sum_elements
from gradtx.tree.paths import absent, flatten_like, is_none


def squared_norm(tree: Any) -> jax.Array:
    r"""The sum of :math:`|x|^2` over every element of every leaf, real, at least float32; 0 for an empty tree."""

    def leaf(x: Any) -> jax.Array:
        x = x if isinstance(x, jax.Array) else jnp.asarray(x)
        return _sum_of_squares(cast(x, accumulator_dtype(x.dtype)))

    sums = [leaf(x) for x in jax.tree.leaves(settle(tree)) if not absent(x)]
    return functools.reduce(add, sums or [jnp.zeros((), jnp.float32)])


@compiled()
def _sum_of_squares(x: jax.Array) -> jax.Array:
    return sum_elements(jnp.real(x * jnp.conj(x)) if jnp.iscomplexobj(x) else multiply(x, x))


def global_norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all leaves taken together, in at least float32.

    Its gradient at zero is zero, not NaN. A NaN anywhere makes it NaN.
    """
    total = squared_norm(tree)
    zero = total == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, total)))


def inner(tree: Any, other: Any) -> jax.Array:
    r"""The inner product :math:`\mathrm{Re} \langle x, y \rangle` of two trees as long vectors, in at least float32.

    It is that of the real and imaginary parts. A leaf that is absent in one of them counts as zero.
    """
    tree, other = settle((tree, other))
    leaves, treedef = jax.tree.flatten(tree, is_leaf=is_none)

    def leaf(x: Any, y: Any) -> jax.Array:
        x, y = jnp.asarray(x), jnp.asarray(y)
        x, y = (z.astype(accumulator_dtype(jnp.promote_types(x.dtype, y.dtype))) for z in (x, y))
        return jnp.sum(jnp.real(jnp.conj(x) * y) if jnp.iscomplexobj(x) else x * y)

    pairs = zip(leaves, flatten_like(tree, treedef, other, "the other"), strict=True)
    products = [leaf(x, y) for x, y in pairs if not (absent(x) or absent(y))]
    dtype = jnp.result_type(jnp.float32, *(x.dtype for x in products))
    return sum((x.astype(dtype) for x in products), start=jnp.zeros((), dtype))
