"""GaLore against its equations and Optax, and what its projections do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx.errors import ArgumentValueError
from tests.optimizers.matrix.references import Galore
from tests.optimizers.matrix.test_muon import problem, trajectory
from tests.trajectories import x64

SHAPES = {"tall": (6, 4), "wide": (3, 5), "square": (4, 4)}
INPUTS = {
    "reverse_std": {"tall": True, "wide": False, "square": True},
    "std": {"tall": False, "wide": True, "square": True},
    "right": {"tall": True, "wide": True, "square": True},
    "left": {"tall": False, "wide": False, "square": False},
}


@pytest.mark.parametrize("proj_type", INPUTS)
@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize(("rank", "gap"), [(2, 200), (1, 2), (9, 1)])
def test_it_follows_its_equations(proj_type, rotate, rank, gap):
    with x64():
        params, grads = problem(SHAPES)
        tx = gradtx.scale_by_galore(rank, gap, 0.5, proj_type=proj_type, rotate_moments=rotate)
        rules = {name: Galore(rank, gap, INPUTS[proj_type][name], rotate) for name in SHAPES}
        for g, u in zip(grads, trajectory(tx, params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], 0.5 * rule(np.asarray(g[name])), atol=1e-9)


@pytest.mark.parametrize("base", [{}, {"update_proj_gap": 2}])
def test_it_is_optaxs(base):
    """Its singular vectors are float32. With a new projection their signs count, but for moments without a memory."""
    with x64():
        params, grads = problem(SHAPES | {"bias": (4,)})
        b1 = 0.0 if base else 0.9
        ours = gradtx.galore(0.1, 2, scale=0.5, weight_decay=0.1, base_optimizer=gradtx.scale_by_adam(b1), **base)
        theirs = optax.contrib.galore(
            0.1, 2, scale=0.5, weight_decay=0.1, base_optimizer=optax.scale_by_adam(b1), **base
        )
        for a, b in zip(trajectory(ours, params, grads), trajectory(theirs, params, grads), strict=True):
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a, b)


def test_complex_matrices():
    with x64():
        random = np.random.default_rng(0)
        draw = lambda: {"kernel": jnp.asarray(random.normal(size=(5, 3)) + 1j * random.normal(size=(5, 3)))}  # noqa: E731
        params, grads, rule = draw(), [draw() for _ in range(5)], Galore(2, 2, rotate=True)
        for g, u in zip(
            grads, trajectory(gradtx.scale_by_galore(2, 2, rotate_moments=True), params, grads), strict=True
        ):
            np.testing.assert_allclose(u["kernel"], rule(np.asarray(g["kernel"])), atol=1e-9)


def test_the_moments_are_small():
    params = {"up": jnp.ones((64, 256)), "stack": jnp.ones((2, 256, 64))}
    state = gradtx.scale_by_galore(8, matrices={"stack": "batch in out"}).init(params)
    shapes = jax.tree.map(jnp.shape, gradtx.tree.get_field(state, "mu"))
    assert shapes == {"up": ((1, 64, 8),), "stack": ((2, 8, 64),)}
    shapes = jax.tree.map(jnp.shape, gradtx.tree.get_field(state, "projector"))
    assert shapes == {"up": ((1, 256, 8),), "stack": ((2, 256, 8),)}


def test_signs_do_not_depend_on_those_of_the_gradient():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    tx = gradtx.scale_by_galore(2)
    first, second = (tx.update(x, tx.init(g))[1].projector[0] for x in (g, -g))
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert (jnp.max(first, 1) == jnp.max(jnp.abs(first), 1)).all()


def test_what_is_absent_keeps_its_projection_and_its_moments():
    g = {"a1": jnp.ones((3, 2)), "a2": jnp.ones((3, 2))}
    for rotate in (False, True):
        tx = gradtx.scale_by_galore(1, 1, rotate_moments=rotate)
        _, state = tx.update(g, tx.init(g))
        updates, after = tx.update({"a1": None, "a2": -g["a2"]}, state)
        assert updates["a1"] is None
        for name in ("projector", "mu", "nu"):
            old, new = (gradtx.tree.get_field(s, name)["a1"] for s in (state, after))
            np.testing.assert_array_equal(old[0], new[0])


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (4, 3)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_degenerate_gradients(size, shape, dtype):
    g = size * jnp.ones(shape, dtype)
    tx = gradtx.scale_by_galore(2, 1, rotate_moments=True)
    state = tx.init(g)
    for _ in range(3):
        u, state = tx.update(g, state)
        assert u.dtype == g.dtype
        assert jnp.isfinite(u).all()
        if size == 0:
            np.testing.assert_array_equal(u, 0)


def test_the_steps_between_two_projections_copy_nothing():
    params = {f"layer{i}": jnp.ones((256, 128)) for i in range(3)}
    tx = gradtx.scale_by_galore(16)
    compiled = jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, tx.init(params)).compile().as_text()
    main = compiled[compiled.index("\nENTRY ") :]
    assert re.search(r"= \(.*conditional\(", main)
    assert not re.findall(r"f32\[1,(?:256|128),16\]\S* copy\(", main)
    assert "svd" not in main


def test_the_rank_is_a_whole_number_of_at_least_one():
    with pytest.raises(ArgumentValueError, match="scale_by_galore: expected rank to be at least 1, got 0"):
        gradtx.scale_by_galore(0)
