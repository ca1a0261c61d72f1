"""KT against its reference."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import assert_follows, descend
from tests.references import Rule


@dataclasses.dataclass
class Kt(Rule):
    """parameterfree's KT: the wealth by t + 1 times minus the sum of the gradients, from where it began."""

    wealth: float = 1e-4
    start: Any = None

    def step(self, g, p):
        self.start = p if self.start is None else self.start
        self.wealth += np.sum(np.real(np.conj(g) * (self.start - p)))
        self.m = self.m - g
        return self.start + self.wealth / (self.t + 1) * self.m - p


def test_equals_the_reference():
    """Of gradients of norm 0.1 or so; the float32 steps are differences of params of size 1."""
    tx = gradtx.chain(gradtx.scale(0.03), gradtx.kt(0.1))

    @dataclasses.dataclass
    class Scaled(Rule):
        rule: Kt

        def step(self, g, p):
            return self.rule(0.03 * g, p)

    assert_follows(tx, lambda: Scaled(Kt(0.1)), single=1e-3)


def test_the_golden_steps_of_one_number():
    expected = (0.999975, 0.999993833, 0.999990627, 0.999988827)
    np.testing.assert_allclose(path(gradtx.kt()), expected, atol=6e-10)


def test_winning_bets_double_the_wealth():
    """Always the same gradient of norm 1: a t-th of the wealth is won back at each bet, t / (t + 1) times."""
    p, g = jnp.zeros(()), jnp.ones(())
    tx = gradtx.kt()
    state = tx.init(p)
    wealth = [1e-4]
    for t in range(1, 12):
        updates, state = tx.update(g, state, p)
        p = p + updates
        if t > 1:
            wealth.append(wealth[-1] * (1 + (t - 1) / t))
        np.testing.assert_allclose(state[0].wealth, wealth[-1], rtol=1e-5)
    assert wealth[-1] > 1e-4 * 2**8


def test_zero_gradients_move_nothing_until_there_is_one():
    p, state = descend(gradtx.kt(), 5, zeros=5)
    np.testing.assert_array_equal(p["a"], 0)
    assert float(state[0].wealth) == np.float32(1e-4)


def test_a_bet_that_is_not_finite_is_not_counted():
    p = {"a": jnp.ones(2), "b": jnp.ones(3)}
    tx = gradtx.kt()
    updates, state = tx.update(p, tx.init(p), p)
    p = gradtx.apply_updates(p, updates)
    updates, after = tx.update({"a": jnp.full(2, jnp.nan), "b": jnp.ones(3)}, state, p)
    assert np.isfinite(updates["b"]).all()
    np.testing.assert_array_equal(after[0].wealth, state[0].wealth)


def test_clipped_it_finds_the_way_by_itself():
    p, _ = descend(gradtx.ema_params(gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.kt()), 0.99), 3000)
    for leaf in jax.tree.leaves(p):
        np.testing.assert_allclose(leaf, 3.0, atol=0.3)


def test_a_complex_number_is_a_vector():
    p, g = jnp.ones(2, jnp.complex64), jnp.array([0.3 + 0.4j, -0.5j])
    tx, turn = gradtx.kt(0.5), jnp.complex64(np.exp(1j))
    paths = []
    for factor in (jnp.complex64(1), turn):
        q, state = p * factor, tx.init(p * factor)
        for _ in range(5):
            updates, state = tx.update(g * factor, state, q)
            q = q + updates
        paths.append(q / factor)
    np.testing.assert_allclose(*paths, rtol=1e-5)
