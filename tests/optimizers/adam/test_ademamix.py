"""AdEMAMix against its reference and Optax's, with numbers and with schedules."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

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
class Ademamix(Rule):
    """Pagliardini et al.: (m1 / (1 - b1^t) + alpha m2) / (sqrt(v / (1 - b2^t) + eps_root) + eps)."""

    b1: float = 0.9
    b2: float = 0.999
    b3: float = 0.9999
    alpha: float = 6.0
    eps: float = 1e-8
    eps_root: float = 0.0
    old: Any = 0.0
    old_total: Any = 0.0

    def step(self, g, p):
        self.m, self.total = (self.b1 * m + (1 - self.b1) * x for m, x in ((self.m, g), (self.total, np.abs(g))))
        self.old, self.old_total = (
            self.b3 * m + (1 - self.b3) * x for m, x in ((self.old, g), (self.old_total, np.abs(g)))
        )
        self.v = self.b2 * self.v + (1 - self.b2) * square(g)
        correction = power_complement(self.b1, self.t)
        denominator = np.sqrt(self.v / power_complement(self.b2, self.t) + self.eps_root) + self.eps
        self.size = divide(self.total / correction + self.alpha * self.old_total, denominator)
        return divide(self.m / correction + self.alpha * self.old, denominator)


def test_equals_the_reference():
    arguments = {
        "b1": decays, "b2": decays, "b3": decays, "alpha": st.floats(0, 10), "eps": epsilons, "eps_root": epsilons,
    }  # fmt: skip
    check_all(gradtx.scale_by_ademamix, Ademamix, arguments)


@pytest.mark.parametrize("arguments", [{}, {"b3": 0.0, "eps": 0.0}, {"alpha": 0.0, "eps_root": 1e-3}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_ademamix, Ademamix, arguments)


def rising(end):
    """A line from 0 to a value in 9 steps, in full precision: Optax's own schedules divide in float32."""
    return lambda step: end * jnp.minimum(jnp.asarray(step, float) / 9, 1)


CASES = {
    "numbers": {},
    "schedules": {"alpha": rising(8.0), "b3": rising(0.9999)},
    "eps_root": {"b1": 0.5, "eps_root": 1e-3, "weight_decay": 0.1},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_optax(name):
    params, grads = Problem(SHAPES[0], 4).draw(DOUBLE)
    with x64():
        ours = run(gradtx.ademamix(0.1, **CASES[name]), params, grads)[:2]
        theirs = run_eagerly(optax.contrib.ademamix(0.1, **CASES[name]), params, grads)[:2]
    assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_defaults_of_both_are_optaxs():
    assert (gradtx.scale_by_ademamix().alpha, gradtx.ademamix(0.1).alpha) == (6.0, 5.0)


def test_without_the_slow_average_it_is_adam():
    params, grads = Problem(SHAPES[0], 2).draw(DOUBLE)
    with x64():
        ours = run(gradtx.scale_by_ademamix(alpha=0.0), params, grads)[0]
        assert_close(ours, run(gradtx.scale_by_adam(), params, grads)[0], rtol=1e-13)


def test_old_gradients_are_remembered():
    """After 10 steps up and 500 without a gradient, the fast average is gone; the slow one is not."""
    grads = np.concatenate([np.ones((10, 1)), np.full((500, 1), -1e-6)]).astype(np.float32)
    without, mixed = (
        run(gradtx.scale_by_ademamix(alpha=alpha), np.zeros(1, np.float32), grads)[0][-1, 0] for alpha in (0.0, 5.0)
    )
    assert without < 0 < mixed


def test_averages_are_stored_in_the_dtype_asked_for_and_squares_are_not():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_ademamix(mu_dtype="bfloat16"), params, grads)[2]
    assert [x["kernel"].dtype.name for x in (state.m1, state.m2, state.nu)] == ["bfloat16", "bfloat16", "float32"]
    assert [x["zeta"].dtype.name for x in (state.m1, state.m2, state.nu)] == ["complex64", "complex64", "float32"]
    assert len(jax.tree.leaves(state)) == 10


def test_a_run_that_optax_began_goes_on():
    params, grads = Problem({"w": (3,)}, 1).draw(DOUBLE)
    with x64():
        theirs, ours = optax.contrib.ademamix(0.1), gradtx.ademamix(0.1)
        _, p, optax_state = run_eagerly(theirs, params, {"w": grads["w"][:5]})
        state = gradtx.checkpoint.from_optax_state(ours, optax_state, params)
        for g in grads["w"][5:]:
            u, state = ours.update({"w": jnp.asarray(g)}, state, p)
            p = gradtx.apply_updates(p, u)
        expected = run_eagerly(theirs, params, grads)[1]
    np.testing.assert_allclose(p["w"], expected["w"], rtol=1e-12)
