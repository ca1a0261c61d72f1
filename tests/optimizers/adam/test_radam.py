"""Rectified Adam: its equations, and the length of the average on which everything turns."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from gradtx.optimizers.adam.radam import average_length
from tests import references
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    Problem,
    assert_close,
    booleans,
    check_all,
    check_numbers,
    decays,
    epsilons,
    run,
    x64,
)

DECAYS = (0.5, 0.7, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999)
COUNTS = (*range(1, 13), 17, 50, 100, 999, 10_000, 123_457, 1_000_000)


def exact_average_length(b2: float, t: int) -> float:
    """The textbook's rho_inf - 2 t b2^t / (1 - b2^t), evaluated to eighty digits."""
    with decimal.localcontext(decimal.Context(prec=80)):
        b = decimal.Decimal(b2)
        power = b**t
        return float(2 / (1 - b) - 1 - 2 * t * power / (1 - power))


def test_equals_the_reference():
    arguments = {
        "b1": decays, "b2": decays | st.floats(0.6, 0.999), "eps": epsilons, "eps_root": epsilons,
        "threshold": st.sampled_from([4.0, 5.0]), "nesterov": booleans,
        "below_threshold": st.sampled_from(["momentum", "none"]),
    }  # fmt: skip
    check_all(gradtx.scale_by_rectified_adam, references.RectifiedAdam, arguments)


@pytest.mark.parametrize("threshold", [4.0, 5.0])
def test_python_numbers_lose_nothing(threshold):
    check_numbers(gradtx.scale_by_rectified_adam, references.RectifiedAdam, {"threshold": threshold})


# --- the length of the average ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(("enabled", "bound"), [(False, 5e-7), (True, 1e-15)])
def test_average_length_is_exact_to_a_few_units_in_the_last_place(enabled, bound, traced):
    with x64(enabled):
        for b2 in DECAYS:
            given = jnp.asarray(b2) if traced else b2
            actual = jax.vmap(average_length, (None, 0))(given, jnp.array(COUNTS))
            expected = [exact_average_length(float(given), t) for t in COUNTS]
            np.testing.assert_allclose(actual, expected, rtol=bound)


def test_the_textbook_form_is_far_worse_in_float32():
    b2 = np.float32(0.99999)
    t = np.arange(1, 13, dtype=np.float32)
    textbook = 2 / (1 - b2) - 1 - 2 * t * b2**t / (1 - b2**t)
    expected = np.array([exact_average_length(float(b2), int(n)) for n in t])
    ours = jax.vmap(average_length, (None, 0))(jnp.asarray(b2), jnp.arange(1, 13))
    assert np.max(np.abs(ours - expected)) < 5e-6
    assert np.max(np.abs(textbook - expected)) > 0.05
    # At t = 5 the length is 4.99996: the textbook form cannot tell on which side of the threshold that is.
    assert abs(textbook[4] - expected[4]) > 10 * abs(expected[4] - 5)


@pytest.mark.parametrize("threshold", [4.0, 5.0])
@pytest.mark.parametrize("b2", DECAYS)
def test_rectification_begins_at_the_step_that_exact_arithmetic_names(b2, threshold):
    exact = [exact_average_length(b2, t) >= threshold and 2 / (1 - b2) - 1 > 4 for t in range(1, 21)]
    # A gradient of 1000 makes momentum steps of 1000, and rectified ones of at most 1.
    updates = run(gradtx.scale_by_rectified_adam(b2=b2, threshold=threshold), np.zeros(1, np.float32),
                  np.full((20, 1), 1000, np.float32))[0]  # fmt: skip
    assert [bool(u < 500) for u in updates[:, 0]] == exact


TABLE = {
    0.999: {1: (1.0, None), 2: (1.9995, None), 3: (2.9987, None), 4: (3.9975, None), 5: (4.9960, 0.01731),
            6: (5.9942, 0.02582), 7: (6.9920, 0.03274), 8: (7.9895, 0.03874)},
    0.95: {4: (3.8719, None), 5: (4.7951, 0.11814), 6: (5.7013, 0.18238)},
    0.9: {4: (3.7374, None), 5: (4.5806, 0.15611), 6: (5.3896, 0.25518)},
}  # fmt: skip
"""rho_t and r_t by b2 and t."""


@pytest.mark.parametrize("b2", TABLE)
def test_table_of_lengths_and_rectifications(b2):
    with x64():
        # With a constant gradient of 1 and eps = 0, the rectified update is r_t itself.
        tx = gradtx.scale_by_rectified_adam(b2=b2, eps=0.0, threshold=4.0)
        updates = run(tx, np.zeros(1), np.ones((8, 1)))[0][:, 0]
        for t, (rho, r) in TABLE[b2].items():
            assert float(average_length(b2, t)) == pytest.approx(rho, abs=5.1e-5)
            assert float(updates[t - 1]) == pytest.approx(1.0 if r is None else r, abs=5.1e-6)


@pytest.mark.parametrize("b2", [0.0, 1e-9, 0.3, 0.6])
def test_short_averages_are_never_rectified(b2):
    with x64():
        params, grads = Problem(SHAPES[0], 1).draw(DOUBLE, steps=200)
        updates = run(gradtx.scale_by_rectified_adam(b2=b2, threshold=4.0), params, grads)[0]
        momentum = run(gradtx.ema(0.9), params, grads)[0]
    assert_close(updates, momentum, rtol=1e-12, atol=1e-12)


def step(b2, threshold, g, t):
    """The sum of the update at step t."""
    tx = gradtx.scale_by_rectified_adam(b2=b2, threshold=threshold)
    state = tx.init(g)._replace(count=t - 1, mu=0.1 * g, nu=0.01 * g * g)
    return jnp.sum(tx.update(g, state)[0])


DERIVATIVES = [jax.jit(jax.grad(step, (0, 1, 2))), jax.jit(jax.jacfwd(step, (0, 1, 2)))]


@pytest.mark.parametrize("b2", [0.0, 1e-9, 0.5, 0.6, 0.9, 0.999, 0.99999])
@pytest.mark.parametrize("t", [1, 4, 5, 6, 1000, 100_000])
def test_derivatives_are_finite_at_every_step(b2, t):
    with jax.debug_nans(True):
        for g in (jnp.array([0.5, -2.0]), jnp.zeros(2)):
            for derivative in DERIVATIVES:
                assert all(np.all(np.isfinite(x)) for x in derivative(b2, 5.0, g, t))


@pytest.mark.parametrize("t", [3, 5, 30, 1000])
@pytest.mark.parametrize("b2", [0.9, 0.999])
def test_the_derivative_of_the_length_is_right(b2, t):
    with x64():
        h = 1e-6
        slope = (exact_average_length(b2 + h, t) - exact_average_length(b2 - h, t)) / (2 * h)
        assert float(jax.grad(average_length)(b2, t)) == pytest.approx(slope, rel=1e-4)
