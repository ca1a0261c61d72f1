"""Accumulators and results keep the sharding of the leaves; run in a process with eight CPU devices."""

import subprocess
import sys
import textwrap

from tests.effort import on_devices

PROGRAM = """
import jax, jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import numpy as np
from gradtx import tree

assert len(jax.devices()) == 8
mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
split, whole = NamedSharding(mesh, P("x", "y")), NamedSharding(mesh, P())
params = {
    "split": jax.device_put(jnp.ones((8, 8), jnp.bfloat16), split),
    "complex": jax.device_put(jnp.ones((8, 8), jnp.complex64), split),
    "whole": jax.device_put(jnp.ones((3,)), whole),
    "elsewhere": jax.device_put(jnp.ones((3,)), jax.devices()[5]),
}

def same(a, b):
    return all(x.sharding.is_equivalent_to(y.sharding, x.ndim) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))

accumulators = {
    "zeros": tree.zeros_accumulator,
    "full": lambda t: tree.full_accumulator(t, 0.5),
    "real": lambda t: tree.zeros_accumulator(t, real=True),
    "lowered": lambda t: tree.zeros_accumulator(t, dtype="bfloat16"),
    "copy": tree.copy_accumulator,
}
for name, accumulate in accumulators.items():
    assert same(accumulate(params), params), name

def step(g, m):
    return tree.map_leaves(lambda g, m: (g * 2, m + 1), g, m)

import gradtx

assert same(tree.map_leaves(lambda g: 2.0 * g, params), params)
tx = gradtx.chain(gradtx.trace(0.9), gradtx.scale(2.0))
assert same(tx.update(params, tx.init(params))[0], params)

del params["elsewhere"]  # one compiled program runs on one set of devices
moments = tree.zeros_accumulator(params)
for run in (step, jax.jit(step)):
    updates, new = run(params, moments)
    assert same(updates, params) and same(new, params), run

rows = NamedSharding(mesh, P("y"))
params["alike"] = [jax.device_put(jnp.ones((8, 8), jnp.bfloat16), place) for place in (split, whole, rows)]
for norm in (tree.global_norm, jax.jit(tree.global_norm)):
    assert abs(float(norm(params)) - (5 * 64 + 3) ** 0.5) < 1e-5
print("passed")
"""


def test_shardings_are_kept():
    environment = on_devices(8)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "passed", done.stderr
