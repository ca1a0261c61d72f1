"""Several gradients, one update."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx

PARAMS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}


def draw(n, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), dtype), PARAMS) for _ in range(n)]


def run(tx, gradients, params=PARAMS, **extra):
    update, state, results = jax.jit(tx.update), tx.init(params), []
    for g in gradients:
        updates, state = update(g, state, params, **extra)
        params = gradtx.apply_updates(params, updates)
        results.append(updates)
    return params, state, results


@pytest.mark.parametrize("every", [1, 2, 4])
def test_equals_the_inner_optimizer_on_averages(every):
    gradients = draw(8)
    means = [
        jax.tree.map(lambda *x: sum(x) / every, *gradients[i : i + every]) for i in range(0, len(gradients), every)
    ]
    params, state, results = run(gradtx.accumulate(gradtx.adamw(0.1), every), gradients)
    expected, inner_state, _ = run(gradtx.adamw(0.1), means)
    chex.assert_trees_all_close((params, state.inner_state), (expected, inner_state), rtol=1e-5, atol=1e-7)
    off = [u for i, u in enumerate(results) if (i + 1) % every]
    assert all(not np.any(x) for u in off for x in jax.tree.leaves(u))
    assert (int(state.mini_step), int(state.gradient_step)) == (0, 8 // every)


def test_schedules_of_the_inner_optimizer_count_updates():
    tx = gradtx.accumulate(gradtx.sgd(gradtx.piecewise_constant_schedule(1.0, {1: 0.5})), 2)
    _, state, results = run(tx, [PARAMS] * 4)
    np.testing.assert_allclose(results[1]["a"], -PARAMS["a"])
    np.testing.assert_allclose(results[3]["a"], -0.5 * PARAMS["a"])
    assert int(gradtx.tree.get_field(state.inner_state, "count")) == 2


def test_every_may_be_a_schedule():
    tx = gradtx.accumulate(gradtx.sgd(1.0), lambda step: jnp.where(step < 2, 1, 3))
    _, _, results = run(tx, [PARAMS] * 8)
    assert [bool(np.any(u["a"])) for u in results] == [True, True, False, False, True, False, False, True]


def test_a_nan_spoils_its_own_average_only():
    gradients = draw(6)
    gradients[2] = jax.tree.map(lambda g: g * jnp.nan, gradients[2])
    _, state, results = run(gradtx.accumulate(gradtx.sgd(0.1), 2), gradients)
    assert np.all(np.isnan(results[3]["a"]))
    mean = (gradients[4]["a"] + gradients[5]["a"]) / 2
    np.testing.assert_allclose(results[5]["a"], -0.1 * mean, rtol=1e-6)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.acc_grads))


def test_a_guard_around_it_or_inside_it_keeps_a_nan_out():
    gradients = draw(4)
    gradients[1] = jax.tree.map(lambda g: g * jnp.nan, gradients[1])
    inside, _, _ = run(gradtx.accumulate(gradtx.apply_if_finite(gradtx.sgd(0.1)), 2), gradients)
    outside, _, _ = run(gradtx.apply_if_finite(gradtx.accumulate(gradtx.sgd(0.1), 2)), gradients)
    mean = jax.tree.map(lambda x, y: (x + y) / 2, gradients[2], gradients[3])
    chex.assert_trees_all_close(inside, jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, mean), rtol=1e-5)
    mean = jax.tree.map(lambda x, y: (x + y) / 2, gradients[0], gradients[2])
    chex.assert_trees_all_close(outside, jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, mean), rtol=1e-5)


def test_bfloat16_gradients_are_summed_in_float32():
    ones = jnp.ones(3, jnp.bfloat16)
    tx = gradtx.accumulate(gradtx.sgd(1.0), 1000)
    state = tx.init(ones)
    state = jax.lax.fori_loop(0, 999, lambda _, s: tx.update(ones, s, ones)[1], state)
    np.testing.assert_array_equal(state.acc_grads, np.full(3, 999.0, np.float32))
    updates, _ = tx.update(ones, state, ones)
    assert updates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(updates.astype(jnp.float32), -np.ones(3))


def test_extras_reach_the_inner_transformation():
    tx = gradtx.accumulate(gradtx.chain(gradtx.sgd(1.0), gradtx.reduce_on_plateau(factor=0.5, patience=1)), 2)
    _, state, _ = run(tx, [PARAMS] * 4, value=1.0)
    assert float(gradtx.tree.get_field(state, "scale")) == 0.5
