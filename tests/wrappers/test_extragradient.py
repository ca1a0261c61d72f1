"""Extragradient: the bilinear game, what the inner state remembers, references for ExtraAdam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx import adam, adamw, apply_updates, extragradient, from_functions, get_hyperparams, partition, sgd, tree
from gradtx.errors import MissingExtraError
from tests.conftest import x64_mode

CURVATURE = np.array([1.0, 3.0, 0.2])


def field(p):
    """A rotation with a pull: no gradient of anything."""
    return jnp.stack([p[1] + 0.1 * p[0], -p[0] + 0.3 * p[1], jnp.sin(p[2])])


def play(tx, start, steps, grad_fn):
    params, state = jnp.asarray(start), tx.init(jnp.asarray(start))
    for _ in range(steps):
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        params = apply_updates(params, updates)
    return params, state


def test_a_bilinear_game_from_one_one():
    with x64_mode():
        game = lambda p: jnp.stack([p[1], -p[0]])  # noqa: E731
        params, _ = play(extragradient(sgd(0.1)), np.ones(2), 3, game)
    np.testing.assert_allclose(params, (0.647569, 1.233629), rtol=1e-12)


def adam_step(g, m, v, t, lr, b1=0.9, b2=0.999, eps=1e-8):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    return -lr * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps), m, v


@pytest.mark.parametrize("extrapolation", ["forget", "remember"])
def test_extra_adam(extrapolation):
    steps, lr = 6, 0.1
    numpy_field = lambda p: np.array(field(p))  # noqa: E731
    with x64_mode():
        got, state = play(extragradient(adam(lr), extrapolation), np.array([1.0, 0.5, 2.0]), steps, field)
        p, m, v, t = np.array([1.0, 0.5, 2.0]), np.zeros(3), np.zeros(3), 0
        for _ in range(steps):
            shift, m1, v1 = adam_step(numpy_field(p), m, v, t + 1, lr)
            if extrapolation == "remember":
                m, v, t = m1, v1, t + 1
            u, m, v = adam_step(numpy_field(p + shift), m, v, t + 1, lr)
            p, t = p + u, t + 1
    np.testing.assert_allclose(got, p, rtol=1e-10)
    assert int(tree.get_field(state, "count")) == t == steps * (2 if extrapolation == "remember" else 1)


def test_a_step_is_one_count_of_the_schedules_inside():
    tx = extragradient(sgd(lambda step: 0.1 / (1 + step)))
    _, state = play(tx, np.ones(3), 3, field)
    assert float(get_hyperparams(state)["learning_rate"]) == pytest.approx(0.1 / 3)


def test_weight_decay_is_of_the_parameters_one_steps_from():
    with x64_mode():
        got, _ = play(extragradient(adamw(0.1, weight_decay=0.5, eps=1e30)), np.ones(3), 1, field)
    np.testing.assert_allclose(got, 1 - 0.1 * 0.5, rtol=1e-12)


def test_in_a_partition_the_other_leaves_are_held():
    params = {"a": jnp.float32(3.0), "b": jnp.float32(5.0)}

    def loss(p):
        return p["a"] * p["b"] ** 2

    tx = partition({"b": extragradient(sgd(0.1)), "*": sgd(0.1)})
    updates, _ = tx.update(jax.grad(loss)(params), tx.init(params), params, value_fn=loss)
    assert float(updates["b"]) == pytest.approx(-0.1 * 2 * 3 * (5.0 - 0.1 * 30.0))
    assert float(updates["a"]) == pytest.approx(-0.1 * 25.0)


def test_the_extras_inside_remain_those_at_the_parameters():
    seen = []

    def update(updates, state, params=None, *, grad, value, **extra):
        seen.append((updates, params, grad, value))
        return jax.tree.map(lambda u: -0.1 * u, updates), state

    tx = extragradient(from_functions(lambda params: (), update))
    p = jnp.ones(3)
    tx.update(field(p), tx.init(p), p, grad=field(p), grad_fn=field, value=1.0)
    there = field(p - 0.1 * field(p))
    for (updates, params, grad, value), expected in zip(seen, (field(p), there), strict=True):
        np.testing.assert_array_equal(updates, expected)
        np.testing.assert_array_equal(params, p)
        np.testing.assert_array_equal(grad, field(p))
        assert value == 1.0


def test_without_a_function_the_error_says_what_to_pass():
    p, tx = jnp.ones(3), extragradient(sgd(0.1))
    with pytest.raises(MissingExtraError, match=r"gradtx.extragradient: .*grad_fn.*build_step passes it"):
        tx.update(p, tx.init(p), p)
    with pytest.raises(MissingExtraError, match=r"gradtx.extragradient: expected update\(..., params=...\)"):
        tx.update(p, tx.init(p), grad_fn=field)
