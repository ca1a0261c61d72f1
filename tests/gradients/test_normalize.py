"""Updates divided by their norm."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.trajectories import DOUBLE, SHAPES, Problem, assert_close, run_eagerly, x64


def once(tx, grads):
    return tx.update(grads, tx.init(grads))[0]


@pytest.mark.parametrize("shapes", SHAPES, ids=["some", "others"])
def test_equals_optax(shapes):
    params, grads = Problem(shapes, 3).draw(DOUBLE, steps=4)
    pairs = [
        (gradtx.normalize(), optax.contrib.normalize()),
        (gradtx.normalize_by_update_norm(), optax.normalize_by_update_norm()),
        (gradtx.normalize_by_update_norm(-0.3, 10.0), optax.normalize_by_update_norm(-0.3, 10.0)),
    ]
    for ours, theirs in pairs:
        with x64():
            expected = run_eagerly(theirs, params, grads)[0]
            assert_close(run_eagerly(ours, params, grads)[0], expected, rtol=1e-12)


def test_the_norm_is_that_of_all_leaves():
    grads = {"a": jnp.array([3.0, 0.0]), "b": jnp.array(-4.0), "c": jnp.array([12j]), "d": None}
    u = once(gradtx.normalize(), grads)
    np.testing.assert_allclose(u["a"], [3 / 13, 0], rtol=1e-6)
    np.testing.assert_allclose(u["b"], -4 / 13, rtol=1e-6)
    np.testing.assert_allclose(u["c"], [12j / 13], rtol=1e-6)
    assert u["d"] is None
    assert float(once(gradtx.normalize(), jnp.array(-7.0))) == -1.0
    assert once(gradtx.normalize(), jnp.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("tx", [gradtx.normalize(), gradtx.normalize_by_update_norm(eps=0.0)], ids=repr)
def test_zero_updates_stay_with_all_derivatives(tx):
    with jax.debug_nans(True):
        for g in (jnp.zeros(3), jnp.array([3.0, 0.0, 4.0])):
            np.testing.assert_allclose(once(tx, g), g / 5)
            for derivative in (jax.jacfwd, jax.jacrev):
                assert np.isfinite(derivative(lambda g: once(tx, g))(g)).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("size", [1e-37, 1e-30, 1e20, 1e30, 1e37])
def test_any_size_has_the_norm_one(size, dtype):
    u = once(gradtx.normalize(), {"a": jnp.array([3 * size, 0], dtype), "b": jnp.array(4 * size, dtype)})
    np.testing.assert_allclose(u["a"].astype("complex64"), [0.6, 0.0], rtol=5e-3)
    np.testing.assert_allclose(u["b"].astype("complex64"), 0.8, rtol=5e-3)


def test_norms_that_are_not_numbers():
    for tx in (gradtx.normalize(), gradtx.normalize_by_update_norm()):
        u = once(tx, {"a": jnp.array([jnp.inf, 1.0]), "b": jnp.array(1.0)})
        np.testing.assert_array_equal([*u["a"], u["b"]], [0.0, 0.0, 0.0])
        u = once(tx, {"a": jnp.array([jnp.nan, 1.0]), "b": jnp.array(1.0)})
        np.testing.assert_array_equal([*u["a"], u["b"]], [np.nan, 0.0, 0.0])


def test_numbers_take_schedules():
    tx = gradtx.normalize_by_update_norm(gradtx.linear_schedule(1.0, 0.0, 2), lambda step: 1.0 * step)
    g, state = jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2))
    for factor in (1 / 5, 0.5 / 6, 0.0):
        u, state = tx.update(g, state)
        np.testing.assert_allclose(u, factor * g, rtol=1e-6)
