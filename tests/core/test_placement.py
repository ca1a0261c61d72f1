"""Where the arrays of a new state are put, and those that replace old ones."""

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


@pytest.mark.parametrize("place", [DEVICE, MESH], ids=["device", "mesh"])
@pytest.mark.parametrize("value", [0.5, np.float32(0.5), jnp.float32(0.5), jax.device_put(jnp.float32(0.5), DEVICE)])
def test_a_new_number_is_where_the_old_one_was_and_nothing_compiles_again(place, value):
    tx = gradtx.tunable(TX)
    params = jax.device_put({"w": jnp.ones(4)}, place)
    state = tx.init(params)
    step = jax.jit(lambda *args: tx.update(*args))
    for _ in range(3):
        before = gradtx.get_hyperparams(state)["transforms[1].b1"]
        state = gradtx.set_hyperparams(state, b1=value)
        after = gradtx.get_hyperparams(state)["transforms[1].b1"]
        assert (after.sharding, after.committed) == (before.sharding, True)
        _, state = step(params, state, params)
    assert step._cache_size() == 1


def test_a_new_number_in_a_loose_state_is_loose():
    state = gradtx.tunable(gradtx.sgd(0.1)).init({"w": jnp.ones(4)})
    assert not gradtx.set_hyperparams(state, learning_rate=0.5).hyperparams["learning_rate"].committed


def test_a_new_number_in_a_trace_does_not_move():
    state = gradtx.tunable(gradtx.sgd(0.1)).init(jax.device_put({"w": jnp.ones(4)}, MESH))
    for changed in (
        jax.make_jaxpr(lambda state: gradtx.set_hyperparams(state, learning_rate=0.5))(state),
        jax.make_jaxpr(lambda rate: gradtx.set_hyperparams(state, learning_rate=rate))(0.5),
    ):
        assert "device_put" not in str(changed)


def test_beside_params_in_host_memory_numbers_are_on_the_device():
    host = jax.sharding.SingleDeviceSharding(DEVICE, memory_kind="pinned_host")
    params = {"w": jax.device_put(np.ones(4, np.float32), host)}
    count = placed_with(params, jnp.zeros(()))
    assert count.committed
    assert count.sharding == jax.sharding.SingleDeviceSharding(DEVICE)


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
