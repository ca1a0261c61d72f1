"""Every factory by name."""

import dataclasses
import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from gradtx.core.arguments import Argument, read_arguments
from gradtx.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError


@dataclasses.dataclass(frozen=True, eq=False)
class Factory:
    """A registered factory.

    Attributes:
      name: the public name, ``scale_by_adam``.
      key: the name it is registered under: its name, or ``package.module.name`` if it is defined outside of gradtx.
      kind: ``"transformation"``, ``"optimizer"`` or ``"schedule"``.
      family: the topic it belongs to: the folder it is defined in, such as ``"adaptive"``; of a schedule, the file.
      summary: the first line of its docstring.
      references: the entries under ``References:`` in its docstring.
      function: the undecorated function.
      make: the decorated function, which returns a value.
      signature: its signature.
      arguments: what its arguments are.
    """

    name: str
    key: str
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
        positional = [named.pop(name) if name in named else self._default(name) for name in self.positional]
        for name, argument in self.arguments.items():
            if argument.variadic:
                positional += _members(name, named.pop(name, ()))
        return function(*positional, **named)

    def _default(self, name: str) -> Any:
        """The default of an argument that is given by its place: without it, the next one would move up."""
        default = self.arguments[name].default
        if default is inspect.Parameter.empty:
            raise ArgumentTypeError(f"arguments ({', '.join(self.arguments)})", got=f"no {name}", origin=self.name)
        return default

    @functools.cached_property
    def composed(self) -> bool:
        """Whether it returns a transformation made of others: an optimizer does, and one that is annotated so."""
        return self.kind == "optimizer" or hasattr(self.signature.return_annotation, "leafwise")

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its arguments, in order."""
        return tuple(self.arguments)

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
"""Both by key: that of a foreign factory or alias is qualified by its module, so that no name gradtx adds can clash."""


def register(kind: str, function: Callable[..., Any], make: Callable[..., Any]) -> Factory:
    """Describe a factory and enter it under its key: its name, qualified by its module if that is outside of gradtx.

    A factory defined inside another function is described but not entered: it cannot be found again by name. A module
    that is loaded again replaces its factories.

    Raises:
      ArgumentValueError: two modules of gradtx define one name, or the name is an alias.
    """
    document = inspect.getdoc(function) or ""
    factory = Factory(
        name=function.__name__,
        key=_key(function.__module__, function.__qualname__),
        kind=kind,
        family=_family(kind, function.__module__),
        summary=document.partition("\n")[0].rstrip("."),
        references=tuple(_references(document)),
        function=function,
        make=make,
        signature=inspect.signature(function),
        arguments=read_arguments(function),
    )
    if "<locals>" in function.__qualname__ or function.__module__.startswith("gradtx.optax."):
        return factory
    _require_free(factory.key, function.__module__)
    _factories[factory.key] = factory
    return factory


def _family(kind: str, module: str) -> str:
    """The folder of a module; of a schedule the file, as all schedules are in one folder."""
    *folders, file = module.split(".")
    return folders[-1] if folders and kind != "schedule" else file


def _key(module: str, name: str) -> str:
    return name if module.partition(".")[0] == "gradtx" else f"{module}.{name}"


def _require_free(key: str, module: str) -> None:
    taken = _factories.get(_aliases.get(key, key))
    if taken is not None and (taken.function.__module__ != module or key in _aliases):
        got = f"{key!r}, taken by {taken.function.__module__}.{taken.name}"
        raise ArgumentValueError("a name that is free", got=got, hint="choose another")


def alias(name: str, make: Make) -> Make:
    """Let `parse` and `from_config` find a factory under a second name, and return it; it is not registered twice.

    The second name belongs to the module that calls `alias`, as a factory does to the module that defines it.
    """
    module = sys._getframe(1).f_globals.get("__name__", "__main__")
    target: str = make.factory.key  # type: ignore[attr-defined]
    key = _key(module, name)
    if _aliases.get(key) != target:
        _require_free(key, "")
    _aliases[key] = target
    return make


def registry() -> dict[str, Factory]:
    """Every registered factory, sorted: by name, or by ``package.module.name`` if it is defined outside of gradtx."""
    return dict(sorted(_factories.items()))


def aliases() -> dict[str, str]:
    """Every second name with the name it stands for, sorted."""
    return dict(sorted(_aliases.items()))


def is_registered(factory: Factory) -> bool:
    """Whether `lookup` finds the factory: it is not local, and its module did not define it again."""
    return _factories.get(factory.key) is factory


def shown_name(factory: Factory) -> str:
    """The shortest name by which `lookup` finds a factory: its own, or its key where that means another one too."""
    return factory.name if not is_registered(factory) or _meanings(factory.name) == [factory.key] else factory.key


def lookup(name: str) -> Factory:
    """The factory registered under a name or an alias; foreign ones may leave out the module if that is no question.

    Raises:
      UnknownNameError: there is none, or more than one; the message suggests the nearest.
    """
    found = _meanings(name)
    if len(found) == 1:
        return _factories[found[0]]
    shown = repr(name if len(name) <= 80 else f"{name[:77]}...")
    if found:
        raise UnknownNameError(
            "a name of one factory", got=f"{shown}, which may be {' or '.join(found)}", hint="write all of it"
        )
    *module, last = name.rsplit(".", 1)
    near = _meanings(last) if module else []
    near = near or difflib.get_close_matches(name, [*_factories, *_aliases], n=3)
    absent = "import the module that defines it" if module else "`gradtx list` shows every name"
    hint = f"did you mean {', '.join(near)}?" if near else absent
    raise UnknownNameError("a registered name", got=shown, hint=hint)


def _meanings(name: str) -> list[str]:
    """The keys of the factories that a name may mean: gradtx's own before any other."""
    key = _aliases.get(name, name)
    if key in _factories:
        return [key]
    return sorted({_aliases.get(k, k) for k in (*_factories, *_aliases) if k.rpartition(".")[2] == name})


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
