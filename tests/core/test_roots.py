"""Roots that are safe to differentiate, and divisions by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gradtx.core import divide_by_root, one_for_zero, safe_sqrt, with_eps


def test_safe_sqrt():
    x = jnp.array([0.0, 4.0, 9.0])
    assert safe_sqrt(x).tolist() == [0.0, 2.0, 3.0]
    assert jax.vmap(jax.grad(safe_sqrt))(x).tolist() == [0.0, 0.25, np.float32(1 / 6)]
    assert jax.jit(jax.vmap(jax.grad(jax.grad(safe_sqrt))))(x)[0].item() == 0.0
    check_grads(safe_sqrt, (jnp.array(2.0),), order=2, modes=["fwd", "rev"], rtol=1e-2)
    assert jnp.isnan(safe_sqrt(jnp.array(jnp.nan)))


def test_one_for_zero():
    assert one_for_zero(jnp.array([0.0, -0.0, 2.0, -3.0])).tolist() == [1.0, 1.0, 2.0, -3.0]


def test_with_eps_is_zero_nowhere():
    x = jnp.array([0.0, 2.0])
    assert with_eps(x, 0.5).tolist() == [0.5, 2.5]
    for zero in (0.0, 0, jnp.array(0.0), 1e-60):
        assert with_eps(x, zero).tolist() == [1.0, 2.0]
        assert jax.jit(with_eps)(x, zero).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(("eps", "eps_root"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (0.5, 0.25), (1e-60, 1e-60)])
def test_denominators_are_zero_nowhere_and_have_finite_slopes(eps, eps_root, traced):
    v = jnp.array([0.0, 1e-30, 4.0])
    if traced:
        eps, eps_root = jnp.float32(eps), jnp.float32(eps_root)
    expected = np.sqrt(np.array([0.0, 1e-30, 4.0]) + float(eps_root)) + float(eps)
    expected[0] = expected[0] if expected[0] > 1e-20 else 1.0
    rescale = divide_by_root(eps, eps_root)
    for function in (rescale, jax.jit(lambda m, v: rescale(m, v))):
        np.testing.assert_allclose(function(jnp.ones(3), v), 1 / expected, rtol=1e-6)

    def denominator(v):
        return 1 / rescale(jnp.float32(1), v)

    assert jnp.isfinite(jax.vmap(jax.grad(denominator))(v)).all()


def test_the_slope_of_a_step_is_finite_where_gradients_are_zero():
    def step(g):
        return divide_by_root(1e-8)(0.1 * g, 0.001 * g * g)

    for function in (step, jax.jit(step)):
        assert jax.grad(function)(0.0) == np.float32(0.1 / 1e-8)
        assert jnp.isfinite(jax.grad(jax.grad(function))(0.0))


@pytest.mark.parametrize("nu_weight", [None, 0.001])
@pytest.mark.parametrize("mu_weight", [None, 0.1])
@pytest.mark.parametrize(("eps", "eps_root"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.25), (0.5, 0.25)])
def test_the_division_is_by_the_weights(eps, eps_root, mu_weight, nu_weight):
    m, v = np.array([0.0, -2.0, 3.0]), np.array([1e-6, 1.0, 9.0])
    mean, mean_sq = m / (mu_weight or 1), v / (nu_weight or 1)
    expected = mean / (np.sqrt(mean_sq + eps_root) + eps)
    weights = [None if w is None else jnp.float32(w) for w in (mu_weight, nu_weight)]

    def rescaled(mu_weight, nu_weight, m, v):
        return divide_by_root(eps, eps_root, mu_weight=mu_weight, nu_weight=nu_weight)(m, v)

    for function in (rescaled, jax.jit(rescaled)):
        np.testing.assert_allclose(function(*weights, jnp.float32(m), jnp.float32(v)), expected, rtol=1e-6)


@pytest.mark.parametrize("known", [1e-8, 1e-3])
def test_a_known_eps_needs_no_guard(known):
    def operations(*eps):
        return len(jax.make_jaxpr(lambda v: divide_by_root(*eps)(v, v))(jnp.ones(2)).eqns)

    assert operations(known) == 4  # add the least number, take the root, add eps, divide
    assert operations(0.0, known) == 3
    assert operations(0.0) == 5
