"""Runge-Kutta steps: closed forms on linear systems, orders of accuracy, references, bad tableaux."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx import (
    apply_updates,
    chain,
    heun,
    lookahead,
    parse,
    partition,
    ralston,
    rk4,
    runge_kutta,
    scale_by_learning_rate,
    sgd,
)
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError
from tests.conftest import x64_mode

METHODS = {"heun": (heun, 2), "ralston": (ralston, 2), "rk4": (rk4, 4)}
every = pytest.mark.parametrize(("method", "order"), METHODS.values(), ids=METHODS)

QUADRATIC = np.array([[2.0, 0.3], [0.3, 1.0]])
STIFF = np.array([[1000.0, -999.0], [-999.0, 1000.0]])  # eigenvalues 1 and 1999


def integrate(method, eta, field, start, steps):
    """Follow a vector field; ``field(p)`` is the gradient."""
    tx = chain(method(eta), scale_by_learning_rate(eta))

    def step(carry, _):
        p, state = carry
        updates, state = tx.update(field(p), state, p, grad_fn=field)
        return (apply_updates(p, updates), state), None

    start = jax.tree.map(jnp.asarray, start)
    return jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=steps)[0][0])(start)


def amplification(matrix, eta, order):
    """The Taylor polynomial of the exponential of -eta A: what an explicit method of as many stages multiplies by."""
    term = total = np.eye(len(matrix))
    for i in range(1, order + 1):
        term = term @ (-eta * matrix) / i
        total = total + term
    return total


@every
@pytest.mark.parametrize(("matrix", "eta"), [(QUADRATIC, 0.3), (STIFF, 9e-4)], ids=["quadratic", "stiff"])
def test_a_linear_system_is_followed_by_the_closed_form(method, order, matrix, eta):
    start = np.array([1.0, -0.5])
    with x64_mode():
        got = integrate(method, eta, lambda p: jnp.asarray(matrix) @ p, start, 50)
    expected = np.linalg.matrix_power(amplification(matrix, eta, order), 50) @ start
    np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_heun_beyond_its_limit_of_stability_diverges_as_the_closed_form_does():
    eta = 1.1e-3  # the limit is 2 / 1999
    with x64_mode():
        got = integrate(heun, eta, lambda p: jnp.asarray(STIFF) @ p, np.array([1.0, -0.5]), 50)
    expected = np.linalg.matrix_power(amplification(STIFF, eta, 2), 50) @ [1.0, -0.5]
    np.testing.assert_allclose(got, expected, rtol=1e-11)
    assert np.linalg.norm(expected) > 100


@every
def test_halving_the_step_divides_the_error_by_two_to_the_order(method, order):
    def field(p):  # p' = -p^2, p(0) = 1: p(t) = 1 / (1 + t)
        return p**2

    with x64_mode():
        errors = [abs(float(integrate(method, 1 / n, field, 1.0, n)) - 0.5) for n in (20, 40, 80)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.05)


def test_a_bilinear_game_from_one_one():
    def field(p):  # x descends on x y, y ascends
        return {"x": p["y"], "y": -p["x"]}

    with x64_mode():
        got = integrate(heun, 0.1, field, {"x": 1.0, "y": 1.0}, 3)
        plain = integrate(lambda _: chain(), 0.1, field, {"x": 1.0, "y": 1.0}, 3)
    np.testing.assert_allclose((got["x"], got["y"]), (0.659217375, 1.251232375), rtol=1e-12)
    np.testing.assert_allclose((plain["x"], plain["y"]), (0.671, 1.269), rtol=1e-12)


def reference(eta, a, b, field, p):
    stages = [field(p)]
    for row in a:
        stages.append(field(p - eta * sum(w * k for w, k in zip(row, stages, strict=True))))
    return sum(w * k for w, k in zip(b, stages, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_random_tableau_on_a_nonlinear_field(seed):
    rng = np.random.default_rng(seed)
    stages = rng.integers(1, 5)
    a = tuple(tuple(rng.normal(size=i).tolist()) for i in range(1, stages))
    b = rng.uniform(0.1, 1.0, stages)
    b = tuple((b / b.sum()).tolist())
    p = rng.normal(size=(3, 2))
    with x64_mode():
        tx = runge_kutta(0.2, a, b)
        params = {"w": jnp.asarray(p), "none": None}

        def grad_fn(q):
            return {"w": jnp.sin(3 * q["w"]), "none": None}

        updates, _ = tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)
    np.testing.assert_allclose(updates["w"], reference(0.2, a, b, lambda q: np.sin(3 * q), p), rtol=1e-12)
    assert parse(repr(tx)) == tx


def test_a_schedule_of_the_step_size_is_followed():
    tx = chain(heun(lambda step: 0.1 * (step + 1)), scale_by_learning_rate(lambda step: 0.1 * (step + 1)))
    p, state = jnp.float32(1.0), None
    state = tx.init(p)
    for eta in (0.1, 0.2):
        before = p
        updates, state = tx.update(p, state, p, grad_fn=lambda q: q)
        p = apply_updates(p, updates)
        assert float(p) == pytest.approx(float(before) * (1 - eta + eta**2 / 2), rel=1e-6)


def test_in_a_partition_the_other_leaves_are_held():
    params = {"a": jnp.float32(3.0), "b": jnp.float32(5.0)}

    def loss(p):
        return p["a"] * p["b"] ** 2

    tx = partition({"b": heun(0.1), "*": sgd(0.1)})
    grads = jax.grad(loss)(params)
    updates, _ = tx.update(grads, tx.init(params), params, value_fn=loss)
    there = 5.0 - 0.1 * 30.0
    assert float(updates["b"]) == pytest.approx((2 * 3 * 5.0 + 2 * 3 * there) / 2)
    assert float(updates["a"]) == pytest.approx(-0.1 * 25.0)


def test_inside_lookahead():
    tx = lookahead(chain(heun(0.1), scale_by_learning_rate(0.1)), sync_period=1, slow_step_size=0.5)
    p = jnp.float32(1.0)
    updates, _ = tx.update(p, tx.init(p), p, grad_fn=lambda q: q)
    assert float(p + updates) == pytest.approx(1 + 0.5 * (0.905 - 1), rel=1e-6)


def test_bfloat16_stages_are_summed_in_float32():
    p = jnp.ones(2, jnp.bfloat16)
    updates, _ = heun(0.5).update(p, heun(0.5).init(p), p, grad_fn=lambda q: q)
    assert updates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(updates.astype(jnp.float32), 0.75)


def test_integer_leaves_stay():
    params = {"w": jnp.ones(2), "table": jnp.arange(2)}

    def loss(p):
        return jnp.sum(p["w"] ** 2)

    grads = jax.grad(loss, allow_int=True)(params)
    updates, _ = heun(0.1).update(grads, heun(0.1).init(params), params, value_fn=loss)
    np.testing.assert_array_equal(apply_updates(params, updates)["table"], [0, 1])


BAD = {
    "weights": (((1.0,),), (0.5, 0.4), "weights b that sum to 1, got 0.9; else it is not consistent"),
    "stages": (((1.0,),), (1.0,), "one weight in b for each stage, got 1 for 1 rows of a; the first stage has no row"),
    "implicit": (
        ((1.0, 0.5),),
        (0.5, 0.5),
        "row 1 of a to have one number for each stage before it (1), got (1.0, 0.5); the method must be explicit",
    ),
    "flat": (
        (1.0,),
        (0.5, 0.5),
        "row 1 of a to have one number for each stage before it (1), got 1.0; the method must be explicit",
    ),
    "nan": (((float("nan"),),), (0.5, 0.5), "a[0][0] in (-inf, inf), got nan"),
    "text": (((1.0,),), (0.5, "x"), "b[1] to be a number in (-inf, inf) or an array of such numbers, got 'x' (str)"),
}


@pytest.mark.parametrize(("a", "b", "message"), BAD.values(), ids=BAD)
def test_bad_tableaux(a, b, message):
    with pytest.raises((ArgumentValueError, ArgumentTypeError)) as caught:
        runge_kutta(0.1, a, b)
    assert str(caught.value) == f"gradtx.runge_kutta: expected {message}"


def test_the_weights_have_derivatives():
    def moved(tx):
        return tx.update(jnp.float32(1.0), tx.init(1.0), jnp.float32(1.0), grad_fn=lambda q: q)[0]

    derivative = jax.jit(jax.grad(moved))(heun(0.1))
    assert float(derivative.step_size) == pytest.approx(-0.5)
    by_weight = jax.grad(moved)(runge_kutta(0.1, ((1.0,),), (0.5, 0.5)))
    np.testing.assert_allclose(by_weight.b, (1.0, 0.9), rtol=1e-6)
    np.testing.assert_allclose(by_weight.a, ((-0.05,),), rtol=1e-6)


def test_without_a_function_the_error_says_what_to_pass():
    p = jnp.ones(2)
    with pytest.raises(MissingExtraError, match=r"gradtx.heun: .*grad_fn.*build_step passes it"):
        heun(0.1).update(p, heun(0.1).init(p), p)
    with pytest.raises(MissingExtraError, match=r"gradtx.heun: expected update\(..., params=...\)"):
        heun(0.1).update(p, heun(0.1).init(p), grad_fn=lambda q: q)
