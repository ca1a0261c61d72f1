"""Mechanic: a factor for the steps of another optimizer, learned along the way."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, safe_sqrt, transformation, with_eps
from gradtx.errors import ArgumentValueError, require_extra
from gradtx.typing import NonNegative, Params, Positive, State, Updates


class MechanicState(NamedTuple):
    r"""The state of `mechanize`. Its arrays have an entry for each :math:`\beta_i`, float [num_betas].

    Attributes:
      r: the rewards, of which the factors are made.
      m: the largest slopes, with a memory of :math:`\beta_i`.
      v: the sums of squared slopes, likewise.
      s: the factors of the last step; their sum is what the steps so far are multiplied by.
      delta: the sum of the inner updates, downwards, like the params, in accumulator dtype.
      inner: the state of the inner transformation.
    """

    r: jax.Array
    m: jax.Array
    v: jax.Array
    s: jax.Array
    delta: Updates
    inner: State


@transformation
def mechanize(
    inner: GradientTransformation,
    weight_decay: NonNegative = 1e-2,
    eps: NonNegative = 1e-8,
    s_init: Positive = 1e-6,
    num_betas: int = 6,
) -> Pair:
    r"""Learn the factor of another optimizer's steps: of all of them together, those of the past too (Mechanic).

    With the updates :math:`u_t` of the inner transformation and :math:`S = \sum_i s_i`, the params are
    :math:`x_0 - S \Delta`. At each step

    .. math::
        \Delta &\leftarrow \frac{S}{S+\epsilon} \Delta, \\
        h &= \Bigl\langle g_t + \lambda S \frac{\lVert g_t \rVert}{\lVert p \rVert + \epsilon}\, p,\;
        \Delta \Bigr\rangle, \qquad \Delta \leftarrow \Delta - u_t, \\
        r_i &\leftarrow \beta_i r_i + \operatorname{clip}(h, -m_i, m_i)\, s_i, \qquad
        m_i \leftarrow \max(\beta_i m_i, |h| + \epsilon), \qquad v_i \leftarrow \beta_i^2 v_i + h^2, \\
        s_i &\leftarrow \frac{s_0 m_i / n + \max(r_i, 0)}{\sqrt{v_i} + \epsilon}, \qquad
        \beta_i = 1 - 10^{-i}, \quad i = 1, \dots, n

    The rate of the inner optimizer is then its schedule alone: give it a peak of 1. The factor is
    ``tree.get_field(state, "s").sum()``. Optimizers that divide by the norm of whole layers, such as `lamb`, are not
    meant to be inside.

    A gradient or a sum that is not finite leaves all factors as they are. Nothing after this in a chain may change the
    updates: they take back the step before.

    Args:
      inner: a whole optimizer, learning rate and all.
      weight_decay: :math:`\lambda`, at least 0: it pulls :math:`S` down, and is no decay of the inner optimizer.
      eps: :math:`\epsilon`, at least 0.
      s_init: :math:`s_0`, above 0, the factor to begin with.
      num_betas: :math:`n`, at least 1, how many memories compete.

    State:
      `MechanicState`: 4 bytes per float32 parameter, four arrays of `num_betas` numbers, and the inner state.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentValueError: `num_betas` is less than 1.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.mechanize(gradtx.sgd(1.0)), jnp.array([3.0, -2.0])
      >>> state = tx.init(p)
      >>> for _ in range(200):
      ...     updates, state = tx.update(jax.grad(lambda p: jnp.sum(p**2))(p), state, p)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(jnp.max(jnp.abs(p)) < 0.1)
      True

    References:
      - Cutkosky, Defazio, Mehta, Mechanic: a learning rate tuner, 2023, arXiv:2306.00144.

    Differences from Optax: ``inner`` is its ``base_optimizer``; the state has :math:`\Delta` and not :math:`x_0`. In
    exact arithmetic the steps are the same; but Optax finds :math:`\Delta` as :math:`(x_0 - p)/(S+\epsilon)`, which at
    the :math:`S = 10^{-6}` of the first steps has a digit or two in float32 and none in bfloat16: params of size 1
    never leave the start.
    """
    if num_betas < 1:
        raise ArgumentValueError("num_betas to be at least 1", got=f"{num_betas}")
    powers = 1 - 0.1 ** np.arange(1, num_betas + 1)

    def init(params: Params) -> MechanicState:
        r, m, v = (jnp.zeros(num_betas, jnp.result_type(float)) for _ in range(3))
        return MechanicState(r, m, v, jnp.full_like(r, s_init), tree.zeros_accumulator(params), inner.init(params))

    def update(
        updates: Updates, state: MechanicState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "the factor is learned from them: tx.update(grads, state, params)")
        steps, inner_state = inner.update(updates, state.inner, params, **extra)
        before = jnp.sum(state.s)
        kept = before / with_eps(before, eps)
        pull = weight_decay * before * tree.global_norm(updates) / with_eps(tree.global_norm(params), eps)
        h = kept * (tree.inner(updates, state.delta) + pull * tree.inner(params, state.delta))
        state = learned(state, h)

        def leaf(u: jax.Array, delta: jax.Array, *, kept: Any, before: Any, after: Any) -> tuple[jax.Array, jax.Array]:
            now = kept * delta - u
            return before * delta - after * now, now

        steps, delta = tree.map_leaves(leaf, steps, state.delta, kept=kept, before=before, after=jnp.sum(state.s))
        return steps, state._replace(delta=delta, inner=inner_state)

    def learned(state: MechanicState, h: jax.Array) -> MechanicState:
        """The state with the factors after a slope."""
        betas = jnp.asarray(powers, state.s.dtype)
        r = betas * state.r + jnp.clip(h, -state.m, state.m) * state.s
        m = jnp.maximum(betas * state.m, jnp.abs(h) + eps)
        v = betas**2 * state.v + h**2
        s = (s_init / num_betas * m + jnp.maximum(r, 0)) / with_eps(safe_sqrt(v), eps)
        usable = jnp.isfinite(h)
        new = {"r": r, "m": m, "v": v, "s": s}
        return state._replace(
            **{name: jnp.where(usable, x, getattr(state, name)).astype(state.s.dtype) for name, x in new.items()}
        )

    return init, update
