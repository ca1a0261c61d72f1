import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradtx
from gradtx import errors, schedules

from .checks import check_formula, drawn, values, x64

linear, constant, join = schedules.linear_schedule, schedules.constant_schedule, schedules.join_schedules


@drawn
@given(st.lists(st.tuples(values, values, st.integers(0, 20)), min_size=1, max_size=5))
def test_each_schedule_counts_from_its_boundary(members):
    boundaries = np.cumsum([steps for _, _, steps in members])[:-1].tolist()

    def formula(n):
        k = sum(boundary <= n for boundary in boundaries)
        n -= ([0, *boundaries])[k]
        init, end, _ = members[k]
        return init + (end - init) * min(n / 10, 1)

    make = lambda: join([linear(init, end, 10) for init, end, _ in members], boundaries)  # noqa: E731
    check_formula(make, formula, max(max(abs(init), abs(end)) for init, end, _ in members))


def test_empty_stretches_are_skipped():
    members = [constant(x) for x in (1.0, 2.0, 3.0, 4.0)]
    assert join(members, [0, 2, 2]).sample(4).tolist() == [2, 2, 4, 4]
    assert join(members[:1], []).sample(2).tolist() == [1, 1]


def test_boundaries_may_be_an_array_traced_or_not():
    members = [linear(0.0, 1.0, 4), linear(5.0, 6.0, 4), constant(9.0)]
    expected = join(members, [3, 6]).sample(10)
    assert join(members, jnp.array([3, 6])).sample(10).tolist() == expected.tolist()
    assert join(members, np.array([3.0, 6.0])).sample(10).tolist() == expected.tolist()
    traced = jax.jit(lambda boundaries: join(members, boundaries).sample(10))
    np.testing.assert_allclose(traced(jnp.array([3, 6])), expected, rtol=1e-6)
    np.testing.assert_allclose(traced(jnp.array([3.0, 6.0])), expected, rtol=1e-6)


def test_a_fractional_boundary_begins_at_the_next_step():
    assert join([constant(0.0), linear(1.0, 2.0, 2)], [1.5]).sample(5).tolist() == [0, 0, 1.25, 1.75, 2]


def test_functions_of_the_step_are_members():
    table = jnp.array([3.0, 1.0, 2.0])
    made = join([lambda n: 0.5 * n, lambda n: table[n]], [2])
    assert made.sample(5).tolist() == [0, 0.5, 3, 1, 2]
    assert join([optax.constant_schedule(7.0), constant(8.0)], [1]).sample(2).tolist() == [7, 8]
    inside = join([constant(0.0), join([constant(1.0), constant(2.0)], [1])], [1])
    assert inside.sample(4).tolist() == [0, 1, 2, 2]


def test_a_member_is_not_asked_about_steps_before_its_own():
    def slope(boundary):
        return jax.grad(lambda scale: join([constant(1.0), lambda n: jnp.sqrt(scale * n + 1.0)], [boundary])(0))(2.0)

    with jax.debug_nans(True):
        made = join([constant(1.0), lambda n: jnp.sqrt(n + 1.0)], [5])
        assert made.sample(7).tolist() == [1, 1, 1, 1, 1, 1, np.sqrt(np.float32(2))]
        assert slope(5) == 0


def test_equal_to_optax():
    arguments = (1.0, 0.1, 6), (0.5, 0.2, 3)
    ours = join([linear(*arguments[0]), linear(*arguments[1])], [4])
    theirs = optax.join_schedules([optax.linear_schedule(*arguments[0]), optax.linear_schedule(*arguments[1])], [4])
    np.testing.assert_allclose(ours.sample(12), [theirs(n) for n in range(12)], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: join([constant(1.0), schedules.plateau_schedule(0.5)], [5]),
            (
                "gradtx.join_schedules: expected schedules of the step alone, got plateau_schedule(init_value=0.5) at "
                "[1]; multiply instead: join_schedules(...) * plateau_schedule(1.0, ...)"
            ),
        ),
        (
            lambda: join([constant(1.0), 2 * schedules.plateau_schedule(0.5)], [5]),
            (
                "gradtx.join_schedules: expected schedules of the step alone, got multiply_schedules(left=2, "
                "right=plateau_schedule(init_value=0.5)) at [1]; multiply instead: "
                "join_schedules(...) * plateau_schedule(1.0, ...)"
            ),
        ),
        (
            lambda: join([constant(1.0), 0.5], [5]),
            (
                "gradtx.join_schedules: expected a schedule or a function of the step, got 0.5 at [1]; "
                "use constant_schedule(0.5)"
            ),
        ),
        (
            lambda: join([constant(1.0), constant], [5]),
            (
                "gradtx.custom_schedule: expected a function of the step, got the factory 'constant_schedule'; "
                "call it: constant_schedule(...)"
            ),
        ),
        (
            lambda: join([constant(1.0), constant(2.0)], [5, 6]),
            (
                "gradtx.join_schedules: expected 1 boundaries for 2 schedules, got 2; "
                "each schedule but the first begins at one"
            ),
        ),
        (
            lambda: join([constant(1.0)] * 3, [6, 5]),
            "gradtx.join_schedules: expected boundaries in order, got 5 after 6; sort them",
        ),
        (
            lambda: join([constant(1.0)] * 2, [-1]),
            "gradtx.join_schedules: expected boundaries[0] in [0, inf), got -1",
        ),
        (
            lambda: join([constant(1.0)] * 2, 5),
            "gradtx.join_schedules: expected boundaries to be a sequence of numbers in [0, inf), got 5 (int)",
        ),
        (
            lambda: join([], []),
            "gradtx.join_schedules: expected at least one schedule, got none; use constant_schedule(value)",
        ),
        (
            lambda: join(constant(1.0), []),
            "gradtx.join_schedules: expected schedules to be a list or tuple, got Schedule",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises((errors.ArgumentValueError, errors.ArgumentTypeError)) as caught:
        make()
    assert str(caught.value) == message


# --- again and again --------------------------------------------------------------------------------------------------

repeat = schedules.repeat_schedule


@drawn
@given(
    st.sampled_from([1, 3, 7, 6.5]), st.sampled_from([1, 1.0, 1.25, 2, 3.0]), st.sampled_from([0.0, 0.5, 1.0]), values
)
def test_repeat(period, longer, larger, init):
    def formula(n):
        begin, k = 0, 0
        while n >= begin + period * longer**k:
            begin, k = begin + period * longer**k, k + 1
        return larger**k * init / (1 + (n - begin) / longer**k)

    check_formula(
        lambda: repeat(schedules.inverse_time_decay(init, 1, 1.0), period, longer, larger), formula, rtol=1e-5
    )


@pytest.mark.parametrize("longer", [1, 1.5, 2, 3, 10])
def test_a_cycle_begins_at_its_very_step(longer):
    begins = np.cumsum([16 * longer**k for k in range(4)])

    def check():
        made = repeat(linear(1.0, 0.0, 16), 16, longer)
        for given_or_traced in (made, jax.tree.map(jnp.asarray, made)):
            np.testing.assert_array_equal(given_or_traced(begins), 1.0)
            assert np.all(np.asarray(given_or_traced(begins - 1)) < 0.1)

    check()
    with x64():
        check()


def test_whole_steps_stay_whole():
    table = jnp.array([3.0, 1.0, 2.0])
    assert repeat(lambda n: table[n], 3).sample(7).tolist() == [3, 1, 2, 3, 1, 2, 3]
    odd = 2**24 + 1  # float32 has no such number
    assert repeat(linear(0.0, 4.0, 4), 4)(odd) == 1


def test_warm_restarts_of_one_length_are_those_of_sgdr():
    cycle = {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 2, "decay_steps": 8}
    endless = repeat(schedules.warmup_cosine_decay_schedule(**cycle), 8)
    assert endless.sample(24).tolist() == schedules.sgdr_schedule([cycle] * 3).sample(24).tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: repeat(0.5, 3),
            (
                "gradtx.repeat_schedule: expected cycle to be a schedule or a function of the step, got 0.5; "
                "use constant_schedule(0.5)"
            ),
        ),
        (
            lambda: repeat(schedules.plateau_schedule(0.5), 3),
            (
                "gradtx.repeat_schedule: expected cycle to be a schedule of the step alone, got "
                "plateau_schedule(init_value=0.5); "
                "multiply instead: repeat_schedule(...) * plateau_schedule(1.0, ...)"
            ),
        ),
        (lambda: repeat(constant(1.0), 0), "gradtx.repeat_schedule: expected period in [1, inf), got 0"),
        (lambda: repeat(constant(1.0), 3, 0.5), "gradtx.repeat_schedule: expected period_factor in [1, inf), got 0.5"),
    ],
)
def test_errors_of_repeat(make, message):
    with pytest.raises(errors.GradtxError) as caught:
        make()
    assert str(caught.value) == message


def test_a_product_with_a_plateau_is_what_the_error_suggests():
    made = join([linear(0.0, 1.0, 2), constant(1.0)], [2]) * schedules.plateau_schedule(1.0, 0.5, 1)
    state = made.init()
    for loss in (1.0, 1.0):
        state = made.update(state, value=loss)
    assert [float(made.value(n, state)) for n in range(4)] == [0, 0.25, 0.5, 0.5]
    assert isinstance(made, gradtx.Schedule)
