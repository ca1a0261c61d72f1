"""``gradtx compare``: one model, one data set, several optimizers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gradtx.cli import entrants, figures, report, tasks
from gradtx.cli.failure import CommandError
from gradtx.cli.race import Entrant, Outcome, Plan, race, ticks


@dataclasses.dataclass(frozen=True)
class Options:
    """What was asked for; ``None`` leaves the choice to the task.

    Attributes:
      task: which task.
      optimizers: constructor texts that replace the task's optimizers.
      data: the data file, or a directory that holds it.
      steps: the number of updates.
      epochs: the number of passes over the data, instead of `steps`.
      seeds: the number of runs of each optimizer.
      seed: what the first seed is derived from.
      target: the loss to reach.
      out: where the figure goes.
    """

    task: tasks.TaskName
    optimizers: Sequence[str]
    data: Path | None
    steps: int | None
    epochs: int | None
    seeds: int | None
    seed: int
    target: float | None
    out: Path


def compare(options: Options, out: Console, err: Console) -> None:
    """Train, print the table, draw the figure.

    Raises:
      CommandError: the options or the data are not usable, or no optimizer reached a target that was asked for.
    """
    figures.check(options.out)
    given = entrants.from_texts(options.optimizers)
    task = tasks.load(options.task, options.data)
    plan = tasks.plan(task, options.steps, options.epochs, options.seeds, options.seed)
    target = task.target if options.target is None else options.target
    outcomes = _race(given or task.entrants(plan.steps), plan, workers=2 if task.per_epoch else 1, err=err)
    report.report(out, task, plan, outcomes, target)
    figures.save(figures.curves(task, outcomes, target), options.out)
    out.print(f"figure: {options.out}", soft_wrap=True)
    if options.target is not None and not any(np.isfinite(o.steps_to(options.target)).any() for o in outcomes):
        raise CommandError(f"no optimizer reached the target loss of {options.target:g} in {plan.steps} steps")


def _race(field: Sequence[Entrant], plan: Plan, workers: int, err: Console) -> list[Outcome]:
    """The race, with a progress bar where there is a terminal to show it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bar:
        shown = bar.add_task("", total=ticks(field, plan))
        return race(field, plan, lambda what, done: bar.update(shown, description=what, advance=done), workers)
