"""A schedule that falls when a metric stops improving."""

from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gradtx.core import ScheduledState, Stateful, as_float, increment, schedule, zero_count
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.schedules.compose import exceeds
from gradtx.tree.fields import map_nodes
from gradtx.tree.paths import type_name
from gradtx.typing import AtLeastOne, Count, Fraction, NonNegative, Range, State

Reduction: TypeAlias = Annotated[Any, Range(low=0, high=1, open_low=True, open_high=True)]
"""A `Numeric` in (0, 1)."""

Mode: TypeAlias = Literal["min", "max"]


class PlateauSettings(NamedTuple):
    """The arguments in force, kept in the state so that `observe` needs nothing else: float [] each.

    Attributes:
      init_value: the value while the scale is 1.
      factor: what the scale is multiplied by at a reduction.
      patience: how many observations in a row without improvement bring one.
      rtol: the least improvement, relative to the best observation.
      atol: the least improvement, absolute.
      cooldown: how many observations after a reduction do not count.
      accumulation_size: how many values are averaged into one observation.
      min_value: the least value.
      sign: 1 if less is better, -1 if more is.
    """

    init_value: jax.Array
    factor: jax.Array
    patience: jax.Array
    rtol: jax.Array
    atol: jax.Array
    cooldown: jax.Array
    accumulation_size: jax.Array
    min_value: jax.Array
    sign: jax.Array


class PlateauState(NamedTuple):
    """The state of `plateau_schedule` and `reduce_on_plateau`; floats are float32 (float64 in x64 mode).

    Attributes:
      value: the value in force, float [].
      scale: the product of the reductions so far, float [].
      best_value: the best observation so far, float []; infinite before the first.
      plateau_count: observations in a row without improvement, int32 [].
      cooldown_count: observations left that do not count, int32 [].
      total: the sum of the values that wait to be averaged, float [].
      count: the number of those, int32 [].
      settings: the arguments in force.
    """

    value: jax.Array
    scale: jax.Array
    best_value: jax.Array
    plateau_count: Count
    cooldown_count: Count
    total: jax.Array
    count: Count
    settings: PlateauSettings


@schedule
def plateau_schedule(
    init_value: NonNegative,
    factor: Reduction = 0.1,
    patience: NonNegative = 10,
    rtol: Fraction = 1e-4,
    atol: NonNegative = 0.0,
    cooldown: NonNegative = 0,
    accumulation_size: AtLeastOne = 1,
    min_value: NonNegative = 0.0,
    mode: Mode = "min",
    monitor: str = "value",
) -> Stateful:
    r"""Reduce a value by a factor whenever a metric has stopped improving.

    .. math:: s = \max(\text{init\_value} \cdot \text{factor}^{k}, \text{min\_value})

    where :math:`k` counts the reductions so far. An observation :math:`a` improves on the best so far, :math:`a^*`, if

    .. math:: a < a^* - (\text{rtol}\,|a^*| + \text{atol}) \;\text{ (min)}, \qquad
        a > a^* + (\text{rtol}\,|a^*| + \text{atol}) \;\text{ (max)}

    and replaces it then. After `patience` observations in a row that do not improve, the value is reduced, the count
    begins anew, and the next `cooldown` observations do not count (though they may become the best). The first
    observation always improves, unless it is infinitely bad or NaN. NaN never improves.

    *Fed* by ``update(..., value=loss)`` at each update, before the value of that update is read, or by `observe` once
    an epoch. An update without ``value`` changes nothing. Where every update comes with the ``value`` of its batch and
    the plateau is to see validation losses only, give `monitor` another name. With ``accumulation_size=n``, n values
    are averaged into one observation, and a NaN among them spoils this average only.

    The schedule is stateful: it serves as any numeric argument of a transformation, by itself or in products with other
    schedules, ``plateau_schedule(1.0) * cosine_decay_schedule(1e-3, 1000)``. `reduce_on_plateau` is the same rule as a
    transformation.

    Departures. Keras and Optax count as here; torch reduces one observation later, so its ``patience`` is this one
    minus 1. Patience 0 is the same as 1, as in Keras: reduce at the first observation that does not improve (Optax
    reduces at each that does). The margin is relative to the magnitude of the best observation, so metrics may be
    negative; torch and Optax then take any value for an improvement. A cooldown of n lasts n observations as in
    torch and Optax; in Keras, n - 1.

    Args:
      init_value: the value before the first reduction, in [0, inf).
      factor: what the value is multiplied by at a reduction, in (0, 1).
      patience: how many observations in a row without improvement bring a reduction, in [0, inf).
      rtol: the least improvement relative to the best observation, in [0, 1].
      atol: the least improvement, absolute, in [0, inf).
      cooldown: how many observations after a reduction do not count, in [0, inf).
      accumulation_size: how many values are averaged into one observation, in [1, inf).
      min_value: the least value, in [0, init_value].
      mode: ``"min"`` if less is better (a loss), ``"max"`` if more is (an accuracy).
      monitor: the extra of `update` that is observed: ``"value"``, the loss of the step, or a name of your own.

    State:
      `PlateauState`: 13 floats and 3 counters, whatever the parameters.

    Raises:
      ArgumentValueError: `min_value` exceeds `init_value` (not checked for traced values).

    Example:
      >>> import gradtx
      >>> s = gradtx.plateau_schedule(0.5, factor=0.5, patience=2)
      >>> state, values = s.init(), []
      >>> for loss in [3.0, 2.0, 2.0, 2.0, 1.0]:
      ...     state = s.update(state, value=loss)
      ...     values.append(float(s(state)))
      >>> values
      [0.5, 0.5, 0.5, 0.25, 0.25]
    """
    if exceeds(min_value, init_value):
        got = f"{min_value!r} > {init_value!r}"
        raise ArgumentValueError("min_value to be at most init_value", got=got, hint="a plateau only reduces")

    def settings() -> PlateauSettings:
        sign = 1 if mode == "min" else -1
        numbers = (init_value, factor, patience, rtol, atol, cooldown, accumulation_size, min_value, sign)
        return PlateauSettings(*(jnp.array(x, jnp.result_type(float)) for x in numbers))

    def init() -> PlateauState:
        now = settings()
        counts = {"plateau_count": zero_count(), "cooldown_count": zero_count(), "count": zero_count()}
        one, zero, worst = as_float(1), as_float(0), now.sign * jnp.inf
        return PlateauState(in_force(now, one), scale=one, best_value=worst, total=zero, settings=now, **counts)

    def update(state: PlateauState, **extra: Any) -> PlateauState:
        now, value = settings(), extra.get(monitor)
        state = state._replace(value=in_force(now, state.scale), settings=now)
        return state if value is None else accumulate(state, as_metric(value))

    def current(step: Any, state: PlateauState) -> jax.Array:
        return state.value

    return Stateful(init, update, current, reads_step=False)


def observe(state: State, *, value: Any) -> State:
    """The optimizer state after one observation of a metric by every plateau in it; pure, inside jit or outside.

    For a metric that is known once an epoch, such as a validation loss: leave ``value`` out of the updates and call
    this instead. It uses the arguments the last update used. The value in force changes at once, also where
    `get_hyperparams` looks it up, except that of a *combination* of a plateau with other schedules, which follows at
    the next update.

    Args:
      state: the state of any transformation, however nested, with a `plateau_schedule` or `reduce_on_plateau` in it.
      value: the metric, a scalar.

    Raises:
      ArgumentValueError: there is no plateau in the state, or the metric is not a scalar.
      ArgumentTypeError: the metric is not a real number.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.adam(gradtx.plateau_schedule(0.5, factor=0.5, patience=1))
      >>> state = tx.init(jnp.ones(2))
      >>> for validation_loss in [2.0, 3.0]:
      ...     state = gradtx.observe(state, value=validation_loss)
      >>> gradtx.get_hyperparams(state)
      {'learning_rate': Array(0.25, dtype=float32)}
    """
    try:
        metric = as_metric(value)
    except (ArgumentTypeError, ArgumentValueError) as error:
        error.locate("observe")
        raise
    found = 0

    def advance(node: PlateauState | ScheduledState) -> PlateauState | ScheduledState:
        nonlocal found
        if isinstance(node, PlateauState):
            found += 1
            return accumulate(node, metric)
        values = {name: s.value for name, s in node.schedules.items() if isinstance(s, PlateauState)}
        return node._replace(hyperparams=node.hyperparams | values)

    state = map_nodes(advance, state, (PlateauState, ScheduledState))
    if not found:
        hint = "use plateau_schedule(...) for a hyperparameter, or reduce_on_plateau(...) in the chain"
        raise ArgumentValueError("a state with a plateau in it", got=type_name(state), hint=hint, origin="observe")
    return state


def as_metric(value: Any) -> jax.Array:
    """A metric as a float scalar; an error if it is anything else."""
    if not (hasattr(value, "dtype") or isinstance(value, int | float)) or jnp.iscomplexobj(value):
        got = f"{value!r} ({type(value).__name__})"
        raise ArgumentTypeError("value to be a real number", got=got, hint="pass the loss or the metric")
    if jnp.shape(value) != ():
        got = f"shape {list(jnp.shape(value))}"
        raise ArgumentValueError("value to be a scalar", got=got, hint="reduce it first: value=loss.mean()")
    return as_float(value)


def accumulate(state: PlateauState, metric: jax.Array) -> PlateauState:
    """The state after one more value: when there are enough, their average is judged."""
    total, count = state.total + metric, increment(state.count)
    emptied = state._replace(total=jnp.zeros_like(total), count=jnp.zeros_like(count))
    judged = judge(emptied, total / as_float(count))
    waiting = state._replace(total=total, count=count)
    enough = as_float(count) >= state.settings.accumulation_size
    chosen: PlateauState = jax.tree.map(lambda a, b: jnp.where(enough, a, b), judged, waiting)
    return chosen


def judge(state: PlateauState, observation: jax.Array) -> PlateauState:
    """The state after one observation."""
    settings, best = state.settings, state.best_value
    first = jnp.isinf(best)
    margin = settings.rtol * jnp.abs(jnp.where(first, 0, best)) + settings.atol
    improved = settings.sign * observation < settings.sign * best - margin
    cooling = state.cooldown_count > 0

    bad = jnp.where(improved | cooling, 0, increment(state.plateau_count))
    reduced = as_float(bad) >= jnp.maximum(settings.patience, 1)
    scale = jnp.where(reduced & (state.value > settings.min_value), state.scale * settings.factor, state.scale)
    cooldown = jnp.ceil(settings.cooldown).astype(jnp.int32)
    return state._replace(
        value=in_force(settings, scale),
        scale=scale,
        best_value=jnp.where(improved, observation, best),
        plateau_count=jnp.where(reduced, 0, bad),
        cooldown_count=jnp.where(reduced, cooldown, jnp.maximum(state.cooldown_count - 1, 0)),
    )


def in_force(settings: PlateauSettings, scale: jax.Array) -> jax.Array:
    """The value at a scale."""
    return jnp.maximum(settings.init_value * scale, settings.min_value)
