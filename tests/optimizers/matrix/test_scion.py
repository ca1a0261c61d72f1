"""Scion against its equations, and which layer takes which norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from tests.optimizers.matrix.odd import assert_odd_matrices_are_survived
from tests.optimizers.matrix.references import Scion
from tests.optimizers.matrix.test_muon import problem, trajectory
from tests.trajectories import x64

RULES = {
    "up": ((6, 4), {"norm": "spectral", "radius": 2.0}),
    "conv": ((3, 3, 2, 5), {"norm": "spectral", "radius": 2.0, "points": 9}),
    "embedding": ((7, 4), {"norm": "rms", "radius": 2.0}),
    "head": ((4, 7), {"norm": "sign", "radius": 30.0, "inputs": 4}),
    "bias": ((5,), {"norm": "rms", "radius": 2.0}),
}


def test_it_follows_its_equations():
    with x64():
        params, grads = problem({name: shape for name, (shape, _) in RULES.items()})
        rules = {name: Scion(**how) for name, (_, how) in RULES.items()}
        tx = gradtx.scale_by_scion(radius=2.0, sign_radius=30.0)
        for g, u in zip(grads, trajectory(tx, params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


@pytest.mark.parametrize("constrained", [False, True])
def test_a_constrained_step_draws_to_the_origin(constrained):
    with x64():
        params, grads = problem({"up": (6, 4), "head": (4, 7)}, 1)
        tx = gradtx.scion(0.1, constrained=constrained)
        directions = trajectory(gradtx.scale_by_scion(), params, grads)[0]
        for name, u in trajectory(tx, params, grads)[0].items():
            drawn = 0.1 * params[name] if constrained else 0.0
            np.testing.assert_allclose(u, -0.1 * directions[name] - drawn, atol=1e-12)


def test_constrained_parameters_stay_in_their_balls():
    params, grads = problem({"up": (6, 4), "head": (4, 7), "bias": (3,)}, 20)
    tx = gradtx.scion(0.3, constrained=True, radius=2.0, sign_radius=8.0, method="exact")
    state, step = tx.init(params), jax.jit(tx.update)
    params = jax.tree.map(lambda p: 0.01 * p, params)
    for g in grads:
        updates, state = step(g, state, params)
        params = gradtx.apply_updates(params, updates)
    assert 0.5 < np.linalg.norm(params["up"], 2) / (2 * np.sqrt(4 / 6)) < 1 + 1e-5
    assert np.abs(params["head"]).max() < 8 / 4 + 1e-5
    assert np.sqrt(np.mean(params["bias"] ** 2)) < 2 + 1e-5


def test_norms_are_declared_by_globs():
    with x64():
        g = {"embed": {"embedding": jnp.asarray(np.random.default_rng(0).normal(size=(7, 4)))}, "up": jnp.eye(3)}
        tx = gradtx.steepest_direction({"embed/*": "sign", "up": "rms"}, sign_radius=3.0)
        u = tx.update(g, tx.init(g))[0]
        np.testing.assert_allclose(u["embed"]["embedding"], 3 / 4 * np.sign(g["embed"]["embedding"]))
        np.testing.assert_allclose(u["up"], np.sqrt(3) * np.eye(3))


def test_of_a_convolution_inputs_are_channels_wherever_they_are():
    with x64():
        x = np.random.default_rng(1).normal(size=(3, 3, 2, 5))
        flax, equinox = {"conv": {"kernel": jnp.asarray(x)}}, {"conv": {"weight": jnp.asarray(x.transpose(3, 2, 0, 1))}}
        tx = gradtx.steepest_direction(method="exact")
        u, v = (tx.update(g, tx.init(g))[0]["conv"] for g in (flax, equinox))
        np.testing.assert_allclose(v["weight"], u["kernel"].transpose(3, 2, 0, 1), atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(u["kernel"].reshape(18, 5), 2), np.sqrt(5 / 2) / 9)
        attention = {"out": {"kernel": jnp.asarray(x[0])}}  # [heads, size, outputs]
        w = tx.update(attention, tx.init(attention))[0]["out"]["kernel"]
        np.testing.assert_allclose(np.linalg.norm(w.reshape(6, 5), 2), np.sqrt(5 / 6))


def test_each_part_and_each_layer_of_a_stack_is_its_own():
    with x64():
        random = np.random.default_rng(2)
        g = {"qkv": jnp.asarray(random.normal(size=(4, 12))), "bias": jnp.asarray(random.normal(size=(2, 3)))}
        tx = gradtx.steepest_direction(method="exact")
        u = tx.update(g, tx.init(g))[0]
        for part in np.split(np.asarray(u["qkv"]), 3, 1):
            np.testing.assert_allclose(part.T @ part, np.eye(4), atol=1e-12)
        np.testing.assert_allclose(np.mean(np.square(u["bias"]), -1), 1)


def test_odd_matrices():
    assert_odd_matrices_are_survived(gradtx.scale_by_scion())
    scalars = {"scale": jnp.array(3.0), "absent": None, "none": jnp.zeros((0,))}
    tx = gradtx.steepest_direction()
    assert tx.update(scalars, tx.init(scalars))[0]["scale"] == 1


def test_what_is_wrong_is_named():
    with pytest.raises(ArgumentValueError, match=r"norms\['\*'\] to be one of \['spectral', 'sign', 'rms'\], got 'l2'"):
        gradtx.scion(0.1, norms={"*": "l2"})
    with pytest.raises(ArgumentTypeError, match="norms to be a mapping, got 'sign'"):
        gradtx.steepest_direction("sign")
    with pytest.raises(TreeMismatchError, match=r"a matrix, got no matrix: 1 axes at \['bias'\]"):
        gradtx.steepest_direction({"bias": "spectral"}).init({"bias": jnp.ones(3)})
