"""Quasi-hyperbolic momentum against its reference, and the momenta it contains."""

import dataclasses

import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Ema
from tests.trajectories import DOUBLE, SHAPES, Problem, assert_close, check_all, check_numbers, decays, run, x64


@dataclasses.dataclass
class Qhm(Ema):
    """Ma, Yarats: (1-nu) g + nu m, with m <- b m + (1-b) g."""

    decay: float = 0.999
    debias: bool = False
    nu: float = 0.7

    def step(self, g, p):
        m = super().step(g, p)
        self.size = (1 - self.nu) * abs(g) + self.nu * self.size
        return (1 - self.nu) * g + self.nu * m


def test_equals_the_reference():
    check_all(gradtx.scale_by_qhm, Qhm, {"decay": decays, "nu": st.floats(0.0, 1.0)})


@pytest.mark.parametrize("arguments", [{}, {"nu": 0.0}, {"decay": 0.5, "nu": 1.0}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_qhm, Qhm, arguments)


@pytest.mark.parametrize(("momentum", "nu", "nesterov"), [(0.9, 1.0, False), (0.9, 0.9, True), (0.9, 0.0, None)])
def test_it_contains_the_momenta_of_gradient_descent(momentum, nu, nesterov):
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    sgd = gradtx.sgd(1.0) if nesterov is None else gradtx.sgd(0.1, momentum, nesterov=nesterov)
    with x64():
        ours = run(gradtx.qhm(1.0, momentum, nu), params, grads)[:2]
        assert_close(ours, run(sgd, params, grads)[:2], rtol=1e-12, atol=1e-12)
