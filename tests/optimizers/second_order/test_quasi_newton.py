"""L-BFGS against SciPy's L-BFGS-B: the same minima, with as many evaluations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import sklearn.datasets

import gradtx
from gradtx import LinesearchStop, lbfgs

GTOL = 1e-6
"""Both stop at the first iterate at which no entry of the gradient is larger."""


def rosenbrock(p):
    return jnp.sum(100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2)


def logistic_regression():
    """The loss of scikit-learn's breast-cancer data, standardised, with an intercept and 1e-3 of l2."""
    x, y = sklearn.datasets.load_breast_cancer(return_X_y=True)
    x = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))]
    sign = 2.0 * y - 1

    def loss(w):
        return jnp.mean(jnp.logaddexp(0, -sign * (x @ w))) + 0.5e-3 * jnp.sum(w**2)

    return loss, np.zeros(31)


PROBLEMS = {f"rosenbrock {n}": lambda n=n: (rosenbrock, np.resize([-1.2, 1.0], n)) for n in (2, 10, 100)} | {
    "breast cancer": logistic_regression
}


def minimise(tx, loss, p, max_steps=2000):
    """The minimum, and how often the function was called: once at the start, and as often as the searches say."""
    value_and_grad = gradtx.value_and_grad_from_state(loss)

    @jax.jit
    def step(p, state):
        value, grad = value_and_grad(p, state=state)
        updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
        return gradtx.apply_updates(p, updates), state

    p, state = jnp.asarray(p), tx.init(p)
    for _ in range(max_steps):
        p, state = step(p, state)
        if jnp.max(jnp.abs(state[-1].grad)) <= GTOL:
            break
    return p, state, 1 + int(state[-1].total_evaluations)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_it_reaches_scipys_minimum_with_as_many_evaluations(problem, x64):
    del x64
    loss, start = PROBLEMS[problem]()
    function = jax.jit(jax.value_and_grad(loss))
    scipys = scipy.optimize.minimize(
        lambda p: tuple(np.asarray(x, float) for x in function(p)),
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxcor": 10, "ftol": 0, "gtol": GTOL, "maxiter": 2000, "maxfun": 4000},
    )
    assert np.max(np.abs(scipys.jac)) <= GTOL
    p, state, evaluations = minimise(lbfgs(), loss, start)
    search = state[-1]
    assert jnp.max(jnp.abs(search.grad)) <= GTOL
    assert float(search.value) == pytest.approx(scipys.fun, abs=1e-9)
    np.testing.assert_allclose(p, scipys.x, atol=1e-4)
    assert evaluations <= 1.3 * scipys.nfev
    assert int(search.reason) == LinesearchStop.CONDITIONS_HOLD
    assert int(state[0].skipped) == 0


def test_in_float32_it_goes_as_far_as_float32_does():
    p, _, _ = minimise(lbfgs(), rosenbrock, np.resize(np.float32([-1.2, 1.0]), 10), max_steps=150)
    np.testing.assert_allclose(p, 1, atol=1e-3)
    assert bool(jnp.isfinite(p).all())


def test_an_ill_scaled_start_is_no_obstacle():
    # Along the gradient, the minimum of the first step is 1e-8 times its length away.
    def loss(p):
        return 1e8 * jnp.sum((p - 3) ** 2)

    p, _, evaluations = minimise(lbfgs(), loss, jnp.zeros(3), max_steps=5)
    np.testing.assert_allclose(p, 3, rtol=1e-5)
    assert evaluations < 20


def test_the_default_search_can_be_read_and_replaced():
    search = gradtx.scale_by_zoom_linesearch(20, initial_guess_strategy="one")
    assert lbfgs().linesearch == search
    assert lbfgs() == lbfgs(linesearch=search)
    text = "scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy='one')"
    assert repr(gradtx.expand(lbfgs())) == f"chain(scale_by_lbfgs(), scale(step_size=-1.0), {text})"
    other = lbfgs(0.5, linesearch=gradtx.scale_by_backtracking_linesearch(9))
    assert (
        repr(other) == "lbfgs(learning_rate=0.5, linesearch=scale_by_backtracking_linesearch(max_backtracking_steps=9))"
    )
    assert gradtx.parse(repr(other)) == other


def test_arguments_go_where_they_belong():
    parts = gradtx.scale_by_lbfgs(3, scale_init_precond=False), gradtx.scale_by_learning_rate(0.5), gradtx.identity()
    assert gradtx.expand(lbfgs(0.5, 3, False, None)) == gradtx.chain(*parts)


def test_without_a_search_it_needs_no_function():
    tx, p = lbfgs(0.5, linesearch=None), jnp.array([4.0, 3.0])
    state = tx.init(p)
    for _ in range(40):
        updates, state = tx.update(jnp.array([1.0, 10.0]) * p, state, p)
        p = gradtx.apply_updates(p, updates)
    np.testing.assert_allclose(p, 0, atol=1e-3)


def test_the_failure_of_a_search_is_followed_by_a_step_along_the_gradient():
    # A direction of the memory that a strange batch spoils: the search fails, the memory is emptied, and it goes on.
    tx, p = lbfgs(), jnp.array([2.0, 1.0])
    state = tx.init(p)

    def update(loss, p, state):
        updates, state = tx.update(jax.grad(loss)(p), state, p, value_fn=loss)
        return gradtx.apply_updates(p, updates), state

    def loss(p):
        return jnp.sum(p**4)

    def spoilt(q):
        return loss(q) + jnp.where(jnp.all(q == p), 0, jnp.nan)

    p, state = update(loss, *update(loss, p, state))
    assert int(state[0].kept) == 1
    q, state = update(spoilt, p, state)
    np.testing.assert_array_equal(q, p)
    assert bool(state[-1].failed)
    q, state = update(loss, p, state)
    assert int(state[0].kept) == 0
    assert not bool(state[-1].failed)
    assert float(loss(q)) < float(loss(p))
