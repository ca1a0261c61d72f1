"""NorMuon against its equations: neurons move equally far."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import TreeMismatchError
from tests.optimizers.matrix.odd import assert_odd_matrices_are_survived
from tests.optimizers.matrix.references import NorMuon
from tests.optimizers.matrix.test_muon import SHAPES, problem, trajectory
from tests.trajectories import x64


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        ({}, {}),
        ({"nesterov": False, "beta": 0.9, "b2": 0.8}, {"nesterov": False, "beta": 0.9, "b2": 0.8}),
        ({"scaling": "preserve_norm"}, {"paper": False}),
        ({"scaling": "preserve_norm", "neurons": "longer"}, {"paper": False, "longer": True}),
    ],
)
def test_it_follows_its_equations(arguments, reference):
    with x64():
        params, grads = problem()
        rules = {name: NorMuon(**reference) for name in SHAPES}
        for g, u in zip(grads, trajectory(gradtx.scale_by_normuon(**arguments), params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


def test_neurons_move_alike_and_the_matrix_keeps_its_norm():
    with x64():
        g = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)) * [1.0, 10.0, 0.1])}
        tx = gradtx.normalize_neurons(0.0)
        u = tx.update(g, tx.init(g))[0]["kernel"]
        np.testing.assert_allclose(np.linalg.norm(u), np.linalg.norm(g["kernel"]))
        np.testing.assert_allclose(np.linalg.norm(u, axis=0), [np.linalg.norm(u) / np.sqrt(3)] * 3, rtol=1e-6)
        turned = gradtx.normalize_neurons(0.0, matrices={"kernel": "out in"})
        u = turned.update(g, turned.init(g))[0]["kernel"]
        np.testing.assert_allclose(np.linalg.norm(u, axis=1), [np.linalg.norm(u) / np.sqrt(5)] * 5, rtol=1e-6)


def test_the_state_has_a_number_for_each_neuron_of_each_matrix():
    params = {"stack": jnp.ones((7, 4, 6)), "qkv": jnp.ones((4, 12)), "absent": None}
    matrices = {"stack": "batch in out", "qkv": "in out/3"}
    state = gradtx.normalize_neurons(matrices=matrices).init(params)
    assert jax.tree.map(jnp.shape, state.nu) == {"stack": ((7, 6),), "qkv": ((1, 4),) * 3, "absent": None}
    longer = gradtx.normalize_neurons(neurons="longer").init({"tall": jnp.ones((6, 4)), "wide": jnp.ones((4, 6))})
    assert jax.tree.map(jnp.shape, longer.nu) == {"tall": ((1, 6),), "wide": ((1, 6),)}


def test_a_stack_is_its_layers_and_a_complex_matrix_is_real_in_its_moment():
    with x64():
        random = np.random.default_rng(1)
        stack = jnp.asarray(random.normal(size=(3, 4, 6)))
        together, apart = gradtx.scale_by_normuon(matrices={"": "batch in out"}), gradtx.scale_by_normuon()
        made = together.update(stack, together.init(stack))[0]
        for layer, u in zip(stack, made, strict=True):
            np.testing.assert_allclose(u, apart.update(layer, apart.init(layer))[0], atol=1e-12)
        z = jnp.asarray(random.normal(size=(4, 3)) + 1j * random.normal(size=(4, 3)))
        u, state = apart.update(z, apart.init(z))
        rule = NorMuon()
        np.testing.assert_allclose(u, rule(np.asarray(z)), atol=1e-9)
        assert state[2].nu[0].dtype == jnp.float64


@pytest.mark.parametrize("tx", [gradtx.scale_by_normuon(), gradtx.scale_by_normuon(scaling="preserve_norm", eps=0.0)])
def test_odd_matrices(tx):
    assert_odd_matrices_are_survived(tx)


def test_a_root_mean_square_is_what_was_asked_for():
    g = {"huge": jnp.array([[1e30, 0.0], [1e30, -3e30]]), "tiny": 1e-30 * jnp.ones((2, 3)), "zero": jnp.zeros((2, 2))}
    tx = gradtx.scale_to_rms(0.5)
    u, _ = tx.update(g, tx.init(g))
    np.testing.assert_allclose([np.sqrt(np.mean(np.square(u[name]))) for name in ("huge", "tiny")], 0.5, rtol=1e-6)
    assert not u["zero"].any()
    np.testing.assert_allclose(u["huge"][1, 1], -3 * u["huge"][0, 0], rtol=1e-6)
    slope = jax.grad(lambda x: tx.update({"w": x}, ())[0]["w"][0, 0])(jnp.zeros((2, 2)))
    assert np.isfinite(slope).all()


def test_what_is_no_matrix_is_refused():
    with pytest.raises(TreeMismatchError, match=r"normalize_neurons: expected a matrix, got no matrix: 1 axes"):
        gradtx.normalize_neurons().init({"bias": jnp.ones(3)})


def test_the_rest_is_adamws():
    params, grads = problem({"kernel": (4, 3), "bias": (3,)}, 2)
    both = trajectory(gradtx.normuon(0.1, nesterov=False), params, grads)[-1]
    alone = trajectory(gradtx.adamw(0.1, b2=0.95, weight_decay=0.1), params, grads)[-1]
    np.testing.assert_array_equal(both["bias"], alone["bias"])
    direction = trajectory(gradtx.scale_by_normuon(nesterov=False), {"kernel": params["kernel"]}, [{"kernel": g["kernel"]} for g in grads])[-1]  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(both["kernel"], -0.1 * (direction["kernel"] + 0.1 * params["kernel"]), rtol=1e-5)
