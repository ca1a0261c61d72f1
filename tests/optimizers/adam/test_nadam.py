"""NAdam with a growing momentum against its reference."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
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
    x64,
)


@dataclasses.dataclass
class Nadam(references.Adam):
    """Dozat: mu_t = b1 (1 - 0.96^(psi t) / 2), and the product of the mu for the power of b1."""

    momentum_decay: float = 0.004
    product: Any = 1.0

    def step(self, g, p):
        mu, ahead = (
            np.longdouble(self.b1) * (1 - np.longdouble(0.96) ** (self.momentum_decay * t) / 2)
            for t in (self.t, self.t + 1)
        )
        self.product = self.product * mu
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.total = self.b1 * self.total + (1 - self.b1) * np.abs(g)
        now, later = float((1 - mu) / (1 - self.product)), float(ahead / (1 - self.product * ahead))
        return self.normalize((later * self.m + now * g, later * self.total + now * np.abs(g)), self.denominator(g))


def test_equals_the_reference():
    arguments = {"b1": decays, "b2": decays, "eps": epsilons, "eps_root": epsilons}
    check_all(gradtx.scale_by_nadam, Nadam, arguments | {"momentum_decay": st.floats(0.0, 2.0)})


@pytest.mark.parametrize("arguments", [{}, {"momentum_decay": 1.0, "eps": 0.0}, {"b1": 0.0}, {"b1": 0.9999}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_nadam, Nadam, arguments)


def test_a_momentum_that_has_grown_is_a_constant_one():
    """At once if it grows fast, as far as 1 - b1^t is the same as a product of equal factors."""
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        grown = run(gradtx.nadam(0.1, momentum_decay=2000.0), params, grads)[:2]
        assert_close(grown, run(gradtx.nadam(0.1), params, grads)[:2], rtol=1e-12)


def test_the_state_has_the_weight_of_all_momenta():
    grads = np.ones((5, 1), np.float32)
    state = run(gradtx.scale_by_nadam(0.5, momentum_decay=1.0), np.zeros(1, np.float32), grads)[2]
    assert state.weight == pytest.approx(1 - np.prod([0.5 * (1 - 0.5 * 0.96**t) for t in range(1, 6)]), rel=1e-6)


def test_the_second_moment_of_complex_gradients_is_real():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_nadam(mu_dtype="bfloat16"), params, grads)[2]
    assert (state.mu["kernel"].dtype, state.mu["zeta"].dtype) == (jnp.bfloat16, jnp.complex64)
    assert state.nu["zeta"].dtype == jnp.float32
