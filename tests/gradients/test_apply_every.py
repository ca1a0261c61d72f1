"""Sums of updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx


def run(tx, gradients, like):
    state, results = tx.init(like), []
    for g in gradients:
        updates, state = jax.jit(tx.update)(g, state)
        results.append(np.asarray(updates))
    return results, state


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_equals_optax(k, dtype):
    with jax.enable_x64():
        gradients = jnp.asarray(np.random.default_rng(0).normal(size=(9, 4)), dtype)
        like = jnp.zeros(4, dtype)
        ours, theirs = gradtx.apply_every(k), optax.apply_every(k)
        np.testing.assert_allclose(run(ours, gradients, like)[0], run(theirs, gradients, like)[0], rtol=1e-12)


def test_sums_are_given_out_when_they_are_whole():
    results, state = run(gradtx.apply_every(3), jnp.arange(1.0, 8), jnp.zeros(()))
    np.testing.assert_array_equal(results, [0, 0, 6, 0, 0, 15, 0])
    assert (int(state.count), float(state.grad_acc)) == (1, 7)


def test_k_may_be_a_schedule():
    results, _ = run(gradtx.apply_every(lambda step: jnp.where(step < 2, 1, 3)), jnp.ones(6), jnp.zeros(()))
    np.testing.assert_array_equal(results, [1, 1, 0, 0, 3, 0])


def test_a_nan_spoils_one_sum():
    gradients = jnp.array([1.0, jnp.nan, 1.0, 2.0])
    results, _ = run(gradtx.apply_every(2), gradients, jnp.zeros(()))
    np.testing.assert_array_equal(results, [0, np.nan, 0, 3])


def test_bfloat16_updates_are_summed_in_float32():
    state = jax.lax.fori_loop(
        0,
        999,
        lambda _, s: gradtx.apply_every(1000).update(jnp.ones(2, jnp.bfloat16), s)[1],
        gradtx.apply_every(1000).init(jnp.ones(2, jnp.bfloat16)),
    )
    np.testing.assert_array_equal(state.grad_acc, np.full(2, 999.0, np.float32))
