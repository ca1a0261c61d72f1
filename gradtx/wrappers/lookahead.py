"""Lookahead: slow weights that follow the fast ones from time to time."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, cond, increment, transformation, zero_count
from gradtx.errors import ArgumentValueError, UnknownNameError, require_extra
from gradtx.typing import AtLeastOne, Count, Fraction, Params, State, Updates

MOMENTUM_FIELDS = ("trace", "mu")
"""The names under which inner states keep a first moment."""


class LookaheadState(NamedTuple):
    """The state of `lookahead`.

    Attributes:
      steps: the number of updates since the last synchronisation, int32 [].
      slow: the slow weights, like the params, in accumulator dtype.
      momenta: the inner first moments as of the last synchronisation, if they are pulled back; otherwise empty.
      inner: the state of the inner transformation.
    """

    steps: Count
    slow: Params
    momenta: tuple[Updates, ...]
    inner: State


@transformation
def lookahead(
    inner: GradientTransformation,
    sync_period: AtLeastOne = 5,
    slow_step_size: Fraction = 0.5,
    *,
    momentum: Literal["keep", "reset", "pullback"] = "keep",
) -> Pair:
    r"""Keep slow weights that move a part of the way to the fast ones every few steps, and restart the fast ones there.

    .. math::
        \theta' \leftarrow \theta' + u(\theta') \quad\text{every step}; \qquad
        \theta \leftarrow \theta + \alpha(\theta' - \theta), \quad \theta' \leftarrow \theta \quad\text{every } k
        \text{ steps}

    The params you hold are the fast weights :math:`\theta'`; the slow ones :math:`\theta` are in the state, and begin
    at the params given to ``init``. Evaluate with `lookahead_params`. Nothing after `lookahead` in a chain may change
    the updates: a synchronisation is expressed as one.

    Args:
      inner: a whole optimizer, learning rate and all.
      sync_period: :math:`k`, at least 1; a number or a schedule. A synchronisation happens as soon as that many steps
        have passed since the last.
      slow_step_size: :math:`\alpha`, in [0, 1]; a number or a schedule.
      momentum: what becomes of the inner first moments (fields ``trace`` and ``mu``) at a synchronisation: ``"keep"``
        them (the paper), ``"reset"`` them to zero, or ``"pullback"``: move them like the weights, by :math:`\alpha`
        from where they were at the last synchronisation.

    State:
      `LookaheadState`: 4 bytes per float32 parameter (8 with ``momentum="pullback"``), and the inner state.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentValueError: `momentum` is not ``"keep"`` and the inner state has no first moment.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.lookahead(gradtx.sgd(0.1), sync_period=2, slow_step_size=0.5)
      >>> params, grads = jnp.array([1.0]), jnp.array([1.0])
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update(grads, state, params)
      ...     params = gradtx.apply_updates(params, updates)
      >>> params, gradtx.lookahead_params(state)
      (Array([0.9], dtype=float32), Array([0.9], dtype=float32))

    References:
      - Zhang et al., Lookahead optimizer: k steps forward, 1 step back, 2019, arXiv:1907.08610.

    Differences from Optax: users hold ordinary params, not a pair of fast and slow ones; both numbers may be
    schedules. Of the authors' PyTorch code, which begins at :math:`\alpha = 0.8`: the default is the paper's.
    """

    def first_moments(inner_state: State) -> tuple[Updates, ...]:
        found = tuple(m for name in MOMENTUM_FIELDS for _, m in tree.get_all_fields(inner_state, name))
        if not found and momentum != "keep":
            fields = " or ".join(MOMENTUM_FIELDS)
            got = f"momentum={momentum!r} around {inner!r}"
            raise ArgumentValueError(f"an inner state with a field {fields}", got=got, hint="use momentum='keep'")
        return found

    def init(params: Params) -> LookaheadState:
        inner_state = inner.init(params)
        momenta = first_moments(inner_state) if momentum != "keep" else ()
        kept = jax.tree.map(jnp.copy, momenta) if momentum == "pullback" else ()
        return LookaheadState(zero_count(), tree.copy_accumulator(params), kept, inner_state)

    def moments_at_sync(inner_state: State, momenta: tuple[Updates, ...]) -> tuple[State, tuple[Updates, ...]]:
        if momentum == "keep":
            return inner_state, momenta
        current = first_moments(inner_state)
        if momentum == "reset":
            return _with_moments(inner_state, tree.zeros_like(current)), momenta
        pulled = tree.map_leaves(
            lambda m, old, *, rate: old + rate * (m - old), current, read=(momenta,), rate=slow_step_size
        )
        return _with_moments(inner_state, pulled), pulled

    def update(
        updates: Updates, state: LookaheadState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "lookahead moves them: tx.update(grads, state, params)")
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        steps = increment(state.steps)

        def synchronise(operands: Any) -> Any:
            u, slow, inner_state, momenta = operands

            def leaf(u: jax.Array, s: jax.Array, p: jax.Array, *, rate: Any) -> tuple[jax.Array, jax.Array]:
                s = s + rate * (p + u - s)
                return s - p, s

            u, slow = tree.map_leaves(leaf, u, slow, read=(params,), rate=slow_step_size)
            return u, slow, *moments_at_sync(inner_state, momenta)

        synced = steps >= sync_period
        operands = (updates, state.slow, inner_state, state.momenta)
        updates, slow, inner_state, momenta = cond(synced, synchronise, lambda same: same, operands)
        return updates, LookaheadState(jnp.where(synced, 0, steps), slow, momenta, inner_state)

    return init, update


def _with_moments(inner_state: State, moments: tuple[Updates, ...]) -> State:
    """The inner state with its first moments replaced, in the order `first_moments` finds them."""
    remaining = iter(moments)
    for name in MOMENTUM_FIELDS:
        if tree.get_all_fields(inner_state, name):
            inner_state = tree.set_field(inner_state, name, lambda _: next(remaining))
    return inner_state


def lookahead_params(state: State, params: Params | None = None) -> Params:
    """The slow weights, to evaluate and save.

    Args:
      state: the state of an optimizer with a `lookahead` anywhere in it.
      params: if given, the weights are cast to the dtypes of these.

    Raises:
      UnknownNameError: the state has no lookahead, or several.
    """
    found = tree.find_nodes(state, LookaheadState)
    if len(found) != 1:
        raise UnknownNameError("one LookaheadState in the state", got=str(len(found)), origin="lookahead_params")
    return found[0].slow if params is None else tree.cast_like(found[0].slow, params)
