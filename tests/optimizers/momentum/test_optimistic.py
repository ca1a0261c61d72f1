"""Optimistic gradients: the equation, its two beginnings, Optax, and the game they are for."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx import scale_by_optimistic_gradient
from tests.conftest import x64_mode


@pytest.mark.parametrize("first", ["repeat", "zero"])
def test_reference(first):
    grads = np.random.default_rng(0).normal(size=(5, 3))
    alpha, beta = 0.7, 1.3
    with x64_mode():
        tx = scale_by_optimistic_gradient(alpha, beta, first)
        state, last = tx.init(jnp.zeros(3)), (grads[0] if first == "repeat" else np.zeros(3))
        for g in grads:
            updates, state = tx.update(jnp.asarray(g), state)
            np.testing.assert_allclose(updates, (alpha + beta) * g - beta * last, rtol=1e-12)
            last = g
    assert int(state.count) == 5


@pytest.mark.parametrize("name", ["optimistic_gradient_descent", "optimistic_adam_v2"])
def test_optax(name):
    ours, theirs = (getattr(module, name)(0.1, alpha=0.8, beta=1.2) for module in (gradtx, optax))
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    states = ours.init(params), theirs.init(params)
    for seed in range(6):
        grads = jax.tree.map(lambda p, s=seed: jax.random.normal(jax.random.key(s), p.shape), params)
        a, state_a = ours.update(grads, states[0], params)
        b, state_b = theirs.update(grads, states[1], params)
        states = state_a, state_b
        chex.assert_trees_all_close(a, b, rtol=2e-4, atol=1e-6)


def test_optaxs_name_is_the_same_factory():
    assert gradtx.optimistic_adam_v2 is gradtx.optimistic_adam


def test_it_finds_the_solution_of_a_game_that_descent_circles():
    def play(tx):
        def step(carry, _):
            p, state = carry
            updates, state = tx.update({"x": p["y"], "y": -p["x"]}, state, p)
            return (gradtx.apply_updates(p, updates), state), None

        start = {"x": jnp.float32(1.0), "y": jnp.float32(1.0)}
        end = jax.lax.scan(step, (start, tx.init(start)), length=500)[0][0]
        return float(jnp.hypot(end["x"], end["y"]))

    assert play(gradtx.optimistic_gradient_descent(0.1)) < 0.2
    assert play(gradtx.sgd(0.1)) > 10
