"""Simplified AdEMAMix against its reference, Optax's, and Adam."""

import dataclasses

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
    decays,
    epsilons,
    run,
    run_eagerly,
    x64,
)


@dataclasses.dataclass
class SimplifiedAdemamix(Rule):
    """Morwani et al.: m <- b1 m + g; the step is (m + alpha g) / (sqrt(v / (1 - b2^t) + eps_root) + eps)."""

    b1: float = 0.99
    b2: float = 0.95
    alpha: float = 0.0
    eps: float = 1e-8
    eps_root: float = 0.0

    def step(self, g, p):
        self.m = self.b1 * self.m + g
        self.total = self.b1 * self.total + np.abs(g)
        self.v = self.b2 * self.v + (1 - self.b2) * square(g)
        denominator = np.sqrt(self.v / power_complement(self.b2, self.t) + self.eps_root) + self.eps
        self.size = divide(self.total + self.alpha * np.abs(g), denominator)
        return divide(self.m + self.alpha * g, denominator)


def test_equals_the_reference():
    arguments = {"b1": decays, "b2": decays, "alpha": st.floats(0, 100), "eps": epsilons, "eps_root": epsilons}
    check_all(gradtx.scale_by_simplified_ademamix, SimplifiedAdemamix, arguments)


@pytest.mark.parametrize("arguments", [{}, {"alpha": 2.0, "eps": 0.0}, {"eps_root": 1e-3}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_simplified_ademamix, SimplifiedAdemamix, arguments)


def rising(step):
    """A line from 0 to 8 in 9 steps, in full precision: Optax's own schedules divide in float32."""
    return 8.0 * jnp.minimum(jnp.asarray(step, float) / 9, 1)


@pytest.mark.parametrize("arguments", [{}, {"alpha": 2.0, "weight_decay": 0.1}, {"alpha": rising}], ids=list)
def test_equals_optax(arguments):
    params, grads = Problem(SHAPES[1], 4).draw(DOUBLE)  # real ones: Optax squares complex numbers as they are
    with x64():
        ours = run(gradtx.simplified_ademamix(0.1, **arguments), params, grads)[:2]
        theirs = run_eagerly(optax.contrib.simplified_ademamix(0.1, **arguments), params, grads)[:2]
    assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_without_alpha_it_is_ten_times_adam_but_for_one_correction():
    params, grads = Problem(SHAPES[0], 2).draw(DOUBLE)
    with x64():
        ours = run(gradtx.scale_by_simplified_ademamix(0.9, 0.999, eps=0.0), params, grads)[0]
        theirs = run(gradtx.scale_by_adam(eps=0.0), params, grads)[0]
    corrections = 10 * (1 - 0.9 ** np.arange(1, 13))
    expected = {k: u * corrections.reshape(-1, *[1] * (u.ndim - 1)) for k, u in theirs.items()}
    assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_the_second_moment_of_complex_gradients_is_real():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_simplified_ademamix(), params, grads)[2]
    assert (state.mu["zeta"].dtype, state.nu["zeta"].dtype) == (jnp.complex64, jnp.float32)
