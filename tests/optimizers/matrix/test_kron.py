"""PSGD-Kron against its equations, and what it is for: updates whose elements are uncorrelated and of size 1."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.optimizers.matrix.kron import _norm_bound
from tests.optimizers.matrix.references import Kron
from tests.optimizers.matrix.test_muon import problem, trajectory
from tests.trajectories import x64

SHAPES = {"tall": (6, 4), "wide": (3, 5), "square": (4, 4)}


def key_of(seed, t):
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), t)


def drawn(seed):
    """The random numbers as the docstring has them: by the seed, the step, and the shape."""

    def draw(t, shape):
        key = jax.random.fold_in(jax.random.fold_in(key_of(seed, t), shape[0]), shape[1])
        return np.asarray(jax.random.normal(key, shape, jnp.float64)), balances(seed, t)

    return draw


def balances(seed, t):
    return bool(jax.random.uniform(jax.random.fold_in(key_of(seed, t), 2)) < 0.01)


@pytest.mark.parametrize(
    ("arguments", "diagonal"),
    [
        ({}, {"tall": "", "wide": "", "square": ""}),
        ({"preconditioner_lr": 0.5}, {"tall": "", "wide": "", "square": ""}),
        ({"max_size_triangular": 4}, {"tall": "left", "wide": "right", "square": ""}),
        ({"memory_save_mode": "one_diag"}, {"tall": "left", "wide": "right", "square": "right"}),
        ({"memory_save_mode": "smart_one_diag"}, {"tall": "left", "wide": "right", "square": ""}),
        ({"memory_save_mode": "all_diag"}, {"tall": "left right", "wide": "left right", "square": "left right"}),
    ],
)
def test_it_follows_its_equations(arguments, diagonal):
    with x64():
        seed = next(seed for seed in range(1000) if balances(seed, 3))
        params, grads = problem(SHAPES)
        rate = arguments.get("preconditioner_lr", 0.1)
        rules = {
            k: Kron(drawn(seed), rate, left="left" not in where, right="right" not in where)
            for k, where in diagonal.items()
        }
        for g, u in zip(grads, trajectory(gradtx.whiten_updates(seed=seed, **arguments), params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


def test_complex_matrices():
    with x64():
        random = np.random.default_rng(0)
        draw = lambda: {"kernel": jnp.asarray(random.normal(size=(4, 3)) + 1j * random.normal(size=(4, 3)))}  # noqa: E731
        params, grads, rule = draw(), [draw() for _ in range(5)], Kron(drawn(0))
        for g, u in zip(grads, trajectory(gradtx.whiten_updates(), params, grads), strict=True):
            np.testing.assert_allclose(u["kernel"], rule(np.asarray(g["kernel"])), atol=1e-9)


def spread(tx, shape=(4, 4), steps=600):
    """The condition of the covariance of late updates, and their standard deviation."""
    grads = jax.random.normal(jax.random.key(0), (steps, *shape)) * jnp.array([10.0, 3.0, 1.0, 0.1])
    _, updates = jax.jit(lambda g: jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], tx.init(g[0]), g))(grads)
    late = np.asarray(updates[200:], np.float64).reshape(steps - 200, -1)
    eigenvalues = np.linalg.eigvalsh(np.cov(late.T))
    return eigenvalues[-1] / eigenvalues[0], float(np.std(late))


@pytest.mark.parametrize("mode", [None, "one_diag", "all_diag"])
@pytest.mark.parametrize("timing", ["random", "counter"])
def test_it_whitens(mode, timing):
    """The condition of the gradients' covariance is 1e4."""
    condition, deviation = spread(gradtx.whiten_updates(memory_save_mode=mode, timing=timing))
    assert condition < 10
    assert 0.7 < deviation < 1.2
    assert spread(gradtx.identity())[0] > 5e3


def test_the_length_of_gradients_is_of_no_matter():
    for size in (1e-6, 1e6):
        tx = gradtx.chain(gradtx.scale(size), gradtx.whiten_updates(preconditioner_lr=0.3))
        condition, deviation = spread(tx)
        assert condition < 100
        assert 0.6 < deviation < 1.3


def refreshes(tx, steps):
    g = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)

    def step(state, _):
        _, state = tx.update(g, state)
        return state, state.since == 0

    return np.asarray(jax.jit(lambda: jax.lax.scan(step, tx.init(g), None, steps)[1])())


def test_how_often_it_is_refreshed():
    assert refreshes(gradtx.whiten_updates(), 400).all()
    assert np.flatnonzero(refreshes(gradtx.whiten_updates(0.25, timing="counter"), 12)).tolist() == [3, 7, 11]
    found = refreshes(gradtx.whiten_updates(0.25), 400)
    assert 60 < found.sum() < 140
    assert not np.array_equal(found, refreshes(gradtx.whiten_updates(0.25, seed=1), 400))
    assert not refreshes(gradtx.whiten_updates(0.0), 20).any()
    later = refreshes(gradtx.whiten_updates(), 6000)
    np.testing.assert_allclose(later[1500:2500].mean(), (np.exp(-1) - np.exp(-2)), atol=0.05)
    np.testing.assert_allclose(later[4500:].mean(), 0.03, atol=0.015)


def test_a_stack_is_its_layers():
    with x64():
        params, grads = problem({"stack": (3, 4, 6)}, 3)
        together = trajectory(gradtx.whiten_updates(matrices={"stack": "batch in out"}), params, grads)
        apart = [{f"w{i}": x for i, x in enumerate(g["stack"])} for g in grads]
        for whole, parts in zip(together, trajectory(gradtx.whiten_updates(), apart[0], apart), strict=True):
            np.testing.assert_allclose(whole["stack"], [parts["w0"], parts["w1"], parts["w2"]], atol=1e-12)


def test_the_optimizer_is_a_composition():
    with x64():
        params, grads = problem(SHAPES | {"bias": (3,)})
        whole = trajectory(gradtx.kron(0.1, weight_decay=0.1), params, grads)
        rule, m = Kron(drawn(0)), 0.0
        adamw = trajectory(gradtx.adamw(0.1, b2=0.95, weight_decay=0.1), params, grads)
        for t, (g, u, a) in enumerate(zip(grads, whole, adamw, strict=True), 1):
            m = 0.9 * m + 0.1 * np.asarray(g["wide"])
            direction = rule(m / (1 - 0.9**t))
            direction = direction * min(1.0, 1.1 / np.sqrt(np.mean(direction**2)))
            np.testing.assert_allclose(u["wide"], -0.1 * (direction + 0.1 * np.asarray(params["wide"])), atol=1e-9)
            np.testing.assert_allclose(u["bias"], a["bias"], atol=1e-12)


def test_the_norm_is_bounded_from_below_and_nearly_reached():
    random = np.random.default_rng(0)
    for _ in range(20):
        x = random.normal(size=(3, 6, 8)) * 10.0 ** random.uniform(-3, 3, size=(3, 1, 8))
        x = x @ x.swapaxes(1, 2)
        bound = np.asarray(_norm_bound(jnp.asarray(x, jnp.float32)))
        exact = np.linalg.norm(x, 2, axis=(1, 2))
        assert (bound <= exact * (1 + 1e-5)).all()
        assert (bound >= exact / 2**0.5).all()


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (4, 3)])
def test_degenerate_gradients(size, shape):
    for dtype, mode in (("bfloat16", None), ("float32", "one_diag")):
        g = size * jnp.ones(shape, dtype)
        tx = gradtx.whiten_updates(1.0, memory_save_mode=mode)
        state = tx.init(g)
        for factor in (1.0, 0.0, 1.0):
            before = state
            u, state = tx.update(factor * g, state)
            assert u.dtype == g.dtype
            assert jnp.isfinite(u).all()
            if size * factor == 0:
                np.testing.assert_array_equal(u, 0)
                jax.tree.map(np.testing.assert_array_equal, before.factors, state.factors)
        assert state.failures == 0


def test_factors_that_are_not_finite_are_not_used_and_are_counted():
    g = jnp.ones((3, 2))
    tx = gradtx.whiten_updates(1.0)
    _, state = tx.update(g, tx.init(g))
    _, after = tx.update(g.at[0, 0].set(jnp.nan), state)
    jax.tree.map(np.testing.assert_array_equal, state.factors, after.factors)
    assert (state.failures, after.failures) == (0, 1)
    assert jnp.isfinite(tx.update(g, after)[0]).all()


def test_the_steps_between_two_refreshes_copy_nothing():
    params = {f"layer{i}": jnp.ones((96, 160)) for i in range(3)}
    tx = gradtx.whiten_updates()
    compiled = jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, tx.init(params)).compile().as_text()
    main = compiled[compiled.index("\nENTRY ") :]
    assert re.search(r"= \(.*conditional\(", main)
    assert not re.findall(r"f32\[1,(?:96,96|160,160)\]\S* copy\(", main)
