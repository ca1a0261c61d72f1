"""What both line searches share: counting, failures, use of the state, derivatives, and their place among others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import LinesearchStop, chain, lbfgs, scale_by_backtracking_linesearch, scale_by_zoom_linesearch
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError, UnknownNameError

SEARCHES = {
    "zoom": scale_by_zoom_linesearch(20),
    "backtracking": scale_by_backtracking_linesearch(20),
    "backtracking+grad": scale_by_backtracking_linesearch(20, store_grad=True),
}
every = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
P = jnp.array([1.0, 2.0])


def rosenbrock(p):
    return jnp.sum(100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2)


class Calls:
    """A function that counts its calls at run time, however it is compiled."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, p):
        jax.debug.callback(self.note)
        return self.function(p)

    def note(self):
        self.calls += 1

    def count(self):
        jax.effects_barrier()
        return self.calls


# --- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tx", [lbfgs(), chain(gradtx.sgd(1.0), SEARCHES["backtracking+grad"])], ids=["lbfgs", "sgd"])
def test_a_step_calls_the_function_as_often_as_its_search_says(tx):
    loss = Calls(rosenbrock)
    value_and_grad = gradtx.value_and_grad_from_state(loss)

    @jax.jit
    def step(p, state):
        value, grad = value_and_grad(p, state=state)
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
        return gradtx.apply_updates(p, updates), state

    p = jnp.array([-1.2, 1.0])
    state, said = tx.init(p), []
    for _ in range(25):
        p, state = step(p, state)
        said.append(int(state[-1].evaluations))
        # The first step also calls it for the value at the start; no later one does.
        assert loss.count() == 1 + sum(said) == 1 + int(state[-1].total_evaluations)
    assert min(said) < max(said)


@every
@pytest.mark.parametrize(("given", "more"), [(("value", "grad"), 0), (("grad",), 1), (("value",), 1), ((), 1)])
def test_what_is_missing_at_the_params_costs_one_call(search, given, more):
    loss = Calls(lambda p: jnp.sum(p**2))
    known = {"value": jnp.float32(5.0), "grad": 2 * P}
    update = jax.jit(lambda u, s, p: search.update(u, s, p, value_fn=loss, **{k: known[k] for k in given}))
    _, state = update(-2 * P, search.init(P), P)
    tried = 2 if search is SEARCHES["zoom"] else 4  # 1 and then the minimum; 1, 0.8, 0.64, 0.512 ... by 0.8
    assert loss.count() == int(state.evaluations) == int(state.total_evaluations)
    assert int(state.evaluations) - more in (tried, 2)


def test_the_compiled_step_has_one_place_that_calls_the_function():
    def loss(p):
        return jnp.sum(jax.scipy.special.erfinv(p / 10))

    search = SEARCHES["zoom"]
    known = {"value": loss(P), "grad": jax.grad(loss)(P)}
    program = jax.make_jaxpr(lambda u, s, p: search.update(u, s, p, value_fn=loss, **known))
    text = str(program(-P, search.init(P), P))
    assert text.count("erf_inv") == 1  # inside the loop; none at the start, and none for derivatives nobody asked for


def test_the_total_saturates():
    search = SEARCHES["zoom"]
    state = search.init(P)._replace(total_evaluations=jnp.int32(2**31 - 2))
    _, state = search.update(-2 * P, state, P, value_fn=lambda p: jnp.sum(p**2))
    assert int(state.total_evaluations) == 2**31 - 1


# --- failures ---------------------------------------------------------------------------------------------------------


def search_from(search, loss, p, direction=None):
    """One search along a direction, by default downhill: what the state says, and where it went."""

    @jax.jit
    def step(p):
        u = -jax.grad(loss)(p) if direction is None else direction
        updates, state = search.update(u, search.init(p), p, value_fn=loss)
        return gradtx.apply_updates(p, updates), state

    p, state = step(p)
    return p, LinesearchStop(int(state.reason)), state


def parabola(p):
    return jnp.sum(p**2)


FAILURES = {
    "uphill": (parabola, 2 * P, LinesearchStop.NOT_DESCENT),
    "direction with NaN": (parabola, jnp.array([-1.0, jnp.nan]), LinesearchStop.NOT_FINITE),
    "direction with inf": (parabola, jnp.array([-1.0, -jnp.inf]), LinesearchStop.NOT_FINITE),
    "value is NaN": (lambda p: jnp.sum(jnp.sqrt(p - 5)), -P, LinesearchStop.NOT_FINITE),
    "NaN everywhere else": (
        lambda p: jnp.where(jnp.all(p == P), parabola(p), jnp.nan),
        -P,
        LinesearchStop.MAX_STEPS,
    ),
    "infinite everywhere else": (
        lambda p: jnp.where(jnp.all(p == P), parabola(p), jnp.inf),
        -P,
        LinesearchStop.MAX_STEPS,
    ),
    "a gradient with the wrong sign": (lambda p: 2 * jax.lax.stop_gradient(parabola(p)) - parabola(p), P, None),
}


@every
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_leaves_the_params_and_says_why(search, name):
    loss, direction, reason = FAILURES[name]
    p, got, state = search_from(search, loss, P, direction)
    np.testing.assert_array_equal(p, P)
    assert bool(state.failed)
    assert float(state.learning_rate) == 0
    assert got in {reason, LinesearchStop.MAX_STEPS, LinesearchStop.SMALL_INTERVAL} if reason is None else got is reason
    assert int(state.evaluations) == 1 if got >= LinesearchStop.NOT_DESCENT else int(state.evaluations) > 1


@every
def test_a_gradient_of_zero_is_no_failure(search):
    p, reason, state = search_from(search, lambda p: jnp.sum(0 * p) + 3, P)
    np.testing.assert_array_equal(p, P)
    assert reason is LinesearchStop.STATIONARY
    assert not bool(state.failed)
    assert float(state.value) == 3


@every
def test_beyond_a_radius_of_nan_it_steps_back(search):
    p = P
    for _ in range(5):
        before = parabola(p)
        # NaN outside the ball of radius 3; the first trial of each search is far out.
        p, reason, state = search_from(search, lambda q: -100 * jnp.sqrt(9 - parabola(q)) + 0 * parabola(q), p)
        assert reason is LinesearchStop.CONDITIONS_HOLD
        assert int(state.evaluations) > 2
        assert parabola(p) < before


@pytest.mark.parametrize(
    "search",
    [scale_by_zoom_linesearch(2), scale_by_backtracking_linesearch(0), scale_by_backtracking_linesearch(3)],
    ids=repr,
)
def test_searches_of_few_points_get_on_over_several_steps(search):
    # Only rates below 2e-4 decrease it. A search that began anew at each step would fail at each step.
    def loss(p):
        return 1e4 * jnp.sum(p**2)

    tx = chain(gradtx.sgd(1.0), search)

    def step(carry, _):
        p, state = carry
        updates, state = tx.update(jax.grad(loss)(p), state, p, value_fn=loss)
        return (p + updates, state), None

    (p, _), _ = jax.lax.scan(step, (P, tx.init(P)), length=150)
    assert loss(p) < 1e-3 * loss(P)


def test_an_unbounded_function_runs_out_of_steps_at_a_finite_point():
    tx, p = lbfgs(), P
    state = tx.init(p)
    for _ in range(12):
        updates, state = jax.jit(lambda s, p: tx.update(jnp.ones(2), s, p, value_fn=jnp.sum))(state, p)
        p = gradtx.apply_updates(p, updates)
        assert bool(state[-1].failed)
        assert bool(jnp.isfinite(p).all())
        assert bool(jnp.isfinite(state[-1].value))
    assert LinesearchStop(int(state[-1].reason)) is LinesearchStop.MAX_STEPS


def test_a_bound_on_the_learning_rate_is_met_exactly():
    p, reason, state = search_from(scale_by_zoom_linesearch(20, max_learning_rate=10.0), jnp.sum, P)
    np.testing.assert_array_equal(p, P - 10)
    assert reason is LinesearchStop.MAX_LEARNING_RATE
    assert bool(state.failed)


def test_a_corner_ends_with_a_small_interval_at_the_best_point():
    # The slope is never small: 0.7 to the left of 1.03, 1.3 to its right.
    search = scale_by_zoom_linesearch(60, curv_rtol=0.5)
    p, reason, state = search_from(search, lambda p: 1.3 * jnp.abs(p - 1.03) + 0.3 * p, jnp.float32(3.7))
    assert reason is LinesearchStop.SMALL_INTERVAL
    assert bool(state.failed)
    assert abs(float(p) - 1.03) < 1e-3


def test_a_failed_search_takes_the_best_point_it_saw():
    # Too few steps for the zoom: of the points tried, 1 (value 4) and 2 (value 1), the second.
    search = scale_by_zoom_linesearch(2, curv_rtol=0.01)
    p, reason, state = search_from(search, lambda p: (p - 3) ** 2, jnp.float32(0.0), jnp.float32(1.0))
    assert reason is LinesearchStop.MAX_STEPS
    assert bool(state.failed)
    assert (float(p), float(state.value), float(state.learning_rate)) == (2.0, 1.0, 2.0)


# --- the state --------------------------------------------------------------------------------------------------------


def test_value_and_gradient_in_the_state_are_those_at_the_new_params():
    tx = lbfgs()
    p = {"a": P, "table": jnp.arange(2), "none": None}

    def loss(p):
        return jnp.sum(jnp.cos(p["a"]) * (1 + p["table"]))

    state = tx.init(p)
    for _ in range(3):
        value, grad = gradtx.value_and_grad_from_state(loss)(p, state=state)
        np.testing.assert_allclose(value, loss(p), rtol=1e-6)
        np.testing.assert_allclose(grad["a"], jax.grad(loss, allow_int=True)(p)["a"], rtol=1e-5, atol=1e-6)
        assert grad["table"].dtype == jax.dtypes.float0
        assert grad["none"] is None
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
        p = gradtx.apply_updates(p, updates)


def test_a_value_that_is_not_finite_is_computed_again():
    loss = Calls(parabola)
    state = lbfgs().init(P)
    stored = state[-1]._replace(value=jnp.float32(3), grad=jnp.array([1.0, jnp.inf]))
    value, grad = gradtx.value_and_grad_from_state(loss)(P, state=(stored,))
    assert (float(value), loss.count()) == (5, 1)
    np.testing.assert_array_equal(grad, 2 * P)
    value, _ = gradtx.value_and_grad_from_state(loss)(P, state=(stored._replace(grad=P),))
    assert (float(value), loss.count()) == (3, 1)


def test_further_arguments_reach_the_function():
    value, grad = gradtx.value_and_grad_from_state(lambda p, x, y: jnp.sum(x * p) + y)(P, 2, state=lbfgs().init(P), y=1)
    assert float(value) == 7
    np.testing.assert_array_equal(grad, [2, 2])


def test_what_comes_beside_the_value_is_computed_for_the_params():
    tx = lbfgs()

    def loss(p):
        return parabola(p), {"twice": 2 * p, "count": jnp.int32(3)}

    p, state = P, tx.init(P)
    for run in (lambda f: f, jax.jit, jax.jit):
        both = run(lambda p, state: gradtx.value_and_grad_from_state(loss, has_aux=True)(p, state=state))
        (value, aux), grad = both(p, state)
        np.testing.assert_allclose(value, parabola(p), rtol=1e-6)
        np.testing.assert_array_equal(aux["twice"], 2 * p)
        assert aux["count"].dtype == jnp.int32
        np.testing.assert_allclose(grad, 2 * p, rtol=1e-5, atol=1e-6)
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=parabola)
        p = gradtx.apply_updates(p, updates)


def test_of_what_comes_beside_the_value_only_the_forward_pass_is_computed():
    calls, slopes = [], []

    @jax.custom_jvp
    def loss(p):
        calls.append(1)
        return parabola(p)

    @loss.defjvp
    def slope(primals, tangents):
        slopes.append(1)
        return jax.jvp(parabola, primals, tangents)

    stored = lbfgs().init(P)[-1]._replace(value=jnp.float32(3), grad=P)
    (value, aux), grad = gradtx.value_and_grad_from_state(lambda p: (loss(p), p), has_aux=True)(P, state=(stored,))
    assert (float(value), len(calls), len(slopes)) == (3, 1, 0)
    np.testing.assert_array_equal(aux, P)
    np.testing.assert_array_equal(grad, P)


def test_a_pair_must_be_one():
    for loss, got in ((parabola, "one value"), (lambda p: (parabola(p), 1, 2), "a tuple of 3")):
        with pytest.raises(ArgumentTypeError, match=rf"value_and_grad_from_state: .* as has_aux is True, got {got}"):
            gradtx.value_and_grad_from_state(loss, has_aux=True)(P, state=lbfgs().init(P))


@every
def test_a_function_that_wants_the_batch_is_an_error(search):
    def loss(p, x, y):
        return parabola(p)

    grads = jax.grad(parabola)(P)
    with pytest.raises(
        ArgumentTypeError,
        match=r"expected value_fn to be a function of the params alone, got one that wants x, y too; "
        r"close over the batch: value_fn=lambda params: f\(params, x, y\)",
    ):
        search.update(grads, search.init(P), P, value=parabola(P), grad=grads, value_fn=loss, x=1, y=2)


def test_a_search_that_saw_a_part_is_no_help_for_the_whole():
    tx = gradtx.partition({"a": lbfgs(), "*": gradtx.sgd(0.1)})
    p = {"a": P, "b": P}

    def loss(p):
        return jnp.sum(p["a"] ** 2 * p["b"])

    state = tx.init(p)
    for _ in range(3):
        value, grad = gradtx.value_and_grad_from_state(loss)(p, state=state)
        np.testing.assert_allclose(value, loss(p), rtol=1e-6)
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
        p = gradtx.apply_updates(p, updates)


def test_states_that_have_nothing_to_give_are_errors():
    use = gradtx.value_and_grad_from_state(parabola)
    with pytest.raises(
        UnknownNameError,
        match=r"gradtx.value_and_grad_from_state: expected one LinesearchState in the state, got 0; use scale_by_zoom",
    ):
        use(P, state=gradtx.adam(0.1).init(P))
    with pytest.raises(
        ArgumentValueError,
        match=r"gradtx.value_and_grad_from_state: expected a line search that stores the gradient, got none; "
        r"use scale_by_backtracking_linesearch\(..., store_grad=True\)",
    ):
        use(P, state=SEARCHES["backtracking"].init(P))


@every
def test_missing_extras_are_errors(search):
    name = search.factory.name
    with pytest.raises(MissingExtraError, match=rf"gradtx.{name}: expected update\(..., params=...\)"):
        search.update(P, search.init(P))
    with pytest.raises(MissingExtraError, match=rf"gradtx.{name}: expected update\(..., value(_and_grad)?_fn=...\)"):
        search.update(P, search.init(P), P, value=jnp.float32(1), grad=P)


# --- derivatives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [SEARCHES["zoom"], SEARCHES["backtracking+grad"]], ids=["zoom", "backtracking"])
def test_derivatives_hold_the_learning_rate_constant(search, x64):
    del x64
    H = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    target = jnp.array([0.3, -0.2])
    p = jnp.array([1.0, 2.0])

    def step(p, target):
        def loss(p):
            d = p - target
            return 0.5 * d @ H @ d

        u = -jax.grad(loss)(p)
        updates, state = search.update(u, search.init(p), p, value_fn=loss)
        return p + updates, state.value, state.grad, state.learning_rate

    q, _, _, rate = step(p, target)
    assert 0 < float(rate) < 1
    D = np.eye(2) - float(rate) * np.asarray(H)  # the derivative of the new params
    g = np.asarray(H @ (q - target))
    for jacobian in (jax.jacfwd, jax.jacrev):
        new_params, value, grad, learning_rate = jax.jit(jacobian(step, argnums=(0, 1)))(p, target)
        for got, expected in [
            (new_params, (D, np.eye(2) - D)),
            (value, (D.T @ g, -D.T @ g)),
            (grad, (np.asarray(H) @ D, -np.asarray(H) @ D)),
            (learning_rate, (np.zeros(2), np.zeros(2))),
        ]:
            np.testing.assert_allclose(got, expected, atol=1e-12)


# --- among others -----------------------------------------------------------------------------------------------------


def train(tx, loss, p, steps):
    def body(carry, _):
        p, state = carry
        value, grad = jax.value_and_grad(loss)(p)
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
        return (gradtx.apply_updates(p, updates), state), None

    return jax.lax.scan(body, (p, tx.init(p)), length=steps)[0]


def two_parts(p):
    return rosenbrock(p["a"]) + jnp.sum((p["b"] - p["a"]) ** 2)


@pytest.mark.parametrize(
    "tx",
    [
        gradtx.partition({"a": lbfgs(), "b": gradtx.sgd(0.3)}),
        gradtx.partition({"a": lbfgs(), "b": lbfgs(linesearch=scale_by_backtracking_linesearch(40))}),
        gradtx.lookahead(lbfgs(), sync_period=5, slow_step_size=0.8),
        gradtx.apply_if_finite(lbfgs()),
        chain(gradtx.identity(), lbfgs(memory_size=3), gradtx.scale(1.0)),
        lbfgs(learning_rate=gradtx.cosine_decay_schedule(2.0, 100)),
    ],
    ids=["partition", "two searches", "lookahead", "apply_if_finite", "chain", "schedule"],
)
def test_it_works_inside_others(tx):
    p = {"a": jnp.array([-1.2, 1.0]), "b": jnp.array([3.0, 3.0])}
    p, _ = jax.jit(lambda p: train(tx, two_parts, p, 200))(p)
    assert float(two_parts(p)) < 1e-4


def test_mapped_searches_are_separate():
    starts = jnp.array([[-1.2, 1.0], [0.5, 0.5], [1.0, 1.0]])
    tx = lbfgs(memory_size=4)
    run = jax.jit(lambda p: train(tx, rosenbrock, p, 12))
    together, states = jax.vmap(run)(starts)
    for i, start in enumerate(starts):
        alone, state = run(start)
        np.testing.assert_allclose(together[i], alone, rtol=1e-3, atol=1e-4)
        assert int(states[-1].evaluations[i]) == int(state[-1].evaluations)
    assert int(states[-1].reason[2]) == LinesearchStop.STATIONARY  # it began at the minimum


def test_a_search_at_many_hyperparameters_compiles_once():
    search = scale_by_zoom_linesearch(20, curv_rtol=jnp.array([0.9, 1e-3]))
    p = jnp.float32(4.0)

    def rate(search):
        _, state = search.update(jnp.float32(-1.0), search.init(p), p, value_fn=jnp.cosh)
        return state.learning_rate, state.evaluations

    rates, evaluations = jax.vmap(rate, in_axes=(gradtx.sweep_axes(search),))(search)
    assert float(rates[0]) == 1
    assert float(rates[1]) == pytest.approx(4, abs=0.05)
    assert int(evaluations[1]) > int(evaluations[0])


def test_reasons_are_ordered_so_that_failures_come_last():
    assert [stop.name for stop in LinesearchStop if stop < LinesearchStop.MAX_LEARNING_RATE] == [
        "NOT_RUN",
        "CONDITIONS_HOLD",
        "STATIONARY",
    ]
