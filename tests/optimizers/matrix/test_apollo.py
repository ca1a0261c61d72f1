"""APOLLO against its equations, and what its factors and its projections are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentValueError
from tests.optimizers.matrix.references import Apollo
from tests.optimizers.matrix.test_muon import problem, trajectory
from tests.trajectories import x64

SHAPES = {"tall": (6, 4), "wide": (3, 5), "square": (4, 4)}


def random(rank, gap=200, seed=0):
    """The projection as the docstring has it: by the seed, the number of projections before, and the short side."""

    def project(g, t):
        side = len(g)
        key = jax.random.key(seed, impl="threefry2x32")
        key = jax.random.fold_in(jax.random.fold_in(key, t // gap), side)
        r = min(rank, side)
        return np.asarray(jax.random.normal(key, (side, r), jnp.float64)) / r**0.5

    return project


def singular(rank):
    def project(g, t):
        q = np.linalg.svd(g, full_matrices=False)[0][:, :rank]
        top = np.take_along_axis(q, np.abs(q).argmax(0)[None], 0)
        return q * (top.conj() / np.abs(top))

    return project


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        ({"rank": 2}, {"project": random(2)}),
        ({"rank": 9, "seed": 3, "update_proj_gap": 2}, {"project": random(9, 2, 3), "gap": 2}),
        ({"rank": 1, "scale_type": "tensor", "scale": 128.0}, {"project": random(1), "scale": 128.0, "tensor": True}),
        ({"rank": 2, "max_growth": None}, {"project": random(2), "growth": None}),
        ({"rank": 2, "proj": "svd", "update_proj_gap": 3}, {"project": singular(2), "gap": 3}),
    ],
)
def test_it_follows_its_equations(arguments, reference):
    with x64():
        params, grads = problem(SHAPES)
        rules = {name: Apollo(**reference) for name in SHAPES}
        for g, u in zip(grads, trajectory(gradtx.scale_by_apollo(**arguments), params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


def test_the_optimizers_are_compositions():
    with x64():
        params, grads = problem(SHAPES | {"bias": (3,)})
        mini = trajectory(gradtx.apollo_mini(0.1, weight_decay=0.1), params, grads)
        rule = Apollo(random(1), scale=128.0, tensor=True)
        adamw = trajectory(gradtx.adamw(0.1, eps=1e-6, weight_decay=0.1), params, grads)
        for g, u, a in zip(grads, mini, adamw, strict=True):
            expected = -0.1 * (rule(np.asarray(g["wide"])) + 0.1 * np.asarray(params["wide"]))
            np.testing.assert_allclose(u["wide"], expected, atol=1e-9)
            np.testing.assert_allclose(u["bias"], a["bias"], atol=1e-12)


def ratios(tx, steps=3):
    random = np.random.default_rng(0)
    grads = [{k: jnp.asarray(random.normal(size=s)) for k, s in SHAPES.items()} for _ in range(steps)]
    last = trajectory(tx, grads[0], grads)[-1]
    return {k: np.asarray(last[k] / grads[-1][k]) for k in SHAPES}


def test_there_is_a_factor_for_each_place_of_the_longer_side():
    with x64():
        found = ratios(gradtx.scale_by_apollo(2))
        for name, axis in (("tall", 1), ("wide", 0), ("square", 0)):
            np.testing.assert_allclose(np.ptp(found[name], axis), 0, atol=1e-12)
            assert np.ptp(found[name], 1 - axis).min() > 1e-3
        found = ratios(gradtx.scale_by_apollo(1, scale_type="tensor"))
        assert max(np.ptp(x) for x in found.values()) < 1e-12


def test_random_projections_are_new_after_some_steps_and_depend_on_the_seed():
    g = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(8, 5)), jnp.float32)}
    same = dict.fromkeys(("w1", "w2"), g["kernel"])
    u, _ = gradtx.scale_by_apollo(2).update(same, gradtx.scale_by_apollo(2).init(same))
    np.testing.assert_array_equal(u["w1"], u["w2"])
    first, again, other = (
        gradtx.scale_by_apollo(2, seed=seed).update(g, gradtx.scale_by_apollo(2).init(g))[1].mu["kernel"][0]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    state = gradtx.scale_by_apollo(2, 2, b1=0.0).init(g)
    seen = []
    for _ in range(4):
        _, state = gradtx.scale_by_apollo(2, 2, b1=0.0).update(g, state)
        seen.append(state.mu["kernel"][0])
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[2], seen[3])
    assert not np.allclose(seen[1], seen[2])


def test_a_projection_keeps_lengths_on_average():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(64, 512)), jnp.float32)
    tx = gradtx.scale_by_apollo(16, b1=0.0)
    low = tx.update(g, tx.init(g))[1].mu[0]
    assert 0.8 < float(jnp.linalg.norm(low) / jnp.linalg.norm(g)) < 1.2


def test_the_state_has_rank_rows():
    params = {"up": jnp.ones((64, 256)), "stack": jnp.ones((2, 256, 64))}
    for proj, vectors in (("random", 0), ("svd", 3)):
        state = gradtx.scale_by_apollo(8, proj=proj, matrices={"stack": "batch in out"}).init(params)
        assert jax.tree.map(jnp.shape, state.mu) == {"up": ((1, 8, 256),), "stack": ((2, 256, 8),)}
        numbers = sum(x.size for x in jax.tree.leaves(state))
        assert numbers == 1 + 3 + 3 * 2 * 8 * 256 + vectors * 8 * 64


def test_norms_grow_slowly():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)
    for growth, expected in ((1.5, 1.5), (None, 9.0)):
        tx = gradtx.scale_by_apollo(2, max_growth=growth)
        state, norms = tx.init(g), []
        for x in (g, -g, -g):  # the mean of the first two is nearly zero
            _, state = tx.update(x, state)
            norms.append(float(state.norm[0][0]))
        np.testing.assert_allclose(norms[2] / norms[1], expected, rtol=0.05)
    _, zero = tx.update(0 * g, state)
    assert zero.norm[0][0] == 0
    u, _ = gradtx.scale_by_apollo(2).update(g, zero)
    assert jnp.linalg.norm(u) > 0.1  # what was zero does not have to grow from nothing


def test_what_is_absent_keeps_its_state():
    g = {"a1": jnp.ones((3, 2)), "a2": jnp.ones((3, 2))}
    for proj in ("random", "svd"):
        tx = gradtx.scale_by_apollo(1, 1, proj=proj)
        _, state = tx.update(g, tx.init(g))
        updates, after = tx.update({"a1": None, "a2": -g["a2"]}, state)
        assert updates["a1"] is None
        jax.tree.map(np.testing.assert_array_equal, state.mu["a1"], after.mu["a1"])
        assert not np.array_equal(state.mu["a2"][0], after.mu["a2"][0])


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (4, 3)])
@pytest.mark.parametrize("proj", ["random", "svd"])
def test_degenerate_gradients(size, shape, proj):
    for dtype in ("bfloat16", "float32"):
        g = size * jnp.ones(shape, dtype)
        tx = gradtx.scale_by_apollo(2, 1, proj=proj)
        state = tx.init(g)
        for factor in (1.0, 0.0, 1.0):
            u, state = tx.update(factor * g, state)
            assert u.dtype == g.dtype
            assert jnp.isfinite(u).all()
            if size * factor == 0:
                np.testing.assert_array_equal(u, 0)


def test_the_rank_is_a_whole_number_of_at_least_one():
    with pytest.raises(ArgumentValueError, match="scale_by_apollo: expected rank to be at least 1, got 0"):
        gradtx.scale_by_apollo(0)
