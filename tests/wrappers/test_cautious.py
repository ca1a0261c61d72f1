"""Cautious steps, and the signs of gradients on the steps of optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.trajectories import DOUBLE, SHAPES, SINGLE, Problem, assert_close, run, run_eagerly, x64

WRAPPERS = {"cautious": gradtx.cautious, "grams": gradtx.grams}

STEPS = np.array([[0.5, 0.1, -0.2], [-0.3, 0.2, -0.1], [0.2, -0.4, 0.3]])


def path(tx):
    """The params after each of three steps from 1."""
    with x64():
        updates = run_eagerly(tx, jnp.ones(3), STEPS)[0]
    return 1 + np.cumsum(updates, axis=0)


def test_recorded_numbers_of_the_authors_adamw():
    with_mean = [
        [0.900000002, 0.900000010, 1.099999995],
        [0.900000002, 0.755222715, 1.239826932],
        [0.865257234, 0.774602160, 1.231629253],
    ]
    with_count = [
        [0.925000001, 0.925000007, 1.074999996],
        [0.925000001, 0.828481811, 1.168217954],
        [0.898942925, 0.843016395, 1.162069695],
    ]
    for xi, expected in ((0.0, with_mean), (1.0, with_count)):
        tx = gradtx.chain(gradtx.cautious(gradtx.scale_by_adam(), xi), gradtx.scale_by_learning_rate(0.1))
        np.testing.assert_allclose(path(tx), expected, rtol=2e-9)


def masked(u, g, xi):
    agrees = np.real(np.conj(u) * g) > 0
    return u * agrees * u.size / (agrees.sum() + xi)


def signed(u, g):
    return np.abs(u) * g / np.where(g == 0, 1, np.abs(g))


REFERENCES = {
    "cautious": (lambda tx: gradtx.cautious(tx, xi=0.5), lambda u, g: masked(u, g, 0.5)),
    "grams": (gradtx.grams, signed),
}


@pytest.mark.parametrize("shapes", SHAPES, ids=["tree", "scalar"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_equals_the_reference(name, shapes):
    wrap, reference = REFERENCES[name]
    params, grads = Problem(shapes, 5).draw(DOUBLE)
    inner = gradtx.scale_by_adam(0.9, 0.99)
    with x64():
        plain, ours = (run(tx, params, grads)[0] for tx in (inner, wrap(inner)))
    for leaf in params:
        expected = [reference(u, g) for u, g in zip(plain[leaf], grads[leaf], strict=True)]
        np.testing.assert_allclose(ours[leaf], expected, rtol=1e-12, atol=1e-14)


WHOLE = {
    "optimizer": gradtx.adam(0.1),
    "chain": gradtx.chain(gradtx.scale_by_adam(), gradtx.scale_by_learning_rate(0.1)),
    "wrapped": gradtx.ema_params(gradtx.chain(gradtx.clip(1e9), gradtx.adam(0.1))),
    "groups": gradtx.partition({"*": gradtx.adam(0.1)}),
}


@pytest.mark.parametrize("inner", WHOLE)
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_whole_optimizer_goes_down(name, inner):
    params, grads = Problem({"w": (5,)}, 6).draw(SINGLE)
    direction = gradtx.chain(WRAPPERS[name](gradtx.scale_by_adam()), gradtx.scale_by_learning_rate(0.1))
    whole = WRAPPERS[name](WHOLE[inner])
    assert_close(run(whole, params, grads)[0], run(direction, params, grads)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_rate_that_does_not_flip_the_sign_is_a_direction(name):
    tx = WRAPPERS[name](gradtx.chain(gradtx.trace(0.5), gradtx.scale_by_learning_rate(0.1, flip_sign=False)))
    assert float(tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0][0]) > 0


@pytest.mark.parametrize("name", WRAPPERS)
def test_it_takes_any_inner_transformation(name):
    """One function of a leaf where the inner one is that, and else the same of trees."""
    params, grads = Problem(SHAPES[0], 7).draw(SINGLE)
    inner = gradtx.scale_by_adam(0.9, 0.99, 1e-3)
    form = WRAPPERS[name](inner)
    pair = WRAPPERS[name](optax.scale_by_adam(0.9, 0.99, 1e-3))
    assert form.leafwise is not None
    assert pair.leafwise is None
    assert_close(run(form, params, grads)[0], run(pair, params, grads)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrapped", ["leafwise", "pair"])
def test_xi_may_be_a_schedule(wrapped):
    inner = gradtx.trace(0.0) if wrapped == "leafwise" else optax.trace(0.0)
    tx = gradtx.cautious(inner, lambda step: jnp.array([0.0, 1.0])[step])
    for dtype in ("float32", "bfloat16"):
        g, state = jnp.ones(3, dtype), tx.init(jnp.ones(3, dtype))
        for expected in (1.0, 0.75):
            u, state = jax.jit(tx.update)(g, state)
            assert u.dtype == dtype
            np.testing.assert_allclose(u.astype(float), np.full(3, expected))


def test_products_that_vanish_have_signs():
    g = jnp.full(2, 1e-30, jnp.float32)
    tx = gradtx.cautious(gradtx.identity(), xi=0.0)
    np.testing.assert_array_equal(tx.update(g, tx.init(g))[0], g)


def test_where_nothing_agrees_there_is_no_step():
    tx = gradtx.cautious(gradtx.scale(-1.0), xi=0.0)
    g = jnp.array([1.0, 0.0, -2.0])
    np.testing.assert_array_equal(tx.update(g, tx.init(g))[0], jnp.zeros(3))
