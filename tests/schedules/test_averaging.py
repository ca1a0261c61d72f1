"""Decay factors for averages of the parameters."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from gradtx import schedules

from .checks import check_formula, drawn


@drawn
@hypothesis.given(st.sampled_from([0.0, 0.5, 0.99, 0.9999]), st.sampled_from([0.0, 0.1]), st.sampled_from([1.0, 10.0]))
@pytest.mark.parametrize("power", [2 / 3, 1.0])
def test_warmup(power, decay, init, inv_gamma):
    check_formula(
        lambda: schedules.ema_warmup_decay(decay, init, inv_gamma, power),
        lambda n: min(decay, 1 - (1 - init) * (1 + n / inv_gamma) ** -power),
    )


def test_the_usual_warmup_is_that_of_tensorflow_and_another_that_of_timm():
    check_formula(lambda: schedules.ema_warmup_decay(0.9999), lambda n: min(0.9999, (1 + n) / (10 + n)))
    timm = lambda n: min(0.9999, 1 - (1 + n) ** (-2 / 3))  # noqa: E731
    check_formula(lambda: schedules.ema_warmup_decay(0.9999, 0.0, 1.0, 2 / 3), timm)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 6.94, 16.97])
def test_power_function(gamma):
    check_formula(lambda: schedules.power_function_decay(gamma), lambda n: (n / (n + 1)) ** (gamma + 1))


def test_with_the_power_0_all_steps_weigh_the_same():
    factors = np.asarray(schedules.power_function_decay(0.0).sample(20))
    average = 0.0
    for n, factor in enumerate(factors):
        average = factor * average + (1 - factor) * n
    assert average == pytest.approx(9.5, rel=1e-5)
