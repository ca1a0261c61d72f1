"""Sharpness-aware minimization: the gradient where the loss is worst nearby."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.core import (
    GradientTransformation,
    Pair,
    alias,
    grad_function,
    one_for_zero,
    transformation,
)
from gradtx.errors import require_extra
from gradtx.storage import apply_updates
from gradtx.tree.paths import is_inert
from gradtx.typing import Mask, NonNegative, Params, State, Updates

Scale = Callable[[Updates, Params], Updates]


class SharpnessAwareState(NamedTuple):
    r"""The state of `sharpness_aware` and `adaptive_sharpness_aware`.

    Attributes:
      norm: the norm that the last perturbation was divided by, :math:`\lVert g \rVert` or
        :math:`\lVert T_w g \rVert`, float32 [].
      inner_state: the state of the inner transformation.
    """

    norm: jax.Array
    inner_state: State


@transformation
def sharpness_aware(inner: GradientTransformation, rho: NonNegative = 0.05) -> Pair:
    r"""Sharpness-aware minimization (SAM): give the inner transformation the gradient uphill from the parameters.

    .. math::
        e = \rho\, \frac{g(w)}{\lVert g(w) \rVert_2}, \qquad u = \text{inner}\big(g(w + e)\big)

    The norm is taken over all leaves. The incoming updates are taken for :math:`g(w)`, so in a chain SAM comes first,
    and what clips or decays is a part of `inner`: ``sharpness_aware(chain(clip_by_global_norm(1.0), adamw(1e-3)))``.
    ``chain(sharpness_aware(identity()), ...)`` is the same as a member of its own.

    A step takes one more gradient, of the same batch. Only the updates change: `inner` gets the params :math:`w` and
    all extras as they came, so that ``value``, ``grad`` and the functions remain those of one loss at one point.

    Where nothing moves, because :math:`\rho` or the gradient is zero, or because the gradient is not finite, `inner`
    gets the incoming gradient bit for bit.

    *m-sharpness.* The perturbation belongs to the batch whose gradient comes in: the global batch if the step is
    compiled as one program; its own part of the batch on each device if each passes its own gradient and averages
    only that of ``grad_fn``. The latter is what the authors ran, and other results than the former.

    *Low precision.* :math:`w + e` is computed in at least float32 and rounded to the dtype of the params. In bfloat16
    most of a small perturbation is lost; keep float32 params, and cast them in the loss.

    Args:
      inner: a whole optimizer, learning rate and all.
      rho: :math:`\rho`, at least 0: the length of the perturbation.

    State:
      `SharpnessAwareState`: a scalar, and the inner state.

    Raises:
      MissingExtraError: `update` was called without ``params``, or without a function to take gradients with.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, grad_fn = gradtx.sharpness_aware(gradtx.sgd(0.1), rho=0.5), jax.grad(lambda p: p**2 / 2)
      >>> params = jnp.array(1.0)
      >>> updates, state = tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)
      >>> gradtx.apply_updates(params, updates)  # 1 - 0.1 * (1 + 0.5)
      Array(0.85, dtype=float32)

    References:
      - Foret et al., Sharpness-aware minimization for efficiently improving generalization, 2021, arXiv:2010.01412.

    Differences from Optax's ``contrib.sam``: one call of ``update`` and one count for a step, not one for each of its
    gradients; a zero gradient is no NaN.
    """
    return _at_perturbed(inner, rho, lambda vector, _: vector)


sam = alias("sam", sharpness_aware)
"""The usual name of `sharpness_aware`."""


@transformation
def adaptive_sharpness_aware(
    inner: GradientTransformation, rho: NonNegative = 0.5, eta: NonNegative = 0.01, mask: Mask = None
) -> Pair:
    r"""Adaptive sharpness-aware minimization (ASAM): SAM with a perturbation in proportion to each weight.

    .. math::
        T_w = |w| + \eta, \qquad e = \rho\, \frac{T_w^2\, g(w)}{\lVert T_w\, g(w) \rVert_2}, \qquad
        u = \text{inner}\big(g(w + e)\big)

    The perturbation follows a weight when it is rescaled, so :math:`\rho` means the same for all scales, and is about
    ten times that of `sharpness_aware`. All else is as described there.

    Args:
      inner: a whole optimizer, learning rate and all.
      rho: :math:`\rho`, at least 0.
      eta: :math:`\eta`, at least 0: how much of the perturbation is left where a weight is zero.
      mask: the leaves with a :math:`T_w` of their own, as in `add_decayed_weights`; it is 1 at the others. All leaves
        if ``None``; ``"*kernel"`` is what the authors' code does, which leaves out biases.

    State:
      `SharpnessAwareState`: a scalar, and the inner state.

    Raises:
      MissingExtraError: `update` was called without ``params``, or without a function to take gradients with.
      ArgumentTypeError, ArgumentValueError, TreeMismatchError: the mask does not fit the params, or its globs match no
        leaf of them.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx = gradtx.adaptive_sharpness_aware(gradtx.sgd(0.1), rho=0.5, eta=0.0)
      >>> grad_fn, params = jax.grad(lambda p: p**2 / 2), jnp.array(2.0)
      >>> updates, state = tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)
      >>> gradtx.apply_updates(params, updates)  # 2 - 0.1 * (2 + 0.5 * 2)
      Array(1.7, dtype=float32)

    References:
      - Kwon et al., ASAM: adaptive sharpness-aware minimization for scale-invariant learning of deep neural networks,
        2021, arXiv:2102.11600.
    """

    def leaf(v: jax.Array, w: jax.Array, *, eta: Any) -> Any:
        return (jnp.abs(w) + eta) * v

    def scale(vector: Updates, params: Params) -> Updates:
        chosen = tree.resolve_mask(mask, vector)
        part, part_params = tree.keep_selected(vector, chosen), tree.keep_selected(params, chosen)
        scaled = tree.map_leaves(leaf, part, read=(part_params,), eta=eta)
        return tree.put_back(scaled, vector)

    return _at_perturbed(inner, rho, scale, mask)


asam = alias("asam", adaptive_sharpness_aware)
"""The usual name of `adaptive_sharpness_aware`."""


def _at_perturbed(inner: Any, rho: Any, scale: Scale, mask: Mask = None) -> Pair:
    """The inner transformation of the gradient at the perturbed point; ``scale(v, w)`` is the product of T_w and v."""

    def init(params: Params) -> SharpnessAwareState:
        tree.require_matches(mask, params)
        return SharpnessAwareState(jnp.zeros_like(tree.global_norm(params)), inner.init(params))

    def update(
        updates: Updates, state: SharpnessAwareState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "they are perturbed: tx.update(grads, state, params, grad_fn=...)")
        grad_fn = grad_function(extra)
        direction, norm, proper = _unit(scale(_widen(updates), params))
        e = tree.map_leaves(lambda d, *, rho: rho * d, scale(direction, params), rho=rho)
        unmoved = (rho == 0) | ~proper
        there = grad_fn(apply_updates(params, e))
        grads = tree.map_leaves(lambda here, there: _choose(unmoved, here, there), updates, read=(there,))
        changed, inner_state = inner.update(grads, state.inner_state, params, **extra)
        return changed, SharpnessAwareState(norm.astype(state.norm.dtype), inner_state)

    return init, update


@jax.custom_jvp
def _choose(unmoved: jax.Array, here: jax.Array, there: jax.Array) -> jax.Array:
    """The gradient there; where that is here, the gradient here bit for bit, however the other one was rounded.

    Its derivative is that of the gradient there in both cases: the perturbation has one in rho at rho = 0 too.
    """
    return jnp.where(unmoved, here, there)


_choose.defjvp(lambda primals, tangents: (_choose(*primals), tangents[2]))


def _widen(updates: Updates) -> Updates:
    """The updates in accumulator dtype."""

    def widen(g: Any) -> Any:
        return g if is_inert(g) else jnp.asarray(g, dtype=tree.accumulator_dtype(jnp.asarray(g).dtype))

    return jax.tree.map(widen, updates)


def _unit(vector: Updates) -> tuple[Updates, jax.Array, jax.Array]:
    """The vector divided by its norm, its norm, and whether it has a direction; zeros if it is zero or not finite.

    Squares neither overflow nor vanish: they are taken of the elements divided by the largest.
    """
    leaves = [jax.lax.stop_gradient(v) for v in jax.tree.leaves(vector) if not is_inert(v)]
    largest = jnp.zeros((), jnp.float32)
    for v in leaves:
        largest = jnp.maximum(largest, jnp.max(jnp.abs(v), initial=0))
    tiny = float(np.finfo(largest.dtype).tiny)
    proper = (largest >= tiny) & jnp.isfinite(largest)
    size = jnp.where(proper, jnp.clip(largest, tiny, 1 / tiny), 1)  # its reciprocal is an ordinary number
    scaled = tree.map_leaves(lambda v, *, factor: v * factor, vector, factor=1 / size)
    norm = tree.global_norm(scaled)
    # On XLA's CPU backend, the largest of 5000 numbers ignores a NaN (JAX 0.10 to 0.12); a sum does not.
    proper = proper & jnp.isfinite(norm)

    def leaf(v: jax.Array, *, factor: Any) -> Any:
        return jnp.where(proper, factor * v, 0)

    unit = tree.map_leaves(leaf, scaled, factor=1 / one_for_zero(norm))
    return unit, size * norm, proper
