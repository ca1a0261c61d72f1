"""SAM and ASAM: against the papers in NumPy, where nothing moves, in low precision, and inside and around others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import adam, adaptive_sharpness_aware, apply_updates, sgd, sharpness_aware
from gradtx.errors import ArgumentValueError, MissingExtraError
from tests.conftest import x64_mode

RNG = np.random.default_rng(0)
PARAMS = {"kernel": RNG.normal(size=(3, 2)), "bias": RNG.normal(size=2)}
BOTH = pytest.mark.parametrize("make", [sharpness_aware, adaptive_sharpness_aware])


def loss(p):
    """Not symmetric, not separable, positive and negative curvature."""
    y = jnp.tanh(jnp.array([0.5, -1.0, 2.0], p["bias"].dtype) @ p["kernel"]) + p["bias"]
    return jnp.sum(y**2) + jnp.sum(jnp.sin(y[0] * y[1])) + 0.1 * jnp.sum(p["kernel"] ** 3)


both = jax.value_and_grad(loss)
grad_fn = jax.grad(loss)


def single(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def step(tx, params, state, value_fn=loss):
    """One step, by value_fn alone."""
    updates, state = tx.update(jax.grad(value_fn)(params), state, params, value_fn=value_fn)
    return apply_updates(params, updates), state


def descend(tx, params, steps=4, value_fn=loss):
    state = tx.init(params)
    for _ in range(steps):
        params, state = step(tx, params, state, value_fn)
    return params, state


# --- the equations ----------------------------------------------------------------------------------------------------


def norm(tree):
    return np.sqrt(sum(np.sum(x**2) for x in tree.values()))


def reference(params, rho, rate, steps, scales):
    """T_w w = scales(w); plain descent along the gradient at w + rho T_w^2 g / |T_w g|."""
    p = dict(params)
    for _ in range(steps):
        g = {k: np.asarray(x) for k, x in grad_fn(p).items()}
        t = scales(p)
        length = norm({k: t[k] * g[k] for k in p})
        there = grad_fn({k: p[k] + rho * t[k] ** 2 * g[k] / length for k in p})
        p = {k: p[k] - rate * np.asarray(there[k]) for k in p}
    return p, length


CASES = {
    "sam": (sharpness_aware(sgd(0.05), 0.3), 0.3, lambda p: {k: np.ones_like(x) for k, x in p.items()}),
    "asam": (
        adaptive_sharpness_aware(sgd(0.05), 0.4, 0.05),
        0.4,
        lambda p: {k: np.abs(x) + 0.05 for k, x in p.items()},
    ),
    "asam of kernels": (
        adaptive_sharpness_aware(sgd(0.05), 0.4, mask="*kernel"),
        0.4,
        lambda p: {"kernel": np.abs(p["kernel"]) + 0.01, "bias": np.ones_like(p["bias"])},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name):
    tx, rho, scales = CASES[name]
    with x64_mode():
        expected, length = reference(PARAMS, rho, 0.05, 4, scales)
        got, state = descend(tx, jax.tree.map(jnp.asarray, PARAMS))
        for k in PARAMS:
            np.testing.assert_allclose(got[k], expected[k], rtol=1e-12)
        np.testing.assert_allclose(state.norm, length, rtol=1e-12)
    low, _ = descend(tx, single(PARAMS))
    for k in PARAMS:
        np.testing.assert_allclose(low[k], expected[k], rtol=3e-6)


def test_the_aliases():
    assert gradtx.sam(adam(1e-3)) == sharpness_aware(adam(1e-3), 0.05)
    assert gradtx.asam(adam(1e-3)) == adaptive_sharpness_aware(adam(1e-3), 0.5, 0.01)
    assert gradtx.parse("sam(adam(0.001))") == gradtx.sam(adam(1e-3))


def test_asam_follows_a_rescaled_weight():
    """With eta = 0, p and its copy in other units, q = c p, take steps that are one in those units."""
    c = 8.0
    tx = adaptive_sharpness_aware(sgd(1.0), 0.1, eta=0.0)
    p, value_fn = jnp.array([1.0, -2.0]), lambda p: jnp.sum(jnp.cos(p) + p[0] * p[1])
    scaled_fn = lambda q: value_fn(q / c)  # noqa: E731
    u, _ = tx.update(jax.grad(value_fn)(p), tx.init(p), p, value_fn=value_fn)
    v, _ = tx.update(jax.grad(scaled_fn)(c * p), tx.init(p), c * p, value_fn=scaled_fn)
    np.testing.assert_allclose(v, u / c, rtol=1e-5)


def test_a_complex_parameter_is_pushed_uphill():
    tx, w = sharpness_aware(sgd(1.0), 0.5), jnp.array([3 + 4j])
    value_fn = lambda z: jnp.sum(jnp.abs(z) ** 2) / 2  # noqa: E731
    u, state = tx.update(w, tx.init(w), w, value_fn=value_fn)
    np.testing.assert_allclose(-u, w * 5.5 / 5, rtol=1e-6)
    assert float(state.norm) == 5.0


# --- where nothing moves ----------------------------------------------------------------------------------------------


def other_fn(p):
    """A grad_fn that does not return what the gradients are, as if it were rounded in another way."""
    return jax.tree.map(lambda g: g * (1 + 1e-6), grad_fn(p))


def train(tx, params):
    """The parameters, the state and the updates of ten steps, each operation compiled by itself."""
    state, history = tx.init(params), []
    for _ in range(10):
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=other_fn)
        params = apply_updates(params, updates)
        history.append(updates)
    return params, state, history


@functools.partial(jax.jit, static_argnums=0)
def train_compiled(tx, params):
    """The parameters and the state after ten steps of one program."""

    def body(carry, _):
        p, state = carry
        updates, state = tx.update(grad_fn(p), state, p, grad_fn=other_fn)
        return (apply_updates(p, updates), state), None

    return jax.lax.scan(body, (params, tx.init(params)), length=10)[0]


@BOTH
@pytest.mark.parametrize("rho", [0.0, gradtx.constant_schedule(0.0)], ids=["number", "schedule"])
def test_rho_zero_is_the_inner_optimizer_bit_for_bit(make, rho):
    params = single(PARAMS)
    got, state, updates = train(make(adam(0.1), rho), params)
    expected, inner_state, inner_updates = train(adam(0.1), params)
    inner = state.inner.inner_state if isinstance(state, gradtx.ScheduledState) else state.inner_state
    jax.tree.map(np.testing.assert_array_equal, (got, inner, updates), (expected, inner_state, inner_updates))
    # In two programs, XLA may contract the products and sums of the same update in two ways: one bit a step.
    compiled, _ = train_compiled(make(adam(0.1), rho), params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-6), compiled, expected)
    other = train(make(adam(0.1), 1e-3), params)[0]
    assert any(np.any(x != y) for x, y in zip(jax.tree.leaves(other), jax.tree.leaves(expected), strict=True))


def test_at_rho_zero_the_point_is_the_parameters_themselves():
    """Without the incoming gradient's help: the function is called at w, signs of zeros apart."""
    seen = []
    tx, w = sharpness_aware(sgd(1.0), 0.0), jnp.array([1e30, -1e-30, 0.0, 1.0])
    tx.update(jnp.array([1e30, 1.0, -3.0, 0.1]), tx.init(w), w, grad_fn=lambda p: (seen.append(p), p)[1])
    np.testing.assert_array_equal(seen[0], w)


@BOTH
def test_the_derivative_in_rho_at_zero_is_that_of_the_gradient_there(make):
    p = {"w": jnp.array([1.0, 2.0])}
    curvature = jnp.array([1.0, 3.0])
    grad_of = lambda p: {"w": curvature * p["w"]}  # noqa: E731

    def moved(rho):
        tx = make(sgd(1.0), rho)
        return tx.update(grad_of(p), tx.init(p), p, grad_fn=grad_of)[0]["w"]

    exact = jax.jacobian(moved)(0.0)
    np.testing.assert_allclose(exact, (moved(0.25) - moved(0.0)) / 0.25, rtol=1e-5)
    assert np.all(np.abs(exact) > 0.05)


@BOTH
def test_a_zero_gradient_perturbs_nothing_and_has_a_finite_derivative(make):
    w = jnp.array([1.0, 0.0])

    @jax.jit
    def after(w, g, rho):
        tx = make(sgd(1.0), rho)
        return apply_updates(w, tx.update(g, tx.init(w), w, grad_fn=lambda p: p - w + g)[0])

    with jax.debug_nans(True):
        np.testing.assert_array_equal(after(w, jnp.zeros(2), 0.5), w)
        for x in jax.jacobian(after, (0, 1, 2))(w, jnp.zeros(2), 0.5):
            assert np.all(np.isfinite(x))
            assert np.max(np.abs(x)) < 10


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("size", [2, 5000])
def test_a_gradient_that_is_not_finite_goes_through_as_it_came(make, bad, size):
    seen = []
    tx, params = make(gradtx.apply_if_finite(sgd(1.0))), {"a": jnp.ones(size), "b": jnp.ones(1)}
    grads = {"a": jnp.ones(size).at[1].set(bad), "b": jnp.ones(1)}
    updates, state = tx.update(grads, tx.init(params), params, grad_fn=lambda p: (seen.append(p), grads)[1])
    jax.tree.map(np.testing.assert_array_equal, seen[0], params)
    assert not any(np.any(u) for u in updates.values())
    assert int(gradtx.tree.get_field(state, "skipped")) == 1
    assert not np.isfinite(state.norm)


@pytest.mark.parametrize("size", [3e-38, 1e-30, 1e30, 1e38])
def test_neither_tiny_nor_huge_gradients_lose_their_direction(size):
    """The squares of these are 0 or infinite in float32."""
    seen = []
    tx, w = sharpness_aware(sgd(1.0), 5.0), {"a": jnp.zeros(1), "b": jnp.zeros(2)}
    grads = {"a": jnp.array([2 * size]), "b": jnp.array([1 * size, -2 * size])}
    with jax.debug_nans(True):
        _, state = tx.update(grads, tx.init(w), w, grad_fn=lambda p: (seen.append(p), p)[1])
    np.testing.assert_allclose(seen[0]["a"], [5 * 2 / 3], rtol=1e-5)
    np.testing.assert_allclose(seen[0]["b"], [5 / 3, -5 * 2 / 3], rtol=1e-5)
    np.testing.assert_allclose(float(state.norm), 3 * size, rtol=1e-5)


def test_a_norm_beyond_float32_is_reported_as_such_and_used_all_the_same():
    seen = []
    tx, w = sharpness_aware(sgd(1.0), 1.0), jnp.zeros(4)
    _, state = tx.update(jnp.full(4, 3e38), tx.init(w), w, grad_fn=lambda p: (seen.append(p), p)[1])
    np.testing.assert_allclose(seen[0], np.full(4, 0.5), rtol=1e-6)
    assert np.isinf(state.norm)


# --- trees and dtypes -------------------------------------------------------------------------------------------------


@BOTH
def test_bfloat16_parameters_are_perturbed_in_float32_and_rounded_once(make):
    w = jnp.array([1.0, -0.3, 0.01, 2.0], jnp.bfloat16)
    g = jnp.array([0.7, 1.3, -0.1, 0.01], jnp.bfloat16)
    seen = []
    tx = make(sgd(1.0), 0.37)
    updates, _ = tx.update(g, tx.init(w), w, grad_fn=lambda p: (seen.append(p), g)[1])
    w64, g64 = np.float64(w), np.float64(g)
    t = np.ones(4) if make is sharpness_aware else np.abs(w64) + 0.01
    exact = w64 + 0.37 * t**2 * g64 / np.linalg.norm(t * g64)
    assert seen[0].dtype == updates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float64(seen[0]), np.float64(jnp.asarray(exact, jnp.bfloat16)))


def test_the_gradient_keeps_the_dtype_of_the_updates():
    """Float32 gradients of bfloat16 parameters stay so, also inside a guard, whose branches must agree."""
    w = jnp.ones(2, jnp.bfloat16)
    tx = gradtx.apply_if_finite(sharpness_aware(sgd(0.1)))
    updates, _ = tx.update(jnp.ones(2, jnp.float32), tx.init(w), w, grad_fn=lambda p: p)
    assert updates.dtype == jnp.float32


@BOTH
def test_absent_empty_and_integer_leaves_are_passed_over(make):
    params = {"w": jnp.array([3.0, 4.0]), "frozen": jnp.ones(2), "no": None, "e": jnp.zeros((0, 3)), "i": jnp.arange(2)}
    value_fn = lambda p: jnp.sum(p["w"] ** 2) / 2 + jnp.sum(p["frozen"] * p["w"])  # noqa: E731
    grads = jax.grad(value_fn, allow_int=True)(params) | {"frozen": None}
    tx = make(sgd(1.0), 0.5)
    updates, state = tx.update(grads, tx.init(params), params, value_fn=value_fn)
    assert updates["frozen"] is None
    assert updates["no"] is None
    assert updates["i"].dtype == jax.dtypes.float0
    after = apply_updates(params, updates)
    assert after["e"].shape == (0, 3)
    if make is sharpness_aware:
        g = np.array([4.0, 5.0])
        np.testing.assert_allclose(state.norm, np.linalg.norm(g), rtol=1e-6)
        np.testing.assert_allclose(updates["w"], -(g + 0.5 * g / np.linalg.norm(g)), rtol=1e-6)


# --- with others ------------------------------------------------------------------------------------------------------


def test_the_inner_transformation_sees_the_parameters_and_extras_of_w():
    seen = {}

    def update(updates, state, params=None, **extra):
        seen.update(extra, updates=updates, params=params)
        return updates, state

    tx, params = sharpness_aware(gradtx.from_functions(lambda p: (), update), 1.0), jnp.array([3.0, 4.0])
    extra = {"value": 12.5, "grad": params, "value_fn": lambda p: p @ p / 2, "grad_fn": lambda p: p, "key": 7}
    tx.update(params, tx.init(params), params, **extra)
    np.testing.assert_allclose(seen.pop("updates"), params * 6 / 5)
    assert seen.pop("params") is params
    assert seen == extra


def test_decay_is_of_the_parameters_and_clipping_of_the_second_gradient():
    params, quadratic = jnp.array([3.0, 4.0]), lambda p: p @ p / 2
    clipped = sharpness_aware(gradtx.chain(gradtx.clip_by_global_norm(1.0), sgd(1.0)), 1.0)
    np.testing.assert_allclose(step(clipped, params, clipped.init(params), quadratic)[0], params * 0.8, rtol=1e-6)
    decayed = sharpness_aware(gradtx.chain(gradtx.add_decayed_weights(0.5), sgd(1.0)), 1.0)
    np.testing.assert_allclose(step(decayed, params, decayed.init(params), quadratic)[0], -params * 0.7, rtol=1e-6)


def test_as_a_member_of_a_chain():
    params = single(PARAMS)
    chained = gradtx.chain(sharpness_aware(gradtx.identity(), 0.3), adam(0.1))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6),
        descend(chained, params)[0],
        descend(sharpness_aware(adam(0.1), 0.3), params)[0],
    )


def test_a_partition_perturbs_its_part_and_holds_the_rest():
    params = {"a": jnp.array([3.0]), "b": jnp.array([5.0, 1.0])}
    value_fn = lambda p: jnp.sum(p["a"]) * jnp.sum(p["b"] ** 2)  # noqa: E731
    tx = gradtx.partition({"b": sharpness_aware(sgd(0.1), 0.5), "a": sgd(0.1)})
    updates, _ = jax.jit(lambda p, s: tx.update(jax.grad(value_fn)(p), s, p, value_fn=value_fn))(
        params, tx.init(params)
    )
    b = np.array([5.0, 1.0])
    np.testing.assert_allclose(updates["b"], -0.1 * 2 * 3 * (b + 0.5 * b / np.linalg.norm(b)), rtol=1e-6)
    np.testing.assert_allclose(updates["a"], [-2.6], rtol=1e-6)


@pytest.mark.parametrize(
    "around",
    [
        lambda tx: gradtx.lookahead(tx, 2),
        gradtx.apply_if_finite,
        lambda tx: gradtx.chain(tx, gradtx.scale(0.5)),
        lambda tx: gradtx.ema_params(tx, 0.9),
    ],
    ids=["lookahead", "apply_if_finite", "chain", "ema_params"],
)
def test_inside_others_under_scan_and_vmap(around):
    tx = around(sharpness_aware(adam(0.1), 0.3))

    def run(params):
        body = lambda carry, _: (step(tx, *carry), None)  # noqa: E731
        return jax.lax.scan(body, (params, tx.init(params)), length=4)[0][0]

    params = single(PARAMS)
    batch = jax.tree.map(lambda x: jnp.stack([x, -x]), params)
    together = jax.jit(jax.vmap(run))(batch)
    for i, p in enumerate((params, jax.tree.map(jnp.negative, params))):
        for k, expected in descend(tx, p)[0].items():
            np.testing.assert_allclose(together[k][i], expected, rtol=2e-5, atol=1e-6)


def test_a_step_is_one_count_and_one_more_gradient():
    calls = []

    def counted(p):
        calls.append(p)
        return grad_fn(p)

    tx, params = sharpness_aware(adam(lambda step: 0.1 / (1 + step)), 0.1), single(PARAMS)
    state = tx.init(params)
    for _ in range(3):
        _, state = tx.update(grad_fn(params), state, params, grad_fn=counted)
    assert len(calls) == 3
    assert int(gradtx.tree.get_all_fields(state, "count")[0][1]) == 3
    assert float(gradtx.get_hyperparams(state)["learning_rate"]) == pytest.approx(0.1 / 3)


def test_rho_may_be_a_schedule():
    quadratic = lambda p: p @ p / 2  # noqa: E731
    tx, p = sharpness_aware(sgd(0.1), gradtx.linear_schedule(0.0, 1.0, 2)), jnp.array([3.0, 4.0])
    state, factor = tx.init(p), 1.0
    for rho in (0.0, 0.5, 1.0):
        length = np.linalg.norm(p)
        p, state = step(tx, p, state, quadratic)
        factor *= 1 - 0.1 * (1 + rho / length)
        assert float(gradtx.get_hyperparams(state)["rho"]) == rho
    np.testing.assert_allclose(p, np.array([3.0, 4.0]) * factor, rtol=1e-6)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@BOTH
def test_a_missing_function_is_named(make):
    tx, p = make(sgd(0.1)), jnp.ones(2)
    with pytest.raises(MissingExtraError) as caught:
        tx.update(p, tx.init(p), p)
    assert str(caught.value) == (
        f"gradtx.{make.factory.name}: expected update(..., grad_fn=...), got neither it nor a function it can be made "
        "of; build_step passes it; by hand, pass grad_fn, a function of the params for this step's batch"
    )


@BOTH
def test_missing_params_are_named(make):
    tx, p = make(sgd(0.1)), jnp.ones(2)
    with pytest.raises(MissingExtraError) as caught:
        tx.update(p, tx.init(p), grad_fn=lambda p: p)
    assert str(caught.value) == (
        f"gradtx.{make.factory.name}: expected update(..., params=...), got no params; they are perturbed: "
        "tx.update(grads, state, params, grad_fn=...)"
    )


def test_arguments_are_checked():
    with pytest.raises(ArgumentValueError, match=r"gradtx.sharpness_aware: expected rho in \[0, inf\), got -0.1"):
        sharpness_aware(sgd(0.1), -0.1)
    with pytest.raises(ArgumentValueError, match="a glob that is the first to match"):
        adaptive_sharpness_aware(sgd(0.1), mask="*weight").init(PARAMS)
