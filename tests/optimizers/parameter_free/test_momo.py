"""MoMo and MoMo-Adam against their reference, and against Optax where it minimizes the model."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax import contrib

import gradtx
from gradtx.errors import MissingExtraError
from tests.optimizers.parameter_free.whole import problem, vector
from tests.references import Rule, power_complement, square
from tests.trajectories import DOUBLE, SINGLE, x64

GRADIENTS = (0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25)


@dataclasses.dataclass
class Momo(Rule):
    """Schaipp et al., algorithms 1 (adam False) and 2, with 3 for the bound; `value` is set before each step."""

    learning_rate: float
    lower_bound: float = 0.0
    weight_decay: float = 0.0
    adapt_lower_bound: bool = False
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    adam: bool = False
    value: float = 0.0
    mean_value: float = 0.0
    mean_product: float = 0.0
    bound: float | None = None

    def step(self, g, p):
        b = self.b1 if self.adam or self.t > 1 else 0.0
        weight = power_complement(self.b1, self.t) if self.adam else 1.0
        self.m = b * self.m + (1 - b) * g
        self.v = self.b2 * self.v + (1 - self.b2) * square(g)
        self.mean_value = b * self.mean_value + (1 - b) * self.value
        self.mean_product = b * self.mean_product + (1 - b) * np.sum(np.real(np.conj(g) * p))
        metric = np.sqrt(self.v / power_complement(self.b2, self.t)) + self.eps if self.adam else 1.0
        sq_norm = np.sum(square(self.m) / metric)
        rate, bound = self.learning_rate, self.lower_bound if self.bound is None else self.bound
        shrink = 1 + rate * self.weight_decay
        reach = shrink * (self.mean_value - self.mean_product) + np.sum(np.real(np.conj(self.m) * p))
        if self.adapt_lower_bound and reach < shrink * weight * bound:
            bound = max(reach / (2 * shrink * weight), self.lower_bound)
        tau = min(rate / weight, max(reach - shrink * weight * bound, 0) / sq_norm)
        if self.adapt_lower_bound:
            after = self.mean_value - self.mean_product + np.sum(np.real(np.conj(self.m) * p)) - tau * sq_norm / 2
            self.bound = max(after / weight, self.lower_bound)
        self.tau = tau
        return (p - tau * self.m / metric) / shrink - p


def values(steps):
    """Losses near the bound of 0 at times, so that the bound of the rate is not always in force."""
    return 0.5 * (1 + np.cos(1.7 * np.arange(steps))) + 1e-3 * np.arange(steps)


def follow(tx, precision, steps=25, real=False):
    """The updates of a transformation, one vector a step."""
    params, grads = problem(precision, steps, real=real)
    with x64(precision.x64):
        p, state, path = params, tx.init(params), []
        update = jax.jit(tx.update)
        for t, value in enumerate(values(steps)):
            updates, state = update({k: g[t] for k, g in grads.items()}, state, p, value=precision.real(value))
            p = gradtx.apply_updates(p, updates)
            path.append(vector(updates))
    return np.stack(path)


def expected_of(rule, steps=25):
    params, grads = problem(DOUBLE, steps)
    p, gs, path, taus = vector(params), vector(grads, 1), [], []
    for g, value in zip(gs, values(steps), strict=True):
        rule.value = value
        u = rule(g, p)
        p = p + u
        path.append(u)
        taus.append(rule.tau)
    return np.stack(path), taus


NUMBERS = [
    {"learning_rate": 0.02},
    {"learning_rate": 1.0, "lower_bound": -0.7},
    {"learning_rate": 0.5, "weight_decay": 0.3, "lower_bound": -0.2},
    {"learning_rate": 0.3, "adapt_lower_bound": True, "lower_bound": -5.0},
    {"learning_rate": 0.3, "adapt_lower_bound": True, "weight_decay": 0.1},
]


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_equals_the_reference(numbers, adam):
    tx = (gradtx.momo_adam if adam else gradtx.momo)(**numbers)
    expected, taus = expected_of(Momo(**numbers, adam=adam))
    for precision, tolerance in ((DOUBLE, 1e-10), (SINGLE, 2e-3)):
        error = np.abs(follow(tx, precision) - expected)
        assert np.all(error <= tolerance * (np.max(np.abs(expected), axis=1, keepdims=True) + 1e-2))
    assert len(set(np.round(taus, 9))) > 5, "the step size is not the bound of the rate alone"


OPTAXS = [numbers for numbers in NUMBERS if not numbers.get("weight_decay")]


@pytest.mark.parametrize("name", ["momo", "momo_adam"])
@pytest.mark.parametrize("numbers", OPTAXS, ids=str)
def test_equals_optax_without_decay(numbers, name):
    ours, theirs = (follow(getattr(lib, name)(**numbers), DOUBLE, real=True) for lib in (gradtx, contrib))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_step_with_decay_minimizes_the_model():
    r"""max(f + <g, x - p>, f*) + |x - p|^2 / 2 eta + lambda |x|^2 / 2: Optax's step leaves it higher."""
    p, g, rate, decay, value = np.array([2.0, -1.0]), np.array([1.0, 0.5]), 0.8, 0.5, 0.9

    def model(x):
        linear = np.maximum(value + np.sum(g * (x - p)), 0.0)
        return linear + np.sum((x - p) ** 2) / (2 * rate) + decay * np.sum(x**2) / 2

    with x64():
        reached = []
        for lib in (gradtx, contrib):
            tx = lib.momo(rate, weight_decay=decay)
            updates, _ = tx.update(jnp.array(g), tx.init(jnp.array(p)), jnp.array(p), value=value)
            reached.append(p + np.asarray(updates))
    ours, theirs = reached
    around = ours + 1e-3 * np.random.default_rng(0).normal(size=(200, 2))
    assert all(model(x) >= model(ours) for x in around)
    assert model(theirs) > model(ours) + 1e-3


def scalar_path(tx):
    with x64():
        p = jnp.ones((), jnp.float64)
        state, points = tx.init(p), []
        for t, g in enumerate(GRADIENTS):
            updates, state = tx.update(jnp.float64(g), state, p, value=2 / (t + 1))
            p = p + updates
            points.append(float(p))
    return np.array(points)[[0, 1, 2, 6]]


def test_the_golden_steps_of_one_number():
    np.testing.assert_allclose(scalar_path(gradtx.momo(0.5)), (0.75, 0.54, 0.341, -0.3074199), atol=6e-8)
    expected = (0.900000002, 0.880850199, 0.846107431, 0.741563002)
    np.testing.assert_allclose(scalar_path(gradtx.momo_adam(0.1)), expected, atol=6e-10)


@pytest.mark.parametrize("name", ["momo", "momo_adam"])
def test_without_momentum_the_loss_is_followed_to_its_bound(name):
    """Where the loss is a cone, the model is the loss."""
    p, g = jnp.array([3.0, 4.0]), jnp.array([0.6, 0.8])
    arguments = {"beta": 0.0} if name == "momo" else {"b1": 0.0, "b2": 0.0, "eps": 0.0}
    for bound in (0.0, -2.5, 2.0):
        tx = getattr(gradtx, name)(100.0, **arguments, lower_bound=bound)
        updates, state = tx.update(g, tx.init(p), p, value=jnp.linalg.norm(p))
        np.testing.assert_allclose(5 + np.sum(g * updates), bound, atol=2e-6)
        assert float(state[0].lower_bound) == bound


@pytest.mark.parametrize("name", ["momo", "momo_adam"])
def test_a_bound_is_found_if_none_is_known(name):
    """The least loss is 7."""
    tx = getattr(gradtx, name)(1.0, adapt_lower_bound=True)

    @jax.jit
    def step(p, state):
        value, grad = jax.value_and_grad(lambda p: jnp.sum(p**2) + 7)(p)
        updates, state = tx.update(grad, state, p, value=value)
        return p + updates, state

    p = jnp.array([3.0, -2.0])
    state = tx.init(p)
    for _ in range(200):
        p, state = step(p, state)
    np.testing.assert_allclose(p, 0, atol=0.01)
    np.testing.assert_allclose(state[0].lower_bound, 7, atol=0.01)


@pytest.mark.parametrize("name", ["momo", "momo_adam"])
def test_zero_gradients_and_what_is_not_finite_give_a_step_of_zero(name):
    tx, p = getattr(gradtx, name)(0.1), {"a": jnp.ones(2), "b": jnp.ones(3)}
    zero = jax.tree.map(jnp.zeros_like, p)
    with jax.debug_nans(True):
        updates, state = tx.update(zero, tx.init(p), p, value=1.0)
    assert not any(u.any() for u in jax.tree.leaves(updates))
    updates, _ = tx.update({"a": jnp.full(2, jnp.nan), "b": jnp.ones(3)}, state, p, value=1.0)
    np.testing.assert_array_equal(updates["b"], 0)


def test_short_gradients_are_followed():
    """Optax takes a norm below 1.5e-8 for zero."""
    p, g = jnp.array([1.0]), jnp.array([1e-9])
    for lib, expected in ((gradtx, -1e-9), (contrib, 0.0)):
        tx = lib.momo(1.0)
        updates, _ = tx.update(g, tx.init(p), p, value=1.0)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["momo", "momo_adam"])
def test_derivatives_are_finite_where_the_first_gradient_is_zero(name):
    tx, p = getattr(gradtx, name)(0.1), jnp.array([1.0, -2.0])

    def after(g, p):
        updates, state = tx.update(g, tx.init(p), p, value=jnp.sum(p**2))
        return tx.update(g + 0.1 * p, state, p + updates, value=1.0)[0]

    for jacobian in jax.jacobian(after, argnums=(0, 1))(jnp.zeros(2), p):
        assert bool(jnp.isfinite(jacobian).all())


@pytest.mark.parametrize("name", ["momo", "momo_adam"])
def test_the_value_may_come_from_a_function(name):
    tx, p = getattr(gradtx, name)(0.1), jnp.array([1.0, -2.0])
    direct, _ = tx.update(p, tx.init(p), p, value=jnp.float32(2.0))
    derived, _ = tx.update(p, tx.init(p), p, value_fn=lambda p: jnp.float32(2.0))
    np.testing.assert_array_equal(direct, derived)
    with pytest.raises(
        MissingExtraError, match=rf"gradtx.scale_by_{name}: expected update\(..., value=...\), got no value"
    ):
        tx.update(p, tx.init(p), p)


def test_absent_gradients_leave_their_averages() -> None:
    tx: Any = gradtx.momo(0.1)
    p = {"a": jnp.ones(2), "b": jnp.ones(3)}
    _, state = tx.update(p, tx.init(p), p, value=1.0)
    updates, after = tx.update({"a": jnp.ones(2), "b": None}, state, p, value=1.0)
    assert updates["b"] is None
    np.testing.assert_array_equal(after[0].mu["b"], state[0].mu["b"])
