"""MADGRAD against its reference and Optax."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule, divide, square
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    rates,
    run,
    run_compiled,
    run_eagerly,
    x64,
)


@dataclasses.dataclass
class Madgrad(Rule):
    """Defazio and Jelassi: z = x0 - s / (cbrt(v) + eps), of which the params take the share 1 - momentum."""

    learning_rate: float
    momentum: float = 0.9
    eps: float = 1e-6
    x0: Any = None

    def step(self, g, p):
        self.x0 = p if self.x0 is None else self.x0
        weight = (self.learning_rate + self.eps) * np.sqrt(self.t)
        self.v = self.v + weight * square(g)
        self.m = self.m + weight * g
        self.total = self.total + weight * np.abs(g)
        root = np.cbrt(self.v) + self.eps
        self.size = np.abs(self.x0) + np.abs(p) + divide(self.total, root)
        return (1 - self.momentum) * (self.x0 - divide(self.m, root) - p)


NUMBERS = {"learning_rate": rates, "momentum": st.floats(0.0, 1.0), "eps": st.sampled_from([0.0, 1e-6, 1e-3])}


def test_equals_the_reference():
    check_all(gradtx.scale_by_madgrad, Madgrad, NUMBERS, reads_params=True)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_python_numbers_lose_nothing(momentum):
    check_numbers(
        gradtx.scale_by_madgrad, Madgrad, {"learning_rate": 0.1, "momentum": momentum, "eps": 1e-6}, reads_params=True
    )


def with_wide_counter(tx):
    """Optax's transformation with an int64 counter: it takes the root of t in float32 where that is int32."""

    def widened(params):
        return jax.tree.map(lambda x: x.astype("int64") if x.dtype == "int32" else x, tx.init(params))

    return optax.GradientTransformation(widened, tx.update)


@pytest.mark.parametrize(
    "arguments", [{}, {"momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3}, {"momentum": 0.0}], ids=str
)
def test_equals_optax(arguments):
    params, grads = Problem({"kernel": (2, 3), "scalar": ()}, 3).draw(DOUBLE)
    with x64():
        for rate in (0.1, lambda step: 0.1 / (1 + step)):
            ours = run_compiled(gradtx.madgrad(rate, **arguments), params, grads)
            theirs = run_eagerly(with_wide_counter(optax.contrib.madgrad(rate, **arguments)), params, grads)
            assert_close(ours[:2], theirs[:2], rtol=1e-10, atol=1e-12)


def test_without_momentum_the_start_is_not_kept():
    params, grads = Problem(SHAPES[0], 1).draw(SINGLE)
    without, tiny = (run_compiled(gradtx.madgrad(0.1, momentum), params, grads) for momentum in (0.0, 1e-30))
    states = [gradtx.tree.get_field(result[2], "x0") for result in (without, tiny)]
    assert [len(jax.tree.leaves(x)) for x in states] == [0, len(params)]
    assert_close(without[1], tiny[1], rtol=1e-3, atol=1e-4)


def test_a_state_without_the_start_goes_on_with_a_momentum_that_is_traced():
    tx, params = gradtx.madgrad(0.1, 0.0), jnp.array([1.0, -2.0])
    state, g = tx.init(params), jnp.array([0.5, 0.25])
    expected = tx.update(g, state, params)[0]
    np.testing.assert_allclose(jax.jit(lambda tx: tx.update(g, state, params)[0])(tx), expected, rtol=1e-6)


def test_the_sums_of_narrow_and_of_complex_numbers():
    params = {"half": jnp.ones(2, jnp.bfloat16), "phase": jnp.ones(2, jnp.complex64)}
    _, state = gradtx.scale_by_madgrad(0.1).update(params, gradtx.scale_by_madgrad(0.1).init(params), params)
    assert {k: x.dtype.name for k, x in state.grad_sum_sq.items()} == {"half": "float32", "phase": "float32"}
    assert {k: x.dtype.name for k, x in state.x0.items()} == {"half": "float32", "phase": "complex64"}
    np.testing.assert_allclose(state.grad_sum_sq["phase"], 0.100001 * np.ones(2), rtol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_zero_gradients_are_no_update_and_their_derivatives_are_finite(eps):
    tx, p = gradtx.scale_by_madgrad(0.1, eps=eps), jnp.array([1.0, -3.0])

    def second(g):
        return tx.update(g, tx.update(g, tx.init(p), p)[1], p)[0]

    np.testing.assert_array_equal(second(jnp.zeros(2)), [0.0, 0.0])
    assert np.all(np.isfinite(jax.jacobian(second)(jnp.zeros(2))))


def test_params_are_needed():
    tx = gradtx.madgrad(0.1)
    with pytest.raises(gradtx.errors.MissingExtraError, match="params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_the_first_params_are_copied():
    params, grads = Problem({"w": (3,)}, 0).draw(SINGLE)
    assert run(gradtx.madgrad(0.1), params, grads)[0]["w"].shape == (12, 3)
    p = jnp.ones(3)
    state = gradtx.scale_by_madgrad(0.1).init(p)
    assert state.x0.unsafe_buffer_pointer() != p.unsafe_buffer_pointer()
