"""D-Adaptation of gradient descent against its reference."""

import dataclasses

import numpy as np
import pytest

import gradtx
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import Descending, assert_follows
from tests.references import Rule


@dataclasses.dataclass
class DadaptSgd(Rule):
    """Defazio and Mishchenko, algorithm 4, as in the authors' code, version 3: the params are an average, from x0."""

    learning_rate: float = 1.0
    momentum: float = 0.0
    estim_lr0: float = 1e-6
    weight_decay: float = 0.0
    growth_rate: float = np.inf
    numerator: float = 0.0
    s: float = 0.0
    first: float = 0.0
    start: float | None = None
    d: float | None = None

    def step(self, g, p):
        if self.d is None:
            self.d, self.start = self.estim_lr0, p
        g = g + self.weight_decay * p
        self.first = self.first or np.sqrt(np.sum(np.abs(g) ** 2))
        rate = self.learning_rate * self.d / self.first
        self.numerator += rate * np.sum(np.real(np.conj(g) * self.s))
        self.s = self.s + rate * g
        estimate = 2 * self.numerator / np.sqrt(np.sum(np.abs(self.s) ** 2))
        self.d = max(self.d, min(estimate, self.growth_rate * self.d))
        average = self.momentum * p + (1 - self.momentum) * (self.start - self.s)
        return p - average


CASES = [
    {"estim_lr0": 1e-3},
    {"momentum": 0.9, "estim_lr0": 1e-2, "weight_decay": 0.1},
    {"momentum": 0.5, "estim_lr0": 1e-2, "growth_rate": 1.05, "learning_rate": 0.5},
]


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_reference(arguments):
    """Whose params are the average of a point that begins at x0; here there is none."""
    assert_follows(gradtx.dadapt_sgd(**arguments), lambda: Descending(DadaptSgd(**arguments)))


def test_the_golden_steps_of_one_number():
    steps = path(gradtx.dadapt_sgd(estim_lr0=1e-2))
    np.testing.assert_allclose(steps, (0.99, 0.996, 0.992, 0.981), rtol=1e-12)


def test_the_first_gradient_that_is_not_zero_gives_the_scale():
    tx, g = gradtx.scale_by_dadapt_sgd(estim_lr0=0.5), np.array([3.0, -4.0], np.float32)
    state = tx.init(g)
    for zeros in (g * 0, g * 0):
        updates, state = tx.update(zeros, state)
        assert not updates.any()
    np.testing.assert_allclose(tx.update(g, state)[0], [0.3, -0.4], rtol=1e-6)
