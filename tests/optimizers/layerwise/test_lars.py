"""LARS, with both denominators, against its equations, Optax, and recorded numbers."""

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


class Lars(references.Rule):
    """You et al., algorithm 1, with the rate inside the momentum."""

    def __init__(self, learning_rate, weight_decay, trust_coefficient, momentum, denominator, nesterov=False):
        self.learning_rate, self.weight_decay, self.trust_coefficient = learning_rate, weight_decay, trust_coefficient
        self.denominator, self.momentum = denominator, references.Trace(momentum, nesterov)

    def step(self, g, p):
        size, length = references.norm(p), references.norm(g) + self.weight_decay * references.norm(p)
        total = np.abs(g) + self.weight_decay * np.abs(p)
        if self.denominator == "norm_of_sum":
            self.condition = max(self.condition, references.divide(length, references.norm(g + self.weight_decay * p)))
            length = references.norm(g + self.weight_decay * p)
        local = self.trust_coefficient * size / length if size and length else 1.0
        u = self.momentum(self.learning_rate * local * (g + self.weight_decay * p))
        self.total = self.momentum.decay * self.total + self.learning_rate * local * total
        self.size = self.momentum.size + self.total
        return -u


ARGUMENTS = {"learning_rate": 0.5, "weight_decay": 0.1, "trust_coefficient": 0.1, "momentum": 0.8}


@pytest.mark.parametrize("denominator", ["norm_of_sum", "sum_of_norms"])
@pytest.mark.parametrize("precision", [DOUBLE, SINGLE], ids=["double", "single"])
def test_equals_the_reference(denominator, precision):
    arguments = ARGUMENTS | {"denominator": denominator}
    for shapes, nesterov in zip(SHAPES, (False, True), strict=True):
        tx = gradtx.lars(**arguments, nesterov=nesterov)
        rule = lambda nesterov=nesterov: Lars(**arguments, nesterov=nesterov)  # noqa: E731
        compare(precision, tx, rule, Problem(shapes, 5), run_compiled, reads_params=True)


MASK = {"kernel": True, "bias": False, "zeta": True}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"weight_decay": 0.1, "eps": 0.01, "nesterov": True},
        {"weight_decay": 0.1, "weight_decay_mask": MASK, "trust_ratio_mask": MASK, "momentum": 0.5},
    ],
    ids=str,
)
def test_equals_optax(arguments):
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        ours = run(gradtx.lars(1.0, trust_coefficient=0.1, **arguments), params, grads)
        theirs = run_eagerly(optax.lars(1.0, trust_coefficient=0.1, **arguments), params, grads)
    assert_close(ours[:2], theirs[:2], rtol=1e-11, atol=1e-11)


def test_equals_recorded_numbers():
    tx = gradtx.lars(1.0, weight_decay=0.1, trust_coefficient=0.1)
    np.testing.assert_allclose(path(tx), [0.9, 0.9, 0.81, 0.27702], rtol=1e-12)


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("decayed", [True, False])
def test_with_the_papers_denominator_every_leaf_is_masked_as_it_should(trusted, decayed):
    """c |p| / (|g| + 0.1 |p|) (g + 0.1 p) with p = (3, 4), g = (0, 1): 5 / 1.5 (0.3, 1.4), or 5 (0, 1)."""
    leaf = {"w": jnp.array([3.0, 4.0]), "other": jnp.array([1.0])}
    grads = {"w": jnp.array([0.0, 1.0]), "other": jnp.array([1.0])}
    masks = {
        "weight_decay_mask": {"w": decayed, "other": not decayed},
        "trust_ratio_mask": {"w": trusted, "other": True},
    }
    tx = gradtx.lars(1.0, 0.1, trust_coefficient=1.0, denominator="sum_of_norms", **masks)
    updates, _ = tx.update(grads, tx.init(leaf), leaf)
    g = np.array([0.3, 1.4]) if decayed else np.array([0.0, 1.0])
    rate = (5 / 1.5 if decayed else 5.0) if trusted else 1.0
    np.testing.assert_allclose(updates["w"], -rate * g, rtol=1e-6)


def test_masks_as_globs_may_leave_out_the_same_leaves():
    """What a decay does not match among the leaves with rates of their own is no mistake."""
    params = {"kernel": jnp.array([3.0, 4.0]), "bias": jnp.array([1.0])}
    for decay_mask in ("kernel", "bias"):
        tx = gradtx.lars(1.0, 0.1, decay_mask, trust_ratio_mask="kernel", denominator="sum_of_norms")
        updates, _ = tx.update(params, tx.init(params), params)
        np.testing.assert_allclose(updates["bias"], [-1.1 if decay_mask == "bias" else -1.0], rtol=1e-6)
    with pytest.raises(gradtx.errors.ArgumentValueError, match="kernels"):
        gradtx.lars(1.0, 0.1, "kernels", denominator="sum_of_norms").init(params)


def test_the_rate_is_inside_the_momentum():
    tx = gradtx.lars(gradtx.piecewise_constant_schedule(1.0, {1: 0.0}), trust_coefficient=1.0, momentum=0.5)
    p = jnp.array([3.0, 4.0])
    state = tx.init(p)
    for expected in (-5.0, -2.5, -1.25):
        updates, state = tx.update(jnp.array([0.0, 1.0]), state, p)
        np.testing.assert_allclose(updates, [0.0, expected], rtol=1e-6)


def test_zero_params_and_zero_gradients():
    p = jnp.zeros(2)
    for denominator in ("norm_of_sum", "sum_of_norms"):
        tx = gradtx.lars(0.1, 0.1, denominator=denominator)
        np.testing.assert_allclose(tx.update(jnp.array([1.0, 0.0]), tx.init(p), p)[0], [-0.1, 0.0], rtol=1e-6)
        tx = gradtx.lars(0.1, denominator=denominator)
        np.testing.assert_array_equal(tx.update(p, tx.init(p), jnp.ones(2))[0], [0.0, 0.0])
