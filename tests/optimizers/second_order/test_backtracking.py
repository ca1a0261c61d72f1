"""The backtracking line search finds the first rate of its sequence that meets Armijo's condition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtx
from gradtx import LinesearchStop, scale_by_backtracking_linesearch
from tests.conftest import x64_mode
from tests.optimizers.second_order.test_zoom import compiled, numbers, quartic


@settings(max_examples=100, deadline=None)
@given(
    p=numbers,
    curvature=numbers,
    linear=numbers,
    length=st.floats(-2, 2).map(lambda x: 10.0**x),
    slope_rtol=st.sampled_from([1e-4, 0.3]),
    factor=st.sampled_from([0.5, 0.8]),
    rtol=st.sampled_from([0.0, 0.01]),
)
def test_it_is_the_first_of_the_sequence_that_meets_the_condition(
    p, curvature, linear, length, slope_rtol, factor, rtol
):
    search = scale_by_backtracking_linesearch(
        80, slope_rtol, factor, max_learning_rate=2.0, rtol=rtol, atol=1e-12, store_grad=True
    )
    direction = -length * np.array([1.0, 0.1, 0.5])
    with x64_mode():
        _, grad, updates, state, new_value, new_grad = jax.tree.map(
            np.asarray, compiled(search, p, direction, curvature, linear)
        )

        def f(q):
            return float(np.sum(0.25 * q**4 + 0.5 * curvature * q**2 + linear * q))

    slope = float(np.sum(direction * grad**2))
    if slope > -1e-6:
        return
    rate, steps = 1.5, 0  # 1.5 times the initial 1
    while not f(p + rate * direction * grad) <= f(p) + slope_rtol * rate * slope + rtol * abs(f(p)) + 1e-12:
        rate, steps = rate * factor, steps + 1
    assert LinesearchStop(int(state.reason)) is LinesearchStop.CONDITIONS_HOLD
    assert float(state.learning_rate) == pytest.approx(rate, rel=1e-9)
    assert int(state.evaluations) == steps + 1
    np.testing.assert_allclose(updates, rate * direction * grad, rtol=1e-12, atol=1e-300)  # subnormals may vanish
    np.testing.assert_allclose(state.value, new_value, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(state.grad, new_grad, rtol=1e-9, atol=1e-9)


CURVATURE, LINEAR = jnp.array([5.0, 0.3, 1.0]), jnp.array([1.0, -1.0, 0.5])


def trajectory(library, arguments, steps=25):
    def loss(p):
        return quartic(p, CURVATURE, LINEAR) + 10  # positive: there the tolerances agree

    tx = library.chain(library.sgd(1.0), library.scale_by_backtracking_linesearch(**arguments))

    def body(carry, _):
        p, state = carry
        value, grad = jax.value_and_grad(loss)(p)
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
        return (p + updates, state), (p, state[1].learning_rate)

    p = jnp.array([2.0, -1.0, 0.3])
    return jax.lax.scan(body, (p, tx.init(p)), length=steps)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_backtracking_steps": 30},
        {"max_backtracking_steps": 30, "decrease_factor": 0.5, "increase_factor": 1.0, "slope_rtol": 0.4},
        {"max_backtracking_steps": 30, "max_learning_rate": 0.2, "rtol": 0.05, "atol": 0.1, "store_grad": True},
    ],
    ids=str,
)
def test_trajectories_are_optaxs(arguments, x64):
    del x64
    (ours, our_rates), (theirs, their_rates) = (trajectory(lib, arguments) for lib in (gradtx, optax))
    np.testing.assert_allclose(our_rates, their_rates, rtol=1e-9)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_after_a_zero_step_the_next_search_goes_on_at_the_next_rate():
    # Rates up to 0.01 decrease 100 p^2; three points a step are 1, 0.5, ..., and 2^-7 is the second of the third step.
    search = scale_by_backtracking_linesearch(2, decrease_factor=0.5, increase_factor=3.0)
    p = jnp.float32(1.0)
    state, seen = search.init(p), []
    for _ in range(3):
        _, state = search.update(-200 * p, state, p, value_fn=lambda p: 100 * p**2)
        seen.append((float(state.learning_rate), float(state.trial), int(state.evaluations)))
    assert seen == [(0.0, 2.0**-3, 4), (0.0, 2.0**-6, 4), (2.0**-7, 2.0**-8, 3)]


def test_a_rate_that_has_become_zero_begins_at_the_largest():
    search = scale_by_backtracking_linesearch(5, max_learning_rate=0.5)
    p = jnp.float32(1.0)
    state = search.init(p)._replace(learning_rate=jnp.float32(0.0), trial=jnp.float32(0.0))
    _, state = search.update(jnp.float32(-1.0), state, p, value_fn=lambda p: p**2)
    assert float(state.learning_rate) == 0.5


def test_an_update_without_a_search_keeps_the_place():
    search = scale_by_backtracking_linesearch(20, decrease_factor=0.5, increase_factor=2.0)
    p = jnp.float32(1.0)
    _, state = search.update(-200 * p, search.init(p), p, value_fn=lambda p: 100 * p**2)
    assert float(state.learning_rate) == 2.0**-7
    for slope in (jnp.nan, 200.0, 0.0):
        _, state = search.update(jnp.float32(slope), state, p, value_fn=lambda p: 100 * p**2)
        assert (float(state.learning_rate), float(state.trial)) == (0.0, 2.0**-6)
    _, state = search.update(-200 * p, state, p, value_fn=lambda p: 100 * p**2)
    assert (float(state.learning_rate), int(state.evaluations)) == (2.0**-7, 3)


def test_a_negative_value_does_not_turn_the_tolerance_round():
    # Armijo's condition alone fails at rate 1; 10% of |f| = 10 makes up for it.
    search = scale_by_backtracking_linesearch(20, slope_rtol=0.5, rtol=0.1)
    p = jnp.float32(1.0)
    _, state = search.update(jnp.float32(-1.2), search.init(p), p, value_fn=lambda p: p**2 - 11)
    assert float(state.learning_rate) == 1.0


def test_the_gradient_is_stored_only_on_request():
    p = jnp.ones(2)
    assert scale_by_backtracking_linesearch(5).init(p).grad == ()
    assert scale_by_backtracking_linesearch(5, store_grad=True).init(p).grad.shape == (2,)


def test_arguments_are_checked():
    for bad in ({"decrease_factor": 1.0}, {"decrease_factor": 0.0}, {"increase_factor": 0.9}, {"atol": -1.0}):
        with pytest.raises(gradtx.errors.ArgumentValueError, match=f"linesearch: expected {next(iter(bad))} in"):
            scale_by_backtracking_linesearch(10, **bad)
