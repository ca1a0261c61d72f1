"""Centralized gradients, and gradients without NaN."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import DOUBLE, SETTINGS, SINGLE, run, x64

AXES = [-1, 0, 1, (0,), (-2, -1), (0, -1)]


@pytest.mark.parametrize("precision", [SINGLE, DOUBLE])
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_centralize_equals_the_reference(axis, precision):
    @SETTINGS
    @hypothesis.given(st.sampled_from([(2, 3), (3, 3), (3, 1, 2), (2, 3, 4, 2), (1, 4)]), st.integers(0, 2**32 - 1))
    def holds(shape, seed):
        axes = axis if isinstance(axis, tuple) else (axis,)
        g = np.random.default_rng(seed).normal(2.0, size=shape).astype(precision.real)
        with x64(precision.x64):
            update, _ = gradtx.centralize(axis).update(g, gradtx.EmptyState())
        expected = g if len(axes) == len(shape) else references.centralize(g.astype(np.float64), axes)
        np.testing.assert_allclose(update, expected, atol=precision.tolerance * np.max(np.abs(g)))

    holds()


def test_centralized_slices_of_each_output_have_mean_zero():
    g = jax.random.normal(jax.random.key(0), (3, 3, 4, 5)) + 1
    update, _ = gradtx.centralize().update(g, gradtx.EmptyState())
    np.testing.assert_allclose(jnp.mean(update, (0, 1, 2)), np.zeros(5), atol=1e-6)
    assert abs(float(jnp.mean(update[..., 0, :]))) > 1e-3


def test_leaves_without_an_axis_to_average_over_pass_through():
    grads = {"bias": jnp.array([1.0, 2.0]), "scale": jnp.array(3.0), "empty": jnp.zeros((0, 2)), "none": None}
    for axis in (-1, 0, 5):
        update, _ = gradtx.centralize(axis).update(
            {k: grads[k] for k in ("bias", "scale", "none")}, gradtx.EmptyState()
        )
        assert update["bias"].tolist() == [1.0, 2.0]
        assert float(update["scale"]) == 3.0
        assert update["none"] is None
    assert gradtx.centralize().update(grads, gradtx.EmptyState())[0]["empty"].shape == (0, 2)
    # Attention kernels [in, heads, size] have two output axes; a matrix in the same tree has none to average over.
    matrix = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    assert gradtx.centralize((-2, -1)).update(matrix, gradtx.EmptyState())[0].tolist() == matrix.tolist()


@pytest.mark.parametrize("axis", [2, -3, (0, 2)])
def test_centralize_says_which_leaf_lacks_the_axis(axis):
    tx = gradtx.centralize(axis)
    with pytest.raises(
        gradtx.errors.ArgumentValueError, match=r"^gradtx.centralize: expected leaves with axis .*\[2, 3\]"
    ):
        tx.update({"kernel": jnp.ones((2, 3))}, tx.init(None))


@pytest.mark.parametrize("axis", ["last", 1.0, True, (0, "last"), None])
def test_centralize_wants_whole_numbers(axis):
    with pytest.raises(gradtx.errors.ArgumentTypeError, match=r"^gradtx.centralize: "):
        gradtx.centralize(axis)


def test_centralize_of_complex_and_low_precision_gradients():
    g = jnp.array([[1 + 1j, 2.0], [3 + 3j, 4.0]])
    assert gradtx.centralize().update(g, gradtx.EmptyState())[0].tolist() == [[-1 - 1j, -1], [1 + 1j, 1]]
    # The mean of 256 ones and of 257 is not what bfloat16 would add up to.
    g = jnp.ones((1024, 1), jnp.bfloat16)
    update, _ = gradtx.centralize().update(g, gradtx.EmptyState())
    assert update.dtype == jnp.bfloat16
    assert not update.any()


# --- NaN --------------------------------------------------------------------------------------------------------------


def test_zero_nans_replaces_nan_and_says_where():
    nan, inf = jnp.nan, jnp.inf
    grads = {
        "a": jnp.array([nan, 1.0, -inf]), "b": jnp.array([2.0, inf]), "c": jnp.array(nan),
        "z": jnp.array([complex(1, nan), 1j]), "none": None,
    }  # fmt: skip
    tx = gradtx.zero_nans()
    state = tx.init(grads)
    assert jax.tree.leaves(state) == [False] * 4
    updates, state = tx.update(grads, state)
    assert {k: np.asarray(u).tolist() for k, u in updates.items() if u is not None} == {
        "a": [0.0, 1.0, -inf], "b": [2.0, inf], "c": 0.0, "z": [0j, 1j]
    }  # fmt: skip
    assert {k: bool(x) for k, x in state.found_nan.items() if x is not None} == {
        "a": True, "b": False, "c": True, "z": True
    }  # fmt: skip


def test_zero_nans_speaks_of_the_last_update_alone():
    grads = np.array([[np.nan, 1.0], [2.0, 3.0]], np.float32)
    updates, _, state = run(gradtx.zero_nans(), np.zeros(2, np.float32), grads)
    assert updates.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert not state.found_nan


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_nans_of_python_and_numpy_numbers(jit):
    tx, params = gradtx.zero_nans(), {"a": 1.0, "b": np.ones(2, np.float32)}
    updates, state = jit(tx.update)({"a": float("nan"), "b": np.array([np.nan, 2.0], np.float32)}, tx.init(params))
    assert (float(updates["a"]), updates["b"].tolist()) == (0.0, [0.0, 2.0])
    assert all(jax.tree.leaves(state))
