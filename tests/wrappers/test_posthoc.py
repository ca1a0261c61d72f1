"""Averages with other profiles than those that were kept."""

import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError

SHORT, LONG = (gradtx.power_function_gamma(width) for width in (0.05, 0.1))


def weights(gamma, steps, length):
    """What each of the params of a run weighs in an average."""
    k = np.arange(1, length + 1)
    return np.where(k <= steps, (k / steps) ** (gamma + 1) - ((k - 1) / steps) ** (gamma + 1), 0)


@pytest.mark.parametrize("width", [0.01, 0.05, 0.1, 0.2, 12**-0.5])
def test_the_exponent_has_the_width(width):
    gamma = gradtx.power_function_gamma(width)
    assert np.sqrt(gamma + 1) / ((gamma + 2) * np.sqrt(gamma + 3)) == pytest.approx(width, rel=1e-6)
    k, w = np.arange(1, 20001) / 20000, weights(gamma, 20000, 20000)
    assert np.sqrt(np.sum(w * k**2) - np.sum(w * k) ** 2) == pytest.approx(width, rel=1e-2)


def test_the_profile_is_that_of_the_schedule():
    path = np.random.default_rng(0).normal(size=(50, 2))
    tx = gradtx.ema_params(gradtx.stateless(lambda updates, params: updates), gradtx.power_function_decay(LONG))
    state = tx.init(jnp.zeros(2))
    for p in path:
        _, state = tx.update(jnp.zeros(2), state, jnp.asarray(p, jnp.float32))
    np.testing.assert_allclose(gradtx.averaged_params(state), weights(LONG, 50, 50) @ path, rtol=1e-4, atol=1e-5)


def saved(times, path, gammas=(SHORT, LONG)):
    return [
        gradtx.SavedAverage({"w": jnp.asarray(weights(gamma, t, len(path)) @ path, jnp.float32)}, t, gamma)
        for t in times
        for gamma in gammas
    ]


@pytest.mark.parametrize(("width", "error"), [(0.05, 1e-4), (0.06, 0.02), (0.075, 0.02), (0.1, 1e-4), (0.15, 0.1)])
def test_another_profile_is_made_of_two(width, error):
    """The combination as a profile: its distance from the one wanted, relative to that."""
    length, gamma = 2000, gradtx.power_function_gamma(width)
    made = gradtx.posthoc_average(saved(range(200, length + 1, 200), np.eye(length)), gamma)["w"]
    wanted = weights(gamma, length, length)
    assert np.linalg.norm(made - wanted) < error * np.linalg.norm(wanted)
    assert float(jnp.sum(made)) == pytest.approx(1, abs=error)


def test_an_average_may_end_earlier():
    length, gamma = 1000, gradtx.power_function_gamma(0.075)
    made = gradtx.posthoc_average(saved(range(50, length + 1, 50), np.eye(length)), gamma, steps=700)["w"]
    wanted = weights(gamma, 700, length)
    assert np.linalg.norm(made - wanted) < 0.05 * np.linalg.norm(wanted)


def test_what_was_saved_is_given_back():
    given = saved([10, 20, 40], np.random.default_rng(0).normal(size=(40, 3)))
    np.testing.assert_allclose(gradtx.posthoc_average(given, LONG)["w"], given[-1].params["w"], rtol=1e-4, atol=1e-5)
    only = gradtx.posthoc_average(given[-1:], LONG)["w"]
    np.testing.assert_allclose(only, given[-1].params["w"], rtol=1e-5)


def test_errors():
    path = np.ones((40, 3))
    with pytest.raises(ArgumentTypeError, match="posthoc_average: expected averages that were saved, got none"):
        gradtx.posthoc_average([], 5.0)
    with pytest.raises(ArgumentValueError, match=r"expected steps in \[1, 40\], got 41"):
        gradtx.posthoc_average(saved([20, 40], path), 5.0, steps=41)
    with pytest.raises(ArgumentValueError, match=r"expected gamma in \[0, inf\), got -0.5"):
        gradtx.posthoc_average(saved([20, 40], path), -0.5)
    with pytest.raises(ArgumentValueError, match="averages of at least one step, got 0"):
        gradtx.posthoc_average(
            [gradtx.SavedAverage(jnp.ones(2), 0, 5.0), gradtx.SavedAverage(jnp.ones(2), 4, 5.0)], 5.0
        )
    for wrong in (0.0, 0.3, float("nan")):
        with pytest.raises(ArgumentValueError, match=r"power_function_gamma: expected relative_std in \(0, 0.288675\]"):
            gradtx.power_function_gamma(wrong)
    with pytest.raises(TreeMismatchError):
        gradtx.posthoc_average([gradtx.SavedAverage({"a": 1.0}, 1, 5.0), gradtx.SavedAverage({"b": 1.0}, 2, 5.0)], 5.0)
