"""Averaged gradient descent against torch's rule, and its mean."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule
from tests.trajectories import SHAPES, SINGLE, Problem, check_all, check_numbers, rates, run


@dataclasses.dataclass
class Asgd(Rule):
    """``torch.optim.ASGD``: p <- p - eta (g + lambd p), with the rate and the weight in the mean of the next step."""

    learning_rate: float
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    eta: Any = None
    weight: float = 1.0
    mean: Any = 0.0

    def step(self, g, p):
        eta = self.learning_rate if self.eta is None else self.eta
        u = -eta * (g + self.lambd * p)
        self.size = np.abs(p) + eta * (np.abs(g) + self.lambd * np.abs(p))
        self.mean = self.mean + self.weight * (p + u - self.mean)
        self.eta = self.learning_rate / (1 + self.lambd * self.learning_rate * self.t) ** self.alpha
        self.weight = 1 / max(1, self.t - self.t0)
        return u


NUMBERS = {
    "learning_rate": rates,
    "lambd": st.floats(0.0, 0.5),
    "alpha": st.floats(0.0, 1.0),
    "t0": st.floats(0.0, 9.0),
}


def test_equals_the_reference():
    check_all(gradtx.asgd, Asgd, NUMBERS, reads_params=True)


def test_python_numbers_lose_nothing():
    check_numbers(gradtx.asgd, Asgd, {"learning_rate": 0.1, "lambd": 0.1}, reads_params=True)


@pytest.mark.parametrize("t0", [0.0, 3.0, 10.0, 1e6])
def test_the_mean_is_torchs(t0):
    params, grads = Problem(SHAPES[0], 4).draw(SINGLE)
    state = run(gradtx.asgd(0.01, 0.1, t0=t0), params, grads)[2]
    for name, mean in gradtx.asgd_params(state).items():
        rule, p = Asgd(0.01, 0.1, t0=t0), params[name].astype(np.complex128 if name == "zeta" else np.float64)
        for g in grads[name]:
            p = p + rule(g, p)
        np.testing.assert_allclose(mean, rule.mean, rtol=1e-4, atol=1e-4 * np.abs(p).max())


def test_equals_numbers_recorded_from_torch():
    p, tx = jnp.array(1.0), gradtx.asgd(0.1, 0.1, t0=2)
    state = tx.init(p)
    for g in (0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25):
        updates, state = tx.update(jnp.array(g), state, p)
        p = gradtx.apply_updates(p, updates)
    np.testing.assert_allclose([p, gradtx.asgd_params(state)], [0.843130266, 0.893332899], rtol=3e-7)


def test_the_rate_may_be_a_schedule_and_the_mean_is_found_anywhere():
    rate = gradtx.piecewise_constant_schedule(1.0, {1: 0.5})
    tx = gradtx.named_chain(("clip", gradtx.clip(9.0)), ("asgd", gradtx.asgd(rate, lambd=0.0, t0=0)))
    p = jnp.array([0.0], jnp.bfloat16)
    state = tx.init(p)
    for _ in range(3):
        updates, state = tx.update(-jnp.ones(1, jnp.bfloat16), state, p)
        p = gradtx.apply_updates(p, updates)
    assert float(p[0]) == 2.0
    assert gradtx.asgd_params(state).dtype == jnp.float32
    assert (gradtx.asgd_params(state, p).dtype, float(gradtx.asgd_params(state, p)[0])) == (jnp.bfloat16, 1.75)


def test_a_state_without_a_mean_is_refused():
    with pytest.raises(gradtx.errors.UnknownNameError, match="asgd_params"):
        gradtx.asgd_params(gradtx.adam(0.1).init(jnp.ones(2)))


def test_a_million_steps_in_the_rate_keeps_its_digits():
    tx, p = gradtx.scale_by_asgd(1.0, lambd=1e-7, alpha=1.0), jnp.ones(1)
    state = tx.init(p)._replace(count=jnp.int32(1_000_000))
    np.testing.assert_allclose(tx.update(p, state, p)[0], [-1 / 1.1], rtol=3e-7)
