"""SPlus against its equations, and the size of its updates."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.optimizers.matrix.references import Splus
from tests.optimizers.matrix.test_muon import problem, trajectory
from tests.trajectories import x64

SQUARES = {"small": (3, 3), "large": (4, 4)}
"""Gradients of full rank on both sides: the bases are those of all machines, but for signs, which do not matter."""


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        ({}, {}),
        ({"b1": 0.5, "b2": 0.9, "inverse_every": 2}, {"b1": 0.5, "b2": 0.9, "every": 2}),
        ({"inverse_every": 1}, {"every": 1}),
        ({"max_dim": 3}, {"largest": 3}),
    ],
)
def test_it_follows_its_equations(arguments, reference):
    with x64():
        params, grads = problem(SQUARES)
        rules = {name: Splus(**reference) for name in SQUARES}
        for g, u in zip(grads, trajectory(gradtx.scale_by_splus(**arguments), params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


def test_complex_matrices():
    with x64():
        random = np.random.default_rng(0)
        draw = lambda: {"kernel": jnp.asarray(random.normal(size=(3, 3)) + 1j * random.normal(size=(3, 3)))}  # noqa: E731
        params, grads, rule = draw(), [draw() for _ in range(3)], Splus(every=2)
        for g, u in zip(grads, trajectory(gradtx.scale_by_splus(inverse_every=2), params, grads), strict=True):
            # A phase of an eigenvector turns a row or column of what signs are taken of, and is turned back.
            np.testing.assert_allclose(u["kernel"], rule(np.asarray(g["kernel"])), atol=1e-9)


def test_the_optimizer_is_a_composition():
    with x64():
        params, grads = problem({"w": (4, 4), "bias": (3,)})
        rule, m = Splus(), 0.0
        for g, u in zip(grads, trajectory(gradtx.splus(0.1), params, grads), strict=True):
            m = 0.9 * m + 0.1 * np.asarray(g["bias"])
            expected = -0.1 * 2 / 8 * (rule(np.asarray(g["w"])) + 0.01 * np.asarray(params["w"]))
            np.testing.assert_allclose(u["w"], expected, atol=1e-9)
            np.testing.assert_allclose(u["bias"], -1e-4 * (np.sign(m) + 0.01 * np.asarray(params["bias"])), atol=1e-12)


def test_all_updates_have_the_same_size():
    params, grads = problem({"tall": (12, 5), "wide": (5, 7), "stack": (2, 4, 4)}, 5)
    tx = gradtx.scale_by_splus(inverse_every=2, matrices={"stack": "batch in out"})
    for u in trajectory(tx, params, grads):
        for x in u.values():
            np.testing.assert_allclose(jnp.sqrt(jnp.mean(x**2)), 1, rtol=1e-4)


def test_rounding_errors_have_no_sign():
    """In its own bases, a gradient is diagonal."""
    g = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    tx = gradtx.scale_by_splus()
    _, state = tx.update(g, tx.init(g))
    u, _ = tx.update(g, state)
    np.testing.assert_allclose(u, gradtx.orthogonalize(g, "exact"), atol=1e-4)


def test_a_stack_is_its_layers():
    with x64():
        params, grads = problem({"stack": (3, 4, 4)}, 4)
        matrices = {"stack": "batch in out"}
        together = trajectory(gradtx.scale_by_splus(inverse_every=2, matrices=matrices), params, grads)
        apart = [{f"w{i}": x for i, x in enumerate(g["stack"])} for g in grads]
        alone = trajectory(gradtx.scale_by_splus(inverse_every=2), apart[0], apart)
        for whole, parts in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole["stack"], [parts["w0"], parts["w1"], parts["w2"]], atol=1e-9)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (4, 3)])
def test_degenerate_gradients(size, shape):
    for dtype in ("bfloat16", "float32"):
        g = size * jnp.ones(shape, dtype)
        tx = gradtx.scale_by_splus(inverse_every=1)
        state = tx.init(g)
        for factor in (1.0, 0.0, 1.0):
            u, state = tx.update(factor * g, state)
            assert u.dtype == g.dtype
            assert jnp.isfinite(u).all()
            if size == 0:
                np.testing.assert_array_equal(u, 0)


def test_bases_that_are_not_finite_are_not_used_and_are_counted():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), jnp.float32)
    tx = gradtx.scale_by_splus(inverse_every=1)
    state = tx.init(g)
    for x in (g, g + 1, g * 1e30, g):  # whose squares are infinite
        before = state.bases
        u, state = tx.update(x, state)
        assert jnp.isfinite(u).all()
    assert state.failures == 2
    jax.tree.map(np.testing.assert_array_equal, before, state.bases)


def test_the_steps_between_two_refreshes_copy_nothing():
    params = {f"layer{i}": jnp.ones((96, 160)) for i in range(3)}
    tx = gradtx.scale_by_splus()
    compiled = jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, tx.init(params)).compile().as_text()
    main = compiled[compiled.index("\nENTRY ") :]
    assert re.search(r"= \(.*conditional\(", main)
    assert not re.findall(r"f32\[1,(?:96,96|160,160)\]\S* copy\(", main)
