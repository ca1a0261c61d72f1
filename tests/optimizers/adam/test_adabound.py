"""AdaBound and AMSBound against their reference, and between their bounds."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Moments, power_complement, square
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    decays,
    epsilons,
    run,
    x64,
)


@dataclasses.dataclass
class Adabound(Moments):
    """Luo et al., as in their code: m times the rate of Adam, clipped to two bounds that meet."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    final_ratio: float = 100.0
    gamma: float = 1e-3
    never_falls: bool = False
    v_max: Any = 0.0

    def step(self, g, p):
        m, total = self.mean(g, debias=False)
        self.v = self.b2 * self.v + (1 - self.b2) * square(g)
        self.v_max = np.maximum(self.v_max, self.v) if self.never_falls else self.v
        correction = np.sqrt(power_complement(self.b2, self.t)) / power_complement(self.b1, self.t)
        low = self.final_ratio * (1 - 1 / (self.gamma * self.t + 1))
        high = self.final_ratio * (1 + 1 / (self.gamma * self.t))
        divisor = np.sqrt(self.v_max) + self.eps
        rate = np.clip(correction / np.where(divisor == 0, 1, divisor), low, high)
        self.size = rate * total
        return rate * m


def never_falling(**arguments):
    return Adabound(**arguments, never_falls=True)


BOTH = {"adabound": (gradtx.scale_by_adabound, Adabound), "amsbound": (gradtx.scale_by_amsbound, never_falling)}
both = pytest.mark.parametrize(("factory", "rule"), BOTH.values(), ids=BOTH)


@both
def test_equals_the_reference(factory, rule):
    arguments = {
        "b1": decays, "b2": decays, "eps": epsilons, "gamma": st.floats(1e-3, 2.0),
        "final_ratio": st.floats(0.01, 100.0),
    }  # fmt: skip
    check_all(factory, rule, arguments)


@both
def test_python_numbers_lose_nothing(factory, rule):
    check_numbers(factory, rule, {"final_ratio": 1.0, "gamma": 0.5})


def test_bounds_that_are_far_apart_make_it_adam():
    params, grads = Problem(SHAPES[0], 1).draw(DOUBLE)
    with x64():
        ours = run(gradtx.scale_by_adabound(gamma=1e-15, eps=0.0), params, grads)[0]
        assert_close(ours, run(gradtx.scale_by_adam(eps=0.0), params, grads)[0], rtol=1e-9)


def test_bounds_that_have_met_make_it_gradient_descent():
    params, grads = Problem(SHAPES[0], 1).draw(DOUBLE)
    with x64():
        ours = run(gradtx.adabound(0.1, final_ratio=5.0, gamma=1e15), params, grads)[0]
        descent = gradtx.chain(gradtx.ema(0.9, debias=False), gradtx.scale_by_learning_rate(0.5))
        assert_close(ours, run(descent, params, grads)[0], rtol=1e-12)


@both
@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_zero_gradients_are_no_update_and_their_derivatives_are_finite(factory, rule, eps):
    tx, p = factory(eps=eps), jnp.zeros(2)

    def second(g):
        return tx.update(g, tx.update(g, tx.init(p))[1])[0]

    np.testing.assert_array_equal(second(p), p)
    assert np.all(np.isfinite(jax.jacobian(second)(p)))
    u, _ = tx.update(jnp.complex64(0), tx.init(jnp.complex64(0)))
    assert u == 0
