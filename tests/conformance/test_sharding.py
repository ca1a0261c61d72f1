"""Sharded parameters give what unsharded ones give, for every name, on eight CPU devices."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tests.conformance.cases import TRANSFORMATIONS, run


def check_all() -> None:
    """Run every transformation sharded and unsharded; called in a process of its own that has eight devices."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    params = {"kernel": jnp.linspace(-1.0, 2.0, 64).reshape(16, 4), "bias": jnp.ones(3)}
    grads = jax.tree.map(lambda p: jnp.stack([jnp.sin(3 * p + i) for i in range(3)]), params)
    placed = {"kernel": jax.device_put(params["kernel"], sharded), "bias": jax.device_put(params["bias"], replicated)}
    for name, tx in TRANSFORMATIONS.items():
        step = jax.jit(lambda p, g, tx=tx: run(tx, p, g))
        expected, got = step(params, grads), step(placed, grads)
        for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6, err_msg=name)
        assert got[0]["kernel"].sharding.is_equivalent_to(sharded, 2), name
        for leaf in jax.tree.leaves(tx.init(placed)):
            # A moment lives where its parameter lives.
            if leaf.shape[-2:] == (16, 4):
                spec = jax.sharding.PartitionSpec(*[None] * (leaf.ndim - 2), "data")
                assert leaf.sharding.is_equivalent_to(jax.sharding.NamedSharding(mesh, spec), leaf.ndim), name
    print(f"{len(TRANSFORMATIONS)} transformations agree on {jax.device_count()} devices")


def test_sharded_equals_unsharded():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.test_sharding"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"{len(TRANSFORMATIONS)} transformations agree on 8 devices\n"


if __name__ == "__main__":
    check_all()
