"""A transformation, or a state, as a table."""

import dataclasses
import html
import inspect
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gradtx.core import GradientTransformation, Schedule
from gradtx.core.value import same, show
from gradtx.errors import MissingExtraError
from gradtx.inspect.matrices import Cost, cost_of, costs, methods, reasons
from gradtx.inspect.metrics import metrics
from gradtx.inspect.parts import (
    Bytes,
    Member,
    Path,
    Seen,
    is_transformation,
    members,
    schedules_of,
    seen_by_members,
    tally,
)
from gradtx.inspect.words import in_words, number
from gradtx.schedules import PlateauState
from gradtx.tree.fields import find_nodes
from gradtx.typing import Params, State

LONGEST_ARGUMENT = 48
SCHEDULE = "<schedule>"
"""Stands where an argument follows a schedule; the words are below the table."""


class Cell(NamedTuple):
    """Text with the lines of a tree before it: on its first line, and on those it is continued on."""

    text: str
    first: str = ""
    next: str = ""


@dataclasses.dataclass(frozen=True)
class Description:
    """What `describe` returns: ``print`` it, or give it to rich, which fits it to the terminal, or to a notebook.

    Attributes:
      above: lines above the table.
      header: the headings of its columns; the first one is of text, the others of numbers.
      rows: its rows.
      below: lines below it.
      parameters: how many parameters there are, if they were given.
      state: the bytes of the state by dtype, if parameters were given.
    """

    above: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, *tuple[str, ...]], ...]
    below: tuple[str, ...]
    parameters: int | None = None
    state: dict[str, int] | None = None

    def text(self, width: int | None = None) -> str:
        """The description as text, its lines broken to fit a width if one is given."""
        columns = [
            max(map(len, column)) for column in zip(self.header[1:], *(row[1:] for row in self.rows), strict=True)
        ]
        others = sum(columns) + len(GAP) * len(columns)
        room = None if width is None else max(width - others, NARROWEST)
        cells = [_broken(row[0], room) for row in self.rows]
        first = max(len(line) for lines in [[self.header[0]], *cells] for line in lines)
        table = [_line(self.header[0], self.header[1:], [first, *columns])]
        for (start, *rest), row in zip(cells, self.rows, strict=True):
            table += [_line(start, row[1:], [first, *columns]), *rest]
        around = (
            [line for text in part for line in _broken(Cell(text, next="  "), width)]
            for part in (self.above, self.below)
        )
        above, below = around
        return "\n\n".join("\n".join(part) for part in (above, table, below) if part)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        header = _line(self.header[0], (), [0])
        for line in self.text(options.max_width).split("\n"):
            yield Text(line, style="bold" if line.startswith(header) else "", no_wrap=True, overflow="ignore")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


GAP = "  "
NARROWEST = 24
"""The first column is given so many characters, however narrow the terminal."""


def _line(first: str, others: Sequence[str], widths: Sequence[int]) -> str:
    cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
    return GAP.join(cells).rstrip()


def _broken(cell: Cell, width: int | None) -> list[str]:
    """The lines of a cell, broken at spaces and after parentheses; a word that is too long sticks out."""
    lines, start = [], cell.first
    line = start
    for word in re.split(r"(?<=[ (])", cell.text):
        if width is not None and line != start and len(line + word.rstrip()) > width:
            lines.append(line.rstrip())
            line = start = cell.next
        line += word
    return [*lines, line.rstrip()]


def describe(what: Any, params: Params | None = None, *, cost: bool = False) -> Description:
    """Show what a transformation is made of and what it costs, or what the state of one says.

    A transformation is opened as a tree: an optimizer into its composition, a chain, a partition or a wrapper into its
    members. Each row has the numbers it was made with, those left at their defaults too, and other arguments that
    differ from theirs. With `params`: the state it keeps itself, in bytes per parameter it is given and in all, and how
    many leaves it changes. Schedules are put into words below, and what a method of matrices takes each leaf for.

    Of a state: the values in force, counts, norms and what was skipped, as by `metrics`; plateaus in words.

    Args:
      what: a transformation (of any library; a foreign one cannot be opened), a schedule, or a state.
      params: the parameters of a transformation: arrays, or their shapes by ``jax.eval_shape(init, ...)``. Nothing of
        their size is allocated.
      cost: with `params`, what a step costs: the operations of the compiled update and the bytes that it moves, as
        XLA's analysis on this machine counts them, and those of one matrix of each shape. Branches count as if they
        were taken at every step, decompositions by a library (QR, eigenvalues) not at all.

    Returns:
      A `Description`, which prints as a table.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx = gradtx.adamw(gradtx.linear_schedule(0.1, 0.0, 100), mask="kernel")
      >>> params = jax.eval_shape(lambda: {"kernel": jnp.zeros((1000, 500)), "bias": jnp.zeros(500)})
      >>> gradtx.describe(tx, params)
      500.5 thousand parameters in 2 leaves: 2 MB (float32 2 MB)
      state: 4 MB (float32 4 MB, int32 8 B), 8 bytes per parameter
      <BLANKLINE>
      transformation                                               bytes/param  state  leaves
      adamw(learning_rate=<schedule>, mask='kernel')                         0    8 B       2
      ├─ scale_by_adam(b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0)            8   4 MB       2
      ├─ add_decayed_weights(weight_decay=0.0001, mask='kernel')             0      0  1 of 2
      └─ scale_by_learning_rate(learning_rate=<schedule>)                    0      0       2
      <BLANKLINE>
      adamw.learning_rate: linear from 0.1 to 0 over 100 steps
    """
    if isinstance(what, Schedule):
        return Description((), ("schedule",), ((Cell(in_words(what)),),), ())
    return _of_transformation(what, params, cost) if is_transformation(what) else _of_state(what)


# --- a transformation -------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A member in the tree: itself, what is in it, and the lines of the tree that lead to it and on."""

    member: Member
    inside: list[Member]
    first: str
    next: str


def _of_transformation(tx: Any, params: Params | None, cost: bool) -> Description:
    rows = [*_rows(Member((), "", tx), "", "")]
    notes = _schedules(rows)
    if params is None:
        return Description((), ("transformation",), tuple((_cell(row),) for row in rows), notes)
    seen = seen_by_members(tx, params)
    whole = tally(jax.eval_shape(lambda tree: tree, params))  # a Python number has no dtype before it is an array
    total, leaves = seen[()], len(jax.tree.leaves(params))
    cells = tuple((_cell(row), *_costs(row, seen, leaves)) for row in rows)
    above: tuple[str, ...] = (
        f"{_count(total.parameters)} parameters in {leaves} {'leaf' if leaves == 1 else 'leaves'}: {_sizes(whole)}",
        f"state: {_sizes(total.state)}, {_ratio(total.state.total(), total.parameters)} bytes per parameter",
    )
    found = list(methods([row.member for row in rows], seen))
    notes += tuple(line for method, given in found for line in reasons(method, given))
    if cost:
        above += (_cost_of_a_step(tx, total.params),)
        notes += tuple(line for method, given in found for line in _costs_by_shape(method, given))
    header = ("transformation", "bytes/param", "state", "leaves")
    return Description(above, header, cells, notes, total.parameters, dict(total.state))


def _cost_of_a_step(tx: Any, params: Params) -> str:
    try:
        return f"a step: {_cost(cost_of(tx, params))}"
    except MissingExtraError as error:
        return f"a step: its cost is not known without the extras: {error}"


def _costs_by_shape(tx: GradientTransformation, params: Params) -> Iterator[str]:
    for shape, count, one in costs(tx, params):
        yield f"{tx.factory.name}: {count} of {shape}: {_cost(one)} each"


def _cost(cost: Cost) -> str:
    return f"{_count(cost.operations)} operations, {_size(cost.moved)} moved"


def _rows(member: Member, first: str, next_: str) -> Iterator[Row]:
    """A member and its own members, depth first, with the lines of a tree."""
    inside = members(member.tx, member.path)
    yield Row(member, inside, first, next_ + ("│    " if inside else "     "))
    for i, inner in enumerate(inside):
        last = i == len(inside) - 1
        yield from _rows(inner, next_ + ("└─ " if last else "├─ "), next_ + ("   " if last else "│  "))


def _cell(row: Row) -> Cell:
    label = f"{row.member.label}: " if row.member.label else ""
    return Cell(label + _call(row.member.tx, opened=bool(row.inside)), row.first, row.next)


def _call(tx: Any, opened: bool) -> str:
    """A transformation with its arguments; without those that are shown as its members."""
    if not isinstance(tx, GradientTransformation):
        return show(tx)
    composed = tx.factory.composed
    shown = []
    for name, argument in tx.factory.arguments.items():
        value = tx.arguments[name]
        default = argument.default is not inspect.Parameter.empty and same(value, argument.default)
        if (default and (composed or not argument.numeric or value is None)) or _holds_transformations(value):
            continue
        text = SCHEDULE if isinstance(value, Schedule) else show(value)
        shown.append(f"{name}={text if len(text) <= LONGEST_ARGUMENT else text[: LONGEST_ARGUMENT - 3] + '...'}")
    return f"{tx.factory.name}({', '.join(shown)})" if shown or not opened else tx.factory.name


def _holds_transformations(value: Any) -> bool:
    if type(value) is dict:
        return any(map(_holds_transformations, value.values()))
    if type(value) in (tuple, list):
        return any(map(_holds_transformations, value))
    return is_transformation(value)


def _costs(row: Row, seen: dict[Path, Seen], leaves: int) -> tuple[str, str, str]:
    """The state a member keeps itself, per parameter and in all, and the leaves it changes."""
    here = seen.get(row.member.path)
    if here is None:
        return "", "", ""
    own = here.state.total() - sum(seen[inner.path].state.total() for inner in row.inside if inner.path in seen)
    changed = str(here.leaves) if here.leaves == leaves else f"{here.leaves} of {leaves}"
    if row.inside and not own:
        return "", "", changed
    return _ratio(own, here.parameters), _size(own), changed


def _schedules(rows: Sequence[Row]) -> tuple[str, ...]:
    """The schedules in words, each once, under the outermost name."""
    found: list[tuple[str, Schedule]] = []
    for row in rows:
        if isinstance(row.member.tx, GradientTransformation):
            for name, schedule in schedules_of(row.member.tx).items():
                if not any(known == schedule for _, known in found):
                    found.append((f"{row.member.tx.factory.name}.{name}", schedule))
    return tuple(f"{name}: {in_words(schedule)}" for name, schedule in found)


# --- numbers ----------------------------------------------------------------------------------------------------------


def _scaled(x: float, units: Sequence[str]) -> str:
    """A number in the largest unit, each a thousand times the one before, that leaves it at least 1."""
    if x < 0:  # what a wrapper saves of the state of its members
        return f"-{_scaled(-x, units)}"
    power = min(int(math.log10(x) // 3), len(units) - 1) if x >= 1 else 0
    text = f"{x / 1000**power:.1f}".removesuffix(".0")
    return f"{text} {units[power]}".rstrip()


def _size(n: int) -> str:
    return _scaled(n, ("B", "kB", "MB", "GB", "TB", "PB")) if n else "0"


def _count(n: int) -> str:
    return _scaled(n, ("", "thousand", "million", "billion", "trillion"))


def _sizes(count: Bytes) -> str:
    """Bytes in all, and by dtype."""
    parts = ", ".join(f"{dtype} {_size(n)}" for dtype, n in count.most_common() if n)
    return f"{_size(count.total())} ({parts})" if parts else "nothing"


def _ratio(n: int, parameters: int) -> str:
    return f"{n / parameters:.3g}" if parameters and abs(n) >= 0.005 * parameters else "0"


# --- a state ----------------------------------------------------------------------------------------------------------


def _of_state(state: State) -> Description:
    rows = tuple((Cell(name), _value(x)) for name, x in metrics(state).items())
    return Description((), ("in the state", "value"), rows, tuple(map(_plateau, find_nodes(state, PlateauState))))


def _value(x: Any) -> str:
    if isinstance(x, jax.core.Tracer | jax.ShapeDtypeStruct):
        return str(x.dtype)
    value = np.asarray(x)[()]
    return str(bool(value)) if value.dtype == bool else str(value) if value.dtype.kind in "iu" else number(value)


def _plateau(state: PlateauState) -> str:
    if isinstance(state.value, jax.core.Tracer | jax.ShapeDtypeStruct):
        return "plateau"
    waited = f"{int(state.plateau_count)} of {number(state.settings.patience)} observations without improvement"
    cooling = f", cooling down for {int(state.cooldown_count)} more" if state.cooldown_count else ""
    reduced = "not reduced yet" if state.scale == 1 else f"reduced to {number(state.scale)} of the initial value"
    return f"plateau: {waited} on {number(state.best_value)}{cooling}; {reduced}"
