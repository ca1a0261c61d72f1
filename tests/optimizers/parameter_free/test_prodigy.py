"""Prodigy against its reference and Optax's, and what it does where there is nothing to estimate from."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx.optimizers.parameter_free.distance import raised
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import Descending, assert_follows, assert_optaxs, descend, problem
from tests.references import Rule, power_complement, square
from tests.trajectories import SINGLE, run


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


@pytest.mark.parametrize("zeros", [0, 5])
def test_it_finds_the_way_and_zero_gradients_at_the_start_do_not_matter(zeros):
    p, state = descend(gradtx.prodigy(), 200 + zeros, zeros=zeros)
    assert 1 < float(gradtx.tree.get_field(state, "estim_lr")) < 6
    assert all(np.allclose(x, 3.0, atol=0.1) for x in jax.tree.leaves(p))


def test_nothing_is_estimated_from_zero_gradients_or_with_a_rate_of_zero():
    zeros, params = jnp.zeros(3), jnp.ones(3)
    tx = gradtx.prodigy()
    updates, state = tx.update(zeros, tx.init(params), params)
    assert not updates.any()
    assert float(state[0].estim_lr) == np.float32(1e-6)
    warm = gradtx.prodigy(gradtx.linear_schedule(0.0, 1.0, 3))
    updates, state = warm.update(params, warm.init(params), params)
    assert not updates.any()
    assert float(gradtx.tree.get_field(state, "estim_lr")) == np.float32(1e-6)


def test_a_gradient_that_is_not_finite_leaves_the_estimate():
    tx, params = gradtx.prodigy(), {"a": jnp.ones(2), "b": jnp.ones(2)}
    state = tx.init(params)
    for g in (jnp.nan, jnp.inf, -jnp.inf):
        _, state = tx.update({"a": jnp.full(2, g), "b": jnp.ones(2)}, state, params)
    assert float(gradtx.tree.get_field(state, "estim_lr")) == np.float32(1e-6)


def test_the_mask_chooses_what_decays():
    params, grads = problem(SINGLE)
    decayed, plain, masked = (
        run(gradtx.prodigy(estim_lr0=1e-2, weight_decay=decay, weight_decay_mask=mask), params, grads)[0]
        for decay, mask in ((0.1, None), (0.0, None), (0.1, "kernel"))
    )
    np.testing.assert_array_equal(masked["kernel"][0], decayed["kernel"][0])
    np.testing.assert_array_equal(masked["scalar"][0], plain["scalar"][0])
    assert abs(float(decayed["scalar"][0] - plain["scalar"][0])) > 1e-5
    with pytest.raises(gradtx.errors.ArgumentValueError, match="glob that is the first to match"):
        gradtx.prodigy(weight_decay=0.1, weight_decay_mask="none").init(params)


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


def test_derivatives_of_an_estimate_of_nothing():
    slope = jax.grad(lambda d: raised(d, 0 * d, 0 * d))
    assert float(slope(1.0)) == 1


def test_a_quotient_that_is_infinite_is_none():
    for bound in (None, 2.0):
        assert float(raised(jnp.float32(1), jnp.float32(1e30), jnp.float32(1e-30), bound)) == 1
