"""Whole optimizers against their references: what a chain adds to its parts is the order of things."""

import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.references import Descent
from tests.trajectories import booleans, check_all, decays, rates

decay_rates = st.just(0.0) | st.floats(1e-3, 1.0)


def sgd(learning_rate, momentum, nesterov):
    return Descent(learning_rate, references.Trace(momentum, nesterov))


def adamw(learning_rate, weight_decay, **moments):
    return Descent(learning_rate, references.Adam(**moments), weight_decay)


class Rmsprop(references.Rule):
    """The momentum is of the steps, not of their directions: with a constant rate the same."""

    def __init__(self, learning_rate, decay, momentum, nesterov):
        self.step_rule, self.momentum = (
            Descent(learning_rate, references.Rms(decay)),
            references.Trace(momentum, nesterov),
        )

    def step(self, g, p):
        u = self.momentum(self.step_rule(g, p))
        self.size = self.momentum.size
        return u


class Adadelta(references.Rule):
    """The decay is an L2 penalty: it is part of the gradient."""

    def __init__(self, weight_decay, rho):
        self.rule, self.weight_decay = references.Adadelta(rho), weight_decay

    def step(self, g, p):
        total = np.abs(g) + self.weight_decay * np.abs(p)
        u = self.rule(g + self.weight_decay * p)
        self.size = np.abs(u) * references.divide(total, np.abs(g + self.weight_decay * p))
        return -u


def ranger(learning_rate, weight_decay, sync_period, slow_step_size, threshold, **moments):
    """Wright: centralize; rectify; decay, not through the moments; look ahead."""
    rectified = references.RectifiedAdam(**moments, eps=1e-5, threshold=threshold)
    inner = Descent(learning_rate, rectified, weight_decay)
    return references.Centralized(references.Lookahead(inner, sync_period, slow_step_size))


CASES = {
    "sgd": (gradtx.sgd, sgd, {"momentum": decays, "nesterov": booleans}),
    "adamw": (gradtx.adamw, adamw, {"b1": decays, "b2": decays, "weight_decay": decay_rates}),
    "rmsprop": (gradtx.rmsprop, Rmsprop, {"decay": decays, "momentum": decays, "nesterov": booleans}),
    "ranger": (
        gradtx.ranger,
        ranger,
        {"b1": decays, "b2": st.floats(0.5, 0.999), "weight_decay": decay_rates, "sync_period": st.integers(1, 6),
         "slow_step_size": st.floats(0.1, 1), "threshold": st.sampled_from([4.0, 5.0])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name):
    factory, rule, arguments = CASES[name]
    check_all(factory, rule, {"learning_rate": rates} | arguments, reads_params=True)


def test_adadelta_decays_through_the_gradient():
    check_all(gradtx.adadelta, Adadelta, {"weight_decay": decay_rates, "rho": decays}, reads_params=True)
