import itertools
import math

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradtx import errors, schedules

from .checks import STEPS, check_few_steps, check_formula, drawn, values, x64

fractions = st.integers(0, 100).map(lambda n: n / 100)
factors = st.floats(0.5, 100)


def through(points, shape):
    """The curve through points (step, value), of which only the last at any step counts."""

    def formula(n):
        for (here, value), (there, target) in itertools.pairwise(points):
            if here <= n < there:
                return value + (target - value) * shape((n - here) / (there - here))
        return points[-1][1]

    return formula


def whole(percent, steps):
    """The product of a fraction given in hundredths and an integer, rounded down without rounding errors."""
    return round(100 * percent) * steps // 100


# --- against the formulas ---------------------------------------------------------------------------------------------


@drawn
@given(st.integers(0, 200), values, fractions, factors, factors)
def test_cosine_onecycle(steps, peak, start, div, final):
    points = [(0, peak / div), (whole(start, steps), peak), (steps, peak / div / final)]
    formula = through(points, lambda x: (1 - math.cos(math.pi * x)) / 2)
    scale = abs(peak) * max(1, 1 / div, 1 / div / final)
    check_formula(lambda: schedules.cosine_onecycle_schedule(steps, peak, start, div, final), formula, scale)


@drawn
@given(st.integers(0, 200), values, st.tuples(fractions, fractions).map(sorted), factors, factors)
def test_linear_onecycle(steps, peak, pcts, div, final):
    points = [
        (0, peak / div),
        (whole(pcts[0], steps), peak),
        (whole(pcts[1], steps), peak / div),
        (steps, peak / div / final),
    ]
    scale = abs(peak) * max(1, 1 / div, 1 / div / final)
    make = lambda: schedules.linear_onecycle_schedule(steps, peak, *pcts, div, final)  # noqa: E731
    check_formula(make, through(points, lambda x: x), scale)


cycles = st.lists(
    st.fixed_dictionaries(
        {"init_value": values, "peak_value": values, "warmup_steps": st.integers(0, 8), "fall": st.integers(0, 20)},
        optional={"end_value": values, "exponent": st.floats(0.5, 2)},
    ),
    min_size=1,
    max_size=4,
)


@drawn
@given(cycles)
def test_sgdr(drawn_cycles):
    arguments = [
        {k: v for k, v in c.items() if k != "fall"} | {"decay_steps": c["warmup_steps"] + c["fall"]}
        for c in drawn_cycles
    ]

    def formula(n):
        for i, c in enumerate(arguments):
            if n < c["decay_steps"] or i == len(arguments) - 1:
                break
            n -= c["decay_steps"]
        if n < c["warmup_steps"]:
            return c["init_value"] + (c["peak_value"] - c["init_value"]) * n / c["warmup_steps"]
        end = c.get("end_value", 0.0)
        if n >= c["decay_steps"]:
            return end
        x = (n - c["warmup_steps"]) / (c["decay_steps"] - c["warmup_steps"])
        return end + (c["peak_value"] - end) * ((1 + math.cos(math.pi * x)) / 2) ** c.get("exponent", 1.0)

    scale = max(abs(c[k]) for c in arguments for k in ("init_value", "peak_value", "end_value") if k in c)
    check_formula(lambda: schedules.sgdr_schedule(arguments), formula, scale)


# --- known values and few steps ---------------------------------------------------------------------------------------


def test_known_values():
    cosine = {0: 0.04, 15: 0.52, 30: 1, 65: 0.500002, 100: 4e-6}
    linear = {0: 0.04, 15: 0.52, 30: 1, 57: 0.52872727, 85: 0.04, 100: 4e-6}
    for step, value in cosine.items():
        assert float(schedules.cosine_onecycle_schedule(100, 1.0)(step)) == pytest.approx(value, rel=1e-6)
    for step, value in linear.items():
        assert float(schedules.linear_onecycle_schedule(100, 1.0)(step)) == pytest.approx(value, rel=1e-6)


COSINE = {"peak_value": 2.0, "div_factor": 2.0, "final_div_factor": 4.0}
FEW = [
    (
        lambda n: schedules.cosine_onecycle_schedule(n, **COSINE),
        {0: [0.25, 0.25, 0.25], 1: [2, 0.25, 0.25], 2: [2, 1.125, 0.25]},
    ),
    (
        lambda n: schedules.cosine_onecycle_schedule(n, pct_start=1.0, **COSINE),
        {0: [0.25, 0.25, 0.25], 1: [1, 0.25, 0.25], 2: [1, 1.5, 0.25]},
    ),
    (
        lambda n: schedules.linear_onecycle_schedule(n, **COSINE),
        {0: [0.25, 0.25, 0.25], 1: [1, 0.25, 0.25], 2: [2, 1, 0.25]},
    ),
]


@pytest.mark.parametrize(("make", "expected"), FEW, ids=[repr(make(2)) for make, _ in FEW])
def test_few_steps_given_or_traced(make, expected):
    check_few_steps(make, expected)


@pytest.mark.parametrize(("pct", "steps", "peak"), [(0.29, 100, 29), (0.53, 100, 53), (0.3, 10, 3), (0.35, 10, 3)])
def test_the_peak_is_at_the_whole_step_the_fraction_means(pct, steps, peak):
    made = schedules.cosine_onecycle_schedule(steps, 1.0, pct)
    assert made(peak) == 1
    assert jax.jit(lambda made: made(peak))(made) == 1
    assert made(peak - 1) < 1
    assert made(peak + 1) < 1


@pytest.mark.parametrize("made", [schedules.cosine_onecycle_schedule, schedules.linear_onecycle_schedule])
def test_equal_to_optax(made):
    theirs = getattr(optax, made.__name__)
    with x64():
        for steps in (20, 40, 133):
            arguments = (steps, 0.3, 0.25)
            expected = jax.jit(jax.vmap(theirs(*arguments, final_div_factor=50.0)))(np.arange(140))
            ours = made(*arguments, final_div_factor=50.0)(np.arange(140))
            np.testing.assert_allclose(ours, expected, rtol=1e-11)


def test_sgdr_equals_optax():
    with x64():
        cycle = {"init_value": 0.1, "peak_value": 1.0, "warmup_steps": 3, "decay_steps": 10, "end_value": 0.05}
        arguments = [cycle, cycle | {"decay_steps": 20, "exponent": 2.0}, cycle | {"peak_value": 0.5}]
        expected = optax.sgdr_schedule(arguments)(STEPS)
        np.testing.assert_allclose(schedules.sgdr_schedule(arguments)(STEPS), expected, rtol=1e-12)


def test_sgdr_skips_a_cycle_without_steps():
    cycle = {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 1, "decay_steps": 3}
    empty = {"init_value": 7.0, "peak_value": 7.0, "warmup_steps": 0, "decay_steps": 0}
    with_empty, without = schedules.sgdr_schedule([cycle, empty, cycle]), schedules.sgdr_schedule([cycle, cycle])
    assert with_empty.sample(8).tolist() == without.sample(8).tolist()


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: schedules.linear_onecycle_schedule(10, 1.0, 0.5, 0.4),
            (
                "gradtx.linear_onecycle_schedule: expected pct_start to be at most pct_final, got 0.5 > 0.4; "
                "the peak comes before the way back"
            ),
        ),
        (
            lambda: schedules.cosine_onecycle_schedule(10, 1.0, div_factor=0.0),
            "gradtx.cosine_onecycle_schedule: expected div_factor in (0, inf), got 0.0",
        ),
        (
            lambda: schedules.cosine_onecycle_schedule(10, 1.0, pct_start=30),
            "gradtx.cosine_onecycle_schedule: expected pct_start in [0, 1], got 30",
        ),
        (
            lambda: schedules.sgdr_schedule([]),
            "gradtx.sgdr_schedule: expected at least one cycle, got none; use constant_schedule(value)",
        ),
        (
            lambda: schedules.sgdr_schedule([0.1]),
            (
                "gradtx.sgdr_schedule: expected cosine_kwargs to be a list or tuple of mappings, got [0.1]; "
                "give one mapping of arguments per cycle"
            ),
        ),
        (
            lambda: schedules.sgdr_schedule([{"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 1}]),
            (
                "gradtx.warmup_cosine_decay_schedule: expected arguments (init_value, peak_value, warmup_steps, "
                "decay_steps, end_value, exponent), got no decay_steps"
            ),
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises((errors.ArgumentValueError, errors.ArgumentTypeError)) as caught:
        make()
    assert str(caught.value) == message
