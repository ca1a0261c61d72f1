"""Where the arrays of a new state are put."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import gradtx
from gradtx.core.placement import placed_with

DEVICE = jax.devices()[0]
MESH = NamedSharding(Mesh(np.array([DEVICE]), ("data",)), PartitionSpec("data"))
TX = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(gradtx.exponential_decay(0.1, 3, 0.5)))


@pytest.mark.parametrize("place", [DEVICE, MESH], ids=["device", "mesh"])
def test_a_state_is_where_the_params_are_and_a_step_compiles_once(place):
    params = jax.device_put({"w": jnp.ones(4)}, place)
    state = TX.init(params)
    assert all(x.committed for x in jax.tree.leaves(state))
    step = jax.jit(lambda *args: TX.update(*args))  # a new function, with a cache of its own
    for _ in range(3):
        _, state = step(params, state, params)
    assert step._cache_size() == 1


def test_beside_loose_params_the_state_is_loose():
    assert not any(x.committed for x in jax.tree.leaves(TX.init({"w": jnp.ones(4)})))


def test_what_is_placed_already_stays_there():
    spread = jax.device_put(jnp.ones(4), MESH)
    count, moment = placed_with({"w": spread}, (jnp.zeros(()), spread))
    assert moment is spread
    assert count.sharding == NamedSharding(MESH.mesh, PartitionSpec())


def test_params_in_several_places_move_nothing():
    params = {"a": jax.device_put(jnp.ones(4), DEVICE), "b": jax.device_put(jnp.ones(4), MESH)}
    assert not placed_with(params, jnp.zeros(())).committed


def test_in_a_trace_nothing_moves():
    params = jax.device_put({"w": jnp.ones(4)}, DEVICE)
    assert "device_put" not in str(jax.make_jaxpr(TX.init)(params))
