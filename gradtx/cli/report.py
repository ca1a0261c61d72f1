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
from gradtx.cli.race import Outcome, Plan
from gradtx.cli.tasks import Task, TaskName

PLAIN_WIDTH = 160
"""How wide a table may be where there is no terminal to say."""

NAME_WIDTH, NAME_WIDTH_AT_LEAST = 24, 9
"""The room an optimizer's name gets if columns can be spared for it, and if not; its rest goes on the next line."""

GAP = 2

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
    cell: Callable[[Outcome], str]
    left: bool = False
    spare: int = 0


def console(*, stderr: bool = False) -> Console:
    """A console that does not cut lines short where its output goes to a file or a pipe."""
    made = Console(stderr=stderr, highlight=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Console(stderr=stderr, highlight=False, emoji=False, width=PLAIN_WIDTH)
    return made


def report(out: Console, task: Task, plan: Plan, outcomes: Sequence[Outcome], target: float | None) -> None:
    """Print the comparison, whoever reached the target first (or ends lowest) on top."""
    length = f"{plan.legs} epochs" if task.per_epoch else f"{plan.steps} steps"
    seeds = "1 seed" if plan.seeds == 1 else f"{plan.seeds} seeds"
    out.print(Text(f"{task.dataset.story}; {length} of {plan.batch} rows, {seeds}"), style="bold")
    ranked = sorted(outcomes, key=lambda o: (0 if target is None else o.steps_to(target).mean(), o.final.mean()))
    out.print(fitted(out, columns(task, target, outcomes), ranked))
    for note in notes(task, outcomes):
        out.print(Text(note))


def columns(task: Task, target: float | None, outcomes: Sequence[Outcome]) -> list[Column]:
    """The columns of a task's table."""
    found = [Column("optimizer", lambda o: o.entrant.label, left=True)]
    if any(o.entrant.rate for o in outcomes):
        found.append(Column("rate", lambda o: o.entrant.rate, spare=2))
    if any(o.entrant.schedule for o in outcomes):
        found.append(Column("schedule", lambda o: o.entrant.schedule, left=True))
    if task.name is TaskName.AIRFOIL:
        found += _spread_columns()
    elif task.per_epoch:
        found += [Column("final loss", lambda o: mean(o.final, 3)), Column("lowest loss", _lowest, spare=1)]
    else:
        found += [Column("final loss", lambda o: mean(o.final, 4))]
    if task.dataset.test:
        found.append(Column("test accuracy", lambda o: percent(o.accuracy)))
    if target is not None:
        found.append(Column(f"steps to {target:g}", lambda o: reached(o.steps_to(target)), spare=1))
    if task.per_epoch:
        return [*found, Column("accuracy by seed", lambda o: each(o.accuracy), spare=3)]
    return [
        *found,
        Column("µs/step", lambda o: f"{o.step_seconds * 1e6:.0f}", spare=4),
        Column("compile", lambda o: "shared" if o.shared else f"{o.compile_seconds:.1f} s", spare=5),
    ]


def _spread_columns() -> list[Column]:
    low, high = AIRFOIL_INTERVAL

    def inside(o: Outcome) -> str:
        return "yes" if ((o.final >= low) & (o.final <= high)).all() else "no"

    return [
        Column("min loss", lambda o: f"{o.final.min():.4f}", spare=1),
        Column("mean loss", lambda o: f"{o.final.mean():.4f}"),
        Column("max loss", lambda o: f"{o.final.max():.4f}"),
        Column(f"in [{low:g}, {high:g}]", inside),
    ]


def _lowest(o: Outcome) -> str:
    means = o.losses.mean(axis=0)
    if not np.isfinite(means).any():
        return "diverged"
    return f"{np.nanmin(means):.3f} (epoch {np.nanargmin(means)})"


def fitted(out: Console, columns: list[Column], outcomes: Sequence[Outcome]) -> Table:
    """The table, without the columns that can be spared where the terminal is too narrow for all."""
    kept = list(columns)
    while sum(_width(column, outcomes) for column in kept) > out.width and any(column.spare for column in kept):
        kept.remove(max(kept, key=lambda column: column.spare))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    others = sum(_width(column, outcomes) for column in kept[1:])
    for column in kept:
        justify: Literal["left", "right"] = "left" if column.left else "right"
        table.add_column(_heading(column), justify=justify, no_wrap=column is not kept[0], overflow="fold")
    table.columns[0].min_width = max(min(_width(kept[0], outcomes), out.width - others) - GAP, NAME_WIDTH_AT_LEAST)
    for outcome in outcomes:
        table.add_row(*(Text(column.cell(outcome)) for column in kept))
    return table


def _width(column: Column, outcomes: Sequence[Outcome]) -> int:
    """The room a column takes, with the gap to the next; of names, a part is enough."""
    lines = [*_heading(column).splitlines(), *(column.cell(outcome)[:NAME_WIDTH] for outcome in outcomes)]
    return max(map(cell_len, lines)) + GAP


def _heading(column: Column) -> str:
    """A heading on two lines, if it has two words."""
    return column.header.replace(" ", "\n", 1)


def notes(task: Task, outcomes: Sequence[Outcome]) -> list[str]:
    """What is worth saying below the table."""
    found = []
    if task.optimum is not None and task.baseline is not None:
        found.append(f"least-squares optimum {task.optimum:.6f}; loss at zero weights {task.baseline:.4f}")
    if task.per_epoch:
        for outcome in outcomes:
            found += rate_history(outcome)
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


def mean(values: Array, digits: int) -> str:
    """The mean over seeds."""
    return f"{values.mean():.{digits}f}" if np.isfinite(values).all() else "diverged"


def percent(values: Array | None) -> str:
    """Mean and standard deviation (of a sample) over seeds, in percent."""
    if values is None:
        return ""
    spread = f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread} %"


def each(values: Array | None) -> str:
    """The value of each seed, in percent."""
    return "" if values is None else "  ".join(f"{100 * value:.1f}" for value in values)


def reached(steps: Array) -> str:
    """The mean number of steps over the seeds that reached the target, and how many did if not all."""
    there = steps[np.isfinite(steps)]
    if not len(there):
        return "never"
    count = f" ({len(there)}/{len(steps)})" if len(there) < len(steps) else ""
    return f"{there.mean():.0f}{count}"
