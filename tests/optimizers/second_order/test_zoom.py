"""The zoom line search finds points that meet the strong Wolfe conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtx
from gradtx import LinesearchStop, scale_by_zoom_linesearch
from tests.conftest import x64_mode

SIZE = 3


def quartic(p, curvature, linear):
    """Bounded below, with one valley or two along a line."""
    return jnp.sum(0.25 * p**4 + 0.5 * curvature * p**2 + linear * p)


def one_search(search, p, direction, curvature, linear):
    def loss(p):
        return quartic(p, curvature, linear)

    value, grad = jax.value_and_grad(loss)(p)
    updates, state = search.update(direction * grad, search.init(p), p, value=value, grad=grad, value_fn=loss)
    q = p + updates
    return value, grad, updates, state, loss(q), jax.grad(loss)(q)


compiled = jax.jit(one_search)  # the search is an argument: its numbers may change without a new compilation
numbers = st.lists(st.floats(-3, 3), min_size=SIZE, max_size=SIZE).map(np.array)
lengths = st.floats(-3, 3).map(lambda x: 10.0**x)


@settings(max_examples=150, deadline=None)
@given(
    p=numbers,
    curvature=numbers,
    linear=numbers,
    length=lengths,
    slope_rtol=st.sampled_from([1e-4, 0.1]),
    curv_rtol=st.sampled_from([0.9, 0.5, 0.11]),
)
def test_the_conditions_hold_at_every_accepted_point(p, curvature, linear, length, slope_rtol, curv_rtol):
    search = scale_by_zoom_linesearch(60, slope_rtol=slope_rtol, curv_rtol=curv_rtol, approx_dec_rtol=None)
    with x64_mode():
        direction = -length * np.array([1.0, 0.1, 0.5])
        value, grad, updates, state, new_value, new_grad = jax.tree.map(
            np.asarray, compiled(search, p, direction, curvature, linear)
        )
    slope = float(np.dot(direction * grad, grad))
    rate = float(state.learning_rate)
    if slope > -1e-6:  # next to a stationary point there may be nothing to gain in float64
        return
    assert LinesearchStop(int(state.reason)) is LinesearchStop.CONDITIONS_HOLD
    assert not state.failed
    rounding = 1e-14 * (1 + abs(float(value)))
    assert float(new_value) <= float(value) + slope_rtol * rate * slope + rounding
    assert abs(float(np.dot(direction * grad, new_grad))) <= curv_rtol * abs(slope) * (1 + 1e-9)
    np.testing.assert_allclose(updates, rate * direction * grad, rtol=1e-12, atol=1e-300)  # subnormals may vanish
    np.testing.assert_allclose(state.value, new_value, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(state.grad, new_grad, rtol=1e-9, atol=1e-9)
    assert 1 <= int(state.evaluations) <= 25


def rates_tried(search, loss, p=0.0, direction=1.0, last=1.0):
    """The learning rates tried, in order: in one dimension the points show them."""
    points = []

    def watched(p):
        jax.debug.callback(lambda x: points.append(float(x)), p, ordered=True)
        return loss(p)

    p = jnp.float32(p)
    value, grad = jax.value_and_grad(loss)(p)
    state = search.init(p)._replace(learning_rate=jnp.float32(last))
    _, state = search.update(jnp.float32(direction), state, p, value=value, grad=grad, value_fn=watched)
    jax.effects_barrier()
    return points, state


def test_a_parabola_is_minimised_exactly_once_there_is_an_interval():
    tried, state = rates_tried(scale_by_zoom_linesearch(20, curv_rtol=1e-3), lambda p: (p - 5.5) ** 2)
    np.testing.assert_allclose(tried, [1, 2, 4, 8, 5.5], rtol=1e-6)
    assert float(state.learning_rate) == pytest.approx(5.5)


@pytest.mark.parametrize(("minimum", "first", "tried"), [(1.0, 2.0, [2, 1]), (1.7, 1.0, [1, 2, 1.7])])
def test_a_cubic_is_minimised_exactly_from_both_ends_of_an_interval(minimum, first, tried):
    def cubic(p):  # its derivative is 3 (p - minimum) (p + 1)
        return p**3 - 1.5 * (minimum - 1) * p**2 - 3 * minimum * p

    got, _ = rates_tried(scale_by_zoom_linesearch(20, curv_rtol=1e-3), cubic, last=first)
    np.testing.assert_allclose(got, tried, rtol=1e-5)


def test_a_decrease_too_small_for_the_slope_is_refused():
    # At 1.7 the parabola has fallen from 1 to 0.49; 0.4 of the slope asks for less than 0.
    for slope_rtol, expected in ((0.4, [1.7, 1]), (0.1, [1.7])):
        tried, _ = rates_tried(scale_by_zoom_linesearch(20, slope_rtol=slope_rtol), lambda p: (p - 1) ** 2, last=1.7)
        np.testing.assert_allclose(tried, expected, rtol=1e-5)


def test_a_point_no_lower_than_the_last_ends_the_search_for_an_interval():
    # Each whole number has the slope of the start, too steep; 2 is higher than 1, and 4 higher than the start.
    _, state = rates_tried(
        scale_by_zoom_linesearch(20, curv_rtol=0.5), lambda p: 0.1 * p**2 - 0.29 * p - jnp.sin(2 * jnp.pi * p)
    )
    assert 1 < float(state.learning_rate) < 2
    assert int(state.reason) == LinesearchStop.CONDITIONS_HOLD


def test_where_the_far_end_is_not_finite_the_interval_is_halved():
    tried, _ = rates_tried(scale_by_zoom_linesearch(20), lambda p: jnp.where(p < 0.2, (p - 0.1) ** 2, jnp.nan))
    np.testing.assert_allclose(tried, [1, 0.5, 0.25, 0.125], rtol=1e-6)


@pytest.mark.parametrize(("strategy", "last", "first"), [("keep", 0.25, 0.25), ("keep", 0.0, 1.0), ("one", 0.25, 1.0)])
def test_the_first_guess(strategy, last, first):
    search = scale_by_zoom_linesearch(20, initial_guess_strategy=strategy)
    tried, _ = rates_tried(search, lambda p: (p - 1) ** 2, last=last)
    assert tried[0] == first


def test_increase_factor_and_bound():
    tried, state = rates_tried(scale_by_zoom_linesearch(20, max_learning_rate=10.0, increase_factor=3.0), lambda p: -p)
    np.testing.assert_allclose(tried, [1, 3, 9, 10])
    assert int(state.reason) == LinesearchStop.MAX_LEARNING_RATE


def test_tolerance_relaxes_both_conditions():
    def loss(p):  # rises at once, steeply
        return -1e-3 * p + p**2

    tried, state = rates_tried(scale_by_zoom_linesearch(20, tol=3.0), loss)
    assert (tried, int(state.reason)) == ([1.0], LinesearchStop.CONDITIONS_HOLD)


def test_next_to_a_minimum_rounding_does_not_fail_the_search():
    # Two units in the last place of noise hide the decrease; the slopes are as they should be.
    p = jnp.float32(1.0 - 3e-4)

    def loss(q):
        return 1000.0 + 0.5 * (q - 1) ** 2 + jax.lax.stop_gradient(jnp.where(q > p, 1.3e-4, 0.0))

    direction = -jax.grad(loss)(p)
    outcomes = {}
    for approx in (1e-6, None):
        search = scale_by_zoom_linesearch(20, approx_dec_rtol=approx)
        _, state = search.update(0.9 * direction, search.init(p), p, value_fn=loss)
        outcomes[approx] = bool(state.failed)
    assert outcomes == {1e-6: False, None: True}


def test_the_scale_of_the_direction_does_not_matter():
    # An interval of 1e-9 is not short if the rate is 1e-9.
    search = scale_by_zoom_linesearch(60, curv_rtol=0.1)
    _, state = rates_tried(search, lambda p: (p - 1) ** 2, direction=1e9)
    assert int(state.reason) == LinesearchStop.CONDITIONS_HOLD
    assert float(state.learning_rate) == pytest.approx(1e-9, rel=0.1)


def test_arguments_are_checked():
    for bad in ({"curv_rtol": 1.5}, {"slope_rtol": 1.0}, {"increase_factor": 0.5}, {"max_learning_rate": 0.0}):
        with pytest.raises(
            gradtx.errors.ArgumentValueError, match=f"scale_by_zoom_linesearch: expected {next(iter(bad))} in"
        ):
            scale_by_zoom_linesearch(10, **bad)
    with pytest.raises(gradtx.errors.ArgumentValueError, match="initial_guess_strategy to be one of 'keep', 'one'"):
        scale_by_zoom_linesearch(10, initial_guess_strategy="two")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda p: jnp.sum(10 * p**2),
        lambda p: jnp.sum(-p),  # no interval ever
        lambda p: jnp.sum(jnp.abs(p)),  # slopes that are equal, or opposite
        lambda p: jnp.sum(jnp.where(jnp.abs(p) < 2, p**2, jnp.inf)),
        lambda p: jnp.sum(1e19 * p**4),  # squares of slopes beyond float32
        lambda p: jnp.sum(1e-25 * p**2),
    ],
    ids=["parabola", "line", "kink", "wall", "huge", "tiny"],
)
def test_a_search_makes_no_nan(function, compiled):
    tx, p = gradtx.chain(gradtx.sgd(1.0), gradtx.scale_by_zoom_linesearch(150)), jnp.array([1.5, 0.0])
    step = lambda g, s, p: tx.update(g, s, p, value_fn=function)  # noqa: E731
    with jax.debug_nans(True):
        updates, state = (jax.jit(step) if compiled else step)(jnp.array([1.0, 0.0]), tx.init(p), p)
    assert jnp.isfinite(updates).all()
    assert function(p + updates) <= function(p)
    assert int(state[1].evaluations) < 150
