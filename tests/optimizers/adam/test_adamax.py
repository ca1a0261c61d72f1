"""AdaMax against its reference, with and without weight decay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    decays,
    epsilons,
    rates,
    run,
    run_eagerly,
    x64,
)


def test_equals_the_reference():
    check_all(gradtx.scale_by_adamax, references.Adamax, {"b1": decays, "b2": decays, "eps": epsilons})


def test_python_numbers_lose_nothing():
    check_numbers(gradtx.scale_by_adamax, references.Adamax, {"eps": 1e-3})


def test_the_decay_is_decoupled():
    def rule(learning_rate, weight_decay, b1):
        return references.Descent(learning_rate, references.Adamax(b1), weight_decay)

    arguments = {"learning_rate": rates, "weight_decay": st.sampled_from([0.0, 0.1]), "b1": decays}
    check_all(gradtx.adamaxw, rule, arguments, reads_params=True)


@pytest.mark.parametrize("name", ["adamax", "adamaxw"])
def test_equals_optax(name):
    params, grads = Problem(SHAPES[1], 11).draw(DOUBLE, steps=20)
    with x64():
        ours = run(getattr(gradtx, name)(0.1, 0.8, 0.9, 1e-3), params, grads)
        theirs = run_eagerly(getattr(optax, name)(0.1, 0.8, 0.9, 1e-3), params, grads)
    assert_close(ours[:2], theirs[:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_zero_gradients_are_zero_updates_and_have_derivatives(eps):
    tx = gradtx.scale_by_adamax(eps=eps)
    zeros = {"real": jnp.zeros(3), "complex": jnp.zeros(2, jnp.complex64), "scalar": jnp.zeros(())}
    updates, state = tx.update(zeros, tx.init(zeros))
    assert not any(u.any() for u in jax.tree.leaves(updates))
    assert not jax.tree.leaves(state.nu)[0].any() or eps

    def total(g):
        return jnp.sum(tx.update(g, tx.init(g))[0] ** 2)

    assert jnp.isfinite(jax.grad(total)(jnp.array([0.0, 2.0]))).all()


@pytest.mark.parametrize("size", [1e-36, 1e37])
def test_nothing_is_squared(size):
    grads = np.array([[3.0, -1.0], [1.0, -1.0]], np.float32)
    plain, scaled = (run_eagerly(gradtx.adamax(0.1, eps=0.0), np.zeros(2, np.float32), s * grads) for s in (1, size))
    assert_close(scaled[0], plain[0], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-37, 1e-38, 1e-40, 1e-45])
def test_the_smallest_floats_make_no_nan(size):
    grads = np.full((3, 4), [size, -size, 3 * size, 0], np.float32)
    for runner in (run, run_eagerly):
        updates, _, _ = runner(gradtx.adamax(0.1, eps=0.0), np.zeros(4, np.float32), grads)
        assert np.abs(updates).max() < 0.11


def test_the_largest_of_complex_gradients_is_real():
    params, grads = Problem({"z": (3,)}, 0).draw(SINGLE)
    state = run(gradtx.scale_by_adamax(), params, grads)[2]
    assert (state.mu["z"].dtype, state.nu["z"].dtype) == (np.complex64, np.float32)
    np.testing.assert_array_less(0, state.nu["z"])
