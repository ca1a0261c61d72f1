"""Adafactor: the state of a matrix is the means of its rows and columns."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import tree
from gradtx.core import increment
from gradtx.typing import Count, Fraction, Positive, Updates
from tests.proofs.runs import check, descent, in_chain

# --- the sketch -------------------------------------------------------------------------------------------------------


class FactoredState(NamedTuple):
    """The means of squared gradients: of rows and columns of a leaf, or of its elements, and None for the others."""

    count: Count
    rows: Updates
    columns: Updates
    nu: Updates


@gradtx.transformation
def factored_rms(exponent: Fraction = 0.8, eps: Positive = 1e-30, min_size: int = 128):
    r"""Divide by the root of the mean square, whose matrix is the product of the means of its rows and columns."""

    def init_leaf(p):
        if p.ndim < 2 or min(p.shape[-2:]) < min_size:
            return None, None, tree.zeros_accumulator(p)
        return tree.zeros_accumulator(jnp.mean(p, axis=-1)), tree.zeros_accumulator(jnp.mean(p, axis=-2)), None

    def prepare(state):
        count = increment(state.count)
        return state._replace(count=count), {"b": 1 - jnp.float32(count) ** -exponent}

    def leaf(g, r, c, v, *, b):
        square = g * g + eps
        if v is not None:
            v = b * v + (1 - b) * square
            return g / jnp.sqrt(v), None, None, v
        r = b * r + (1 - b) * jnp.mean(square, axis=-1)
        c = b * c + (1 - b) * jnp.mean(square, axis=-2)
        # The product r c alone would underflow where all gradients are zero.
        relative = r / jnp.mean(r, axis=-1, keepdims=True)
        return g / jnp.sqrt(relative[..., :, None]) / jnp.sqrt(c[..., None, :]), r, c, None

    return gradtx.leafwise(leaf, state=FactoredState, init_leaf=init_leaf, prepare=prepare)


@gradtx.transformation
def scale_by_size(eps: Positive = 1e-3):
    """Multiply by the root mean square of the parameter."""
    return gradtx.leafwise(lambda g, *, p: g * jnp.maximum(jnp.sqrt(jnp.mean(p * p)), eps))


def direction(min_size: int = 8) -> Any:
    return gradtx.chain(factored_rms(min_size=min_size), gradtx.clip_by_block_rms(1.0), scale_by_size())


# --- the reference ----------------------------------------------------------------------------------------------------


class Reference:
    """Shazeer, Stern 2018, algorithm 4, a leaf."""

    def __init__(self, min_size: int = 8) -> None:
        self.min_size, self.t, self.r, self.c, self.v = min_size, 0, 0.0, 0.0, 0.0

    def __call__(self, g: Any, p: Any) -> Any:
        self.t += 1
        b = 1 - self.t**-0.8
        square = g**2 + 1e-30
        self.r = b * self.r + (1 - b) * square.mean(axis=-1)
        self.c = b * self.c + (1 - b) * square.mean(axis=0)
        self.v = b * self.v + (1 - b) * square
        factored = g.ndim == 2 and min(g.shape) >= self.min_size
        u = g / np.sqrt(np.outer(self.r, self.c) / self.r.mean() if factored else self.v)
        u = u / max(1, np.sqrt(np.mean(u**2)))
        return max(1e-3, np.sqrt(np.mean(p**2))) * u


# --- the tests --------------------------------------------------------------------------------------------------------

THETA = jnp.array([[1, -2, 0.5], [0.25, 3, -1]])
GRADS = [jnp.array([[0.5, -0.3, 0.2], [0.1, -0.4, 0.6]]), jnp.array([[0.2, 0.1, -0.1], [-0.3, 0.5, 0.05]])]
FACTORED = [
    [[0.75986339, -1.85306465, 0.42255827], [0.20933299, 3.1658895, -1.19672075]],
    [[0.62648488, -1.90983633, 0.49071499], [0.34570345, 2.97240552, -1.21994929]],
]
WHOLE = [
    [[0.84024759, -1.84024759, 0.34024759], [0.09024759, 3.15975241, -1.15975241]],
    [[0.75074987, -1.91693845, 0.44691942], [0.29440068, 2.98483014, -1.18021655]],
]


@pytest.mark.parametrize(("min_size", "golden"), [(1, FACTORED), (128, WHOLE)])
def test_it_is_adafactor(min_size, golden):
    tx = gradtx.chain(direction(min_size), gradtx.scale_by_learning_rate(0.1))
    params, state = THETA, tx.init(THETA)
    for g, wanted in zip(GRADS, golden, strict=True):
        updates, state = tx.update(g, state, params)
        params = gradtx.apply_updates(params, updates)
        np.testing.assert_allclose(params, wanted, rtol=2e-6)


def test_it_runs_everywhere():
    check(lambda rate: in_chain(direction(), rate), lambda: descent(Reference()))


def test_the_whole_chain_is_one_function_of_a_leaf():
    tx = in_chain(direction(), 0.1)
    params = {"a": jnp.zeros((8, 9)), "b": jnp.zeros(3)}
    program = jax.make_jaxpr(tx.update)(params, tx.init(params), params)
    assert tx.leafwise is not None
    assert (
        sum(any(v.aval.ndim for v in eqn.outvars) for eqn in program.eqns if eqn.primitive.name in ("jit", "pjit")) == 2
    )


def test_the_state_is_as_small_as_the_paper_says():
    params = {"matrix": jnp.zeros((256, 128)), "stack": jnp.zeros((3, 128, 130)), "vector": jnp.zeros(300)}
    state = factored_rms().init(params)
    assert jax.tree.map(jnp.shape, state.rows) == {"matrix": (256,), "stack": (3, 128), "vector": None}
    assert jax.tree.map(jnp.shape, state.columns) == {"matrix": (128,), "stack": (3, 130), "vector": None}
    assert jax.tree.map(jnp.shape, state.nu) == {"matrix": None, "stack": None, "vector": (300,)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_means_of_narrow_leaves_are_wide(dtype, x64):
    params = {"w": jnp.ones((8, 8), dtype)}
    tx = direction()
    updates, state = jax.jit(tx.update)(params, tx.init(params), params)
    assert {x.dtype.name for x in jax.tree.leaves(state) if x.ndim} == {"float32"}
    assert updates["w"].dtype == dtype
    assert "f64[8" not in str(jax.make_jaxpr(tx.update)(params, state, params))


def test_zero_gradients_are_zero_updates():
    params = {"w": jnp.ones((8, 8))}
    tx, zero = direction(), {"w": jnp.zeros((8, 8))}
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(zero, state, params)
        assert updates["w"].tolist() == zero["w"].tolist()


@pytest.mark.parametrize("shape", [(1, 8), (8, 1), (9, 8), (8, 16), (8,), (2, 8, 8)])
def test_the_state_of_another_shape_is_an_error_that_names_the_leaf(shape):
    tx = gradtx.chain(gradtx.clip(1.0), factored_rms(min_size=1))
    params = {"v": jnp.ones(3), "w": jnp.ones((8, 8))}
    state = tx.init(params | {"w": jnp.ones(shape)})
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"of one shape.* at \['w'\]; make the state"):
        jax.jit(tx.update)(params, state, params)
