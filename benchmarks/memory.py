"""Bytes of optimizer state per parameter, and the peak of a step, beside Optax's.

    python -m benchmarks.memory

Nothing is allocated: the state is evaluated as shapes, and the peak is read off the compiled program.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import rich
from rich.table import Table

import gradtx
from benchmarks import report
from benchmarks.program import abstract_step
from benchmarks.traffic import CHAINS, optimizers
from gradtx.errors import MissingExtraError, TreeMismatchError

try:
    import optax
except ImportError:  # its columns stay empty
    optax = None

SHAPE, LEAVES = (1024, 1024), 4
DTYPES = ("float32", "bfloat16")
Row = dict[str, Any]

MORE: dict[str, Callable[[Any], Any]] = {
    "adam_mini, a block a column": lambda m: m.adam_mini(0.1, {"*": 1}) if hasattr(m, "adam_mini") else None,
    "adafactor, momentum": lambda m: m.adafactor(0.1, momentum=0.9),
    "sm3, no momentum": lambda m: m.sm3(0.1, 0.0 if m is optax else None),
}
"""What people choose for its memory, and is not among the optimizers at their defaults."""


def measure(make: Callable[[Any], Any], dtype: str, shape: tuple[int, ...] = SHAPE) -> Row | None:
    """State and peak of both libraries; nothing for a transformation that asks for more than a gradient."""
    params = {f"w{i}": jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for i in range(LEAVES)}
    row: Row = {}
    for name, library in (("gradtx", gradtx), ("optax", optax)):
        tx = make(library) if library else None
        if tx is None:
            continue
        try:
            row[name] = _numbers(tx, library.apply_updates, params)
        except (MissingExtraError, TreeMismatchError):
            return None
    return row


def _numbers(tx: Any, apply_updates: Any, params: Any) -> Row:
    step, state = abstract_step(tx, apply_updates, params)
    memory = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile().memory_analysis()
    elements = sum(p.size for p in params.values())
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "state": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / elements,
        "peak": (held + memory.temp_size_in_bytes) / elements,
    }


def show(dtype: str, rows: dict[str, Row]) -> None:
    """Print the rows of one dtype."""
    table = Table(title=f"bytes per {dtype} parameter")
    table.add_column("optimizer")
    for heading in ("state", "Optax's", "peak of a step", "Optax's"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        cells = [f"{row[library][key]:.1f}" if library in row else "" for key, library in _CELLS]
        table.add_row(name, *cells)
    rich.print(table)


_CELLS = [(key, library) for key in ("state", "peak") for library in ("gradtx", "optax")]


def draw(results: dict[str, dict[str, Row]], axes: Any) -> None:
    """Bars: the peak for float32 parameters, ours in front of Optax's."""
    rows = results["float32"]
    places = range(len(rows))
    axes.barh(
        places, [r.get("optax", {}).get("peak", 0) for r in rows.values()], height=0.8, color="0.85", label="Optax"
    )
    axes.barh(places, [r["gradtx"]["peak"] for r in rows.values()], height=0.45, label="gradtx")
    axes.set_yticks(places, list(rows), fontsize=6)
    axes.set_xlabel("bytes per float32 parameter: parameters, state, gradients and temporaries")
    axes.legend()


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = report.parser("memory", __doc__)
    options = parser.parse_args(arguments)
    rich.print(report.describe(report.machine()))
    results: dict[str, dict[str, Row]] = {}
    for dtype in DTYPES:
        measured = {name: measure(make, dtype) for name, make in (optimizers() | CHAINS | MORE).items()}
        results[dtype] = {name: row for name, row in measured.items() if row is not None}
        show(dtype, results[dtype])
    report.save(options, results, lambda axes: draw(results, axes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
