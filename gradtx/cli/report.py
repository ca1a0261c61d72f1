"""What a comparison prints: a line on the task, a table, and notes below it."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradtx.cli.data import Array
from gradtx.cli.race import Entrant, Outcome, Plan
from gradtx.cli.ranking import Placed, climbed, finding, spread
from gradtx.cli.tasks import Task, TaskName

PLAIN_WIDTH = 160
"""How wide a table may be where there is no terminal to say."""

NAME_WIDTH, NAME_WIDTH_AT_LEAST = 24, 9
"""The room an optimizer's name gets if columns can be spared for it, and if not; its rest goes on the next line."""

GAP = 2
NAMES = 1
"""Which column has the names of the optimizers."""

FEW = 8
"""So many optimizers are named before the race begins."""

LARGE = 1e4
"""Losses from here on are written with an exponent."""

AIRFOIL_INTERVAL = (0.2416, 0.26)
"""Where every seed of the airfoil run should end: from just below the optimum to a little above it."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
      header: its heading.
      cell: the text of a cell.
      left: whether it is aligned to the left.
      spare: the higher, the sooner the column is left out of a narrow terminal; 0 stays.
    """

    header: str
    cell: Callable[[Placed], str]
    left: bool = False
    spare: int = 0


def console(*, stderr: bool = False) -> Console:
    """A console that does not cut lines short where its output goes to a file or a pipe."""
    made = Console(stderr=stderr, highlight=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Console(stderr=stderr, highlight=False, emoji=False, width=PLAIN_WIDTH)
    return made


def announce(out: Console, task: Task, plan: Plan, field: Sequence[Entrant], seconds: float) -> None:
    """Say what will be done, and about how long it takes."""
    length = f"{plan.legs} epochs" if task.per_epoch else counted(plan.steps, "step")
    seeds = counted(plan.seeds, "seed")
    out.print(Text(f"{task.dataset.story}; {length} of {plan.batch} rows, {seeds}"), style="bold")
    labels = list(dict.fromkeys(entrant.label for entrant in field))
    names = f": {', '.join(labels)}" if len(labels) <= FEW else ""
    out.print(Text(f"{counted(len(labels), 'optimizer')}{names}; about {duration(seconds)} on two idle cores"))


def told(outcome: Outcome, seconds: float) -> str:
    """A line for an optimizer that is done, where there is no terminal for a progress bar."""
    schedule = f" ({outcome.entrant.schedule})" if outcome.entrant.schedule else ""
    return f"{outcome.entrant.label}{schedule}: final loss {mean(outcome.final, 4)}, after {seconds:.0f} s"


def report(out: Console, task: Task, ranked: Sequence[Placed], target: float | None) -> None:
    """Print the comparison, the best on top."""
    found = columns(task, target, ranked)
    kept = fitting(out, found, ranked)
    out.print(table(out, kept, ranked))
    for note in notes(task, ranked, target):
        out.print(Text(note))
    if left_out := [column.header for column in found if column not in kept]:
        out.print(Text(f"This terminal is too narrow for: {', '.join(left_out)}."))


def columns(task: Task, target: float | None, ranked: Sequence[Placed]) -> list[Column]:
    """The columns of a task's table."""
    outcomes = [placed.outcome for placed in ranked]
    found = [
        Column("place", lambda placed: place(placed)),
        Column("optimizer", lambda placed: placed.outcome.entrant.label, left=True),
    ]
    if any(o.entrant.rate for o in outcomes):
        found.append(of("rate", lambda o: o.entrant.rate, spare=2))
    if any(o.entrant.schedule for o in outcomes):
        found.append(of("schedule", lambda o: o.entrant.schedule, left=True, spare=1))
    if target is not None:
        found.append(of(f"steps to {target:g}", lambda o: reached(o.steps_to(target))))
    if task.name is TaskName.AIRFOIL:
        found += _spread_columns()
    elif task.per_epoch:
        found += [of("final loss", lambda o: mean(o.final, 3)), of("lowest loss", _lowest, spare=3)]
    else:
        found += [of("final loss", lambda o: mean(o.final, 4))]
    if task.dataset.test:
        found.append(of("test accuracy", lambda o: percent(o.accuracy)))
    if task.per_epoch:
        found.append(of("accuracy by seed", lambda o: each(o.accuracy), spare=4))
    return found


def of(header: str, cell: Callable[[Outcome], str], *, left: bool = False, spare: int = 0) -> Column:
    """A column about outcomes."""
    return Column(header, lambda placed: cell(placed.outcome), left, spare)


def _spread_columns() -> list[Column]:
    low, high = AIRFOIL_INTERVAL

    def inside(o: Outcome) -> str:
        return "yes" if ((o.final >= low) & (o.final <= high)).all() else "no"

    return [
        of("min loss", lambda o: f"{o.final.min():.4f}", spare=3),
        of("mean loss", lambda o: f"{o.final.mean():.4f}"),
        of("max loss", lambda o: f"{o.final.max():.4f}"),
        of(f"in [{low:g}, {high:g}]", inside),
    ]


def _lowest(o: Outcome) -> str:
    means = o.losses.mean(axis=0)
    if not np.isfinite(means).any():
        return "diverged"
    return f"{np.nanmin(means):.3f} (epoch {np.nanargmin(means)})"


def fitting(out: Console, columns: Sequence[Column], ranked: Sequence[Placed]) -> list[Column]:
    """The columns, without those that can be spared where the terminal is too narrow for all."""
    kept = list(columns)
    while sum(_width(column, ranked) for column in kept) > out.width and any(column.spare for column in kept):
        kept.remove(max(kept, key=lambda column: column.spare))
    return kept


def table(out: Console, columns: Sequence[Column], ranked: Sequence[Placed]) -> Table:
    """The table; the names of the optimizers get the room that the other columns leave."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        justify: Literal["left", "right"] = "left" if column.left else "right"
        made.add_column(_heading(column), justify=justify, no_wrap=column is not columns[NAMES], overflow="fold")
    others = sum(_width(column, ranked) for column in columns if column is not columns[NAMES])
    room = min(_width(columns[NAMES], ranked), out.width - others) - GAP
    made.columns[NAMES].min_width = max(room, NAME_WIDTH_AT_LEAST)
    for placed in ranked:
        made.add_row(*(Text(column.cell(placed)) for column in columns))
    return made


def _width(column: Column, ranked: Sequence[Placed]) -> int:
    """The room a column takes, with the gap to the next; of names, a part is enough."""
    lines = [*_heading(column).splitlines(), *(column.cell(placed)[:NAME_WIDTH] for placed in ranked)]
    return max(map(cell_len, lines)) + GAP


def _heading(column: Column) -> str:
    """A heading on two lines, if it has two words."""
    return column.header.replace(" ", "\n", 1)


def notes(task: Task, ranked: Sequence[Placed], target: float | None) -> list[str]:
    """What is worth saying below the table: first of all, who is best."""
    found = [finding(ranked, target)]
    if lost := climbed(ranked):
        found.append(lost)
    if any(placed.tied for placed in ranked):
        found.append("= the same place: they differ by no more than one of them does from seed to seed.")
    if task.optimum is not None and task.baseline is not None:
        found.append(f"least-squares optimum {task.optimum:.6f}; loss at zero weights {task.baseline:.4f}")
    if task.per_epoch:
        for placed in ranked:
            found += rate_history(placed.outcome)
    return found


def rate_history(outcome: Outcome) -> list[str]:
    """For each seed, when a scheduled learning rate changed."""
    rates = outcome.hyperparams.get("learning_rate")
    if rates is None:
        return []
    lines = []
    for seed, history in enumerate(rates):
        changes = [epoch for epoch in range(1, len(history)) if history[epoch] != history[epoch - 1]]
        parts = [f"{history[0]:g}"] + [f"{history[epoch]:g} from epoch {epoch + 1}" for epoch in changes]
        lines.append(f"{outcome.entrant.label} ({outcome.entrant.schedule or 'rate'}), seed {seed}: {', '.join(parts)}")
    return lines


# --- cells ------------------------------------------------------------------------------------------------------------


def place(placed: Placed) -> str:
    """A place, with a mark if others have it too."""
    return "-" if placed.place is None else f"{'=' * placed.tied}{placed.place}"


def counted(count: int, noun: str) -> str:
    """A number of things: 1 seed, 2 seeds."""
    return f"{count} {noun}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """A time as one says it: 20 seconds, 3 minutes, 2 hours."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length:
            return counted(round(seconds / length), unit)
    return counted(max(5 * round(seconds / 5), 5), "second")


def mean(values: Array, digits: int) -> str:
    """The mean over seeds."""
    if not np.isfinite(values).all():
        return "diverged"
    whole = values.mean()
    return f"{whole:.{digits}f}" if whole < LARGE else f"{whole:.3g}"


def percent(values: Array | None) -> str:
    """Mean and standard deviation (of a sample) over seeds, in percent."""
    if values is None:
        return ""
    margin = f" ± {100 * spread(values):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{margin} %"


def each(values: Array | None) -> str:
    """The value of each seed, in percent."""
    return "" if values is None else "  ".join(f"{100 * value:.1f}" for value in values)


def reached(steps: Array) -> str:
    """Mean and standard deviation over the seeds that reached the target, and how many did if not all."""
    there = steps[np.isfinite(steps)]
    if not len(there):
        return "never"
    margin = f" ± {spread(there):.0f}" if len(there) > 1 else ""
    count = f" ({len(there)}/{len(steps)})" if len(there) < len(steps) else ""
    return f"{there.mean():.0f}{margin}{count}"
