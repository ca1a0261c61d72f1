"""Time of an optimizer step beside Optax's and torch's, the libraries taking turns.

    python -m benchmarks.step_time                        # leaves: two large ones
    python -m benchmarks.step_time --leaves many transformer
    python -m benchmarks.step_time --check                # exit status 1 if a ratio exceeds its bound

Ratios mean something on any machine; times on this one only.
"""

import statistics
import sys
from typing import Any

import jax
import rich
from rich.table import Table

from benchmarks import lists, report
from benchmarks.libraries import OPTIMIZERS, Leaves, Worker, copy_bandwidth, installed, interleave, ratios

BOUNDS = {
    "clip + adamw": 0.65, "lion": 0.5, "adabelief": 0.65, "adam": 1.05, "adamw": 1.05, "sgd": 1.05, "rmsprop": 1.05,
}  # fmt: skip
"""What the time of a step on large leaves may be at most, relative to Optax."""

Row = dict[str, Any]


def measure(workers: list[Worker], optimizer: str, shapes: Leaves, rounds: int, seconds: float) -> Row:
    """One row: the times of all libraries that have the optimizer."""
    moved = {w.library: w.ask("build", optimizer, shapes) for w in workers}
    times = interleave([w for w in workers if moved[w.library] is not None], rounds, seconds)
    return {
        "optimizer": optimizer,
        "bytes": {library: moved[library] for library in times},
        "times": times,
        "ratios": {other: ratios(times, "gradtx", other) for other in times if other != "gradtx"},
    }


def show(name: str, rows: list[Row], bandwidth: float) -> None:
    """Print the rows of one list of leaves."""
    shapes = lists.LISTS[name]()
    table = Table(
        title=f"{name}: {len(jax.tree.leaves(shapes))} leaves, {lists.size(shapes) / 1e6:.1f} million parameters"
    )
    table.add_column("optimizer")
    others = sorted({library for row in rows for library in row["ratios"]})
    for heading in ("ms", "of copy bandwidth", *(f"of {other}" for other in others)):
        table.add_column(heading, justify="right")
    for row in rows:
        ours = statistics.median(row["times"]["gradtx"])
        fraction = row["bytes"]["gradtx"] / ours / bandwidth
        table.add_row(
            row["optimizer"],
            f"{1e3 * ours:.2f}",
            f"{fraction:.2f}",
            *(_spread(row["ratios"][other]) if other in row["ratios"] else "" for other in others),
        )
    rich.print(table)


def _spread(ratio: tuple[float, float, float]) -> str:
    median, least, largest = ratio
    return f"{median:.2f} ({least:.2f}-{largest:.2f})"


def exceeded(results: dict[str, list[Row]]) -> list[str]:
    """The bounds that large leaves do not keep."""
    found = {row["optimizer"]: row["ratios"]["optax"][0] for row in results.get("big", ()) if "optax" in row["ratios"]}
    return [
        f"{name}: at most {bound} of Optax's time, found {found[name]:.3f}"
        for name, bound in BOUNDS.items()
        if found.get(name, 0) > bound
    ]


def draw(results: dict[str, list[Row]], axes: Any) -> None:
    """Bars: the time relative to Optax's, for each list of leaves."""
    names = list(OPTIMIZERS)
    for i, (leaves_name, rows) in enumerate(results.items()):
        found = {row["optimizer"]: row["ratios"].get("optax", (0,))[0] for row in rows}
        width = 0.8 / len(results)
        places = [j - 0.4 + (i + 0.5) * width for j in range(len(names))]
        axes.bar(places, [found.get(n, 0) for n in names], width=width, label=leaves_name)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("time of a step relative to Optax")
    axes.legend(title="leaves")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = report.parser("step_time", __doc__)
    parser.add_argument("--leaves", nargs="+", choices=list(lists.LISTS), default=["big"], help="lists of leaves")
    parser.add_argument("--optimizers", nargs="+", choices=list(OPTIMIZERS), default=list(OPTIMIZERS))
    parser.add_argument("--libraries", nargs="+", default=installed(), help="gradtx is always one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    parser.add_argument("--check", action="store_true", help="hold the ratios for large leaves against their bounds")
    options = parser.parse_args(arguments)
    bandwidth = copy_bandwidth()
    rich.print(f"{report.describe(report.machine())}; copies at {bandwidth / 1e9:.1f} GB/s")
    workers = [Worker(library) for library in dict.fromkeys(["gradtx", *options.libraries])]
    results: dict[str, list[Row]] = {}
    for name in options.leaves:
        shapes = lists.LISTS[name]()
        rows = (measure(workers, o, shapes, options.rounds, options.seconds) for o in options.optimizers)
        results[name] = list(rows)
        show(name, results[name], bandwidth)
    for worker in workers:
        worker.close()
    report.save(options, {"bandwidth": bandwidth, "rows": results}, lambda axes: draw(results, axes))
    if not options.check:
        return 0
    worse = exceeded(results)
    print(*worse, sep="\n") if worse else print("every ratio is within its bound")
    return 1 if worse else 0


if __name__ == "__main__":
    jax.config.update("jax_compilation_cache_dir", None)  # a program read from a cache may lack its analysis
    sys.exit(main())
