"""``gradtx convert``: the constructor text for an optimizer or schedule of torch or Keras."""

import ast
import dataclasses
import difflib
import enum
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rich.console import Console

from gradtx.cli.failure import CommandError
from gradtx.errors import GradtxError


class Library(enum.StrEnum):
    """Where a configuration comes from."""

    TORCH = "torch"
    KERAS = "keras"


@dataclasses.dataclass(frozen=True)
class Call:
    """A configuration: the name of a class and its arguments, as they were written.

    Attributes:
      name: that of the class or function.
      positional: the arguments without a name, but for a variable in the place of the params or the optimizer.
      named: those with one.
      bare: whether there was such a variable.
    """

    name: str
    positional: tuple[Any, ...]
    named: dict[str, Any]
    bare: bool = False


Notes = list[str]
Rule = Callable[[dict[str, Any], Notes], Any]


@dataclasses.dataclass(frozen=True)
class Class:
    """A class that has a counterpart.

    Attributes:
      rule: makes the counterpart from all arguments, and says what differs.
      arguments: the arguments in order with their defaults.
      ignored: arguments that say how to compute, not what.
    """

    rule: Rule
    arguments: dict[str, Any]
    ignored: tuple[str, ...] = ()


REQUIRED = object()
"""The default of an argument that has none."""


def convert(library: Library, text: str, out: Console) -> None:
    """Print the text of the counterpart, and below it, as comments, where conventions differ.

    Raises:
      CommandError: the configuration cannot be read, or has no counterpart.
      GradtxError: a number is out of range.
    """
    value, notes = converted(library, text)
    out.print(repr(value), soft_wrap=True, markup=False, highlight=False)
    for note in dict.fromkeys(notes):
        out.print(f"# {note}", soft_wrap=True, markup=False, highlight=False)


def converted(library: Library, text: str) -> tuple[Any, Notes]:
    """The counterpart of a configuration, and what differs."""
    from gradtx.cli import from_keras, from_torch

    classes = {Library.TORCH: from_torch.CLASSES, Library.KERAS: from_keras.CLASSES}[library]
    notes: Notes = []
    return build(read(text), classes, notes), notes


def build(what: Any, classes: Mapping[str, Class], notes: Notes) -> Any:
    """The counterpart of a call, those of the calls in its arguments first; anything else unchanged."""
    if not isinstance(what, Call):
        return what
    if what.name not in classes:
        near = difflib.get_close_matches(what.name, classes, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"known are {', '.join(classes)}"
        raise CommandError(f"convert: {what.name} has no counterpart; {hint}")
    known = classes[what.name]
    given = {k: build(x, classes, notes) for k, x in _bound(what, known).items()}
    try:
        return known.rule(given, notes)
    except GradtxError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CommandError(f"convert: {what.name} got an argument of the wrong kind ({error})") from None


def shown(x: float) -> Any:
    """A number without the digits that rounding leaves behind, as it is to be read; an int if it is whole."""
    x = float(f"{x:.15g}")
    return int(x) if x.is_integer() else x


def _bound(call: Call, known: Class) -> dict[str, Any]:
    """All arguments of a call by name."""
    order = [name for name in known.arguments if not (call.bare and name == "optimizer")]
    if len(call.positional) > len(order):
        raise CommandError(f"convert: {call.name} takes {len(order)} arguments ({', '.join(order)})")
    given = dict(zip(order, call.positional, strict=False))
    for name, value in call.named.items():
        if name in given:
            raise CommandError(f"convert: {call.name} got {name!r} twice")
        if name not in known.arguments and name not in known.ignored:
            near = difflib.get_close_matches(name, order, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(order)}"
            raise CommandError(f"convert: {call.name} has no argument {name!r}; {hint}")
        given[name] = value
    missing = [name for name, default in known.arguments.items() if default is REQUIRED and name not in given]
    if missing:
        raise CommandError(f"convert: {call.name} needs {' and '.join(missing)}")
    return {name: given.get(name, default) for name, default in known.arguments.items()}


# --- reading ----------------------------------------------------------------------------------------------------------


def read(text: str) -> Call:
    """The call that a text describes: constructor code, or the JSON of a Keras config. Nothing is run.

    Raises:
      CommandError: it is neither.
    """
    text = text.strip()
    if text.startswith("{"):
        return _from_json(text)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CommandError(f"convert: cannot read {_short(text)} ({getattr(error, 'msg', error)})") from None
    if not isinstance(tree, ast.Call):
        raise CommandError(f"convert: expected a call such as AdamW(lr=1e-3), got {_short(text)}")
    return _call(text, tree)


def _call(text: str, node: ast.Call) -> Call:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
    if name is None or any(keyword.arg is None for keyword in node.keywords):
        raise CommandError(f"convert: expected a call such as AdamW(lr=1e-3), got {_short(text, node)}")
    bare = next((i for i, x in enumerate(node.args[:2]) if _is_params(x)), None)  # get_scheduler has it second
    args = [x for i, x in enumerate(node.args) if i != bare]
    variable = [k.arg for k in node.keywords if k.arg == "optimizer" and _is_params(k.value)]
    named = {k.arg: _value(text, k.value) for k in node.keywords if k.arg not in ("params", *variable)}
    return Call(name, tuple(_value(text, a) for a in args), named, bare is not None)  # type: ignore[arg-type]


def _is_params(node: ast.expr) -> bool:
    """Whether an argument is what torch optimizes, such as ``model.parameters()``, or a variable for an optimizer."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in ("parameters", "named_parameters")
    return isinstance(node, ast.Name | ast.Attribute)


def _value(text: str, node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _call(text, node)
    if isinstance(node, ast.List | ast.Tuple) and any(isinstance(x, ast.Call) for x in node.elts):
        return [_value(text, x) for x in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise CommandError(f"convert: expected numbers, text and calls, got {_short(text, node)}") from None


def _short(text: str, node: ast.AST | None = None) -> str:
    part = text if node is None else ast.get_source_segment(text, node) or text
    return repr(part if len(part) <= 60 else f"{part[:57]}...")


def _from_json(text: str) -> Call:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise CommandError(f"convert: cannot read the JSON ({error})") from None
    call = _from_config(config)
    if not isinstance(call, Call):
        raise CommandError('convert: expected {"class_name": ..., "config": {...}}, or a config with a "name"')
    return call


def _from_config(config: Any) -> Any:
    """A config of Keras as a call: with the class beside it, or with the class in small letters for a name in it."""
    if isinstance(config, list):
        return [_from_config(x) for x in config]
    if isinstance(config, dict) and isinstance(config.get("config"), dict) and "class_name" in config:
        return Call(str(config["class_name"]), (), _arguments(config["config"]))
    if isinstance(config, dict) and "name" in config:
        from gradtx.cli.from_keras import CLASSES

        spelled = {known.lower(): known for known in CLASSES}
        name = str(config["name"])
        return Call(spelled.get(name.lower(), name), (), _arguments(config))
    if isinstance(config, float) and float(np.float32(config)) == config:
        return float(str(np.float32(config)))  # 0.001, not 0.0010000000474974513
    return config


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    return {name: _from_config(x) for name, x in config.items() if name != "name"}
