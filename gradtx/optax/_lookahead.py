"""``optax.lookahead``, with fast and slow params in a pair."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import gradtx
from gradtx.core import GradientTransformation, as_transformation, zero_count
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.optax._form import pair, unbounded
from gradtx.tree.paths import type_name
from gradtx.typing import Params, State, Updates


class LookaheadParams(NamedTuple):
    """Fast params, which are trained, and slow ones, which follow them."""

    fast: Params
    slow: Params

    @classmethod
    def init_synced(cls, params: Params) -> "LookaheadParams":
        """Both are the same at first."""
        return cls(fast=params, slow=params)


class LookaheadState(NamedTuple):
    """The state of `lookahead`."""

    fast_state: State
    steps_since_sync: Any


@unbounded
def lookahead(
    fast_optimizer: Any, sync_period: int, slow_step_size: Any, reset_state: bool = False
) -> GradientTransformation:
    """Every few steps, move slow params towards the fast ones, and the fast ones there.

    Args:
      fast_optimizer: the optimizer of the fast params.
      sync_period: steps from one synchronisation to the next.
      slow_step_size: how far the slow params go.
      reset_state: whether the optimizer then begins anew.
    """
    if sync_period < 1:
        raise ArgumentValueError("sync_period to be at least 1", got=repr(sync_period), origin="optax.lookahead")
    fast = as_transformation(fast_optimizer)
    inner = gradtx.lookahead(fast, sync_period, slow_step_size)

    def init(params: Params) -> LookaheadState:
        return LookaheadState(fast.init(getattr(params, "fast", params)), zero_count())

    def update(
        updates: Updates, state: LookaheadState, params: Any = None, **extra: Any
    ) -> tuple[LookaheadParams, LookaheadState]:
        if not hasattr(params, "fast") or not hasattr(params, "slow"):
            hint = "make them with LookaheadParams.init_synced(params), and differentiate by params.fast"
            raise ArgumentTypeError("LookaheadParams", got=type_name(params), hint=hint, origin="optax.lookahead")
        own = gradtx.LookaheadState(state.steps_since_sync, params.slow, (), state.fast_state)
        changed, own = inner.update(updates, own, params.fast, **extra)
        slow = jax.tree.map(jnp.subtract, own.slow, params.slow)
        fast_state = own.inner
        if reset_state:
            synced = own.steps == 0
            fast_state = jax.tree.map(lambda x, y: jnp.where(synced, x, y), fast.init(params.fast), fast_state)
        return LookaheadParams(changed, slow), LookaheadState(fast_state, own.steps)

    return pair(init, update)
