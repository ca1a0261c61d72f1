"""Bytes that a compiled optimizer step moves per parameter, beside Optax's and beside the least possible.

    python -m benchmarks.traffic            # measure, and print the table
    python -m benchmarks.traffic --check    # and compare with the committed one: exit status 1 if a number grew
    python -m benchmarks.traffic --write    # and commit to it
    python -m benchmarks.traffic --explain lion

Nothing is run: every step is compiled for shapes, and the numbers are read off the program.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import rich
from rich.table import Table

import gradtx
from benchmarks.floor import floor
from benchmarks.program import Program, compile_step, read_program
from gradtx.errors import MissingExtraError

try:
    import optax
except ImportError:  # the column stays empty
    optax = None

TABLE = Path(__file__).with_name("traffic.json")
SHAPE = (4096, 4096)
LEAVES = 2
SCALARS = 1024
"""Bytes of temporaries that a step may have for its counters and rates."""

Row = dict[str, Any]


def _warm_up(m: Any) -> Any:
    return m.warmup_cosine_decay_schedule(0.0, 1e-3, 10, 100)


def _recorder(m: Any) -> Any:
    """A transformation whose state is the norm of the gradient, for a log."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del state, params
        return updates, gradtx.tree.global_norm(updates)

    make = gradtx.from_functions if m is gradtx else m.GradientTransformation
    return make(lambda _: jnp.zeros(()), update)


CHAINS: dict[str, Callable[[Any], Any]] = {
    "sgd, momentum": lambda m: m.sgd(0.1, momentum=0.9),
    "sgd, nesterov": lambda m: m.sgd(0.1, momentum=0.9, nesterov=True),
    "sgd, bfloat16 momentum": lambda m: m.sgd(0.1, momentum=0.9, accumulator_dtype="bfloat16"),
    "rmsprop, momentum": lambda m: m.rmsprop(0.1, momentum=0.9),
    "rmsprop, centered": lambda m: m.rmsprop(0.1, centered=True),
    "adam, bfloat16 mu": lambda m: m.adam(0.1, mu_dtype="bfloat16"),
    "lion, bfloat16 mu": lambda m: m.lion(0.1, mu_dtype="bfloat16"),
    "adam, norm recorded": lambda m: m.chain(_recorder(m), m.adam(0.1)),
    "adamw, warm-up cosine": lambda m: m.adamw(_warm_up(m)),
    "clip + sgd, momentum": lambda m: m.chain(m.clip_by_global_norm(1.0), m.sgd(0.1, momentum=0.9)),
    "clip + lion": lambda m: m.chain(m.clip_by_global_norm(1.0), m.lion(0.1)),
    "clip + adamw, warm-up cosine": lambda m: m.chain(m.clip_by_global_norm(1.0), m.adamw(_warm_up(m))),
    "lookahead(adam)": lambda m: gradtx.lookahead(m.adam(0.1)) if m is gradtx else None,
    "ema_params(adam)": lambda m: m.ema_params(m.adam(0.1)) if m is gradtx else None,
    "accumulate(adam)": lambda m: (
        m.accumulate(m.adam(0.1), 4) if m is gradtx else m.MultiSteps(m.adam(0.1), 4).gradient_transformation()
    ),
    "apply_if_finite(adam)": lambda m: m.apply_if_finite(m.adam(0.1), 5),
    "skip_large_updates(adam)": lambda m: m.skip_large_updates(m.adam(0.1)) if m is gradtx else None,
}
"""The usual compositions, each as a function of the library, which is gradtx or Optax."""

TARGETS = {
    "sgd": 12, "sgd, momentum": 24, "sgd, nesterov": 28, "adagrad": 28, "rmsprop": 28, "adam": 40, "adamw": 40,
    "yogi": 40, "radam": 40, "adamw, warm-up cosine": 40, "clip + adamw, warm-up cosine": 44, "lion": 28,
    "adabelief": 44, "nadam": 44, "amsgrad": 52, "adadelta": 48, "lion, bfloat16 mu": 22, "adam, norm recorded": 44,
}  # fmt: skip
"""Bytes per parameter that must not be exceeded, with no temporaries but scalars, with JAX 0.10.2 and later.

They are those of an ordinary step. One whose sum of squares overflows or vanishes reads the gradient once more.
"""

NUMBERS = ("bytes", "quiet bytes", "temporaries", "copies", "loops")
"""What `--check` compares: less is better."""


def optimizers() -> dict[str, Callable[[Any], Any]]:
    """Every registered optimizer under its own name, at its defaults; not those with arguments that have none.

    Nor those of matrices: their steps are products, which bytes say little of and which take minutes to compile. See
    `benchmarks.matrices`.
    """

    def maker(name: str, required: list[str]) -> Callable[[Any], Any]:
        return lambda m: getattr(m, name)(*[0.1] * len(required)) if hasattr(m, name) else None

    makers = {}
    for name, factory in sorted(gradtx.registry().items()):
        required = [k for k, p in factory.signature.parameters.items() if p.default is p.empty]
        ours = factory.kind == "optimizer" and factory.function.__module__.startswith("gradtx.")
        if ours and factory.family != "matrix" and len(required) < 2:
            makers[name] = maker(name, required)
    return makers


def params(shape: Iterable[int] = SHAPE) -> dict[str, Any]:
    """The leaves, as shapes."""
    return {f"w{i}": jax.ShapeDtypeStruct(tuple(shape), jnp.float32) for i in range(LEAVES)}


def program(tx: Any, library: Any, shape: Iterable[int] = SHAPE) -> Program:
    """The compiled step of a transformation."""
    return read_program(compile_step(tx, library.apply_updates, params(shape)))


def measure(make: Callable[[Any], Any], shape: Iterable[int] = SHAPE) -> Row | None:
    """One row of the table; nothing for a transformation that asks for more than a gradient."""
    tx, elements = make(gradtx), sum(p.size for p in params(shape).values())
    try:
        row = _numbers(program(tx, gradtx, shape), elements)
    except (MissingExtraError, gradtx.errors.TreeMismatchError):
        return None
    floors = [floor(tx, gradtx.apply_updates, branch) for branch in (0, 1)]
    row["floor"] = max(f.per_output for f in floors)
    row["quiet floor"] = min(f.per_output for f in floors)
    row["one loop"] = max(f.together for f in floors)
    theirs = make(optax) if optax else None
    row["optax"] = _numbers(program(theirs, optax, shape), elements) if theirs is not None else None
    return row


def _numbers(p: Program, elements: int) -> Row:
    return {
        "bytes": round(p.bytes / elements, 2),
        "quiet bytes": round(p.quiet_bytes / elements, 2),
        "temporaries": p.temporaries,
        "copies": p.copies,
        "loops": len(p.loops),
    }


# --- comparison with the committed table ------------------------------------------------------------------------------


def compare(rows: dict[str, Row], recorded: dict[str, Row] | None) -> tuple[list[str], list[str]]:
    """What grew, or exceeds its target, and what is worth a note.

    Where nothing is recorded for this version of JAX, only the targets count.
    """
    worse, notes = [], []
    for name, row in rows.items():
        target = TARGETS.get(name)
        if target is not None and (row["quiet bytes"] > target + 0.005 or row["temporaries"] > SCALARS):
            found = f"{row['quiet bytes']} and {row['temporaries']} bytes of temporaries"
            worse.append(f"{name}: at most {target} bytes per parameter and no temporaries, found {found}")
        if recorded is None:
            continue
        if name not in recorded:
            notes.append(f"{name}: not in the table yet; add it with --write")
            continue
        for key in NUMBERS:
            old, new = recorded[name][key], row[key]
            slack = SCALARS if key == "temporaries" else 0.005
            if new > old + slack:
                worse.append(f"{name}: {key} grew from {old} to {new}")
            elif new < old - slack:
                notes.append(f"{name}: {key} fell from {old} to {new}; record it with --write")
    return worse, notes


def read_table() -> dict[str, Any]:
    """The committed tables, by version of JAX."""
    tables: dict[str, Any] = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    return tables


def check(rows: dict[str, Row]) -> int:
    """Print how the rows compare with the committed table; the exit status."""
    recorded = read_table().get(jax.__version__)
    worse, notes = compare(rows, recorded and recorded["rows"])
    if recorded is None:
        known = ", ".join(sorted(read_table()))
        print(f"JAX {jax.__version__} has no table (there are {known}): compared with the targets alone")
    for line in notes:
        print(f"note: {line}")
    for line in worse:
        print(f"traffic: {line}", file=sys.stderr)
    print(f"{len(rows)} rows, {len(worse)} worse than they should be")
    return 1 if worse else 0


def write(rows: dict[str, Row], path: Path = TABLE) -> None:
    """Record the rows for this version of JAX."""
    tables = json.loads(path.read_text()) if path.exists() else {}
    tables[jax.__version__] = {
        "optax": optax.__version__ if optax else None,
        "platform": jax.default_backend(),
        "leaves": f"{LEAVES} of {list(SHAPE)} float32",
        "rows": rows,
    }
    lines = [f'"{version}": {_table_text(tables[version])}' for version in sorted(tables)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _table_text(table: dict[str, Any]) -> str:
    """A table as JSON with a line for each row, so that a change is a line of a diff."""
    head = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items() if key != "rows"]
    rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in table["rows"].items())
    return "{\n  " + ",\n  ".join([*head, f'"rows": {{\n{rows}\n  }}']) + "\n}"


# --- output -----------------------------------------------------------------------------------------------------------


def show(rows: dict[str, Row]) -> None:
    """Print the table."""
    table = Table(title=f"bytes per parameter, {LEAVES} leaves of {list(SHAPE)}, JAX {jax.__version__}")
    table.add_column("optimizer")
    for heading in ("bytes", "floor", "one loop", "temporaries", "copies", "loops", "optax", "its temporaries"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        other = row["optax"] or {}
        table.add_row(
            name,
            _pair(row["bytes"], row["quiet bytes"]),
            _pair(row["floor"], row["quiet floor"]),
            f"{row['one loop']:g}",
            _memory(row["temporaries"]),
            str(row["copies"]),
            str(row["loops"]),
            f"{other['bytes']:g}" if other else "",
            _memory(other["temporaries"]) if other else "",
        )
    rich.print(table)
    rich.print("a / b: b at a step that takes the cheaper branch of each conditional")


def _pair(full: float, quiet: float) -> str:
    return f"{full:g}" if full == quiet else f"{full:g} / {quiet:g}"


def _memory(size: int) -> str:
    return "-" if size <= SCALARS else f"{size / 1e6:.0f} MB"


def explain(name: str) -> None:
    """Print every loop of a step, with what it reads and writes per parameter."""
    make = (optimizers() | CHAINS)[name]
    elements = params()["w0"].size
    table = Table(title=f"{name}: bytes per element of a leaf")
    for heading in ("loop", "kind", "reads", "writes"):
        table.add_column(heading, justify="left" if heading in ("loop", "kind") else "right")
    for loop in program(make(gradtx), gradtx).loops:
        table.add_row(loop.name, loop.opcode, f"{loop.read / elements:.1f}", f"{loop.written / elements:.1f}")
    rich.print(table)


def draw(rows: dict[str, Row], path: str) -> None:
    """A figure of the table: bars, with the floors as marks."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    names = list(rows)[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(names) + 1.2), layout="constrained")
    places = range(len(names))
    theirs = [row["optax"]["bytes"] if row["optax"] else 0 for row in (rows[n] for n in names)]
    axes.barh(places, theirs, height=0.8, color="0.85", label="Optax")
    axes.barh(places, [rows[n]["bytes"] for n in names], height=0.45, label="gradtx")
    axes.plot([rows[n]["floor"] for n in names], places, "k|", markersize=12, label="floor")
    axes.set_yticks(places, names)
    axes.set_xlabel("bytes per parameter and step")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traffic", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed table")
    parser.add_argument("--write", action="store_true", help="renew the committed table")
    parser.add_argument("--explain", metavar="NAME", help="print the loops of one row")
    parser.add_argument("--json", metavar="PATH", help="write the rows to a file")
    parser.add_argument("--png", metavar="PATH", help="draw the rows")
    options = parser.parse_args(arguments)
    if options.explain:
        explain(options.explain)
        return 0
    measured = {name: measure(make) for name, make in (optimizers() | CHAINS).items()}
    rows = {name: row for name, row in measured.items() if row is not None}
    show(rows)
    if skipped := [name for name in measured if name not in rows]:
        print(f"not here, since they ask for more than one gradient: {', '.join(skipped)}")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")
    if options.png:
        draw(rows, options.png)
    if options.write:
        write(rows)
    return check(rows) if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
