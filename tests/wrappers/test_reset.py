"""Parts of a state put back to where they began, mid-run."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError

PARAMS = {"a": jnp.array([1.0, -2.0]), "mu": jnp.array(0.5)}
RATE = gradtx.linear_schedule(0.1, 0.5, 4)
INNER = gradtx.adam(RATE)
STEPS = 7


def gradients(steps=STEPS):
    return [jax.tree.map(lambda p, s=s: jnp.cos(3 * p + s), PARAMS) for s in range(steps)]


def run(tx, grads, **extra):
    """The updates of each step, and the states, the first one included."""
    update, states, results = jax.jit(tx.update), [tx.init(PARAMS)], []
    for g in grads:
        updates, state = update(g, states[-1], PARAMS, **extra)
        results.append(updates)
        states.append(state)
    return results, states


def by_hand(reset, when, grads):
    """The inner optimizer alone, its state changed by `reset` before the steps at which `when` holds."""
    update, state, results, states = jax.jit(INNER.update), INNER.init(PARAMS), [], []
    for step, g in enumerate(grads):
        state = reset(state) if when(step) else state
        updates, state = update(g, state, PARAMS)
        results.append(updates)
        states.append(state)
    return results, states


def zero_mu(state):
    return state._replace(inner=(state.inner[0]._replace(mu=jax.tree.map(jnp.zeros_like, PARAMS)), state.inner[1]))


def zero_moments_and_count(state):
    adam = zero_mu(state).inner[0]._replace(nu=jax.tree.map(jnp.zeros_like, PARAMS), count=jnp.int32(0))
    return state._replace(inner=(adam, state.inner[1]))


def zero_counters(state):
    return state._replace(count=jnp.int32(0), inner=(state.inner[0]._replace(count=jnp.int32(0)), state.inner[1]))


def zero_one_leaf(state):
    adam = state.inner[0]
    return state._replace(inner=(adam._replace(nu={**adam.nu, "a": jnp.zeros(2)}), state.inner[1]))


PARTS = {
    "field": ("mu", zero_mu),
    "fields": (("mu", "inner/0/nu", "inner/0/count"), zero_moments_and_count),
    "member": ("inner/0", zero_moments_and_count),
    "leaf": ("inner/0/nu/a", zero_one_leaf),
    "counters": ("count", zero_counters),
    "everything": ("*", lambda s: INNER.init(PARAMS)),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("when", [3, lambda step: (step == 2) | (step == 5)], ids=["every", "function"])
def test_it_equals_a_reset_by_hand(name, when):
    where, reset = PARTS[name]
    grads = gradients()
    due = when if callable(when) else lambda step: step > 0 and step % when == 0
    updates, states = run(gradtx.with_state_reset(INNER, where, when), grads)
    expected, inner = by_hand(reset, due, grads)
    chex.assert_trees_all_close(updates, expected, rtol=1e-6, atol=1e-7)  # two programs round differently
    chex.assert_trees_all_close([s.inner_state for s in states[1:]], inner, rtol=1e-6, atol=1e-7)
    assert [int(s.step) for s in states] == list(range(STEPS + 1))
    assert [int(s.resets) for s in states] == [sum(map(due, range(n))) for n in range(STEPS + 1)]


def test_a_glob_takes_every_path_it_matches():
    """A leaf called mu lies below nu as well; the name of the field does not take it, the glob does."""
    _, (*_, state) = run(INNER, gradients(2))
    by_name, by_glob = (gradtx.reset_state(INNER, state, PARAMS, where) for where in ("mu", "*/mu"))
    assert [bool(by.inner[0].nu["mu"]) for by in (by_name, by_glob)] == [True, False]
    assert not any(x.any() for by in (by_name, by_glob) for x in jax.tree.leaves(by.inner[0].mu))


def test_what_init_makes_of_the_params_of_that_step():
    """Slow weights begin at the params, not at zero."""
    tx = gradtx.with_state_reset(gradtx.lookahead(gradtx.sgd(0.1)), "slow", lambda step: step == 1)
    moved = jax.tree.map(lambda p: p + 1, PARAMS)
    _, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    _, state = tx.update(PARAMS, state, moved)
    chex.assert_trees_all_equal(state.inner_state.slow, moved)


def test_a_reset_clears_a_nan():
    bad = jax.tree.map(lambda p: p * jnp.nan, PARAMS)
    tx = gradtx.with_state_reset(gradtx.adam(0.1), ("mu", "nu"), lambda step, value: value > 10)
    state = tx.init(PARAMS)
    _, state = tx.update(bad, state, PARAMS, value=1.0)
    updates, _ = tx.update(PARAMS, state, PARAMS, value=jnp.float32(11.0), key=jax.random.key(0))
    assert all(bool(jnp.all(jnp.isfinite(u))) for u in jax.tree.leaves(updates))


def test_a_schedule_says_when():
    at_2 = gradtx.join_schedules([gradtx.constant_schedule(x) for x in (0.0, 1.0, 0.0)], [2, 3])
    tx = gradtx.with_state_reset(gradtx.adam(0.1), "mu", at_2)
    assert [int(s.resets) for s in run(tx, gradients(4))[1]] == [0, 0, 0, 1, 1]
    assert gradtx.parse(repr(tx)) == tx


def test_by_hand_nothing_else_changes():
    tx = gradtx.chain(gradtx.clip_by_global_norm(1.0), INNER)
    _, (*_, state) = run(tx, gradients(3))
    fresh = tx.init(PARAMS)
    chex.assert_trees_all_equal(gradtx.reset_state(tx, state, PARAMS), fresh)
    part = gradtx.reset_state(tx, state, PARAMS, ("norm", "*/nu"))
    assert (float(part[0].norm), int(part[0].clipped)) == (0.0, int(state[0].clipped)) == (0.0, 3)
    assert not any(x.any() for x in jax.tree.leaves(part[1].inner[0].nu))
    chex.assert_trees_all_equal(part[1].inner[0].mu, state[1].inner[0].mu)
    chex.assert_trees_all_equal_shapes_and_dtypes(part, state)


def test_counters_saturate():
    last = np.iinfo(np.int32).max
    tx = gradtx.with_state_reset(gradtx.adam(0.1), "mu", lambda step: True)
    state = tx.init(PARAMS)._replace(step=jnp.int32(last), resets=jnp.int32(last))
    _, state = tx.update(PARAMS, state, PARAMS)
    assert (int(state.step), int(state.resets)) == (last, last)


# --- errors -----------------------------------------------------------------------------------------------------------


def refusal(kind, function, *args):
    with pytest.raises(kind) as error:
        function(*args)
    return str(error.value)


@pytest.mark.parametrize("where", ["momentum", "*/momentum", ("mu", "nv")])
def test_where_matches_something(where):
    tx = gradtx.with_state_reset(gradtx.adam(0.1), where, 3)
    culprit = where if isinstance(where, str) else where[1]
    assert refusal(ArgumentValueError, tx.init, PARAMS) == (
        "gradtx.with_state_reset: expected where to name a field, or to be a glob that matches a path, of '0/count', "
        f"'0/mu/a', '0/mu/mu', '0/nu/a', '0/nu/mu', got {culprit!r}; "
        "'*' matches '/' too, but '*/mu' does not match a field 'mu' at the top"
    )


def test_a_state_without_leaves_has_nothing_to_reset():
    tx = gradtx.with_state_reset(gradtx.sgd(0.1), "trace", 3)
    assert "of a state without leaves, got 'trace'" in refusal(ArgumentValueError, tx.init, PARAMS)


def test_arguments_are_checked():
    make = lambda where, when: gradtx.with_state_reset(gradtx.adam(0.1), where, when)  # noqa: E731
    wanted = "gradtx.with_state_reset: expected"
    for where in (3, (), ("mu", 3), None):
        text = f"{wanted} where to be the name of a field, a glob, or a tuple of such, got {where!r}"
        assert refusal(ArgumentTypeError, make, where, 3) == text
    for when in (1.5, True, None):
        text = f"{wanted} when to be a number of steps or a function of the step, got {when!r}"
        assert refusal(ArgumentTypeError, make, "mu", when) == text
    assert refusal(ArgumentValueError, make, "mu", 0) == f"{wanted} when to be at least 1, got 0"


def test_params_are_needed():
    tx = gradtx.with_state_reset(gradtx.adam(0.1), "mu", 3)
    assert refusal(MissingExtraError, tx.update, PARAMS, tx.init(PARAMS)) == (
        "gradtx.with_state_reset: expected update(..., params=...), got no params; "
        "a reset begins from them: tx.update(grads, state, params)"
    )
