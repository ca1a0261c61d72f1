import math

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradtx
from gradtx import schedules

from .checks import STEPS, check_few_steps, check_formula, drawn, lengths, positive, values, x64


def polynomial(init, end, power, steps, begin=0):
    def formula(n):
        if n < begin:
            return init
        if n >= begin + steps:
            return end
        return (init - end) * (1 - (n - begin) / steps) ** power + end

    return formula


def exponential(init, steps, rate, begin=0, staircase=False, end=None):
    def formula(n):
        if steps == 0 or rate == 0:
            return init
        x = max(n - begin, 0) / steps
        y = init * rate ** (math.floor(x) if staircase else x)
        if end is None:
            return y
        falls = rate < 1 if init >= 0 else rate >= 1
        return max(y, end) if falls else min(y, end)

    return formula


# --- against the formulas ---------------------------------------------------------------------------------------------


@drawn
@given(values, values, lengths, lengths)
def test_linear(init, end, steps, begin):
    scale = max(abs(init), abs(end))
    check_formula(
        lambda: schedules.linear_schedule(init, end, steps, begin), polynomial(init, end, 1, steps, begin), scale
    )


@drawn
@given(values, values, st.floats(0.25, 4), lengths, lengths)
def test_polynomial(init, end, power, steps, begin):
    make = lambda: schedules.polynomial_schedule(init, end, power, steps, begin)  # noqa: E731
    check_formula(make, polynomial(init, end, power, steps, begin), max(abs(init), abs(end)))


@drawn
@given(values, values, st.sampled_from([0.0, 0.5, 0.9, 0.99]), lengths, lengths)
def test_rex(init, end, curvature, steps, begin):
    def formula(n):
        if n < begin:
            return init
        if n >= begin + steps:
            return end
        z = (n - begin) / steps
        return (init - end) * (1 - z) / (1 - curvature * z) + end

    make = lambda: schedules.rex_schedule(init, end, steps, curvature, begin)  # noqa: E731
    check_formula(make, formula, max(abs(init), abs(end)), rtol=1e-5)


def test_rex_is_that_of_the_paper_and_of_its_authors():
    at = np.array([5, 10, 15, 18])
    paper, code = schedules.rex_schedule(1.0, 0.0, 20), schedules.rex_schedule(1.0, 0.0, 20, 0.9)
    np.testing.assert_allclose(paper(at), [0.857143, 0.666667, 0.4, 0.181818], rtol=2e-6)
    np.testing.assert_allclose(code(at), [0.967742, 0.909091, 0.769231, 0.526316], rtol=2e-6)


@drawn
@given(values, lengths, positive, st.floats(0.25, 4))
def test_cosine(init, steps, alpha, exponent):
    def formula(n):
        if n >= steps:
            return init * alpha
        return init * ((1 - alpha) * (0.5 * (1 + math.cos(math.pi * n / steps))) ** exponent + alpha)

    check_formula(lambda: schedules.cosine_decay_schedule(init, steps, alpha, exponent), formula, abs(init))


@drawn
@given(values, lengths, st.just(0) | st.floats(0.05, 1.0001), lengths, st.booleans(), st.none() | values)
def test_exponential(init, steps, rate, begin, staircase, end):
    make = lambda: schedules.exponential_decay(init, steps, rate, begin, staircase, end)  # noqa: E731
    # The relative error of a float32 exponential grows with its exponent.
    check_formula(make, exponential(init, steps, rate, begin, staircase, end), abs(init), rtol=2e-5)


@drawn
@given(values, lengths, st.floats(0, 2), st.booleans())
def test_natural_exponential(init, steps, rate, staircase):
    def formula(n):
        x = n / steps if steps else 0
        return init * math.exp(-rate * (math.floor(x) if staircase else x))

    make = lambda: schedules.natural_exp_decay(init, steps, rate, staircase)  # noqa: E731
    check_formula(make, formula, abs(init), rtol=2e-5)


def test_natural_exponential_is_exponential_with_another_rate():
    natural = schedules.natural_exp_decay(2.0, 7, 0.3, True)
    np.testing.assert_allclose(
        natural(STEPS), schedules.exponential_decay(2.0, 7, math.exp(-0.3), 0, True)(STEPS), 1e-5
    )


@drawn
@given(values, lengths, st.floats(0, 3), st.booleans(), st.sampled_from([0.0, 0.5, 1, 2.0]))
def test_inverse_time(init, steps, rate, staircase, power):
    def formula(n):
        x = n / steps if steps else 0
        return init / (1 + rate * (math.floor(x) if staircase else x)) ** power

    check_formula(lambda: schedules.inverse_time_decay(init, steps, rate, staircase, power), formula)


@drawn
@given(st.just(0.0) | st.floats(0.01, 0.99999))
def test_debiased_decay(decay):
    def formula(n):
        # (1 - b^k) = (1 - b) (1 + b + ... + b^(k-1)): free of cancellation.
        terms = decay ** np.arange(min(n + 1, 20_000), dtype=np.float64)
        limit = terms.sum() if n < 20_000 else (1 - decay ** (n + 1)) / (1 - decay)
        before = terms[:-1].sum() if n < 20_000 else (1 - decay**n) / (1 - decay)
        return decay * before / limit

    # At the far steps the reference itself loses digits: 1 - decay is rounded.
    check_formula(lambda: schedules.debiased_decay(decay), formula)


factors = st.floats(0.01, 0.9999)


@drawn
@given(factors, factors, lengths, lengths)
def test_half_life(init, end, steps, begin):
    """The authors' code interpolates f(b) = log(0.5) / log(b) - 1 and inverts it: 0.5^(1 / (f + 1))."""

    def formula(n):
        s = min(max(n - begin, 0) / steps, 1) if steps else float(n >= begin)
        half_life = (1 - s) * math.log(0.5) / math.log(init) + s * math.log(0.5) / math.log(end)
        return 0.5 ** (1 / half_life)

    check_formula(lambda: schedules.half_life_schedule(init, end, steps, begin), formula)


@drawn
@given(factors, factors, lengths, lengths)
def test_both_factors_are_met_exactly(init, end, steps, begin):
    made = schedules.half_life_schedule(init, end, steps, begin)
    assert made(begin + steps) == made(10**6) == np.float32(end)
    assert steps == 0 or made(begin) == made(0) == np.float32(init)


def test_half_lives_are_equally_spaced():
    with x64():
        half_lives = math.log(0.5) / np.log(np.asarray(schedules.half_life_schedule(0.9, 0.9999, 10).sample(11)))
    np.testing.assert_allclose(np.diff(half_lives), (6931.1252 - 6.5788) / 10, rtol=1e-6)


scales = st.dictionaries(st.integers(0, 60), st.integers(0, 2000).map(lambda n: n / 1000), max_size=5)


@drawn
@given(values, scales)
def test_piecewise_constant(init, boundaries_and_scales):
    def formula(n):
        return init * math.prod(scale for boundary, scale in boundaries_and_scales.items() if boundary <= n)

    check_formula(lambda: schedules.piecewise_constant_schedule(init, boundaries_and_scales), formula)


@drawn
@given(st.sampled_from(["linear", "cosine"]), values, scales)
def test_piecewise_interpolate(kind, init, boundaries_and_scales):
    def formula(n):
        here, value = 0, init
        for boundary, scale in sorted(boundaries_and_scales.items()):
            if n < boundary:
                x = (n - here) / (boundary - here)
                x = x if kind == "linear" else (1 - math.cos(math.pi * x)) / 2
                return value + (scale * value - value) * x
            here, value = boundary, scale * value
        return value

    make = lambda: schedules.piecewise_interpolate_schedule(kind, init, boundaries_and_scales)  # noqa: E731
    check_formula(make, formula, 32 * abs(init))


# --- known values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (schedules.cosine_decay_schedule(1.0, 100, 0.1), {0: 1, 25: 0.868198, 50: 0.55, 100: 0.1, 120: 0.1}),
        (schedules.exponential_decay(1.0, 10, 0.5), {3: 0.812252, 9: 0.535887, 15: 0.353553}),
        (schedules.exponential_decay(1.0, 10, 0.5, staircase=True), {9: 1, 10: 0.5, 20: 0.25}),
        (schedules.exponential_decay(1.0, 10, 0.5, 5), {0: 1, 5: 1, 9: 0.757858}),
        (schedules.exponential_decay(1.0, 10, 0.5, end_value=0.3), {9: 0.535887, 25: 0.3}),
        (schedules.exponential_decay(1.0, 10, 0.5, 5, True, 0.3), {0: 1, 9: 1, 15: 0.5, 20: 0.5, 25: 0.3}),
        (schedules.natural_exp_decay(1.0, 10, 0.5), {0: 1, 5: 0.778801, 10: 0.606531, 15: 0.472367, 20: 0.367879}),
        (schedules.natural_exp_decay(1.0, 10, 0.5, True), {0: 1, 5: 1, 10: 0.606531, 15: 0.606531, 20: 0.367879}),
        (schedules.debiased_decay(0.9), {0: 0, 1: 0.9 * 0.1 / 0.19, 2: 0.9 * 0.19 / 0.271}),
    ],
    ids=lambda x: repr(x) if isinstance(x, gradtx.Schedule) else "",
)
def test_known_values(made, expected):
    for step, value in expected.items():
        assert float(made(step)) == pytest.approx(value, abs=6e-7)


# --- ends and few steps -----------------------------------------------------------------------------------------------


@drawn
@given(values, values, st.floats(0, 4), lengths, lengths)
def test_both_ends_are_met_exactly(init, end, power, steps, begin):
    first, last = np.float32(init), np.float32(end)
    for made in (
        schedules.linear_schedule(init, end, steps, begin),
        schedules.polynomial_schedule(init, end, power, steps, begin),
    ):
        for step in (begin + steps, begin + steps + 1, 10**6):
            assert made(step) == last
        for step in (0, begin - 1, begin):
            if step < begin or steps > 0:
                assert made(step) == first


@drawn
@given(values, st.integers(1, 40), st.floats(0, 4))
def test_cosine_ends_are_met_exactly(init, steps, exponent):
    made = schedules.cosine_decay_schedule(init, steps, 0.25, exponent)
    assert made(0) == np.float32(init)
    assert made(steps) == made(10**6) == np.float32(init) * np.float32(0.25)


FEW = [
    (lambda n: schedules.linear_schedule(1.0, 3.0, n, 1), {0: [1, 3, 3, 3], 1: [1, 1, 3, 3], 2: [1, 1, 2, 3]}),
    (lambda n: schedules.polynomial_schedule(1.0, 3.0, 2, n), {0: [3, 3, 3], 1: [1, 3, 3], 2: [1, 2.5, 3]}),
    (lambda n: schedules.polynomial_schedule(1.0, 3.0, 0, n), {0: [3, 3, 3], 1: [1, 3, 3], 2: [1, 1, 3]}),
    (lambda n: schedules.cosine_decay_schedule(2.0, n, 0.5), {0: [1, 1, 1], 1: [2, 1, 1], 2: [2, 1.5, 1]}),
    (
        lambda n: schedules.exponential_decay(2.0, n, 0.25, end_value=1.5),
        {0: [2, 2, 2], 1: [2, 1.5, 1.5], 2: [2, 1.5, 1.5]},
    ),
    (lambda n: schedules.exponential_decay(2.0, n, 0.25, 1), {0: [2, 2, 2], 1: [2, 2, 0.5], 2: [2, 2, 1]}),
    (lambda n: schedules.exponential_decay(2.0, n, 0, end_value=1.0), {0: [2, 2, 2], 1: [2, 2, 2], 2: [2, 2, 2]}),
    (lambda n: schedules.natural_exp_decay(2.0, n, math.log(4)), {0: [2, 2, 2], 1: [2, 0.5, 0.125], 2: [2, 1, 0.5]}),
    (lambda n: schedules.rex_schedule(1.0, 3.0, n), {0: [3, 3, 3], 1: [1, 3, 3], 2: [1, 5 / 3, 3]}),
    (lambda n: schedules.inverse_time_decay(2.0, n, 1), {0: [2, 2, 2], 1: [2, 1, 2 / 3], 2: [2, 4 / 3, 1]}),
]


@pytest.mark.parametrize(("make", "expected"), FEW, ids=[repr(make(2)) for make, _ in FEW])
def test_few_steps_given_or_traced(make, expected):
    check_few_steps(make, expected)


@pytest.mark.parametrize(
    "made",
    [
        schedules.piecewise_constant_schedule(0.7),
        schedules.piecewise_constant_schedule(0.7, {}),
        schedules.piecewise_interpolate_schedule("linear", 0.7),
        schedules.piecewise_interpolate_schedule("cosine", 0.7, {}),
    ],
)
def test_piecewise_without_boundaries_is_constant(made):
    assert made.sample(3).tolist() == [np.float32(0.7)] * 3


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_boundary_at_step_0_replaces_the_initial_value(kind):
    assert schedules.piecewise_constant_schedule(1.0, {0: 0.5}).sample(2).tolist() == [0.5, 0.5]
    made = schedules.piecewise_interpolate_schedule(kind, 1.0, {0: 0.5, 2: 2.0})
    np.testing.assert_allclose(made.sample(4), [0.5, 0.75, 1, 1], rtol=1e-6)


# --- accuracy and safety ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.9, 0.99, 0.999, 1.001])
def test_a_decay_of_every_step_keeps_its_digits(rate):
    n = np.arange(0, 5000, 7)
    np.testing.assert_allclose(schedules.exponential_decay(1.0, 1, rate)(n)[n < 800], rate ** n[n < 800], rtol=8e-6)
    if rate > 0.99:
        np.testing.assert_allclose(schedules.exponential_decay(1.0, 1, rate)(n), rate**n, rtol=2e-6)


@pytest.mark.parametrize("period", [3, 41, 47, 1000])
def test_stairs_change_at_whole_multiples(period):
    n = np.arange(0, 60 * period, period)
    made = schedules.exponential_decay(1.0, period, 0.9, staircase=True)
    for call in (made, jax.jit(made)):
        np.testing.assert_allclose(call(n), 0.9 ** (n // period), rtol=2e-6)
        np.testing.assert_allclose(call(n[1:] - 1), 0.9 ** (n[1:] // period - 1), rtol=2e-6)


def test_growth_without_end_value_stays_finite():
    for init in (0.0, 0.1, -1.0):
        made = schedules.exponential_decay(init, 1, 2.0)
        value, slope = jax.value_and_grad(lambda made: made(10_000))(made)
        assert np.isfinite(value)
        assert all(np.isfinite(x) for x in jax.tree.leaves(slope))
    assert schedules.exponential_decay(0.1, 1, 2.0, end_value=3.0)(10_000) == 3.0


def test_end_value_bounds_from_the_side_the_value_moves_to():
    end = {"transition_steps": 1, "end_value": 2.0}
    assert schedules.exponential_decay(4.0, decay_rate=0.5, **end).sample(4).tolist() == [4, 2, 2, 2]
    assert schedules.exponential_decay(1.0, decay_rate=1.5, **end).sample(4).tolist() == [1, 1.5, 2, 2]
    assert schedules.exponential_decay(3.0, decay_rate=1.0, **end).sample(2).tolist() == [2, 2]
    assert schedules.exponential_decay(1.0, decay_rate=0.5, **end).sample(2).tolist() == [2, 2]
    negative = schedules.exponential_decay(-4.0, 1, 0.5, end_value=-2.0)
    assert negative.sample(4).tolist() == [-4, -2, -2, -2]


def test_debiased_decay_makes_the_bias_correction_needless():
    with x64():
        decay, factors = 0.95, schedules.debiased_decay(0.95).sample(50)
        gradients = np.random.default_rng(0).normal(size=50)
        plain = debiased = 0.0
        for t, (g, b) in enumerate(zip(gradients, np.asarray(factors), strict=True), start=1):
            plain = decay * plain + (1 - decay) * g
            debiased = b * debiased + (1 - b) * g
            assert debiased == pytest.approx(plain / (1 - decay**t), rel=1e-12)


def test_debiased_decay_of_a_number_that_rounds_to_1():
    made = schedules.debiased_decay(1 - 1e-9)
    average = [0, 1 / 2, 2 / 3, 3 / 4]
    np.testing.assert_allclose(made.sample(4), average, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda made: made.sample(4))(made), average, rtol=1e-6)


def test_huge_numbers_of_steps():
    made = schedules.linear_schedule(1.0, 0.0, 10**12)
    np.testing.assert_allclose(made(10**9), 0.999, rtol=1e-6)
    assert schedules.linear_schedule(1.0, 0.0, 10**9)(10**10) == 0
    assert float(schedules.cosine_decay_schedule(1.0, 2**31 - 1)(2**30)) == pytest.approx(0.5, rel=1e-6)


# --- Optax ------------------------------------------------------------------------------------------------------------


@drawn
@given(values, values, st.integers(1, 40), lengths, st.floats(0.5, 3), st.floats(0.05, 1.0), positive)
def test_equal_to_optax_where_it_means_the_same(init, end, steps, begin, power, rate, alpha):
    with x64():
        pairs = [
            (schedules.linear_schedule, optax.linear_schedule, (init, end, steps, begin)),
            (schedules.polynomial_schedule, optax.polynomial_schedule, (init, end, power, steps, begin)),
            (schedules.cosine_decay_schedule, optax.cosine_decay_schedule, (init, steps, alpha, power)),
            (schedules.exponential_decay, optax.exponential_decay, (init, steps, rate, begin)),
            (schedules.exponential_decay, optax.exponential_decay, (abs(init), steps, rate, begin, True, end)),
            (schedules.exponential_decay, optax.exponential_decay, (init, 0, rate, begin)),
            (schedules.exponential_decay, optax.exponential_decay, (init, steps, 0.0, begin)),
            (
                schedules.piecewise_constant_schedule,
                optax.piecewise_constant_schedule,
                (init, {begin: alpha, begin + steps: rate}),
            ),
        ]
        for ours, theirs, arguments in pairs:
            expected = np.broadcast_to(theirs(*arguments)(STEPS), STEPS.shape)
            np.testing.assert_allclose(ours(*arguments)(STEPS), expected, rtol=1e-11, atol=1e-12, err_msg=str(ours))


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_piecewise_interpolate_equals_optax(kind):
    arguments = (kind, 2.0, {4: 0.1, 9: 3.0, 20: 0.5})
    ours, theirs = (
        schedules.piecewise_interpolate_schedule(*arguments),
        optax.piecewise_interpolate_schedule(*arguments),
    )
    np.testing.assert_allclose(ours.sample(30), [theirs(n) for n in range(30)], rtol=2e-6)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: schedules.linear_schedule(0.0, 1.0, -1),
            "gradtx.linear_schedule: expected transition_steps in [0, inf), got -1",
        ),
        (
            lambda: schedules.exponential_decay(float("nan"), 1, 0.5),
            "gradtx.exponential_decay: expected init_value in (-inf, inf), got nan",
        ),
        (
            lambda: schedules.piecewise_constant_schedule(1.0, {-3: 0.5}),
            "gradtx.piecewise_constant_schedule: expected boundaries_and_scales to have keys in [0, inf), got -3",
        ),
        (
            lambda: schedules.piecewise_interpolate_schedule("linear", 1.0, {"3": 0.5}),
            (
                "gradtx.piecewise_interpolate_schedule: expected boundaries_and_scales to have steps for keys, "
                "got '3' (str); write boundaries as int"
            ),
        ),
        (
            lambda: schedules.piecewise_constant_schedule(1.0, {3: -0.5}),
            "gradtx.piecewise_constant_schedule: expected boundaries_and_scales[3] in [0, inf), got -0.5",
        ),
        (
            lambda: schedules.piecewise_interpolate_schedule("cubic", 1.0),
            (
                "gradtx.piecewise_interpolate_schedule: expected interpolate_type to be one of 'linear', 'cosine', "
                "got 'cubic'"
            ),
        ),
        (
            lambda: schedules.half_life_schedule(0.9, 1.0, 5),
            "gradtx.half_life_schedule: expected end_value in (0, 1), got 1.0",
        ),
        (lambda: schedules.debiased_decay(1.0), "gradtx.debiased_decay: expected decay in [0, 1), got 1.0"),
    ],
)
def test_errors(make, message):
    with pytest.raises((gradtx.errors.ArgumentValueError, gradtx.errors.ArgumentTypeError)) as caught:
        make()
    assert str(caught.value) == message
