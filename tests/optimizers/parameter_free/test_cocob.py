"""COCOB against its reference and Optax's."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from optax import contrib

import gradtx
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import assert_optaxs, descend
from tests.references import Rule, divide
from tests.trajectories import SINGLE, Problem, check_all, check_numbers, run


@dataclasses.dataclass
class Cocob(Rule):
    """Orabona and Tommasi, algorithm 2; a complex number is a vector of two."""

    alpha: float = 100.0
    eps: float = 1e-8
    start: Any = None
    scale: Any = None
    reward: Any = 0.0
    m: Any = 0.0

    def step(self, g, p):
        if self.start is None:
            self.start, self.scale = p, self.eps
        self.scale = np.maximum(self.scale, np.abs(g))
        self.total = self.total + np.abs(g)
        self.m = self.m - g
        self.reward = np.maximum(self.reward - np.real(np.conj(g) * (p - self.start)), 0)
        wealth = divide(self.scale + self.reward, np.maximum(self.total + self.scale, self.alpha * self.scale))
        place = divide(self.m, self.scale) * wealth
        self.size = np.abs(self.start) + np.abs(p) + np.abs(place)
        self.condition = 4.0
        return self.start + place - p


def test_equals_the_reference():
    arguments = {"alpha": st.sampled_from([1.0, 10.0, 100.0]), "eps": st.sampled_from([0.0, 1e-8, 1.0])}
    check_all(gradtx.scale_by_cocob, Cocob, arguments, reads_params=True)


def test_python_numbers_lose_nothing():
    check_numbers(gradtx.scale_by_cocob, Cocob, {}, reads_params=True)


def test_equals_optax():
    assert_optaxs(gradtx.cocob(), contrib.cocob())
    mask = {"kernel": True, "scalar": False, "zeta": True}
    assert_optaxs(*(lib.cocob(0.5, 10.0, 1e-6, 0.1, mask) for lib in (gradtx, contrib)))
    assert_optaxs(gradtx.scale_by_cocob(10.0), contrib.scale_by_cocob(10.0))


def test_the_golden_steps_of_one_number():
    np.testing.assert_allclose(path(gradtx.cocob()), (0.99, 0.996, 0.9919872, 0.9840579), atol=6e-8)


def test_the_size_of_gradients_does_not_matter():
    """The product of two of 1e25 is no float32."""
    params, grads = Problem({"w": (4, 3), "b": (3,)}, 5).draw(SINGLE)
    expected = run(gradtx.cocob(eps=0.0), params, grads)[0]
    for size in (1e-25, 1e25):
        got = run(gradtx.cocob(eps=0.0), params, {k: np.float32(size) * g for k, g in grads.items()})[0]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-3), got, expected)


def test_a_complex_number_is_a_vector():
    """Turned by an angle, everything is."""
    generator = np.random.default_rng(0)
    grads = (generator.normal(size=(20, 3)) + 1j * generator.normal(size=(20, 3))).astype(np.complex64)
    params, turn = np.ones(3, np.complex64), np.complex64(np.exp(1j))
    tx = gradtx.cocob(alpha=1.0)
    np.testing.assert_allclose(run(tx, params * turn, grads * turn)[0], run(tx, params, grads)[0] * turn, atol=1e-5)


def test_zero_gradients_move_nothing_before_and_after():
    tx = gradtx.cocob(alpha=1.0)
    jax.tree.map(np.testing.assert_array_equal, descend(tx, 20, zeros=5), descend(tx, 15))
    p, state = descend(tx, 15)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, p), state, p)
    first = jax.tree.map(lambda u, p: np.testing.assert_allclose(p + u, p, atol=0.5), updates, p)
    del first
    moved = gradtx.apply_updates(p, updates)
    again, _ = tx.update(jax.tree.map(jnp.zeros_like, p), state, moved)
    assert max(float(jnp.max(jnp.abs(u))) for u in jax.tree.leaves(again)) < 1e-6


def test_it_finds_the_way_by_itself():
    p, _ = descend(gradtx.cocob(), 1000)
    for leaf in jax.tree.leaves(p):
        np.testing.assert_allclose(leaf, 3.0, atol=0.2)
