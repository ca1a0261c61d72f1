"""The trust ratio against its reference and Optax, and where there is no ratio."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import DOUBLE, SHAPES, Problem, assert_close, check_all, check_numbers, run, run_eagerly, x64

small = st.floats(0.01, 0.4)
"""Coefficients below 1: a scalar leaf of a step with 1 may arrive at zero, but for a rounding."""


def ratio(p, g, **arguments):
    """The factor a gradient is multiplied by."""
    p, g = jnp.asarray(p), jnp.asarray(g)
    tx = gradtx.scale_by_trust_ratio(**arguments)
    return (tx.update(g, tx.init(p), p)[0].ravel()[0] / g.ravel()[0]).item()


@pytest.mark.parametrize(
    "arguments",
    [
        {"trust_coefficient": small},
        {"trust_coefficient": small, "min_norm": st.floats(0.01, 10.0), "eps": st.floats(1e-3, 1.0)},
        {"trust_coefficient": small, "max_norm": st.floats(0.1, 10.0)},
        {"trust_coefficient": small, "weight_decay": st.floats(1e-3, 0.4)},
    ],
    ids=["coefficient", "min_norm and eps", "max_norm", "weight_decay"],
)
def test_equals_the_reference(arguments):
    check_all(gradtx.scale_by_trust_ratio, references.TrustRatio, arguments, reads_params=True)


def test_python_numbers_lose_nothing():
    arguments = {"trust_coefficient": 0.1, "weight_decay": 0.01, "max_norm": 1.0}
    check_numbers(gradtx.scale_by_trust_ratio, references.TrustRatio, arguments, reads_params=True)


@pytest.mark.parametrize("arguments", [{}, {"min_norm": 0.5, "trust_coefficient": 0.1, "eps": 0.25}], ids=str)
def test_equals_optax(arguments):
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE, steps=6)
    with x64():
        ours = run(gradtx.scale_by_trust_ratio(**arguments), params, grads)
        theirs = run_eagerly(optax.scale_by_trust_ratio(**arguments), params, grads)
    assert_close(ours[:2], theirs[:2], rtol=1e-12, atol=1e-12)


def test_an_update_gets_the_length_of_the_parameters():
    assert ratio([3.0, 4.0], [0.3, 0.4]) == pytest.approx(10)
    assert ratio([3.0, 4.0], [0.3, 0.4], trust_coefficient=0.5) == pytest.approx(5)
    assert ratio([3.0, 4.0], [0.3, 0.4], eps=0.5) == pytest.approx(5)
    assert ratio([3.0, 4.0], [0.3, 0.4], min_norm=1.0) == pytest.approx(5)
    assert ratio([0.3, 0.4], [3.0, 4.0], min_norm=1.0) == pytest.approx(0.2)
    assert ratio([3.0, 4.0], [0.3, 0.4], max_norm=1.0) == pytest.approx(2)
    assert ratio([[3.0 + 4.0j]], [[0.5j]]) == pytest.approx(10)


def test_a_decay_may_be_counted_apart():
    """g = (0, 1) and 0.1 p = (0.3, 0.4): the norm of the sum is sqrt(2.05), the sum of the norms 1.5."""
    assert ratio([3.0, 4.0], [0.3, 1.4]) == pytest.approx(5 / 2.05**0.5)
    assert ratio([3.0, 4.0], [0.3, 1.4], weight_decay=0.1) == pytest.approx(5 / 1.5)


def test_where_a_norm_is_zero_the_ratio_is_one():
    assert ratio([0.0, 0.0], [0.3, 0.4], trust_coefficient=0.1, eps=0.1, max_norm=1.0) == 1
    for arguments in ({}, {"eps": 0.1}, {"min_norm": 0.1}, {"weight_decay": 0.1}):
        tx, p = gradtx.scale_by_trust_ratio(**arguments), jnp.ones(2)
        np.testing.assert_array_equal(tx.update(jnp.zeros(2), tx.init(p), p)[0], [0.0, 0.0])


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_derivatives_are_finite_where_a_norm_is_zero(at):
    tx = gradtx.scale_by_trust_ratio()
    for x in (0.0, 1.0):
        slope = jax.jacobian(lambda g, p: tx.update(g, gradtx.EmptyState(), p)[0], argnums=(0, 1))
        assert all(np.all(np.isfinite(d)) for d in slope(jnp.full(2, x), jnp.full(2, at)))


@pytest.mark.parametrize("size", [1e-37, 1e-25, 1e25, 1e37])
def test_the_length_of_a_gradient_does_not_matter(size):
    """Optax's ratio is infinite where the square of the norm vanishes, and zero where it overflows."""
    tx, p = gradtx.scale_by_trust_ratio(), jnp.array([3e3, 4e3])
    update, _ = tx.update(jnp.array([3.0, 4.0]) * size, tx.init(p), p)
    np.testing.assert_allclose(update, [3e3, 4e3], rtol=1e-6)


def test_params_are_needed():
    with pytest.raises(gradtx.errors.MissingExtraError, match=r"scale_by_trust_ratio: expected update\(\.\.\., params"):
        gradtx.scale_by_trust_ratio().update(jnp.ones(2), gradtx.EmptyState())
