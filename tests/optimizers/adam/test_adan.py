"""Adan against its reference, against Optax where both agree, and its first difference."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.references import Rule, divide, power_complement, square
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    decays,
    epsilons,
    run,
    run_eagerly,
    x64,
)


@dataclasses.dataclass
class Adan(Rule):
    """Xie et al., as in their code: n <- b3 n + (1-b3) |g + b2 d|^2; the step is mhat + b2 vhat over its root."""

    b1: float = 0.98
    b2: float = 0.92
    b3: float = 0.99
    eps: float = 1e-8
    eps_root: float = 0.0
    previous: Any = None
    change: Any = 0.0
    changes: Any = 0.0
    rounded: Any = 0.0

    def step(self, g, p):
        before = g if self.previous is None else self.previous
        self.previous, d = g, g - before
        sizes = np.abs(g) + np.abs(before) * (self.t > 1)
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.change = self.b2 * self.change + (1 - self.b2) * d
        self.v = self.b3 * self.v + (1 - self.b3) * square(g + self.b2 * d)
        # What the same averages would be if nothing cancelled.
        self.total = self.b1 * self.total + (1 - self.b1) * np.abs(g)
        self.changes = self.b2 * self.changes + (1 - self.b2) * sizes
        self.rounded = self.b3 * self.rounded + (1 - self.b3) * square(np.abs(g) + self.b2 * sizes)
        bc1, bc2, bc3 = (power_complement(b, self.t) for b in (self.b1, self.b2, self.b3))
        denominator = np.sqrt(self.v / bc3 + self.eps_root) + self.eps
        self.size = divide(self.total / bc1 + self.b2 * self.changes / bc2, denominator)
        self.condition = 1 + divide(self.rounded, self.v)
        return divide(self.m / bc1 + self.b2 * self.change / bc2, denominator)


ARGUMENTS = {"b1": decays, "b2": decays, "b3": decays, "eps": epsilons, "eps_root": epsilons}


def test_equals_the_reference():
    check_all(gradtx.scale_by_adan, Adan, ARGUMENTS)


@pytest.mark.parametrize("arguments", [{}, {"eps": 0.0}, {"b2": 0.0, "eps_root": 1e-3}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_adan, Adan, arguments)


@pytest.mark.parametrize("b2", [0.5, 0.92])
def test_optax_weighs_differences_by_the_complement(b2):
    """By 1 - b2, which is b2 only where that is a half."""
    params, grads = Problem(SHAPES[0], 5).draw(DOUBLE)
    with x64():
        ours = run(gradtx.adan(0.1, b2=b2, weight_decay=0.1), params, grads)[1]
        theirs = run_eagerly(optax.adan(0.1, b2=b2, weight_decay=0.1), params, grads)[1]
    if b2 == 0.5:
        assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    else:
        assert np.max(np.abs(ours["kernel"] - theirs["kernel"])) > 0.01


def test_the_first_gradient_is_no_difference():
    """With d = g at the first step, the averages of differences and of squares would begin with it."""
    tx, g = gradtx.scale_by_adan(b1=0.5, b2=0.5, b3=0.5, eps=0.0), jnp.array([2.0])
    first, state = tx.update(g, tx.init(g))
    np.testing.assert_allclose([first, state.delta, state.nu], [[1.0], [0.0], [2.0]])
    second, state = tx.update(2 * g, state)
    # m = 2.5 over 0.75; v = 1 over 0.75, times b2; n = 0.5 * 2 + 0.5 * 5^2 over 0.75.
    np.testing.assert_allclose(second, (2.5 + 0.5 * 1) / 0.75 / np.sqrt(13.5 / 0.75), rtol=1e-6)
    np.testing.assert_array_equal(state.previous, 2 * g)


def test_the_gradient_kept_is_the_one_that_came_through_the_clip():
    tx = gradtx.chain(gradtx.clip(1.0), gradtx.scale_by_adan())
    _, state = tx.update(jnp.array([5.0, 0.5]), tx.init(jnp.zeros(2)))
    np.testing.assert_array_equal(gradtx.tree.get_field(state, "previous"), [1.0, 0.5])


def test_states_are_wide_and_squares_real():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_adan(), params, grads)[2]
    assert {x["zeta"].dtype.name for x in (state.mu, state.delta, state.previous)} == {"complex64"}
    assert state.nu["zeta"].dtype == jnp.float32
    half = gradtx.scale_by_adan().init(jnp.zeros(2, jnp.bfloat16))
    assert {x.dtype.name for x in jax.tree.leaves(half)} == {"int32", "float32"}
