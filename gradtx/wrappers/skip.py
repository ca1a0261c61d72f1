"""Guards that skip an update rather than let it spoil parameters and state: by a predicate, or by the update's norm."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators.conditional import zero_updates
from gradtx.core import (
    GradientTransformation,
    Pair,
    accepting_extras,
    as_boolean,
    complement_of_power,
    cond,
    increment,
    require_function,
    transformation,
    zero_count,
)
from gradtx.tree.paths import is_inert
from gradtx.typing import AtLeastOne, Count, Decay, NonNegative, Params, State, Updates

_Run = Callable[[], tuple[Updates, State]]


def update_unless(skip: Any, run: _Run, zeros: Callable[[], Updates], state: State) -> Any:
    """The inner update; or zeros and the inner state exactly as it was, and the inner update is not computed."""
    # XLA's CPU backend copies the state for a conditional whose first branch, the one of False, is not the idle one:
    # with Adam 68 bytes per parameter then, and 52 so.
    return cond(~skip, run, lambda: (zeros(), state))


class SkipIfState(NamedTuple):
    """The state of `skip_if`.

    Attributes:
      skipped: how many updates were skipped, int32 [].
      inner_state: the state of the inner transformation.
    """

    skipped: Count
    inner_state: State


@transformation
def skip_if(inner: GradientTransformation, predicate: Callable[..., Any]) -> Pair:
    """Skip the updates for which a predicate holds: they become zero, and the inner state stays as it was.

    Args:
      inner: the transformation to guard.
      predicate: ``predicate(updates, params, **extra) -> bool []``, called with the updates as they arrive, the
        params (``None`` if none were passed) and the extras it has parameters for; it is traced. It has no text.
        One of Optax's ``MultiSteps``, ``predicate(updates, gradient_step, params) -> (bool [], info)``, will do: it is
        known by its argument ``gradient_step``, which is that of an `accumulate` inside, or ``None``; the second
        result is not kept.

    State:
      `SkipIfState`: a counter, and the inner state.

    Raises:
      ArgumentTypeError: `predicate` is not a function of both, or returns more than one boolean.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> def spike(updates, params, value):
      ...     return value > 10.0
      >>> tx = gradtx.skip_if(gradtx.sgd(0.1), spike)
      >>> tx.update(jnp.ones(1), tx.init(jnp.zeros(1)), value=11.0)[0]
      Array([0.], dtype=float32)
    """
    require_function(predicate, "predicate", "updates", "params")
    holds = _as_predicate(predicate)

    def init(params: Params) -> SkipIfState:
        return SkipIfState(zero_count(), inner.init(params))

    def update(
        updates: Updates, state: SkipIfState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        skip = as_boolean(holds(updates, state.inner_state, params, extra), "predicate")
        run = lambda: inner.update(updates, state.inner_state, params, **extra)  # noqa: E731
        zeros = lambda: zero_updates(run, updates, params)  # noqa: E731
        changed, inner_state = update_unless(skip, run, zeros, state.inner_state)
        return changed, SkipIfState(jnp.where(skip, increment(state.skipped), state.skipped), inner_state)

    return init, update


def _as_predicate(predicate: Callable[..., Any]) -> Callable[[Updates, State, Params | None, dict[str, Any]], Any]:
    """The predicate as a function of the updates, the inner state, the params and the extras."""
    if not _is_optaxs(predicate):
        plain = accepting_extras(predicate)
        return lambda updates, _state, params, extra: plain(updates, params, **extra)

    def holds(updates: Updates, state: State, params: Params | None, extra: dict[str, Any]) -> Any:
        found = tree.get_all_fields(state, "gradient_step")
        return predicate(updates, found[0][1] if found else None, params)[0]

    return holds


def _is_optaxs(predicate: Callable[..., Any]) -> bool:
    try:
        return "gradient_step" in inspect.signature(predicate).parameters
    except (TypeError, ValueError):  # a callable without a signature
        return False


class SkipLargeUpdatesState(NamedTuple):
    """The state of `skip_large_updates`.

    Attributes:
      count: how many norms are in the average, int32 [].
      average_norm: the moving average of the norms, not debiased, float32 [].
      norm: the norm of the last update that arrived, float32 [].
      skipped: how many updates were skipped, int32 [].
      inner_state: the state of the inner transformation.
    """

    count: Count
    average_norm: jax.Array
    norm: jax.Array
    skipped: Count
    inner_state: State


@transformation
def skip_large_updates(
    inner: GradientTransformation, factor: AtLeastOne = 4.0, decay: Decay = 0.98, warmup_steps: NonNegative = 20
) -> Pair:
    r"""Skip updates whose norm is far above the usual: a guard against loss spikes.

    .. math::
        \text{skip if } \lVert g_t\rVert > c\,\hat a_{t-1}, \qquad \hat a_t = \frac{a_t}{1-\beta^{n}}, \qquad
        a_t = \beta a_{t-1} + (1-\beta) \min\bigl(\lVert g_t\rVert,\, c\,\hat a_{t-1}\bigr)

    where n counts the norms averaged. A norm that is not finite is always too large, and does not enter the average.
    Another that is too large enters as the bound it exceeds: one spike moves the average little, and when norms have
    risen for good, the average follows until they are taken again. Skipped updates are zero and leave the inner state
    as it was.

    Args:
      inner: the transformation to guard.
      factor: :math:`c`, at least 1.
      decay: :math:`\beta`, in [0, 1).
      warmup_steps: how many updates are taken before any finite one is skipped, at least 0.

    State:
      `SkipLargeUpdatesState`: four scalars, and the inner state.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.skip_large_updates(gradtx.sgd(1.0), factor=2.0, warmup_steps=1)
      >>> state = tx.init(jnp.zeros(1))
      >>> for g in [1.0, 3.0, 1.5]:
      ...     updates, state = tx.update(jnp.array([g]), state)
      ...     print(updates)
      [-1.]
      [0.]
      [-1.5]
    """

    def init(params: Params) -> SkipLargeUpdatesState:
        zero = jnp.zeros_like(tree.global_norm(params))
        return SkipLargeUpdatesState(zero_count(), zero, zero.copy(), zero_count(), inner.init(params))

    def update(
        updates: Updates, state: SkipLargeUpdatesState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        norm = tree.global_norm(updates).astype(state.norm.dtype)
        usual = state.average_norm / complement_of_power(decay, jnp.maximum(state.count, 1))
        warm = (state.count >= jnp.maximum(warmup_steps, 1)) & (usual > 0)
        bound = jnp.where(warm, factor * usual, jnp.inf)
        finite = jnp.isfinite(norm)
        skip = (norm > bound) | ~finite
        run = lambda: inner.update(updates, state.inner_state, params, **extra)  # noqa: E731
        zeros = lambda: zero_updates(run, updates, params)  # noqa: E731
        changed, inner_state = update_unless(skip, run, zeros, state.inner_state)
        average = decay * state.average_norm + (1 - decay) * jnp.where(finite, jnp.minimum(norm, bound), 0)
        return changed, SkipLargeUpdatesState(
            count=jnp.where(finite, increment(state.count), state.count),
            average_norm=jnp.where(finite, average, state.average_norm).astype(norm.dtype),
            norm=norm,
            skipped=jnp.where(skip, increment(state.skipped), state.skipped),
            inner_state=inner_state,
        )

    return init, update


def skip_not_finite(
    updates: Updates, gradient_step: Any, params: Params | None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Whether an update has a NaN or an infinity, and how many: a predicate in the form Optax's ``MultiSteps`` takes.

    Here, `skip_if` takes it, and Optax's others: ``skip_if(accumulate(tx, 4), skip_not_finite)`` leaves out of the mean
    what is not finite.
    To look at the result of `tx` as well, use `apply_if_finite`.

    Args:
      updates: the updates.
      gradient_step: not used.
      params: not used.

    Returns:
      Whether to skip, bool []; and that again as ``"should_skip"``, beside ``"num_not_finite"``, int32 [].

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.skip_if(gradtx.accumulate(gradtx.sgd(1.0), 2), gradtx.skip_not_finite)
      >>> state = tx.init(jnp.zeros(1))
      >>> for g in [1.0, jnp.nan, 3.0]:
      ...     updates, state = tx.update(jnp.array([g]), state)
      ...     print(updates)
      [0.]
      [0.]
      [-2.]
    """
    leaves = [x for x in jax.tree.leaves(updates) if not is_inert(x)]
    count = sum((jnp.sum(~jnp.isfinite(x), dtype=jnp.int32) for x in leaves), start=jnp.zeros((), jnp.int32))
    return count > 0, {"should_skip": count > 0, "num_not_finite": count}
