"""Optax's optimizers of the same names and defaults take the same steps; where they do not, it is on purpose."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.trajectories import DOUBLE, SHAPES, Problem, assert_close, run, run_eagerly, x64

SAME = {
    "sgd": {},
    "sgd momentum": {"momentum": 0.9},
    "sgd nesterov": {"momentum": 0.9, "nesterov": True},
    "adam": {},
    "adam nesterov": {"nesterov": True, "eps_root": 1e-6},
    "adamw": {},
    "nadam": {},
    "amsgrad": {},
    "adabelief": {},
    "adabelief nesterov": {"nesterov": True},
    "yogi": {},
    "radam": {},
    "radam fast": {"b2": 0.9, "threshold": 4.0, "nesterov": True},
    "lion": {},
    "sign_sgd": {},
    "signum": {},
    "signum short": {"beta": 0.5},
    "adagrad": {},
    "rmsprop": {},
    "rmsprop torch": {"decay": 0.99, "eps_in_sqrt": False, "bias_correction": True},
    "rmsprop centered": {"centered": True, "momentum": 0.9, "nesterov": True, "initial_scale": 0.5},
    "adadelta": {},
    "adadelta decayed": {"weight_decay": 0.1},
}


@pytest.mark.parametrize("case", SAME)
def test_same_name_same_steps(case):
    name = case.split()[0]
    # Optax's AdaDelta squares complex gradients without taking their absolute values first.
    shapes = SHAPES[1] if name == "adadelta" else SHAPES[0]
    params, grads = Problem(shapes, 11).draw(DOUBLE, steps=20)
    with x64():
        ours = run(getattr(gradtx, name)(0.1, **SAME[case]), params, grads)
        theirs = run_eagerly(getattr(optax, name)(0.1, **SAME[case]), params, grads)
    assert_close(ours[:2], theirs[:2], rtol=1e-12, atol=1e-12)


# --- on purpose -------------------------------------------------------------------------------------------------------


def last(tx, params, grads):
    return run_eagerly(tx, params, grads)[1]


def test_second_moments_of_bfloat16_parameters_do_not_stall():
    """In bfloat16, 0.999 v is v again: after one large gradient Optax's second moment never falls."""
    params, grads = jnp.zeros(1, jnp.bfloat16), jnp.full((400, 1), 1e-3, jnp.bfloat16).at[0].set(1)
    reference = run(gradtx.scale_by_adam(), params.astype(jnp.float32), grads.astype(jnp.float32))[2].nu
    ours = run(gradtx.scale_by_adam(), params, grads)[2].nu
    tx = optax.scale_by_adam()
    _, theirs = jax.lax.scan(lambda s, g: (tx.update(g, s)[1], s.nu), tx.init(params), grads)
    np.testing.assert_allclose(ours, reference, rtol=1e-6)
    assert float(theirs[-1][0]) == pytest.approx(1e-3, rel=0.01)
    assert float(ours[0]) == pytest.approx(1e-3 * 0.999**399, rel=0.01)


def test_gradients_are_centralized_for_each_output_of_a_jax_kernel():
    g = jnp.array([[1.0, 10.0, 3.0], [3.0, 30.0, 5.0]])
    ours, _ = gradtx.centralize().update(g, gradtx.EmptyState())
    theirs, _ = optax.centralize().update(g, optax.EmptyState())
    np.testing.assert_allclose(jnp.mean(ours, axis=0), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(theirs, gradtx.centralize(0).update(g, gradtx.EmptyState())[0], rtol=1e-6)


def test_a_nan_does_not_spread_through_clipping():
    grads = {"bad": jnp.array(jnp.nan), "good": jnp.array(0.5)}
    clipped = {}
    for library in (gradtx, optax):
        tx = library.clip_by_global_norm(1.0)
        clipped[library] = float(tx.update(grads, tx.init(grads))[0]["good"])
    assert clipped[gradtx] == 0.5
    assert np.isnan(clipped[optax])


def test_yogi_survives_squares_that_overflow():
    params, grads = jnp.zeros(1), jnp.full((2, 1), 1e30)
    assert np.isfinite(last(gradtx.yogi(0.1), params, grads))
    assert np.isnan(last(optax.yogi(0.1), params, grads))


def test_centered_rmsprop_keeps_the_variance_of_a_constant_gradient_at_zero():
    """Rounding makes Optax's mean square smaller than the square of the mean, and the root of that is NaN."""
    params, grads = jnp.zeros(64), jnp.broadcast_to(jnp.linspace(0.1, 3.3, 64), (60, 64))
    arguments = {"decay": 0.7, "eps": 0.0, "centered": True}
    assert np.all(np.isfinite(last(gradtx.rmsprop(0.1, **arguments), params, grads)))
    assert np.any(np.isnan(last(optax.rmsprop(0.1, **arguments), params, grads)))
