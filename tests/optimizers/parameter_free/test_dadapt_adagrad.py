"""D-Adaptation of AdaGrad against its reference."""

import dataclasses

import numpy as np
import pytest

import gradtx
from tests.optimizers.parameter_free.whole import Descending, assert_follows
from tests.references import Rule, square


@dataclasses.dataclass
class DadaptAdagrad(Rule):
    """Defazio and Mishchenko, algorithm 3, as in the authors' code, version 3: the params are an average, from x0."""

    learning_rate: float = 1.0
    momentum: float = 0.0
    eps: float = 0.0
    estim_lr0: float = 1e-6
    initial_accumulator_value: float = 1e-6
    weight_decay: float = 0.0
    growth_rate: float = np.inf
    lengths: float = 0.0
    s: float = 0.0
    start: float | None = None
    d: float | None = None

    def step(self, g, p):
        if self.d is None:
            self.d, self.start, self.v = self.estim_lr0, p, self.initial_accumulator_value
        g, rate = g + self.weight_decay * p, self.learning_rate * self.d
        self.v = self.v + square(g)
        root = np.sqrt(self.v) + self.eps
        self.s = self.s + rate * g
        self.lengths += rate**2 * np.sum(square(g) / root)
        estimate = (np.sum(square(self.s) / root) - self.lengths) / np.sum(np.abs(self.s))
        self.d = max(self.d, min(estimate, self.growth_rate * self.d))
        average = self.momentum * p + (1 - self.momentum) * (self.start - self.s / root)
        return p - average


CASES = [
    {"estim_lr0": 1e-3},
    {"momentum": 0.9, "estim_lr0": 1e-2, "weight_decay": 0.1},
    {"momentum": 0.5, "estim_lr0": 1e-2, "growth_rate": 1.05, "learning_rate": 0.5, "eps": 1e-2},
    {"estim_lr0": 0.1, "initial_accumulator_value": 1.0},
]


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_reference(arguments):
    """Whose params are the average of a point that begins at x0; here there is none."""
    assert_follows(gradtx.dadapt_adagrad(**arguments), lambda: Descending(DadaptAdagrad(**arguments)))


def test_a_later_gradient_shrinks_the_steps_of_before():
    """From 3/sqrt(9) = 1 to (3 + 0)/sqrt(9 + 16): back by 0.4, though the second gradient has no rate."""
    rates = gradtx.piecewise_constant_schedule(1.0, {1: 0.0})
    tx = gradtx.scale_by_dadapt_adagrad(rates, estim_lr0=1.0, initial_accumulator_value=0.0)
    g = np.array([3.0], np.float32)
    first, state = tx.update(g, tx.init(g))
    second, _ = tx.update(g * 4 / 3, state)
    np.testing.assert_allclose([first[0], second[0]], [1.0, -0.4], rtol=1e-6)
