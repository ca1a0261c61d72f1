"""The rate of every optimizer that `gradtx compare` knows: which of a coarse grid ends lowest on the digits.

    python -m benchmarks.rates                # all of them: half an hour on two cores
    python -m benchmarks.rates muon lion      # these

Each optimizer trains for 600 steps from five seeds, at a rate that stays and at one that falls to zero along a cosine.
The best rate has the least geometric mean of the final losses over seeds and both courses, among those at which no
seed diverges. It belongs into `gradtx.cli.entrants.DIGITS`.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import report
from gradtx.cli import tasks
from gradtx.cli.entrants import CONSTANT, COSINE, DIGITS
from gradtx.cli.race import race
from gradtx.cli.tasks import TaskName

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0)
"""The grid."""


def search(label: str, rates: Sequence[float] = RATES, steps: int = 600, seeds: int = 5) -> dict[float, float]:
    """The geometric mean of the final losses at each rate, infinite where a seed diverges."""
    task = tasks.load(TaskName.DIGITS, None)
    contender = DIGITS[label]
    courses = (CONSTANT, COSINE) if contender.falls else (CONSTANT,)
    runs = [(rate, contender.entrant(label, course, steps, rate)) for rate in rates for course in courses]
    outcomes = race([entrant for _, entrant in runs], tasks.plan(task, steps, None, seeds, 0), lambda *_: None)
    finals: dict[float, list[Any]] = {}
    for (rate, _), outcome in zip(runs, outcomes, strict=True):
        finals.setdefault(rate, []).append(outcome.final)
    return {rate: float(np.exp(np.mean(np.log(losses)))) for rate, losses in finals.items()}


def line(label: str, found: dict[float, float]) -> str:
    """The best rate, the one in use, and all means in the order of the grid."""
    best = min(found, key=lambda rate: found[rate])
    used = DIGITS[label].rate
    marks = ("" if best == used else f" (in use: {used:g})") + ("" if _inside(best, found) else " (end of the grid)")
    return f"{label:28s}{best:8g}{marks:28s} {' '.join(f'{loss:8.2g}' for loss in found.values())}"


def _inside(best: float, found: dict[float, float]) -> bool:
    return min(found) < best < max(found)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = report.parser("rates", __doc__)
    searched = [label for label, contender in DIGITS.items() if contender.rate is not None]
    parser.add_argument("labels", nargs="*", choices=[*searched, []], metavar="OPTIMIZER", help="by default, all")
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    options = parser.parse_args(arguments)
    print(f"{'optimizer':28s}{'best':>8s}{'':28s} {' '.join(f'{rate:8g}' for rate in options.rates)}")
    for label in options.labels or searched:
        print(line(label, search(label, options.rates)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
