"""Prodigy against its reference and Optax's, and what it does where there is nothing to estimate from."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import Descending, assert_follows, assert_optaxs, problem
from tests.references import Rule, power_complement, square
from tests.trajectories import SINGLE


@dataclasses.dataclass
class Prodigy(Rule):
    """Mishchenko and Defazio, algorithm 4, with what the authors' code adds."""

    learning_rate: float = 1.0
    b1: float = 0.9
    b2: float = 0.999
    b3: float | None = None
    eps: float = 1e-8
    estim_lr0: float = 1e-6
    estim_lr_coef: float = 1.0
    weight_decay: float = 0.0
    safeguard_warmup: bool = False
    growth_rate: float | None = None
    bias_correction: bool = True
    numerator: float = 0.0
    s: float = 0.0
    start: float | None = None
    d: float | None = None
    d_max: float | None = None

    def step(self, g, p):
        if self.d is None:
            self.start, self.d, self.d_max = p, self.estim_lr0, self.estim_lr0
        d, b3 = self.d, np.sqrt(self.b2) if self.b3 is None else self.b3
        rate = self.learning_rate * d
        if self.bias_correction:
            rate *= np.sqrt(power_complement(self.b2, self.t)) / power_complement(self.b1, self.t)
        inner = np.sum(np.real(np.conj(g) * (self.start - p)))
        self.numerator = b3 * self.numerator + d / self.estim_lr0 * rate * inner
        self.s = b3 * self.s + d / self.estim_lr0 * (d if self.safeguard_warmup else rate) * g
        self.m = self.b1 * self.m + (1 - self.b1) * d * g
        self.v = self.b2 * self.v + (1 - self.b2) * square(d * g)
        estimate = self.estim_lr_coef * self.numerator / np.sum(np.abs(self.s))
        if self.growth_rate is None:
            self.d = self.d_max = max(self.d_max, estimate)
        else:
            reached = max(d, estimate) if d == self.estim_lr0 else d
            self.d_max = max(self.d_max, estimate)
            self.d = min(self.d_max, self.growth_rate * reached)
        return rate * (self.m / (np.sqrt(self.v) + self.d * self.eps) + self.weight_decay * p)


CASES = [
    {},
    {"estim_lr0": 1e-2, "weight_decay": 0.1},
    {"estim_lr0": 1e-2, "growth_rate": 1.05, "bias_correction": False},
    {"estim_lr0": 0.1, "growth_rate": 1.5, "safeguard_warmup": True, "estim_lr_coef": 5.0},
    {"estim_lr0": 1e-2, "b1": 0.5, "b2": 0.9, "b3": 0.8, "eps": 1e-2, "estim_lr_coef": 0.5},
]


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_reference(arguments):
    tx = gradtx.chain(gradtx.scale_by_prodigy(**arguments), gradtx.scale(-1.0))
    assert_follows(tx, lambda: Descending(Prodigy(**arguments)), single=1e-4 if arguments else 0.2)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"estim_lr0": 1e-2, "weight_decay": 0.1},
        {"betas": (0.5, 0.9), "beta3": 0.8, "estim_lr0": 1e-3, "safeguard_warmup": True, "estim_lr_coef": 5.0},
        {"eps": 1e-2, "estim_lr0": 1e-2, "estim_lr_coef": 2.0},
    ],
    ids=str,
)
def test_equals_optax(arguments):
    assert_optaxs(gradtx.prodigy(**arguments), optax.contrib.prodigy(**arguments))


def test_equals_optax_along_a_schedule():
    """From above 0, where Optax's first quotient would be 0/0; its schedules are float32."""
    ours, theirs = gradtx.linear_schedule(0.1, 1.0, 9), optax.linear_schedule(0.1, 1.0, 9)
    assert_optaxs(gradtx.prodigy(ours, estim_lr0=1e-2), optax.contrib.prodigy(theirs, estim_lr0=1e-2), rtol=1e-5)


GOLDEN = [
    ({}, (0.999999000, 0.999998809, 0.999998461, 0.999997416)),
    ({"estim_lr0": 1e-2}, (0.990000006, 0.988085027, 0.984610752, 0.974156313)),
    ({"bias_correction": False}, (0.999996838, 0.999996024, 0.999994304, 0.999982029)),
]


@pytest.mark.parametrize(("arguments", "expected"), GOLDEN, ids=str)
def test_the_golden_steps_of_one_number(arguments, expected):
    np.testing.assert_allclose(path(gradtx.prodigy(**arguments)), expected, rtol=0, atol=5.001e-10)


def test_the_growth_is_bounded_after_the_first_estimate():
    params, grads = problem(SINGLE, 40)
    tx, estimates = gradtx.prodigy(growth_rate=1.02), []
    state = tx.init(params)
    for t in range(40):
        updates, state = tx.update({k: g[t] for k, g in grads.items()}, state, params)
        params = gradtx.apply_updates(params, updates)
        estimates.append(float(gradtx.tree.get_field(state, "estim_lr")))
    ratios = np.array(estimates[1:]) / estimates[:-1]
    first = np.argmax(ratios > 1)
    assert np.max(ratios[first + 1 :]) == pytest.approx(1.02, rel=1e-4)
    assert estimates[-1] < float(gradtx.tree.get_field(state, "estim_lr_max"))


def test_the_params_are_needed():
    tx = gradtx.prodigy()
    for one in (tx, gradtx.prodigy(weight_decay=0.1)):
        with pytest.raises(gradtx.errors.MissingExtraError, match="scale_by_prodigy: expected update"):
            one.update(jnp.ones(2), one.init(jnp.ones(2)))


def test_the_start_is_kept_wide_and_is_no_alias():
    params = {"low": jnp.ones(2, jnp.bfloat16), "wave": jnp.ones(2, jnp.complex64), "one": jnp.ones(2)}
    state = gradtx.scale_by_prodigy().init(params)
    assert {k: x.dtype.name for k, x in state.params0.items()} == {
        "low": "float32", "wave": "complex64", "one": "float32"
    }  # fmt: skip
    assert {x.dtype.name for x in jax.tree.leaves(state.nu)} == {"float32"}
    assert state.params0["one"] is not params["one"]
