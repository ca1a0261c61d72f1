"""What a function says of the updates on their way through a chain, kept in the state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Pair, require_function, transformation
from gradtx.typing import Decay, DTypeName, Params, State, Updates


class SnapshotState(NamedTuple):
    """The state of `snapshot`.

    Attributes:
      measurement: by its name, what was measured of the last update; zeros before the first.
    """

    measurement: dict[str, jax.Array]


@transformation
def snapshot(measure_name: str, measure: Callable[..., Any]) -> Pair:
    """Keep what a function says of the updates as they come by; they pass unchanged.

    `metrics` reads a scalar, ``"snapshot/measurement/<name>"``; anything else is in the field ``measurement`` of the
    state. For norms of updates and params by group, there is `monitor`.

    Args:
      measure_name: the name to keep it under.
      measure: ``measure(updates)`` returns an array or a tree of them, always of the same shapes; it is traced. It has
        no text.

    State:
      `SnapshotState`: what `measure` returns.

    Raises:
      ArgumentTypeError: `measure` is not a function of the updates.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> seen = gradtx.snapshot("before_clip", gradtx.global_norm)
      >>> tx = gradtx.chain(seen, gradtx.clip_by_global_norm(1.0), gradtx.sgd(0.1))
      >>> _, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
      >>> gradtx.metrics(state)["snapshot/measurement/before_clip"]
      Array(5., dtype=float32)

    Differences from Optax: the state begins with zeros, not with a measurement of the params.
    """
    require_function(measure, "measure", "updates")

    def init(params: Params) -> SnapshotState:
        return SnapshotState({measure_name: _zeros_like(jax.eval_shape(measure, params))})

    def update(
        updates: Updates, state: SnapshotState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        measured = _like(measure(updates), state.measurement[measure_name])
        return updates, SnapshotState({measure_name: measured})

    return init, update


class MeasureWithEmaState(NamedTuple):
    r"""The state of `measure_with_ema`.

    Attributes:
      weight: the sum of the weights in the average, :math:`1 - \beta^t` for a constant decay, float32 [].
      average: the average of what was measured, like that, in at least float32; zeros before the first update.
    """

    weight: jax.Array
    average: Any


@transformation
def measure_with_ema(
    measure: Callable[..., Any], decay: Decay, debias: bool = True, accumulator_dtype: DTypeName | None = None
) -> Pair:
    r"""Keep an exponential moving average of what a function says of the updates; they pass unchanged.

    .. math::
        w_t = \beta\, w_{t-1} + (1-\beta), \qquad \bar x_t = \bar x_{t-1} + \frac{1-\beta}{w_t} (x_t - \bar x_{t-1}),
        \qquad x_t = \text{measure}(u_t)

    That is the average from zero, divided by its weights: the first one is :math:`x_1`. Without `debias`, it is
    :math:`\bar x_t = \beta \bar x_{t-1} + (1-\beta) x_t`. A NaN stays in it. `metrics` reads an average that is a
    scalar, ``"measure_with_ema/average"``; anything else is in the field ``average`` of the state.

    Args:
      measure: ``measure(updates)`` returns an array or a tree of them, always of the same shapes: numbers, or booleans,
        which count as 0 and 1. It is traced. It has no text.
      decay: :math:`\beta`, in [0, 1); a number or a schedule.
      debias: divide by the weights.
      accumulator_dtype: the dtype the average is kept in; at least float32 by default.

    State:
      `MeasureWithEmaState`: what `measure` returns, and a scalar.

    Raises:
      ArgumentTypeError: `measure` is not a function of the updates.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> def is_clipped(updates):
      ...     return gradtx.global_norm(updates) > 1.0
      >>> tx = gradtx.chain(gradtx.measure_with_ema(is_clipped, decay=0.9), gradtx.clip_by_global_norm(1.0))
      >>> state = tx.init(jnp.zeros(2))
      >>> for g in [0.5, 2.0]:
      ...     _, state = tx.update(jnp.array([g, 0.0]), state)
      >>> gradtx.metrics(state)["measure_with_ema/average"]
      Array(0.5263158, dtype=float32)

    Differences from Optax: a member of a chain, which lets the updates pass. There it gives out the average in their
    place, and is an entry of Optax's ``monitor``.
    """
    require_function(measure, "measure", "updates")

    def init(params: Params) -> MeasureWithEmaState:
        average = tree.zeros_accumulator(_zeros_like(jax.eval_shape(measure, params)), dtype=accumulator_dtype)
        return MeasureWithEmaState(jnp.zeros((), jnp.result_type(float)), average)

    def update(
        updates: Updates, state: MeasureWithEmaState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        weight = decay * state.weight + (1 - decay)

        def leaf(average: jax.Array, x: jax.Array, *, rate: Any) -> Any:
            return average + rate * (x - average)

        rate = (1 - decay) / weight if debias else 1 - decay
        measured = jax.tree.map(jnp.asarray, measure(updates))
        average = tree.map_leaves(leaf, state.average, read=(measured,), rate=rate)
        return updates, MeasureWithEmaState(weight.astype(state.weight.dtype), average)

    return init, update


def _zeros_like(shapes: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def _like(measured: Any, before: Any) -> Any:
    """What was measured, in the dtypes that the state has: those may not change from step to step."""
    return jax.tree.map(lambda x, s: jnp.asarray(x, s.dtype), measured, before)
