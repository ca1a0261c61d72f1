"""The mean of the last checkpoints."""

import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.wrappers.test_average import run

PARAMS = jnp.array([1.0, -2.0])


@pytest.mark.parametrize("steps", [1, 2, 5, 6, 7, 13])
@pytest.mark.parametrize(("k", "every"), [(1, 1), (1, 3), (3, 1), (3, 2), (20, 1)])
def test_equals_the_reference(k, every, steps):
    path, state = run(gradtx.lawa(gradtx.sgd(0.1, momentum=0.9), k, every), steps, PARAMS)
    taken = [p for t, p in enumerate(path, 1) if t % every == 0]
    expected = np.mean(taken[-k:], axis=0) if taken else PARAMS
    np.testing.assert_allclose(gradtx.averaged_params(state), expected, rtol=2e-6)
    assert int(state.taken) == len(taken)
    assert len(state.checkpoints) == k


def test_the_first_params_are_in_no_mean_even_if_they_are_nan():
    tx = gradtx.lawa(gradtx.stateless(lambda updates, params: updates), 3)
    params = jnp.array([jnp.inf])
    state = tx.init(params)
    for p in (1.0, 2.0):
        _, state = tx.update(jnp.zeros(1), state, jnp.array([p]))
    np.testing.assert_array_equal(gradtx.averaged_params(state), [1.5])


def test_updates_are_those_of_the_inner_optimizer():
    averaged, _ = run(gradtx.lawa(gradtx.adam(0.1), 2, 2), 5, PARAMS)
    plain, _ = run(gradtx.adam(0.1), 5, PARAMS)
    np.testing.assert_array_equal(averaged, plain)


def test_bfloat16_params_are_averaged_in_float32():
    params = jnp.full(2, 256.0, jnp.bfloat16)
    tx = gradtx.lawa(gradtx.sgd(1.0), 2)
    state = tx.init(params)
    for g in (-2.0, 0.0):
        _, state = tx.update(jnp.full(2, g, jnp.bfloat16), state, params)
    np.testing.assert_array_equal(gradtx.averaged_params(state), np.full(2, 257.0))
    assert gradtx.averaged_params(state, params).dtype == jnp.bfloat16


def test_errors():
    with pytest.raises(gradtx.errors.ArgumentValueError, match=r"gradtx.lawa: expected k in \[1, inf\), got 0"):
        gradtx.lawa(gradtx.sgd(0.1), 0)
    tx = gradtx.lawa(gradtx.sgd(0.1))
    with pytest.raises(gradtx.errors.MissingExtraError, match=r"lawa: .*no params"):
        tx.update(PARAMS, tx.init(PARAMS))
