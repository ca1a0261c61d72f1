"""Guards skip what would do harm, and a skipped update leaves no trace."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx

PARAMS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
GOOD = {"a": jnp.array([0.5, -1.0]), "b": jnp.array(2.0)}
BAD = {"a": jnp.array([0.5, jnp.nan]), "b": jnp.array(2.0)}
HUGE = {"a": jnp.array([0.5, jnp.inf]), "b": jnp.array(2.0)}


def run(tx, gradients, **extra):
    """Updates of each step, and the states, the first one included."""
    functions = {name: extra.pop(name) for name, x in list(extra.items()) if callable(x)}
    update, states, results = jax.jit(functools.partial(tx.update, **functions)), [tx.init(PARAMS)], []
    for g in gradients:
        updates, state = update(g, states[-1], PARAMS, **extra)
        results.append(updates)
        states.append(state)
    return results, states


@pytest.mark.parametrize("bad", [BAD, HUGE], ids=["nan", "inf"])
def test_a_bad_gradient_is_skipped_with_the_state_restored_exactly(bad):
    guarded, states = run(gradtx.apply_if_finite(gradtx.adam(0.1)), [GOOD, bad, GOOD])
    plain, plain_states = run(gradtx.adam(0.1), [GOOD, GOOD])
    chex.assert_trees_all_equal(states[2].inner_state, states[1].inner_state)
    chex.assert_trees_all_equal(guarded[1], jax.tree.map(jnp.zeros_like, PARAMS))
    chex.assert_trees_all_equal((guarded[2], states[3].inner_state), (plain[1], plain_states[2]))
    assert [int(s.skipped) for s in states] == [0, 0, 1, 1]
    assert [int(s.consecutive) for s in states] == [0, 0, 1, 0]
    assert [bool(s.last_finite) for s in states] == [True, True, False, True]


def test_an_infinity_that_would_become_an_ordinary_step_is_skipped():
    updates, states = run(gradtx.apply_if_finite(gradtx.clip(1.0)), [HUGE])
    chex.assert_trees_all_equal(updates[0], jax.tree.map(jnp.zeros_like, PARAMS))
    assert int(states[1].skipped) == 1


def test_a_result_that_is_not_finite_is_skipped_too():
    overflow = gradtx.chain(gradtx.trace(0.9), gradtx.scale(1e38), gradtx.scale(1e38))
    updates, states = run(gradtx.apply_if_finite(overflow), [GOOD])
    chex.assert_trees_all_equal(updates[0], jax.tree.map(jnp.zeros_like, PARAMS))
    chex.assert_trees_all_equal(states[1].inner_state, states[0].inner_state)
    assert int(states[1].skipped) == 1


@pytest.mark.parametrize(("past_limit", "skipped"), [("apply", [1, 2, 2, 2, 3]), ("skip", [1, 2, 3, 3, 4])])
def test_past_the_limit(past_limit, skipped):
    tx = gradtx.apply_if_finite(gradtx.sgd(0.1), max_consecutive_errors=2, past_limit=past_limit)
    updates, states = run(tx, [BAD, BAD, BAD, GOOD, BAD])
    applied = [bool(jnp.isnan(u["a"][1])) for u in updates]
    assert applied == [False, False, past_limit == "apply", False, False]
    assert [int(s.skipped) for s in states[1:]] == skipped
    assert [int(s.consecutive) for s in states[1:]] == [1, 2, 3, 0, 1]


def test_what_calls_a_function_is_computed_once():
    calls = []

    def value_fn(params):
        calls.append(params)
        return sum(jnp.sum(p**2) for p in jax.tree.leaves(params))

    def traces(tx):
        calls.clear()
        run(tx, [GOOD], value_fn=value_fn)
        return len(calls)

    assert traces(gradtx.apply_if_finite(gradtx.sam(gradtx.adam(0.1)))) == traces(gradtx.sam(gradtx.adam(0.1))) == 1
    assert traces(gradtx.apply_if_finite(gradtx.adam(0.1))) == 0


@pytest.mark.parametrize("bad", [False, True])
def test_what_calls_a_function_is_skipped_too(bad):
    def value_fn(params):
        return jnp.where(bad, jnp.nan, 1.0) * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))

    tx = gradtx.sam(gradtx.adam(0.1))
    guarded, states = run(gradtx.apply_if_finite(tx), [GOOD], value_fn=value_fn)
    plain, plain_states = run(tx, [GOOD], value_fn=value_fn)
    expected = (jax.tree.map(jnp.zeros_like, PARAMS), plain_states[0]) if bad else (plain[0], plain_states[1])
    chex.assert_trees_all_equal((guarded[0], states[1].inner_state), expected)
    assert int(states[1].skipped) == bad


def test_an_eager_update_is_computed_once():
    inner, calls = gradtx.sgd(0.1), []

    def update(*args, **extra):
        calls.append(args)
        return inner.update(*args, **extra)

    tx = gradtx.apply_if_finite(gradtx.from_functions(inner.init, update))
    updates, _ = tx.update(GOOD, tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_close(updates, jax.tree.map(lambda g: -0.1 * g, GOOD))
    assert len(calls) == 1


def test_a_result_of_another_structure_is_an_error_that_names_the_leaf():
    inner = gradtx.from_functions(
        lambda params: (), lambda updates, state, params=None, **_: ({"a": updates["a"]}, state)
    )
    tx = gradtx.apply_if_finite(inner)
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"the result, got an extra leaf at \['b'\]"):
        tx.update(GOOD, tx.init(PARAMS), PARAMS)


def test_limit_zero_skips_nothing():
    updates, _ = run(gradtx.apply_if_finite(gradtx.sgd(0.1), 0), [BAD])
    assert bool(jnp.isnan(updates[0]["a"][1]))


def test_skip_if_hands_updates_params_and_extras_to_the_predicate():
    seen = {}

    def predicate(updates, params, *, value, **extra):
        seen.update(updates=updates, params=params)
        return value > 1.0

    tx = gradtx.skip_if(gradtx.sgd(0.1, momentum=0.9), predicate)
    _, high = run(tx, [GOOD], value=2.0)
    updates, low = run(tx, [GOOD], value=0.5)
    assert jax.tree.structure(seen["updates"]) == jax.tree.structure(seen["params"]) == jax.tree.structure(PARAMS)
    chex.assert_trees_all_equal(high[1].inner_state, high[0].inner_state)
    assert (int(high[1].skipped), int(low[1].skipped)) == (1, 0)
    np.testing.assert_allclose(updates[0]["a"], -0.1 * GOOD["a"])


def test_skip_if_takes_a_number_for_a_boolean_and_nothing_larger():
    for number in (0, 1, 2):
        updates, states = run(gradtx.skip_if(gradtx.sgd(0.1), lambda *_, n=number: jnp.array(n)), [GOOD])
        assert (float(updates[0]["b"]) == 0, int(states[1].skipped)) == (number > 0, number > 0)
    tx = gradtx.skip_if(gradtx.sgd(0.1), lambda updates, params: updates["a"] > 0)
    with pytest.raises(gradtx.errors.ArgumentTypeError, match=r"predicate to return a single boolean, got bool\[2\]"):
        tx.update(GOOD, tx.init(PARAMS), PARAMS)


def test_skip_if_wants_a_function():
    form = "gradtx.skip_if: expected predicate to be a function of (updates, params), got "
    for wrong, got in ((3, "3"), (lambda updates: False, "one of (updates)")):
        with pytest.raises(gradtx.errors.ArgumentTypeError, match=re.escape(form + got)):
            gradtx.skip_if(gradtx.sgd(0.1), wrong)


def test_skip_large_updates_against_its_rule():
    rng = np.random.default_rng(0)
    scales = np.exp(rng.normal(0.0, 0.8, 40))
    scales[[7, 20]] *= 50
    factor, decay, warmup = 2.0, 0.9, 5
    tx = gradtx.skip_large_updates(gradtx.sgd(1.0), factor, decay, warmup)
    gradients = [{"a": jnp.array([0.6, 0.0]) * s, "b": jnp.array(0.8) * s} for s in scales]
    updates, states = run(tx, gradients)
    average, count, expected = 0.0, 0, []
    for norm in np.asarray(scales, np.float32).astype(np.float64):
        bound = factor * average / (1 - decay**count) if count >= warmup else np.inf
        expected.append(norm > bound)
        average, count = decay * average + (1 - decay) * min(norm, bound), count + 1
    assert [bool(u["b"] == 0) for u in updates] == expected
    assert 2 <= sum(expected) < 20
    assert int(states[-1].skipped) == sum(expected)
    assert int(states[-1].count) == count
    np.testing.assert_allclose(states[-1].average_norm, average, rtol=1e-5)


def test_skip_large_updates_follows_norms_that_have_risen_for_good():
    tx = gradtx.skip_large_updates(gradtx.sgd(1.0), factor=2.0, decay=0.9, warmup_steps=3)
    updates, _ = run(tx, [{"a": jnp.array([s])} for s in [1.0] * 10 + [1000.0] * 150])
    taken = [bool(u["a"] != 0) for u in updates]
    assert all(taken[:10])
    assert not any(taken[10:30])
    assert all(taken[-50:])


def test_skip_large_updates_after_norms_of_zero_takes_what_comes():
    tx = gradtx.skip_large_updates(gradtx.sgd(1.0), warmup_steps=3)
    updates, states = run(tx, [{"a": jnp.array([s])} for s in [0.0] * 5 + [1.0]])
    assert float(updates[-1]["a"][0]) == -1.0
    assert int(states[-1].skipped) == 0


def test_skip_large_updates_skips_what_is_not_finite_during_warm_up_too():
    updates, states = run(gradtx.skip_large_updates(gradtx.sgd(1.0)), [HUGE, BAD, GOOD])
    assert [float(u["b"]) for u in updates] == [0.0, 0.0, -2.0]
    assert (int(states[-1].skipped), int(states[-1].count)) == (2, 1)
    assert np.isfinite(states[-1].average_norm)


@pytest.mark.parametrize("passed", [None, PARAMS], ids=["without params", "with params"])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "guard",
    [
        gradtx.apply_if_finite,
        lambda inner: gradtx.skip_if(inner, lambda updates, params: jnp.isnan(updates["b"][0])),
        gradtx.skip_large_updates,
        lambda inner: gradtx.conditionally_mask(inner, lambda step: step > 0),
    ],
    ids=["apply_if_finite", "skip_if", "skip_large_updates", "conditionally_mask"],
)
def test_what_is_skipped_is_zero_in_the_shape_of_the_result(guard, compiled, passed):
    """Gradients of three examples come in, an update goes out."""
    tx = guard(gradtx.dpsgd(0.1, l2_norm_clip=1.0, noise_multiplier=1.0))
    update = functools.partial(tx.update, params=passed, key=jax.random.key(0))
    update = jax.jit(update) if compiled else update
    good = jax.tree.map(lambda p: jnp.stack([p, p, p]), PARAMS)
    bad = good | {"b": good["b"].at[0].set(jnp.nan)}
    updates, state = update(bad, tx.init(PARAMS))
    chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, PARAMS))
    chex.assert_trees_all_equal_shapes(update(good, state)[0], PARAMS)
    assert all(bool(jnp.any(u != 0)) for u in jax.tree.leaves(update(good, state)[0]))


# --- predicates of Optax's MultiSteps ---------------------------------------------------------------------------------


def steps_of(tx, gradients):
    state, results = tx.init(PARAMS), []
    for g in gradients:
        updates, state = tx.update(g, state, PARAMS)
        results.append(updates)
    return results


@pytest.mark.parametrize(
    "predicate",
    [
        gradtx.skip_not_finite,
        optax.skip_not_finite,
        functools.partial(optax.skip_large_updates, max_squared_norm=4.5),
        lambda updates, gradient_step, params: (updates["b"] * gradient_step > 1.5, ()),
    ],
    ids=["ours", "finite", "large", "of_the_step"],
)
def test_a_predicate_of_multi_steps_skips_what_it_does_there(predicate):
    gradients = [{"a": jnp.array([0.5, -0.5 * k]), "b": jnp.array(1.0 * (k % 3))} for k in range(12)]
    gradients[4] = BAD
    ours = steps_of(gradtx.skip_if(gradtx.accumulate(gradtx.sgd(0.1), 2), predicate), gradients)
    theirs = steps_of(optax.MultiSteps(optax.sgd(0.1), 2, should_skip_update_fn=predicate), gradients)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-6)
    assert any(np.any(u["a"]) for u in ours)


def test_what_is_not_finite_is_counted_as_by_optax():
    tree = {"a": jnp.array([jnp.nan, 1.0, -jnp.inf]), "b": jnp.array(1 + jnp.inf * 1j), "c": jnp.zeros((0, 2))}
    for given in (tree, GOOD):
        ours, theirs = gradtx.skip_not_finite(given, 0, None), optax.skip_not_finite(given, 0, None)
        chex.assert_trees_all_equal(ours, theirs)
    absent = {"a": None, "b": np.zeros(2, jax.dtypes.float0)}
    assert not gradtx.skip_not_finite(absent, 0, None)[0]


def test_a_predicate_of_multi_steps_gets_no_step_where_none_is_counted():
    seen = []
    tx = gradtx.skip_if(gradtx.sgd(0.1), lambda u, gradient_step, params: (seen.append(gradient_step) or False, ()))
    steps_of(tx, [GOOD])
    assert seen == [None]
