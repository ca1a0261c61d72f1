"""Bounds on the size of updates."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Form, abs_sq, increment, leafwise, transformation
from gradtx.errors import ArgumentValueError
from gradtx.gradients.axes import OutputAxis, as_axes, other_axes
from gradtx.gradients.norms import norms
from gradtx.tree.arithmetic import widen
from gradtx.typing import Count, NonNegative, Params, Updates


@transformation
def clip(max_delta: NonNegative) -> Form:
    r"""Clip each element to an interval: :math:`u = \min(\max(g, -\delta), \delta)`.

    The real and imaginary parts of a complex element are clipped separately. NaN stays NaN.

    Args:
      max_delta: :math:`\delta`, at least 0.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.clip(1.0).update(jnp.array([2.0, 0.5]), gradtx.EmptyState())[0]
      Array([1. , 0.5], dtype=float32)
    """

    def leaf(g: jax.Array) -> jax.Array:
        return _part_by_part(lambda x: jnp.clip(x, -max_delta, max_delta), g)

    return leafwise(leaf)


class ClipByGlobalNormState(NamedTuple):
    """The state of `clip_by_global_norm`.

    Attributes:
      norm: the norm of the last updates before clipping, float32 [].
      clipped: how many updates were clipped, int32 [].
    """

    norm: jax.Array
    clipped: Count


@transformation
def clip_by_global_norm(max_norm: NonNegative, scope: Literal["tree", "group"] = "tree") -> Form:
    r"""Shrink all updates together so that their norm is at most a bound.

    .. math::
        u = g \cdot \min\!\left(1, \frac{c}{\lVert g \rVert_2}\right)

    The norm is taken over all leaves, in at least float32. If it is NaN, nothing is shrunk: the leaves that are right
    stay right. If it is infinite, because an element is or the norm is beyond the largest float, all updates are zero,
    as they are in the limit.

    Inside `masked`, all leaves are those of the mask. Inside `partition`, the norm is that of the whole tree as it came
    to the (outermost) partition, unless `scope` says otherwise; a clip that is to be of the whole tree must then be the
    first in its group, before anything that changes the updates.

    Args:
      max_norm: :math:`c`, at least 0.
      scope: inside `partition`, what the norm is taken over: the whole ``"tree"``, or the leaves of the ``"group"``.

    State:
      `ClipByGlobalNormState`: two scalars.

    Raises:
      ArgumentValueError: inside `partition`, an earlier member of the group has changed the updates.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.clip_by_global_norm(1.0)
      >>> u, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
      >>> u, state.norm
      (Array([0.6, 0.8], dtype=float32), Array(5., dtype=float32))

    References:
      - Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013, arXiv:1211.5063.

    Differences from Optax: the norm is global inside `partition` too.
    """

    def init_shared(params: Params) -> dict[str, Any]:
        return {"norm": jnp.zeros_like(tree.global_norm(params))}

    def prepare(
        state: ClipByGlobalNormState, updates: Updates, whole_updates: Updates | None = None
    ) -> tuple[ClipByGlobalNormState, dict[str, Any]]:
        if scope == "tree" and whole_updates is not None:
            _require_part(updates, whole_updates)
            updates = whole_updates
        norm = tree.global_norm(updates)
        clipped = jnp.where(norm > max_norm, increment(state.clipped), state.clipped)
        # If the norm is infinite, nothing must be left: an infinite element times a factor of zero would be NaN. Bounds
        # do that without a branch; a selection, which compilers move out of the loops, takes a tenth longer to compile.
        largest = jnp.where(norm == jnp.inf, 0.0, jnp.inf)
        # One scalar factor fuses into every reader; dividing each leaf would write a clipped copy of the gradients.
        scalars = {"factor": _shrinking(norm, max_norm), "largest": largest}
        return ClipByGlobalNormState(norm.astype(state.norm.dtype), clipped), scalars

    def leaf(g: jax.Array, *, factor: Any, largest: Any) -> Any:
        # One operation of lax, which is traced faster than two of jax.numpy; it has no derivative by its bounds.
        return factor * _part_by_part(lambda x: jax.lax.clamp(-largest, x, largest), g)

    return leafwise(leaf, state=ClipByGlobalNormState, init_shared=init_shared, prepare=prepare)


def _require_part(updates: Updates, whole: Updates) -> None:
    """Refuse updates that are not leaves of the whole tree: a norm of the one says nothing about the other."""
    known = {id(x) for x in jax.tree.leaves(whole)}
    if not all(id(x) in known for x in jax.tree.leaves(updates)):
        raise ArgumentValueError(
            "the updates as they came to the partition, whose norm is taken over the whole tree",
            got="updates that an earlier member of the group has changed",
            hint='put the clip first in its group, or take the norm over the group alone: scope="group"',
        )


def _part_by_part(bound: Callable[[jax.Array], jax.Array], g: jax.Array) -> jax.Array:
    """A bound on each element, on the real and the imaginary part apart."""
    return jax.lax.complex(bound(g.real), bound(g.imag)) if jnp.iscomplexobj(g) else bound(g)


def _shrinking(norm: jax.Array, bound: Any) -> jax.Array:
    """The factor that shrinks a norm to a bound; 1 if the norm is NaN."""
    exceeds = norm > bound
    # The division comes last: XLA makes it once, where it would repeat a selection in the loops of every leaf.
    return jnp.where(exceeds, bound, 1) / jnp.where(exceeds, norm, 1)


def zero_if_infinite(g: jax.Array, norm: jax.Array) -> jax.Array:
    """The updates, or zeros if their norm is infinite: an infinite element times a factor of zero would be NaN."""
    return jnp.where(norm == jnp.inf, 0, g)


@transformation
def adaptive_grad_clip(clipping: NonNegative, eps: NonNegative = 1e-3, output_axis: OutputAxis = -1) -> Form:
    r"""Shrink the gradient of each unit to a fraction of the unit's weights (adaptive gradient clipping).

    .. math::
        u_j = g_j \cdot \min\!\left(1, \lambda \frac{\max(\lVert p_j \rVert_2, \epsilon)}{\lVert g_j \rVert_2}\right)

    where :math:`g_j` is the gradient of all weights that lead to output j. A leaf with fewer than two axes is one unit.
    A unit whose norm is NaN passes through; one whose norm is infinite becomes zero.

    Args:
      clipping: :math:`\lambda`, at least 0; 0.01 to 0.16 in the paper, smaller for larger batches.
      eps: :math:`\epsilon`, at least 0: the norm that weights are taken to have at least, so that those which begin at
        zero can move.
      output_axis: the axis (or axes) of a kernel that numbers its outputs: the last one in JAX, where kernels are
        [..., in, out].

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentValueError: a leaf with two axes or more does not have the axis.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.adaptive_grad_clip(0.1), jnp.array([[3.0, 0.0], [4.0, 0.0]])
      >>> tx.update(jnp.array([[0.0, 0.3], [10.0, 0.4]]), tx.init(params), params)[0]
      Array([[0.e+00, 6.e-05],
             [5.e-01, 8.e-05]], dtype=float32)

    References:
      - Brock et al., High-performance large-scale image recognition without normalization, 2021, arXiv:2102.06171.

    Differences from Optax, whose ``axis`` names the axes to sum over: it agrees for two, four and five axes. With
    three, Optax takes the whole leaf for a unit; here the last axis numbers units, as in a one-dimensional convolution.
    Like the authors' code, leave the last layer out: ``masked(adaptive_grad_clip(0.01), ...)``.
    """
    axes = as_axes(output_axis)

    def leaf(g: jax.Array, *, p: jax.Array) -> jax.Array:
        norm = _norms_of_units(g, axes)
        bound = clipping * jnp.maximum(_norms_of_units(p, axes), eps)
        return _shrinking(norm, bound) * zero_if_infinite(g, norm)

    return leafwise(leaf)


def unitwise_norm(x: jax.Array, output_axis: OutputAxis = -1) -> jax.Array:
    """The norm of the unit that each element belongs to, in at least float32: the units of `adaptive_grad_clip`.

    Args:
      x: an array; with fewer than two axes it is one unit.
      output_axis: the axis (or axes) that numbers the units.

    Returns:
      An array of the shape of `x`.

    Raises:
      ArgumentValueError: the array has two axes or more, but not that one.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.unitwise_norm(jnp.array([[3.0, 0.0], [4.0, 1.0]]))
      Array([[5., 1.],
             [5., 1.]], dtype=float32)

    Differences from Optax, whose ``axis`` names the axes to sum over: see `adaptive_grad_clip`.
    """
    x = widen(x)
    return jnp.broadcast_to(_norms_of_units(x, as_axes(output_axis)), x.shape)


def unitwise_clip(g_norm: jax.Array, max_norm: jax.Array, grad: jax.Array) -> jax.Array:
    r"""Shrink each element by what its norm exceeds a bound: :math:`g \cdot \min(1, c / \lVert g \rVert)`.

    An element whose norm is NaN passes through; one whose norm is infinite becomes zero.

    Args:
      g_norm: for each element the norm of its unit, such as `unitwise_norm` returns.
      max_norm: the bounds of these.
      grad: the elements.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> g = jnp.array([[3.0, 0.0], [4.0, 1.0]])
      >>> gradtx.unitwise_clip(gradtx.unitwise_norm(g), jnp.full((2, 2), 2.5), g)
      Array([[1.5, 0. ],
             [2. , 1. ]], dtype=float32)

    References:
      - Brock et al., High-performance large-scale image recognition without normalization, 2021, arXiv:2102.06171.

    Differences from Optax: there is no ``div_eps``, as nothing is divided by a norm of zero.
    """
    factor = _shrinking(jnp.asarray(g_norm), max_norm)
    return (factor * zero_if_infinite(jnp.asarray(grad), jnp.asarray(g_norm))).astype(jnp.result_type(grad))


def _norms_of_units(x: jax.Array, output_axes: tuple[int, ...]) -> jax.Array:
    """The norms of the slices along some axes, which keep the others as axes of length 1."""
    others = other_axes(x, output_axes) if x.ndim > 1 else tuple(range(x.ndim))
    return norms(lambda scale: jnp.sum(abs_sq(scale * x), axis=others, keepdims=True), x.real.dtype)


@transformation
def clip_by_block_rms(threshold: NonNegative) -> Form:
    r"""Shrink each leaf so that its root mean square is at most a bound.

    .. math::
        u = g \cdot \min\!\left(1, \frac{d}{\mathrm{RMS}(g)}\right), \qquad
        \mathrm{RMS}(g) = \sqrt{\tfrac1n \textstyle\sum_i |g_i|^2}

    A leaf whose root mean square is NaN passes through; one where it is infinite becomes zero.

    Args:
      threshold: :math:`d`, at least 0.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.clip_by_block_rms(1.0).update(jnp.array([1.0, -7.0]), gradtx.EmptyState())[0]
      Array([ 0.2, -1.4], dtype=float32)

    References:
      - Shazeer, Stern, Adafactor: adaptive learning rates with sublinear memory cost, 2018, arXiv:1804.04235.
    """

    def leaf(g: jax.Array) -> jax.Array:
        rms = tree.global_norm(g) * max(g.size, 1) ** -0.5
        return _shrinking(rms, threshold) * zero_if_infinite(g, rms)

    return leafwise(leaf)
