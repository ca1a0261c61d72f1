"""Parameters inside of bounds, on a sphere, on a simplex: after every step, rounding included."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError
from tests.trajectories import DOUBLE, SETTINGS, SHAPES, Problem, assert_close, run_eagerly, x64

DTYPES = ["float32", "bfloat16", "float16"]


def after(tx, g, p):
    """The parameters after one update."""
    return gradtx.apply_updates(p, tx.update(g, tx.init(p), p)[0])


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", SHAPES, ids=["some", "others"])
def test_nonnegative_equals_optax(shapes):
    shapes = {k: s for k, s in shapes.items() if not k.startswith("z")}
    params, grads = Problem(shapes, 3).draw(DOUBLE, steps=4)
    with x64():
        params = jax.tree.map(np.abs, params)
        ours, theirs = (
            run_eagerly(lib.chain(lib.sgd(0.1), lib.keep_params_nonnegative()), params, grads)[:2]
            for lib in (gradtx, optax)
        )
    assert_close(ours, theirs, rtol=1e-10)


def test_bounds_are_bounds_and_what_is_inside_moves_as_it_would():
    p, g = jnp.array([0.5, 0.5, 0.5, -0.9, 1.0, jnp.nan]), jnp.array([0.25, 0.6, -9.0, 1e30, 0.0, 1.0])
    np.testing.assert_array_equal(after(gradtx.keep_params_in(-1.0, 1.0), g, p), [0.75, 1, -1, 1, 1, np.nan])
    np.testing.assert_array_equal(after(gradtx.keep_params_in(-1.0, None), g[:3], p[:3]), np.float32([0.75, 1.1, -1]))
    np.testing.assert_array_equal(after(gradtx.keep_params_in(None, 1.0), g[:3], p[:3]), [0.75, 1, -8.5])
    np.testing.assert_array_equal(after(gradtx.keep_params_in(None, None), g[:3], p[:3]), p[:3] + g[:3])
    np.testing.assert_array_equal(after(gradtx.keep_params_in(0.75, 0.75), g[:3], p[:3]), [0.75] * 3)
    updates, _ = gradtx.keep_params_in(-1.0, 1.0).update(jnp.array([0.1]), gradtx.EmptyState(), p[:1])
    assert updates[0] == jnp.float32(0.1)  # the very update, not one that was added and subtracted again


def test_complex_parts_are_kept_apart():
    p, g = jnp.array([0.5 + 0.5j]), jnp.array([1 - 2j])
    np.testing.assert_array_equal(after(gradtx.keep_params_in(0.0, 1.0), g, p), [1 + 0j])


@pytest.mark.parametrize("of_updates", DTYPES)
@pytest.mark.parametrize("of_params", DTYPES)
def test_bounds_hold_after_rounding(of_params, of_updates):
    """Neither the bounds nor the distances to them are numbers of the dtype."""

    @jax.jit
    def step(p, g, low, high):
        tx = gradtx.keep_params_in(low, high)
        return after(tx, g, p)

    @SETTINGS
    @hypothesis.given(
        st.integers(0, 2**32 - 1), st.sampled_from([(0.3, 0.7), (-0.1, 1e-3), (1.01, 1.03), (-300.3, 0), (3e-5, 1e-3)])
    )
    def holds(seed, bounds):
        low, high = (np.float32(x) for x in bounds)
        random = np.random.default_rng(seed)
        p = jnp.asarray(random.uniform(low, high, 200), of_params)
        p = jnp.where(
            (p.astype(np.float32) < low) | (p.astype(np.float32) > high), jnp.asarray((low + high) / 2, of_params), p
        )
        g = random.normal(size=200) * 10 ** random.uniform(-4, 2, 200)
        for _ in range(3):
            p = step(p, jnp.asarray(g, of_updates), low, high)
            assert p.dtype == of_params
            assert float(p.astype(np.float32).min()) >= low
            assert float(p.astype(np.float32).max()) <= high

    holds()


@pytest.mark.parametrize("of_updates", DTYPES)
@pytest.mark.parametrize("of_params", DTYPES)
def test_what_begins_outside_comes_inside(of_params, of_updates):
    p = jnp.array([-129.25, 255.0, -3.0, 1e-3], of_params)
    tx = gradtx.chain(gradtx.set_to_zero(), gradtx.keep_params_in(0.3, 0.31))
    for _ in range(4):
        p = after(tx, jnp.ones(4, of_updates), p)
    assert float(p.astype(jnp.float32).min()) >= 0.3
    assert float(p.astype(jnp.float32).max()) <= 0.31


@pytest.mark.parametrize("of_updates", DTYPES)
@pytest.mark.parametrize("of_params", DTYPES)
@pytest.mark.parametrize("tx", [gradtx.keep_params_nonnegative(), gradtx.keep_params_on_simplex()], ids=repr)
def test_no_parameter_is_below_zero(tx, of_params, of_updates):
    random = np.random.default_rng(4)
    p = jnp.asarray(random.dirichlet(np.ones(5), 100), of_params)
    for g in -(10 ** random.uniform(-4, 1, size=(5, 100, 5))):
        p = jax.jit(after, static_argnums=0)(tx, jnp.asarray(g, of_updates), p)
        assert float(p.astype(jnp.float32).min()) >= 0


def test_bounds_take_schedules():
    tx = gradtx.keep_params_in(gradtx.constant_schedule(-1.0), gradtx.linear_schedule(2.0, 1.0, 1))
    p, state = jnp.zeros(2), tx.init(jnp.zeros(2))
    for high in (2.0, 1.0):
        updates, state = tx.update(jnp.array([9.0, -9.0]), state, p)
        np.testing.assert_array_equal(gradtx.apply_updates(p, updates), [high, -1.0])


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ArgumentValueError, match=r"keep_params_in: expected low to be at most high, got 1.0 and 0"):
        gradtx.keep_params_in(1.0, 0)


# --- sphere -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*DTYPES, "complex64"])
@pytest.mark.parametrize("axis", [None, -1, 0, (0, 1)])
def test_norms_are_one(axis, dtype):
    random = np.random.default_rng(1)
    p, g = (jnp.asarray(x, dtype) for x in random.normal(size=(2, 3, 4)))
    new = after(gradtx.keep_params_unit_norm(axis), g, p)
    assert new.dtype == dtype
    new, sums = (np.asarray(x, complex) for x in (new, p + g))
    axes = None if axis == (0, 1) else axis
    tolerance = 1e-6 if dtype in ("float32", "complex64") else 2e-2
    np.testing.assert_allclose(np.sqrt(np.sum(np.abs(new) ** 2, axis=axes)), 1, rtol=tolerance)
    expected = sums / np.sqrt(np.sum(np.abs(sums) ** 2, axis=axes, keepdims=True))
    np.testing.assert_allclose(new, expected, atol=tolerance)


def test_where_there_is_no_direction_parameters_stay():
    tx = gradtx.keep_params_unit_norm(axis=-1)
    p = jnp.array([[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]])
    g = jnp.array([[-0.6, -0.8], [0.0, 0.0], [3e30, 4e30]])
    with jax.debug_nans(True):
        np.testing.assert_allclose(after(tx, g, p), [[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]], rtol=1e-6)
        for derivative in jax.grad(lambda g, p: jnp.sum(after(tx, g, p)), (0, 1))(g[:2], p[:2]):
            assert np.isfinite(derivative).all()
    assert float(after(gradtx.keep_params_unit_norm(), jnp.array(-3.0), jnp.array(1.0))) == -1


# --- simplex ----------------------------------------------------------------------------------------------------------


def nearest_weights(x):
    """By bisection for the threshold, in float64."""
    low, high = x.max() - 1, x.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(x - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(x - low, 0)


@SETTINGS
@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e3]))
def test_the_point_is_the_nearest(seed, size):
    p, g = np.random.default_rng(seed).normal(size=(2, 4, 5)) * size
    with x64():
        new = np.asarray(after(gradtx.keep_params_on_simplex(), jnp.asarray(g), jnp.asarray(p)))
        columns = np.asarray(after(gradtx.keep_params_on_simplex(0), jnp.asarray(g), jnp.asarray(p)))
        whole = np.asarray(after(gradtx.keep_params_on_simplex(None), jnp.asarray(g), jnp.asarray(p)))
        pairs = np.asarray(
            after(gradtx.keep_params_on_simplex((0, 2)), *(jnp.asarray(x).reshape(2, 2, 5) for x in (g, p)))
        )
    tolerance = 1e-12 * (1 + size)
    np.testing.assert_allclose(new, [nearest_weights(x) for x in p + g], atol=tolerance)
    np.testing.assert_allclose(columns.T, [nearest_weights(x) for x in (p + g).T], atol=tolerance)
    np.testing.assert_allclose(whole.ravel(), nearest_weights((p + g).ravel()), atol=tolerance)
    expected = nearest_weights((p + g).reshape(2, 2, 5)[:, 1].ravel())
    np.testing.assert_allclose(pairs[:, 1].ravel(), expected, atol=tolerance)


def test_weights_of_any_size_of_updates():
    tx, p = gradtx.keep_params_on_simplex(), jnp.array([0.2, 0.3, 0.5])
    for size in (0.0, 1e-30, 1e10, 3e38):
        new = after(tx, size * jnp.array([1.0, -1.0, 0.5]), p)
        np.testing.assert_allclose(new, p if size < 1 else [1, 0, 0], rtol=1e-6)
    new = after(tx, jnp.full(3, 1e10), p)  # beside it the weights are a rounding: all have the same share
    np.testing.assert_allclose(jnp.sum(new), 1, rtol=1e-6)
    assert float(after(tx, jnp.array(5.0), jnp.array(0.5))) == 1
    assert after(tx, jnp.zeros((2, 0)), jnp.zeros((2, 0))).shape == (2, 0)
    np.testing.assert_array_equal(after(tx, jnp.array([1 + 2j, 0]), jnp.array([3j, 0])), [1, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_one_up_to_rounding(dtype):
    random = np.random.default_rng(2)
    p = jnp.asarray(random.dirichlet(np.ones(5), 50), dtype)
    new = after(gradtx.keep_params_on_simplex(), jnp.asarray(random.normal(size=(50, 5)), dtype), p)
    np.testing.assert_allclose(new.astype(jnp.float32).sum(axis=1), 1, atol=1e-6 if dtype == "float32" else 0.02)


# --- all of them ------------------------------------------------------------------------------------------------------

ALL = [
    gradtx.keep_params_nonnegative(),
    gradtx.keep_params_in(-1.0, 1.0),
    gradtx.keep_params_unit_norm(),
    gradtx.keep_params_on_simplex(),
]


@pytest.mark.parametrize("tx", ALL, ids=repr)
def test_leaves_without_numbers_stay_and_params_are_needed(tx):
    params = {"a": None, "n": jnp.arange(3), "w": jnp.array([0.6, 0.8])}
    grads = {"a": None, "n": np.zeros(3, jax.dtypes.float0), "w": jnp.ones(2)}
    updates, _ = tx.update(grads, tx.init(params), params)
    assert updates["a"] is None
    assert updates["n"] is grads["n"]
    with pytest.raises(MissingExtraError, match=f"gradtx.{tx.factory.name}: expected update"):
        tx.update(grads, tx.init(params))


@pytest.mark.parametrize("factory", [gradtx.keep_params_unit_norm, gradtx.keep_params_on_simplex])
def test_axes_are_checked(factory):
    with pytest.raises(ArgumentTypeError, match="expected axis to be an integer or a tuple of integers, got 'rows'"):
        factory("rows")
    tx, params = factory(axis=1), {"b": jnp.ones(2)}
    with pytest.raises(ArgumentValueError, match=r"expected leaves with axis 1, got a leaf of shape \[2\] at \['b'\]"):
        tx.update(params, tx.init(params), params)
