"""Transformations whose numbers follow schedules: the step they see, the values in force, the fixed state."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import tree
from gradtx.typing import Decay, EmptyState, NonNegative, Numeric

PARAMS = {"w": jnp.array([1.0, 2.0])}
ONES = {"w": jnp.ones(2)}


def run(tx, steps, jit=False):
    update = jax.jit(tx.update) if jit else tx.update
    state = tx.init(PARAMS)
    taken = []
    for _ in range(steps):
        updates, state = update(ONES, state, PARAMS)
        taken.append(float(updates["w"][0]))
    return taken, state


@pytest.mark.parametrize("jit", [False, True])
def test_the_first_update_sees_step_zero(jit):
    taken, state = run(gradtx.scale(gradtx.linear_schedule(1.0, 0.0, 4)), 6, jit)
    assert taken == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert state.count == 6
    assert state.hyperparams["step_size"] == 0.0


def test_the_state_holds_the_values_in_force():
    tx = gradtx.scale(gradtx.linear_schedule(1.0, 0.0, 4))
    state = tx.init(PARAMS)
    assert isinstance(state, gradtx.ScheduledState)
    assert (state.count.item(), state.hyperparams["step_size"].item()) == (0, 1.0)
    assert (state.count.dtype, state.hyperparams["step_size"].dtype) == (jnp.int32, jnp.float32)
    for step in range(3):
        _, state = tx.update(ONES, state)
        assert state.hyperparams["step_size"].item() == 1.0 - step / 4  # the one just used
    assert gradtx.get_hyperparams(state) == {"step_size": 0.5}


def test_hyperparameters_are_double_precision_in_x64_mode(x64):
    tx = gradtx.sgd(gradtx.constant_schedule(0.1))
    params = jnp.ones(2, jnp.float32)
    updates, state = tx.update(params, tx.init(params))
    assert state.hyperparams["learning_rate"].dtype == jnp.float64
    assert state.hyperparams["learning_rate"].item() == 0.1
    assert updates.dtype == jnp.float32


@pytest.mark.parametrize(
    "rate",
    [
        gradtx.exponential_decay(0.1, 3, 0.5),
        lambda step: 0.1 * 0.5 ** (step / 3),
        gradtx.custom_schedule(lambda step: 0.1 * jnp.exp2(-step / 3)),
        0.1 * gradtx.exponential_decay(1.0, 3, 0.5),
    ],
    ids=["schedule", "function", "custom", "arithmetic"],
)
def test_every_kind_of_schedule_is_accepted(rate):
    expected = [-0.1 * 0.5 ** (step / 3) for step in range(5)]
    for jit in (False, True):
        np.testing.assert_allclose(run(gradtx.sgd(rate), 5, jit)[0], expected, rtol=1e-6)


def test_every_number_accepts_a_schedule():
    tx = gradtx.adamw(1e-3, b1=lambda n: 0.9, b2=lambda n: 0.99, eps=lambda n: 1e-8, weight_decay=lambda n: 0.1)
    plain = gradtx.adamw(1e-3, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.1)
    taken, state = run(tx, 4)
    np.testing.assert_allclose(taken, run(plain, 4)[0], rtol=2e-5)
    assert set(gradtx.get_hyperparams(state)) == {"b1", "b2", "eps", "weight_decay"}


@pytest.mark.parametrize("number", [lambda step: 0.25 + step, jnp.float32(0.25)], ids=["schedule", "array"])
def test_the_state_begins_with_the_numbers_of_step_zero(number):
    state = gradtx.scale_by_yogi(initial_accumulator_value=number).init(PARAMS)
    assert tree.get_field(state, "nu")["w"].tolist() == [0.25, 0.25]


def test_a_factory_never_sees_a_schedule():
    seen = []

    @gradtx.transformation
    def spy(rate: NonNegative, decay: Decay, plain: Numeric = 0.5):
        seen.append((rate, decay, plain))
        return lambda params: EmptyState(), lambda updates, state, params=None, **extra: (updates, state)

    tx = spy(lambda step: 0.25, 0.9)
    tx.update(ONES, tx.init(PARAMS))
    assert [float(rate) for rate, *_ in seen[-2:]] == [0.25, 0.25]  # in `init` and in `update`
    for rate, decay, plain in seen:
        assert jnp.shape(rate) == ()
        assert (decay, plain) == (0.9, 0.5)


def test_several_schedules_share_one_count():
    taken, state = run(gradtx.sgd(gradtx.linear_schedule(1.0, 0.0, 4), momentum=lambda step: 0.0 * step), 3)
    assert taken == [-1.0, -0.75, -0.5]
    assert len(gradtx.tree.find_nodes(state, gradtx.ScheduledState)) == 1


def test_without_schedules_there_is_no_wrapper():
    assert not isinstance(gradtx.scale(1.0).init(PARAMS), gradtx.ScheduledState)


def signature(state):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state)


@pytest.mark.parametrize(
    "tx",
    [
        gradtx.adam(gradtx.exponential_decay(0.1, 3, 0.5)),
        gradtx.adam(0.1, b1=lambda step: 0.9),
        gradtx.adam(lambda step: 1),
        gradtx.chain(gradtx.clip(lambda step: 1.0), gradtx.sgd(lambda step: jnp.ones((), jnp.bfloat16))),
    ],
)
def test_the_structure_of_the_state_is_fixed(tx):
    def step(carry, _):
        params, state = carry
        updates, state = tx.update(params, state, params)
        return (gradtx.apply_updates(params, updates), state), None

    state = tx.init(PARAMS)
    (_, scanned), _ = jax.lax.scan(step, (PARAMS, state), length=5)
    eager = (PARAMS, state)
    for _ in range(5):
        eager, _ = step(eager, None)
    chex.assert_trees_all_close(eager[1], scanned, rtol=1e-5)
    assert jax.tree.structure(state) == jax.tree.structure(scanned) == jax.tree.structure(eager[1])
    assert signature(state) == signature(scanned) == signature(eager[1])


def test_the_count_saturates():
    tx = gradtx.scale(lambda step: 1.0)
    largest = np.iinfo(np.int32).max
    state = tx.init(PARAMS)._replace(count=jnp.array(largest))
    assert tx.update(ONES, state)[1].count == largest


def test_one_compilation_for_many_steps():
    tx = gradtx.adamw(gradtx.exponential_decay(0.1, 3, 0.5))
    step = jax.jit(chex.assert_max_traces(lambda g, s, p: tx.update(g, s, p), n=1))
    state = tx.init(PARAMS)
    for _ in range(4):
        _, state = step(ONES, state, PARAMS)


def test_a_nested_transformation_follows_its_own_schedule():
    tx = gradtx.chain(gradtx.scale(lambda step: 2.0 + step), gradtx.masked(gradtx.scale(lambda step: 10.0), "w"))
    taken, state = run(tx, 2)
    assert taken == [20.0, 30.0]
    assert gradtx.get_hyperparams(state) == {"[0].step_size": 3.0, "[1].inner_state.step_size": 10.0}


def test_a_schedule_may_be_traced():
    @jax.jit
    def first_step(decay):
        tx = gradtx.sgd(gradtx.exponential_decay(decay, 1, 0.5))
        return tx.update(ONES, tx.init(PARAMS))[0]

    assert first_step(0.25)["w"].tolist() == [-0.25, -0.25]
    assert first_step(0.5)["w"].tolist() == [-0.5, -0.5]


def test_strict_promotion():
    tx = gradtx.chain(
        gradtx.clip_by_global_norm(1.0), gradtx.adamw(gradtx.exponential_decay(0.1, 3, 0.5), b1=lambda step: 0.9)
    )
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3, jnp.bfloat16)}
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for update in (tx.update, jax.jit(tx.update)):
            updates, _ = update(params, tx.init(params), params)
            gradtx.apply_updates(params, updates)


def test_a_schedule_keeps_the_array_it_returns_when_the_state_is_donated():
    rate = jnp.ones(())
    tx = gradtx.sgd(lambda step: rate)
    jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)(tx.init(PARAMS))
    assert float(rate) == 1.0


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "make",
    [gradtx.sgd, lambda rate: gradtx.chain(gradtx.clip_by_global_norm(rate), gradtx.sgd(1.0))],
    ids=["leafwise", "chain"],
)
def test_a_schedule_may_itself_run_an_optimizer(make, jit):
    inner = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.sgd(0.5))

    def rate(step):
        start = {"v": jnp.array([3.0, 4.0])}
        updates, _ = inner.update(start, inner.init(start), start)
        return -updates["v"][0] + 0.1 * step

    taken, _ = run(make(rate), 3, jit)
    expected = np.array([-0.3, -0.4, -0.5]) / (1 if make is gradtx.sgd else 2**0.5)
    np.testing.assert_allclose(taken, expected, rtol=1e-5)
