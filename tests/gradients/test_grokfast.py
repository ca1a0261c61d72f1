"""Grokfast: slow gradients, by a moving average or a window."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule
from tests.trajectories import SHAPES, SINGLE, Problem, check_all, check_numbers, decays, run, run_eagerly, x64

GRADIENTS = np.array([0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25])


@dataclasses.dataclass
class Grokfast(Rule):
    """Lee et al.: g + lamb h with h <- alpha h + (1-alpha) g, from h = g."""

    alpha: float = 0.98
    lamb: float = 2.0

    def step(self, g, p):
        alpha = 0.0 if self.t == 1 else self.alpha
        self.m = alpha * self.m + (1 - alpha) * g
        self.total = alpha * self.total + (1 - alpha) * np.abs(g)
        self.size = np.abs(g) + self.lamb * self.total
        return g + self.lamb * self.m


@dataclasses.dataclass
class GrokfastMa(Rule):
    """Lee et al.: g + lamb times the mean of a deque of gradients, which must be full, or need not be."""

    window_size: int = 100
    lamb: float = 5.0
    warmup: bool = True
    last: Any = ()

    def step(self, g, p):
        self.last = (*self.last, g)[-self.window_size :]
        if self.warmup and len(self.last) < self.window_size:
            return g
        self.size = np.abs(g) + self.lamb * np.mean(np.abs(self.last), axis=0)
        return g + self.lamb * np.mean(self.last, axis=0)


def test_the_average_equals_the_reference():
    check_all(gradtx.grokfast, Grokfast, {"alpha": decays, "lamb": st.floats(0, 10)})
    check_numbers(gradtx.grokfast, Grokfast, {})


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("window_size", [1, 5, 30])
def test_the_window_equals_the_reference(window_size, warmup):
    arguments = {"window_size": window_size, "lamb": 5.0, "warmup": warmup}
    check_numbers(gradtx.grokfast_ma, GrokfastMa, arguments)


@pytest.mark.parametrize(
    ("alpha", "lamb", "expected"),
    [(0.98, 2.0, (1.5, 0.668, 1.15664, 1.154292645)), (0.99, 5.0, (3.0, 2.16, 2.6454, 2.626490978))],
)
def test_equals_recorded_numbers(alpha, lamb, expected):
    with x64():
        filtered = run_eagerly(gradtx.grokfast(alpha, lamb), jnp.asarray(1.0), GRADIENTS)[0]
    np.testing.assert_allclose(filtered[[0, 1, 2, 6]], expected, rtol=1e-9)


def test_the_window_keeps_wide_copies_of_any_shape():
    params = {"scalar": jnp.ones(()), "half": jnp.ones(3, jnp.bfloat16), "z": jnp.ones((1, 2), jnp.complex64)}
    window = gradtx.grokfast_ma(4).init(params | {"absent": None}).window
    shapes = {"scalar": ((4,), "float32"), "half": ((4, 3), "float32"), "z": ((4, 1, 2), "complex64")}
    assert {k: (x.shape, x.dtype.name) for k, x in window.items() if x is not None} == shapes
    assert window["absent"] is None


def test_a_long_run_with_little_in_common_is_amplified():
    """Of noise and a small constant, the constant is made larger by more than the noise."""
    noise = np.random.default_rng(0).normal(size=(400, 64)).astype(np.float32)
    for tx in (gradtx.grokfast(0.98, 5.0), gradtx.grokfast_ma(100, 5.0)):
        u = run(tx, np.zeros(64, np.float32), noise + 0.1)[0][200:]
        gain = u.mean() / (noise[200:] + 0.1).mean()
        assert gain > 4
        assert (u - u.mean()).std() < 2 * noise.std()


def test_derivatives_at_zero_gradients_are_finite():
    for tx in (gradtx.grokfast(), gradtx.grokfast_ma(2)):

        def second(g, tx=tx):
            return tx.update(g, tx.update(g, tx.init(g))[1])[0]

        np.testing.assert_array_equal(second(jnp.zeros(2)), [0.0, 0.0])
        assert np.all(np.isfinite(jax.jacobian(second)(jnp.zeros(2))))


def test_a_window_has_a_place():
    with pytest.raises(gradtx.errors.ArgumentValueError, match="grokfast_ma: expected window_size of at least 1"):
        gradtx.grokfast_ma(0)


def test_it_goes_before_an_optimizer_in_one_function_of_a_leaf():
    tx = gradtx.chain(gradtx.grokfast(), gradtx.adamw(1e-3))
    assert tx.leafwise is not None
    params, grads = Problem(SHAPES[0], 1).draw(SINGLE)
    assert np.all(np.isfinite(run(tx, params, grads)[0]["kernel"]))
