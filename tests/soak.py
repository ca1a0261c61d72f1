"""A run of a million steps: `python -m tests.soak --steps 1000000`.

AdamW with a plateau and accumulation, under `lax.scan`, chunk by chunk. Every counter of the state begins near the
largest int32 and must stay there once it has arrived; the state must keep its structure, and the process its memory.
"""

import argparse
import gc
import resource
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx

LARGEST = np.iinfo(np.int32).max


def transformation() -> Any:
    """AdamW, its rate a plateau times a decay, for the mean of two gradients at a time."""
    rate = gradtx.plateau_schedule(1.0, factor=0.5, patience=500, cooldown=10, accumulation_size=4, min_value=1e-3)
    optimizer = gradtx.adamw(rate * gradtx.cosine_decay_schedule(1e-2, 100_000, alpha=0.1), weight_decay=1e-4)
    return gradtx.accumulate(optimizer, every=2)


def describe(tree: Any) -> Any:
    """What must not change: structure, shapes, dtypes and weakness."""
    return jax.tree.structure(tree), [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]


def live() -> tuple[float, int]:
    """Megabytes of resident memory, and the number of arrays that are alive."""
    gc.collect()
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        return int(statistics.read_text().split()[1]) * resource.getpagesize() / 2**20, len(jax.live_arrays())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, len(jax.live_arrays())


def grows(path: Any, x: jax.Array) -> bool:
    """Whether a leaf is a counter that never begins anew, as those of a plateau and of an accumulation do."""
    name = jax.tree_util.keystr(path)
    return x.dtype == jnp.int32 and "mini_step" not in name and "schedules" not in name


def age(state: Any, remaining: int) -> Any:
    """The state as it is `remaining` increments before its counters are full."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.full_like(x, LARGEST - remaining) if grows(path, x) else x, state
    )


def counters(state: Any) -> dict[str, int]:
    """The counters that never begin anew, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): int(x) for path, x in leaves if grows(path, x)}


def soak(steps: int, chunk: int, report: Any = lambda line: None) -> dict[str, Any]:
    """Run, check after each chunk, and return what was measured."""
    tx = transformation()
    params = {"w": jnp.linspace(-2.0, 3.0, 48).reshape(12, 4), "b": jnp.ones(4)}
    state = age(tx.init(params), remaining=steps // 8)
    structure, begin = describe((params, state)), counters(state)

    def step(carry: Any, key: jax.Array) -> Any:
        p, s = carry

        def loss(p: Any) -> jax.Array:
            x = jax.random.normal(key, (12,))
            return jnp.mean((x @ p["w"] + p["b"] - jnp.sin(x[:4])) ** 2)

        value, grads = jax.value_and_grad(loss)(p)
        updates, s = tx.update(grads, s, p, value=value)
        return (gradtx.apply_updates(p, updates), s), value

    @jax.jit
    def advance(carry: Any, seed: Any) -> Any:
        carry, values = jax.lax.scan(step, carry, jax.random.split(jax.random.key(seed), chunk))
        return carry, jnp.mean(values)

    carry, losses, memory, started = (params, state), [], [], time.perf_counter()
    for index in range(steps // chunk):
        carry, value = advance(carry, index)
        losses.append(float(value))
        memory.append(live())
        assert describe(carry) == structure, "the structure drifts"
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(carry)), "a number is not finite"
        now = counters(carry[1])
        assert all(begin[path] <= now[path] <= LARGEST for path in now), now
        report(
            f"{(index + 1) * chunk:>9} steps, loss {losses[-1]:.5f}, {memory[-1][0]:.1f} MiB, {memory[-1][1]} arrays"
        )
    assert advance._cache_size() == 1, "compiled more than once"
    return {
        "steps": steps,
        "seconds": time.perf_counter() - started,
        "losses": losses,
        "memory": [mebibytes for mebibytes, _ in memory],
        "arrays": [arrays for _, arrays in memory],
        "full": {path: value == LARGEST for path, value in counters(carry[1]).items()},
    }


def main() -> None:
    """Run the soak and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=10_000)
    given = parser.parse_args()
    result = soak(given.steps, given.chunk, print)
    assert all(result["full"].values()), result["full"]
    assert len(set(result["arrays"])) == 1, "live arrays drift"
    early, late = np.median(result["memory"][:10]), np.median(result["memory"][-10:])
    assert late - early < 16, f"memory drifts: {early:.1f} to {late:.1f} MiB"
    assert np.mean(result["losses"][-10:]) <= result["losses"][0], "the loss grows"
    print(f"{result['steps']} steps in {result['seconds']:.0f} s; {len(result['full'])} counters full;")
    print(f"memory {early:.1f} MiB early, {late:.1f} MiB late;")
    print(f"loss {result['losses'][0]:.5f} to {result['losses'][-1]:.5f}")


if __name__ == "__main__":
    main()
