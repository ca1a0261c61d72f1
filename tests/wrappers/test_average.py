"""Averages of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx


def run(tx, steps, params):
    state, path = tx.init(params), []
    for t in range(steps):
        updates, state = jax.jit(tx.update)(jnp.sin(params + t), state, params)
        params = gradtx.apply_updates(params, updates)
        path.append(np.asarray(params, np.float64))
    return path, state


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_average_is_weighted_and_debiased(decay, steps):
    path, state = run(gradtx.ema_params(gradtx.sgd(0.1, momentum=0.9), decay), steps, jnp.array([1.0, -2.0]))
    weights = (1 - decay) * decay ** np.arange(steps)[::-1]
    expected = sum(w * p for w, p in zip(weights, path, strict=True)) / weights.sum()
    np.testing.assert_allclose(gradtx.averaged_params(state), expected, rtol=2e-5)


def test_a_decay_that_changes_keeps_the_weights_right():
    decays = [0.9, 0.2, 0.7]
    table = jnp.array(decays)
    path, state = run(gradtx.ema_params(gradtx.sgd(0.1), lambda step: table[step]), 3, jnp.array([1.0, -2.0]))
    a = w = 0.0
    for decay, p in zip(decays, path, strict=True):
        a, w = decay * a + (1 - decay) * p, decay * w + (1 - decay)
    np.testing.assert_allclose(gradtx.averaged_params(state), a / w, rtol=1e-6)


def test_updates_are_those_of_the_inner_optimizer():
    averaged, _ = run(gradtx.ema_params(gradtx.adam(0.1)), 5, jnp.array([1.0, -2.0]))
    plain, _ = run(gradtx.adam(0.1), 5, jnp.array([1.0, -2.0]))
    np.testing.assert_array_equal(averaged, plain)


def test_the_average_of_bfloat16_params_is_float32_and_may_be_cast():
    params = jnp.ones(3, jnp.bfloat16)
    _, state = run(gradtx.chain(gradtx.ema_params(gradtx.sgd(0.1))), 2, params)
    assert gradtx.averaged_params(state).dtype == jnp.float32
    assert gradtx.averaged_params(state, params).dtype == jnp.bfloat16


def test_errors():
    tx = gradtx.ema_params(gradtx.sgd(0.1))
    with pytest.raises(gradtx.errors.MissingExtraError, match=r"ema_params: .*no params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
    with pytest.raises(gradtx.errors.UnknownNameError, match="one average in the state, got 0; wrap the optimizer"):
        gradtx.averaged_params(gradtx.sgd(0.1).init(jnp.ones(2)))


def test_of_several_averages_one_is_chosen():
    tx = gradtx.swa(gradtx.ema_params(gradtx.lawa(gradtx.sgd(0.1), 2), 0.5))
    path, state = run(tx, 4, jnp.array([1.0, -2.0]))
    with pytest.raises(gradtx.errors.UnknownNameError, match="got 3; say which: index=0 is the innermost"):
        gradtx.averaged_params(state)
    weights = 0.5 ** np.array([3, 2, 1, 0])
    expected = [np.mean(path[-2:], axis=0), weights @ path / weights.sum(), np.mean(path, axis=0)]
    for i, average in enumerate(expected):
        np.testing.assert_allclose(gradtx.averaged_params(state, index=i), average, rtol=1e-5)
