"""Norms and inner products of whole trees, in accumulator dtype."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.tree.arithmetic import accumulator_dtype, cast, widened
from gradtx.tree.fusion import Row, settle
from gradtx.tree.operations import add, multiply, sum_elements
from gradtx.tree.paths import absent, flatten_like, is_none

_TOGETHER, _SMALL = 8, 4096  # leaves in one sum, and elements of a leaf up to which there are several


def squared_norm(tree: Any) -> jax.Array:
    r"""The sum of :math:`|x|^2` over every element of every leaf, real, at least float32; 0 for an empty tree."""
    arrays = [x if isinstance(x, jax.Array) else jnp.asarray(x) for x in jax.tree.leaves(settle(tree)) if not absent(x)]
    return _total(_square, [(widened(x),) for x in arrays])


def _square(x: jax.Array) -> jax.Array:
    return _product(x, x)


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
    pairs = zip(leaves, flatten_like(tree, treedef, other, "the other"), strict=True)
    return _total(_product, [_alike(x, y) for x, y in pairs if not (absent(x) or absent(y))])


def _alike(x: Any, y: Any) -> Row:
    """Two arrays in the accumulator dtype of both."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    dtype = np.promote_types(accumulator_dtype(x.dtype), accumulator_dtype(y.dtype))
    return cast(x, dtype), cast(y, dtype)


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.real(jnp.conj(x) * y) if jnp.iscomplexobj(x) else multiply(x, y)


def _total(function: Callable[..., jax.Array], rows: list[Row]) -> jax.Array:
    """The sum of all elements of a function of each row of arrays; 0 in float32 if there are none.

    Small leaves that are alike are added to one another before their elements are: one call, and one kernel, for
    eight. With 1000 leaves of 64x64, a clip before AdamW takes 0.7 of the time to trace, 0.8 to compile, and 0.95 to
    run. Leaves of 128x128 would take longer together.
    """
    kinds: dict[Any, list[Row]] = {}
    for row in rows:
        kinds.setdefault(tuple(map(jax.typeof, row)), []).append(row)
    sums: list[jax.Array] = []
    for alike in kinds.values():
        n = _TOGETHER if alike[0][0].size <= _SMALL else 1
        sums += [_total_of_alike(function, alike[k : k + n]) for k in range(0, len(alike), n)]
    dtype = np.result_type(np.float32, *[x.dtype for x in sums])
    return functools.reduce(add, [cast(x, dtype) for x in sums] or [jnp.zeros((), dtype)])


@functools.partial(jax.jit, static_argnums=0)
def _total_of_alike(function: Callable[..., jax.Array], rows: list[Row]) -> jax.Array:
    """One call in a program, one dispatch in an eager update."""
    return sum_elements(functools.reduce(add, [function(*row) for row in rows]))
