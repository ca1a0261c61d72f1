"""Steps in proportion to the size of a parameter."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.trajectories import DOUBLE, Problem, assert_close, run_eagerly, x64

BLOCKS = ("scale_by_param_block_norm", "scale_by_param_block_rms")
SHAPES = {"kernel": (2, 3), "bias": (3,), "zero": (3,), "zeta": (2,)}


@pytest.mark.parametrize("name", BLOCKS)
def test_equals_optax(name):
    params, grads = Problem(SHAPES, 3).draw(DOUBLE, steps=3)
    params["zero"] = 0 * params["zero"]
    with x64():
        ours, theirs = (run_eagerly(getattr(lib, name)(0.5), params, grads)[:2] for lib in (gradtx, optax))
    assert_close(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("name", BLOCKS)
def test_scalars_and_leaves_without_elements(name):
    tx = getattr(gradtx, name)()
    params = {"scalar": jnp.array(-2.0), "none": jnp.zeros((0, 2)), "absent": None}
    updates, _ = tx.update({**params, "scalar": jnp.array(3.0)}, tx.init(params), params)
    assert (updates["scalar"], updates["none"].shape, updates["absent"]) == (6.0, (0, 2), None)


@pytest.mark.parametrize("name", BLOCKS)
def test_sizes_whose_squares_overflow_are_sizes(name):
    """Optax's are infinite: the square of 1e30 is no float32."""
    p = jnp.full(4, 1e30)
    size = 2e30 if name.endswith("norm") else 1e30
    tx = getattr(gradtx, name)()
    np.testing.assert_allclose(tx.update(jnp.ones(4), tx.init(p), p)[0], np.full(4, size), rtol=1e-6)
    assert np.isinf(getattr(optax, name)().update(jnp.ones(4), optax.EmptyState(), p)[0]).all()


@pytest.mark.parametrize("name", BLOCKS)
def test_params_are_needed(name):
    tx = getattr(gradtx, name)()
    with pytest.raises(gradtx.errors.MissingExtraError, match="params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
