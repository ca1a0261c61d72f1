"""Transformations in Optax's form: its state classes around gradtx's states, and its arguments without ranges."""

import dataclasses
import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax.numpy as jnp

from gradtx.core import (
    Form,
    GradientTransformation,
    ScheduledState,
    from_functions,
    increment,
    transformation,
    zero_count,
)
from gradtx.core.arguments import unchecked_ranges
from gradtx.core.leafwise import Leafwise
from gradtx.optax.tree import ParamsPlaceholder
from gradtx.typing import EmptyState, Params, State, Updates

P = ParamSpec("P")
T = TypeVar("T")


def unbounded(function: Callable[P, T]) -> Callable[P, T]:
    """A factory whose numbers may be any, as in Optax: a negative rate ascends, an infinite norm clips nothing."""

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        with unchecked_ranges():
            return function(*args, **kwargs)

    return make


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """How a state of gradtx's is shown as one of Optax's.

    Attributes:
      to: Optax's state for one of gradtx's.
      back: gradtx's state for one of Optax's. What it cannot know, the next update does not need.
      counter: the field of Optax's state that counts updates, if gradtx does not count them.
    """

    to: Callable[[Any], Any]
    back: Callable[[Any], Any]
    counter: str = ""

    def __repr__(self) -> str:
        return "<a view>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Views are constants of modules: a pickle has the name of one, and a copy is the same."""
        modules = [module for name, module in sys.modules.items() if name.startswith("gradtx.optax.")]
        found = ((m.__name__, name) for m in modules for name, x in vars(m).items() if x is self)
        return _constant, next(found)

    def began(self, state: Any) -> Any:
        """Optax's state before any update."""
        return self._counting(self.to(state), zero_count)

    def advanced(self, state: Any, before: Any) -> Any:
        """Optax's state after an update."""
        return self._counting(self.to(state), lambda: increment(getattr(before, self.counter)))

    def again(self, state: Any, before: Any) -> Any:
        """Optax's state with the rest of the same update."""
        return self._counting(self.to(state), lambda: getattr(before, self.counter))

    def _counting(self, state: Any, count: Callable[[], Any]) -> Any:
        counts = self.counter and not isinstance(state, ScheduledState)  # which counts for itself
        return state._replace(**{self.counter: count()}) if counts else state


def _constant(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def renamed(ours: type, theirs: type, names: Mapping[str, str], counter: str = "") -> View:
    """A view that gives the fields other names.

    Args:
      ours: gradtx's state class.
      theirs: Optax's, whose fields may stand in another order.
      names: by the name of a field of Optax's, that of gradtx's, where they differ.
      counter: the field of Optax's state that counts updates, if gradtx does not count them.
    """
    fields: list[str] = [name for name in theirs._fields if name != counter]  # type: ignore[attr-defined]
    pairs = [(name, names.get(name, name)) for name in fields]
    absent = {counter: None} if counter else {}
    return View(
        lambda state: theirs(**absent, **{name: getattr(state, own) for name, own in pairs}),
        lambda state: ours(**{own: getattr(state, name) for name, own in pairs}),
        counter,
    )


@transformation
def viewed(inner: GradientTransformation, view: Any) -> Form:
    """The transformation, its state shown as Optax's; with schedules, inside of a `ScheduledState`."""

    def inside(function: Callable[[Any], Any], otherwise: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def shown(state: State) -> State:
            if isinstance(state, ScheduledState):
                return state._replace(inner=function(state.inner))
            return otherwise(state)

        return shown

    return _with_state(inner, View(inside(view.began, view.to), inside(view.back, view.back), view.counter))


@transformation
def counted(inner: GradientTransformation, view: Any) -> Form:
    """A stateless transformation that follows schedules of the step: all it has to remember is the step.

    `view` shows the step as a state.
    """
    return _with_state(
        inner,
        View(
            lambda state: view.to(state.count),
            lambda state: ScheduledState(view.back(state), {}, {}, EmptyState()),
        ),
    )


@transformation
def apart_from_params(inner: GradientTransformation, init_of_placeholder: Callable[..., Any]) -> Form:
    """A transformation that looks at the structure of the params, and what its state is where there are none.

    `tree.map_params` gives ``init`` a placeholder, and finds out where it appears in the state.
    """
    form = inner.leafwise or (inner.init, inner.update)

    def init(params: Params) -> State:
        return init_of_placeholder(params) if isinstance(params, ParamsPlaceholder) else inner.init(params)

    return dataclasses.replace(form, init=init) if isinstance(form, Leafwise) else (init, form[1])


def _with_state(inner: GradientTransformation, view: View) -> Form:
    form = inner.leafwise
    if form is not None:
        return _leafwise(form, view)

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        updates, own = inner.update(updates, view.back(state), params, **extra)
        return updates, view.advanced(own, state)

    return lambda params: view.began(inner.init(params)), update


def _leafwise(form: Leafwise, view: View) -> Leafwise:
    def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Any]:
        own, scalars = form.prepare(updates, view.back(state), params, extra)
        return view.advanced(own, state), scalars

    return dataclasses.replace(
        form,
        init=lambda params: view.began(form.init(params)),
        prepare=prepare,
        split=lambda state, outline: form.split(view.back(state), outline),
        merge=lambda state, outline, rows: view.again(form.merge(view.back(state), outline, rows), state),
        state_type=object,
    )


def moment_dtype(dtype: Any) -> Any:
    """The dtype of moments as gradtx takes it: that of the real ones. Complex moments are complex by themselves."""
    return None if dtype is None or jnp.issubdtype(dtype, jnp.complexfloating) else dtype


def pair(init: Callable[..., Any], update: Callable[..., Any]) -> GradientTransformation:
    """A transformation from its two functions."""
    return from_functions(init, update)
