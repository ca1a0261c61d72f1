"""Parameters of low precision: the arithmetic and the state are those of float32, and the update is rounded once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.trajectories import SINGLE, Problem, assert_close, run, x64

TRANSFORMATIONS = {
    "trace": gradtx.trace(0.875, nesterov=True),
    "ema": gradtx.ema(0.875),
    "adam": gradtx.scale_by_adam(),
    "amsgrad": gradtx.scale_by_amsgrad(),
    "belief": gradtx.scale_by_belief(),
    "yogi": gradtx.scale_by_yogi(),
    "rectified adam": gradtx.scale_by_rectified_adam(),
    "rss": gradtx.scale_by_rss(),
    "rms": gradtx.scale_by_rms(),
    "stddev": gradtx.scale_by_stddev(),
    "adadelta": gradtx.scale_by_adadelta(),
    "clip": gradtx.clip(0.5),
    "clip by global norm": gradtx.clip_by_global_norm(0.5),
    "centralize": gradtx.centralize(),
    "lion": gradtx.scale_by_lion(),
    "sign": gradtx.scale_by_sign(),
}
PROBLEM = Problem({"kernel": (3, 4), "bias": (4,), "scalar": ()}, 4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_low_precision_follows_float32(name, dtype):
    tx = TRANSFORMATIONS[name]
    low = jax.tree.map(lambda x: x.astype(dtype), PROBLEM.draw(SINGLE))
    high = jax.tree.map(lambda x: x.astype(np.float32), low)
    updates, _, state = run(tx, *low)
    expected, _, expected_state = run(tx, *high)
    # The two programs may contract products and sums differently.
    assert_close(state, expected_state, rtol=2e-6, atol=1e-30)
    # Half a unit in the last place, and the roundings of float32.
    rounding = float(jnp.finfo(dtype).eps) / 2 + 2e-6
    for k, u in updates.items():
        assert u.dtype == dtype
        np.testing.assert_allclose(u.astype(np.float32), expected[k], rtol=rounding, atol=float(jnp.finfo(dtype).tiny))


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_float32_parameters_in_x64_mode_keep_their_dtypes(name):
    """The numbers are those of x32 mode but for hyperparameters, which are float64."""
    params, grads = PROBLEM.draw(SINGLE)
    expected = run(TRANSFORMATIONS[name], params, grads)
    with x64():
        actual = run(TRANSFORMATIONS[name], params, grads)
    assert jax.tree.map(lambda x: x.dtype, actual[:2]) == jax.tree.map(lambda x: x.dtype, expected[:2])
    assert jax.tree.map(lambda x: x.dtype, actual[2]) == jax.tree.map(lambda x: x.dtype, expected[2])
    assert_close(actual[0], expected[0], rtol=1e-4, atol=1e-6)


def test_a_small_gradient_moves_the_second_moment_of_a_bfloat16_parameter():
    """0.999 v + 0.001 g^2 is v again in bfloat16, for g^2 within a few times v."""
    tx = gradtx.scale_by_adam()
    params, grads = jnp.zeros(1, jnp.bfloat16), jnp.full((2000, 1), 0.1, jnp.bfloat16).at[0].set(10.0)
    nu = run(tx, params, grads)[2].nu
    np.testing.assert_allclose(nu, 0.1 * 0.999**1999 + float(grads[1, 0]) ** 2 * (1 - 0.999**1999), rtol=1e-4)
