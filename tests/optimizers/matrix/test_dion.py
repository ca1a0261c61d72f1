"""Dion against its equations from the same first directions, and by the rank and range of its steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentValueError, TreeMismatchError
from tests.optimizers.matrix.odd import assert_odd_matrices_are_survived
from tests.optimizers.matrix.references import Dion
from tests.optimizers.matrix.test_muon import SHAPES, problem, trajectory
from tests.trajectories import x64


@pytest.mark.parametrize(("rank", "beta"), [(1, 0.95), (2, 0.8), (10, 0.95)])
def test_it_follows_its_equations(rank, beta):
    with x64():
        params, grads = problem()
        tx = gradtx.scale_by_dion(rank, beta)
        rules = {name: Dion(np.asarray(q[0][0]), beta) for name, q in tx.init(params).basis.items()}
        for g, u in zip(grads, trajectory(tx, params, grads), strict=True):
            for name in SHAPES:
                np.testing.assert_allclose(u[name], rules[name](np.asarray(g[name])), atol=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 4])
def test_a_step_has_the_rank_and_its_columns_length_one(rank):
    with x64():
        params, grads = problem({"kernel": (6, 4)}, 30)
        u = trajectory(gradtx.scale_by_dion(rank), params, grads[:1] * 30)[-1]["kernel"]
        values = np.linalg.svd(u, compute_uv=False)
        np.testing.assert_allclose(values[:rank], 1, atol=0.02)
        np.testing.assert_allclose(values[rank:], 0, atol=1e-12)


def test_it_finds_the_leading_directions():
    with x64():
        left, right = (np.linalg.qr(np.random.default_rng(i).normal(size=(n, n)))[0] for i, n in enumerate((6, 5)))
        g = jnp.asarray(left[:, :5] * [10.0, 5.0, 0.01, 0.01, 0.01] @ right)
        tx = gradtx.scale_by_dion(2)
        state = tx.init(g)
        for _ in range(5):
            u, state = tx.update(g, state)
        np.testing.assert_allclose(u, left[:, :2] @ right[:2], atol=0.02)


def test_what_a_step_leaves_out_stays_in_the_momentum():
    with x64():
        _, grads = problem({"kernel": (6, 4)}, 1)
        g = grads[0]["kernel"]
        tx = gradtx.scale_by_dion(2, 0.9)
        u, state = tx.update(g, tx.init(g))
        p = np.linalg.svd(u)[2][:2].T
        np.testing.assert_allclose(state.mu, g - 0.1 * g @ p @ p.T, atol=1e-12)


def test_zero_gradients_do_not_take_the_directions_away():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    tx = gradtx.scale_by_dion(2)
    first = tx.init(g)
    u, state = tx.update(jnp.zeros_like(g), first)
    assert not u.any()
    np.testing.assert_array_equal(state.basis[0], first.basis[0])
    assert np.linalg.matrix_rank(tx.update(g, state)[0]) == 2


def test_a_momentum_of_lower_rank_steps_in_that_rank():
    with x64():
        g = jnp.asarray(np.outer([1.0, 2.0, 3.0], [1.0, -1.0]))
        tx = gradtx.scale_by_dion(2)
        u, _ = tx.update(g, tx.init(g))
        np.testing.assert_allclose(np.linalg.svd(u, compute_uv=False), [1, 0], atol=1e-9)


def test_first_directions_are_those_of_the_seed():
    params = {"a": jnp.ones((4, 3)), "c": jnp.ones((4, 3)), "qkv": jnp.ones((4, 12)), "absent": None}
    a, again, other = (gradtx.scale_by_dion(2, seed=seed).init(params).basis for seed in (0, 0, 1))
    assert jax.tree.map(jnp.shape, a) == {"a": ((1, 4, 2),), "c": ((1, 4, 2),), "qkv": ((1, 4, 2),) * 3, "absent": None}
    jax.tree.map(np.testing.assert_array_equal, a, again)
    assert not np.array_equal(a["a"][0], other["a"][0])
    assert not np.array_equal(a["a"][0], a["c"][0])


def test_a_stack_is_its_layers_and_complex_matrices_are_served():
    with x64():
        random = np.random.default_rng(1)
        stack = jnp.asarray(random.normal(size=(3, 4, 6)))
        tx = gradtx.scale_by_dion(2, matrices={"": "batch in out"})
        state = tx.init(stack)
        u, _ = tx.update(stack, state)
        for layer, q, made in zip(stack, state.basis[0], u, strict=True):
            np.testing.assert_allclose(made, Dion(np.asarray(q))(np.asarray(layer)), atol=1e-9)
        z = jnp.asarray(random.normal(size=(4, 3)) + 1j * random.normal(size=(4, 3)))
        tx = gradtx.scale_by_dion(2)
        state = tx.init(z)
        np.testing.assert_allclose(
            tx.update(z, state)[0], Dion(np.asarray(state.basis[0][0]))(np.asarray(z)), atol=1e-9
        )


def test_odd_matrices():
    assert_odd_matrices_are_survived(gradtx.scale_by_dion(2))


def test_the_optimizer():
    params, grads = problem({"kernel": (4, 3), "bias": (3,)}, 2)
    both = trajectory(gradtx.dion(0.1, 2), params, grads)[-1]
    alone = trajectory(gradtx.adamw(0.1, b2=0.95, weight_decay=0.1), params, grads)[-1]
    np.testing.assert_array_equal(both["bias"], alone["bias"])
    one = trajectory(gradtx.scale_by_dion(2), {"kernel": params["kernel"]}, [{"kernel": g["kernel"]} for g in grads])
    wanted = -0.1 * (np.sqrt(3 / 4) * one[-1]["kernel"] + 0.1 * params["kernel"])
    np.testing.assert_allclose(both["kernel"], wanted, rtol=1e-4, atol=1e-6)


def test_what_is_wrong_is_named():
    with pytest.raises(ArgumentValueError, match="scale_by_dion: expected rank to be at least 1, got 0"):
        gradtx.dion(0.1, 0)
    with pytest.raises(TreeMismatchError, match="a matrix, got no matrix: 1 axes"):
        gradtx.scale_by_dion().init({"bias": jnp.ones(3)})
