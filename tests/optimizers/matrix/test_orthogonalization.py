"""Orthogonalization: singular values within their band, whatever the matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx.errors import ArgumentValueError
from tests.optimizers.matrix.references import newton_schulz, polar
from tests.trajectories import x64

BANDS = {"newton_schulz": (0.682, 1.134), "dion": (0.9777, 1.0321), "polar_express": (0.870, 1.124)}
"""Where five steps take singular values from [0.01, 1] of the norm."""


def matrix_with(values, shape, seed=0):
    """A random matrix with given singular values."""
    u, v = (np.linalg.qr(np.random.default_rng(seed + i).normal(size=(n, n)))[0] for i, n in enumerate(shape))
    return u[:, : len(values)] * values @ v[: len(values)]


@pytest.mark.parametrize("method", BANDS)
@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (6, 6)])
def test_singular_values_end_in_the_band(method, shape):
    with x64():
        values = np.geomspace(0.011, 1, 6)
        x = jnp.asarray(matrix_with(values / np.linalg.norm(values), shape))
        found = np.linalg.svd(gradtx.orthogonalize(x, method), compute_uv=False)
        low, high = BANDS[method]
        assert low - 0.02 < found.min() <= found.max() < high + 0.001  # 0.011 of the norm is less than 0.01
        assert np.abs(found - 1).max() > 1e-4


@pytest.mark.parametrize("condition", [1e1, 1e2, 1e3, 1e4])
def test_polar_express_converges_for_every_condition(condition):
    with x64():
        x = jnp.asarray(matrix_with(np.geomspace(1, 1 / condition, 5), (5, 8)))
        u = gradtx.orthogonalize(x, "polar_express", steps=14)
        np.testing.assert_allclose(u, polar(np.asarray(x)), atol=1e-10)
        np.testing.assert_allclose(gradtx.orthogonalize(x, "exact"), polar(np.asarray(x)), atol=1e-10)


@pytest.mark.parametrize(("value", "image"), [(0.001, 0.470544), (0.01, 0.698917), (0.1, 0.71212), (1, 0.696436)])
def test_the_polynomial_of_the_golden_table(value, image):
    with x64():
        x = jnp.diag(jnp.array([value, np.sqrt(1 - value**2)]))
        np.testing.assert_allclose(gradtx.orthogonalize(x, eps=0.0)[0, 0], image, rtol=1e-5)


def test_it_is_the_authors_iteration_and_a_batch_is_its_members():
    with x64():
        random = np.random.default_rng(0)
        xs = random.normal(size=(3, 4, 6)) + 1j * random.normal(size=(3, 4, 6))
        for batch in (xs.real, xs):
            made = gradtx.orthogonalize(jnp.asarray(batch))
            np.testing.assert_allclose(made, [newton_schulz(x) for x in batch], atol=1e-12)
            turned = gradtx.orthogonalize(jnp.asarray(batch).mT)
            np.testing.assert_allclose(turned.mT, made, atol=1e-12)


@pytest.mark.parametrize("preconditioning", ["frobenius", "spectral", "aol", "schatten"])
def test_preconditionings_are_optaxs(preconditioning):
    from optax.contrib._muon import orthogonalize_via_newton_schulz

    with x64():
        x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 7)))
        theirs = orthogonalize_via_newton_schulz(x, jnp.array([3.4445, -4.7750, 2.0315]), 5, preconditioning, 1e-8)
        ours = gradtx.orthogonalize(x, preconditioning=preconditioning, eps=1e-8)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert optax.__version__


def test_own_coefficients_and_their_last_row_repeated():
    with x64():
        x = jnp.asarray(np.random.default_rng(2).normal(size=(3, 5)))
        rows = ((2.0, -1.5, 0.5), (1.875, -1.25, 0.375))
        expected = newton_schulz(np.asarray(x), [rows[0], *[rows[1]] * 3])
        np.testing.assert_allclose(gradtx.orthogonalize(x, rows, 4), expected, atol=1e-12)
        np.testing.assert_allclose(gradtx.orthogonalize(x, [*rows, rows[1]], 4), expected, atol=1e-12)


@pytest.mark.parametrize("method", [*BANDS, "exact"])
@pytest.mark.parametrize("preconditioning", ["frobenius", "aol"])
def test_odd_matrices_stay_finite_and_zero_stays_zero(method, preconditioning):
    random = np.random.default_rng(3)
    full = random.normal(size=(4, 6)).astype(np.float32)
    odd = {
        "rank one": np.outer(full[:, 0], full[0]), "huge": 1e30 * full, "tiny": 1e-30 * full, "denormal": 1e-42 * full,
        "one row": full[:1], "one column": full[:, :1], "one element": full[:1, :1],
    }  # fmt: skip
    for name, x in odd.items():
        u = gradtx.orthogonalize(jnp.asarray(x), method, preconditioning=preconditioning)
        assert np.isfinite(u).all(), name
        assert np.linalg.norm(u, 2) < 1.3, name
    for shape in [(3, 4), (0, 3), (3, 0)]:
        assert not gradtx.orthogonalize(jnp.zeros(shape), method, preconditioning=preconditioning, eps=0.0).any()
    low = gradtx.orthogonalize(jnp.asarray(full, jnp.bfloat16), method)
    np.testing.assert_allclose(low, gradtx.orthogonalize(jnp.asarray(full), method), atol=0.05)


def test_huge_matrices_have_the_direction_of_small_ones():
    x = np.random.default_rng(4).normal(size=(4, 6)).astype(np.float32)
    np.testing.assert_allclose(gradtx.orthogonalize(1e30 * x), gradtx.orthogonalize(x), atol=1e-5)


def test_the_derivative_at_zero_is_finite():
    slope = jax.jacobian(lambda x: gradtx.orthogonalize(x, eps=1e-3))(jnp.zeros((2, 3)))
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 1


def test_the_iteration_is_in_the_dtype_that_was_asked_for():
    x = jnp.ones((2, 3))
    program = str(jax.make_jaxpr(lambda x: gradtx.orthogonalize(x, dtype="bfloat16"))(x))
    assert program.count("bf16[2,2] = dot_general") == 10
    assert gradtx.orthogonalize(x, dtype="bfloat16").dtype == jnp.float32
    compiled = jax.jit(gradtx.orthogonalize).lower(x).compile().as_text()
    assert "bf16" not in compiled  # on the CPU


def test_what_is_no_matrix_and_no_method_is_refused():
    with pytest.raises(ArgumentValueError, match=r"a matrix or a batch of them, got the shape \[3\]"):
        gradtx.orthogonalize(jnp.ones(3))
    with pytest.raises(ArgumentValueError, match=r"method to be one of \['newton_schulz', 'dion'.*got 'svd'"):
        gradtx.orthogonalize(jnp.ones((2, 2)), "svd")
    with pytest.raises(ArgumentValueError, match="steps of at least 1, got 0"):
        gradtx.orthogonalize(jnp.ones((2, 2)), steps=0)


def test_adaptive_updates_have_the_sum_of_the_singular_values():
    with x64():
        g = jnp.asarray(np.random.default_rng(5).normal(size=(3, 4)))
        tx = gradtx.orthogonalize_updates("exact", adaptive=True)
        expected = np.linalg.svd(g, compute_uv=False).sum() * polar(np.asarray(g))
        np.testing.assert_allclose(tx.update(g, tx.init(g))[0], expected, atol=1e-12)
