"""D-Adaptation of Adan against its reference."""

import dataclasses

import numpy as np
import pytest

import gradtx
from tests.optimizers.parameter_free.whole import Descending, assert_follows
from tests.references import Rule, square


@dataclasses.dataclass
class DadaptAdan(Rule):
    """The authors' code, version 3, with ``no_prox=True``."""

    learning_rate: float = 1.0
    b1: float = 0.98
    b2: float = 0.92
    b3: float = 0.99
    eps: float = 1e-8
    estim_lr0: float = 1e-6
    weight_decay: float = 0.0
    growth_rate: float = np.inf
    lengths: float = 0.0
    s: float = 0.0
    delta: float = 0.0
    before: float | None = None
    d: float | None = None

    def step(self, g, p):
        d = self.estim_lr0 if self.d is None else self.d
        change = 0 * g if self.before is None else g - self.before
        self.before, rate = g, self.learning_rate * d
        self.m = self.b1 * self.m + (1 - self.b1) * rate * g
        self.delta = self.b2 * self.delta + (1 - self.b2) * rate * change
        self.v = self.b3 * self.v + (1 - self.b3) * square(g + self.b2 * change)
        self.s = self.b3 * self.s + (1 - self.b3) * rate * g
        root = np.sqrt(self.v) + self.eps
        self.lengths = self.b3 * self.lengths + (1 - self.b3) * rate**2 * np.sum(square(g) / root)
        estimate = (np.sum(square(self.s) / root) / (1 - self.b3) - self.lengths) / np.sum(np.abs(self.s))
        self.d = max(d, min(estimate, self.growth_rate * d))
        return (self.m + self.b2 * self.delta) / root + self.weight_decay * rate * p


CASES = [
    {},
    {"estim_lr0": 1e-2, "weight_decay": 0.1},
    {"estim_lr0": 1e-2, "growth_rate": 1.05},
    {"estim_lr0": 1e-2, "b1": 0.5, "b2": 0.7, "b3": 0.9, "eps": 1e-2, "learning_rate": 0.5},
]


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_reference(arguments):
    tx = gradtx.chain(gradtx.scale_by_dadapt_adan(**arguments), gradtx.scale(-1.0))
    assert_follows(tx, lambda: Descending(DadaptAdan(**arguments)))
