"""LAMB: norms of a leaf and of its update."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx.core import abs_sq, safe_sqrt
from tests import references
from tests.proofs.runs import CLIP, check, falling

# --- the sketch -------------------------------------------------------------------------------------------------------


@gradtx.transformation
def to_size_of_params():
    r"""Give each leaf's update the norm of its parameter: :math:`u = g\, \lVert p \rVert / \lVert g \rVert`."""

    def norm(x):
        return safe_sqrt(jnp.sum(abs_sq(x)))

    def leaf(g, *, p):
        ratio = norm(p) / jnp.where(norm(g) > 0, norm(g), 1)
        return g * jnp.where((norm(p) > 0) & (norm(g) > 0), ratio, 1)

    return gradtx.leafwise(leaf)


@gradtx.optimizer
def layerwise_adam(
    learning_rate: gradtx.NonNegative,
    b1: gradtx.Decay = 0.9,
    b2: gradtx.Decay = 0.999,
    eps: gradtx.Positive = 1e-6,
    weight_decay: gradtx.NonNegative = 0.0,
    mask: gradtx.Mask = None,
):
    """Adam and decay, each leaf's step as long as the leaf; leaves outside the mask go without either."""
    return gradtx.chain(
        gradtx.scale_by_adam(b1, b2, eps),
        gradtx.add_decayed_weights(weight_decay, mask),
        gradtx.masked(to_size_of_params(), mask),
        gradtx.scale_by_learning_rate(learning_rate),
    )


# --- the reference ----------------------------------------------------------------------------------------------------


class Reference:
    """You et al. 2020, algorithm 2, a leaf, with the bias correction."""

    def __init__(self) -> None:
        self.adam = references.Adam(0.9, 0.999, 1e-6)

    def __call__(self, g: Any, p: Any, rate: float) -> Any:
        r = self.adam(g) + 0.1 * p
        return -rate * np.linalg.norm(p) / np.linalg.norm(r) * r


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decay", "last"), [(0.0, 0.5845851), (0.1, 0.4782969)])
def test_it_is_lamb(decay, last):
    tx, params, after = layerwise_adam(0.1, weight_decay=decay), jnp.float32(1), []
    state = tx.init(params)
    for g in (0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25):
        updates, state = tx.update(jnp.float32(g), state, params)
        params = gradtx.apply_updates(params, updates)
        after.append(float(params))
    np.testing.assert_allclose([*after[:3], after[-1]], [0.9, 0.81, 0.729, last], rtol=1e-6)


def test_it_runs_everywhere():
    def make(rate):
        return gradtx.chain(gradtx.clip_by_global_norm(CLIP), layerwise_adam(falling(rate), weight_decay=0.1))

    assert make(0.1).leafwise is not None
    check(make, Reference)


def test_it_is_what_optax_calls_lamb():
    params = {"w": jnp.linspace(-1.0, 2.0, 12).reshape(3, 4), "zero": jnp.zeros(3)}
    ours, theirs = layerwise_adam(0.1, weight_decay=0.1), optax.lamb(0.1, weight_decay=0.1)
    states = [tx.init(params) for tx in (ours, theirs)]
    for step in range(3):
        grads = jax.tree.map(lambda p, step=step: jnp.cos(3 * p + step), params)
        (u, states[0]), (v, states[1]) = (
            tx.update(grads, s, params) for tx, s in zip((ours, theirs), states, strict=True)
        )
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-7), u, v)


def test_a_mask_excludes_from_decay_and_ratio():
    params = {"kernel": jnp.full((2, 2), 10.0), "bias": jnp.full(2, 10.0)}
    tx = layerwise_adam(0.1, weight_decay=0.1, mask="kernel")
    updates, _ = jax.jit(tx.update)(params, tx.init(params), params)
    np.testing.assert_allclose(jnp.linalg.norm(updates["kernel"]), 0.1 * 20, rtol=1e-5)
    np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-5)


def test_derivatives_are_finite_where_norms_are_zero():
    tx, zero = to_size_of_params(), jnp.zeros(3)

    def total(g, p):
        return jnp.sum(tx.update(g, tx.init(p), p)[0])

    for x in jax.grad(total, argnums=(0, 1))(zero, zero):
        assert np.isfinite(x).all()
