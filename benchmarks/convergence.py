"""Steps and time to a target on real tasks, each optimizer at its best rate of one grid that all share.

    python -m benchmarks.convergence                       # digits; with GRADTX_DATA also the others
    python -m benchmarks.convergence --tasks digits --seeds 5 --cosine

All rates and seeds of an optimizer are one compiled program.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
import rich
from rich.progress import Progress
from rich.table import Table

import gradtx
from benchmarks import report
from benchmarks.tasks import TASKS, Task
from gradtx.cli.race import Entrant, Outcome, Plan, race, ticks

Make = Callable[[Any], gradtx.GradientTransformation]

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""The grid."""

MATRICES = {"blocks/*/scales": False, "blocks/*/qkv": "in out/3", "blocks/*": "in out", "*": False}
"""Those of the transformer; in models of other names, what the rule of `choose_matrices` says."""

OPTIMIZERS: dict[str, Make] = {
    "sgd": gradtx.sgd,
    "momentum": lambda rate: gradtx.sgd(rate, momentum=0.9),
    "nesterov": lambda rate: gradtx.sgd(rate, momentum=0.9, nesterov=True),
    "adagrad": gradtx.adagrad,
    "rmsprop": gradtx.rmsprop,
    "adam": gradtx.adam,
    "adamw": lambda rate: gradtx.adamw(rate, weight_decay=0.01),
    "nadam": gradtx.nadam,
    "amsgrad": gradtx.amsgrad,
    "adabelief": gradtx.adabelief,
    "yogi": gradtx.yogi,
    "radam": gradtx.radam,
    "ranger": gradtx.ranger,
    "lion": gradtx.lion,
    "sam(adam)": lambda rate: gradtx.sam(gradtx.adam(rate)),
    "schedule_free_adamw": gradtx.schedule_free_adamw,
    "muon": lambda rate: gradtx.muon(rate, weight_decay=0.01),
}
"""By label, the optimizer as a function of its rate; all else is at its default, except weight decays."""

OF_TRANSFORMER: dict[str, Make] = {
    "muon": lambda rate: gradtx.muon(rate, weight_decay=0.01, matrices=MATRICES),
}
"""Those that are told which leaves of the transformer are matrices."""

STAYS = ("schedule_free_adamw",)
"""Those whose rate stays where the others' falls."""

LEGS = 20
Row = dict[str, Any]


def measure(
    task: Task, optimizers: Mapping[str, Make], rates: Iterable[float], seeds: int, steps: int, *, cosine: bool = False
) -> list[Row]:
    """One row for each optimizer, the quickest to the target first; with `cosine`, at rates that fall to zero."""
    every = max(1, steps // LEGS)
    plan = Plan(task.model, task.dataset, task.batch, steps // every, every, seeds, vectorised=task.vectorised)

    def entrant(name: str, rate: float) -> Entrant:
        falls = cosine and name not in STAYS
        return Entrant(
            name, optimizers[name](gradtx.cosine_decay_schedule(rate, steps) if falls else rate), f"{rate:g}"
        )

    entrants = [entrant(name, rate) for name in optimizers for rate in rates]
    with Progress(transient=True) as progress:
        bar = progress.add_task("", total=ticks(entrants, plan))
        outcomes = race(entrants, plan, lambda what, done: progress.update(bar, description=what, advance=done))
    best = {name: _best(o for o in outcomes if o.entrant.label == name) for name in optimizers}
    rows = [_row(outcome, task.target, operations(task, optimizers[name](0.1))) for name, outcome in best.items()]
    return sorted(rows, key=lambda row: (row["steps to target"], row["final loss"]))


def _best(outcomes: Iterable[Outcome]) -> Outcome:
    """The rate with the least mean loss at the end."""
    return min(outcomes, key=lambda o: float(np.mean(o.final)))


def operations(task: Task, tx: gradtx.GradientTransformation) -> float:
    """The floating point operations of one step, gradient included, by the compiled program's own count."""
    params = task.model.init(np.random.default_rng(0))
    rows = task.dataset.train[: task.batch]

    def step(params: Any, state: Any) -> Any:
        def value_fn(p: Any) -> Any:
            return task.model.loss(p, rows.x, rows.y)

        value, grads = jax.value_and_grad(value_fn)(params)
        extras = {"value": value, "grad": grads, "value_fn": value_fn, "grad_fn": jax.grad(value_fn)}
        updates, state = tx.update(grads, state, params, **extras)
        return gradtx.apply_updates(params, updates), state

    cost = jax.jit(step).lower(params, tx.init(params)).compile().cost_analysis()
    return float((cost[0] if isinstance(cost, list) else cost)["flops"])


def _row(outcome: Outcome, target: float, flops: float) -> Row:
    steps = outcome.steps_to(target)
    return {
        "optimizer": outcome.entrant.label,
        "rate": float(outcome.entrant.rate),
        "steps to target": float(np.mean(steps)),
        "spread of steps": float(np.std(steps)) if np.isfinite(steps).all() else 0.0,
        "seconds to target": float(np.mean(steps)) * outcome.step_seconds,
        "operations to target": float(np.mean(steps)) * flops,
        "final loss": float(np.mean(outcome.final)),
        "spread of loss": float(np.std(outcome.final)),
        "accuracy": None if outcome.accuracy is None else float(np.mean(outcome.accuracy)),
        "steps": outcome.steps.tolist(),
        "losses": np.mean(outcome.losses, axis=0).tolist(),
    }


def show(name: str, task: Task, rows: list[Row]) -> None:
    """Print the rows of a task."""
    table = Table(title=f"{name}: to a training loss of {task.target}")
    table.add_column("optimizer")
    for heading in ("rate", "steps", "seconds", "operations", "final loss", "test accuracy"):
        table.add_column(heading, justify="right")
    for row in rows:
        reached = np.isfinite(row["steps to target"])
        table.add_row(
            row["optimizer"],
            f"{row['rate']:g}",
            f"{row['steps to target']:.0f} ± {row['spread of steps']:.0f}" if reached else "not all",
            f"{row['seconds to target']:.3g}" if reached else "",
            f"{row['operations to target']:.2g}" if reached else "",
            f"{row['final loss']:.4f} ± {row['spread of loss']:.4f}",
            "" if row["accuracy"] is None else f"{row['accuracy']:.3f}",
        )
    rich.print(table)


def draw(results: dict[str, list[Row]], axes: Any) -> None:
    """Bars: steps to the target as a multiple of the quickest optimizer's, for each task."""
    names = list(OPTIMIZERS)
    for i, (task, rows) in enumerate(results.items()):
        found = {row["optimizer"]: row["steps to target"] for row in rows if np.isfinite(row["steps to target"])}
        least = min(found.values(), default=1.0)
        width = 0.8 / len(results)
        places = [j - 0.4 + (i + 0.5) * width for j in range(len(names))]
        axes.bar(places, [found.get(n, 0) / least for n in names], width=width, label=task)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_ylabel("steps to the target, relative to the quickest")
    axes.legend()


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = report.parser("convergence", __doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--optimizers", nargs="+", choices=list(OPTIMIZERS), default=list(OPTIMIZERS))
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="by default, the task's own number")
    parser.add_argument("--cosine", action="store_true", help="rates that fall to zero along a cosine")
    options = parser.parse_args(arguments)
    rich.print(report.describe(report.machine()))
    results: dict[str, list[Row]] = {}
    for name in options.tasks:
        task = TASKS[name]()
        if task is None:
            print(f"{name}: left out; set GRADTX_DATA to the folder that has its data")
            continue
        steps = options.steps or task.steps
        makes = OPTIMIZERS | (OF_TRANSFORMER if name == "shakespeare" else {})
        chosen = {label: makes[label] for label in options.optimizers}
        results[name] = measure(task, chosen, options.rates, options.seeds, steps, cosine=options.cosine)
        show(name, task, results[name])
    report.save(options, results, lambda axes: draw(results, axes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
