"""Shampoo against its equations; its blocks, its roots that fail, and what it costs between two of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentValueError
from gradtx.optimizers.matrix.shampoo import cut, put_together
from tests.optimizers.matrix.references import Shampoo, inverse_power
from tests.optimizers.matrix.test_muon import problem, trajectory
from tests.trajectories import x64


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        ({}, {}),
        (
            {"b2": None, "eps": 1e-4, "relative_eps": False, "precondition_frequency": 1},
            {"b2": None, "eps": 1e-4, "relative": False, "every": 1},
        ),
        ({"b2": 0.9, "precondition_frequency": 3}, {"b2": 0.9, "every": 3}),
        ({"b2": 0.9, "bias_correction": False, "root": 2}, {"b2": 0.9, "correct": False, "root": 2}),
        ({"precondition_frequency": 2, "start_preconditioning_step": 3}, {"every": 2, "start": 3}),
        (
            {"method": "newton", "eps": 1e-2, "relative_eps": False, "precondition_frequency": 2},
            {"eps": 1e-2, "relative": False, "every": 2},
        ),
        ({"axes": "sum", "precondition_frequency": 2}, {"caspr": True, "every": 2}),
    ],
)  # fmt: skip
def test_it_follows_its_equations(arguments, reference):
    with x64():
        params, grads = problem(steps=7)
        rules = {name: Shampoo(**reference) for name in params}
        for g, u in zip(grads, trajectory(gradtx.scale_by_shampoo(**arguments), params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), rtol=1e-7, atol=1e-9)


def test_complex_matrices():
    with x64():
        random = np.random.default_rng(1)
        grads = [jnp.asarray(random.normal(size=(4, 3)) + 1j * random.normal(size=(4, 3))) for _ in range(5)]
        rule, tx = Shampoo(every=2), gradtx.scale_by_shampoo(precondition_frequency=2)
        for g, u in zip(grads, trajectory(tx, grads[0], grads), strict=True):
            np.testing.assert_allclose(u, rule(np.asarray(g)), rtol=1e-7, atol=1e-9)


def test_of_one_gradient_it_is_the_polar_factor():
    with x64():
        g = jnp.asarray(np.random.default_rng(2).normal(size=(4, 4)))
        tx = gradtx.scale_by_shampoo(eps=0.0)
        np.testing.assert_allclose(tx.update(g, tx.init(g))[0], gradtx.orthogonalize(g, "exact"), atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 6, 4), (2, 7, 5), (3, 3, 11), (1, 4, 4)])
def test_blocks_are_cut_and_put_together(shape):
    x = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
    blocks = cut(x, 4)
    assert max(blocks.shape[1:]) <= 4
    assert len(blocks) == shape[0] * -(-shape[1] // 4) * -(-shape[2] // 4)
    np.testing.assert_array_equal(put_together(blocks, shape, 4), x)


def test_each_block_is_a_matrix_of_its_own():
    with x64():
        params, grads = problem({"whole": (6, 5)}, 4)
        together = trajectory(gradtx.scale_by_shampoo(block_size=3, eps=1e-3), params, grads)
        parts = {"0": (slice(3), slice(3)), "1": (slice(3), slice(3, 5)), "2": (slice(3, 6), slice(3)), "3": (slice(3, 6), slice(3, 5))}  # fmt: skip  # noqa: E501
        apart = [{name: g["whole"][at] for name, at in parts.items()} for g in grads]
        alone = trajectory(gradtx.scale_by_shampoo(eps=1e-3), apart[0], apart)
        for whole, each in zip(together, alone, strict=True):
            for name, at in parts.items():
                np.testing.assert_allclose(whole["whole"][at], each[name], atol=1e-9)


def test_turning_all_gradients_turns_the_steps():
    with x64():
        params, grads = problem({"kernel": (4, 4)}, 6)
        left, right = (np.linalg.qr(np.random.default_rng(i).normal(size=(4, 4)))[0] for i in (5, 6))
        turned = [{"kernel": left @ g["kernel"] @ right} for g in grads]
        tx = gradtx.scale_by_shampoo(precondition_frequency=3)
        for a, b in zip(trajectory(tx, params, grads), trajectory(tx, params, turned), strict=True):
            np.testing.assert_allclose(b["kernel"], left @ a["kernel"] @ right, atol=1e-9)


@pytest.mark.parametrize("method", ["eigh", "newton"])
def test_odd_gradients_stay_finite_and_roots_that_fail_are_not_used(method):
    random = np.random.default_rng(3)
    full = random.normal(size=(4, 6)).astype(np.float32)
    odd = {
        "zero": 0 * full, "rank one": np.outer(full[:, 0], full[0]), "huge": 1e30 * full, "tiny": 1e-30 * full,
        "one row": full[:1], "one column": full[:, :1], "low": jnp.asarray(full, jnp.bfloat16),
    }  # fmt: skip
    tx = gradtx.scale_by_shampoo(precondition_frequency=2, method=method)
    grads = {name: jnp.asarray(x) for name, x in odd.items()}
    state, step = tx.init(grads), jax.jit(tx.update)
    for i in range(5):
        u, state = step(jax.tree.map(lambda g, i=i: g * (1 + 0.1 * i), grads), state)
        for name, x in u.items():
            assert np.isfinite(np.asarray(x, np.float32)).all(), name
    assert not u["zero"].any()
    np.testing.assert_array_equal(state.roots["huge"][0].left[0], np.eye(4))
    np.testing.assert_allclose(u["huge"], 1.4 * grads["huge"], rtol=1e-5)
    assert state.failures == 3 * 2


def test_a_root_that_is_too_inaccurate_is_not_used():
    g = jnp.asarray(np.random.default_rng(4).normal(size=(4, 4)), jnp.float32)
    tx = gradtx.scale_by_shampoo(method="newton", max_error=0.0)
    u, state = tx.update(g, tx.init(g))
    np.testing.assert_array_equal(u, g)
    assert state.failures == 2


def test_a_good_root_stays_when_the_next_one_fails():
    good = jnp.asarray(np.random.default_rng(5).normal(size=(4, 4)), jnp.float32)
    tx = gradtx.scale_by_shampoo(precondition_frequency=1)
    _, first = tx.update(good, tx.init(good))
    _, second = tx.update(good.at[0, 0].set(jnp.nan), first)
    np.testing.assert_array_equal(second.roots[0].left, first.roots[0].left)
    assert (first.failures, second.failures) == (0, 2)


def test_staggered_roots_are_spread_over_the_steps():
    params, grads = problem({f"layer{i}": (4, 4) for i in range(4)}, 9)
    tx = gradtx.scale_by_shampoo(precondition_frequency=4, stagger=True)
    state, changed = tx.init(params), []
    for g in grads:
        _, new = jax.jit(tx.update)(g, state)
        changed.append([bool(jnp.any(state.roots[k][0].left != new.roots[k][0].left)) for k in params])
        state = new
    assert changed[0] == [True] * 4
    assert [sum(row) for row in changed[1:]] == [1] * 8
    assert np.all(np.sum(changed[1:5], 0) == 1)


def test_the_step_between_two_roots_copies_no_factor():
    params = {f"layer{i}": jnp.zeros((48, 32)) for i in range(2)}
    tx = gradtx.scale_by_shampoo()
    compiled = jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, tx.init(params)).compile().as_text()
    outside = compiled[compiled.index("ENTRY ") :]
    square = [
        line for line in outside.splitlines() if " copy(" in line and ("[1,48,48]" in line or "[1,32,32]" in line)
    ]
    assert square == []


def test_shampoo_has_the_lengths_of_adams_steps_and_its_own_directions():
    with x64():
        params, grads = problem({"kernel": (4, 4), "bias": (4,)}, 6)
        ours = trajectory(gradtx.shampoo(0.1, weight_decay=0.0, precondition_frequency=2), params, grads)
        rule, v, m = Shampoo(every=2), 0.0, 0.0
        for t, (g, u) in enumerate(zip(grads, ours, strict=True), 1):
            g = np.asarray(g["kernel"])
            v = 0.999 * v + 0.001 * g**2
            length = np.linalg.norm(g / np.sqrt(v / (1 - 0.999**t) + 1e-8))
            d = rule(g)
            m = 0.9 * m + 0.1 * length * d / np.linalg.norm(d)
            np.testing.assert_allclose(u["kernel"], -0.1 * m / (1 - 0.9**t), rtol=1e-7, atol=1e-9)
        rest = trajectory(gradtx.adamw(0.1, b2=0.95, weight_decay=0.0), params, grads)
        np.testing.assert_array_equal(ours[-1]["bias"], rest[-1]["bias"])


def test_before_the_first_roots_the_steps_are_those_of_the_other_method():
    params, grads = problem({"kernel": (4, 3)}, 5)
    tx = gradtx.shampoo(0.1, b1=0.0, weight_decay=0.0, magnitude=gradtx.scale_by_sign(), start_preconditioning_step=3)
    for t, (g, u) in enumerate(zip(grads, trajectory(tx, params, grads), strict=True)):
        np.testing.assert_allclose(jnp.linalg.norm(u["kernel"]), 0.1 * 12**0.5, rtol=1e-5)
        assert np.allclose(u["kernel"], -0.1 * jnp.sign(g["kernel"]), atol=1e-6) == (t < 3)


def test_what_is_refused():
    with pytest.raises(ArgumentValueError, match="root of at least 1, got 0"):
        gradtx.scale_by_shampoo(root=0)
    with pytest.raises(ArgumentValueError, match="block_size of at least 1, got 0"):
        gradtx.shampoo(0.1, block_size=0)


def test_the_reference_is_the_power():
    a = np.diag([4.0, 9.0])
    np.testing.assert_allclose(inverse_power(a, -0.5, 0.0), np.diag([1 / 2, 1 / 3]))
