"""The mean of the parameters along the rest of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.wrappers.test_average import run

PARAMS = jnp.array([1.0, -2.0])


@pytest.mark.parametrize(("start", "period"), [(0, 1), (0, 3), (4, 1), (4, 3), (1, 2), (9, 1)])
def test_equals_the_reference(start, period):
    path, state = run(gradtx.swa(gradtx.sgd(0.1, momentum=0.9), start, period), 13, PARAMS)
    taken = [p for t, p in enumerate(path, 1) if t >= start and (t - start) % period == 0]
    np.testing.assert_allclose(gradtx.averaged_params(state), np.mean(taken, axis=0), rtol=2e-6)
    assert (int(state.step), int(state.averaged)) == (13, len(taken))


def test_the_first_is_a_copy_and_the_second_the_mean_of_both():
    """As torch's ``AveragedModel``: 0 models make p, one makes a + (p - a) / 2."""
    params = jnp.array([3e8, -2.0])  # a + (p - a) would round
    path, state = run(gradtx.swa(gradtx.sgd(1.0)), 1, params)
    np.testing.assert_array_equal(state.average, path[0])
    assert int(state.averaged) == 1
    nothing = gradtx.swa(gradtx.sgd(1.0), start=5)
    _, state = run(nothing, 4, params)
    np.testing.assert_array_equal(gradtx.averaged_params(state), params)


def test_updates_are_those_of_the_inner_optimizer():
    averaged, _ = run(gradtx.swa(gradtx.adam(0.1), 2, 2), 5, PARAMS)
    plain, _ = run(gradtx.adam(0.1), 5, PARAMS)
    np.testing.assert_array_equal(averaged, plain)


def test_numbers_may_be_arrays_and_schedules():
    wanted = gradtx.averaged_params(run(gradtx.swa(gradtx.sgd(0.1), 3, 2), 8, PARAMS)[1])
    for start, period in ((jnp.array(3), jnp.array(2)), (lambda step: 3 + 0 * step, 2.0), (jnp.array(3.0), 2)):
        path, state = run(gradtx.swa(gradtx.sgd(0.1), start, period), 8, PARAMS)
        np.testing.assert_array_equal(gradtx.averaged_params(state), wanted)
    _, state = run(gradtx.swa(gradtx.sgd(0.1), 0, 2.5), 10, PARAMS)
    assert int(state.averaged) == 4
    assert len(path) == 8


def test_bfloat16_params_are_averaged_in_float32():
    params = jnp.full(2, 256.0, jnp.bfloat16)
    tx = gradtx.swa(gradtx.sgd(1.0))
    state = tx.init(params)
    for g in (-2.0, 0.0, 0.0):
        updates, state = tx.update(jnp.full(2, g, jnp.bfloat16), state, params)
    np.testing.assert_allclose(gradtx.averaged_params(state), np.full(2, (258 + 256 + 256) / 3), rtol=1e-6)
    assert gradtx.averaged_params(state, params).dtype == jnp.bfloat16
    assert updates.dtype == jnp.bfloat16


def test_the_average_shares_no_buffer_with_the_params():
    params = {"w": jnp.ones(3)}
    tx = gradtx.swa(gradtx.set_to_zero())
    state = tx.init(params)
    assert state.average["w"].unsafe_buffer_pointer() != params["w"].unsafe_buffer_pointer()
    step = jax.jit(lambda g, s, p: tx.update(g, s, p), donate_argnums=(0, 1, 2))
    step(jax.tree.map(jnp.ones_like, params), state, params)


def test_errors():
    tx = gradtx.swa(gradtx.sgd(0.1))
    with pytest.raises(gradtx.errors.MissingExtraError, match=r"swa: .*no params"):
        tx.update(PARAMS, tx.init(PARAMS))
