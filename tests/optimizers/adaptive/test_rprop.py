"""Rprop against its reference, which is torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import check_all, check_numbers, rates, run, run_eagerly

NUMBERS = {
    "learning_rate": rates,
    "eta_minus": st.floats(0.1, 1.0),
    "eta_plus": st.floats(1.0, 2.0),
    "min_step_size": st.sampled_from([0.0, 1e-2]),
    "max_step_size": st.sampled_from([0.1, 50.0]),
}


def test_equals_the_reference():
    check_all(gradtx.scale_by_rprop, references.Rprop, NUMBERS)


def test_python_numbers_lose_nothing():
    check_numbers(gradtx.scale_by_rprop, references.Rprop, {"learning_rate": 0.1})


def updates_of(tx, grads):
    return run_eagerly(tx, np.zeros(np.shape(grads)[1:], np.float32), np.asarray(grads, np.float32))[0]


def test_the_first_update_is_the_first_step_and_optaxs_is_late():
    grads = [[0.5], [0.4], [0.3]]
    np.testing.assert_allclose(updates_of(gradtx.rprop(0.1), grads), [[-0.1], [-0.12], [-0.144]], rtol=1e-6)
    np.testing.assert_allclose(updates_of(optax.rprop(0.1), grads), [[0], [-0.1], [-0.12]], rtol=1e-6)


def test_a_changed_sign_is_a_step_left_out_and_forgotten():
    """After it the size stays, whatever the sign: only the gradient after that is compared again."""
    updates = updates_of(gradtx.rprop(1.0, max_step_size=9.0), [[1], [-1], [-1], [-1], [1], [1]])
    np.testing.assert_allclose(updates[:, 0], [-1, 0, 0.5, 0.6, 0, -0.3], rtol=1e-6)


def test_the_size_of_a_gradient_does_not_matter():
    """The product of two of 1e-30 is 0 in float32: it would say that nothing is known."""
    signs = np.array([[1.0, -1.0], [1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    expected = updates_of(gradtx.rprop(0.1), signs)
    for size in (1e-30, 1e30):
        np.testing.assert_array_equal(updates_of(gradtx.rprop(0.1), size * signs), expected)


def test_steps_keep_their_bounds():
    updates = np.abs(updates_of(gradtx.rprop(0.1, min_step_size=0.05, max_step_size=0.2), [[1]] * 6 + [[-1], [1]] * 9))
    assert updates.max() == np.float32(0.2)
    assert updates[updates > 0].min() == np.float32(0.05)
    assert updates_of(gradtx.rprop(0.1, max_step_size=0.01), [[1]]) == np.float32(-0.01)


def test_parts_of_complex_numbers_have_steps_of_their_own():
    grads = np.array([[1 + 1j], [1 - 1j], [1 - 1j]], np.complex64)
    updates = run(gradtx.rprop(0.1), np.zeros(1, np.complex64), grads)[0]
    np.testing.assert_allclose(updates[:, 0], [-0.1 - 0.1j, -0.12, -0.144 + 0.05j], rtol=1e-6)


def test_zero_gradients_are_zero_updates_and_leave_the_sizes():
    tx = gradtx.scale_by_rprop(0.1)
    zeros = {"a": jnp.zeros(3), "scalar": jnp.zeros(())}
    updates, state = tx.update(zeros, tx.init(zeros))
    assert not any(u.any() for u in jax.tree.leaves(updates))
    assert all((x == np.float32(0.1)).all() for x in jax.tree.leaves(state.step_sizes))


@pytest.mark.parametrize("schedule", [gradtx.linear_schedule(0.1, 0.0, 2)])
def test_of_a_schedule_the_first_value_counts(schedule):
    grads = [[1.0]] * 4
    np.testing.assert_array_equal(updates_of(gradtx.rprop(schedule), grads), updates_of(gradtx.rprop(0.1), grads))
