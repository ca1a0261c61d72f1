"""LAMB against its equations, Optax, and recorded numbers."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests import references
from tests.optimizers.layerwise.scalars import path
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    compare,
    run,
    run_compiled,
    run_eagerly,
    x64,
)


class Lamb(references.Rule):
    """You et al., algorithm 2."""

    def __init__(self, learning_rate, weight_decay=0.0, max_norm=np.inf, **moments):
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.adam, self.ratio = references.Adam(**moments), references.TrustRatio(max_norm=max_norm)

    def step(self, g, p):
        r = self.adam(g) + self.weight_decay * p
        u, total = self.ratio(r, p), self.adam.size + self.weight_decay * np.abs(p)
        self.size = self.learning_rate * references.divide(references.norm(u) * total, references.norm(r))
        return -self.learning_rate * u


@pytest.mark.parametrize(
    "arguments",
    [
        {"eps": 1e-6},
        {"eps": 1e-3, "eps_root": 1e-4, "b1": 0.5, "b2": 0.9, "weight_decay": 0.1},
        {"eps": 1e-6, "bias_correction": False, "max_norm": 2.0, "weight_decay": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", [DOUBLE, SINGLE], ids=["double", "single"])
def test_equals_the_reference(arguments, precision):
    for shapes in SHAPES:
        rule = lambda: Lamb(0.05, **arguments)  # noqa: E731
        compare(precision, gradtx.lamb(0.05, **arguments), rule, Problem(shapes, 5), run_compiled, reads_params=True)


@pytest.mark.parametrize(
    "arguments", [{}, {"weight_decay": 0.1, "mask": {"kernel": True, "bias": False, "zeta": True}}]
)
def test_equals_optax(arguments):
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        ours = run(gradtx.lamb(0.1, **arguments), params, grads)
        theirs = run_eagerly(optax.lamb(0.1, **arguments), params, grads)
    assert_close(ours[:2], theirs[:2], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_scalars_move_by_the_rate_times_their_size(bias_correction):
    tx = gradtx.lamb(0.1, bias_correction=bias_correction)
    np.testing.assert_allclose(path(tx), [0.9, 0.81, 0.729, 0.5845851], rtol=1e-7)
    tx = gradtx.lamb(0.1, weight_decay=0.1)
    np.testing.assert_allclose(path(tx), [0.9, 0.81, 0.729, 0.4782969], rtol=1e-7)


def test_without_correction_the_decay_weighs_less():
    """At the first step Adam's direction is then (1-b1) / sqrt(1-b2) = 5 times as long, and the decay is not."""
    p, g = jnp.array([1.0, 1.0]), jnp.array([1.0, -1.0])
    for correct, direction in ((True, [1.5, -0.5]), (False, [5.5, -4.5])):
        tx = gradtx.lamb(1.0, b1=0.5, b2=0.99, eps=0.0, weight_decay=0.5, bias_correction=correct)
        expected = -np.array(direction) * 2**0.5 / np.linalg.norm(direction)
        np.testing.assert_allclose(tx.update(g, tx.init(p), p)[0], expected, rtol=1e-5)


def test_leaves_outside_the_ratio_take_adams_steps():
    params = {"kernel": jnp.array([3.0, 4.0]), "bias": jnp.array([1.0])}
    grads = {"kernel": jnp.array([1.0, 1.0]), "bias": jnp.array([2.0])}
    tx = gradtx.lamb(0.1, eps=0.0, trust_ratio_mask="kernel")
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], np.full(2, -0.5 / 2**0.5), rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], [-0.1], rtol=1e-6)


def test_zero_params_and_zero_gradients():
    tx, p = gradtx.lamb(0.1), jnp.zeros(2)
    np.testing.assert_allclose(tx.update(jnp.array([1.0, 0.0]), tx.init(p), p)[0], [-0.1, 0.0], rtol=1e-4)
    np.testing.assert_array_equal(tx.update(jnp.zeros(2), tx.init(p), jnp.ones(2))[0], [0.0, 0.0])
