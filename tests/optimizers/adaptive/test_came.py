"""CAME against its reference, and what it is made of."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule, clip_by_block_rms, divide, square
from tests.trajectories import DOUBLE, SINGLE, Problem, assert_close, check_all, check_numbers, decays, run, x64


@dataclasses.dataclass
class Came(Rule):
    """Luo et al., algorithm 2, with the two largest axes factored."""

    b1: float = 0.9
    b2: float = 0.999
    b3: float = 0.9999
    eps: float = 1e-30
    eps_instability: float = 1e-16
    clipping_threshold: float = 1.0
    factors: Any = (0.0, 0.0)
    unstable: Any = (0.0, 0.0)

    def means(self, before: Any, b: float, x: Any) -> Any:
        axes = np.argsort(x.shape, kind="stable")[:-3:-1]
        return [b * y + (1 - b) * x.mean(axis=axis, keepdims=True) for y, axis in zip(before, axes, strict=True)]

    def root(self, means: Any) -> Any:
        r, c = means
        over = tuple(axis for axis in range(r.ndim) if r.shape[axis] != c.shape[axis] and r.shape[axis] > 1)
        return np.sqrt(divide(r * c, r.mean(axis=over, keepdims=True) if over else r))

    def step(self, g, p):
        s = square(g) + self.eps
        if g.ndim < 2:
            self.v = self.b2 * self.v + (1 - self.b2) * s
            u = divide(g, np.sqrt(self.v))
        else:
            self.factors = self.means(self.factors, self.b2, s)
            u = divide(g, self.root(self.factors))
        u = clip_by_block_rms(u, self.clipping_threshold)
        self.m = self.b1 * self.m + (1 - self.b1) * u
        self.total = self.b1 * self.total + (1 - self.b1) * np.abs(u)
        self.size, self.condition = self.total, 1.0
        if g.ndim < 2:
            return self.m
        difference = square(u - self.m) + self.eps_instability
        self.unstable = self.means(self.unstable, self.b3, difference)
        root = self.root(self.unstable)
        self.size = divide(self.total, root)
        # Where an update is close to its average, their difference has fewer digits.
        self.condition = 1 + np.max(divide(square(u) + square(self.m), difference), initial=0)
        return divide(self.m, root)


NUMBERS = {
    "b1": st.floats(0.1, 0.99),
    "b2": decays,
    "b3": decays,
    "eps": st.sampled_from([1e-30, 1e-3]),
    "eps_instability": st.sampled_from([1e-16, 1e-3]),
    "clipping_threshold": st.sampled_from([0.5, 1.0, 1e3]),
}


def test_equals_the_reference():
    check_all(gradtx.scale_by_came, Came, NUMBERS)


def test_python_numbers_lose_nothing():
    check_numbers(gradtx.scale_by_came, Came, {})


def test_one_step_by_hand():
    """Two rows; the first division makes signs of 1 / sqrt(1 - b2), which the bound brings back to 1."""
    tx = gradtx.scale_by_came(b1=0.5, b2=0.75, b3=0.75, eps=0.0, eps_instability=0.0)
    g = jnp.array([[1.0, -2.0], [2.0, 4.0]])
    u, state = tx.update(g, tx.init(g))
    np.testing.assert_allclose(state.mu, 0.5 * np.sign(g), rtol=1e-6)
    np.testing.assert_allclose(state.s_row, [0.0625, 0.0625], rtol=1e-6)
    np.testing.assert_allclose(u, 2 * np.sign(g), rtol=1e-6)


def test_of_a_vector_it_is_momentum_of_bounded_steps():
    params, grads = Problem({"bias": (3,)}, 2).draw(DOUBLE)
    made = gradtx.chain(
        gradtx.scale_by_rms(0.999, eps=0.0), gradtx.clip_by_block_rms(1.0), gradtx.ema(0.9, debias=False)
    )
    with x64():
        ours, theirs = (run(tx, params, grads)[0] for tx in (gradtx.scale_by_came(eps=0.0), made))
    assert_close(ours, theirs, rtol=1e-12)


def test_more_axes_number_matrices():
    """The bound is that of the whole leaf, all else of each matrix."""
    generator = np.random.default_rng(0)
    g = generator.normal(size=(2, 5, 4)).astype(np.float32)
    tx = gradtx.scale_by_came(clipping_threshold=1e6)
    both = tx.update(g, tx.init(g))[0]
    alone = [tx.update(x, tx.init(x))[0] for x in g]
    np.testing.assert_allclose(both, np.stack(alone), rtol=1e-5)


def test_an_update_unlike_its_average_is_shortened():
    signs = np.array([1.0, -1.0] * 10)[:, None, None] * np.ones((20, 2, 3))
    steady, swaying = (
        run(gradtx.scale_by_came(b3=0.9), np.zeros((2, 3), np.float32), g.astype(np.float32))[2]
        for g in (np.abs(signs), signs)
    )
    assert steady.s_row.max() < 0.2 * swaying.s_row.min()


def test_a_matrix_keeps_its_average_and_vectors_beside_it():
    params, grads = Problem({"kernel": (6, 4), "bias": (4,), "zeta": (3, 2)}, 3).draw(SINGLE)
    state = run(gradtx.scale_by_came(mu_dtype="bfloat16"), params, grads)[2]
    shapes = {
        k: [None if getattr(state, f)[k] is None else getattr(state, f)[k].shape for f in state._fields] for k in params
    }
    assert shapes["kernel"] == [(6, 4), (4,), (6,), None, (4,), (6,)]
    assert shapes["bias"] == [(4,), None, None, (4,), None, None]
    assert [state.mu[k].dtype.name for k in params] == ["bfloat16", "bfloat16", "complex64"]
    assert state.v_row["zeta"].dtype == state.s_col["zeta"].dtype == np.float32


@pytest.mark.parametrize("shape", [(2, 3), (3,), (), (0, 2), (1, 1)])
@pytest.mark.parametrize("eps", [0.0, 1e-30])
def test_zero_gradients_are_no_update_and_their_derivatives_are_finite(shape, eps):
    tx, p = gradtx.scale_by_came(eps=eps, b3=0.9), jnp.zeros(shape)

    def second(g):
        return tx.update(g, tx.update(g, tx.init(p))[1])[0]

    np.testing.assert_array_equal(second(p), p)
    assert np.all(np.isfinite(jax.jacobian(second)(p)))
