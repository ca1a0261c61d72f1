"""Hyperparameters in the state: reading what is in force, and changing it mid-run."""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp

from gradtx.core.schedule import as_float
from gradtx.core.transformation import (
    GradientTransformation,
    Pair,
    ScheduledState,
    as_transformation,
    transformation,
)
from gradtx.errors import ArgumentValueError, UnknownNameError
from gradtx.tree.fields import find_nodes, map_nodes
from gradtx.typing import Params, State, Updates

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
def tunable(inner: GradientTransformation, names: tuple[str, ...] | None = None) -> Pair:
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
    inner = as_transformation(inner)
    treedef: Any
    paths, treedef = jax.tree_util.tree_flatten_with_path(inner)
    known = {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in paths}
    chosen = set(known) if names is None else {_resolve(name, known) for name in names}

    def init(params: Params) -> TunableState:
        hyperparams = {name: as_float(leaf) for name, leaf in known.items() if name in chosen}
        return TunableState(hyperparams, _rebuild(hyperparams).init(params))

    def update(
        updates: Updates, state: TunableState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        updates, inner_state = _rebuild(state.hyperparams).update(updates, state.inner, params, **extra)
        return updates, TunableState(state.hyperparams, inner_state)

    def _rebuild(hyperparams: dict[str, Any]) -> GradientTransformation:
        rebuilt: GradientTransformation = treedef.unflatten([(known | hyperparams)[name] for name in known])
        return rebuilt

    return init, update


def _resolve(name: str, known: dict[str, Any]) -> str:
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
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "wrap the transformation with tunable(...)"
    raise UnknownNameError(f"a hyperparameter among {list(known)}", got=repr(name), hint=hint)


def get_hyperparams(state: State) -> dict[str, Any]:
    """The hyperparameters in force, by name: those that follow a schedule and those that are `tunable`.

    A name that occurs several times in the state is preceded by its place, as in ``"[1].learning_rate"``.

    Args:
      state: the state of any transformation, however nested.
    """
    found: list[tuple[str, str, Any]] = []
    kinds = (ScheduledState, TunableState)

    def visit(node: Any, prefix: str) -> None:
        pairs, _ = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: isinstance(x, kinds) and x is not node)
        for path, child in pairs:
            if isinstance(child, kinds):
                here = f"{prefix}{jax.tree_util.keystr(path)}"
                found.extend((here, name, value) for name, value in child.hyperparams.items())
                visit(child.inner, f"{here}.inner")

    visit((state,), "")
    names = [name for _, name, _ in found]
    return {
        name if names.count(name) == 1 else f"{place.removeprefix('[0]')}.{name}".lstrip("."): value
        for place, name, value in found
    }


def set_hyperparams(state: State, /, **hyperparams: Any) -> State:
    """The state with some `tunable` hyperparameters changed, inside or outside jit; nothing is recompiled.

    Args:
      state: the state of a `tunable` transformation, or one that contains it.
      **hyperparams: new values by name; pass ``**{"transforms[1].learning_rate": 1e-4}`` for a path.

    Raises:
      UnknownNameError: no tunable hyperparameter has the name.
      ArgumentValueError: the new value has another shape.
    """
    known = {name: value for node in find_nodes(state, TunableState) for name, value in node.hyperparams.items()}
    try:
        changes = {_resolve(name, known): value for name, value in hyperparams.items()}
    except UnknownNameError as error:
        error.locate("set_hyperparams")
        raise

    def change(node: TunableState) -> TunableState:
        values = {k: _like(k, changes[k], v) if k in changes else v for k, v in node.hyperparams.items()}
        return node._replace(hyperparams=values)

    return map_nodes(change, state, TunableState)


def _like(name: str, value: Any, old: jax.Array) -> jax.Array:
    new = jnp.asarray(value, dtype=old.dtype)
    if new.shape != old.shape:
        got = f"shape {list(new.shape)}"
        raise ArgumentValueError(f"{name} of shape {list(old.shape)}", got=got, origin="set_hyperparams")
    return new


def inject_hyperparams(factory: Callable[P, GradientTransformation]) -> Callable[P, GradientTransformation]:
    """Optax's way to write `tunable`: ``inject_hyperparams(adam)(1e-3)`` is ``tunable(adam(1e-3))``."""

    def make(*args: P.args, **kwargs: P.kwargs) -> GradientTransformation:
        return tunable(factory(*args, **kwargs))

    return make
