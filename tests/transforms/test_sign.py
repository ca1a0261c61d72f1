"""Signs."""

import jax.numpy as jnp
import numpy as np

import gradtx
from tests.trajectories import SHAPES, SINGLE, Problem, run


def test_real_signs_and_complex_directions():
    params, grads = Problem(SHAPES[0], 0).draw(SINGLE)
    updates = run(gradtx.scale_by_sign(), params, grads)[0]
    np.testing.assert_array_equal(updates["kernel"], np.sign(grads["kernel"]))
    np.testing.assert_allclose(updates["zeta"], grads["zeta"] / np.abs(grads["zeta"]), rtol=1e-6)


def test_the_sign_of_zero_is_zero_and_of_nan_nan():
    update, _ = gradtx.scale_by_sign().update(jnp.array([0.0, -0.0, jnp.nan, -jnp.inf]), gradtx.EmptyState())
    np.testing.assert_array_equal(update, [0.0, 0.0, np.nan, -1.0])
    assert gradtx.scale_by_sign().update(jnp.zeros(1, jnp.complex64), gradtx.EmptyState())[0].tolist() == [0j]
