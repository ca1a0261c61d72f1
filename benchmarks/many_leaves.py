"""How trace, lowering, compilation, dispatch and step grow with the number of leaves, beside Optax.

python -m benchmarks.many_leaves                          # 10 to 3000 leaves of 64x64, and two real lists
python -m benchmarks.many_leaves --counts 10 100 1000
python -m benchmarks.many_leaves --lists --traces         # the real lists alone, traced and lowered only
python -m benchmarks.many_leaves --lists --fresh          # the same, each time with JAX's caches empty
python -m benchmarks.many_leaves --eager                  # updates that are not compiled, of all optimizers
"""

import argparse
import functools
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import rich
from rich.table import Table

import gradtx
from benchmarks.lists import alike, resnet, transformer
from benchmarks.program import abstract_step
from benchmarks.traffic import CHAINS, optimizers

STAGES = ("trace", "lower", "compile", "dispatch", "step")
BOUNDS = {
    "gradtx adam": {"trace + lower": 0.6, "compile": 1.05, "step": 1.05},
    "gradtx clip + adamw": {"trace + lower": 0.6, "compile": 0.95, "step": 0.95},
    "gradtx adam, raveled": {"compile": 0.2, "step": 0.6},
}
"""What is aimed at, of Optax's time, on MANY leaves that are alike and on the real lists."""

EAGER_BOUND, EAGER_LEAVES, EAGER_SECONDS = 1.0, 10, 0.3
MANY, TRACES, COMPILE_SECONDS = 1000, 15, 300
Times = dict[str, float]
Program = tuple[Any, tuple[Any, Any, Any]]
"""What is compiled, and the shapes it takes."""


class Contender(NamedTuple):
    """An optimizer of one of the libraries, and whether it trains on raveled parameters."""

    library: Any
    make: Callable[[Any], Any]
    raveled: bool = False


def _adam(m: Any) -> Any:
    return m.adam(1e-3)


def _chain(m: Any) -> Any:
    return m.chain(m.clip_by_global_norm(1.0), m.adamw(m.warmup_cosine_decay_schedule(0.0, 1e-3, 10, 100)))


CONTENDERS = {
    "optax adam": Contender(optax, _adam),
    "gradtx adam": Contender(gradtx, _adam),
    "gradtx adam, raveled": Contender(gradtx, _adam, raveled=True),
    "optax clip + adamw": Contender(optax, _chain),
    "gradtx clip + adamw": Contender(gradtx, _chain),
}


def baseline(name: str) -> str:
    """The contender of Optax that another is compared with."""
    return "optax clip + adamw" if "clip" in name else "optax adam"


def prepare(contender: Contender, params: Any) -> tuple[Any, tuple[Any, Any, Any]]:
    """The step of a contender and the shapes of its arguments: parameters, state and the tree of gradients.

    On raveled parameters, the step begins with what the loss's derivative ends with: it concatenates the gradients.
    """
    tx, apply_updates = contender.make(contender.library), contender.library.apply_updates
    if not contender.raveled:
        step, state = abstract_step(tx, apply_updates, params)
        return step, (params, state, params)
    flat, unravel = jax.eval_shape(lambda p: gradtx.ravel_params(p)[0], params), _unravel(params)
    on_vectors, state = abstract_step(tx, apply_updates, flat)

    def step(flat: Any, state: Any, grads: Any) -> Any:
        (raveled,) = jax.vjp(unravel, flat)[1](grads)
        return on_vectors(flat, state, raveled)

    return step, (flat, state, params)


def _unravel(params: Any) -> Any:
    """The layout alone, without the numbers."""
    layouts: list[Any] = []

    def note(p: Any) -> Any:
        flat, unravel = gradtx.ravel_params(p)
        layouts.append(unravel)
        return flat

    jax.eval_shape(note, params)
    return layouts[0]


def stages(contender: Contender, params: Any) -> tuple[Times, Any, tuple[Any, Any, Any]]:
    """The times of trace and lowering, in seconds, what is ready to compile, and the shapes it takes."""
    step, shapes = prepare(contender, params)
    gc.collect()
    start = time.process_time()  # both are work of one thread: what others do on the machine should not count
    traced = jax.jit(step, donate_argnums=(0, 1)).trace(*shapes)
    then = time.process_time()
    lowered = traced.lower()
    now = time.process_time()
    return {"trace": then - start, "lower": now - then}, lowered, shapes


def best_traces(names: Sequence[str], params: Any, repeats: int, fresh: bool = False) -> dict[str, Times]:
    """The least times of trace and lowering, the contenders taking turns; if `fresh`, with JAX's caches empty."""
    rounds: dict[str, list[Times]] = {name: [] for name in names}
    for _ in range(repeats + 1):  # the first round fills caches
        for name in names:
            if fresh:
                jax.clear_caches()
            rounds[name].append(stages(CONTENDERS[name], params)[0])
    return {name: {s: min(r[s] for r in rounds[name][1:]) for s in ("trace", "lower")} for name in names}


def run(names: Sequence[str], params: Any, repeats: int, compilations: int, placements: int) -> dict[str, Times]:
    """Every time of every contender: of compilations the least counts, of steps the median.

    The contenders take turns, and every other time in the opposite order. The arrays are made anew several times: the
    pages they get by chance make steps of one program differ by a third. So are the programs: one that is compiled
    later takes a tenth longer to run.
    """
    times = best_traces(names, params, TRACES)
    programs: dict[str, list[Program]] = {name: [] for name in names}
    begun = time.monotonic()
    for i in range(compilations):
        if i >= 2 and time.monotonic() - begun > COMPILE_SECONDS:
            break
        for name in _turn(names, i):
            _, lowered, shapes = stages(CONTENDERS[name], params)
            start = time.perf_counter()
            programs[name].append((lowered.compile(), shapes))
            times[name]["compile"] = min(time.perf_counter() - start, times[name].get("compile", math.inf))
    made = len(programs[names[0]])
    taken: dict[str, list[Times]] = {name: [] for name in names}
    for i in range(placements):
        turn = _turn(names, i + i // made)  # a program is first with some arrays, and last with others
        for base in dict.fromkeys(map(baseline, turn)):  # those that are compared, and no more: they hold gigabytes
            compared = {name: programs[name][i % made] for name in turn if baseline(name) == base}
            for name, steps in steps_taken(compared, repeats).items():
                taken[name] += steps
    for name in names:
        times[name] |= {s: statistics.median(t[s] for t in taken[name]) for s in ("dispatch", "step")}
    return times


def steps_taken(programs: dict[str, Program], repeats: int) -> dict[str, list[Times]]:
    """The times of some steps of each program, which take turns, on new arrays."""
    taken: dict[str, list[Times]] = {name: [] for name in programs}
    running = {name: [jax.tree.map(_numbers, s) for s in shapes] for name, (_, shapes) in programs.items()}
    for k in range(repeats + 1):
        for name, (compiled, _) in programs.items():
            p, state, grads = running.pop(name)
            start = time.perf_counter()
            p, state = compiled(p, state, grads)
            dispatched = time.perf_counter()
            jax.block_until_ready((p, state))
            if k:  # the first step also gets memory for its temporaries
                taken[name].append({"dispatch": dispatched - start, "step": time.perf_counter() - start})
            running[name] = [p, state, grads]
    return taken


def _turn(names: Sequence[str], i: int) -> Sequence[str]:
    """The contenders, backwards at every other turn."""
    return names[::-1] if i % 2 else names


def eager_times(make: Callable[[Any], Any]) -> Times | None:
    """The least time of an update that is not compiled, for each library; None if one of them has no such optimizer."""
    params = {f"w{i}": jnp.full((64, 64), 0.1 * i, jnp.float32) for i in range(EAGER_LEAVES)}
    updates: dict[str, Callable[[], Any]] = {}
    for library in (gradtx, optax):
        tx = make(library)
        if tx is None:
            return None
        updates[library.__name__] = functools.partial(tx.update, params, tx.init(params), params)
    least = dict.fromkeys(updates, math.inf)
    try:
        jax.block_until_ready([update() for update in updates.values()])
    except (TypeError, ValueError):  # it asks for the loss too
        return None
    end = time.perf_counter() + EAGER_SECONDS * len(updates)
    while time.perf_counter() < end:
        for name, update in updates.items():
            start = time.perf_counter()
            for _ in range(5):
                results = update()
            jax.block_until_ready(results)
            least[name] = min(least[name], (time.perf_counter() - start) / 5)
    return least


def measure_eager(makers: dict[str, Callable[[Any], Any]]) -> tuple[dict[str, Times], list[str]]:
    """The table of eager updates, printed, and the lines of those that take longer than Optax's."""
    measured = {name: eager_times(make) for name, make in makers.items()}
    times = {name: own for name, own in measured.items() if own is not None}
    table = Table(title=f"An update without jit on {EAGER_LEAVES} leaves: milliseconds")
    for column in ("optimizer", "gradtx", "optax", "ratio"):
        table.add_column(column, justify="left" if column == "optimizer" else "right")
    above = []
    for name, own in times.items():
        ratio = own["gradtx"] / own["optax"]
        table.add_row(name, f"{1e3 * own['gradtx']:.2f}", f"{1e3 * own['optax']:.2f}", f"{ratio:.2f}")
        if ratio > EAGER_BOUND:
            above.append(f"eager: {name}: {ratio:.2f} of Optax's, aimed at {EAGER_BOUND}")
    rich.print(table)
    return times, above


def _numbers(shape: Any) -> jax.Array:
    return jnp.full(shape.shape, 0.01 if jnp.issubdtype(shape.dtype, jnp.floating) else 0, shape.dtype)


def ratios(times: dict[str, Times]) -> dict[str, Times]:
    """Each contender's times by those of its baseline, and of trace and lowering together."""
    made = {}
    for name, own in times.items():
        base = times[baseline(name)]
        made[name] = {stage: own[stage] / base[stage] for stage in own}
        made[name]["trace + lower"] = (own["trace"] + own["lower"]) / (base["trace"] + base["lower"])
    return made


def missed(title: str, times: dict[str, Times]) -> list[str]:
    """The ratios above their bounds, a line each."""
    compared = ratios(times)
    return [
        f"{title}: {name}, {stage}: {compared[name][stage]:.2f} of Optax's, aimed at {bound}"
        for name in times
        for stage, bound in BOUNDS.get(name, {}).items()
        if compared[name].get(stage, 0.0) > bound
    ]


def show(title: str, times: dict[str, Times]) -> None:
    """Print times in milliseconds, and in brackets how they compare with Optax."""
    table = Table(title=f"{title}: milliseconds (of Optax's)")
    table.add_column("optimizer")
    stage_names = [s for s in STAGES if s in next(iter(times.values()))]
    for stage in [*stage_names, "trace + lower"]:
        table.add_column(stage, justify="right")
    compared = ratios(times)
    for name, own in times.items():
        cells = [f"{1e3 * own[s]:.1f} ({compared[name][s]:.2f})" for s in stage_names]
        table.add_row(name, *cells, f"({compared[name]['trace + lower']:.2f})")
    rich.print(table)


def draw(by_count: dict[int, dict[str, Times]], path: str) -> None:
    """A figure: each stage against the number of leaves."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(STAGES), figsize=(16, 3.6), layout="constrained")
    for stage, place in zip(STAGES, axes, strict=True):
        for name in CONTENDERS:
            style = "--" if name.startswith("optax") else "-"
            place.loglog(
                list(by_count), [1e3 * t[name][stage] for t in by_count.values()], style, marker=".", label=name
            )
        place.set(title=stage, xlabel="leaves of 64x64")
    axes[0].set_ylabel("milliseconds")
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_leaves", description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 30, 100, 300, 1000, 3000])
    parser.add_argument("--side", type=int, default=64, help="of the square leaves")
    parser.add_argument("--repeats", type=int, default=5, help="steps of each contender on the same arrays")
    parser.add_argument("--placements", type=int, default=16, help="how often arrays are made anew")
    parser.add_argument(
        "--compilations",
        type=int,
        default=8,
        help=f"of each contender, at most; two if they take {COMPILE_SECONDS} seconds",
    )
    parser.add_argument("--lists", action="store_true", help="the real lists alone")
    parser.add_argument("--traces", action="store_true", help="trace and lowering alone")
    parser.add_argument(
        "--fresh", action="store_true", help="traces as in a process that just began: no cache is filled"
    )
    parser.add_argument("--eager", action="store_true", help="updates that are not compiled alone")
    parser.add_argument(
        "--check", action="store_true", help=f"fail if a bound is missed, on {MANY} leaves or a real list"
    )
    parser.add_argument("--json", metavar="PATH")
    parser.add_argument("--png", metavar="PATH")
    options = parser.parse_args(arguments)
    traces = options.traces or options.fresh
    leafwise = [name for name, contender in CONTENDERS.items() if not contender.raveled]
    results: dict[str, Any] = {
        "jax": jax.__version__,
        "optax": optax.__version__,
        "device": jax.devices()[0].device_kind,
    }
    above: list[str] = []

    def measure(title: str, names: Sequence[str], params: Any, aimed: bool) -> dict[str, Times]:
        if traces:
            times = best_traces(names, params, TRACES, options.fresh)
        else:
            times = run(names, params, options.repeats, options.compilations, options.placements)
        show(title, times)
        above.extend(missed(title, times) if aimed else [])
        return times

    by_count: dict[int, dict[str, Times]] = {}
    for count in [] if options.lists or options.eager else options.counts:
        names = leafwise if traces else list(CONTENDERS)
        title = f"{count} leaves of {options.side}x{options.side}"
        by_count[count] = measure(title, names, alike(count, options.side), count == MANY)
    results["counts"] = {str(count): times for count, times in by_count.items()}
    results["lists"] = {}
    for name, params in () if options.eager else (("transformer", transformer()), ("resnet", resnet())):
        results["lists"][name] = measure(f"{name}, {len(jax.tree.leaves(params))} leaves", leafwise, params, aimed=True)
    if options.eager or not (options.lists or traces):
        results["eager"], slow = measure_eager(optimizers() | CHAINS)
        above.extend(slow)
    results["missed"] = above
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n")
    if options.png and by_count and not traces:
        draw(by_count, options.png)
    rich.print(*(above or ["every bound is kept"]), sep="\n")
    return int(options.check and bool(above))


if __name__ == "__main__":
    sys.exit(main())
