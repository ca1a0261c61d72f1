"""Transformations that run at some steps only."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError

PARAMS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
FACTORIES = {"transform": gradtx.conditionally_transform, "mask": gradtx.conditionally_mask}
OTHERWISE = {"transform": lambda g: g, "mask": gradtx.tree.zeros_like}


def even(step):
    return step % 2 == 0


def gradients(steps):
    return [jax.tree.map(lambda p, s=s: jnp.sin(3 * p + s), PARAMS) for s in range(steps)]


def run(tx, grads, **extra):
    """The updates of each step, and the states, the first one included."""
    update, states, results = jax.jit(tx.update), [tx.init(PARAMS)], []
    for g in grads:
        updates, state = update(g, states[-1], PARAMS, **extra)
        results.append(updates)
        states.append(state)
    return results, states


@pytest.mark.parametrize("kind", FACTORIES)
def test_the_inner_one_sees_the_chosen_steps_alone(kind):
    grads = gradients(6)
    updates, states = run(FACTORIES[kind](gradtx.adam(0.1), even), grads)
    inner_updates, inner_states = run(gradtx.adam(0.1), grads[::2])
    for step in range(6):
        after = states[step + 1]
        assert int(after.step) == step + 1
        chex.assert_trees_all_equal(after.inner_state, inner_states[step // 2 + 1])
        expected = inner_updates[step // 2] if step % 2 == 0 else OTHERWISE[kind](grads[step])
        chex.assert_trees_all_equal(updates[step], expected)


@pytest.mark.parametrize("name", ["conditionally_transform", "conditionally_mask"])
def test_the_same_as_optaxs(name):
    grads = gradients(4)
    # With b2 = 0.999, Optax's bias correction is off by 1e-5.
    ours, _ = run(getattr(gradtx, name)(gradtx.adam(0.1, b2=0.9), even), grads)
    theirs, _ = run(getattr(optax, name)(optax.adam(0.1, b2=0.9), even), grads)
    chex.assert_trees_all_close(ours, theirs, rtol=2e-6)


def test_a_nan_at_a_step_that_is_off_leaves_no_trace():
    bad = jax.tree.map(lambda p: p * jnp.nan, PARAMS)
    updates, states = run(gradtx.conditionally_mask(gradtx.adam(0.1), even), [PARAMS, bad])
    chex.assert_trees_all_equal(updates[1], gradtx.tree.zeros_like(PARAMS))
    chex.assert_trees_all_equal(states[2].inner_state, states[1].inner_state)


def test_the_condition_gets_the_extras_it_names():
    tx = gradtx.conditionally_mask(gradtx.sgd(1.0), lambda step, value: value > step)
    updates, _ = run(tx, gradients(3), value=1.5, key=jax.random.key(0))
    assert [bool(u["b"]) for u in updates] == [True, True, False]
    everything = gradtx.conditionally_mask(gradtx.sgd(1.0), lambda step, **extra: "key" in extra)
    assert bool(run(everything, gradients(1), key=jax.random.key(0))[0][0]["b"])


def test_a_schedule_is_a_condition_with_a_text():
    from_step_2 = gradtx.join_schedules([gradtx.constant_schedule(0.0), gradtx.constant_schedule(1.0)], [2])
    tx = gradtx.conditionally_mask(gradtx.sgd(1.0), from_step_2)
    updates, _ = run(tx, gradients(4))
    assert [bool(u["b"]) for u in updates] == [False, False, True, True]
    assert gradtx.parse(repr(tx)) == tx


@pytest.mark.parametrize("kind", FACTORIES)
def test_the_inner_one_is_not_computed_at_steps_that_are_off(kind):
    ran = []

    def update(updates, state, params=None):
        jax.debug.callback(lambda g: ran.append(float(g)), updates["b"])
        return updates, state

    grads = gradients(4)
    run(FACTORIES[kind](gradtx.from_functions(lambda params: (), update), even), grads)
    jax.effects_barrier()
    assert ran == [float(grads[0]["b"]), float(grads[2]["b"])]


def test_the_count_saturates():
    tx = gradtx.conditionally_mask(gradtx.sgd(1.0), lambda step: True)
    last = np.iinfo(np.int32).max
    state = tx.init(PARAMS)._replace(step=jnp.int32(last))
    assert int(tx.update(PARAMS, state)[1].step) == last


@pytest.mark.parametrize("name", ["conditionally_transform", "conditionally_mask"])
def test_the_condition_is_a_function(name):
    with pytest.raises(ArgumentTypeError) as error:
        getattr(gradtx, name)(gradtx.sgd(0.1), 3)
    assert str(error.value) == f"gradtx.{name}: expected should_transform_fn to be a function of (step), got 3"


def test_the_condition_returns_one_boolean():
    tx = gradtx.conditionally_mask(gradtx.sgd(0.1), lambda step: jnp.ones(2, bool))
    with pytest.raises(ArgumentTypeError) as error:
        tx.update(PARAMS, tx.init(PARAMS))
    assert str(error.value) == (
        "gradtx.conditionally_mask: expected should_transform_fn to return a single boolean, got bool[2]"
    )
