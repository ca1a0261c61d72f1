"""AdaMod against its reference, and what its bound does."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

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
class Adamod(references.Adam):
    """Ding et al.: mhat times the smaller of a = 1 / (sqrt(vhat) + eps) and s <- b3 s + (1-b3) a."""

    b3: float = 0.999
    average: Any = 0.0

    def step(self, g, p):
        mhat, total = self.mean(g)
        denominator = self.denominator(g)
        size = 1 / np.where(denominator == 0, 1, denominator)
        self.average = self.b3 * self.average + (1 - self.b3) * size
        self.size = np.minimum(size, self.average) * total
        return np.minimum(size, self.average) * mhat


def test_equals_the_reference():
    check_all(gradtx.scale_by_adamod, Adamod, {"b1": decays, "b2": decays, "b3": decays, "eps": epsilons})


@pytest.mark.parametrize("arguments", [{}, {"eps": 0.0}, {"b3": 0.5, "eps": 1e-3}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_adamod, Adamod, arguments)


def test_without_an_average_it_is_adam():
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        adam = run(gradtx.adamw(0.1, weight_decay=0.1), params, grads)[:2]
        assert_close(run(gradtx.adamod(0.1, b3=0.0, weight_decay=0.1), params, grads)[:2], adam, rtol=1e-12)


def test_the_first_steps_are_a_warm_up():
    """Under a constant gradient, the step n is 1 - b3^n of Adam's."""
    updates = run(gradtx.scale_by_adamod(b3=0.9), np.zeros(1, np.float32), np.full((30, 1), 0.5, np.float32))[0]
    np.testing.assert_allclose(updates[:, 0], 1 - 0.9 ** np.arange(1, 31), rtol=1e-5)


def test_steps_do_not_grow_at_once_where_gradients_have_fallen():
    grads = np.full((200, 1), 1.0, np.float32)
    grads[150:] = 0.01
    sizes = [
        np.abs(run(tx, np.zeros(1, np.float32), grads)[0])[160:, 0].max()
        for tx in (gradtx.scale_by_adam(0.0, 0.5), gradtx.scale_by_adamod(0.0, 0.5, 0.99))
    ]
    assert sizes[0] > 0.9
    assert sizes[1] < 0.4 * sizes[0]


def test_step_sizes_of_complex_gradients_are_real():
    params, grads = Problem(SHAPES[0], 3).draw(SINGLE)
    state = run(gradtx.scale_by_adamod(mu_dtype="bfloat16"), params, grads)[2]
    assert (state.mu["kernel"].dtype, state.nu["zeta"].dtype) == (jnp.bfloat16, jnp.float32)
    assert state.step_sizes["zeta"].dtype == jnp.float32
