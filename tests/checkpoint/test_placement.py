"""Where restored arrays are put: on eight devices, and on those of two processes, neither of which has all of one."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils

import gradtx
from gradtx import checkpoint

TX = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(gradtx.cosine_decay_schedule(0.1, 20)))
PARAMS = {"kernel": np.sin(np.arange(64.0, dtype=np.float32)).reshape(16, 4), "bias": np.ones(3, np.float32)}


def over(mesh: Any) -> Any:
    """The params with the kernel's rows over all devices."""
    places = {"kernel": jax.P("data"), "bias": jax.P()}
    return {
        name: jax.make_array_from_callback(x.shape, jax.NamedSharding(mesh, places[name]), lambda part, x=x: x[part])
        for name, x in PARAMS.items()
    }


def key_on(mesh: Any) -> Any:
    return jax.jit(lambda: jax.random.key(3), out_shardings=jax.NamedSharding(mesh, jax.P()))()


@jax.jit
def step(p: Any, state: Any) -> Any:
    grads = jax.tree.map(jnp.cos, p)
    updates, opt = TX.update(grads, state["opt"], p)
    return gradtx.apply_updates(p, updates), {"opt": opt, "key": state["key"]}


def shards(tree: Any) -> list[Any]:
    """The parts of all arrays that are in this process, and where they are."""
    arrays = [jax.random.key_data(x) if is_key(x) else x for x in jax.tree.leaves(tree)]
    return [[(str(s.device), str(s.index), np.asarray(s.data).tobytes()) for s in x.addressable_shards] for x in arrays]


def is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """An error wherever more than one number goes from JAX to NumPy."""
    array_type: Any = type(jnp.ones(1))
    kept = array_type.__array__

    def refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.ndim:
            raise AssertionError(f"an array of shape {self.shape} was fetched")
        return kept(self, *args, **kwargs)

    array_type.__array__ = refuse
    try:
        yield
    finally:
        array_type.__array__ = kept


def check(mesh: Any) -> None:
    """A state goes through a dict into templates of all kinds, and the run goes on with the same bits in its places."""
    p = over(mesh)
    p, state = step(p, {"opt": TX.init(p), "key": key_on(mesh)})
    end = shards(step(p, state))
    saved = checkpoint.to_state_dict(state)
    placed = {"opt": TX.init(p), "key": key_on(mesh)}
    abstract = jax.eval_shape(lambda p: {"opt": TX.init(p), "key": jax.random.key(0)}, p)
    with_places = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    assert jax.tree.leaves(abstract)[0].sharding is None
    with nothing_fetched():
        for template in (placed, abstract, with_places):
            restored = checkpoint.from_state_dict(template, saved)
            assert shards(restored) == shards(state)
            assert shards(step(p, restored)) == end
    gathered = jax.tree.map(lambda x: np.asarray(multihost_utils.process_allgather(x, tiled=True)), saved["state"])
    in_numpy = {"schema": saved["schema"], "state": gathered}
    for template in (placed, with_places):
        restored = checkpoint.from_state_dict(template, in_numpy)
        assert shards(restored) == shards(state)
        assert shards(step(p, restored)) == end


def main(process: int, processes: int, port: int) -> None:
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    check(jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,)))
    print(f"restored on {jax.local_device_count()} of {jax.device_count()} devices")


def run_processes(count: int, devices: int) -> list[str]:
    """The last lines that processes of this module print that have some devices each."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    commands = [
        [sys.executable, "-m", "tests.checkpoint.test_placement", f"{i}", f"{count}", f"{port}"] for i in range(count)
    ]
    started = [
        subprocess.Popen(  # noqa: S603
            command,
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        ended = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    assert not any(process.returncode for process in started), "\n".join(errors[-3000:] for _, errors in ended)
    return [printed.splitlines()[-1] for printed, _ in ended]  # before it, Gloo says how the processes were connected


@pytest.mark.parametrize(("count", "devices"), [(1, 8), (2, 2)])
def test_restored_on_several_devices(count: int, devices: int) -> None:
    assert run_processes(count, devices) == [f"restored on {devices} of {count * devices} devices"] * count


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
