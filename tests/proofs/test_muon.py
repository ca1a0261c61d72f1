"""Muon: matrices of one shape are orthogonalized in one batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import tree
from gradtx.core import moving_average
from tests.proofs.runs import CLIP, DECAY, check, falling

# --- the sketch -------------------------------------------------------------------------------------------------------

NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315
"""The coefficients of the polynomial that brings the singular values near to 1."""


def orthogonalized(x: Any, steps: int, eps: Any) -> Any:
    r"""The matrix with its singular values near 1: five times :math:`a X + (b A + c A^2) X` with :math:`A = X X^T`."""
    a, b, c = NEWTON_SCHULZ
    x = x / (jnp.linalg.norm(x) + eps)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T


@gradtx.transformation
def orthogonalized_momentum(decay: gradtx.Decay = 0.95, eps: gradtx.Positive = 1e-7, steps: int = 5):
    """Nesterov's momentum, orthogonalized; leaves are matrices of (inputs, outputs)."""

    def leaf(g, m):
        if g.ndim != 2:
            hint = 'give other leaves to another: partition({"*/kernel": ..., "*": adamw(1e-3)})'
            raise gradtx.errors.TreeMismatchError("a matrix", got=f"the shape {list(g.shape)}", hint=hint)
        m = moving_average(decay, m, g)
        inputs, outputs = g.shape
        u = orthogonalized(moving_average(decay, m, g), steps, eps)
        return max(1.0, outputs / inputs) ** 0.5 * u, m

    return gradtx.leafwise(leaf, state=gradtx.TraceState, init_leaf=tree.zeros_accumulator, stacked=True)


def with_adam(rate: Any) -> Any:
    """Matrices by it, the rest by Adam; all with decay and a schedule."""
    direction = gradtx.partition({"bias": gradtx.scale_by_adam(), "*": orthogonalized_momentum()})
    return gradtx.chain(
        gradtx.clip_by_global_norm(CLIP), direction, gradtx.add_decayed_weights(DECAY),
        gradtx.scale_by_learning_rate(falling(rate)),
    )  # fmt: skip


# --- the reference ----------------------------------------------------------------------------------------------------


class Reference:
    """Jordan et al. 2024, a leaf; a vector by Adam."""

    def __init__(self) -> None:
        self.t, self.m, self.v = 0, 0.0, 0.0

    def __call__(self, g: Any, p: Any, rate: float) -> Any:
        self.t += 1
        if g.ndim == 2:
            self.m = 0.95 * self.m + 0.05 * g
            x = 0.95 * self.m + 0.05 * g
            x = x / (np.linalg.norm(x) + 1e-7)
            for _ in range(5):
                gram = x.T @ x
                x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
            u = np.sqrt(max(1, g.shape[1] / g.shape[0])) * x
        else:
            self.m, self.v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g**2
            u = self.m / (1 - 0.9**self.t) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)
        return -rate * (u + DECAY * p)


# --- the tests --------------------------------------------------------------------------------------------------------

GRADIENT = [[1, 2, 3], [4, 5, 6.5]]


def test_it_is_muon(x64):
    tx = gradtx.chain(orthogonalized_momentum(), gradtx.scale_by_learning_rate(0.1))
    g = jnp.array(GRADIENT)
    wanted = [[0.096954, -0.013492, -0.089372], [-0.077545, -0.045081, -0.030952]]
    np.testing.assert_allclose(tx.update(g, tx.init(g), g)[0], wanted, atol=1e-6)


@pytest.mark.parametrize(("value", "image"), [(0.001, 0.470544), (0.01, 0.698917), (0.1, 0.71212), (1, 0.696436)])
def test_the_polynomial_brings_singular_values_near_one(value, image, x64):
    x = jnp.diag(jnp.array([value, np.sqrt(1 - value**2)]))
    np.testing.assert_allclose(orthogonalized(x, 5, 0.0)[0, 0], image, rtol=1e-5)


def test_it_runs_everywhere():
    check(with_adam, Reference)


def test_one_product_serves_all_leaves_of_a_shape():
    params = {f"layer{i}": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)} for i in range(5)}
    tx = gradtx.partition({"*/kernel": orthogonalized_momentum(), "*": gradtx.sgd(0.1)})
    program = str(jax.make_jaxpr(tx.update)(params, tx.init(params), params))
    assert program.count("dot_general") == 5 * 3
    masked = gradtx.masked(orthogonalized_momentum(), "*/kernel")
    updates, _ = jax.jit(masked.update)(params, masked.init(params), params)
    alone = orthogonalized_momentum().update(jnp.ones((4, 6)), gradtx.TraceState(jnp.zeros((4, 6))))[0]
    np.testing.assert_allclose(updates["layer3"]["kernel"], alone, rtol=1e-5)
    np.testing.assert_array_equal(updates["layer3"]["bias"], 1)


def test_zero_gradients_are_zero_updates():
    tx, zero = orthogonalized_momentum(), jnp.zeros((3, 3))
    assert not tx.update(zero, tx.init(zero))[0].any()


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("run", [jax.jit, lambda f: f])
def test_an_error_names_the_first_leaf_of_the_batch(copies, run):
    params = {"a": jnp.ones((2, 2)), **{f"b{i}": jnp.ones(3) for i in range(copies)}}
    tx = orthogonalized_momentum()
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"momentum: expected a matrix.*\[3\] at \['b0'\]; give"):
        run(tx.update)(params, tx.init(params))


def test_a_state_of_another_shape_in_a_batch_is_named_too():
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    tx = orthogonalized_momentum()
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"of one shape.* at \['a'\]; make the state"):
        tx.update(params, tx.init({"a": jnp.ones((3, 2)), "b": jnp.ones((3, 2))}))
