"""ACProp against its reference and Optax, and what happens to elements whose gradients have been zero."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule, divide, power_complement, square
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    run,
    run_eagerly,
    x64,
)


@dataclasses.dataclass
class Acprop(Rule):
    """Zhuang et al.: g / (sqrt(shat) + eps) with the s before; then s of |g - m| + eps_root, m before; then m.

    Without a past, where m is 0 and s no more than eps_root has piled up, the root is 1.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-16
    eps_root: float = 1e-16

    def step(self, g, p):
        past = power_complement(self.b2, self.t - 1) if self.t > 1 else 1.0
        without_past = (self.m == 0) & (self.v <= (self.t - 1) * self.eps_root)
        divisor = np.where(without_past, 1.0, np.sqrt(self.v / past)) + self.eps
        # Where g and m are nearly the same, s is a rounding of their difference.
        self.condition = 1 + divide(self.total, np.sqrt(self.v))
        self.total = np.maximum(self.total, np.abs(g))
        self.v = self.b2 * self.v + (1 - self.b2) * square(g - self.m) + self.eps_root
        self.m = self.b1 * self.m + (1 - self.b1) * g
        return divide(g, divisor)


def test_equals_the_reference():
    arguments = {
        "b1": st.just(0.0) | st.floats(0.1, 0.9),
        "b2": st.floats(0.1, 0.999),
        "eps": st.sampled_from([1e-16, 1e-3]),
        "eps_root": st.sampled_from([1e-16, 1e-3]),
    }
    check_all(gradtx.scale_by_acprop, Acprop, arguments)


@pytest.mark.parametrize("arguments", [{}, {"eps": 1e-3}, {"eps_root": 1e-3}, {"eps": 0.0, "eps_root": 0.0}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_acprop, Acprop, arguments)


@pytest.mark.parametrize("arguments", [{}, {"b1": 0.5, "b2": 0.9, "eps": 1e-3, "eps_root": 1e-4, "weight_decay": 0.1}])
def test_equals_optax(arguments):
    params, grads = Problem(SHAPES[0], 5).draw(DOUBLE, steps=20)
    grads = jax.tree.map(lambda g: g + 1e-3 * (g == 0), grads)
    with x64():
        ours = run(gradtx.acprop(0.1, **arguments), params, grads)[:2]
        theirs = run_eagerly(optax.contrib.acprop(0.1, **arguments), params, grads)[:2]
    assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("b1", [0.0, 0.9])
@pytest.mark.parametrize("zeros", [1, 10, 3000])
@pytest.mark.parametrize("eps_root", [1e-16, 0.0])
def test_a_gradient_after_zeros_is_the_update(b1, zeros, eps_root):
    """Optax's is 3e6 of it, or 1e16."""
    tx, grads = gradtx.scale_by_acprop(b1, eps_root=eps_root), np.zeros((zeros + 1, 1), np.float32)
    grads[-1] = 0.25
    np.testing.assert_array_equal(run(tx, np.zeros(1, np.float32), grads)[0], grads)


def test_a_zero_gradient_is_no_reason_to_forget_the_past():
    """Without an average, m is 0 after a gradient of 0; s is not."""
    tx = gradtx.scale_by_acprop(b1=0.0, b2=0.5)
    updates = run(tx, np.zeros(1, np.float32), np.array([[3.0], [0.0], [1.0]], np.float32))[0]
    np.testing.assert_allclose(updates[:, 0], [3.0, 0.0, np.sqrt(0.75 / (0.25 * 9 + 0.5 * 9))], rtol=1e-6)


def test_the_second_moment_of_complex_gradients_is_real():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_acprop(), params, grads)[2]
    assert (state.mu["zeta"].dtype, state.nu["zeta"].dtype) == (jnp.complex64, jnp.float32)
