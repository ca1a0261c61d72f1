"""Polyak's step size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtx
from gradtx import polyak_sgd, scale_by_polyak
from gradtx.errors import MissingExtraError

numbers = st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3).map(np.float32)
G = jnp.array([3.0, 4.0])


def reference(g, value, f_min, largest, eps, positive):
    """Loizou et al. 2021, equation 3; Garrigos et al. 2023 for the positive part."""
    g, gap = np.asarray(g, np.float64), float(value) - f_min
    gap = max(gap, 0.0) if positive else gap
    square = np.sum(g**2)
    return np.zeros_like(g) if square == 0 else min(gap / (square + eps), largest) * g


@settings(max_examples=60, deadline=None)
@given(
    g=numbers,
    value=st.floats(-10, 10, width=32),
    f_min=st.floats(-1, 1),
    largest=st.floats(0.01, 2),
    eps=st.sampled_from([0.0, 1e-3]),
    variant=st.sampled_from(["sps", "sps+"]),
)
def test_one_step_is_the_papers(g, value, f_min, largest, eps, variant):
    if 0 < np.sum(np.float64(g) ** 2) < 1e-20:
        return  # its square is not a normal float32
    tx = scale_by_polyak(f_min, largest, eps, variant)
    updates, state = tx.update(g, tx.init(g), value=value)
    expected = reference(g, value, f_min, largest, eps, variant == "sps+")
    np.testing.assert_allclose(updates, expected, rtol=1e-5, atol=1e-6 * (1 + np.max(np.abs(expected))))
    np.testing.assert_allclose(updates, state.learning_rate * g, rtol=1e-6)


@pytest.mark.parametrize("variant", ["sps", "sps+"])
def test_trajectories_are_optaxs(variant, x64):
    del x64
    A = jnp.array([[3.0, 1.0], [1.0, 2.0], [0.5, -1.0]])

    def run(library):
        tx = library.polyak_sgd(0.7, scaling=1.5, f_min=0.1, eps=1e-3, variant=variant)
        p = jnp.array([2.0, -3.0])
        state, path = tx.init(p), []
        for _ in range(40):
            value, grad = jax.value_and_grad(lambda p: 0.1 + jnp.sum(jnp.abs(A @ p) ** 1.5))(p)
            updates, state = tx.update(grad, state, p, value=value)
            p = p + updates
            path.append(p)
        return np.array(path)

    np.testing.assert_allclose(run(gradtx), run(optax), rtol=1e-10, atol=1e-12)


def test_what_is_not_finite_gives_a_step_of_zero():
    tx = scale_by_polyak()
    for g, value in [(0 * G, 1.0), (G, jnp.nan), (G.at[0].set(jnp.inf), 1.0), (G.at[0].set(jnp.nan), 1.0)]:
        updates, state = tx.update(g, tx.init(G), value=value)
        assert float(updates[1]) == 0
        assert float(state.learning_rate) == 0
    assert float(tx.update(G, tx.init(G), value=jnp.inf)[1].learning_rate) == 1


def test_the_value_comes_from_a_function_if_need_be():
    tx = polyak_sgd()
    direct, _ = tx.update(G, tx.init(G), G, value=2.0)
    derived, _ = tx.update(G, tx.init(G), G, value_fn=lambda p: jnp.float32(2.0))
    np.testing.assert_array_equal(direct, derived)


def test_no_value_is_an_error():
    message = (
        r"gradtx.scale_by_polyak: expected update\(..., value=...\), got no value; the step size is made of the loss"
    )
    with pytest.raises(MissingExtraError, match=message):
        polyak_sgd().update(G, polyak_sgd().init(G))


def test_the_derivative_at_a_zero_gradient_is_finite():
    tx = scale_by_polyak()
    jacobian = jax.jacobian(lambda g: tx.update(g, tx.init(g), value=1.0)[0])
    assert bool(jnp.isfinite(jacobian(jnp.zeros(3))).all())


def test_it_converges_linearly_where_the_minimum_is_known():
    tx, p = polyak_sgd(max_learning_rate=10.0, f_min=5.0), jnp.array([4.0, -3.0])
    state = tx.init(p)
    for _ in range(60):
        value, grad = jax.value_and_grad(lambda p: 5 + jnp.sum(jnp.array([1.0, 4.0]) * p**2))(p)
        updates, state = tx.update(grad, state, p, value=value)
        p = gradtx.apply_updates(p, updates)
    np.testing.assert_allclose(p, 0, atol=1e-3)
