"""Mechanic against its reference and Optax's, and where the sum of steps is better than the first params."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx import tree
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import assert_follows, assert_optaxs, descend
from tests.references import Rule


@dataclasses.dataclass
class Mechanic(Rule):
    """Cutkosky et al., algorithm 1, around gradient descent, as in the authors' code: the params are x0 - S delta."""

    rate: float
    weight_decay: float = 1e-2
    eps: float = 1e-8
    s_init: float = 1e-6
    num_betas: int = 6
    start: float | None = None

    def step(self, g, p):
        n = self.num_betas
        if self.start is None:
            self.start, self.s, self.r, self.largest = p, np.full(n, self.s_init), np.zeros(n), np.zeros(n)
        betas, total = 1 - 0.1 ** np.arange(1, n + 1), np.sum(self.s)
        norms = np.sqrt(np.sum(np.abs(g) ** 2)) / (np.sqrt(np.sum(np.abs(p) ** 2)) + self.eps)
        delta = (self.start - p) / (total + self.eps)
        h = np.sum(np.real(np.conj(g + self.weight_decay * total * norms * p) * delta))
        self.r = betas * self.r + np.clip(h, -self.largest, self.largest) * self.s
        self.largest = np.maximum(betas * self.largest, np.abs(h) + self.eps)
        self.v = betas**2 * self.v + h**2
        self.s = (self.s_init / n * self.largest + np.maximum(self.r, 0)) / (np.sqrt(self.v) + self.eps)
        return self.start - np.sum(self.s) * (delta + self.rate * g) - p


CASES = [
    {"s_init": 1e-2},
    {"s_init": 0.1, "weight_decay": 0.5, "eps": 1e-3, "num_betas": 3},
    {"s_init": 0.1, "weight_decay": 0.0, "num_betas": 1},
]


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_reference(arguments):
    assert_follows(gradtx.mechanize(gradtx.sgd(0.1), **arguments), lambda: Mechanic(0.1, **arguments), single=1e-3)


@pytest.mark.parametrize("arguments", CASES, ids=str)
@pytest.mark.parametrize("name", ["sgd", "adam", "lion"])
def test_equals_optax(name, arguments):
    ours, theirs = (getattr(library, name)(0.1) for library in (gradtx, optax))
    assert_optaxs(gradtx.mechanize(ours, **arguments), optax.contrib.mechanize(theirs, **arguments), rtol=1e-8)


def test_the_golden_steps_of_one_number():
    steps = path(gradtx.mechanize(gradtx.sgd(0.1), s_init=1e-2))
    np.testing.assert_allclose(steps, (0.9995, 0.9998, 0.9995090, 0.9992165), rtol=0, atol=5.001e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("zeros", [0, 5])
def test_it_finds_the_way_in_bfloat16_too(dtype, zeros):
    """There a step of 1e-6 changes no param of size 1: Optax takes it for none, and learns nothing."""
    p, state = descend(gradtx.mechanize(gradtx.sgd(1.0)), 150 + zeros, zeros=zeros, start=1.0, dtype=dtype)
    assert all(np.allclose(np.float32(x), 3.0, atol=0.3) for x in jax.tree.leaves(p))
    assert float(tree.get_field(state, "s").sum()) > 1e-3
    if dtype == jnp.bfloat16:
        p, _ = descend(optax.contrib.mechanize(optax.sgd(1.0)), 150, start=1.0, dtype=dtype)
        assert all((x == 1).all() for x in jax.tree.leaves(p))


def test_the_params_are_the_start_less_the_learned_multiple_of_the_sum():
    p, state = descend(gradtx.mechanize(gradtx.adam(0.1)), 60)
    total = tree.get_field(state, "s").sum()
    np.testing.assert_allclose(p["a"], 0 - total * state.delta["a"], rtol=1e-4)


def test_what_is_not_finite_leaves_the_factors():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    tx = gradtx.mechanize(gradtx.sgd(0.1))
    _, state = tx.update(params, tx.init(params), params)
    for g in (jnp.inf, jnp.nan):
        updates, after = tx.update({"a": jnp.full(2, g), "b": jnp.ones(2)}, state, params)
        assert all(np.array_equal(getattr(after, name), getattr(state, name)) for name in ("r", "m", "v", "s"))
        assert np.isfinite(updates["b"]).all()


def test_extras_reach_the_inner_optimizer():
    p = jnp.array([3.0, 4.0])
    tx = gradtx.mechanize(gradtx.polyak_sgd(), s_init=1.0)
    updates, _ = tx.update(2 * p, tx.init(p), p, value=jnp.sum(p**2))
    np.testing.assert_allclose(updates, -p / 2, rtol=1e-6)


def test_errors():
    tx, p = gradtx.mechanize(gradtx.sgd(0.1)), jnp.ones(2)
    with pytest.raises(gradtx.errors.MissingExtraError, match="mechanize: expected update"):
        tx.update(p, tx.init(p))
    with pytest.raises(gradtx.errors.ArgumentValueError, match="num_betas to be at least 1, got 0"):
        gradtx.mechanize(gradtx.sgd(0.1), num_betas=0)
