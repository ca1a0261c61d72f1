"""A transformation opened: its members, what each of them sees, and the state it keeps."""

import collections
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, Leafwise, Schedule, Stateful, expand, from_functions, zero_count
from gradtx.core.value import Value
from gradtx.typing import Mask, Params, State

Path: TypeAlias = tuple[str, ...]
Bytes: TypeAlias = collections.Counter[str]
"""A number of bytes by dtype."""


class Member(NamedTuple):
    """A part of a transformation.

    Attributes:
      path: where it is, for `Seen`.
      label: the name it has there: a label of `partition`, a name in `named_chain`, an argument's if there are several.
      tx: the part: a transformation, perhaps a foreign one.
    """

    path: Path
    label: str
    tx: Any


def is_transformation(x: Any) -> bool:
    """Whether a value is a transformation, made by gradtx or by others."""
    return hasattr(x, "init") and hasattr(x, "update") and not isinstance(x, Schedule | type)


def members(tx: Any, path: Path = ()) -> list[Member]:
    """The parts a transformation is made of: those of an optimizer's composition, or those among its arguments."""
    if not isinstance(tx, GradientTransformation):
        return []
    if tx.factory.composed:
        composition, inside = expand(tx), (*path, COMPOSITION)
        return (
            members(composition, inside) if composition.factory.name == "chain" else [Member(inside, "", composition)]
        )
    found = [
        (name, key, label, x)
        for name, argument in tx.arguments.items()
        for key, label, x in _transformations(argument, name, "")
    ]
    several = len({name for name, *_ in found}) > 1
    return [Member((*path, key), label or (name if several else ""), x) for name, key, label, x in found]


COMPOSITION = "composition"


def _transformations(argument: Any, key: str, label: str) -> Iterator[tuple[str, str, Any]]:
    """The transformations in an argument, each with its place there and a name it may have."""
    if is_transformation(argument):
        yield key, label, argument
    elif type(argument) is dict:
        for name, x in argument.items():
            yield from _transformations(x, f"{key}[{name!r}]", str(name))
    elif type(argument) in (tuple, list):
        named = len(argument) == 2 and isinstance(argument[0], str)  # of a named chain
        for i, x in enumerate(argument):
            yield from _transformations(x, f"{key}[{i}]", argument[0] if named else label)


def schedules_of(value: Value) -> dict[str, Schedule]:
    """The arguments that follow a schedule."""
    return {name: x for name, x in value.arguments.items() if isinstance(x, Schedule)}


# --- what each member sees --------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What a transformation met when it was initialised.

    Attributes:
      leaves: how many leaves it changes.
      parameters: how many numbers there are in the leaves it was given.
      state: the bytes of its state, its members' included.
      params: the shapes of what it was given.
    """

    leaves: int
    parameters: int
    state: Bytes
    params: Params


def tally(node: Any) -> Bytes:
    """The bytes of a tree of arrays, or of their shapes."""
    count: Bytes = collections.Counter()
    for x in jax.tree.leaves(node):
        count[str(x.dtype)] += x.size * x.dtype.itemsize
    return count


def seen_by_members(tx: Any, params: Params) -> dict[Path, Seen]:
    """What a transformation and each of its members sees of some params, and keeps. Nothing is allocated.

    The transformation is initialised on shapes, with each member wrapped to note what it is given and what it returns:
    so it holds for every wrapper and combinator, whatever they do with their members.
    """
    seen: dict[Path, Seen] = {}
    jax.eval_shape(_noting(tx, (), seen).init, params)
    return seen


def _noting(tx: Any, path: Path, seen: dict[Path, Seen]) -> GradientTransformation:
    """A transformation that does the same, and notes what its ``init`` is given and returns; its members likewise."""
    if not isinstance(tx, GradientTransformation):
        return from_functions(functools.partial(_note, tx.init, None, tally(()), path, seen), tx.update)
    original, composed = tx.factory.function, tx.factory.composed
    mask = None if composed else tx.arguments.get("mask")
    overhead = _of_schedules(schedules_of(tx))

    def function(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        if composed:
            whole = _noting(made, (*path, COMPOSITION), seen)
            made = whole.leafwise or tuple(whole)
        # A leafwise transformation stays one: there are wrappers that take no other.
        init = made.init if isinstance(made, Leafwise) else made[0]
        noted = functools.partial(_note, init, mask, overhead, path, seen)
        return dataclasses.replace(made, init=noted) if isinstance(made, Leafwise) else (noted, made[1])

    factory = dataclasses.replace(tx.factory, function=function)
    if composed:  # what it was given is noted as a part of the composition
        return GradientTransformation.of(factory, tx.arguments)
    return GradientTransformation.of(factory, {k: _with_noting(x, path, k, seen) for k, x in tx.arguments.items()})


def _with_noting(argument: Any, path: Path, key: str, seen: dict[Path, Seen]) -> Any:
    if is_transformation(argument):
        return _noting(argument, (*path, key), seen)
    if type(argument) is dict:
        return {name: _with_noting(x, path, f"{key}[{name!r}]", seen) for name, x in argument.items()}
    if type(argument) in (tuple, list):
        return type(argument)(_with_noting(x, path, f"{key}[{i}]", seen) for i, x in enumerate(argument))
    return argument


def _note(init: Any, mask: Mask, overhead: Bytes, path: Path, seen: dict[Path, Seen], params: Params) -> State:
    state = init(params)
    changed = params if mask is None else tree.keep_selected(params, tree.resolve_mask(mask, params))
    sizes = [jnp.size(x) for x in jax.tree.leaves(params)]
    shapes = jax.tree.map(_shape, params)
    seen[path] = Seen(len(jax.tree.leaves(changed)), sum(sizes), tally(state) + overhead, shapes)
    return state


def _shape(x: Any) -> Any:
    return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))  # type: ignore[no-untyped-call]


def _of_schedules(schedules: dict[str, Schedule]) -> Bytes:
    """The bytes that following schedules takes: a counter, the values in force, and what plateaus remember."""
    if not schedules:
        return tally(())

    def begun(s: Schedule) -> Any:
        state = s.parts.init() if isinstance(s.parts, Stateful) else ()
        return s.value(0, state), state

    kept = jax.eval_shape(lambda: [begun(s) for s in schedules.values()])
    return tally(kept) + tally(jax.eval_shape(zero_count))
