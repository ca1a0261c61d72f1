"""Every factory by name: what there is, and how to make it from text or from a config."""

import ast
import dataclasses
import difflib
import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax.numpy as jnp

from gradtx.core.arguments import Argument, read_arguments
from gradtx.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError


@dataclasses.dataclass(frozen=True, eq=False)
class Factory:
    """A registered factory.

    Attributes:
      name: the public name, ``scale_by_adam``.
      kind: ``"transformation"``, ``"optimizer"`` or ``"schedule"``.
      family: the topic it belongs to: the module it is defined in, such as ``"adaptive"``.
      summary: the first line of its docstring.
      references: the entries under ``References:`` in its docstring.
      function: the undecorated function.
      make: the decorated function, which returns a value.
      signature: its signature.
      arguments: what its arguments are.
    """

    name: str
    kind: str
    family: str
    summary: str
    references: tuple[str, ...]
    function: Callable[..., Any]
    make: Callable[..., Any]
    signature: inspect.Signature
    arguments: dict[str, Argument]

    def __repr__(self) -> str:
        return f"<gradtx {self.kind} {self.name}>"

    def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Call `function` (the undecorated one or `make`) with arguments by name; variadic ones are a sequence."""
        positional: list[Any] = []
        named = dict(arguments)
        variadic = next((name for name, argument in self.arguments.items() if argument.variadic), None)
        if variadic is not None:
            # What stands before ``*transforms`` can only be passed by position.
            for name in itertools.takewhile(lambda name: name != variadic, self.arguments):
                if name in named:
                    positional.append(named.pop(name))
            positional += named.pop(variadic, ())
        return function(*positional, **named)


Make = TypeVar("Make", bound=Callable[..., Any])

_factories: dict[str, Factory] = {}
_aliases: dict[str, str] = {}


def register(kind: str, function: Callable[..., Any], make: Callable[..., Any]) -> Factory:
    """Describe a factory and enter it under its name.

    A factory defined inside another function is described but not entered: it cannot be found again by name.

    Raises:
      ArgumentValueError: the name is taken by a factory of another module.
    """
    document = inspect.getdoc(function) or ""
    factory = Factory(
        name=function.__name__,
        kind=kind,
        family=function.__module__.rpartition(".")[2],
        summary=document.partition("\n")[0].rstrip("."),
        references=tuple(_references(document)),
        function=function,
        make=make,
        signature=inspect.signature(function),
        arguments=read_arguments(function),
    )
    if "<locals>" in function.__qualname__:
        return factory
    taken = _factories.get(factory.name)
    if taken is not None and taken.function.__module__ != function.__module__:
        raise ArgumentValueError(
            "a name that is free", got=f"{factory.name!r}, taken by {taken.function.__module__}", hint="choose another"
        )
    _factories[factory.name] = factory
    return factory


def alias(name: str, make: Make) -> Make:
    """Let `parse` and `from_config` find a factory under a second name, and return it; it is not registered twice."""
    _aliases[name] = make.factory.name  # type: ignore[attr-defined]
    return make


def registry() -> dict[str, Factory]:
    """Every registered factory by name, sorted."""
    return dict(sorted(_factories.items()))


def aliases() -> dict[str, str]:
    """Every second name with the name it stands for, sorted."""
    return dict(sorted(_aliases.items()))


def lookup(name: str) -> Factory:
    """The factory registered under a name or an alias.

    Raises:
      UnknownNameError: there is none; the message suggests the nearest.
    """
    factory = _factories.get(_aliases.get(name, name))
    if factory is None:
        near = difflib.get_close_matches(name, [*_factories, *_aliases], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "`gradtx list` shows every name"
        raise UnknownNameError("a registered name", got=repr(name), hint=hint)
    return factory


def _references(document: str) -> Iterator[str]:
    """The entries below ``References:``, one per ``-`` or paragraph."""
    _, found, section = document.partition("References:\n")
    entry = ""
    for line in section.splitlines() if found else []:
        if line and not line.startswith(" "):
            break
        text = line.strip()
        if (not text or text.startswith("- ")) and entry:
            yield entry
            entry = ""
        entry = f"{entry} {text.removeprefix('- ')}".strip()
    if entry:
        yield entry


# --- constructor text -------------------------------------------------------------------------------------------------


def parse(text: str) -> Any:
    """The value that constructor text describes: ``parse(repr(tx)) == tx``. No code runs.

    Args:
      text: a call of a registered factory whose arguments are literals or such calls, for example
        ``"chain(clip_by_global_norm(1.0), adamw(exponential_decay(1e-3, 100, 0.9)))"``. ``array([...], 'float32')``,
        ``inf`` and ``nan`` are understood too.

    Returns:
      A `GradientTransformation` or a `Schedule`.

    Raises:
      ArgumentValueError: the text is not a call, or holds anything but registered names and literals.
      UnknownNameError: a name is not registered.
    """
    if not isinstance(text, str):
        raise ArgumentTypeError("constructor text", got=f"{type(text).__name__}", origin="parse")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if not isinstance(tree, ast.Call):
            raise _refused(text.strip(), tree, "a call such as adam(0.001)")
        return _evaluate(text.strip(), tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ArgumentValueError | ArgumentTypeError):
            error.locate("parse")
            raise
        raise ArgumentValueError("constructor text", got=repr(text), hint=str(error), origin="parse") from None
    except UnknownNameError as error:
        error.locate("parse")
        raise


def _refused(text: str, node: ast.AST, wanted: str = "registered names and literals only") -> ArgumentValueError:
    return ArgumentValueError(wanted, got=repr(ast.get_source_segment(text, node) or text))


def _evaluate(text: str, node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float()) | ast.Name()):
            operand = _evaluate(text, node.operand)
            return -operand if isinstance(sign, ast.USub) else operand
        case ast.Name(id="inf" | "nan" as name):
            return float(name)
        case ast.Tuple(elts=elements):
            return tuple(_evaluate(text, element) for element in elements)
        case ast.List(elts=elements):
            return [_evaluate(text, element) for element in elements]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_evaluate(text, k): _evaluate(text, v) for k, v in zip(keys, values, strict=True) if k is not None}
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            if any(isinstance(a, ast.Starred) for a in args) or any(k.arg is None for k in keywords):
                raise _refused(text, node)
            positional = [_evaluate(text, a) for a in args]
            named = {k.arg: _evaluate(text, k.value) for k in keywords if k.arg is not None}
            make = _array if name == "array" else lookup(name).make
            return make(*positional, **named)
    raise _refused(text, node)


def _array(values: Any, dtype: str = "float32") -> Any:
    return jnp.asarray(values, dtype=jnp.dtype(dtype))


# --- configs ----------------------------------------------------------------------------------------------------------


def from_config(config: dict[str, Any]) -> Any:
    """The value that a config describes: ``from_config(to_config(tx)) == tx``. No code runs.

    Args:
      config: what `to_config` returns, perhaps after a trip through JSON or YAML. Arguments may be left out.

    Raises:
      ArgumentTypeError: an entry has the wrong form; the message names it.
      UnknownNameError: a name is not registered.
    """
    try:
        return _from_entry(config, "config")
    except (ArgumentTypeError, UnknownNameError) as error:
        error.locate("from_config")
        raise


def _from_entry(entry: Any, at: str) -> Any:
    if not isinstance(entry, dict):
        if isinstance(entry, list):
            return [_from_entry(x, f"{at}[{i}]") for i, x in enumerate(entry)]
        return entry
    match entry:
        case {"name": str(name), **rest} if set(rest) <= {"arguments"}:
            return _from_call(name, rest.get("arguments", {}), at)
        case {"array": values, "dtype": str(dtype)}:
            return jnp.asarray(values, dtype=dtype)
        case {"tuple": [*items]}:
            return tuple(_from_entry(x, f"{at}[{i}]") for i, x in enumerate(items))
        case {"dict": [*items]}:
            return {_from_entry(k, at): _from_entry(v, f"{at}[{k!r}]") for k, v in items}
        case {"float": str(text)}:
            return float(text)
    raise ArgumentTypeError(
        'an entry {"name": ..., "arguments": {...}} or one made by to_config',
        got=f"keys {sorted(map(str, entry))}",
        at=at,
    )


def _from_call(name: str, given: Any, at: str) -> Any:
    factory = lookup(name)
    if not isinstance(given, dict):
        raise ArgumentTypeError("arguments as a mapping", got=type(given).__name__, at=f"{at}.{name}")
    arguments = {key: _from_entry(value, f"{at}.{name}.{key}") for key, value in given.items()}
    return factory.call(factory.make, arguments)


def to_config(value: Any) -> dict[str, Any]:
    """A value as plain nested dicts fit for JSON and YAML, with every argument, defaults too.

    ``{"name": "adam", "arguments": {"learning_rate": 0.001, "b1": 0.9, ...}}``; arrays, tuples and dicts become
    ``{"array": ..., "dtype": ...}``, ``{"tuple": [...]}`` and ``{"dict": [[key, value], ...]}``.

    Raises:
      ArgumentTypeError: an argument is a traced value, a function or another object that no text describes.
    """
    entry: dict[str, Any] = _to_entry(value, "config")
    return entry


def _to_entry(value: Any, at: str) -> Any:
    if hasattr(value, "factory") and hasattr(value, "arguments"):
        factory, name = value.factory, value.factory.name
        if _factories.get(name) is not factory:
            raise ArgumentTypeError("a registered factory", got=f"the local {name!r}", at=at, origin="to_config")
        arguments = {key: _to_entry(x, f"{at}.{name}.{key}") for key, x in value.arguments.items()}
        return {"name": name, "arguments": arguments}
    match value:
        case float() if not math.isfinite(value):
            return {"float": str(value)}
        case bool() | int() | str() | None:
            return value
        case float():
            return float(value)
        case list():
            return [_to_entry(x, f"{at}[{i}]") for i, x in enumerate(value)]
        case tuple() if type(value) is tuple:
            return {"tuple": [_to_entry(x, f"{at}[{i}]") for i, x in enumerate(value)]}
        case dict():
            return {"dict": [[_to_entry(k, at), _to_entry(x, f"{at}[{k!r}]")] for k, x in value.items()]}
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    raise ArgumentTypeError(
        "numbers, strings, containers and registered values",
        got=f"{value!r}",
        at=at,
        hint="register a factory for it (@gradtx.schedule, @gradtx.transformation) to give it a name",
        origin="to_config",
    )
