"""SM3 against its reference, against Optax, and against AdaGrad, which it bounds."""

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
    SINGLE,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    decays,
    run,
    run_eagerly,
    x64,
)

NUMBERS = {
    "b1": st.none() | decays,
    "b2": st.sampled_from([0.0, 0.9, 1.0]),
    "eps": st.sampled_from([0.0, 1e-8, 1e-3]),
}


def test_equals_the_reference():
    check_all(gradtx.scale_by_sm3, references.Sm3, NUMBERS)


@pytest.mark.parametrize("arguments", [{}, {"b2": 0.9}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_sm3, references.Sm3, arguments)


@pytest.mark.parametrize("arguments", [{}, {"b1": 0.5, "b2": 0.9, "eps": 1e-3}], ids=str)
def test_equals_optax(arguments):
    params, grads = Problem({"w": (4, 3), "b": (3,), "conv": (2, 3, 4, 2)}, 11).draw(DOUBLE, steps=20)
    with x64():
        ours = run(gradtx.scale_by_sm3(**arguments), params, grads)
        theirs = run_eagerly(optax.scale_by_sm3(**arguments), params, grads)
        assert_close(ours[:2], theirs[:2], rtol=1e-12, atol=1e-12)
        steps = [run_eagerly(lib.sm3(0.1, 0.8), params, grads)[0] for lib in (gradtx, optax)]
    assert_close(*steps, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_golden_steps_of_one_number(shape):
    """Optax has no state for a scalar."""
    grads = np.reshape([0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25], (7, *shape))
    with x64():
        steps = run_eagerly(gradtx.sm3(0.1), np.ones(shape), grads)[0]
    points = 1 + np.cumsum(steps.reshape(7))
    np.testing.assert_allclose(points[[0, 1, 2, 6]], [0.99, 0.9861450, 0.9794310, 0.9532749], atol=6e-8)
    with pytest.raises(IndexError):
        optax.sm3(0.1).update(jnp.ones(()), optax.sm3(0.1).init(jnp.ones(())))


def test_vectors_and_scalars_take_adagrads_steps_and_matrices_shorter_ones():
    params, grads = Problem({"w": (4, 3), "v": (5,), "scalar": ()}, 2).draw(DOUBLE)
    with x64():
        sm3 = run(gradtx.scale_by_sm3(b1=None, eps=0.0), params, grads)[0]
        adagrad = run(gradtx.scale_by_rss(0.0, 0.0), params, grads)[0]
    assert_close([sm3[k] for k in ("v", "scalar")], [adagrad[k] for k in ("v", "scalar")], rtol=1e-12)
    np.testing.assert_array_less(np.abs(sm3["w"]), np.abs(adagrad["w"]) + 1e-12)
    assert np.abs(sm3["w"]).sum() < 0.9 * np.abs(adagrad["w"]).sum()


def test_the_state_is_a_vector_for_each_axis():
    params = {"matrix": jnp.zeros((3, 2)), "scalar": jnp.zeros(()), "empty": jnp.zeros((0, 2)), "none": None}
    state = gradtx.sm3(0.1, momentum=None).init(params)[0]
    assert jax.tree.map(jnp.shape, state.accumulators) == {
        "matrix": ((3,), (2,)), "scalar": ((),), "empty": ((0,), (2,)), "none": None,
    }  # fmt: skip
    assert not jax.tree.leaves(state.mu)
    large = jax.ShapeDtypeStruct((2048, 2048), jnp.float32)
    found = jax.tree.leaves(jax.eval_shape(gradtx.sm3(0.1, momentum=None).init, large))
    assert sum(x.size * x.dtype.itemsize for x in found) < 0.005 * large.size


def test_without_momentum_steps_are_those_that_are_averaged():
    params, grads = Problem({"w": (4, 3)}, 5).draw(SINGLE)
    none, zero = (run(gradtx.scale_by_sm3(b1), params, grads)[0] for b1 in (None, 0.0))
    assert_close(none, zero, rtol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_zero_gradients_are_zero_updates_and_have_derivatives(eps):
    tx = gradtx.scale_by_sm3(eps=eps)
    zeros = jnp.zeros((2, 3))
    assert not run(tx, zeros, np.zeros((4, 2, 3), np.float32))[0].any()

    def total(g):
        return jnp.sum(tx.update(g, tx.init(zeros))[0] ** 2)

    for g in (zeros, zeros.at[0, 1].set(2.0)):
        assert jnp.isfinite(jax.grad(total)(g)).all()


def test_bounds_of_complex_gradients_are_real():
    params, grads = Problem({"z": (3, 2)}, 0).draw(SINGLE)
    state = run(gradtx.scale_by_sm3(), params, grads)[2]
    assert [x.dtype for x in jax.tree.leaves(state)] == [np.float32, np.float32, np.complex64]
