"""diffGrad against its reference, and the range of its friction."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests import references
from tests.trajectories import SHAPES, SINGLE, Problem, check_all, check_numbers, decays, epsilons, run


@dataclasses.dataclass
class Diffgrad(references.Adam):
    """Dubey et al.: Adam's step times 1 / (1 + exp(-|g - the gradient before|))."""

    previous: Any = 0.0

    def step(self, g, p):
        friction = 1 / (1 + np.exp(-np.abs(g - self.previous)))
        # A rounding of the difference is one of the gradients.
        self.condition = 1 + (np.abs(g) + np.abs(self.previous)) * np.exp(-np.abs(g - self.previous))
        self.previous = g
        u = friction * super().step(g, p)
        self.size = friction * self.size
        return u


def test_equals_the_reference():
    check_all(gradtx.scale_by_diffgrad, Diffgrad, {"b1": decays, "b2": decays, "eps": epsilons})


@pytest.mark.parametrize("arguments", [{}, {"eps": 0.0}, {"b1": 0.0, "eps": 1e-3}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_diffgrad, Diffgrad, arguments)


@pytest.mark.parametrize(("size", "friction"), [(1e-4, 0.5), (1e4, 1.0)])
def test_small_gradients_make_half_of_adams_steps_and_large_ones_all(size, friction):
    params, grads = np.zeros(1, np.float32), size * np.array([[1.0], [-1.0], [2.0], [-0.5]], np.float32)
    ours, adams = (run(f(eps=0.0), params, grads)[0] for f in (gradtx.scale_by_diffgrad, gradtx.scale_by_adam))
    np.testing.assert_allclose(ours, friction * adams, rtol=1e-3)


def test_a_gradient_that_stays_makes_half_a_step():
    updates = run(gradtx.scale_by_diffgrad(), np.zeros(1, np.float32), np.full((4, 1), 50.0, np.float32))[0]
    np.testing.assert_allclose(updates[:, 0], [1.0, 0.5, 0.5, 0.5], rtol=1e-6)


def test_the_second_moment_of_complex_gradients_is_real():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_diffgrad(mu_dtype="bfloat16"), params, grads)[2]
    assert (state.mu["kernel"].dtype, state.nu["zeta"].dtype) == (jnp.bfloat16, jnp.float32)
    assert (state.previous["kernel"].dtype, state.previous["zeta"].dtype) == (jnp.float32, jnp.complex64)
