"""Noise on updates: its size, and whose it is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, MissingExtraError

KEY = jax.random.key(7)


def noise(grads, eta=0.25, gamma=0.5, step=1, key=KEY):
    """What is added to gradients at a step."""
    tx = gradtx.add_noise(eta, gamma)
    state = tx.init(grads)
    for _ in range(step):
        updates, state = tx.update(grads, state, key=key)
    assert int(state.count) == step
    return jax.tree.map(lambda u, g: u - g, updates, grads)


@pytest.mark.parametrize("step", [1, 2, 9])
def test_the_variance_falls_as_in_the_paper(step):
    """On 40000 numbers, the standard deviation is known to 0.4 per cent, and the mean to 0.005 of it."""
    deviation = (0.25 / step**0.5) ** 0.5
    drawn = noise(jnp.ones(40_000), step=step)
    assert float(jnp.std(drawn)) == pytest.approx(deviation, rel=0.02)
    assert abs(float(jnp.mean(drawn))) < 0.025 * deviation
    assert float(jnp.mean(drawn**4)) == pytest.approx(3 * deviation**4, rel=0.1)


@pytest.mark.parametrize("step", [1, 2, 9])
def test_the_size_is_optaxs(step):
    """Both draw standard normal numbers and multiply them: their variances are compared, as the numbers differ."""
    theirs, grads = optax.add_noise(0.25, 0.5, 0), jnp.zeros(40_000)
    state = theirs.init(grads)
    for _ in range(step):
        drawn, state = theirs.update(grads, state)
    assert float(jnp.std(noise(grads, step=step))) == pytest.approx(float(jnp.std(drawn)), rel=0.02)


def test_it_is_added_to_the_gradient():
    g = jnp.array([1e3, -2e3])
    tx = gradtx.add_noise(0.25, 0.5)
    np.testing.assert_allclose(tx.update(g, tx.init(g), key=KEY)[0] - g, noise(jnp.zeros(2)), atol=1e-3)


def test_both_parts_of_a_complex_number_have_the_variance():
    drawn = noise(jnp.zeros(40_000, jnp.complex64))
    for part in (drawn.real, drawn.imag):
        assert float(jnp.std(part)) == pytest.approx(0.5, rel=0.02)
    assert abs(np.corrcoef(drawn.real, drawn.imag)[0, 1]) < 0.025


def test_low_precision_is_rounded_once():
    high, low = (noise(jnp.zeros(1000, dtype)) for dtype in (jnp.float32, jnp.bfloat16))
    np.testing.assert_array_equal(high.astype(jnp.bfloat16), low)


def test_noise_differs_by_leaf_by_key_and_by_member():
    zeros = {"a": jnp.zeros(1000), "b": jnp.zeros(1000)}
    other, twice = noise(zeros, key=jax.random.key(8)), gradtx.chain(gradtx.scale(0.0), gradtx.add_noise(0.25, 0.5))
    second, _ = twice.update(zeros, twice.init(zeros), key=KEY)
    columns = [*jax.tree.leaves(noise(zeros)), *jax.tree.leaves(other), *jax.tree.leaves(second)]
    assert np.abs(np.corrcoef(np.stack(columns)) - np.eye(6)).max() < 0.2
    jax.tree.map(np.testing.assert_array_equal, noise(zeros), noise(zeros))


def test_an_absent_leaf_stays_absent_and_a_scalar_moves():
    drawn = noise({"a": None, "b": jnp.zeros(())})
    assert drawn["a"] is None
    assert drawn["b"].shape == ()
    assert float(drawn["b"]) != 0


def test_without_variance_nothing_is_added_and_derivatives_are_finite():
    g = jnp.array([1.0, 0.0])
    np.testing.assert_array_equal(noise(g, eta=0.0), [0.0, 0.0])
    with jax.debug_nans(True):
        for eta in (0.0, 0.25):
            assert np.isfinite(jax.grad(lambda eta: jnp.sum(noise(g, eta=eta)))(eta))


def test_numbers_take_schedules():
    grads = jnp.zeros(1000)
    scheduled = noise(grads, gradtx.linear_schedule(1.0, 0.25, 1), gamma=0.0, step=2)
    np.testing.assert_allclose(scheduled, noise(grads, 0.25, 0.0, step=2), rtol=1e-6)


def test_noisy_sgd_is_the_rate_times_noise_and_gradient():
    tx, g = gradtx.noisy_sgd(0.1), jnp.array([3.0, -4.0])
    updates, _ = tx.update(g, tx.init(g), key=KEY)
    np.testing.assert_allclose(updates, -0.1 * (g + noise(g, 0.01, 0.55)), rtol=1e-6)


def test_a_key_is_needed():
    tx, g = gradtx.noisy_sgd(0.1), jnp.ones(2)
    with pytest.raises(MissingExtraError, match=r"gradtx.add_noise: expected update\(..., key=...\), got no key"):
        tx.update(g, tx.init(g))
    with pytest.raises(ArgumentTypeError, match=r"gradtx.add_noise: expected key to be a single JAX PRNG key, got 3"):
        tx.update(g, tx.init(g), key=3)
