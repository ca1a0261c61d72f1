"""Laws 1 and 2 on eight CPU devices: sharded params and state, `jax.pmap` and `jax.shard_map`, for every name."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from tests.conformance.cases import CASES, step_once
from tests.conformance.laws import Counting, law_of_all

STEPS = 3
PARAMS = {"kernel": np.linspace(-1.0, 2.0, 64, dtype=np.float32).reshape(16, 4), "bias": np.ones(3, np.float32)}


def gradient(params, index):
    return jax.tree.map(lambda p: np.sin(3 * p + index), params)


def agree(got, expected):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=2e-5, atol=2e-6)


def follow(step, params, state, grads_at):
    for index in range(STEPS):
        params, state = step(params, state, grads_at(index), index)
    return params, state


def check_sharded(tx, step, expected, mesh):
    """Params over the devices by rows; the state lives where they live, and stays there."""
    rows, everywhere = (jax.NamedSharding(mesh, jax.P(*axes)) for axes in (("data",), ()))
    places = {"kernel": rows, "bias": everywhere}
    params = jax.device_put(PARAMS, places)
    start, traced = (params, tx.init(params)), Counting(step)
    compiled = jax.jit(traced)
    after = follow(compiled, *start, lambda index: jax.device_put(gradient(PARAMS, index), places))
    agree(after, expected)
    assert traced.traces <= 2  # scalars of the state change their place once: see below
    for old, new in zip(jax.tree.leaves(start), jax.tree.leaves(after), strict=True):
        # What is not like a parameter is on one device and committed to none, until a step spreads it over all.
        place = everywhere if isinstance(old.sharding, jax.sharding.SingleDeviceSharding) else old.sharding
        assert new.sharding.is_equivalent_to(place, new.ndim), (old.shape, old.sharding, new.sharding)
        if old.shape[-2:] == (16, 4):  # a memory of several moments has axes of its own before those
            like_params = jax.NamedSharding(mesh, jax.P(*[None] * (old.ndim - 2), "data"))
            assert new.sharding.is_equivalent_to(like_params, new.ndim), new.sharding


def run_mapped(tx, step, mesh):
    """Eight runs, one per device, by `jax.pmap` and by `jax.shard_map`; returns the one that begins with `PARAMS`."""
    batch = jax.tree.map(lambda x: np.stack([x * (1 + i) for i in range(8)]), PARAMS)
    states = jax.vmap(tx.init)(batch)

    def local(*args):
        *trees, index = args
        after = step(*(jax.tree.map(lambda x: x[0], tree) for tree in trees), index)
        return jax.tree.map(lambda x: x[None], after)

    each = jax.P("data")
    shard_mapped = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(each, each, each, jax.P()), out_specs=each))
    pmapped = jax.pmap(step, in_axes=(0, 0, 0, None))
    results = [follow(f, batch, states, lambda index: gradient(batch, index)) for f in (pmapped, shard_mapped)]
    agree(*results)
    return jax.tree.map(lambda x: x[0], results[0])


def check_all() -> None:
    """Called in a process of its own that has eight devices."""
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is all that takes time here
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    failed = {}
    for name, tx in CASES.items():
        step = functools.partial(step_once, tx)
        try:
            # What `jax.pmap` gives a device is a program for that device alone.
            check_sharded(tx, step, run_mapped(tx, step, mesh), mesh)
        except Exception as error:  # the others are checked too
            failed[name] = f"{type(error).__name__}: {error}"
    for name, message in failed.items():
        print(f"{name}: {message}", file=sys.stderr)
    print(f"{len(CASES) - len(failed)} cases agree on {jax.device_count()} devices")


@law_of_all(1)
@law_of_all(2)
def test_many_devices_do_what_one_does():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.test_sharding"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{len(CASES)} cases agree on 8 devices\n", done.stderr[-8000:]


if __name__ == "__main__":
    check_all()
