"""The diagonal of the Hessian, estimated from products with random vectors."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators.selection import select_extras
from gradtx.core import Pair, grad_function, member_key, scan_carry, transformation
from gradtx.errors import ArgumentValueError, require_extra
from gradtx.tree.paths import is_inert, is_none
from gradtx.typing import EmptyState, Params, State, Updates


@transformation
def hutchinson_diagonal(num_probes: int = 1) -> Pair:
    r"""Replace the updates by an unbiased estimate of the diagonal of the Hessian.

    .. math:: \hat h = \frac1n \sum_{i=1}^{n} z_i \odot (H z_i), \qquad z_i \in \{-1, 1\}^d \text{ at random}

    The products are derivatives of the gradient along :math:`z_i`, at the params and for the batch of ``grad_fn``;
    each costs about two gradients. Where the Hessian is diagonal, one is exact. It is meant for the
    ``hessian_diagonal_fn`` of `scale_by_sophia`. The estimate of a complex element is the mean curvature along its two
    axes.

    Args:
      num_probes: :math:`n`, at least 1: the variance falls as its reciprocal. They are taken one after another.

    State:
      `EmptyState`: nothing. The randomness is that of ``key``, which must be a fresh one at each step.

    Raises:
      ArgumentValueError: `num_probes` is less than 1.
      ArgumentTypeError: ``key`` is not a key.
      MissingExtraError: `update` was called without ``params``, without ``key``, or without a function to take
        gradients with.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> def loss(p):
      ...     return p[0] ** 2 + 3 * p[1] ** 2
      >>> tx, params = gradtx.hutchinson_diagonal(), jnp.ones(2)
      >>> grads, state = jax.grad(loss)(params), tx.init(params)
      >>> tx.update(grads, state, params, value_fn=loss, key=jax.random.key(0))[0]
      Array([2., 6.], dtype=float32)

    References:
      - Hutchinson, A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines, 1990.
      - Bekas, Kokiopoulou, Saad, An estimator for the diagonal of a matrix, 2007.

    Differences from Optax's ``contrib.hutchinson_estimator_diag_hessian``: the key is the caller's, not one kept in
    the state; it takes the standard extras, not ``obj_fn``.
    """
    if num_probes < 1:
        raise ArgumentValueError("num_probes to be at least 1", got=str(num_probes))

    def init(params: Params) -> EmptyState:
        return EmptyState()

    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "the Hessian is taken there: tx.update(grads, state, params, ...)")
        key = member_key(extra, "hutchinson_diagonal")
        present = jax.tree.map(lambda g: not is_inert(g), updates, is_leaf=is_none)
        part = tree.keep_selected(params, present)
        grad_fn = grad_function(select_extras(extra, params, present))

        def leaf(total: jax.Array, z: jax.Array, hz: jax.Array) -> jax.Array:
            return total + jnp.real(jnp.conj(z) * hz)

        def probe(total: Updates, key: jax.Array) -> Updates:
            z = _random_signs(key, part)
            _, hz = jax.jvp(grad_fn, (part,), (z,))
            return tree.map_leaves(leaf, total, read=(z, hz))

        total = scan_carry(probe, tree.zeros_accumulator(part), jax.random.split(key, num_probes))
        kept = tree.keep_selected(updates, present)
        return tree.put_back(tree.map_leaves(lambda _, t: t * (1 / num_probes), kept, read=(total,)), updates), state

    return init, update


def _signs(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """`jax.random.rademacher`, which in x64 mode draws a float64 for each."""
    heads = jax.random.bernoulli(key, jnp.float32(0.5), shape)
    return jnp.where(heads, 1, -1).astype(dtype)


def _random_signs(key: jax.Array, params: Params) -> Params:
    """A tree like the params of elements -1 and 1; complex ones have modulus 1, with both signs in both parts."""

    def draw(index: int, p: Any) -> jax.Array:
        p, leaf_key = jnp.asarray(p), jax.random.fold_in(key, index)
        if not jnp.iscomplexobj(p):
            return _signs(leaf_key, p.shape, p.dtype)
        re, im = _signs(leaf_key, (2, *p.shape), p.real.dtype) * math.sqrt(0.5)
        return jax.lax.complex(re, im)

    leaves, treedef = jax.tree.flatten(params)
    return jax.tree.unflatten(treedef, [draw(index, p) for index, p in enumerate(leaves)])
