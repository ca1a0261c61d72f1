"""Clipping: by element and by global norm."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import DOUBLE, SETTINGS, SINGLE, assert_close, problems, run, x64

BOUNDS = st.sampled_from([0.0, 0.01, 1.0, 10.0, 1e6])
PRECISIONS = [SINGLE, DOUBLE]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_clip_equals_the_reference(precision):
    @SETTINGS
    @hypothesis.given(problems, BOUNDS)
    def holds(problem, bound):
        params, grads = problem.draw(precision)
        with x64(precision.x64):
            updates = run(gradtx.clip(bound), params, grads)[0]
        for name, g in grads.items():
            np.testing.assert_array_equal(updates[name], references.clip(g, precision.real(bound)))

    holds()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_clip_by_global_norm_equals_the_reference(precision):
    @SETTINGS
    @hypothesis.given(problems, BOUNDS)
    def holds(problem, bound):
        bound = float(precision.real(bound))
        params, grads = problem.draw(precision)
        with x64(precision.x64):
            updates, _, state = run(gradtx.clip_by_global_norm(bound), params, grads)
        clipped = 0
        for t in range(len(grads[next(iter(grads))])):
            leaves = [np.asarray(g[t]).astype(np.result_type(g, np.float64)) for g in grads.values()]
            expected, norm = references.clip_by_global_norm(leaves, bound)
            clipped += norm > bound
            for name, u in zip(grads, expected, strict=True):
                np.testing.assert_allclose(updates[name][t], u, rtol=precision.tolerance)
        np.testing.assert_allclose(state.norm, norm, rtol=precision.tolerance)
        assert int(state.clipped) == clipped
        assert state.norm.dtype == precision.real

    holds()


def test_clip_bounds_real_and_imaginary_parts_apart():
    update, _ = gradtx.clip(1.0).update(jnp.array([3 - 4j, 0.5 + 2j]), gradtx.EmptyState())
    assert update.tolist() == [1 - 1j, 0.5 + 1j]


def test_clip_keeps_nan_and_bounds_infinity():
    update, _ = gradtx.clip(1.0).update(jnp.array([jnp.nan, jnp.inf, -jnp.inf]), gradtx.EmptyState())
    np.testing.assert_array_equal(update, [np.nan, 1, -1])


def clip_norm(max_norm, grads):
    tx = gradtx.clip_by_global_norm(max_norm)
    return tx.update(grads, tx.init(grads))


def test_norm_at_the_bound_is_not_clipped():
    update, state = clip_norm(5.0, {"a": jnp.array([3.0]), "b": jnp.array(4.0)})
    assert (float(update["a"][0]), float(update["b"]), int(state.clipped)) == (3.0, 4.0, 0)


def test_zero_gradients_stay_zero_even_with_bound_zero():
    for bound in (0.0, 1.0):
        update, state = clip_norm(bound, jnp.zeros(3))
        assert not update.any()
        assert (float(state.norm), int(state.clipped)) == (0.0, 0)


def test_a_bound_of_zero_stops_everything():
    update, state = clip_norm(0.0, jnp.array([3.0, 4.0]))
    assert not update.any()
    assert (float(state.norm), int(state.clipped)) == (5.0, 1)


def test_a_nan_in_one_leaf_leaves_the_others_right():
    update, state = clip_norm(1.0, {"bad": jnp.array([jnp.nan, 1.0]), "good": jnp.array([3.0, 4.0])})
    assert update["good"].tolist() == [3.0, 4.0]
    assert np.isnan(state.norm)
    assert int(state.clipped) == 0


def test_a_norm_that_overflows_makes_no_step():
    """The squares of 1e30 are beyond float32: the norm is infinite, and the factor 0."""
    update, state = clip_norm(1.0, jnp.array([1e30, 2.0]))
    assert update.tolist() == [0.0, 0.0]
    assert np.isinf(state.norm)


def test_low_precision_gradients_have_a_float32_norm():
    """100 squares of 100 are 1e6, beyond float16."""
    update, state = clip_norm(10.0, jnp.full(100, 100, jnp.float16))
    assert update.dtype == jnp.float16
    assert float(state.norm) == 1000.0
    assert update[0] == 1.0


def test_derivatives_are_finite_at_zero():
    def loss(bound, g):
        return jnp.sum(clip_norm(bound, g)[0])

    with jax.debug_nans(True):
        for g in (jnp.zeros(2), jnp.array([3.0, 4.0])):
            assert_close(jax.grad(loss, (0, 1))(1.0, g), jax.jacfwd(loss, (0, 1))(1.0, g), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(1.0, jnp.array([3.0, 4.0])), 7 / 5, rtol=1e-6)
