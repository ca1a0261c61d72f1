"""What a step of Muon costs on the matrices of a transformer, beside Optax.

python -m benchmarks.matrices                      # 12 layers of width 256
python -m benchmarks.matrices --width 768          # of the size of GPT-2: a minute a step on two cores
python -m benchmarks.matrices --check              # exit status 1 if a ratio misses its bound
"""

import argparse
import statistics
import sys
import time
from typing import Any

import jax
import optax
import rich
from optax.contrib import MuonDimensionNumbers
from rich.table import Table

import gradtx
from benchmarks.lists import transformer
from benchmarks.program import abstract_step

BOUNDS = {"compile": 0.5, "step": 0.7}
"""What is aimed at, of Optax's time."""

STEPS = 3


def contenders(params: Any) -> dict[str, Any]:
    """Both libraries' optimizers for the same matrices: all kernels, and no embeddings."""

    def numbers(tree: Any) -> Any:
        names = gradtx.tree.leaf_names(tree)
        return jax.tree.map(lambda name: MuonDimensionNumbers() if name.endswith("kernel") else None, names)

    matrices = {"*/kernel": "in out", "*": False}
    return {
        "optax muon": (optax, optax.contrib.muon(1e-3, muon_weight_dimension_numbers=numbers)),
        "gradtx muon": (gradtx, gradtx.muon(1e-3, scaling="keller", weight_decay=0.0, matrices=matrices)),
    }


def measure(params: Any, compilations: int) -> dict[str, dict[str, float]]:
    """The least time of trace and lowering and of compilation, the median of a step, and temporaries in MB.

    The contenders take turns. Trace and compilation are counted in processor time, which others on the machine share
    less.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(compilations):
        for name, (library, tx) in contenders(params).items():
            jax.clear_caches()
            step, state = abstract_step(tx, library.apply_updates, params)
            start = time.process_time()
            lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
            then = time.process_time()
            compiled = lowered.compile()
            now = time.process_time()
            row = found.setdefault(name, {"trace + lower": [], "compile": [], "step": [], "temporaries (MB)": []})
            row["trace + lower"].append(then - start)
            row["compile"].append(now - then)
            row["temporaries (MB)"].append(compiled.memory_analysis().temp_size_in_bytes / 1e6)
            p, s, g = (jax.tree.map(_numbers, tree) for tree in (params, state, params))
            for k in range(STEPS + 1):
                start = time.perf_counter()
                p, s = jax.block_until_ready(compiled(p, s, g))
                if k:
                    row["step"].append(time.perf_counter() - start)
    return {
        name: {key: (statistics.median if key == "step" else min)(x) for key, x in row.items()}
        for name, row in found.items()
    }


def _numbers(x: Any) -> Any:
    return jax.random.normal(jax.random.key(len(x.shape)), x.shape).astype(x.dtype)


def main() -> int:
    """Measure, print, and compare with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--compilations", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="exit status 1 if a ratio misses its bound")
    options = parser.parse_args()
    rows = measure(transformer(options.layers, options.width, tokens=1000), options.compilations)
    theirs, ours = rows["optax muon"], rows["gradtx muon"]
    table = Table("", "Optax", "gradtx", "ratio", "bound")
    for key in theirs:
        ratio = f"{ours[key] / theirs[key]:.2f}"
        table.add_row(key, f"{theirs[key]:.3g}", f"{ours[key]:.3g}", ratio, str(BOUNDS.get(key, "")))
    rich.print(table)
    missed = [key for key, bound in BOUNDS.items() if ours[key] > bound * theirs[key]]
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
