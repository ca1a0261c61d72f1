"""Fromage against its equations, Optax, and recorded numbers."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.optimizers.layerwise.scalars import path
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    check_all,
    compare,
    run,
    run_compiled,
    run_eagerly,
    x64,
)


class Fromage(references.Rule):
    """Bernstein et al., algorithm 1."""

    def __init__(self, learning_rate, min_norm=0.0):
        self.ratio, self.growth = references.TrustRatio(min_norm), references.Growth(learning_rate)

    def step(self, g, p):
        u = self.growth(-self.growth.learning_rate * self.ratio(g, p), p)
        self.size = self.growth.size
        return u


def test_shrinking_equals_the_reference():
    arguments = {"learning_rate": st.floats(1e-4, 2.0)}
    check_all(gradtx.compensate_growth, references.Growth, arguments, reads_params=True)


@pytest.mark.parametrize("precision", [DOUBLE, SINGLE], ids=["double", "single"])
@pytest.mark.parametrize("min_norm", [0.0, 1e-6, 1.0])
def test_equals_the_reference(min_norm, precision):
    for shapes in SHAPES:
        rule = lambda: Fromage(0.1, min_norm)  # noqa: E731
        compare(precision, gradtx.fromage(0.1, min_norm), rule, Problem(shapes, 5), run_compiled, reads_params=True)


@pytest.mark.parametrize("min_norm", [1e-6, 0.5])
def test_equals_optax(min_norm):
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        ours = run(gradtx.fromage(0.1, min_norm), params, grads)
        theirs = run_eagerly(optax.fromage(0.1, min_norm), params, grads)
    assert_close(ours[:2], theirs[:2], rtol=1e-11, atol=1e-11)


def test_equals_recorded_numbers():
    np.testing.assert_allclose(path(gradtx.fromage(0.1)), [0.8955335, 0.9801980, 0.8778001, 0.6900382], rtol=1e-7)


def test_a_layer_turns_and_does_not_grow():
    tx = gradtx.fromage(0.75)
    p = jnp.array([4.0, 0.0])
    updates, _ = tx.update(jnp.array([0.0, -0.1]), tx.init(p), p)
    np.testing.assert_allclose(gradtx.apply_updates(p, updates), [3.2, 2.4], rtol=1e-6)


def test_a_schedule_counts_for_both_uses_of_the_rate():
    rates, p = (0.75, 0.5), jnp.array([4.0, 0.0])
    tx = gradtx.fromage(gradtx.piecewise_constant_schedule(0.75, {1: 0.5 / 0.75}))
    state = tx.init(p)
    for rate in rates:
        updates, state = tx.update(jnp.array([0.0, -0.1]), state, p)
        expected = jnp.array([4.0, 4.0 * rate]) / (1 + rate**2) ** 0.5
        np.testing.assert_allclose(gradtx.apply_updates(p, updates), expected, rtol=1e-6)


def test_a_small_rate_shrinks_by_all_its_digits():
    """In float32, 1 / sqrt(1 + 1e-8) is 1, and Optax's parameters do not shrink."""
    p = jnp.array([1.0])
    rate = jnp.float32(1e-4)
    ours, _ = gradtx.compensate_growth(rate).update(jnp.zeros(1), gradtx.EmptyState(), p)
    np.testing.assert_allclose(ours, [-0.5e-8], rtol=1e-6)


def test_zero_params_and_zero_gradients():
    p = jnp.zeros(2)
    for tx, step in ((gradtx.fromage(0.1), 1e-7), (gradtx.fromage(0.1, min_norm=0.0), 0.1)):
        updates, _ = tx.update(jnp.array([1.0, 0.0]), tx.init(p), p)
        np.testing.assert_allclose(updates, [-step / 1.01**0.5, 0.0], rtol=1e-6)
        np.testing.assert_array_equal(tx.update(p, tx.init(p), p)[0], [0.0, 0.0])
