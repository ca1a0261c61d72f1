"""Momentum and moving averages against their references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import SHAPES, SINGLE, Problem, booleans, check_all, check_numbers, compare, decays, run

RULES = {
    "trace": (gradtx.trace, references.Trace, {"decay": decays | st.just(1.0), "nesterov": booleans}),
    "ema": (gradtx.ema, references.Ema, {"decay": decays, "debias": booleans}),
}


@pytest.mark.parametrize("name", RULES)
def test_equals_the_reference(name):
    check_all(*RULES[name])


@pytest.mark.parametrize("decay", [0.9, 0.999])
@pytest.mark.parametrize("name", RULES)
def test_python_numbers_lose_nothing(name, decay):
    factory, rule, _ = RULES[name]
    check_numbers(factory, rule, {"decay": decay})


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999, 0.999999])
def test_the_first_debiased_average_is_the_gradient(decay):
    tx, g = gradtx.ema(decay), jnp.array([0.1, -3.0])
    np.testing.assert_allclose(tx.update(g, tx.init(g))[0], g, rtol=3e-7)


def test_the_average_in_the_state_is_not_debiased():
    tx, g = gradtx.ema(0.75), jnp.array([2.0])
    update, state = tx.update(g, tx.init(g))
    assert float(state.ema[0]) == 0.5
    assert float(update[0]) == pytest.approx(2.0)


def test_trace_is_not_damped():
    tx, g = gradtx.trace(1.0), jnp.array([2.0])
    assert run(tx, g, jnp.ones((5, 1)))[0][:, 0].tolist() == [1, 2, 3, 4, 5]


class Rounded:
    """A rule whose moment is stored in bfloat16, after it was used."""

    def __init__(self, rule):
        self.rule, self.condition, self.size = rule, 1.0, None

    def __call__(self, g, p):
        u = self.rule(g, p)
        self.size = self.rule.size
        self.rule.m = self.rule.m.astype(jnp.bfloat16).astype(np.float64)
        return u


@pytest.mark.parametrize("name", RULES)
def test_a_bfloat16_accumulator_is_rounded_once_a_step(name):
    factory, rule, _ = RULES[name]
    problem = Problem({"kernel": (2, 3), "bias": (3,)}, 1)
    tx = factory(0.9, accumulator_dtype="bfloat16")
    compare(SINGLE, tx, lambda: Rounded(rule(0.9)), problem, run)
    with pytest.raises(AssertionError, match="off by"):
        compare(SINGLE, tx, lambda: rule(0.9), problem, run)


@pytest.mark.parametrize("name", RULES)
def test_accumulator_dtype_is_what_is_stored(name):
    params, grads = Problem(SHAPES[0], 0).draw(SINGLE)
    state = run(RULES[name][0](0.9, accumulator_dtype="bfloat16"), params, grads)[2]
    stored = {k: str(x.dtype) for k, x in state[-1].items()}
    assert stored == {"kernel": "bfloat16", "bias": "bfloat16", "zeta": "complex64"}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_moments_of_low_precision_parameters_are_float32(name, dtype):
    params = jnp.ones(3, dtype)
    assert [x.dtype for x in jax.tree.leaves(RULES[name][0](0.9).init(params)[-1])] == [jnp.float32]
