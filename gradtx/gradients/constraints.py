"""Parameters kept inside of bounds, or on a sphere or a simplex: the last member of a chain."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import Pair, abs_sq, transformation
from gradtx.core.leafwise import PARAMS_HINT
from gradtx.core.numerics import as_stored
from gradtx.errors import ArgumentValueError, GradtxError, require_extra
from gradtx.gradients.axes import as_axes, axes_of
from gradtx.gradients.norms import norms
from gradtx.tree.arithmetic import cast, in_one_dtype
from gradtx.tree.mapping import arrays_of_one_shape, stored_dtype
from gradtx.tree.paths import flatten_like, is_inert, is_none, leaf_paths
from gradtx.typing import EmptyState, Numeric, Params, State, Updates

Axis = int | tuple[int, ...] | None
"""The axes along which the elements belong together; ``None`` for all."""


@transformation
def keep_params_nonnegative() -> Pair:
    r"""Change updates so that no parameter is negative after them: :math:`p + u \ge 0`.

    .. math:: u = \max(p + g, 0) - p

    Put it last: whatever comes after may move the parameters out again. A parameter that is negative becomes zero. It
    holds for what `apply_updates` makes, rounding included, in every dtype. The real and the imaginary part of a
    complex parameter are kept apart.

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.chain(gradtx.sgd(1.0), gradtx.keep_params_nonnegative()), jnp.array([1.0, 2.0])
      >>> updates, _ = tx.update(jnp.array([1.5, 1.5]), tx.init(params), params)
      >>> gradtx.apply_updates(params, updates)
      Array([0. , 0.5], dtype=float32)

    References:
      - Bertsekas, On the Goldstein-Levitin-Polyak gradient projection method, 1976.

    Differences from Optax: where a sum of float32 and lower precision is rounded below zero, it is raised to zero.
    """
    return _each(lambda g, p: _inside(g, p, 0.0, None))


@transformation
def keep_params_in(low: Numeric | None, high: Numeric | None) -> Pair:
    r"""Change updates so that the parameters are inside an interval after them.

    .. math:: u = \min(\max(p + g, a), b) - p

    Put it last: whatever comes after may move the parameters out again. It holds for what `apply_updates` makes,
    rounding included: a parameter in bfloat16 stops at the last bfloat16 number inside. One that is outside to begin
    with comes as near as the dtype of its update can bring it, and inside with the next updates. The real and the
    imaginary part of a complex parameter are kept apart. NaN stays NaN.

    Args:
      low: :math:`a`, a finite number or a schedule; ``None`` for no bound.
      high: :math:`b`, at least `low`; ``None`` for no bound.

    State:
      `EmptyState`: nothing; with a schedule, a `ScheduledState` that counts the steps.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentValueError: `low` is above `high`.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.chain(gradtx.sgd(1.0), gradtx.keep_params_in(-1.0, 1.0)), jnp.array([0.5, -0.5])
      >>> updates, _ = tx.update(jnp.array([2.0, 0.25]), tx.init(params), params)
      >>> gradtx.apply_updates(params, updates)
      Array([-1.  , -0.75], dtype=float32)

    References:
      - Bertsekas, On the Goldstein-Levitin-Polyak gradient projection method, 1976.
    """
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise ArgumentValueError("low to be at most high", got=f"{low!r} and {high!r}")
    return _each(lambda g, p: _inside(g, p, low, high))


@transformation
def keep_params_unit_norm(axis: Axis = None) -> Pair:
    r"""Change updates so that the parameters have the norm 1 after them.

    .. math:: u = \frac{p + g}{\lVert p + g \rVert_2} - p

    Put it last: whatever comes after would change the norm. Where :math:`p + g` is zero there is no direction to go in,
    and the parameter stays.

    Args:
      axis: the axis (or axes) along which the norm is taken: -1 for each row of an embedding [words, size]. ``None``
        takes the norm of a whole leaf. A leaf without axes is one element.

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentValueError: a leaf does not have the axis.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.keep_params_unit_norm(axis=-1))
      >>> params = jnp.array([[1.0, 0.0], [0.6, 0.8]])
      >>> updates, _ = tx.update(jnp.array([[-2.0, -4.0], [0.0, 0.0]]), tx.init(params), params)
      >>> gradtx.apply_updates(params, updates)
      Array([[0.6, 0.8],
             [0.6, 0.8]], dtype=float32)

    References:
      - Absil, Mahony, Sepulchre, Optimization algorithms on matrix manifolds, 2008 (a retraction of the sphere).
    """
    _require_axis(axis)
    return _each(lambda g, p: _of_unit_norm(g, p, _axes_of(p, axis)))


@transformation
def keep_params_on_simplex(axis: Axis = -1) -> Pair:
    r"""Change updates so that the parameters are weights after them: at least 0, and 1 in sum.

    .. math:: u = \max(p + g - \theta, 0) - p, \qquad \theta: \textstyle\sum_i \max(p_i + g_i - \theta, 0) = 1

    That is the nearest point of the simplex. Put it last: whatever comes after would leave it. No parameter is negative
    after `apply_updates`; the sum is 1 up to rounding. Of a complex parameter the imaginary part becomes zero.

    Args:
      axis: the axis (or axes) along which the weights add up to 1; ``None`` for a whole leaf. A leaf without axes is
        one weight.

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentValueError: a leaf does not have the axis.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.chain(gradtx.sgd(1.0), gradtx.keep_params_on_simplex()), jnp.array([0.5, 0.25, 0.25])
      >>> updates, _ = tx.update(jnp.array([-0.5, 0.0, 0.25]), tx.init(params), params)
      >>> gradtx.apply_updates(params, updates)
      Array([0.875, 0.125, 0.   ], dtype=float32)

    References:
      - Duchi et al., Efficient projections onto the l1-ball for learning in high dimensions, ICML 2008.
    """
    _require_axis(axis)
    return _each(lambda g, p: _on_simplex(g, p, _axes_of(p, axis)))


# --- leaf by leaf -----------------------------------------------------------------------------------------------------


def _each(step: Callable[[jax.Array, jax.Array], jax.Array]) -> Pair:
    """A transformation from one function of the update and the parameter of a leaf, both as they are stored.

    It is not leafwise, since leaf functions see wider arrays: where a bound is after rounding depends on the dtypes.
    """

    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", PARAMS_HINT)
        treedef: Any
        gs, treedef = jax.tree.flatten(updates, is_leaf=is_none)
        rows = enumerate(zip(gs, flatten_like(updates, treedef, params, "params"), strict=True))
        return treedef.unflatten([_new_update(step, updates, i, *row) for i, row in rows]), state

    return lambda params: EmptyState(), update  # noqa: ARG005


def _new_update(step: Callable[..., jax.Array], updates: Updates, index: int, g: Any, p: Any) -> Any:
    """The update of a leaf that moves; one without numbers, or of a whole number, stays."""
    if is_inert(g):
        return g
    g, p = arrays_of_one_shape(updates, index, (g, p))
    if not jnp.issubdtype(p.dtype, jnp.inexact):
        return g
    try:
        return cast(step(g, p), stored_dtype(g.dtype))
    except GradtxError as error:
        error.at = error.at or leaf_paths(updates)[index]
        raise


@jax.jit
def _inside(g: jax.Array, p: jax.Array, low: Any, high: Any) -> jax.Array:
    """The update, or where it would lead out of an interval the one that leads to its end."""
    u, x = in_one_dtype(g, p)
    if jnp.iscomplexobj(u):
        parts = [(part(g), part(p)) for part in (jnp.real, jnp.imag)]
        return jax.lax.complex(*(in_one_dtype(_inside(*pair, low, high), u.real)[0] for pair in parts))
    least = None if low is None else _stored_beyond(jnp.asarray(low, x.dtype), p.dtype, 1)
    most = None if high is None else _stored_beyond(jnp.asarray(high, x.dtype), p.dtype, -1)
    target = x + u
    target = target if least is None else jnp.maximum(target, least)
    target = target if most is None else jnp.minimum(target, most)
    # What is inside gets the update that came, and not the difference of a sum, which has fewer digits.
    return jnp.where((target == x + u) | jnp.isnan(target), u, _towards(target, g, p, least, most))


@functools.partial(jax.jit, static_argnums=2)
def _of_unit_norm(g: jax.Array, p: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    u, x = in_one_dtype(g, p)
    y = x + u
    norm = norms(lambda scale: jnp.sum(abs_sq(scale * y), axis=axes, keepdims=True), y.real.dtype)
    usable = norm >= np.finfo(norm.dtype).tiny
    return jnp.where(usable, y / jnp.where(usable, norm, 1), x) - x


@functools.partial(jax.jit, static_argnums=2)
def _on_simplex(g: jax.Array, p: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    u, x = in_one_dtype(g, p)
    if not p.size:
        return u
    last = tuple(range(p.ndim - len(axes), p.ndim))
    y = jnp.moveaxis(jnp.real(x + u), axes, last)
    target = _nearest_weights(y.reshape(*y.shape[: p.ndim - len(axes)], -1)).reshape(y.shape)
    target = jnp.moveaxis(target, last, axes)
    weights = _towards(target, jnp.real(g), jnp.real(p), 0, None)
    return jax.lax.complex(weights, -jnp.imag(x)) if jnp.iscomplexobj(u) else weights


def _nearest_weights(x: jax.Array) -> jax.Array:
    """The nearest points of the simplex to the vectors along the last axis."""
    # Adding a number to all changes nothing, and what is below the largest by 1 has no weight. Sums are exact then.
    x = jnp.maximum(x - jnp.max(x, axis=-1, keepdims=True), -1)
    sums = jnp.cumsum(jnp.flip(jnp.sort(x, axis=-1), axis=-1), axis=-1)
    # The k largest ones have weight for the k of the largest threshold.
    threshold = jnp.max((sums - 1) / jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype), axis=-1, keepdims=True)
    return jnp.maximum(x - threshold, 0)


def _towards(target: jax.Array, g: jax.Array, p: jax.Array, least: Any, most: Any) -> jax.Array:
    """The update in the dtype of `g` that leads to a target, or next to it inside of bounds that `p` can be.

    The sum with the parameter will be rounded, but not beyond a number of its dtype.
    """
    x, dtype = cast(p, target.dtype), stored_dtype(g.dtype)
    u = as_stored(target - x, dtype)
    # Rounded to the nearest number, an update may lead past the target. The number before it does not.
    step = _spacing(u, dtype)
    if most is not None:
        u = jnp.where(x + u > most, as_stored(u - step, dtype), u)
    if least is not None:
        u = jnp.where(x + u < least, as_stored(u + step, dtype), u)
    return u


def _stored_beyond(x: jax.Array, dtype: Any, sign: int) -> jax.Array:
    """A number if it is one of a dtype, or else the next one of it above (sign 1) or below (sign -1)."""
    stored = as_stored(x, dtype)
    return jnp.where(sign * stored < sign * x, as_stored(stored + sign * _spacing(stored, dtype), dtype), stored)


def _spacing(x: jax.Array, dtype: Any) -> jax.Array:
    """At least the distance of a number of a dtype to the next normal one, and about twice that at most."""
    format_of: Any = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    return jnp.maximum(jnp.abs(x) * float(format_of.eps), float(format_of.tiny))


def _require_axis(axis: Any) -> None:
    if axis is not None:
        as_axes(axis, "axis")


def _axes_of(x: jax.Array, axis: Axis) -> tuple[int, ...]:
    """The axes of an array that an argument ``axis`` means; an array without axes is one element."""
    if axis is None or not x.ndim:
        return tuple(range(x.ndim))
    return axes_of(x, as_axes(axis, "axis"))
