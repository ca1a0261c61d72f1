"""``gradtx list``: what is registered, and one entry in full."""

import inspect
import re
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import gradtx
from gradtx.core import Factory, lookup
from gradtx.core.arguments import Argument
from gradtx.core.value import show

SYMBOLS = {
    "alpha": "α", "beta": "β", "delta": "δ", "epsilon": "ε", "eta": "η", "gamma": "γ",  # noqa: RUF001
    "lambda": "λ", "mu": "μ", "nu": "ν", "rho": "ρ", "sigma": "σ", "theta": "θ",  # noqa: RUF001
    "cdot": "·", "ge": "≥", "infty": "∞", "le": "≤", "leftarrow": "←", "quad": " ", "sqrt": "√", "to": "→",
}  # fmt: skip
"""What LaTeX commands look like in a terminal."""

KINDS = ("optimizer", "transformation", "schedule")


def print_registry(out: Console) -> None:
    """Print every entry by kind and family: name and one line."""
    factories = gradtx.registry().values()
    width = max(len(factory.key) for factory in factories)
    for kind in KINDS:
        of_kind = [factory for factory in factories if factory.kind == kind]
        out.print(Text(f"{kind}s ({len(of_kind)})", style="bold"))
        for family in sorted({factory.family for factory in of_kind}):
            out.print(Padding(_family(family, [f for f in of_kind if f.family == family], width), (0, 0, 0, 2)))
        out.print()
    out.print(Text("gradtx list NAME shows one of them in full."))


def _family(family: str, factories: Iterable[Factory], width: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, min_width=width)
    table.add_column()
    table.add_row(Text(family, style="dim"), "")
    for factory in factories:
        table.add_row(Text(f"  {factory.key}", style="cyan"), Text(plain(factory.summary)))
    return table


def print_entry(name: str, out: Console) -> None:
    """Print one entry: signature, arguments with ranges and defaults, document, aliases.

    Raises:
      UnknownNameError: there is no such name; the message suggests the nearest.
    """
    factory = lookup(name)
    out.print(Text(f"{factory.key}({', '.join(map(_signature, factory.arguments.values()))})", style="bold"))
    out.print(Text(f"{factory.kind}, family {factory.family}", style="dim"))
    out.print(_arguments(factory) if factory.arguments else "")
    out.print(Text(plain(inspect.getdoc(factory.function) or factory.summary)))
    other = [alias for alias, target in gradtx.aliases().items() if target == factory.key]
    if other:
        out.print()
        out.print(Text(f"Also known as: {', '.join(other)}"))


def _signature(argument: Argument) -> str:
    if argument.variadic:
        return f"*{argument.name}"
    return f"{argument.name}={_default(argument)}" if _has_default(argument) else argument.name


def _arguments(factory: Factory) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for header in ("argument", "takes", "default"):
        table.add_column(header, no_wrap=header == "argument")
    for argument in factory.arguments.values():
        default = _default(argument) if _has_default(argument) else ""
        table.add_row(Text(argument.name), Text(_takes(argument, factory.kind)), Text(default))
    return table


def _takes(argument: Argument, kind_of_factory: str) -> str:
    """What an argument may be, in words."""
    kind = "a value"
    if argument.range is not None:
        number = "a number or a schedule" if kind_of_factory != "schedule" or argument.operand else "a number"
        kind = f"{'numbers' if argument.nested else number} in {argument.range}"
    elif argument.choices:
        kind = f"one of {', '.join(map(repr, argument.choices))}"
    elif argument.dtype:
        kind = "a floating dtype"
    elif argument.kind is not None:
        kind = {bool: "true or false", int: "a whole number", str: "text"}.get(argument.kind, argument.kind.__name__)
    return f"{kind}, or None" if argument.optional else kind


def _has_default(argument: Argument) -> bool:
    return argument.default is not inspect.Parameter.empty


def _default(argument: Argument) -> str:
    return show(argument.default)


def plain(text: str) -> str:
    """A docstring's text without the marks of its mathematics and code, as far as a line of text can do."""
    return re.sub(r"``([^`]*)``", r"\1", re.sub(r":math:`([^`]*)`", lambda match: _formula(match[1]), text))


def _formula(latex: str) -> str:
    latex = re.sub(r"\\(?:text|mathrm|operatorname)\{([^}]*)\}", r"\1", latex)
    latex = re.sub(r"\\t?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1 / \2", latex)
    latex = re.sub(r"\\([A-Za-z]+)", lambda match: SYMBOLS.get(match[1], match[1]), latex)
    spaced = re.sub(r"\\[,;! ]", " ", latex).replace("\\", "")
    return " ".join(spaced.split())
