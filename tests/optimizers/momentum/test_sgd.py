"""Gradient descent with torch's dampening, and with a decoupled decay."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.references import Rule
from tests.trajectories import DOUBLE, SHAPES, Problem, assert_close, check_all, check_numbers, decays, rates, run, x64


@dataclasses.dataclass
class DampenedSgd(Rule):
    """``torch.optim.SGD``: m <- mu m + (1 - d) g, but m_1 = g_1; the step is the rate times m + wd p."""

    learning_rate: float
    momentum: float
    dampening: float
    nesterov: bool = False
    weight_decay: float = 0.0

    def step(self, g, p):
        share = 1 if self.t == 1 else 1 - self.dampening
        self.m = self.momentum * self.m + share * g
        self.total = self.momentum * self.total + share * np.abs(g)
        u = share * g + self.momentum * self.m if self.nesterov else self.m
        decay = self.weight_decay * p if self.weight_decay else 0 * u
        self.size = self.learning_rate * (np.abs(g) + self.total + np.abs(decay))
        return -self.learning_rate * (u + decay)


@pytest.mark.parametrize("nesterov", [False, True])
def test_dampening_equals_the_reference(nesterov):
    numbers = {"learning_rate": rates, "momentum": decays, "dampening": decays}
    check_all(
        lambda **numbers: gradtx.sgd(**numbers, nesterov=nesterov),
        lambda **numbers: DampenedSgd(**numbers, nesterov=nesterov),
        numbers,
    )


def test_sgdw_equals_the_reference():
    numbers = {"learning_rate": rates, "momentum": decays, "dampening": decays, "weight_decay": decays}
    check_all(gradtx.sgdw, DampenedSgd, numbers, reads_params=True)


def test_python_numbers_lose_nothing():
    check_numbers(gradtx.sgd, DampenedSgd, {"learning_rate": 0.1, "momentum": 0.9, "dampening": 0.3})


def test_with_as_much_dampening_as_momentum_it_is_an_average():
    params, grads = Problem(SHAPES[0], 0).draw(DOUBLE)
    grads = jax.tree.map(lambda g: np.concatenate([0 * g[:1], g]), grads)  # the first gradient is not dampened
    with x64():
        ours = run(gradtx.sgd(0.1, 0.9, dampening=0.9), params, grads)[0]
        average = gradtx.chain(gradtx.ema(0.9, debias=False), gradtx.scale_by_learning_rate(0.1))
        assert_close(ours, run(average, params, grads)[0], rtol=1e-12)


def test_a_dampening_of_zero_is_none_and_may_be_traced():
    params, grads = Problem({"w": (3,)}, 0).draw(DOUBLE)
    with x64():
        zero, none = (run(gradtx.sgd(0.1, 0.9, dampening=d), params, grads)[0] for d in (0.0, None))
        assert_close(zero, none, rtol=1e-14)
        half, schedule = (
            run(gradtx.sgd(0.1, 0.9, dampening=d), params, grads)[0] for d in (0.5, lambda step: 0.5 + 0 * step)
        )
        assert_close(half, schedule, rtol=1e-14)


def test_without_momentum_dampening_does_nothing():
    """As in torch, and with the state of none."""
    assert gradtx.expand(gradtx.sgd(0.1, dampening=0.5)) == gradtx.scale_by_learning_rate(0.1)
    state: Any = gradtx.sgd(0.1, dampening=0.5).init(jnp.ones(2))
    assert jax.tree.leaves(state) == []


def test_the_state_of_sgd_is_what_it_was():
    assert type(gradtx.sgd(0.1).init(jnp.ones(2))).__name__ == "EmptyState"
    assert len(gradtx.sgd(0.1, 0.9).init(jnp.ones(2))) == 2


def test_the_decay_of_sgdw_is_outside_of_the_momentum():
    p, tx = jnp.array([2.0]), gradtx.sgdw(0.5, 0.9, weight_decay=0.1)
    state = tx.init(p)
    for _ in range(3):
        updates, state = tx.update(jnp.zeros(1), state, p)
        np.testing.assert_allclose(updates, [-0.1], rtol=1e-6)
