"""Clipping: by element, by global norm, by unit, by block."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from gradtx.errors import ArgumentValueError, MissingExtraError
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("size", [1e20, 1e30, 5e37])
def test_squares_that_overflow_do_not_stop_the_step(size, dtype):
    update, state = clip_norm(1.0, {"a": jnp.array([size, -size], dtype), "b": jnp.array(3.0)})
    np.testing.assert_allclose(update["a"].astype("complex64"), np.array([1, -1]) * 0.5**0.5, rtol=5e-3)
    np.testing.assert_allclose(state.norm, 2**0.5 * size, rtol=5e-3)
    assert int(state.clipped) == 1


@pytest.mark.parametrize("size", [1e20, 1e37])
def test_squares_that_overflow_leave_a_block_its_direction(size):
    tx = gradtx.clip_by_block_rms(1.0)
    updates, _ = tx.update({"a": jnp.array([size, -7 * size])}, tx.init({"a": jnp.zeros(2)}))
    np.testing.assert_allclose(updates["a"], [0.2, -1.4], rtol=1e-5)


@pytest.mark.parametrize("huge", [np.inf, -np.inf])
def test_an_infinite_norm_makes_no_step(huge):
    """The factor is 0, and no infinity is multiplied by it."""
    update, state = clip_norm(1.0, {"bad": jnp.array([huge, 2.0]), "good": jnp.array(3.0)})
    assert (update["bad"].tolist(), float(update["good"])) == ([0.0, 0.0], 0.0)
    assert np.isinf(state.norm)
    assert int(state.clipped) == 1


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


# --- units and blocks -------------------------------------------------------------------------------------------------


def along(rule, params, grads, tx, precision):
    """Compare the updates of every step with a rule of gradient and parameter."""
    with x64(precision.x64):
        updates = jax.device_get(jax.vmap(lambda g: tx.update(g, tx.init(params), params)[0])(grads))
    for name, p in params.items():
        wide = np.result_type(p, np.float64)
        for u, g in zip(updates[name], grads[name], strict=True):
            expected = rule(g.astype(wide), p.astype(wide))
            np.testing.assert_allclose(u, expected, rtol=5 * precision.tolerance, atol=1e-30)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_adaptive_grad_clip_equals_the_reference(precision):
    @SETTINGS
    @hypothesis.given(problems, st.sampled_from([0.01, 0.5]), st.sampled_from([1e-3, 10.0]))
    def holds(problem, clipping, eps):
        params, grads = problem.draw(precision)
        tx = gradtx.adaptive_grad_clip(clipping, eps)
        along(lambda g, p: references.adaptive_grad_clip(g, p, clipping, eps), params, grads, tx, precision)

    holds()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_clip_by_block_rms_equals_the_reference(precision):
    @SETTINGS
    @hypothesis.given(problems, st.sampled_from([0.01, 1.0, 1e6]))
    def holds(problem, threshold):
        params, grads = problem.draw(precision)
        tx = gradtx.clip_by_block_rms(threshold)
        along(lambda g, _: references.clip_by_block_rms(g, threshold), params, grads, tx, precision)

    holds()


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (2, 3, 2, 2), (2, 1, 2, 3, 2)])
def test_units_are_optaxs_but_for_three_axes(shape):
    p, g = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    ours, theirs = gradtx.adaptive_grad_clip(0.1), optax.adaptive_grad_clip(0.1, axis=() if shape == () else None)
    expected, _ = theirs.update(jnp.asarray(g), theirs.init(p), jnp.asarray(p))
    np.testing.assert_allclose(ours.update(g, ours.init(p), p)[0], expected, rtol=1e-5)


def test_the_output_axis_may_be_another_or_several():
    g = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    norm = lambda u, axes: np.sqrt(np.sum(np.square(u), axis=axes))  # noqa: E731
    for output_axis, others in ((0, (1, 2)), ((0, -1), (1,)), (-1, (0, 1))):
        tx = gradtx.adaptive_grad_clip(0.1, 1.0, output_axis)
        update, _ = tx.update(g, tx.init(g), jnp.zeros_like(g))
        np.testing.assert_allclose(norm(update, others), 0.1, rtol=1e-5)
    tx = gradtx.adaptive_grad_clip(0.1, output_axis=2)
    with pytest.raises(ArgumentValueError) as error:
        tx.update(g[0], tx.init(g), g[0])
    expected = "gradtx.adaptive_grad_clip: expected leaves with axis 2, got a leaf of shape [3, 4]"
    assert str(error.value) == expected


def unit_clip(g, p):
    return gradtx.adaptive_grad_clip(0.1).update(g, gradtx.EmptyState(), p)[0]


def test_zero_params_move_by_eps_and_zero_gradients_stay():
    g = jnp.array([[3.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(unit_clip(g, jnp.zeros((2, 2))), [[6e-5, 0.0], [8e-5, 0.0]], rtol=1e-6)
    assert not unit_clip(jnp.zeros((2, 2)), jnp.zeros((2, 2))).any()


def test_a_bad_unit_leaves_the_others_right():
    g = jnp.array([[jnp.nan, jnp.inf, 3.0, 1e30], [1.0, 1.0, 4.0, 1.0]])
    update = unit_clip(g, jnp.ones((2, 4)))
    np.testing.assert_allclose(update[:, 2], 0.1 * np.sqrt(2) * np.array([0.6, 0.8]), rtol=1e-6)
    np.testing.assert_allclose(update[:, 3], 0.1 * np.sqrt(2) * np.array([1, 1e-30]), rtol=1e-6)
    np.testing.assert_array_equal(update[:, :2], [[np.nan, 0], [1, 0]])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("size", [1e20, 1e30, 5e37])
def test_squares_that_overflow_leave_a_unit_its_direction(size, dtype):
    """And the norm of a small unit beside it its digits."""
    g = jnp.array([[3 * size, 3e-15, 0], [4 * size, 4e-15, 0]], dtype)
    update = unit_clip(g, jnp.array([[0, 0, 1], [30, 2e-16, 0]], dtype))
    expected = np.array([[1.8, 3e-15, 0], [2.4, 4e-15, 0]])
    np.testing.assert_allclose(update.astype("complex64"), expected, rtol=1e-2)
    p = jnp.array([[0.0], [size]], dtype)  # the parameter's may overflow, too
    np.testing.assert_allclose(
        unit_clip(g[:, :1], p).astype("complex64"), 0.1 * g[:, :1].astype("complex64") / 5, rtol=1e-2
    )


def test_norms_have_their_derivatives_where_squares_overflow():
    def norm(size):
        return gradtx.unitwise_norm(jnp.array([[3.0, 1.0], [4.0, 0.0]]) * size)[0]

    for size in (0.0, 1.0, 1e20, 1e30):
        for derivative in (jax.jacrev, jax.jacfwd):
            np.testing.assert_allclose(derivative(norm)(size), [5, 1] if size else [0, 0], rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (2, 3, 2, 2)])
def test_unitwise_functions_are_optaxs(shape):
    g = jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32)
    norm = gradtx.unitwise_norm(g)
    np.testing.assert_allclose(norm, optax.transforms.unitwise_norm(g, axis=() if shape == () else None), rtol=1e-6)
    ours = gradtx.unitwise_clip(norm, jnp.full(shape, 0.9), g)
    np.testing.assert_allclose(ours, optax.transforms.unitwise_clip(norm, jnp.full(shape, 0.9), g), rtol=1e-6)


def test_unitwise_functions_keep_shapes_and_dtypes():
    g = jnp.array([[3.0, 0.0], [4.0, 0.0]], jnp.bfloat16)
    norm = gradtx.unitwise_norm(g, output_axis=0)
    assert (norm.dtype, norm.tolist()) == (jnp.float32, [[3.0, 3.0], [4.0, 4.0]])
    clipped = gradtx.unitwise_clip(norm, jnp.full((2, 2), 2.0), g)
    assert (clipped.dtype, clipped.tolist()) == (jnp.bfloat16, [[2.0, 0.0], [2.0, 0.0]])
    assert not gradtx.unitwise_clip(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2)).any()


@pytest.mark.parametrize(("g", "expected"), [([np.inf, 1.0], [0.0, 0.0]), ([np.nan, 1.0], [np.nan, 1.0])])
def test_a_block_whose_rms_is_not_finite(g, expected):
    update, _ = gradtx.clip_by_block_rms(0.5).update(jnp.array(g), gradtx.EmptyState())
    np.testing.assert_array_equal(update, expected)


def test_bounds_of_zero_stop_everything():
    g = jnp.array([3.0, 4.0])
    assert not gradtx.clip_by_block_rms(0.0).update(g, gradtx.EmptyState())[0].any()
    assert not gradtx.adaptive_grad_clip(0.0).update(g, gradtx.EmptyState(), g)[0].any()


def test_derivatives_of_unit_and_block_clips_are_finite_at_zero():
    def units(g, p):
        return jnp.sum(unit_clip(g, p))

    def block(g, threshold):
        return jnp.sum(gradtx.clip_by_block_rms(threshold).update(g, gradtx.EmptyState())[0])

    zero, some = jnp.zeros((2, 2)), jnp.array([[3.0, 0.0], [4.0, 0.0]])
    with jax.debug_nans(True):
        for g in (zero, some):
            for other in (zero, some):
                assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.grad(units, (0, 1))(g, other))
            assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.grad(block, (0, 1))(g, 1.0))


def test_adaptive_grad_clip_needs_params():
    with pytest.raises(MissingExtraError) as error:
        unit_clip(jnp.ones(2), None)
    assert str(error.value) == (
        "gradtx.adaptive_grad_clip: expected update(..., params=...), got no params; "
        "pass them third: tx.update(grads, state, params)"
    )
