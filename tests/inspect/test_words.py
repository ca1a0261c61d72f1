"""Every schedule has words, and they say what the schedule does."""

import jax.numpy as jnp
import pytest

import gradtx
from gradtx.inspect.words import WORDS, in_words
from tests.conformance.cases import SCHEDULES

CASES = {
    "0.001": gradtx.constant_schedule(1e-3),
    "linear from 1 to 0 over 100 steps": gradtx.linear_schedule(1.0, 0.0, 100),
    "linear from 1 to 0 over 100 steps, beginning at step 5": gradtx.linear_schedule(1.0, 0.0, 100, 5),
    "polynomial of power 2 from 1 to 0 over 10 steps": gradtx.polynomial_schedule(1.0, 0.0, 2, 10),
    "linear from 1 to 0 over 10 steps": gradtx.polynomial_schedule(1.0, 0.0, 1, 10),
    "cosine from 0.1 to 0.01 at 50": gradtx.cosine_decay_schedule(0.1, 50, alpha=0.1),
    "cosine to the power 2 from 0.1 to 0 at 50": gradtx.cosine_decay_schedule(0.1, 50, exponent=2),
    "1, times 0.5 every 10 steps": gradtx.exponential_decay(1.0, 10, 0.5),
    "1, times 0.5 every 10 steps at once, no further than 0.1": gradtx.exponential_decay(
        1.0, 10, 0.5, staircase=True, end_value=0.1
    ),
    "1, times exp(-0.5) every 10 steps": gradtx.natural_exp_decay(1.0, 10, 0.5),
    "1 / (1 + 0.5 step / 10), in stairs": gradtx.inverse_time_decay(1.0, 10, 0.5, staircase=True),
    "1 / (1 + 0.5 step / 10)^0.5": gradtx.inverse_time_decay(1.0, 10, 0.5, power=0.5),
    "hyperbola of curvature 0.9 from 1 to 0 over 10 steps, beginning at step 5": gradtx.rex_schedule(
        1.0, 0.0, 10, 0.9, 5
    ),
    "(linear from 1 to 0 over 10 steps), again from 10": gradtx.repeat_schedule(
        gradtx.linear_schedule(1.0, 0.0, 10), 10
    ),
    "(cosine from 1 to 0 at 10), again from 10, each cycle 2 times longer, each cycle times 0.5": (
        gradtx.repeat_schedule(gradtx.cosine_decay_schedule(1.0, 10), 10, 2.0, 0.5)
    ),
    "warm-up from 0 to 1 over 4 steps, cosine to 0.1 over 3 steps before each of 10, 20": gradtx.wsds_schedule(
        0.0, 1.0, 4, [10, 20], 3, 0.1, "cosine"
    ),
    "1, 0.5 from 10, 0.05 from 20": gradtx.piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.1}),
    "1, cosine to 0.5 at 10": gradtx.piecewise_interpolate_schedule("cosine", 1.0, {10: 0.5}),
    "warm-up from 0 to 0.001 over 1000 steps": gradtx.warmup_constant_schedule(0.0, 1e-3, 1000),
    "warm-up from 0 to 0.001 over 1000 steps, cosine to 0 at 10000": gradtx.warmup_cosine_decay_schedule(
        0.0, 1e-3, 1000, 10_000
    ),
    "warm-up from 0 to 1 over 4 steps, times 0.5 every 10 steps, beginning 3 steps later": (
        gradtx.warmup_exponential_decay_schedule(0.0, 1.0, 4, 10, 0.5, 3)
    ),
    "warm-up from 0 to 1 over 4 steps, stable to 9, 1-sqrt to 0 at 29": gradtx.warmup_stable_decay_schedule(
        0.0, 1.0, 4, 5, 20, decay_type="1-sqrt"
    ),
    "cosine from 0.04 to 1 at 30, cosine to 4e-06 at 100": gradtx.cosine_onecycle_schedule(100, 1.0),
    "linear from 0.04 to 1 at 30, to 0.04 at 85, to 4e-06 at 100": gradtx.linear_onecycle_schedule(100, 1.0),
    "warm-up from 0 to 1 over 2 steps, cosine to 0 at 5; then warm-up from 0 to 0.5 over 1 steps, cosine to 0 at 5": (
        gradtx.sgdr_schedule(
            [
                {"init_value": 0.0, "peak_value": peak, "warmup_steps": warmup, "decay_steps": 5}
                for peak, warmup in ((1.0, 2), (0.5, 1))
            ]
        )
    ),
    "1; from 10: cosine from 1 to 0 at 5": gradtx.join_schedules(
        [gradtx.constant_schedule(1.0), gradtx.cosine_decay_schedule(1.0, 5)], [10]
    ),
    "(linear from 0 to 1 over 10 steps) * 0.5": gradtx.linear_schedule(0.0, 1.0, 10) * 0.5,
    "1 / (linear from 0 to 1 over 10 steps)": 1 / gradtx.linear_schedule(0.0, 1.0, 10),
    "half-life linear from 0.9 to 0.999 over 10 steps": gradtx.half_life_schedule(0.9, 0.999, 10),
    "0, then rising to 1: Adam's rectification for b2 0.999 from 4": gradtx.rectification_schedule(),
    "rising from 0.1 to 0.999": gradtx.ema_warmup_decay(0.999),
    "rising from 0 to 1: step k weighs about k^6.94": gradtx.power_function_decay(),
    "rising from 0 to 0.9: 0.9 without bias": gradtx.debiased_decay(0.9),
    "0.1, times 0.5 after 3 observations of 'value' without improvement": gradtx.plateau_schedule(0.1, 0.5, 3),
    "0.1, times 0.1 after 10 observations of 'loss' without improvement, not below 0.001": gradtx.plateau_schedule(
        0.1, min_value=1e-3, monitor="loss"
    ),
    "the function sqrt": gradtx.custom_schedule(jnp.sqrt),
}


@pytest.mark.parametrize("words", CASES)
def test_words(words):
    assert in_words(CASES[words]) == words


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_has_words(name):
    assert name in WORDS
    assert in_words(SCHEDULES[name]) != repr(SCHEDULES[name])


def test_what_has_no_words_is_shown_as_text():
    swept = gradtx.linear_schedule(jnp.array([0.1, 0.2]), 0.0, 10)
    assert in_words(swept) == repr(swept)
    assert str(gradtx.describe(gradtx.linear_schedule(1.0, 0.0, 5))) == "schedule\nlinear from 1 to 0 over 5 steps"
