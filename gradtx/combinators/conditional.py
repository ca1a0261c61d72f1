"""A transformation at some of the steps."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import (
    GradientTransformation,
    Pair,
    accepting_extras,
    as_boolean,
    cond,
    increment,
    require_function,
    transformation,
    zero_count,
)
from gradtx.typing import Count, Params, State, Updates


class ConditionalState(NamedTuple):
    """The state of `conditionally_transform` and `conditionally_mask`.

    Attributes:
      step: how often `update` was called, int32 [].
      inner_state: the state of the inner transformation.
    """

    step: Count
    inner_state: State


def holds_at_step(condition: Callable[..., Any], argument: str, step: Any, extra: Mapping[str, Any]) -> jax.Array:
    """What a condition says of a step, bool []."""
    return as_boolean(accepting_extras(condition)(step, **extra), argument)


def zero_updates(run: Callable[[], tuple[Updates, State]], updates: Updates, params: Params | None) -> Updates:
    """Zeros like the updates that `run` returns, which the caller does not run: those of `updates`.

    Where these are not shaped like the params, as gradients of single examples are not, `run` is traced for its shapes.
    """
    shapes = [[jnp.shape(x) for x in jax.tree.leaves(t)] for t in (updates, params)]
    return tree.zeros_like(updates if shapes[0] == shapes[1] else jax.eval_shape(run)[0])


def _conditionally(inner: GradientTransformation, condition: Any, otherwise: Callable[..., Updates]) -> Pair:
    """The inner transformation where the condition holds; elsewhere other updates, and the old state."""
    require_function(condition, "should_transform_fn", "step")

    def init(params: Params) -> ConditionalState:
        return ConditionalState(zero_count(), inner.init(params))

    def update(
        updates: Updates, state: ConditionalState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        def run() -> tuple[Updates, State]:
            return inner.update(updates, state.inner_state, params, **extra)

        def skip() -> tuple[Updates, State]:
            return otherwise(run, updates, params), state.inner_state

        due = holds_at_step(condition, "should_transform_fn", state.step, extra)
        changed, inner_state = cond(due, run, skip)
        return changed, ConditionalState(increment(state.step), inner_state)

    return init, update


@transformation
def conditionally_transform(inner: GradientTransformation, should_transform_fn: Callable[..., Any]) -> Pair:
    r"""Transform updates at some steps, and let them pass as they come at the others.

    .. math:: u_t = \begin{cases} \text{inner}(g_t) & \text{if } c(t) \\ g_t & \text{otherwise} \end{cases}

    Where the condition does not hold, the inner transformation is not computed, and its state stays bit for bit as it
    was, counters and all. To stand still at those steps instead, use `conditionally_mask`.

    Args:
      inner: the transformation.
      should_transform_fn: :math:`c`, called with the step (how many updates there were before, int32 []) and with the
        extras it has parameters for; returns a boolean [], or a number that is not 0. It is traced. A schedule will
        do; a plain function has no text.

    State:
      `ConditionalState`: a counter, and the inner state.

    Raises:
      ArgumentTypeError: `should_transform_fn` is not a function of the step.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.conditionally_transform(gradtx.clip(1.0), lambda step: step >= 1)
      >>> state = tx.init(jnp.zeros(1))
      >>> for _ in range(2):
      ...     updates, state = tx.update(jnp.array([3.0]), state)
      ...     print(updates)
      [3.]
      [1.]

    Differences from Optax: the condition gets the extras it names, so there is no ``forward_extra_args``.
    """
    return _conditionally(inner, should_transform_fn, lambda _run, updates, _params: updates)


@transformation
def conditionally_mask(inner: GradientTransformation, should_transform_fn: Callable[..., Any]) -> Pair:
    r"""Transform updates at some steps, and make them zero at the others.

    .. math:: u_t = \begin{cases} \text{inner}(g_t) & \text{if } c(t) \\ 0 & \text{otherwise} \end{cases}

    Where the condition does not hold, the inner transformation is not computed, and its state stays bit for bit as it
    was, counters and all: around a whole optimizer, this freezes parameters for a while. To let updates pass at those
    steps, use `conditionally_transform`; to decide by the updates, `skip_if`.

    Args:
      inner: the transformation.
      should_transform_fn: :math:`c`, called with the step (how many updates there were before, int32 []) and with the
        extras it has parameters for; returns a boolean [], or a number that is not 0. It is traced. A schedule will
        do; a plain function has no text.

    State:
      `ConditionalState`: a counter, and the inner state.

    Raises:
      ArgumentTypeError: `should_transform_fn` is not a function of the step.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.conditionally_mask(gradtx.sgd(0.5), lambda step: step >= 1)
      >>> state = tx.init(jnp.zeros(1))
      >>> for _ in range(2):
      ...     updates, state = tx.update(jnp.array([3.0]), state)
      ...     print(updates)
      [0.]
      [-1.5]

    Differences from Optax: the condition gets the extras it names, so there is no ``forward_extra_args``.
    """
    return _conditionally(inner, should_transform_fn, zero_updates)
