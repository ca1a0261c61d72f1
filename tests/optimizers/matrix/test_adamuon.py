"""AdaMuon against its equations."""

import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.optimizers.matrix.odd import assert_odd_matrices_are_survived
from tests.optimizers.matrix.references import AdaMuon
from tests.optimizers.matrix.test_muon import SHAPES, problem, trajectory
from tests.trajectories import x64


@pytest.mark.parametrize("arguments", [{}, {"beta": 0.9, "b2": 0.8}, {"nesterov": True}])
def test_it_follows_its_equations(arguments):
    with x64():
        params, grads = problem()
        rules = {name: AdaMuon(**arguments) for name in SHAPES}
        for g, u in zip(grads, trajectory(gradtx.scale_by_adamuon(**arguments), params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


def test_only_the_signs_of_the_momentum_count():
    g = {"kernel": jnp.array([[3.0, -0.1, 2.0], [1e-3, 5.0, -70.0]])}
    tx = gradtx.scale_by_adamuon()
    u, v = (tx.update(x, tx.init(g))[0]["kernel"] for x in (g, {"kernel": jnp.sign(g["kernel"])}))
    np.testing.assert_allclose(u, v, rtol=1e-5)


def test_the_first_version_is_a_composition():
    """Without the sign; its length is another."""
    with x64():
        params, grads = problem({"kernel": (4, 3)}, 3)
        tx = gradtx.chain(
            gradtx.ema(0.95, debias=False), gradtx.orthogonalize_updates(), gradtx.scale_by_rms(0.95, eps_in_sqrt=False)
        )
        first, second = (trajectory(t, params, grads)[-1]["kernel"] for t in (tx, gradtx.scale_by_adamuon()))
        cosine = np.vdot(first, second) / np.linalg.norm(first) / np.linalg.norm(second)
        assert cosine < 0.999


def test_odd_matrices():
    assert_odd_matrices_are_survived(gradtx.scale_by_adamuon())
