"""Multiplication by a number: constant, scheduled, with the sign of descent, by one and by zero."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.trajectories import DOUBLE, SETTINGS, SINGLE, STEPS, problems, run, x64

FACTORS = {
    "scale": (gradtx.scale, lambda s: s),
    "scale_by_schedule": (gradtx.scale_by_schedule, lambda s: s),
    "scale_by_learning_rate": (gradtx.scale_by_learning_rate, lambda s: -s),
    "ascent": (lambda s: gradtx.scale_by_learning_rate(s, flip_sign=False), lambda s: s),
}


@pytest.mark.parametrize("precision", [SINGLE, DOUBLE])
@pytest.mark.parametrize("name", FACTORS)
def test_every_leaf_is_multiplied(name, precision):
    factory, factor = FACTORS[name]

    @SETTINGS
    @hypothesis.given(problems, st.just(0.0) | st.floats(1e-6, 100))
    def holds(problem, s):
        params, grads = problem.draw(precision)
        with x64(precision.x64):
            updates = run(factory(s), params, grads)[0]
        for k, g in grads.items():
            expected = precision.real(factor(s)) * g
            assert updates[k].dtype == g.dtype
            np.testing.assert_allclose(updates[k], expected, rtol=2 * np.finfo(precision.real).eps)

    holds()


@pytest.mark.parametrize("name", FACTORS)
def test_a_schedule_begins_at_step_zero(name):
    factory, factor = FACTORS[name]
    with x64():
        updates = run(factory(lambda step: 0.5**step), np.zeros(1), np.ones((STEPS, 1)))[0]
        np.testing.assert_array_equal(updates[:, 0], [factor(0.5**n) for n in range(STEPS)])


def test_negative_factors_scale_and_negative_rates_are_refused():
    assert float(gradtx.scale(-2.0).update(jnp.array(3.0), gradtx.EmptyState())[0]) == -6.0
    with pytest.raises(gradtx.errors.ArgumentValueError, match=r"expected learning_rate in \[0, inf\), got -0.1"):
        gradtx.scale_by_learning_rate(-0.1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_factor_is_not_rounded_to_the_dtype_of_the_updates(dtype):
    """0.1 in bfloat16 is 0.1001: a factor rounded to it would make 100.1 of 1000."""
    x, expected = jnp.asarray(1000, dtype), np.float32(0.1) * np.float32(1000)
    assert gradtx.scale(0.1).update(x, gradtx.EmptyState())[0] == expected.astype(dtype)
    assert jax.jit(lambda s: gradtx.scale(s).update(x, gradtx.EmptyState())[0])(0.1) == expected.astype(dtype)


def test_identity_and_set_to_zero():
    updates = {"a": jnp.array([1.0, jnp.nan]), "b": None, "c": jnp.array(2, jnp.bfloat16)}
    same, _ = gradtx.identity().update(updates, gradtx.EmptyState())
    np.testing.assert_array_equal(same["a"], updates["a"])
    zero, _ = gradtx.set_to_zero().update(updates, gradtx.EmptyState())
    assert zero["a"].tolist() == [0.0, 0.0]
    assert (zero["b"], float(zero["c"]), zero["c"].dtype) == (None, 0.0, jnp.bfloat16)
