"""D-Adaptation of Lion against its reference."""

import dataclasses

import numpy as np
import pytest

import gradtx
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import Descending, assert_follows
from tests.references import Rule


@dataclasses.dataclass
class DadaptLion(Rule):
    """The authors' code, version 3."""

    learning_rate: float = 1.0
    b1: float = 0.9
    b2: float = 0.99
    estim_lr0: float = 1e-6
    weight_decay: float = 0.0
    growth_rate: float = np.inf
    numerator: float = 0.0
    s: float = 0.0
    d: float | None = None

    def step(self, g, p):
        d = self.estim_lr0 if self.d is None else self.d
        rate, b = self.learning_rate * d, np.sqrt(self.b2)
        mixed = self.b1 * self.m + (1 - self.b1) * g
        sign = mixed / np.abs(mixed)
        self.m = self.b2 * self.m + (1 - self.b2) * rate * g
        self.numerator = b * self.numerator + (1 - b) * rate * np.sum(np.real(np.conj(sign) * self.s))
        self.s = b * self.s + (1 - b) * rate * sign
        self.d = max(d, min(self.numerator / ((1 - b) * np.sum(np.abs(self.s))), self.growth_rate * d))
        return rate * (sign + self.weight_decay * p)


CASES = [
    {},
    {"estim_lr0": 1e-2, "weight_decay": 0.1},
    {"estim_lr0": 1e-2, "growth_rate": 1.05},
    {"estim_lr0": 1e-2, "b1": 0.5, "b2": 0.9, "learning_rate": 0.5},
]


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_reference(arguments):
    tx = gradtx.chain(gradtx.scale_by_dadapt_lion(**arguments), gradtx.scale(-1.0))
    assert_follows(tx, lambda: Descending(DadaptLion(**arguments)))


def test_the_golden_steps_of_one_number():
    steps = path(gradtx.dadapt_lion(estim_lr0=1e-2))
    np.testing.assert_allclose(steps, (0.99, 1.0, 0.99, 0.97), rtol=1e-12)
