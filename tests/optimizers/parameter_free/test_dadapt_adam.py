"""D-Adaptation of Adam against its reference and Optax's."""

import dataclasses

import numpy as np
import optax
import pytest

import gradtx
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import Descending, assert_follows, assert_optaxs
from tests.references import Rule, power_complement, square


@dataclasses.dataclass
class DadaptAdam(Rule):
    """Defazio and Mishchenko, algorithm 5, as in the authors' code, version 3."""

    learning_rate: float = 1.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    estim_lr0: float = 1e-6
    weight_decay: float = 0.0
    growth_rate: float = np.inf
    bias_correction: bool = True
    numerator: float = 0.0
    s: float = 0.0
    d: float | None = None

    def step(self, g, p):
        d = self.estim_lr0 if self.d is None else self.d
        rate, b = self.learning_rate * d, np.sqrt(self.b2)
        if self.bias_correction:
            rate *= np.sqrt(power_complement(self.b2, self.t)) / power_complement(self.b1, self.t)
        inner = np.sum(np.real(np.conj(g) * self.s / (np.sqrt(self.v) + self.eps)))
        self.m = self.b1 * self.m + (1 - self.b1) * rate * g
        self.v = self.b2 * self.v + (1 - self.b2) * square(g)
        self.numerator = b * self.numerator + (1 - b) * rate * inner
        self.s = b * self.s + (1 - b) * rate * g
        estimate = self.numerator / ((1 - b) * np.sum(np.abs(self.s)))
        self.d = max(d, min(estimate, self.growth_rate * d))
        return self.m / (np.sqrt(self.v) + self.eps) + self.weight_decay * rate * p


CASES = [
    {},
    {"estim_lr0": 1e-2, "weight_decay": 0.1},
    {"estim_lr0": 1e-2, "growth_rate": 1.05, "bias_correction": False},
    {"estim_lr0": 1e-2, "b1": 0.5, "b2": 0.9, "eps": 1e-2, "learning_rate": 0.5},
]


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_reference(arguments):
    tx = gradtx.chain(gradtx.scale_by_dadapt_adam(**arguments), gradtx.scale(-1.0))
    assert_follows(tx, lambda: Descending(DadaptAdam(**arguments)))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"estim_lr0": 1e-2, "weight_decay": 0.1}, {"betas": (0.5, 0.9), "eps": 1e-2, "learning_rate": 0.5}],
    ids=str,
)
def test_equals_optax(arguments):
    assert_optaxs(gradtx.dadapt_adamw(**arguments), optax.contrib.dadapt_adamw(**arguments))


GOLDEN = [
    ({}, (0.9900000, 0.9861097, 0.9807223, 0.9643585)),
    ({"bias_correction": False}, (0.9683772, 0.9602394, 0.9430409, 0.8812144)),
]


@pytest.mark.parametrize(("arguments", "expected"), GOLDEN, ids=str)
def test_the_golden_steps_of_one_number(arguments, expected):
    steps = path(gradtx.dadapt_adamw(estim_lr0=1e-2, **arguments))
    np.testing.assert_allclose(steps, expected, rtol=0, atol=5.001e-8)
