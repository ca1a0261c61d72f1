"""DoWG against its reference and Optax's."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax import contrib

import gradtx
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import Descending, assert_follows, assert_optaxs, descend, problem
from tests.references import Rule, square
from tests.trajectories import SINGLE, run


@dataclasses.dataclass
class Dowg(Rule):
    """Khaled et al., algorithm 1: D g over the root of the sum of D |g|^2."""

    init_estim_sq_dist: float | None = None
    eps: float = 1e-4
    start: Any = None
    sq_dist: float = 0.0

    def step(self, g, p):
        if self.start is None:
            self.start = p
            self.sq_dist = self.eps if self.init_estim_sq_dist is None else self.init_estim_sq_dist
        self.sq_dist = max(self.sq_dist, np.sum(square(p - self.start)))
        self.total = self.total + self.sq_dist * np.sum(square(g))
        return self.sq_dist / (np.sqrt(self.total) + self.eps) * g


@pytest.mark.parametrize(
    "arguments", [{}, {"init_estim_sq_dist": 0.01}, {"init_estim_sq_dist": 0.1, "eps": 0.0}], ids=str
)
def test_equals_the_reference(arguments):
    tx = gradtx.chain(gradtx.scale_by_dowg(**arguments), gradtx.scale(-1.0))
    assert_follows(tx, lambda: Descending(Dowg(**arguments)))


def test_equals_optax():
    assert_optaxs(gradtx.dowg(), contrib.dowg())
    mask = {"kernel": True, "scalar": False, "zeta": True}
    assert_optaxs(*(lib.dowg(0.5, 0.01, 1e-6, 0.1, mask) for lib in (gradtx, contrib)))


def test_the_golden_steps_of_one_number():
    np.testing.assert_allclose(path(gradtx.dowg()), (0.9901961, 0.9952543, 0.9920617, 0.9868670), atol=6e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_zero_gradients_before_the_first_one_change_nothing(dtype):
    tx = gradtx.dowg()
    jax.tree.map(np.testing.assert_array_equal, descend(tx, 20, zeros=5, dtype=dtype), descend(tx, 15, dtype=dtype))


def test_no_gradient_is_too_long_or_too_short():
    params, grads = problem(SINGLE)
    params, grads = ({name: x for name, x in tree.items() if name != "zeta"} for tree in (params, grads))
    tx = gradtx.dowg(init_estim_sq_dist=1e-4, eps=0.0)
    expected = run(tx, params, grads)[0]
    for size in (1e-25, 1e25):
        got = run(tx, params, {name: np.float32(size) * g for name, g in grads.items()})[0]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-7), got, expected)


def test_a_gradient_that_is_not_finite_is_not_counted():
    p = {"a": jnp.ones(2), "b": jnp.ones(3)}
    tx = gradtx.scale_by_dowg()
    _, state = tx.update(p, tx.init(p), p)
    for bad in (jnp.nan, jnp.inf):
        updates, after = tx.update({"a": jnp.full(2, bad), "b": jnp.ones(3)}, state, p)
        np.testing.assert_array_equal(updates["b"], 0)
        np.testing.assert_array_equal(after.weighted_norm, state.weighted_norm)


def test_it_finds_the_way_by_itself():
    p, _ = descend(gradtx.dowg(), 2000)
    for leaf in jax.tree.leaves(p):
        np.testing.assert_allclose(leaf, 3.0, atol=0.05)
