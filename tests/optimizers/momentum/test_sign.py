"""Optimizers by signs, against their reference."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.references import Rule, divide
from tests.trajectories import DOUBLE, SHAPES, SINGLE, Problem, assert_close, check_all, decays, rates, run, x64


@dataclasses.dataclass
class Signum(Rule):
    """Bernstein et al.: m <- b m + (1-b) g; the step is the rate times the sign of m (of a complex number, m / |m|)."""

    learning_rate: float
    beta: float = 0.9

    def step(self, g, p):
        self.m = self.beta * self.m + (1 - self.beta) * g
        self.total = self.beta * self.total + (1 - self.beta) * np.abs(g)
        self.condition = np.where(self.total > 0, self.total / np.maximum(np.abs(self.m), 1e-300), 1.0)
        self.size = self.learning_rate * np.ones_like(self.total)
        return -self.learning_rate * divide(self.m, np.abs(self.m))


def test_signum_equals_the_reference():
    check_all(gradtx.signum, Signum, {"learning_rate": rates, "beta": decays})


def test_sign_sgd_is_signum_without_memory():
    check_all(gradtx.sign_sgd, lambda learning_rate: Signum(learning_rate, 0.0), {"learning_rate": rates})
    params, grads = Problem(SHAPES[0], 0).draw(DOUBLE)
    with x64():
        ours = run(gradtx.sign_sgd(0.1), params, grads)[0]
        assert_close(ours, run(gradtx.signum(0.1, beta=0.0), params, grads)[0], rtol=1e-14)


def test_signum_is_lion_with_one_average():
    params, grads = Problem(SHAPES[0], 1).draw(DOUBLE)
    with x64():
        ours = run(gradtx.signum(0.1, beta=0.8), params, grads)[0]
        theirs = run(gradtx.lion(0.1, b1=0.8, b2=0.8, weight_decay=0.0), params, grads)[0]
    assert_close(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("tx", [gradtx.sign_sgd(0.1), gradtx.signum(0.1)], ids=repr)
def test_zeros_stay_and_scalars_move(tx):
    u, _ = tx.update(jnp.array([0.0, 1e-30, -1e30, jnp.nan]), tx.init(jnp.zeros(4)))
    np.testing.assert_allclose(u, [0, -0.1, 0.1, np.nan], rtol=1e-6)
    u, _ = tx.update(jnp.array(-2.0, jnp.bfloat16), tx.init(jnp.zeros((), jnp.bfloat16)))
    assert (u.shape, u.dtype, float(u)) == ((), jnp.bfloat16, pytest.approx(0.1, rel=1e-2))


def test_signum_keeps_its_average_in_the_dtype_asked_for():
    params, grads = Problem(SHAPES[0], 0).draw(SINGLE)
    state = run(gradtx.signum(0.1, accumulator_dtype="bfloat16"), params, grads)[2]
    assert gradtx.tree.get_field(state, "ema")["kernel"].dtype == jnp.bfloat16
