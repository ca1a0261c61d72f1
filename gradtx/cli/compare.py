"""``gradtx compare``: one model, one data set, several optimizers."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gradtx.cli import entrants, figures, report, tasks
from gradtx.cli.entrants import Schedules
from gradtx.cli.failure import CommandError
from gradtx.cli.race import Entrant, Outcome, Plan, group, race, ticks
from gradtx.cli.ranking import rank
from gradtx.cli.tasks import Task, TaskName

BEFORE_SECONDS, PROGRAM_SECONDS = 2.0, 2.5
"""About how long it takes to begin, and to compile a program."""


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
      everyone: whether all registered optimizers that can take part do.
      schedules: which courses of the rate take part.
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
    everyone: bool = False
    schedules: Schedules | None = None


def compare(options: Options, out: Console, err: Console) -> None:
    """Train, print the table, draw the figure.

    Raises:
      CommandError: the options or the data are not usable, or no optimizer reached a target that was asked for.
    """
    figures.check(options.out)
    _check(options)
    given = entrants.from_texts(options.optimizers)
    task = tasks.load(options.task, options.data)
    plan = tasks.plan(task, options.steps, options.epochs, options.seeds, options.seed)
    target = task.target if options.target is None else options.target
    field = given or _field(options, task, plan.steps)
    report.announce(out, task, plan, field, _seconds(task, plan, field))
    outcomes = _race(task, field, plan, err)
    ranked = rank(outcomes, target)
    report.report(out, task, ranked, target)
    figures.save(figures.curves(task, ranked, target), options.out)
    out.print(f"figure: {options.out}", soft_wrap=True)
    if options.target is not None and not any(np.isfinite(o.steps_to(options.target)).any() for o in outcomes):
        raise CommandError(f"no optimizer reached the target loss of {options.target:g} in {plan.steps} steps")


def _check(options: Options) -> None:
    chosen = "--all" if options.everyone else "--schedules" if options.schedules else None
    if chosen and options.optimizers:
        raise CommandError(f"{chosen} chooses among the optimizers of the task; leave it out, or --optimizer")
    if chosen and options.task is not TaskName.DIGITS:
        raise CommandError(f"{chosen} is for the task digits; {options.task} has optimizers of its own")


def _field(options: Options, task: Task, steps: int) -> list[Entrant]:
    """The optimizers of the task."""
    if task.name is not TaskName.DIGITS:
        return task.entrants(steps)
    return entrants.of_digits(steps, everyone=options.everyone, schedules=options.schedules or Schedules.COSINE)


def _seconds(task: Task, plan: Plan, field: Sequence[Entrant]) -> float:
    """About how long the race takes on two cores that have nothing else to do."""
    steps = plan.steps * plan.seeds * len(field)
    return BEFORE_SECONDS + PROGRAM_SECONDS * len(group(field)) + task.step_seconds * steps / _workers(task)


def _workers(task: Task) -> int:
    """How many programs are trained at once. Small ones keep both cores busy by themselves."""
    return 2 if task.per_epoch else 1


def _race(task: Task, field: Sequence[Entrant], plan: Plan, err: Console) -> list[Outcome]:
    """The race, with a progress bar where there is a terminal to show it, and a line for each optimizer elsewhere."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    began = time.monotonic()

    def finish(outcomes: Sequence[Outcome]) -> None:
        for outcome in () if err.is_terminal else outcomes:
            err.print(report.told(outcome, time.monotonic() - began), markup=False, soft_wrap=True)

    with bar:
        shown = bar.add_task("", total=ticks(field, plan))
        return race(
            field, plan, lambda what, done: bar.update(shown, description=what, advance=done), _workers(task), finish
        )
