"""Gradients of single examples, clipped and summed under noise."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Pair, abs_sq, member_key, transformation
from gradtx.errors import TreeMismatchError
from gradtx.gradients.noise import normal_like
from gradtx.gradients.norms import norms
from gradtx.tree.mapping import numbers_beside
from gradtx.tree.paths import is_inert, leaf_paths
from gradtx.typing import EmptyState, MaskedNode, NonNegative, Params, State, Updates

_HINT = "pass the gradient of each example: jax.vmap(jax.grad(loss_fn), in_axes=(None, 0))(params, examples)"


def per_example_global_norm_clip(grads: Updates, l2_norm_clip: Any) -> tuple[Updates, jax.Array]:
    r"""Clip the gradient of each example to a norm, and sum over the examples.

    .. math:: \sum_i g_i \min\!\left(1, \frac{C}{\lVert g_i \rVert_2}\right)

    The norm of an example is taken over all leaves. An example whose norm is not finite (a NaN, an infinity) adds
    nothing: whatever an example is, it moves the sum by :math:`C` at most.

    Args:
      grads: gradients with a leading axis of examples on every leaf.
      l2_norm_clip: :math:`C`.

    Returns:
      The sum, in at least float32, and how many examples were clipped or left out, int32 [].

    Raises:
      TreeMismatchError: the leaves do not all have the same number of examples.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.per_example_global_norm_clip(jnp.array([[3.0, 4.0], [0.0, 0.5]]), 1.0)
      (Array([0.6, 1.3], dtype=float32), Array(1, dtype=int32))

    References:
      - Abadi et al., Deep learning with differential privacy, 2016, arXiv:1607.00133.
    """
    examples = _count_examples(grads)
    wide = jax.tree.map(lambda g: g if is_inert(g) else jnp.asarray(g, tree.accumulator_dtype(g.dtype)), grads)
    arrays = [g for g in jax.tree.leaves(wide) if not is_inert(g)]

    def squares(scale: Any) -> jax.Array:
        scales = [_along_first(jnp.asarray(scale, g.real.dtype), g) for g in arrays]
        by_leaf = [abs_sq(s * g).sum(axis=tuple(range(1, g.ndim))) for s, g in zip(scales, arrays, strict=True)]
        return sum(by_leaf, start=jnp.zeros(examples, jnp.float32))

    norm = norms(squares, min((g.real.dtype for g in arrays), key=lambda dtype: dtype.itemsize, default=jnp.float32))
    finite, exceeds = jnp.isfinite(norm), norm > l2_norm_clip
    factor = jnp.where(exceeds, l2_norm_clip / jnp.where(exceeds, norm, 1), 1)

    def leaf(g: Any) -> Any:
        kept = jnp.where(_along_first(finite, g), g, 0)
        # In the dtype of the leaf: the norm is in that of the widest.
        return jnp.sum(_along_first(factor.astype(g.real.dtype), g) * kept, axis=0)

    total = jax.tree.map(lambda g: g if is_inert(g) else leaf(g), wide)
    return total, jnp.sum(exceeds | ~finite, dtype=jnp.int32)


def _along_first(numbers: Any, g: jax.Array) -> Any:
    """Numbers along the first axis of an array, with axes of length 1 for the others; a single number as it is."""
    return numbers.reshape(-1, *[1] * (g.ndim - 1)) if jnp.ndim(numbers) else numbers


def per_example_layer_norm_clip(
    grads: Updates, global_l2_norm_clip: Any, uniform: bool = True
) -> tuple[Updates, Updates]:
    r"""Clip each leaf of the gradient of each example to a norm of its own, and sum over the examples.

    .. math:: \sum_i g_{ik} \min\!\left(1, \frac{C_k}{\lVert g_{ik} \rVert_2}\right), \qquad
        C_k = C \sqrt{\tfrac1K} \quad\text{or}\quad C \sqrt{\tfrac{D_k}{D}}

    for leaf k of K, which has :math:`D_k` of all D elements. The squares of the bounds add up to :math:`C^2`: whatever
    an example is, it moves the sum by :math:`C` at most, as in `per_example_global_norm_clip`. A leaf whose norm is not
    finite adds nothing.

    Args:
      grads: gradients with a leading axis of examples on every leaf.
      global_l2_norm_clip: :math:`C`.
      uniform: the same bound for all leaves; if not, in proportion to the root of their size.

    Returns:
      The sum, in at least float32, and for each leaf in how many examples it was clipped or left out, int32 [].

    Raises:
      TreeMismatchError: the leaves do not all have the same number of examples.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> grads = {"w": jnp.array([[3.0, 4.0], [0.0, 0.5]]), "b": jnp.array([0.5, 2.0])}
      >>> gradtx.per_example_layer_norm_clip(grads, 2**0.5)[1]
      {'b': Array(1, dtype=int32), 'w': Array(1, dtype=int32)}

    References:
      - McMahan et al., Learning differentially private recurrent language models, 2018, arXiv:1710.06963.
    """
    examples = _count_examples(grads)
    sizes = [jnp.size(g) // max(examples, 1) for g in jax.tree.leaves(grads) if not is_inert(g)]
    leaves, whole = max(len(sizes), 1), max(sum(sizes), 1)

    def leaf(g: Any) -> tuple[Any, Any]:
        if is_inert(g):
            return g, g
        share = 1 / leaves if uniform else jnp.size(g) // max(examples, 1) / whole
        return per_example_global_norm_clip(g, global_l2_norm_clip * share**0.5)

    pairs = jax.tree.map(leaf, grads)
    return tuple(jax.tree.map(lambda _, pair, k=k: pair[k], grads, pairs) for k in (0, 1))


def _count_examples(grads: Updates) -> int:
    """The length of the leading axis that all leaves share; 0 if there are no leaves."""
    leaves = jax.tree.leaves(grads, is_leaf=lambda x: x is None)
    shapes = [(path, jnp.shape(x)) for path, x in zip(leaf_paths(grads), leaves, strict=True) if not is_inert(x)]
    examples = next((shape[0] for _, shape in shapes if shape), 0)
    for path, shape in shapes:
        if shape[:1] != (examples,):
            expected = f"a leading axis of {examples} examples on every leaf"
            raise TreeMismatchError(expected, got=f"the shape {list(shape)}", at=path, hint=_HINT)
    return examples


@transformation
def differentially_private_aggregate(l2_norm_clip: NonNegative, noise_multiplier: NonNegative) -> Pair:
    r"""Turn the gradients of single examples into one that tells little about any of them.

    .. math::
        u = \frac1B \left(\sum_{i=1}^{B} g_i \min\!\left(1, \frac{C}{\lVert g_i \rVert_2}\right)
            + \mathcal{N}\!\left(0, \sigma^2 C^2 I\right)\right)

    `update` takes gradients with a leading axis of B examples on every leaf, and a ``key`` that must be a new one at
    every step. The clipping is that of `per_example_global_norm_clip`. The noise is drawn for each leaf apart, in at
    least float32; the real and the imaginary part of a complex element get their own, of scale :math:`\sigma C` each.

    Put it first, before anything that mixes examples, and outside of `partition` and of wrappers, which expect updates
    like the params. To draw examples at random one by one, pad the batch to a fixed B with gradients of zero. What
    privacy a run affords is for an accountant of such runs to say: from :math:`\sigma`, the rate of sampling, and the
    number of steps.

    Args:
      l2_norm_clip: :math:`C`, the bound on the norm of an example's gradient, at least 0.
      noise_multiplier: :math:`\sigma`, the noise relative to that bound, at least 0.

    State:
      `EmptyState`: nothing. How many examples are clipped is not private; `per_example_global_norm_clip` counts them.

    Raises:
      MissingExtraError: `update` was called without ``key``.
      ArgumentTypeError: ``key`` is not a key.
      TreeMismatchError: a leaf lacks the axis of examples.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx = gradtx.differentially_private_aggregate(l2_norm_clip=1.0, noise_multiplier=0.0)
      >>> params, examples = jnp.zeros(2), jnp.array([[3.0, 4.0], [0.0, 0.5]])
      >>> tx.update(examples, tx.init(params), params, key=jax.random.key(0))[0]
      Array([0.3 , 0.65], dtype=float32)

    References:
      - Abadi et al., Deep learning with differential privacy, 2016, arXiv:1607.00133.

    Differences from Optax: the key comes with each update and is not kept in the state; the noise is drawn in at least
    float32; an example that is not finite is left out.
    """

    def init(params: Params) -> EmptyState:
        return EmptyState()

    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        key = member_key(extra, "differentially_private_aggregate")
        _check_shapes(updates, params)
        total, _ = per_example_global_norm_clip(updates, l2_norm_clip)
        scale = 1 / max(_count_examples(updates), 1)
        noise = noise_multiplier * l2_norm_clip

        def leaf(index: int, g: Any, sum_of_clipped: Any) -> Any:
            if g is None or isinstance(g, MaskedNode) or is_inert(g):
                return g
            drawn = normal_like(jax.random.fold_in(key, index), sum_of_clipped)
            size = numbers_beside((sum_of_clipped,), noise)
            return (scale * (sum_of_clipped + size * drawn)).astype(jnp.asarray(g).dtype)

        # The key of a leaf depends on its place in the whole tree, masked leaves included.
        treedef: Any
        given, treedef = jax.tree.flatten(updates, is_leaf=lambda x: x is None or isinstance(x, MaskedNode))
        sums = treedef.flatten_up_to(total)
        return treedef.unflatten([leaf(i, *pair) for i, pair in enumerate(zip(given, sums, strict=True))]), state

    return init, update


def _check_shapes(updates: Updates, params: Params | None) -> None:
    """Refuse gradients like the params, which lack the axis of examples."""
    if params is None:
        return
    treedef: Any
    given, treedef = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
    for path, g, p in zip(leaf_paths(updates), given, treedef.flatten_up_to(params), strict=True):
        if not is_inert(g) and jnp.shape(g)[1:] != jnp.shape(p):
            expected = f"a leaf of shape [examples, {', '.join(map(str, jnp.shape(p)))}]".replace(", ]", "]")
            raise TreeMismatchError(expected, got=str(list(jnp.shape(g))), at=path, hint=_HINT)
