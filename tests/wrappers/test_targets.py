"""Slow copies of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx

rng = np.random.default_rng(0)
NEW, OLD = ({"a": rng.normal(size=3), "b": {"c": rng.normal() + 1j}, "n": None} for _ in range(2))


@pytest.mark.parametrize("step_size", [0.0, 0.3, 1.0])
def test_the_increment_equals_optaxs(step_size):
    with jax.enable_x64():
        new, old = jax.tree.map(jnp.asarray, (NEW, OLD))
        ours = jax.jit(gradtx.incremental_update)(new, old, step_size)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-14),
            ours,
            optax.incremental_update(new, old, step_size),
        )
        assert ours["n"] is None


@pytest.mark.parametrize("steps", range(7))
def test_the_replacement_equals_optaxs(steps):
    ours = gradtx.periodic_update(NEW, OLD, steps, 3)
    jax.tree.map(
        np.testing.assert_array_equal, ours, jax.tree.map(jnp.asarray, optax.periodic_update(NEW, OLD, steps, 3))
    )


def test_copies_keep_their_dtypes_and_are_computed_in_float32():
    old = jnp.full(2, 256.0, jnp.bfloat16)
    moved = gradtx.incremental_update(jnp.full(2, 258.0), old, 0.999)
    assert (moved.dtype, float(moved[0])) == (jnp.bfloat16, 258.0)
    with jax.enable_x64():
        assert gradtx.incremental_update(jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float32), jnp.array(0.5)).dtype == (
            jnp.float32
        )
        assert gradtx.periodic_update(jnp.ones(2), jnp.ones(2, jnp.float32), 0, 1).dtype == jnp.float32


def test_integers_and_keys_are_those_of_the_parameters():
    new = {"count": jnp.array(7), "key": jax.random.key(1)}
    old = {"count": jnp.array(4), "key": jax.random.key(0)}
    for moved in (gradtx.incremental_update(new, old, 0.5), gradtx.periodic_update(new, old, 2, 2)):
        assert (int(moved["count"]), moved["count"].dtype, moved["key"] == new["key"]) == (7, jnp.int32, True)
    assert gradtx.periodic_update(new, old, 1, 2)["key"] == old["key"]


def test_a_copy_shares_no_buffer_with_the_parameters():
    new = {"w": jnp.ones(3), "count": jnp.array(7)}
    for moved in (gradtx.periodic_update(new, new, 2, 2), gradtx.incremental_update(new, new, 1.0)):
        for x, y in zip(jax.tree.leaves(moved), jax.tree.leaves(new), strict=True):
            assert x.unsafe_buffer_pointer() != y.unsafe_buffer_pointer()


def test_errors_name_the_leaf():
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"gradtx.periodic_update: expected .* at \['b'\]\['c'\]"):
        gradtx.periodic_update(NEW | {"b": {"d": 1.0}}, OLD, 1, 2)
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"got shapes \[2\] and \[3\] at \['a'\]"):
        gradtx.incremental_update(NEW | {"a": jnp.ones(2)}, OLD, 0.5)
