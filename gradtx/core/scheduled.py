"""Transformations some of whose numbers change from step to step: by a schedule, or as arrays that may be traced."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gradtx.core.arguments import unchecked_ranges
from gradtx.core.leafwise import Leafwise
from gradtx.core.numerics import increment, zero_count
from gradtx.core.schedule import Schedule, Stateful
from gradtx.typing import Count, Params, State, Updates

Numbers = dict[str, Any]
"""Numeric arguments by name."""

Build = Callable[[Numbers], Any]
"""Makes the form of a transformation with some numbers in place of its own."""


class ScheduledState(NamedTuple):
    """The state of a transformation some of whose numeric arguments are schedules.

    Attributes:
      count: the number of updates made, int32 []; the first update sees step 0.
      hyperparams: by name, the values the last update used (before the first: those it will use).
      schedules: by name, the states of stateful schedules.
      inner: the state of the transformation itself.
    """

    count: Count
    hyperparams: dict[str, Any]
    schedules: dict[str, State]
    inner: State


def following(build: Build, varying: Numbers) -> Any:
    """The form of a transformation that is built anew at each step, with the values of its schedules and its arrays.

    If it has schedules, its state is a `ScheduledState`.
    """
    scheduled = {name: x for name, x in varying.items() if isinstance(x, Schedule)}
    observers = {name: s.parts for name, s in scheduled.items() if isinstance(s.parts, Stateful)}
    arrays = {name: x for name, x in varying.items() if name not in scheduled}
    if not scheduled:
        return with_numbers(build, arrays, lambda state, _: (state, arrays), Place(lambda inner, _: inner, lambda s: s))

    def values(count: Any, states: dict[str, State]) -> Numbers:
        # Copies: the state is donated, and a schedule may have returned an array that it keeps.
        return {name: jnp.array(s.value(count, states.get(name, ()))) for name, s in scheduled.items()}

    def begin(params: Params) -> tuple[ScheduledState, Numbers]:
        states = {name: parts.init() for name, parts in observers.items()}
        hyperparams = values(zero_count(), states)
        return ScheduledState(zero_count(), hyperparams, states, ()), hyperparams | arrays

    def advance(state: ScheduledState, extra: dict[str, Any]) -> tuple[ScheduledState, Numbers]:
        states = {name: observers[name].update(s, **extra) for name, s in state.schedules.items()}
        hyperparams = values(state.count, states)
        state = ScheduledState(increment(state.count), hyperparams, states, state.inner)
        return state, hyperparams | arrays

    return with_numbers(build, arrays | dict.fromkeys(scheduled, SOME_NUMBER), advance, IN_FIELD, begin, ScheduledState)


SOME_NUMBER = np.float32(0.5)
"""Stands for the value of a schedule where only the form of a transformation is asked for."""


class Place(NamedTuple):
    """Where a state lies in another: ``put(inner, state)`` and ``get(state)``."""

    put: Callable[[State, State], State]
    get: Callable[[State], State]


IN_FIELD = Place(lambda inner, state: state._replace(inner=inner), lambda state: state.inner)


def with_numbers(
    build: Build,
    example: Numbers,
    advance: Callable[[State, dict[str, Any]], tuple[State, Numbers]],
    place: Place,
    begin: Callable[[Params], tuple[State, Numbers]] | None = None,
    state_type: type = object,
) -> Any:
    """The form of a transformation whose numbers are known at each step only.

    A leafwise one stays leafwise: the numbers are among the scalars of the step, and its leaf function is built again
    with them, in the dtype of the leaf.

    Args:
      build: makes the form for some numbers.
      example: some numbers, for the form alone.
      advance: ``advance(state, extra)`` returns the state with its own part of the next step, and the numbers of this.
      place: where the state of the transformation itself lies in the state.
      begin: ``begin(params)`` returns the state without that of the transformation, and the first numbers.
      state_type: the class of the state, if it is one of its own.
    """

    def built(numbers: Numbers) -> Any:
        with unchecked_ranges():
            return build(numbers)

    def init(params: Params) -> State:
        state, numbers = begin(params) if begin else ((), example)
        form = built(numbers)
        return place.put((form.init if isinstance(form, Leafwise) else form[0])(params), state)

    form = built(example)
    if not isinstance(form, Leafwise):

        def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
            state, numbers = advance(state, extra)
            updates, inner = built(numbers)[1](updates, place.get(state), params, **extra)
            return updates, place.put(inner, state)

        update.__annotations__["state"] = state_type
        return init, update

    def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Any]:
        state, numbers = advance(state, extra)
        inner, scalars = built(numbers).prepare(updates, place.get(state), params, extra)
        return place.put(inner, state), (numbers, scalars)

    def leaf(scalars: Any, *args: Any) -> tuple[Any, Any]:
        numbers, inner_scalars = scalars
        made: tuple[Any, Any] = built(numbers).leaf(inner_scalars, *args)
        return made

    return dataclasses.replace(
        form,
        init=init,
        prepare=prepare,
        split=lambda state, outline: form.split(place.get(state), outline),
        leaf=leaf,
        merge=lambda state, outline, rows: place.put(form.merge(place.get(state), outline, rows), state),
        state_type=form.state_type if begin is None else state_type,
    )
