"""SOAP against its equations, and what its bases do where a matrix has no full rank, or no finite square."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.optimizers.matrix.references import Soap
from tests.optimizers.matrix.test_muon import problem, trajectory
from tests.trajectories import x64

SHAPES = {"square": (4, 4), "again": (4, 4), "large": (6, 6)}
"""Square ones: the eigenvectors of no eigenvalue are free, and Adam's step depends on them."""


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        ({}, {}),
        ({"precondition_frequency": 1}, {"every": 1}),
        ({"precondition_frequency": 3, "b1": 0.9, "b2": 0.8}, {"every": 3, "b1": 0.9, "b2": 0.8, "b3": 0.8}),
        ({"precondition_frequency": 2, "shampoo_beta": 0.5}, {"every": 2, "b3": 0.5}),
        ({"precondition_frequency": 2, "first_step": "skip"}, {"every": 2, "skip": True}),
        ({"precondition_frequency": 2, "sides": "shorter"}, {"every": 2, "right": False}),
        ({"max_precond_dim": 3}, {"left": False, "right": False}),
    ],
)
def test_it_follows_its_equations(arguments, reference):
    with x64():
        params, grads = problem(SHAPES, 13)
        rules = {name: Soap(**reference) for name in SHAPES}
        for g, u in zip(grads, trajectory(gradtx.scale_by_soap(**arguments), params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


def test_matrices_that_are_not_square():
    """Along with a side that has no null space: the shorter one."""
    with x64():
        params, grads = problem({"tall": (6, 4), "wide": (3, 5)}, 9)
        tx = gradtx.scale_by_soap(precondition_frequency=2, sides="shorter")
        rules = {"tall": Soap(every=2, left=False), "wide": Soap(every=2, right=False)}
        for g, u in zip(grads, trajectory(tx, params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


def test_complex_matrices():
    with x64():
        random = np.random.default_rng(1)
        grads = [jnp.asarray(random.normal(size=(4, 4)) + 1j * random.normal(size=(4, 4))) for _ in range(7)]
        rule = Soap(every=2)
        for g, u in zip(
            grads, trajectory(gradtx.scale_by_soap(precondition_frequency=2), grads[0], grads), strict=True
        ):
            np.testing.assert_allclose(u, rule(np.asarray(g)), atol=1e-9)


def test_no_side_is_adam():
    params, grads = problem({"kernel": (4, 3)}, 5)
    ours = trajectory(gradtx.scale_by_soap(0.9, 0.999, max_precond_dim=2), params, grads)
    for a, b in zip(ours, trajectory(gradtx.scale_by_adam(), params, grads), strict=True):
        np.testing.assert_allclose(a["kernel"], b["kernel"], rtol=2e-5)


def test_turning_all_gradients_turns_the_steps():
    """After the first step the coordinates do not matter."""
    with x64():
        params, grads = problem({"kernel": (4, 4)}, 8)
        left, right = (np.linalg.qr(np.random.default_rng(i).normal(size=(4, 4)))[0] for i in (5, 6))
        turned = [{"kernel": left @ g["kernel"] @ right} for g in grads]
        tx = gradtx.scale_by_soap(precondition_frequency=3, first_step="skip")
        for a, b in zip(trajectory(tx, params, grads), trajectory(tx, params, turned), strict=True):
            np.testing.assert_allclose(b["kernel"], left @ a["kernel"] @ right, atol=1e-9)


def test_matrices_by_turns_and_stacks_are_each_as_alone():
    with x64():
        params, grads = problem({"stack": (3, 4, 4), "qkv": (4, 12)}, 7)
        matrices = {"stack": "batch in out", "qkv": "in out/3"}
        together = trajectory(gradtx.scale_by_soap(precondition_frequency=2, matrices=matrices), params, grads)
        apart = [{f"{i}": x for i, x in enumerate([*g["stack"], *jnp.split(g["qkv"], 3, 1)])} for g in grads]
        alone = trajectory(gradtx.scale_by_soap(precondition_frequency=2), apart[0], apart)
        for whole, parts in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole["stack"], [parts["0"], parts["1"], parts["2"]], atol=1e-9)
            np.testing.assert_allclose(whole["qkv"], np.hstack([parts["3"], parts["4"], parts["5"]]), atol=1e-9)


def test_staggered_refreshes_are_spread_over_the_steps():
    params, grads = problem({f"layer{i}": (4, 4) for i in range(4)}, 9)
    tx = gradtx.scale_by_soap(precondition_frequency=4, stagger=True)
    state, changed = tx.init(params), []
    for g in grads:
        _, new = jax.jit(tx.update)(g, state)
        pairs = [(state.bases[k][0].left, new.bases[k][0].left) for k in params]
        changed.append([bool(jnp.any(a != b)) for a, b in pairs])
        state = new
    assert changed[1] == [True] * 4  # the first bases
    assert [sum(row) for row in changed[2:]] == [1] * 7
    assert np.all(np.sum(changed[2:6], 0) == 1)


def test_odd_gradients_stay_finite_and_a_basis_that_is_not_finite_is_not_used():
    random = np.random.default_rng(3)
    full = random.normal(size=(4, 6)).astype(np.float32)
    odd = {
        "zero": 0 * full, "rank one": np.outer(full[:, 0], full[0]), "huge": 1e30 * full, "tiny": 1e-30 * full,
        "one row": full[:1], "one column": full[:, :1], "low": jnp.asarray(full, jnp.bfloat16),
    }  # fmt: skip
    tx = gradtx.scale_by_soap(precondition_frequency=2)
    grads = {name: jnp.asarray(x) for name, x in odd.items()}
    state, step = tx.init(grads), jax.jit(tx.update)
    for i in range(6):
        u, state = step(jax.tree.map(lambda g, i=i: g * (1 + 0.1 * i), grads), state)
        for name, x in u.items():
            assert np.isfinite(np.asarray(x, np.float32)).all(), name
    assert not u["zero"].any()
    for name in odd:
        for q in jax.tree.leaves(state.bases[name]):
            np.testing.assert_allclose(q.mT @ q, np.broadcast_to(np.eye(q.shape[-1]), q.shape), atol=1e-4)
    assert state.failures == 2 * 3  # both sides of the huge one, at the steps 2, 3 and 5


def test_the_step_between_two_refreshes_copies_no_factor():
    params = {f"layer{i}": jnp.zeros((48, 32)) for i in range(2)}
    tx = gradtx.scale_by_soap()
    compiled = jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, tx.init(params)).compile().as_text()
    outside = compiled[compiled.index("ENTRY ") :]
    square = [
        line for line in outside.splitlines() if " copy(" in line and ("[1,48,48]" in line or "[1,32,32]" in line)
    ]
    assert square == []


def test_the_rest_is_adamws_and_the_decay_is_outside():
    params, grads = problem({"kernel": (4, 4), "bias": (4,)}, 3)
    both = trajectory(gradtx.soap(0.1), params, grads)
    alone = trajectory(gradtx.adamw(0.1, b2=0.95, weight_decay=0.01), params, grads)
    np.testing.assert_array_equal(both[-1]["bias"], alone[-1]["bias"])
    direction = trajectory(
        gradtx.scale_by_soap(), {"kernel": params["kernel"]}, [{"kernel": g["kernel"]} for g in grads]
    )
    np.testing.assert_allclose(
        both[-1]["kernel"], -0.1 * (direction[-1]["kernel"] + 0.01 * params["kernel"]), rtol=1e-5, atol=1e-6
    )
