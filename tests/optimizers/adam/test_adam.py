"""Adam, AMSGrad, AdaBelief and Yogi against their references, and the ways around the bias correction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from gradtx import tree
from tests import references
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    booleans,
    check_all,
    check_numbers,
    compare,
    decays,
    epsilons,
    run,
    run_eagerly,
    x64,
)

moments = {"b1": decays, "b2": decays, "eps": epsilons, "eps_root": epsilons}

RULES = {
    "adam": (gradtx.scale_by_adam, references.Adam, {"nesterov": booleans, "bias_correction": booleans}),
    "amsgrad": (
        gradtx.scale_by_amsgrad,
        references.Amsgrad,
        {"bias_correction": st.sampled_from(["before_max", "after_max", "none"])},
    ),
    "belief": (
        gradtx.scale_by_belief,
        references.Belief,
        {
            "eps": st.sampled_from([1e-16, 1e-8]),
            "eps_root": st.sampled_from([1e-16, 1e-8, 0.0]),
            "nesterov": booleans,
            "rectify": booleans,
        },
    ),
    "yogi": (
        gradtx.scale_by_yogi,
        references.Yogi,
        {"initial_accumulator_value": st.sampled_from([0.0, 1e-6, 0.1]), "bias_correction": booleans},
    ),
}
PROBLEM = Problem(SHAPES[0], 3)


@pytest.mark.parametrize("name", RULES)
def test_equals_the_reference(name):
    factory, rule, arguments = RULES[name]
    check_all(factory, rule, moments | arguments)


@pytest.mark.parametrize("arguments", [{}, {"eps": 1e-3, "eps_root": 0.0}, {"eps": 1e-3, "eps_root": 1e-3}], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_python_numbers_lose_nothing(name, arguments):
    factory, rule, _ = RULES[name]
    check_numbers(factory, rule, arguments)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("b2", [0.9, 0.999, 0.99999])
def test_the_first_step_has_all_the_digits_of_float32(name, b2):
    factory, rule, _ = RULES[name]
    g = np.float32(0.37)
    update, _ = factory(b2=b2).update(g, factory(b2=b2).init(g))
    np.testing.assert_allclose(update, rule(b2=b2)(np.float64(g)), rtol=5e-7)


def test_second_moments_of_complex_gradients_are_real():
    params, grads = PROBLEM.draw(SINGLE)
    for factory, _, _ in RULES.values():
        state = run(factory(), params, grads)[2]
        assert state.mu["zeta"].dtype == jnp.complex64
        assert state.nu["zeta"].dtype == jnp.float32


# --- dtypes of the first moment ---------------------------------------------------------------------------------------


class RoundedAdam(references.Adam):
    """Adam that stores m in bfloat16, and computes with what it has before storing."""

    def step(self, g, p):
        u = super().step(g, p)
        self.m = self.m.astype(jnp.bfloat16).astype(np.float64)
        return u


@pytest.mark.parametrize("factory", [gradtx.scale_by_adam, gradtx.scale_by_amsgrad])
def test_mu_dtype_is_what_is_stored_and_nothing_else(factory):
    params, grads = PROBLEM.draw(SINGLE)
    state = run(factory(mu_dtype="bfloat16"), params, grads)[2]
    assert {k: str(x.dtype) for k, x in state.mu.items()} == {
        "kernel": "bfloat16", "bias": "bfloat16", "zeta": "complex64"
    }  # fmt: skip
    assert {str(x.dtype) for x in jax.tree.leaves(state.nu)} == {"float32"}


def test_a_bfloat16_first_moment_is_rounded_once_a_step():
    problem = Problem({"kernel": (2, 3), "bias": (3,)}, 3)
    compare(SINGLE, gradtx.scale_by_adam(mu_dtype="bfloat16"), RoundedAdam, problem, run)
    with pytest.raises(AssertionError, match="off by"):
        compare(SINGLE, gradtx.scale_by_adam(mu_dtype="bfloat16"), references.Adam, problem, run)


# --- without bias correction ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.999), (0.5, 0.99), (0.0, 0.9)])
def test_debiased_decays_make_the_correction_needless(b1, b2):
    with x64():
        debiased = gradtx.scale_by_adam(gradtx.debiased_decay(b1), gradtx.debiased_decay(b2), bias_correction=False)
        params, grads = PROBLEM.draw(DOUBLE, steps=50)
        expected, _, corrected = run(gradtx.scale_by_adam(b1, b2), params, grads)
        actual, _, state = run(debiased, params, grads)
    assert_close(actual, expected, rtol=1e-12, atol=1e-13)
    # What is stored are the corrected moments themselves.
    assert_close(state.inner.mu, jax.tree.map(lambda m: m / (1 - b1**50), corrected.mu), rtol=1e-12, atol=1e-13)
    assert_close(state.inner.nu, jax.tree.map(lambda v: v / (1 - b2**50), corrected.nu), rtol=1e-12)


def test_moments_from_a_first_batch_need_no_correction():
    """For a constant gradient both begin where they stay; in general they follow the plain recurrence from there."""
    with x64():
        params, grads = PROBLEM.draw(DOUBLE)
        first = jax.tree.map(lambda g: g[0], grads)
        tx = gradtx.scale_by_adam(bias_correction=False)
        state = tree.set_field(tx.init(params), "mu", first)
        state = tree.set_field(state, "nu", jax.tree.map(references.square, first))
        corrected, corrected_state = gradtx.scale_by_adam(), gradtx.scale_by_adam().init(params)
        for _ in range(5):
            update, state = tx.update(first, state)
            expected, corrected_state = corrected.update(first, corrected_state)
            assert_close(update, expected, rtol=1e-12)

        rule = references.Adam(bias_correction=False)
        rule.m, rule.v = first["kernel"], first["kernel"] ** 2
        state = tree.set_field(
            tree.set_field(tx.init(params), "mu", first), "nu", jax.tree.map(references.square, first)
        )
        for t in range(1, 4):
            update, state = tx.update(jax.tree.map(lambda g, t=t: g[t], grads), state)
            np.testing.assert_allclose(update["kernel"], rule(grads["kernel"][t]), rtol=1e-12)


# --- what sets the relatives apart ------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", ["before_max", "after_max", "none"])
def test_the_second_moment_of_amsgrad_never_falls(convention):
    tx = gradtx.scale_by_amsgrad(b2=0.5, bias_correction=convention)
    g = jnp.array([3.0, 1.0, 0.1, 0.0])
    state, largest = tx.init(g[0]), []
    for x in g:
        _, state = tx.update(x, state)
        largest.append(float(state.nu_max))
    assert float(state.nu) < largest[-1]
    assert largest == sorted(largest)
    assert largest[0] == pytest.approx(9.0 if convention == "before_max" else 4.5)


def test_the_first_step_of_adabelief_is_longer_by_one_over_b1():
    tx = gradtx.scale_by_belief(b1=0.8)
    update, _ = tx.update(jnp.array([2.0, -1.0]), tx.init(jnp.zeros(2)))
    np.testing.assert_allclose(update, [1.25, -1.25], rtol=1e-6)


def test_eps_root_of_adabelief_piles_up_in_the_state():
    tx = gradtx.scale_by_belief(b2=0.9, eps_root=1e-4)
    params = jnp.zeros(1)
    state = run(tx, params, np.zeros((300, 1), np.float32))[2]
    np.testing.assert_allclose(state.nu, 1e-4 / (1 - 0.9), rtol=1e-5)


def test_the_second_moment_of_yogi_changes_by_at_most_the_squared_gradient():
    tx = gradtx.scale_by_yogi(b2=0.9)
    params, grads = np.zeros(1, np.float32), np.array([[3.0], [0.1], [0.1]], np.float32)
    nu = [float(run(tx, params, grads[:n])[2].nu[0]) for n in (1, 2, 3)]
    np.testing.assert_allclose(nu, [1e-6 + 0.9, 1e-6 + 0.9 - 0.001, 1e-6 + 0.9 - 0.002], rtol=1e-6)


def test_the_second_moment_of_yogi_stays_where_it_equals_the_squared_gradient():
    tx = gradtx.scale_by_yogi(b2=0.0, initial_accumulator_value=0.0)
    assert run(tx, np.zeros(1, np.float32), np.full((2, 1), 0.5, np.float32))[2].nu == 0.25


def test_eager_and_compiled_updates_agree():
    params, grads = PROBLEM.draw(SINGLE)
    for factory, _, _ in RULES.values():
        compiled, eager = run(factory(), params, grads)[0], run_eagerly(factory(), params, grads)[0]
        assert_close(compiled, eager, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 1e-38, 1e-31, 1e-27])
@pytest.mark.parametrize("b1", [0.0, 0.9, 0.9999999])
def test_zero_gradients_stay_zero_whatever_the_least_denominator(eps, b1):
    for tx in (gradtx.scale_by_adam(b1, eps=eps), gradtx.scale_by_belief(b1, eps=eps, eps_root=0.0)):
        for traced in (False, True):
            update = jax.jit(tx.update) if traced else tx.update
            updates, _ = update(jnp.zeros(2), tx.init(jnp.zeros(2)))
            np.testing.assert_array_equal(updates, 0)


def test_the_least_gradients_whose_squares_are_numbers_are_rescaled():
    tx = gradtx.scale_by_adam(eps=0.0)
    for size in (1e-17, 1e-10, 1e15):
        updates, _ = tx.update(jnp.array([size, -size]), tx.init(jnp.zeros(2)))
        np.testing.assert_allclose(updates, [1, -1], rtol=1e-5)
