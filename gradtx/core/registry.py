"""Every factory by name."""

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

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
        named = dict(arguments)
        positional = [named.pop(name) for name in self.positional if name in named]
        for name, argument in self.arguments.items():
            if argument.variadic:
                positional += _members(name, named.pop(name, ()))
        return function(*positional, **named)

    @functools.cached_property
    def positional(self) -> tuple[str, ...]:
        """The arguments that cannot be passed by name: those before ``/`` and before ``*transforms``."""
        parameters = list(self.signature.parameters.values())
        last = max((i for i, p in enumerate(parameters) if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)), default=-1)
        return tuple(p.name for p in parameters[: last + 1] if p.kind is not p.VAR_POSITIONAL)


def _members(name: str, value: Any) -> list[Any]:
    """The values of a variadic argument that was given by name, in a config or by `replace`."""
    if not isinstance(value, tuple | list):
        raise ArgumentTypeError(f"{name} to be a list or tuple", got=f"{value!r} ({type(value).__name__})")
    return list(value)


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
    _require_free(factory.name, function.__module__)
    _factories[factory.name] = factory
    return factory


def _require_free(name: str, module: str) -> None:
    taken = _factories.get(_aliases.get(name, name))
    if taken is not None and (taken.function.__module__ != module or name in _aliases):
        got = f"{name!r}, taken by {taken.function.__module__}.{taken.name}"
        raise ArgumentValueError("a name that is free", got=got, hint="choose another")


def alias(name: str, make: Make) -> Make:
    """Let `parse` and `from_config` find a factory under a second name, and return it; it is not registered twice."""
    target: str = make.factory.name  # type: ignore[attr-defined]
    if _aliases.get(name) != target:
        _require_free(name, "")
    _aliases[name] = target
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
