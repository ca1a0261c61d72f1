"""Signs, and Lion against its reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests import references
from tests.trajectories import SHAPES, SINGLE, Problem, check_all, check_numbers, decays, run


def test_real_signs_and_complex_directions():
    params, grads = Problem(SHAPES[0], 0).draw(SINGLE)
    updates = run(gradtx.scale_by_sign(), params, grads)[0]
    np.testing.assert_array_equal(updates["kernel"], np.sign(grads["kernel"]))
    np.testing.assert_allclose(updates["zeta"], grads["zeta"] / np.abs(grads["zeta"]), rtol=1e-6)


def test_the_sign_of_zero_is_zero_and_of_nan_nan():
    update, _ = gradtx.scale_by_sign().update(jnp.array([0.0, -0.0, jnp.nan, -jnp.inf]), gradtx.EmptyState())
    np.testing.assert_array_equal(update, [0.0, 0.0, np.nan, -1.0])
    assert gradtx.scale_by_sign().update(jnp.zeros(1, jnp.complex64), gradtx.EmptyState())[0].tolist() == [0j]


# --- Lion -------------------------------------------------------------------------------------------------------------


def test_lion_equals_the_reference():
    check_all(gradtx.scale_by_lion, references.Lion, {"b1": decays, "b2": decays})


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.99), (0.99, 0.99), (0.0, 0.5), (0.5, 0.1), (0.9, 0.0), (0.0, 0.0)])
def test_lion_with_python_numbers_equals_the_reference(b1, b2):
    """Where b1 <= b2 and b2 > 0 the direction is computed from the new moment."""
    check_numbers(gradtx.scale_by_lion, references.Lion, {"b1": b1, "b2": b2})


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.99), (0.95, 0.98), (0.5, 0.5), (1e-3, 2e-3)])
def test_lion_by_the_new_moment_has_the_signs_of_the_plain_form(b1, b2):
    """Except where c is within eight roundings of its terms, |c| <= 8 * 2**-24 (b1 |m| + (1-b1) |g|)."""
    rng = np.random.default_rng(0)
    m = rng.normal(size=200_000).astype(np.float32)
    g = rng.normal(size=m.size) * 10 ** rng.uniform(-3, 3, m.size)
    near = rng.uniform(size=m.size) < 0.5  # half of them within a millionth of a sign's change
    g = np.where(near, -b1 / (1 - b1) * m * (1 + 1e-6 * rng.normal(size=m.size)), g).astype(np.float32)
    tx = gradtx.scale_by_lion(b1, b2)
    actual = jax.jit(lambda g, m: tx.update(g, gradtx.ScaleByLionState(m))[0])(g, m)
    wide_m, wide_g = m.astype(np.float64), g.astype(np.float64)
    c = b1 * wide_m + (1 - b1) * wide_g
    uncertain = np.abs(c) <= 8 * 2**-24 * (b1 * np.abs(wide_m) + (1 - b1) * np.abs(wide_g))
    assert 0 < np.mean(uncertain) < 0.4
    np.testing.assert_array_equal(actual[~uncertain], np.sign(c)[~uncertain])


def test_lion_keeps_one_moment_in_the_dtype_asked_for():
    params, grads = Problem(SHAPES[0], 0).draw(SINGLE)
    state = run(gradtx.scale_by_lion(mu_dtype="bfloat16"), params, grads)[2]
    assert {k: str(x.dtype) for k, x in state.mu.items()} == {
        "kernel": "bfloat16", "bias": "bfloat16", "zeta": "complex64"
    }  # fmt: skip
    assert len(jax.tree.leaves(state)) == 3


@pytest.mark.parametrize("jit", [False, True])
def test_lions_direction_is_that_of_the_stored_moment(jit):
    """m becomes 0.33323, in bfloat16 0.33398; of 0.25 (m + g), with g = -0.33353, one is negative, the other not."""
    tx = gradtx.scale_by_lion(b1=0.25, b2=0.5, mu_dtype="bfloat16")
    state = gradtx.ScaleByLionState(jnp.ones(2, jnp.bfloat16))
    u, state = (jax.jit(tx.update) if jit else tx.update)(jnp.array([-0.33353, 0.0]), state)
    np.testing.assert_array_equal(state.mu.astype(jnp.float32), [0.333984375, 0.5])
    np.testing.assert_array_equal(u, [1.0, 1.0])


def test_lion_of_zeros_and_nans():
    tx = gradtx.scale_by_lion()
    u, state = tx.update(jnp.array([0.0, -0.0, jnp.nan, 1e-35]), tx.init(jnp.zeros(4)))
    np.testing.assert_array_equal(u, [0.0, 0.0, np.nan, 1.0])
    assert float(state.mu[0]) == 0.0
