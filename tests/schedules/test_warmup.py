import math

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradtx import errors, schedules

from .checks import STEPS, check_few_steps, check_formula, drawn, lengths, values, x64


def ramp(n, init, peak, steps):
    return init + (peak - init) * n / steps


SHAPES = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "1-sqrt": lambda x: 1 - math.sqrt(x),
}


# --- against the formulas ---------------------------------------------------------------------------------------------


@drawn
@given(values, values, lengths)
def test_warmup_constant(init, peak, warmup):
    def formula(n):
        return ramp(n, init, peak, warmup) if n < warmup else peak

    scale = max(abs(init), abs(peak))
    check_formula(lambda: schedules.warmup_constant_schedule(init, peak, warmup), formula, scale)


@drawn
@given(values, values, lengths, lengths, values, st.floats(0.25, 4))
def test_warmup_cosine(init, peak, warmup, fall, end, exponent):
    def formula(n):
        if n < warmup:
            return ramp(n, init, peak, warmup)
        if n >= warmup + fall:
            return end
        return end + (peak - end) * SHAPES["cosine"]((n - warmup) / fall) ** exponent

    def make():
        return schedules.warmup_cosine_decay_schedule(init, peak, warmup, warmup + fall, end, exponent)

    check_formula(make, formula, max(abs(init), abs(peak), abs(end)))


@drawn
@given(values, values, lengths, lengths, st.floats(0.05, 1.0001), lengths, st.booleans(), st.none() | values)
def test_warmup_exponential(init, peak, warmup, steps, rate, begin, staircase, end):
    def formula(n):
        if n < warmup:
            return ramp(n, init, peak, warmup)
        if steps == 0:
            return peak
        x = max(n - warmup - begin, 0) / steps
        y = peak * rate ** (math.floor(x) if staircase else x)
        if end is None:
            return y
        return max(y, end) if (rate < 1) == (peak >= 0) else min(y, end)

    def make():
        return schedules.warmup_exponential_decay_schedule(
            init, peak, warmup, steps, rate, begin, staircase, end_value=end
        )

    check_formula(make, formula, max(abs(init), abs(peak)), rtol=2e-5)


@drawn
@given(values, values, lengths, lengths, lengths, values, st.sampled_from(sorted(SHAPES)))
def test_warmup_stable_decay(init, peak, warmup, stable, decay, end, kind):
    def formula(n):
        if n < warmup:
            return ramp(n, init, peak, warmup)
        if n < warmup + stable:
            return peak
        if n >= warmup + stable + decay:
            return end
        return end + (peak - end) * SHAPES[kind]((n - warmup - stable) / decay)

    def make():
        return schedules.warmup_stable_decay_schedule(init, peak, warmup, stable, decay, end, kind)

    check_formula(make, formula, max(abs(init), abs(peak), abs(end)))


@drawn
@given(
    values, values, lengths, st.lists(lengths, min_size=1, max_size=4), lengths, values, st.sampled_from(sorted(SHAPES))
)
def test_wsds(init, peak, warmup, stable, decay, end, kind):
    checkpoints = (warmup + np.cumsum([steps + decay for steps in stable])).tolist()

    def formula(n):
        if n < warmup:
            return ramp(n, init, peak, warmup)
        if n >= checkpoints[-1]:
            return end
        left = next(c for c in checkpoints if n < c) - n
        return peak if left > decay else end + (peak - end) * SHAPES[kind](1 - left / decay)

    def make():
        return schedules.wsds_schedule(init, peak, warmup, checkpoints, decay, end, kind)

    check_formula(make, formula, max(abs(init), abs(peak), abs(end)))


def test_wsds_with_one_checkpoint_is_wsd():
    one = schedules.wsds_schedule(0.1, 1.0, 5, [30], 10, 0.2, "1-sqrt")
    np.testing.assert_array_equal(
        one(STEPS), schedules.warmup_stable_decay_schedule(0.1, 1.0, 5, 15, 10, 0.2, "1-sqrt")(STEPS)
    )


# --- known values, ends and few steps ---------------------------------------------------------------------------------


def test_known_values():
    made = schedules.warmup_cosine_decay_schedule(0.0, 1.0, 10, 100, 0.1)
    for step, value in {0: 0, 5: 0.5, 10: 1, 55: 0.55, 100: 0.1}.items():
        assert float(made(step)) == pytest.approx(value, abs=6e-7)
    made = schedules.warmup_stable_decay_schedule(0.0, 1.0, 10, 40, 50, 0.2, "1-sqrt")
    for step, value in {0: 0, 5: 0.5, 10: 1, 50: 1, 62.5: 0.6, 82: 0.36, 100: 0.2, 200: 0.2}.items():
        assert float(made(step)) == pytest.approx(value, abs=6e-7)


FEW = [
    (lambda n: schedules.warmup_constant_schedule(1.0, 3.0, n), {0: [3, 3, 3], 1: [1, 3, 3], 2: [1, 2, 3]}),
    (
        lambda n: schedules.warmup_cosine_decay_schedule(1.0, 3.0, n, 2, 5.0),
        {0: [3, 4, 5], 1: [1, 3, 5], 2: [1, 2, 5]},
    ),
    (
        lambda n: schedules.warmup_cosine_decay_schedule(1.0, 3.0, 0, n, 5.0),
        {0: [5, 5, 5], 1: [3, 5, 5], 2: [3, 4, 5]},
    ),
    (
        lambda n: schedules.warmup_cosine_decay_schedule(1.0, 0.0, n, n, 5.0),
        {0: [5, 5, 5], 1: [1, 5, 5], 2: [1, 0.5, 5]},
    ),
    (
        lambda n: schedules.warmup_exponential_decay_schedule(1.0, 4.0, n, 1, 0.5),
        {0: [4, 2, 1], 1: [1, 4, 2], 2: [1, 2.5, 4]},
    ),
    (
        lambda n: schedules.warmup_exponential_decay_schedule(1.0, 4.0, 1, n, 0.5),
        {0: [1, 4, 4], 1: [1, 4, 2], 2: [1, 4, 4 / math.sqrt(2)]},
    ),
    (
        lambda n: schedules.warmup_stable_decay_schedule(1.0, 3.0, n, n, n, 5.0, "1-sqrt"),
        {
            0: [5, 5, 5, 5, 5, 5, 5],
            1: [1, 3, 3, 5, 5, 5, 5],
            2: [1, 2, 3, 3, 3, 5 - 2 * (1 - math.sqrt(0.5)), 5],
        },
    ),
]


@pytest.mark.parametrize(("make", "expected"), FEW, ids=[repr(make(2)) for make, _ in FEW])
def test_few_steps_given_or_traced(make, expected):
    check_few_steps(make, expected)


@drawn
@given(values, values, values, lengths, lengths, st.floats(0, 3))
def test_the_end_value_is_met_exactly_and_held(init, peak, end, warmup, fall, exponent):
    total = warmup + fall
    made = [schedules.warmup_cosine_decay_schedule(init, peak, warmup, total, end, exponent)]
    made += [schedules.warmup_stable_decay_schedule(init, peak, warmup, 3, fall, end, kind) for kind in SHAPES]
    for s in made:
        assert s(total + 3) == s(10**6) == np.float32(end)
        if warmup > 0:
            assert s(0) == np.float32(init)
        if fall > 0 and exponent > 0:
            assert s(warmup) == np.float32(peak)


# --- Optax ------------------------------------------------------------------------------------------------------------


@drawn
@given(
    values, values.filter(bool), st.integers(1, 40), st.integers(1, 40), values, st.floats(0.5, 2), st.floats(0.1, 1)
)
def test_equal_to_optax_where_it_means_the_same(init, peak, warmup, fall, end, exponent, rate):
    with x64():
        pairs = [
            (
                schedules.warmup_cosine_decay_schedule,
                optax.warmup_cosine_decay_schedule,
                (init, peak, warmup, warmup + fall, end, exponent),
            ),
            (schedules.warmup_constant_schedule, optax.warmup_constant_schedule, (init, peak, warmup)),
            (
                schedules.warmup_exponential_decay_schedule,
                optax.warmup_exponential_decay_schedule,
                (init, abs(peak), warmup, fall, rate, 3, True, end),
            ),
        ]
        for ours, theirs, arguments in pairs:
            expected = theirs(*arguments)(STEPS)
            np.testing.assert_allclose(ours(*arguments)(STEPS), expected, rtol=1e-9, atol=1e-9, err_msg=str(ours))


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_warmup_longer_than_the_whole_is_an_error():
    with pytest.raises(errors.ArgumentValueError) as caught:
        schedules.warmup_cosine_decay_schedule(0.0, 1.0, 11, 10)
    assert str(caught.value) == (
        "gradtx.warmup_cosine_decay_schedule: expected warmup_steps to be at most decay_steps, got 11 > 10; "
        "decay_steps is the length of the whole schedule, with the warm-up"
    )
    traced = jax.jit(lambda warmup: schedules.warmup_cosine_decay_schedule(0.0, 1.0, warmup, 10, 0.5).sample(13))
    assert np.all(np.isfinite(traced(11)))
    assert traced(11)[-1] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, [5], 2), "expected checkpoints far enough apart, got 5 after 0 with 2 steps of decay; the warm-up and a"),
        ((1, [5, 6], 2), "expected checkpoints far enough apart, got 6 after 5 with 2 steps of decay"),
        ((1, [], 2), "expected checkpoints to be at least one step, got none; give the step at which the run ends"),
        ((1, 5, 2), "expected checkpoints to be a sequence of numbers in [0, inf), got 5 (int)"),
    ],
)
def test_wsds_says_where_there_is_no_time_for_a_decay(arguments, message):
    with pytest.raises(errors.GradtxError) as caught:
        schedules.wsds_schedule(0.0, 1.0, *arguments)
    assert str(caught.value).startswith(f"gradtx.wsds_schedule: {message}")


def test_an_unknown_kind_of_decay_is_an_error():
    with pytest.raises(errors.ArgumentValueError, match="decay_type to be one of 'linear', 'cosine', '1-sqrt'"):
        schedules.warmup_stable_decay_schedule(0.0, 1.0, 1, 1, 1, decay_type="sqrt")
