"""D-Adaptation of Adam against its reference and Optax's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import Descending, assert_follows, assert_optaxs, descend, problem
from tests.references import Rule, power_complement, square
from tests.trajectories import SINGLE, run


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


@pytest.mark.parametrize("zeros", [0, 5])
def test_it_finds_the_way_and_zero_gradients_at_the_start_do_not_matter(zeros):
    p, state = descend(gradtx.dadapt_adamw(), 400 + zeros, zeros=zeros)
    assert 0.1 < float(gradtx.tree.get_field(state, "estim_lr")) < 6
    assert all(np.allclose(x, 3.0, atol=0.1) for x in jax.tree.leaves(p))


def test_the_growth_is_bounded():
    params, grads = problem(SINGLE, 40)
    tx = gradtx.dadapt_adamw(growth_rate=1.02)
    state = run(tx, params, grads)[2]
    assert float(gradtx.tree.get_field(state, "estim_lr")) < 1e-6 * 1.02**40.01
    assert float(gradtx.tree.get_field(run(gradtx.dadapt_adamw(), params, grads)[2], "estim_lr")) > 1e-5


def test_nothing_is_estimated_from_zero_gradients():
    tx, zeros = gradtx.dadapt_adamw(), jnp.zeros(3)
    updates, state = tx.update(zeros, tx.init(zeros))
    assert not updates.any()
    assert float(gradtx.tree.get_field(state, "estim_lr")) == np.float32(1e-6)


def test_the_mask_chooses_what_decays_and_only_a_decay_needs_the_params():
    params, grads = problem(SINGLE)
    decayed, plain, masked = (
        run(gradtx.dadapt_adamw(estim_lr0=1e-2, weight_decay=decay, mask=mask), params, grads)[0]
        for decay, mask in ((0.1, None), (0.0, None), (0.1, "kernel"))
    )
    np.testing.assert_array_equal(masked["kernel"], decayed["kernel"])
    np.testing.assert_array_equal(masked["scalar"], plain["scalar"])
    tx = gradtx.dadapt_adamw(weight_decay=0.1)
    with pytest.raises(gradtx.errors.MissingExtraError, match="scale_by_dadapt_adam: expected update"):
        tx.update(params, tx.init(params))
