"""LaProp against its reference, and what the order of division and average is for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule, divide, power_complement, square
from tests.trajectories import DOUBLE, SHAPES, SINGLE, Problem, assert_close, check_all, check_numbers, decays, run, x64


@dataclasses.dataclass
class Laprop(Rule):
    """Ziyin, Wang, Ueda: v as Adam's; m of g / (sqrt(vhat) + eps); the step is m / (1 - b1^t)."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-15

    def step(self, g, p):
        self.v = self.b2 * self.v + (1 - self.b2) * square(g)
        n = divide(g, np.sqrt(self.v / power_complement(self.b2, self.t)) + self.eps)
        self.m = self.b1 * self.m + (1 - self.b1) * n
        self.total = self.b1 * self.total + (1 - self.b1) * np.abs(n)
        correction = power_complement(self.b1, self.t)
        self.size = self.total / correction
        return self.m / correction


def test_equals_the_reference():
    arguments = {"b1": decays, "b2": decays, "eps": st.sampled_from([0.0, 1e-15, 1e-3])}
    check_all(gradtx.scale_by_laprop, Laprop, arguments)


@pytest.mark.parametrize("arguments", [{}, {"eps": 0.0}, {"b2": 0.0}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_laprop, Laprop, arguments)


@pytest.mark.parametrize("b2", [0.9, 0.999, 0.99999])
def test_the_first_step_is_a_sign(b2):
    tx, g = gradtx.scale_by_laprop(b2=b2), jnp.array([1e-6, -0.37, 5e3])
    np.testing.assert_allclose(tx.update(g, tx.init(g))[0], [1, -1, 1], rtol=5e-7)


def test_without_either_average_it_is_adam_without_it():
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        ours = run(gradtx.laprop(0.1, b1=0.0, eps=1e-8), params, grads)[:2]
        theirs = run(gradtx.adam(0.1, b1=0.0), params, grads)[:2]
        assert_close(ours, theirs, rtol=1e-12)
        signs = run(gradtx.scale_by_laprop(b2=0.0), params, grads)[0]
        averages = run(gradtx.chain(gradtx.scale_by_sign(), gradtx.ema(0.9)), params, grads)[0]
        assert_close(signs, averages, rtol=1e-12, atol=1e-12)


def test_updates_are_bounded_where_those_of_adam_are_not():
    """With a long memory of gradients and a short one of scales: after a large gradient, Adam's quotient explodes."""
    grads = np.full((60, 1), 1e-3, np.float32)
    grads[20] = 1e3
    sizes = [
        np.max(np.abs(run(tx, np.zeros(1, np.float32), grads)[0]))
        for tx in (gradtx.scale_by_adam(0.9, 0.3), gradtx.scale_by_laprop(0.9, 0.3))
    ]
    assert sizes[0] > 1000
    assert sizes[1] < 1 / np.sqrt(1 - 0.3)


def test_the_second_moment_of_complex_gradients_is_real():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_laprop(mu_dtype="bfloat16"), params, grads)[2]
    assert {k: (state.mu[k].dtype.name, state.nu[k].dtype.name) for k in params} == {
        "kernel": ("bfloat16", "float32"), "bias": ("bfloat16", "float32"), "zeta": ("complex64", "float32")
    }  # fmt: skip
    assert len(jax.tree.leaves(state)) == 7
