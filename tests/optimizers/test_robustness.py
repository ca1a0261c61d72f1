"""What optimizers do with gradients that are zero, tiny or huge, and the derivatives of their steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.trajectories import run, x64

OPTIMIZERS = {
    "sgd": gradtx.sgd(0.1),
    "sgd, momentum": gradtx.sgd(0.1, 0.9, nesterov=True),
    "adam": gradtx.adam(0.1),
    "adam, eps 0": gradtx.adam(0.1, eps=0.0),
    "adamw, nesterov": gradtx.adamw(0.1, nesterov=True, weight_decay=0.0),
    "adan": gradtx.adan(0.1),
    "adan, eps 0": gradtx.adan(0.1, eps=0.0, eps_root=0.0),
    "adopt": gradtx.adopt(0.1),
    "adopt, eps 0": gradtx.adopt(0.1, eps=0.0, nesterov=True),
    "laprop": gradtx.laprop(0.1),
    "laprop, eps 0": gradtx.laprop(0.1, eps=0.0),
    "nadam, growing": gradtx.nadam(0.1, momentum_decay=1.0),
    "nadam, growing, eps 0": gradtx.nadam(0.1, eps=0.0, momentum_decay=0.0),
    "acprop": gradtx.acprop(0.1),
    "acprop, eps 0": gradtx.acprop(0.1, eps=0.0, eps_root=0.0),
    "qhadam": gradtx.qhadam(0.1),
    "qhadam, eps 0": gradtx.qhadam(0.1, nu1=0.0, nu2=0.5, eps=0.0),
    "adamod": gradtx.adamod(0.1),
    "adamod, eps 0": gradtx.adamod(0.1, b3=0.9, eps=0.0),
    "diffgrad": gradtx.diffgrad(0.1),
    "diffgrad, eps 0": gradtx.diffgrad(0.1, eps=0.0),
    "stable_adamw": gradtx.stable_adamw(0.1, weight_decay=0.0),
    "stable_adamw, eps 0": gradtx.stable_adamw(0.1, eps=0.0, weight_decay=0.0),
    "adamax": gradtx.adamax(0.1),
    "sm3": gradtx.sm3(0.1),
    "madgrad": gradtx.madgrad(0.1),
    "adamp, eps 0": gradtx.adamp(0.1, eps=0.0),
    "ademamix": gradtx.ademamix(0.1),
    "ademamix, eps 0": gradtx.ademamix(0.1, eps=0.0, b3=0.9),
    "simplified_ademamix": gradtx.simplified_ademamix(0.1, b1=0.9, alpha=1.0),
    "simplified_ademamix, eps 0": gradtx.simplified_ademamix(0.1, b1=0.9, eps=0.0),
    "amsgrad": gradtx.amsgrad(0.1, eps=0.0),
    "amsgrad, after": gradtx.amsgrad(0.1, bias_correction="after_max"),
    "amsgrad, none": gradtx.amsgrad(0.1, bias_correction="none"),
    "adabelief": gradtx.adabelief(0.1),
    "adabelief, eps 0": gradtx.adabelief(0.1, eps=0.0, eps_root=0.0),
    "adabelief, rectified, eps 0": gradtx.adabelief(0.1, b2=0.9, eps=0.0, eps_root=0.0, rectify=True),
    "yogi": gradtx.yogi(0.1, initial_accumulator_value=0.0),
    "yogi, eps 0": gradtx.yogi(0.1, eps=0.0, initial_accumulator_value=0.0),
    "radam": gradtx.radam(0.1),
    "radam, eps 0": gradtx.radam(0.1, eps=0.0, b2=0.9, threshold=4.0, below_threshold="none"),
    "schedule_free_adamw": gradtx.schedule_free_adamw(0.1),
    "schedule_free_radam, eps 0": gradtx.schedule_free_radam(0.1, b2=0.9, eps=0.0),
    "mars, eps 0": gradtx.mars(0.1, eps=0.0, max_norm=None),
    "grams": gradtx.grams(gradtx.adam(0.1)),
    "grokfast": gradtx.chain(gradtx.grokfast(), gradtx.adam(0.1)),
    "adagrad": gradtx.adagrad(0.1),
    "adagrad, eps 0": gradtx.adagrad(0.1, initial_accumulator_value=0.0, eps=0.0),
    "adagrad, eps outside": gradtx.adagrad(0.1, initial_accumulator_value=0.0, eps_in_sqrt=False),
    "rmsprop": gradtx.rmsprop(0.1, momentum=0.9),
    "rmsprop, eps 0": gradtx.rmsprop(0.1, eps=0.0, bias_correction=True),
    "rmsprop, centered": gradtx.rmsprop(0.1, centered=True, bias_correction=True),
    "rmsprop, centered, eps 0": gradtx.rmsprop(0.1, centered=True, eps=0.0, eps_in_sqrt=False),
    "adadelta": gradtx.adadelta(),
    "adadelta, eps 0": gradtx.adadelta(eps=0.0),
    "dog": gradtx.dog(),
    "dog, eps 0": gradtx.dog(init_step=("learning_rate", 0.1), eps=0.0),
    "dowg": gradtx.dowg(),
    "dowg, eps 0": gradtx.dowg(init_estim_sq_dist=0.01, eps=0.0),
    "cocob": gradtx.cocob(),
    "cocob, eps 0": gradtx.cocob(eps=0.0),
    "ranger": gradtx.ranger(0.1),
    "lookahead, pulled back": gradtx.lookahead(gradtx.adam(0.1, eps=0.0), momentum="pullback"),
}
every = pytest.mark.parametrize("name", OPTIMIZERS)

SCALE_FREE = ("dog, eps 0", "dowg, eps 0", "cocob, eps 0")
"""Those whose steps are as long if all gradients are a billion times shorter."""

WHOLE = ("dog", "dog, eps 0", "dowg", "dowg, eps 0", "stable_adamw", "stable_adamw, eps 0")
"""Those with one step size, or one factor of it, for all elements of a leaf or of all leaves."""

PARAMS = {"kernel": np.array([[1.0, -2.0], [0.0, 3.0]], np.float32), "bias": np.array([0.5, 0.0], np.float32)}


def constant(value, steps):
    return jax.tree.map(lambda p: np.full((steps, *p.shape), value, p.dtype), PARAMS)


# --- zero -------------------------------------------------------------------------------------------------------------


@every
def test_zero_gradients_move_nothing_for_a_thousand_steps(name):
    with jax.debug_nans(True):
        updates, params, state = run(OPTIMIZERS[name], PARAMS, constant(0.0, 1000))
    assert not any(u.any() for u in updates.values())
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_the_first_moment_that_yogi_begins_with_is_a_drift_that_ends():
    """With m = v = 1e-6 to begin with, as in Optax, Yogi moves without a gradient, by 1% of a step in all."""
    _, params, _ = run(gradtx.yogi(0.1), PARAMS, constant(0.0, 1000))
    drift = PARAMS["bias"] - params["bias"]
    np.testing.assert_allclose(drift, drift[0], rtol=1e-3)
    assert 0 < drift[0] < 0.001
    _, later, _ = run(gradtx.yogi(0.1), PARAMS, constant(0.0, 2000))
    np.testing.assert_array_equal(later["bias"], params["bias"])


@every
def test_a_gradient_after_a_thousand_zeros_makes_a_step_of_ordinary_size(name):
    grads = jax.tree.map(lambda g: g.copy(), constant(0.0, 1001))
    grads["bias"][-1] = 1.0
    updates = run(OPTIMIZERS[name], PARAMS, grads)[0]["bias"]
    assert not updates[:-1].any()
    assert np.all((np.abs(updates[-1]) < 10) & (updates[-1] <= 0))


# --- tiny and huge ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in SCALE_FREE])
def test_gradients_whose_squares_vanish_make_small_steps(name):
    """1e-30 squared is 0 in float32. Divided by eps gradients stay small; with eps = 0 they are taken as they are."""
    updates = run(OPTIMIZERS[name], PARAMS, constant(1e-30, 20))[0]
    for u in updates.values():
        assert np.all(np.isfinite(u))
        assert np.max(np.abs(u)) < 1e-10


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if not (name.startswith("sgd") or name in WHOLE)])
def test_gradients_whose_squares_overflow_stop_their_element_and_no_other(name):
    """1e30 squared is infinity in float32: the root is infinite, the step 0, and so are all later ones."""
    grads = jax.tree.map(lambda g: g.copy(), constant(0.01, 30))
    grads["bias"][10:20, 0] = 1e30
    updates, params, _ = run(OPTIMIZERS[name], PARAMS, grads)
    alone = run(OPTIMIZERS[name], PARAMS, constant(0.01, 30))[0]
    np.testing.assert_array_equal(updates["kernel"], alone["kernel"])
    np.testing.assert_array_equal(updates["bias"][:, 1], alone["bias"][:, 1])
    assert np.all(np.isfinite(updates["bias"]))
    assert np.all(np.isfinite(params["bias"]))
    tail = updates["bias"][20:, 0]
    if name.startswith(("ranger", "lookahead")):
        assert np.all(np.abs(tail) < 1)
    else:
        assert np.all(np.abs(tail) <= np.abs(updates["bias"][9, 0]) * 0.9 ** np.arange(10))


# --- derivatives ------------------------------------------------------------------------------------------------------

CURVATURE = jnp.array([1.0, 3.0, 0.5])


@functools.partial(jax.jit, static_argnames="frozen")
def descend(tx, params, frozen=False):
    """The loss after eight steps on a parabola, with the gradients of where the steps lead or of where they began.

    The gradient of a zero parameter is zero.
    """

    def step(carry, _):
        p, state = carry
        grads = CURVATURE.astype(p.dtype) * (params if frozen else p)
        updates, state = tx.update(grads, state, p)
        return (gradtx.apply_updates(p, updates), state), None

    (p, _), _ = jax.lax.scan(step, (params, tx.init(params)), None, length=8)
    return jnp.sum(p**2) + jnp.sum(p)


derivative = jax.jit(jax.grad(descend, (0, 1)), static_argnames="frozen")


@every
def test_derivatives_in_every_number_and_the_params_are_finite(name):
    """At a gradient of zero a step changes by 1 / eps = 1e8 of it, so the gradients must not follow the steps here."""
    with jax.debug_nans(True):
        for params in (jnp.array([1.0, 0.0, -2.0]), jnp.zeros(3)):
            in_numbers, in_params = derivative(OPTIMIZERS[name], params, frozen=True)
            assert jax.tree.structure(in_numbers) == jax.tree.structure(OPTIMIZERS[name])
            assert all(np.isfinite(x) for x in jax.tree.leaves(in_numbers))
            assert np.all(np.isfinite(in_params))


GENERIC = {
    "sgd": gradtx.sgd(0.1, 0.8, nesterov=True),
    "adamw": gradtx.adamw(0.1, 0.8, 0.9, 1e-2, 1e-2, weight_decay=0.1, nesterov=True),
    "adan": gradtx.adan(0.1, 0.8, 0.7, 0.9, 1e-2, 1e-2, 0.1),
    "adopt": gradtx.adopt(0.1, 0.8, 0.9, 1e-2, use_clipping=False),
    "laprop": gradtx.laprop(0.1, 0.8, 0.9, 1e-2, weight_decay=0.1),
    "nadam": gradtx.nadam(0.1, 0.8, 0.9, 1e-2, 1e-2, momentum_decay=0.5),
    "acprop": gradtx.acprop(0.1, 0.8, 0.9, 1e-2, 1e-2, 0.1),
    "qhadam": gradtx.qhadam(0.1, 0.8, 0.9, 0.6, 0.7, 1e-2, weight_decay=0.1),
    "adamod": gradtx.adamod(0.1, 0.8, 0.9, 0.7, 1e-2, weight_decay=0.1),
    "diffgrad": gradtx.diffgrad(0.1, 0.8, 0.9, 1e-2, weight_decay=0.1),
    "stable_adamw": gradtx.stable_adamw(0.1, 0.8, 0.9, 1e-2, weight_decay=0.1),
    "qhm": gradtx.qhm(0.1, 0.8, 0.6),
    "sm3": gradtx.chain(gradtx.scale_by_sm3(0.8, 0.9, 1e-2), gradtx.scale_by_learning_rate(0.1)),
    "adamaxw": gradtx.adamaxw(0.1, 0.8, 0.9, 1e-2, 0.1),
    "adafactor": gradtx.adafactor(0.1, 2, 0.7, clipping_threshold=0.5, momentum=0.8, weight_decay_rate=0.1, eps=1e-3),
    "came": gradtx.came(0.01, 0.8, 0.9, 0.8, 1e-3, 1e-2, 0.5, weight_decay=0.1),
    "madgrad": gradtx.madgrad(0.1, 0.8, 0.1, 1e-2),
    "adam_mini": gradtx.adam_mini(0.1, {"*": ()}, 0.8, 0.9, 1e-2, 1e-2, weight_decay=0.1),
    "adabound": gradtx.adabound(0.1, 0.8, 0.9, 1e-2, 3.0, 0.1, weight_decay=0.1),
    "adamp": gradtx.adamp(0.1, 0.8, 0.9, 1e-2, weight_decay=0.1),
    "aggmo": gradtx.aggmo(0.1, (0.3, 0.8)),
    "asgd": gradtx.asgd(0.1, 0.1, 0.6, 2.5),
    "sgdw": gradtx.sgdw(0.1, 0.8, weight_decay=0.1, dampening=0.4),
    "ademamix": gradtx.ademamix(0.1, 0.8, 0.9, 0.95, 2.0, 1e-2, 1e-2, weight_decay=0.1),
    "simplified_ademamix": gradtx.simplified_ademamix(0.1, 0.8, 0.9, 2.0, 1e-2, 1e-2, 0.1),
    "amsgrad": gradtx.amsgrad(0.1, 0.8, 0.9, 1e-2, 1e-2, bias_correction="after_max"),
    "adabelief": gradtx.adabelief(0.1, 0.8, 0.9, 1e-2, 1e-2),
    "yogi": gradtx.yogi(0.1, 0.8, 0.9, 1e-2, 1e-2, 0.1),
    "radam": gradtx.radam(0.1, 0.8, 0.9, 1e-2, 1e-2),
    "adagrad": gradtx.adagrad(0.1, 0.1, 1e-2),
    "rmsprop": gradtx.rmsprop(0.1, 0.8, 1e-2, 0.1, centered=True, momentum=0.5, bias_correction=True),
    "adadelta": gradtx.adadelta(0.5, 0.8, 1e-2, 0.1),
    "lamb": gradtx.lamb(0.1, 0.8, 0.9, 1e-2, 1e-2, 0.1),
    "lars": gradtx.lars(0.1, 0.1, trust_coefficient=0.5, eps=0.1, momentum=0.8, denominator="sum_of_norms"),
    "fromage": gradtx.fromage(0.1, min_norm=1e-2),
    "novograd": gradtx.novograd(0.1, 0.8, 0.9, 1e-2, 1e-2, 0.1),
    "mars": gradtx.mars(0.1, 0.8, 0.9, 1e-2, 0.1, 0.5, 0.1),
    "grokfast": gradtx.chain(gradtx.grokfast(0.8, 2.0), gradtx.sgd(0.1)),
    "ranger": gradtx.ranger(0.1, 0.8, 0.9, 1e-2, 0.1, None, 2.5, 0.4),
    "schedule_free_adamw": gradtx.schedule_free_adamw(0.1, 2, 0.8, 0.9, 1e-2, 0.1, 1.5),
}
"""Optimizers with no number at the end of its range or where their steps jump."""


@pytest.mark.parametrize("name", GENERIC)
def test_derivatives_are_those_of_finite_differences(name):
    with x64():
        tx, params, h = GENERIC[name], jnp.array([1.0, 0.3, -2.0]), 1e-5
        in_numbers, in_params = derivative(tx, params)
        leaves, treedef = jax.tree.flatten(tx)
        for i, slope in enumerate(jax.tree.leaves(in_numbers)):
            above, below = (
                descend(treedef.unflatten([x + d * (i == j) for j, x in enumerate(leaves)]), params) for d in (h, -h)
            )
            assert float(slope) == pytest.approx(float(above - below) / (2 * h), rel=1e-5, abs=1e-7)
        for i, slope in enumerate(in_params):
            above, below = (descend(tx, params.at[i].add(d)) for d in (h, -h))
            assert float(slope) == pytest.approx(float(above - below) / (2 * h), rel=1e-5, abs=1e-7)
