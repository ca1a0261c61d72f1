"""Hyperparameters in the state: reading what is in force, and changing it mid-run."""

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core.placement import placed_like
from gradtx.core.scheduled import IN_FIELD, SOME_NUMBER, ScheduledState, with_numbers
from gradtx.core.transformation import (
    Form,
    GradientTransformation,
    from_functions,
    transformation,
)
from gradtx.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError
from gradtx.typing import Params, State

P = ParamSpec("P")


class TunableState(NamedTuple):
    """The state of a `tunable` transformation.

    Attributes:
      hyperparams: by name, the numbers the next update uses; change them with `set_hyperparams`.
      inner: the state of the transformation itself.
    """

    hyperparams: dict[str, Any]
    inner: State


@transformation
def tunable(inner: GradientTransformation, names: tuple[str, ...] | None = None) -> Form:
    """Keep numeric arguments in the state, so that they can be changed mid-run without recompiling.

    Args:
      inner: the transformation.
      names: which arguments; all if ``None``. An argument of a member of a chain has a path,
        ``"transforms[1].learning_rate"``, and its last part will do where it is unique.

    State:
      `TunableState`: the numbers (float32, or float64 in x64 mode) and the inner state.

    Raises:
      UnknownNameError: there is no such argument.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.tunable(gradtx.adam(1e-3), ("learning_rate",))
      >>> state = tx.init(jnp.ones(2))
      >>> state = gradtx.set_hyperparams(state, learning_rate=1e-4)
      >>> gradtx.get_hyperparams(state)
      {'learning_rate': Array(1.e-04, dtype=float32)}
    """
    made = inner.arguments.get("init") if inner.factory is from_functions.factory else None  # type: ignore[attr-defined]
    if getattr(made, "__module__", "").partition(".")[0] == "optax":
        hint = "its numbers are out of reach; use optax.inject_hyperparams, or gradtx's transformation of that name"
        raise ArgumentTypeError("inner to be a transformation made by gradtx", got="one of Optax's", hint=hint)
    treedef: Any
    paths, treedef = jax.tree_util.tree_flatten_with_path(inner)
    known = {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in paths}
    names = (names,) if isinstance(names, str) else names
    if names is not None and not (isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)):
        raise ArgumentTypeError("names to be a tuple of names", got=repr(names))
    chosen = set(known) if names is None else {_resolve(name, known, "names") for name in names}

    def begin(params: Params) -> tuple[TunableState, dict[str, Any]]:
        numbers = {name: jnp.array(x, jnp.result_type(float)) for name, x in known.items() if name in chosen}
        return TunableState(numbers, ()), numbers

    def build(numbers: dict[str, Any]) -> Any:
        rebuilt: GradientTransformation = treedef.unflatten([(known | numbers)[name] for name in known])
        return rebuilt.leafwise or (rebuilt.init, rebuilt.update)

    def advance(state: TunableState, extra: dict[str, Any]) -> tuple[TunableState, dict[str, Any]]:
        return state, state.hyperparams

    form: Form = with_numbers(build, dict.fromkeys(chosen, SOME_NUMBER), advance, IN_FIELD, begin, TunableState)
    return form


def _resolve(name: str, known: Iterable[str], wanted: str = "a hyperparameter") -> str:
    """The full path of a hyperparameter from its path or from the last part of it."""
    if name in known:
        return name
    found = [path for path in known if path.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownNameError(
            "one hyperparameter", got=f"{name!r}, which is any of {found}", hint="give the whole path"
        )
    inside = [path for path in known if f".{path}".rpartition(f".{name}.")[1]]
    near = inside or difflib.get_close_matches(name, list(known), n=3)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else ""
    hint = hint if known else "wrap the transformation with tunable(...)"
    raise UnknownNameError(f"{wanted} among {list(known)}", got=repr(name), hint=hint)


def get_hyperparams(state: State) -> dict[str, Any]:
    """The hyperparameters in force, by name: those that follow a schedule and those that are `tunable`.

    A name that occurs several times in the state is preceded by its place, as in ``"[1].learning_rate"``.

    Args:
      state: the state of any transformation, however nested.
    """
    return {name: node.hyperparams[key] for name, (_, key, node) in _named(state).items()}


Holder = ScheduledState | TunableState


def _holders(node: Any, place: str = "") -> Iterator[tuple[str, Holder]]:
    """The nodes of a state that hold hyperparameters, with their places, outermost first."""
    if isinstance(node, Holder):
        yield place, node
        yield from _holders(node.inner, f"{place}.inner")
        return
    for path, child in jax.tree_util.tree_leaves_with_path(node, is_leaf=lambda x: isinstance(x, Holder)):
        if isinstance(child, Holder):
            yield from _holders(child, f"{place}{jax.tree_util.keystr(path)}")


def _named(state: State) -> dict[str, tuple[str, str, Holder]]:
    """Every hyperparameter in a state by the name it goes by: its place, its name there, and the node that holds it."""
    found = [(place, name, node) for place, node in _holders(state) for name in node.hyperparams]
    names = [name for _, name, _ in found]
    return {
        name if names.count(name) == 1 else f"{place}.{name}".lstrip("."): (place, name, node)
        for place, name, node in found
    }


def set_hyperparams(state: State, /, **hyperparams: Any) -> State:
    """The state with some `tunable` hyperparameters changed, inside or outside jit; nothing is recompiled.

    Args:
      state: the state of a `tunable` transformation, or one that contains it.
      **hyperparams: new values by name as in `get_hyperparams`, or by the last part of it where that is unique; pass
        ``**{"transforms[1].learning_rate": 1e-4}`` for a path.

    Raises:
      UnknownNameError: no tunable hyperparameter has the name, or several have.
      ArgumentTypeError: the new value is no number.
      ArgumentValueError: the new value has another shape, or is a Python or NumPy number that is not finite. Ranges are
        those of the factory, which the state does not know: they are not checked.
    """
    named = _named(state)
    known = {name: value for name, value in named.items() if isinstance(value[2], TunableState)}
    changes: dict[tuple[str, str], Any] = {}
    for name, value in hyperparams.items():
        if name in named and name not in known:
            hint = "replace the schedule by a number and wrap the transformation with tunable(...)"
            got = f"{name!r}, which follows a schedule"
            raise UnknownNameError("a tunable hyperparameter", got=got, hint=hint, origin="set_hyperparams")
        try:
            place, key, node = known[_resolve(name, known)]
        except UnknownNameError as error:
            error.locate("set_hyperparams")
            raise
        changes[place, key] = _like(key, value, node.hyperparams[key])
    return _changed(state, changes)


def _changed(node: Any, changes: dict[tuple[str, str], Any], place: str = "") -> Any:
    """The state with hyperparameters replaced, each given by the place and the name it has there."""
    if isinstance(node, Holder):
        node = node._replace(inner=_changed(node.inner, changes, f"{place}.inner"))
        values = {key: changes.get((place, key), value) for key, value in node.hyperparams.items()}
        return node._replace(hyperparams=values)
    return jax.tree_util.tree_map_with_path(
        lambda path, x: _changed(x, changes, place + jax.tree_util.keystr(path)) if isinstance(x, Holder) else x,
        node,
        is_leaf=lambda x: isinstance(x, Holder),
    )


def _like(name: str, value: Any, old: jax.Array) -> jax.Array:
    try:
        if isinstance(value, bool | complex):
            raise TypeError
        new = jnp.array(value, dtype=old.dtype)  # a copy: the state is donated, the caller's array is not
    except (TypeError, ValueError, OverflowError):
        raise ArgumentTypeError(f"{name} to be a number", got=f"{value!r}", origin="set_hyperparams") from None
    # What is on a device already is not waited for.
    if isinstance(value, float | np.ndarray | np.floating) and not np.all(np.isfinite(value)):
        raise ArgumentValueError(f"{name} to be finite", got=f"{value!r}", origin="set_hyperparams")
    if new.shape != old.shape:
        got = f"shape {list(new.shape)}"
        raise ArgumentValueError(f"{name} of shape {list(old.shape)}", got=got, origin="set_hyperparams")
    return placed_like(new, old)


def inject_hyperparams(
    factory: Callable[P, GradientTransformation], static_args: str | Iterable[str] = ()
) -> Callable[P, GradientTransformation]:
    """Optax's way to write `tunable`: ``inject_hyperparams(adam)(1e-3)`` is ``tunable(adam(1e-3))``.

    Args:
      factory: a factory, or any function that returns a transformation.
      static_args: not needed, and not used: which arguments are numbers is known.
    """
    del static_args

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> GradientTransformation:
        return tunable(factory(*args, **kwargs))

    return make
