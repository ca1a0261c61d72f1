"""Norms and inner products of whole trees, in accumulator dtype."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.tree.arithmetic import cast, in_one_dtype, widen
from gradtx.tree.paths import flatten_like, is_inert, is_none

_TOGETHER, _SMALL = 8, 4096  # leaves in one sum, and elements of a leaf up to which there are several

Row = tuple[jax.Array, ...]


def squared_norm(tree: Any) -> jax.Array:
    r"""The sum of :math:`|x|^2` over every element of every leaf, real, at least float32; 0 for an empty tree."""
    return _total(_square, [(x,) for x in _numbers(tree)])


def global_norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all leaves taken together, in at least float32.

    It is infinite only if an element is, or the norm itself is beyond the largest float. Its gradient at zero is zero,
    not NaN. A NaN anywhere makes it NaN.
    """
    total = squared_norm(tree)
    zero = total == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, total)))


def inner(tree: Any, other: Any) -> jax.Array:
    r"""The inner product :math:`\mathrm{Re} \langle x, y \rangle` of two trees as long vectors, in at least float32.

    It is that of the real and imaginary parts. A leaf that is absent in one of them counts as zero.
    """
    leaves, treedef = jax.tree.flatten(tree, is_leaf=is_none)
    pairs = zip(leaves, flatten_like(tree, treedef, other, "the other"), strict=True)
    return _total(_product, [in_one_dtype(x, y) for x, y in pairs if not (is_inert(x) or is_inert(y))])


def all_finite(first: Any, *others: Any) -> jax.Array:
    """Whether every element of every leaf of some trees of one structure is finite, bool []; True for empty trees."""
    leaves, treedef = jax.tree.flatten(first, is_leaf=is_none)
    rows = zip(leaves, *(flatten_like(first, treedef, other, "the result") for other in others), strict=True)
    # A leaf of all trees has one reduction, so that the arrays one of them is computed from are read once.
    finite = [
        functools.reduce(jnp.logical_and, [jnp.isfinite(x) for x in row if not is_inert(x)], True) for row in rows
    ]
    return jnp.array([jnp.all(x) for x in finite], bool).all()


def _numbers(tree: Any) -> list[jax.Array]:
    """The leaves that carry numbers, in accumulator dtypes."""
    return [widen(x) for x in jax.tree.leaves(tree) if not is_inert(x)]


def _square(x: jax.Array) -> jax.Array:
    return _product(x, x)


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.real(jnp.conj(x) * y) if jnp.iscomplexobj(x) or jnp.iscomplexobj(y) else x * y


def _total(function: Callable[..., jax.Array], rows: list[Row]) -> jax.Array:
    """The sum of all elements of a function of each row of arrays; 0 in float32 if there are none.

    Small leaves of one shape are added to one another before their elements are: one call, and one kernel, for eight.
    With 1000 leaves of 64x64, a clip before AdamW takes 0.7 of the time to trace and 0.8 to compile. Leaves of 128x128
    would take longer together.
    """
    kinds: dict[Any, list[Row]] = {}
    for row in rows:
        kinds.setdefault(tuple(map(jax.typeof, row)), []).append(row)
    sums: list[jax.Array] = []
    for alike in kinds.values():
        n = _TOGETHER if alike[0][0].size <= _SMALL else 1
        sums += [_total_of_alike(function, alike[k : k + n]) for k in range(0, len(alike), n)]
    dtype = np.result_type(np.float32, *[x.dtype for x in sums])
    return functools.reduce(jax.lax.add, [cast(x, dtype) for x in sums] or [jnp.zeros((), dtype)])


@functools.partial(jax.jit, static_argnums=0)
def _total_of_alike(function: Callable[..., jax.Array], rows: list[Row]) -> jax.Array:
    """One call in a program, one dispatch in an eager update."""
    return jnp.sum(functools.reduce(jax.lax.add, [function(*row) for row in rows]))
