"""The tasks of ``gradtx compare``: what is learned from which data, by which model, for how long."""

import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gradtx.cli import data, entrants, models
from gradtx.cli.data import Dataset
from gradtx.cli.failure import CommandError
from gradtx.cli.models import Model
from gradtx.cli.race import Entrant, Plan

RECORDS = 60
"""About how often the loss is recorded."""


class TaskName(enum.StrEnum):
    """The tasks by name."""

    DIGITS = "digits"
    AIRFOIL = "airfoil"
    CIFAR10 = "cifar10"


@dataclasses.dataclass(frozen=True)
class Task:
    """A task and its defaults.

    Attributes:
      name: its name.
      dataset: the data.
      model: the model.
      batch: rows per step.
      steps: how many steps, unless told otherwise.
      seeds: how many seeds, unless told otherwise.
      target: the loss to reach, unless told otherwise, if there is one.
      loss: what the recorded loss is, for the figure.
      step_seconds: about how long a step of one run takes on a core.
      entrants: the default optimizers for a number of steps.
      per_epoch: whether the loss is recorded once an epoch, and the length counted in epochs.
      vectorised: whether all runs advance together.
      optimum: the least loss there is, if it is known.
      baseline: the loss of a model that has learned nothing, if it is known.
    """

    name: TaskName
    dataset: Dataset
    model: Model
    batch: int
    steps: int
    seeds: int
    target: float | None
    loss: str
    step_seconds: float
    entrants: Callable[[int], list[Entrant]]
    per_epoch: bool = False
    vectorised: bool = True
    optimum: float | None = None
    baseline: float | None = None

    @property
    def steps_per_epoch(self) -> int:
        """How many whole batches the training rows make."""
        return len(self.dataset.train) // self.batch


def load(name: TaskName, path: Path | None) -> Task:
    """A task with its data.

    Raises:
      CommandError: the data cannot be found or read.
    """
    return {TaskName.DIGITS: _digits, TaskName.AIRFOIL: _airfoil, TaskName.CIFAR10: _cifar10}[name](path)


def plan(task: Task, steps: int | None, epochs: int | None, seeds: int | None, seed: int) -> Plan:
    """What every entrant does: the task's defaults, or what was asked for.

    Raises:
      CommandError: steps were given for a task that counts in epochs.
    """
    if steps is not None and task.per_epoch:
        raise CommandError(f"--task {task.name} is counted in epochs; use --epochs instead of --steps")
    total = steps if epochs is None else epochs * task.steps_per_epoch
    total = task.steps if total is None else total
    every = task.steps_per_epoch if task.per_epoch else stride(total)
    return Plan(
        model=task.model,
        dataset=task.dataset,
        batch=task.batch,
        legs=total // every,
        every=every,
        seeds=task.seeds if seeds is None else seeds,
        seed=seed,
        vectorised=task.vectorised,
    )


def stride(steps: int) -> int:
    """The divisor of the number of steps that gives closest to `RECORDS` records."""
    divisors = [n for n in range(1, steps + 1) if steps % n == 0]
    return min(divisors, key=lambda n: abs(np.log(steps / n / RECORDS)))


def _digits(path: Path | None) -> Task:
    if path is not None:
        raise CommandError("--data is for the tasks airfoil and cifar10; the digits come with scikit-learn")
    return Task(
        name=TaskName.DIGITS,
        dataset=data.load_digits(),
        model=models.mlp(64, 32, 10),
        batch=64,
        steps=600,
        seeds=5,
        target=0.05,
        loss="training loss (cross-entropy)",
        step_seconds=6e-5,
        entrants=entrants.of_digits,
    )


def _airfoil(path: Path | None) -> Task:
    dataset = data.load_airfoil(path)
    return Task(
        name=TaskName.AIRFOIL,
        dataset=dataset,
        model=models.linear(dataset.train.x.shape[1]),
        batch=10,
        steps=2 * len(dataset.train) // 10,
        seeds=20,
        target=0.25,
        loss="training loss (half-squared)",
        step_seconds=3e-6,
        entrants=entrants.of_airfoil,
        optimum=least_squares(dataset),
        baseline=float(np.mean(dataset.train.y.astype(np.float64) ** 2) / 2),
    )


def _cifar10(path: Path | None) -> Task:
    dataset = data.load_cifar10(path)
    batch = min(64, len(dataset.train))
    return Task(
        name=TaskName.CIFAR10,
        dataset=dataset,
        model=models.lenet5(),
        batch=batch,
        steps=20 * (len(dataset.train) // batch),
        seeds=3,
        target=None,
        loss="validation loss (cross-entropy)",
        step_seconds=6e-3,
        entrants=entrants.of_cifar10,
        per_epoch=True,
        vectorised=False,
    )


def least_squares(dataset: Dataset) -> float:
    """The least mean half-squared loss of a linear model with bias on the training rows."""
    x, y = dataset.train.x.astype(np.float64), dataset.train.y.astype(np.float64)
    design = np.column_stack([x, np.ones(len(x))])
    weights, *_ = np.linalg.lstsq(design, y, rcond=None)
    return float(np.mean((design @ weights - y) ** 2) / 2)
