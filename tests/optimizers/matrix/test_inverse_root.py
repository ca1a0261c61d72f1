"""Inverse roots by both methods, for all condition numbers, and their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentValueError
from tests.trajectories import x64

METHODS = ("eigh", "newton")


def symmetric(values, seed=0, imaginary=False):
    """A matrix with given eigenvalues."""
    random = np.random.default_rng(seed)
    n = len(values)
    q = np.linalg.qr(random.normal(size=(n, n)) + (1j * random.normal(size=(n, n)) if imaginary else 0))[0]
    return (q * values) @ q.conj().T


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("p", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("condition", [1e0, 1e2, 1e4])
@pytest.mark.parametrize("imaginary", [False, True])
def test_the_root_of_a_matrix(method, p, condition, imaginary):
    with x64():
        values = 7 * np.geomspace(1, 1 / condition, 5)
        a = symmetric(values, imaginary=imaginary)
        root, error = gradtx.inverse_root(jnp.asarray(a), p, method, eps=0.0)
        assert root.dtype == a.dtype
        np.testing.assert_allclose(root, symmetric(values ** (-1 / p), imaginary=imaginary), rtol=1e-7, atol=1e-9)
        assert error < 1e-8


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("relative", [True, False])
def test_what_is_added_to_the_eigenvalues(method, relative):
    with x64():
        values = np.array([3.0, 1.0, 0.1])
        added = values + 0.01 * (3.0 if relative else 1.0)
        root = gradtx.inverse_root(jnp.asarray(symmetric(values)), 4, method, eps=0.01, relative=relative).root
        np.testing.assert_allclose(root, symmetric(added**-0.25), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_and_batches(method):
    stack = np.stack([symmetric(np.geomspace(1, 1e-3, 6), seed) * 10.0**seed for seed in range(3)])
    together = gradtx.inverse_root(jnp.asarray(stack, jnp.float32), 4, method)
    assert together.root.dtype == jnp.float32
    for i, a in enumerate(stack):
        alone = gradtx.inverse_root(jnp.asarray(a, jnp.float32), 4, method)
        np.testing.assert_allclose(together.root[i], alone.root, rtol=1e-4, atol=1e-5)
        power = np.linalg.matrix_power(np.asarray(alone.root, float), 4) @ a
        np.testing.assert_allclose(power, np.eye(6), atol=3e-3)
    assert together.error.shape == (3,)
    assert np.all(together.error < 1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_odd_matrices(method):
    root = lambda a: gradtx.inverse_root(jnp.asarray(a, jnp.float32), 4, method)  # noqa: E731
    half = np.ones((3, 3))
    for a in (half, 1e-30 * half, 1e30 * half, np.zeros((3, 3)), np.ones((1, 1)), np.zeros((0, 0))):
        made = root(a)
        assert np.isfinite(made.root).all()
        assert np.isfinite(made.error).all()
    np.testing.assert_allclose(root(16 * np.ones((1, 1))).root, 0.5, rtol=1e-5)
    scaled = root(1e28 * half).root * 1e7
    np.testing.assert_allclose(scaled, root(half).root, rtol=2e-2)
    assert root(np.full((3, 3), np.nan)).error == np.inf
    assert root(np.full((3, 3), np.inf)).error == np.inf
    assert gradtx.inverse_root(jnp.ones((2, 2), jnp.bfloat16), 2, method).root.dtype == jnp.float32


def test_an_iteration_that_fails_says_so():
    """An indefinite matrix has no root."""
    made = gradtx.inverse_root(jnp.diag(jnp.array([1.0, -0.5])), 4, "newton")
    assert made.error > 0.1


def test_it_is_a_constant_to_derivatives():
    for method in METHODS:
        slope = jax.grad(lambda x, method=method: gradtx.inverse_root(x, 2, method).root.sum())(jnp.ones((2, 2)))
        assert not slope.any()


def test_what_is_refused():
    with pytest.raises(ArgumentValueError, match=r"a square matrix or a batch of them, got the shape \[2, 3\]"):
        gradtx.inverse_root(jnp.ones((2, 3)), 2)
    with pytest.raises(ArgumentValueError, match="p to be a positive whole number, got 0"):
        gradtx.inverse_root(jnp.ones((2, 2)), 0)
    with pytest.raises(ArgumentValueError, match="method to be 'eigh' or 'newton', got 'svd'"):
        gradtx.inverse_root(jnp.ones((2, 2)), 2, "svd")
