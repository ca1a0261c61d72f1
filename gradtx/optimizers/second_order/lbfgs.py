"""L-BFGS: the inverse Hessian from the last few steps and what they did to the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    GradientTransformation,
    Pair,
    increment,
    one_for_zero,
    optimizer,
    transformation,
    zero_count,
)
from gradtx.errors import ArgumentValueError, require_extra
from gradtx.gradients import identity, scale, scale_by_learning_rate
from gradtx.optimizers.second_order.zoom import scale_by_zoom_linesearch
from gradtx.tree.paths import is_inert, is_none
from gradtx.typing import Count, NonNegative, Params, State, Updates


class ScaleByLbfgsState(NamedTuple):
    """The state of `scale_by_lbfgs`.

    Attributes:
      count: the number of updates with a finite gradient, int32 [].
      params: the params at the last of them, in accumulator dtype.
      grads: the updates that came in there, in accumulator dtype.
      params_memory: the steps s, with a leading axis of `memory_size`: a ring buffer.
      grads_memory: what they changed in the gradient, y, likewise.
      weights: 1 / <s, y> for each pair, float [memory_size]; 0 where there is none.
      next: the slot for the next pair, int32 [].
      scale: the factor of the identity that the inverse Hessian begins with, float [].
      kept: how many pairs are in the memory, int32 [].
      skipped: how many were not kept for want of curvature, int32 [].
    """

    count: Count
    params: Params
    grads: Updates
    params_memory: Params
    grads_memory: Updates
    weights: jax.Array
    next: jax.Array
    scale: jax.Array
    kept: Count
    skipped: Count


@transformation
def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> Pair:
    r"""Multiply the gradient by an estimate of the inverse Hessian, from the last steps and changes of the gradient.

    With :math:`s_i = p_{i+1} - p_i`, :math:`y_i = g_{i+1} - g_i`, :math:`\rho_i = 1 / \langle s_i, y_i \rangle`,

    .. math::
        u_k = H_k g_k, \qquad H_k = V_{k-1}^\top H_{k-1} V_{k-1} + \rho_{k-1} s_{k-1} s_{k-1}^\top, \qquad
        V_i = I - \rho_i y_i s_i^\top

    where the recursion goes back `memory_size` steps and begins with :math:`\gamma I`,
    :math:`\gamma = \langle s_{k-1}, y_{k-1} \rangle / |y_{k-1}|^2`. It is done in two loops over the pairs, without a
    matrix. The updates that come in must be the gradient at the params; what goes out is a direction of ascent. A line
    search after it makes an optimizer: `lbfgs`.

    A pair is kept if :math:`\langle s, y \rangle > \varepsilon\, |s| |y|`, with the machine precision
    :math:`\varepsilon` of the accumulators, so that :math:`H` stays positive definite. Steps of a strong Wolfe search
    always make such pairs; the state counts those that are not kept. If the params have not moved since the last
    update, a search has failed: the memory is emptied, and the step goes along the gradient again. While it is empty,
    :math:`\gamma = 1 / |g|`, so that the direction has length 1. A gradient that is not finite leaves the memory alone,
    and is itself the direction, times :math:`\gamma`.

    For complex parameters, :math:`\langle x, y \rangle` is the inner product of real and imaginary parts.

    Args:
      memory_size: how many pairs are remembered, at least 1.
      scale_init_precond: begin with :math:`\gamma`; otherwise with 1.

    State:
      `ScaleByLbfgsState`: :math:`8 (m + 1)` bytes per float32 parameter, where m is `memory_size`.

    Raises:
      ArgumentValueError: `memory_size` is less than 1.
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, curvature = gradtx.scale_by_lbfgs(), jnp.array([1.0, 10.0])
      >>> p = jnp.array([4.0, 3.0])
      >>> state = tx.init(p)
      >>> for _ in range(4):  # no line search: a quadratic needs none once its Hessian is known
      ...     updates, state = tx.update(curvature * p, state, p)
      ...     p = p - updates
      >>> state.kept, bool(jnp.max(jnp.abs(p)) < 0.1)
      (Array(3, dtype=int32), True)

    References:
      - Nocedal, Wright, Numerical optimization, 2nd edition, 2006, algorithms 7.4 and 7.5.
      - Liu, Nocedal, On the limited memory BFGS method for large scale optimization, 1989.

    Differences from Optax: pairs of no or negative curvature are not kept, and counted; the memory is emptied after a
    failed search; the first step is of length 1 however small the gradient.
    """
    if memory_size < 1:
        raise ArgumentValueError("memory_size of at least 1", got=str(memory_size))

    def init(params: Params) -> ScaleByLbfgsState:
        like = tree.zeros_accumulator(params)
        memory = jax.tree.map(lambda x: jnp.broadcast_to(x, (memory_size, *x.shape)), like)  # sharded as x is
        real = jnp.result_type(float)
        return ScaleByLbfgsState(
            count=zero_count(),
            params=like,
            grads=tree.zeros_like(like),
            params_memory=memory,
            grads_memory=tree.zeros_like(memory),
            weights=jnp.zeros((memory_size,), real),
            next=zero_count(),
            scale=jnp.ones((), real),
            kept=zero_count(),
            skipped=zero_count(),
        )

    def update(
        updates: Updates, state: ScaleByLbfgsState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "L-BFGS looks at its steps: tx.update(grads, state, params)")
        norm = tree.global_norm(updates)
        finite = jnp.isfinite(norm)
        state = _remember(updates, state, params, finite)
        if scale_init_precond:
            first = 1 / one_for_zero(norm).astype(state.scale.dtype)
            first = jnp.where(finite, first, 1)
            state = state._replace(scale=jnp.where(state.kept > 0, state.scale, first))
        else:
            state = state._replace(scale=jnp.ones_like(state.scale))
        direction = _inverse_hessian_times(_filled(updates, tree.zeros_like(state.grads)), state, finite)
        return tree.map_leaves(lambda _, d: d, updates, read=(direction,)), state

    return init, update


def _filled(updates: Updates, default: Any) -> Any:
    """A tree in the dtypes of `default`, with its leaves where the updates have none."""
    return jax.tree.map(lambda u, d: d if is_inert(u) else jnp.asarray(u, d.dtype), updates, default, is_leaf=is_none)


def _remember(updates: Updates, state: ScaleByLbfgsState, params: Params, finite: jax.Array) -> ScaleByLbfgsState:
    """The state with the pair of the last step, if it is one to keep; as it was, if the gradient is not finite."""
    # A leaf without a gradient counts as where it was seen last: it adds nothing to the pair.
    present = jax.tree.map(lambda u, p: None if is_inert(u) else p, updates, params, is_leaf=is_none)
    p, g = _filled(present, state.params), _filled(updates, state.grads)
    step, change = (jax.tree.map(jnp.subtract, *pair) for pair in ((p, state.params), (g, state.grads)))
    # Norms, not their squares: a step of 1e-23 has a square of zero in float32, and would count as a failed search.
    curvature, moved, changed = tree.inner(step, change), tree.global_norm(step), tree.global_norm(change)
    begun = finite & (state.count > 0)
    keep = begun & _is_positive(curvature, moved, changed)
    stuck = begun & (moved == 0)

    def write(memory: jax.Array, x: jax.Array) -> jax.Array:
        old = jax.lax.dynamic_index_in_dim(memory, state.next, keepdims=False)
        updated: jax.Array = jax.lax.dynamic_update_index_in_dim(memory, jnp.where(keep, x, old), state.next, 0)
        return updated

    size, real = state.weights.shape[0], state.weights.dtype
    weight = (1 / jnp.where(keep, curvature, 1)).astype(real)
    divisor = jnp.where(keep, changed, 1)
    scale = (curvature / divisor / divisor).astype(real)
    return ScaleByLbfgsState(
        count=jnp.where(finite, increment(state.count), state.count),
        params=jax.tree.map(lambda new, old: jnp.where(finite, new, old), p, state.params),
        grads=jax.tree.map(lambda new, old: jnp.where(finite, new, old), g, state.grads),
        params_memory=jax.tree.map(write, state.params_memory, step),
        grads_memory=jax.tree.map(write, state.grads_memory, change),
        weights=jnp.where(stuck, 0, write(state.weights, weight)),
        next=jnp.where(keep, (state.next + 1) % size, state.next),
        scale=jnp.where(keep, scale, state.scale),
        kept=jnp.where(stuck, 0, jnp.where(keep, jnp.minimum(state.kept + 1, size), state.kept)),
        skipped=jnp.where(begun & ~keep, increment(state.skipped), state.skipped),
    )


def _is_positive(curvature: jax.Array, moved: jax.Array, changed: jax.Array) -> jax.Array:
    """Whether the angle between step and change is clearly less than a right one."""
    curvature, moved, changed = jax.lax.stop_gradient((curvature, moved, changed))
    precision = float(jnp.finfo(curvature.dtype).eps)  # type: ignore[no-untyped-call]
    return curvature > precision * moved * changed


@jax.jit  # apart from a program, the loops would be compiled at every update
def _inverse_hessian_times(grads: Updates, state: ScaleByLbfgsState, finite: jax.Array) -> Updates:
    """The two loops: from the newest pair to the oldest, and back."""
    size = state.weights.shape[0]
    newest_first = (state.next - 1 - jnp.arange(size, dtype=jnp.int32)) % size

    def pair(index: jax.Array) -> tuple[jax.Array, Params, Updates]:
        take = lambda memory: jax.lax.dynamic_index_in_dim(memory, index, keepdims=False)  # noqa: E731
        weight, s, y = jax.tree.map(take, (state.weights, state.params_memory, state.grads_memory))
        return jnp.where(finite, weight, 0), s, y

    def coefficient(weight: jax.Array, x: Any, y: Any) -> jax.Array:
        return weight * jnp.where(finite, tree.inner(x, y), 0).astype(weight.dtype)

    def back(q: Updates, index: jax.Array) -> tuple[Updates, jax.Array]:
        weight, s, y = pair(index)
        alpha = coefficient(weight, s, q)
        return _plus(q, -alpha, y), alpha

    def forth(r: Updates, index_alpha: tuple[jax.Array, jax.Array]) -> tuple[Updates, None]:
        index, alpha = index_alpha
        weight, s, y = pair(index)
        beta = coefficient(weight, y, r)
        return _plus(r, alpha - beta, s), None

    q, alphas = jax.lax.scan(back, grads, newest_first)
    r = jax.tree.map(lambda x: _in_dtype_of(x, state.scale) * x, q)
    direction, _ = jax.lax.scan(forth, r, (newest_first, alphas), reverse=True)
    return direction


def _plus(x: Any, factor: jax.Array, y: Any) -> Any:
    return jax.tree.map(lambda a, b: a + _in_dtype_of(a, factor) * b, x, y)


def _in_dtype_of(x: jax.Array, factor: jax.Array) -> jax.Array:
    return factor.astype(jnp.real(x).dtype)


@optimizer
def lbfgs(
    learning_rate: NonNegative | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: GradientTransformation | None = scale_by_zoom_linesearch(  # noqa: B008  a value, which never changes
        max_linesearch_steps=20, initial_guess_strategy="one"
    ),
) -> GradientTransformation:
    r"""L-BFGS: for functions that do not change from step to step, such as a loss over a full batch.

    Composition: `scale_by_lbfgs`, ``scale(-1.0)`` (or `scale_by_learning_rate`), the line search.

    `update` needs ``value_fn`` or ``value_and_grad_fn``, and takes ``value`` and ``grad`` from
    `value_and_grad_from_state`: then each step calls the function as often as the line search tries a point, mostly
    once.

    Args:
      learning_rate: a factor for the direction, at least 0; the line search then scales what remains. By default 1.
      memory_size: how many pairs are remembered, at least 1.
      scale_init_precond: begin with the scaled identity of `scale_by_lbfgs`; otherwise with the identity.
      linesearch: what follows the direction; ``None`` for no search, and then `update` needs no function.

    State:
      :math:`8 (m + 1)` bytes per float32 parameter for the direction, 4 for the line search.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> def loss(p):
      ...     return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
      >>> tx, p = gradtx.lbfgs(), jnp.array([-1.2, 1.0])
      >>> state = tx.init(p)
      >>> for _ in range(40):
      ...     value, grad = gradtx.value_and_grad_from_state(loss)(p, state=state)
      ...     updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
      ...     p = gradtx.apply_updates(p, updates)
      >>> p.round(2)
      Array([1., 1.], dtype=float32)

    References:
      - Liu, Nocedal, On the limited memory BFGS method for large scale optimization, 1989.
      - Nocedal, Wright, Numerical optimization, 2nd edition, 2006, chapters 3 and 7.
    """
    step = scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    search = identity() if linesearch is None else linesearch
    return chain(scale_by_lbfgs(memory_size, scale_init_precond), step, search)
