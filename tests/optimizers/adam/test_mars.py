"""MARS against its reference, and what its parts are for."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule, divide, power_complement, square
from tests.trajectories import DOUBLE, SHAPES, Problem, check_all, check_numbers, decays, run, x64


@dataclasses.dataclass
class MarsCorrection(Rule):
    """Yuan et al.: g + gamma b1/(1-b1) (g - g'), of norm max_norm at most."""

    b1: float = 0.95
    gamma: float = 0.025
    max_norm: Any = 1.0
    last: Any = 0.0

    def step(self, g, p):
        factor = self.gamma * self.b1 / (1 - self.b1)
        c = g + factor * (g - self.last)
        total = np.abs(g) + factor * (np.abs(g) + np.abs(self.last))
        norm, self.last = np.sqrt(np.sum(square(c))), g
        shrunk = 1.0 if self.max_norm is None else min(1.0, self.max_norm / max(norm, 1e-300))
        # An error of the norm is one of every element.
        self.condition = 1 + divide(np.sqrt(np.sum(total**2)), norm)
        self.size = shrunk * total
        return shrunk * c


def test_equals_the_reference():
    arguments = {
        "b1": decays,
        "gamma": st.just(0.0) | st.floats(1e-3, 0.1),
        "max_norm": st.sampled_from([None, 1.0, 30.0]),
    }
    check_all(gradtx.mars_correction, MarsCorrection, arguments)


@pytest.mark.parametrize("arguments", [{}, {"max_norm": None, "gamma": 1.0}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.mars_correction, MarsCorrection, arguments)


def authors(g, last, m, v, t, name):
    """One step of the authors' code at rate 0.1, a leaf."""
    c = g + 0.025 * (0.95 / 0.05) * (g - last)
    norm = np.sqrt(np.sum(square(c)))
    c = c / norm if norm > 1 else c
    m = 0.95 * m + 0.05 * c
    v = 0.99 * v + 0.01 * square(c)
    if name == "mars_lion":
        return -0.1 * divide(m, np.abs(m)), m, v
    return -0.1 * (m / power_complement(0.95, t)) / (np.sqrt(v / power_complement(0.99, t)) + 1e-8), m, v


@pytest.mark.parametrize("name", ["mars", "mars_lion"])
def test_equals_the_authors(name):
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        updates = run(getattr(gradtx, name)(0.1), params, grads)[0]
    for leaf, gs in grads.items():
        last, m, v = 0.0, 0.0, 0.0
        for t, g in enumerate(gs, 1):
            u, m, v = authors(g, last, m, v, t, name)
            np.testing.assert_allclose(updates[leaf][t - 1], u, rtol=1e-10, atol=1e-12)
            last = g


def test_without_a_correction_it_is_adamw():
    params, grads = Problem(SHAPES[0], 2).draw(DOUBLE)
    with x64():
        ours = run(gradtx.mars(0.1, gamma=0.0, max_norm=None, weight_decay=0.1), params, grads)[0]
        adamw = run(gradtx.adamw(0.1, 0.95, 0.99, weight_decay=0.1), params, grads)[0]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), ours, adamw)


def test_the_norm_of_a_leaf_is_bounded():
    g = {"a": jnp.array([3.0, 4.0]), "b": jnp.array(0.5), "huge": jnp.array([3e25, 4e25])}
    tx = gradtx.mars_correction(gamma=0.0)
    u, _ = tx.update(g, tx.init(g))
    np.testing.assert_allclose(u["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(u["huge"], [0.6, 0.8], rtol=1e-6)
    assert float(u["b"]) == 0.5


def test_the_full_correction_follows_a_gradient_that_moves():
    """Behind the correction with gamma 1, the average of a gradient that goes in a line does not lag behind it."""
    grads = np.linspace(0, 1, 200, dtype=np.float32)[:, None]
    params = np.zeros(1, np.float32)
    corrected = gradtx.chain(gradtx.mars_correction(0.9, 1.0, None), gradtx.ema(0.9, debias=False))
    with_it, without = (run(tx, params, grads)[0][-1, 0] for tx in (corrected, gradtx.ema(0.9, debias=False)))
    assert abs(with_it - 1) < 1e-4 < 0.04 < abs(without - 1)


def test_zero_gradients_are_no_update_and_their_derivatives_are_finite():
    tx, p = gradtx.mars(0.1, eps=0.0), jnp.zeros(2)

    def second(g):
        return tx.update(g, tx.update(g, tx.init(p), p)[1], p)[0]

    np.testing.assert_array_equal(second(jnp.zeros(2)), [0.0, 0.0])
    assert np.all(np.isfinite(jax.jacobian(second)(jnp.zeros(2))))
