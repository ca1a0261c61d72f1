"""Train many optimizers from the same starts on the same batches, each optimizer as one compiled program.

A transformation is a pytree whose leaves are its numbers. Entrants that differ only in numbers therefore share a
program: their transformations are stacked like any other arrays and mapped over, together with the seeds.
"""

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from gradtx.cli import program
from gradtx.cli.data import Dataset, Rows
from gradtx.cli.models import Model
from gradtx.cli.program import Transformation
from gradtx.typing import Params

MOST_CALLS = 20
"""A program is called at most this often, once per advance of the progress bar."""

DECOMPOSES = "lapack_"
"""What is in the text of a program that decomposes matrices, on the CPU backend."""

Advance = Callable[[str, int], None]
"""Called with what is under way, and with how many ticks have been done since the last call."""

Finish = Callable[["list[Outcome]"], None]
"""Called with the outcomes of a program, when it has been trained."""


@dataclasses.dataclass(frozen=True, eq=False)
class Entrant:
    """One line of the table: a transformation and what to call it.

    Attributes:
      label: what it is, such as ``adam``; entrants with one label have one colour in the figure.
      tx: the transformation.
      rate: its learning rate, as text.
      schedule: how the rate changes, such as ``constant`` or ``cosine``.
    """

    label: str
    tx: Transformation
    rate: str = ""
    schedule: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What every entrant does.

    Attributes:
      model: the model.
      dataset: the data.
      batch: rows per step.
      legs: how often the loss is recorded.
      every: steps from one record to the next.
      seeds: the number of runs, each from its own parameters, with its own order of batches.
      seed: what the first seed is derived from.
      vectorised: whether the runs advance together or one after another (see `program.mapping`).
    """

    model: Model
    dataset: Dataset
    batch: int
    legs: int
    every: int
    seeds: int
    seed: int = 0
    vectorised: bool = True

    @property
    def steps(self) -> int:
        """The number of updates of a run."""
        return self.legs * self.every

    @property
    def calls(self) -> int:
        """How often the program is called: the largest divisor of `legs` that is not above `MOST_CALLS`."""
        return max(n for n in range(1, MOST_CALLS + 1) if self.legs % n == 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """How an entrant fared.

    Attributes:
      entrant: who.
      steps: the steps at which the loss was recorded, [legs + 1].
      losses: the loss on the watched rows, [seeds, legs + 1].
      hyperparams: the hyperparameters that follow a schedule, by name, [seeds, legs].
      accuracy: the test accuracy at the end, [seeds], if the task has a test.
      step_seconds: wall time of one step, divided by the runs that make it together.
    """

    entrant: Entrant
    steps: NDArray[Any]
    losses: NDArray[Any]
    hyperparams: dict[str, NDArray[Any]]
    accuracy: NDArray[Any] | None
    step_seconds: float

    @property
    def final(self) -> NDArray[Any]:
        """The last loss of each seed; infinite where it diverged."""
        last = self.losses[:, -1]
        return np.where(np.isfinite(last), last, np.inf)

    def steps_to(self, target: float) -> NDArray[Any]:
        """The first recorded step at which each seed's loss is at most `target`; infinite where it never is."""
        reached = self.losses <= target
        return np.where(reached.any(axis=1), self.steps[reached.argmax(axis=1)], np.inf)


def race(
    entrants: Sequence[Entrant],
    plan: Plan,
    advance: Advance,
    workers: int = 1,
    finish: Finish = lambda _: None,
) -> list[Outcome]:
    """Train every entrant.

    Args:
      entrants: who takes part.
      plan: what each does.
      advance: told of the progress; the ticks come to `ticks`.
      workers: how many programs are trained at once; times mean something only with one.
      finish: told of the outcomes, program by program.

    Returns:
      The outcomes, in the order of the entrants.
    """
    common = _prepare(plan)
    stopped = threading.Event()

    def advance_unless_stopped(what: str, done: int) -> None:
        if stopped.is_set():
            raise CancelledError
        advance(what, done)

    def train(members: list[Entrant]) -> list[Outcome]:
        outcomes = _train(members, plan, common, advance_unless_stopped)
        finish(outcomes)
        return outcomes

    with ThreadPoolExecutor(workers) as pool:
        try:
            finished = list(pool.map(train, group(entrants)))
        finally:
            stopped.set()
    by_entrant = {outcome.entrant: outcome for outcomes in finished for outcome in outcomes}
    return [by_entrant[entrant] for entrant in entrants]


def ticks(entrants: Sequence[Entrant], plan: Plan) -> int:
    """How much `race` advances in all: one tick for compiling a program, one for each of its calls."""
    return len(group(entrants)) * (1 + plan.calls)


def group(entrants: Iterable[Entrant]) -> list[list[Entrant]]:
    """The entrants that share a program: those whose transformations differ in numbers only."""
    groups: dict[Any, list[Entrant]] = {}
    for entrant in entrants:
        groups.setdefault(jax.tree.structure(entrant.tx), []).append(entrant)
    return list(groups.values())


def batch_order(plan: Plan) -> NDArray[Any]:
    """The rows of every batch, [calls, seeds, legs per call, steps per leg, batch]: reshuffled each epoch."""
    rows = len(plan.dataset.train)
    per_epoch = rows // plan.batch
    epochs = math.ceil(plan.steps / per_epoch)

    def order(seed: int) -> NDArray[Any]:
        rng = np.random.default_rng([plan.seed, seed, 1])
        shuffled = np.stack([rng.permutation(rows)[: per_epoch * plan.batch] for _ in range(epochs)])
        return shuffled.astype(np.int32).reshape(-1, plan.batch)[: plan.steps]

    shape = (plan.seeds, plan.calls, plan.legs // plan.calls, plan.every, plan.batch)
    return np.stack([order(seed) for seed in range(plan.seeds)]).reshape(shape).swapaxes(0, 1)


class _Common(NamedTuple):
    """What all groups share: the parameters each seed starts from and their loss, the batches, and the judge."""

    params: Params
    losses: NDArray[Any]
    batches: NDArray[Any]
    accuracy: Callable[[Params, Rows], jax.Array] | None


def _prepare(plan: Plan) -> _Common:
    model, over = plan.model, program.mapping(plan.vectorised)
    starts = [model.init(np.random.default_rng([plan.seed, seed])) for seed in range(plan.seeds)]
    params = jax.tree.map(lambda *arrays: np.stack(arrays), *starts)
    losses = program.measuring(model.loss, over)(jax.tree.map(lambda x: x[None], params), plan.dataset.watched)[0]
    accuracy = program.measuring(model.accuracy, over) if model.accuracy else None
    return _Common(params, np.asarray(losses), batch_order(plan), accuracy)


def _train(members: list[Entrant], plan: Plan, common: _Common, advance: Advance) -> list[Outcome]:
    """Compile the program of a group and run it."""
    label, data = members[0].label, plan.dataset
    advance(f"compiling {label}", 0)
    txs = program.stack([member.tx for member in members])
    runs = program.start(program.mapping(plan.vectorised), txs, len(members), common.params, plan.seed)

    def lowered(vectorised: bool) -> Any:
        train = jax.jit(program.training(plan.model, program.mapping(vectorised)), donate_argnums=1)
        return train.lower(txs, runs, common.batches[0], data.train, data.watched)

    # Where all runs advance together, both branches of a conditional are computed in every step. Decompositions of
    # matrices are made every tenth step or less often; made in every one, they are nearly all the work.
    together = lowered(plan.vectorised)
    compiled = (lowered(False) if plan.vectorised and DECOMPOSES in together.as_text() else together).compile()
    advance(label, 1)
    run_seconds, records = 0.0, []
    for batches in common.batches:
        began = time.perf_counter()
        runs, record = compiled(txs, runs, batches, data.train, data.watched)
        record.loss.block_until_ready()
        run_seconds += time.perf_counter() - began
        records.append(record)
        advance(label, 1)
    record = jax.tree.map(lambda *blocks: np.concatenate(blocks, axis=2), *records)
    judged = _judged(runs, common, data.test)
    return [
        Outcome(
            entrant=member,
            steps=np.arange(plan.legs + 1) * plan.every,
            losses=np.concatenate([common.losses[:, None], record.loss[i]], axis=1),
            hyperparams={name: values[i] for name, values in record.hyperparams.items()},
            accuracy=None if judged is None else judged[i],
            step_seconds=run_seconds / (plan.steps * plan.seeds * len(members)),
        )
        for i, member in enumerate(members)
    ]


def _judged(runs: program.Run, common: _Common, test: Rows | None) -> NDArray[Any] | None:
    """The test accuracy of every run, if the task has a test."""
    if common.accuracy is None or test is None:
        return None
    return np.asarray(common.accuracy(jax.vmap(jax.vmap(program.evaluated))(runs), test))
