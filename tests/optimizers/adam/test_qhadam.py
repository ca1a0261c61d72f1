"""QHAdam against its reference, and the methods it contains."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
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
    x64,
)


@dataclasses.dataclass
class Qhadam(references.Adam):
    """Ma, Yarats: ((1-nu1) g + nu1 mhat) / (sqrt((1-nu2) g^2 + nu2 vhat) + eps)."""

    b1: float = 0.995
    nu1: float = 0.7
    nu2: float = 1.0

    def step(self, g, p):
        mhat, total = self.mean(g)
        self.v = self.second_moment(g)
        square = (1 - self.nu2) * references.square(g) + self.nu2 * self.v / references.power_complement(
            self.b2, self.t
        )
        means = (1 - self.nu1) * g + self.nu1 * mhat, (1 - self.nu1) * np.abs(g) + self.nu1 * total
        return self.normalize(means, np.sqrt(square) + self.eps)


weights = st.just(0.0) | st.floats(1e-3, 1.0)


def test_equals_the_reference():
    check_all(
        gradtx.scale_by_qhadam, Qhadam, {"b1": decays, "b2": decays, "nu1": weights, "nu2": weights, "eps": epsilons}
    )


@pytest.mark.parametrize("arguments", [{}, {"nu1": 0.0, "nu2": 0.5, "eps": 0.0}, {"nu1": 0.5, "eps": 1e-3}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_qhadam, Qhadam, arguments)


def test_with_whole_weights_it_is_adam_and_without_those_of_gradients_rmsprop():
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        adam = run(gradtx.adamw(0.1, weight_decay=0.1), params, grads)[:2]
        assert_close(run(gradtx.qhadam(0.1, 0.9, nu1=1.0, weight_decay=0.1), params, grads)[:2], adam, rtol=1e-12)
        rmsprop = run(gradtx.rmsprop(0.1, 0.999, eps_in_sqrt=False, bias_correction=True), params, grads)[:2]
        assert_close(run(gradtx.qhadam(0.1, nu1=0.0), params, grads)[:2], rmsprop, rtol=1e-12)


def test_without_weights_it_is_signs():
    g = jnp.array([0.5, -3.0, 0.0])
    tx = gradtx.scale_by_qhadam(nu1=0.0, nu2=0.0, eps=0.0)
    np.testing.assert_allclose(tx.update(g, tx.init(g))[0], [1, -1, 0], rtol=1e-6)


def test_the_second_moment_of_complex_gradients_is_real():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_qhadam(mu_dtype="bfloat16"), params, grads)[2]
    assert (state.mu["kernel"].dtype, state.nu["zeta"].dtype) == (jnp.bfloat16, jnp.float32)
