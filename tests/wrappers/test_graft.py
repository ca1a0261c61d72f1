"""Grafting: the direction of one method, the length of another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx

PARAMS = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3), "absent": None}


def gradients(seed):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(random.normal(size=p.shape), jnp.float32), PARAMS)


def test_each_leaf_has_the_direction_of_one_and_the_length_of_the_other():
    direction, magnitude = gradtx.trace(0.9), gradtx.scale_by_adam()
    tx = gradtx.graft(direction, magnitude, start=2)
    states = tx.init(PARAMS), direction.init(PARAMS), magnitude.init(PARAMS)
    for i in range(5):
        g = gradients(i)
        u, d, m = (t.update(g, s, PARAMS) for t, s in zip((tx, direction, magnitude), states, strict=True))
        states = u[1], d[1], m[1]
        for name in ("kernel", "bias"):
            expected = m[0][name] if i < 2 else d[0][name] * jnp.linalg.norm(m[0][name]) / jnp.linalg.norm(d[0][name])
            np.testing.assert_allclose(u[0][name], expected, rtol=1e-5)


def test_one_that_stands_still_stops_the_other_and_its_derivative_is_finite():
    for pair in ((gradtx.set_to_zero(), gradtx.identity()), (gradtx.identity(), gradtx.set_to_zero())):
        tx = gradtx.graft(*pair)
        step = lambda g, tx=tx: tx.update(g, tx.init(g))[0]  # noqa: E731
        assert not step(jnp.ones(3)).any()
        assert np.isfinite(jax.jacobian(step)(jnp.zeros(3))).all()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_lengths_beyond_the_squares_of_floats(size):
    tx = gradtx.graft(gradtx.identity(), gradtx.scale(2.0))
    g = size * jnp.array([3.0, 4.0])
    np.testing.assert_allclose(tx.update(g, tx.init(g))[0], 2 * g, rtol=1e-5)


def test_random_members_draw_numbers_of_their_own():
    tx = gradtx.graft(gradtx.add_noise(1.0, 0.5), gradtx.add_noise(1.0, 0.5))
    zero, key = jnp.zeros(4), jax.random.key(0)
    both = tx.update(zero, tx.init(zero), key=key)[0]
    alone = gradtx.add_noise(1.0, 0.5)
    same = alone.update(zero, alone.init(zero), key=key)[0]
    assert abs(jnp.linalg.norm(both) - jnp.linalg.norm(same)) > 1e-3
