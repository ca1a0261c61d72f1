"""Lookahead against its reference, with every inner momentum rule, and its slow weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from gradtx import errors
from tests import references
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    compare,
    decays,
    rates,
    run,
    run_eagerly,
    x64,
)

MOMENTA = ("keep", "reset", "pullback")
PROBLEM = Problem(SHAPES[0], 5)


def around_sgd(learning_rate=0.1, decay=0.9, **arguments):
    return gradtx.lookahead(gradtx.sgd(learning_rate, decay), **arguments)


def around_adam(learning_rate=0.1, decay=0.9, **arguments):
    return gradtx.lookahead(gradtx.adam(learning_rate, b1=decay), **arguments)


def sgd_reference(learning_rate=0.1, decay=0.9, **arguments):
    return references.Lookahead(references.Descent(learning_rate, references.Trace(decay)), **arguments)


def adam_reference(learning_rate=0.1, decay=0.9, **arguments):
    return references.Lookahead(references.Descent(learning_rate, references.Adam(b1=decay)), **arguments)


INNER = {"sgd": (around_sgd, sgd_reference), "adam": (around_adam, adam_reference)}


@pytest.mark.parametrize("inner", INNER)
def test_equals_the_reference(inner):
    arguments = {
        "learning_rate": rates,
        "decay": decays,
        "sync_period": st.integers(1, 7),
        "slow_step_size": st.just(0.0) | st.floats(1e-3, 1.0),
        "momentum": st.sampled_from(MOMENTA),
    }
    check_all(*INNER[inner], arguments, reads_params=True)


@pytest.mark.parametrize(("inner", "momentum"), [("sgd", "keep"), ("sgd", "reset"), ("adam", "pullback")])
def test_eager_steps_equal_the_reference(inner, momentum):
    check_numbers(*INNER[inner], {"momentum": momentum}, reads_params=True)


@pytest.mark.parametrize("inner", INNER)
def test_both_numbers_may_follow_schedules(inner):
    def period(step):
        return 2 + step // 4

    def step_size(step):
        return 0.25 + 0.0625 * step

    make, reference = INNER[inner]
    for precision in (SINGLE, DOUBLE):
        with x64(precision.x64):
            tx = make(learning_rate=0.125, decay=0.5, sync_period=period, slow_step_size=step_size, momentum="pullback")

        def rule():
            return reference(
                learning_rate=0.125, decay=0.5, sync_period=period, slow_step_size=step_size, momentum="pullback"
            )

        compare(precision, tx, rule, PROBLEM, run, reads_params=True)


@pytest.mark.parametrize("momentum", ["reset", "pullback"])
def test_every_first_moment_of_a_partition_is_treated(momentum):
    """Each leaf goes to an optimizer of its own, with a momentum under another name."""
    tx = gradtx.lookahead(
        gradtx.partition({"kernel": gradtx.adam(0.1), "*": gradtx.sgd(0.1, 0.9)}), 3, 0.5, momentum=momentum
    )
    rules = {"kernel": adam_reference, "bias": sgd_reference, "zeta": sgd_reference}
    params, grads = PROBLEM.draw(DOUBLE)
    with x64():
        updates = run(tx, params, grads)[0]
    for name, make in rules.items():
        rule, p = make(sync_period=3, momentum=momentum), params[name]
        for g, u in zip(grads[name], updates[name], strict=True):
            expected = rule(g, p)
            np.testing.assert_allclose(u, expected, rtol=0, atol=1e-12 * np.max(np.abs(p)))
            p = p + expected


# --- the slow weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 5, 9])
@pytest.mark.parametrize(
    "place",
    [
        lambda tx: tx,
        lambda tx: gradtx.chain(gradtx.clip_by_global_norm(1e9), tx),
        lambda tx: gradtx.masked(tx, None),
        lambda tx: gradtx.tunable(tx, ("slow_step_size",)),
    ],
    ids=["alone", "chain", "masked", "tunable"],
)
def test_slow_weights_are_found_and_right(place, steps):
    params, grads = PROBLEM.draw(DOUBLE, steps)
    with x64():
        tx = place(around_sgd(lambda step: 0.1, sync_period=lambda step: 4))
        state = run(tx, params, grads)[2]
        slow = jax.device_get(gradtx.lookahead_params(state))
    for name, p in params.items():
        rule = sgd_reference(sync_period=4)
        for g in grads[name]:
            p = p + rule(g, p)
        np.testing.assert_allclose(slow[name], rule.slow, rtol=1e-12, atol=1e-12)


def test_slow_weights_begin_at_the_params_and_share_nothing_with_them():
    params = {"w": jnp.array([1.0, 2.0]), "b": jnp.array(3.0, jnp.bfloat16)}
    state = around_sgd().init(params)
    slow = gradtx.lookahead_params(state)
    assert_close(slow, params, rtol=0)
    assert slow["b"].dtype == jnp.float32
    assert slow["w"].unsafe_buffer_pointer() != params["w"].unsafe_buffer_pointer()
    assert gradtx.lookahead_params(state, params)["b"].dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_params_restart_at_the_rounded_slow_weights(dtype):
    tx = around_sgd(0.01, sync_period=4)
    params = jnp.array([1.0, -3.0, 0.1], dtype)
    state = tx.init(params)
    for n in range(1, 13):
        updates, state = tx.update(jnp.array([0.3, -0.2, 0.7], dtype), state, params)
        params = gradtx.apply_updates(params, updates)
        slow = gradtx.lookahead_params(state)
        assert slow.dtype == jnp.float32
        if n % 4 == 0:
            rounding = jnp.finfo(dtype).eps * (np.abs(slow) + np.abs(updates.astype(np.float32)))
            assert np.all(np.abs(params.astype(np.float32) - slow) <= rounding)


def test_without_momentum_nothing_is_kept_for_it():
    for momentum, copies in (("keep", 0), ("reset", 0), ("pullback", 1)):
        state = around_sgd(momentum=momentum).init(jnp.ones(2))
        assert len(jax.tree.leaves(state.momenta)) == copies


def test_a_reset_touches_nothing_but_the_momentum():
    tx = around_adam(sync_period=2, momentum="reset")
    state = run(tx, *Problem({"w": (3,)}, 0).draw(SINGLE, steps=4))[2]
    inner = state.inner[0]
    assert not inner.mu["w"].any()
    assert inner.nu["w"].all()
    assert (int(inner.count), int(state.steps)) == (4, 0)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_params_are_needed():
    tx = around_sgd()
    message = r"^gradtx.lookahead: expected update\(..., params=...\), got no params; lookahead moves them"
    with pytest.raises(errors.MissingExtraError, match=message):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


@pytest.mark.parametrize("momentum", ["reset", "pullback"])
def test_an_inner_optimizer_without_momentum_can_only_keep_it(momentum):
    message = r"^gradtx.lookahead: expected an inner state with a field trace or mu, got momentum='\w+' around sgd\("
    with pytest.raises(errors.ArgumentValueError, match=message):
        gradtx.lookahead(gradtx.sgd(0.1), momentum=momentum).init(jnp.ones(2))


def test_slow_weights_of_none_and_of_several_are_refused():
    two = gradtx.chain(around_sgd(), around_sgd())
    for tx, found in ((gradtx.sgd(0.1), "0"), (two, "2")):
        with pytest.raises(errors.UnknownNameError, match=f"^gradtx.lookahead_params: .*got {found}"):
            gradtx.lookahead_params(tx.init(jnp.ones(2)))


@pytest.mark.parametrize(
    ("argument", "value"), [("sync_period", 0), ("slow_step_size", 1.5), ("slow_step_size", -0.1), ("momentum", "push")]
)
def test_arguments_out_of_range_are_refused(argument, value):
    with pytest.raises(errors.ArgumentValueError, match=f"^gradtx.lookahead: expected {argument}"):
        around_sgd(**{argument: value})


def test_compiled_and_eager_steps_agree():
    params, grads = PROBLEM.draw(SINGLE)
    # Decays that float32 represents exactly, since compiled they are traced.
    tx = gradtx.lookahead(gradtx.adam(0.125, b1=0.875, b2=1 - 2**-10), momentum="pullback")
    compiled, eager = run(tx, params, grads), run_eagerly(tx, params, grads)
    assert_close(compiled[1], eager[1], rtol=1e-5, atol=1e-6)
    assert_close(compiled[2], eager[2], rtol=1e-5, atol=1e-6)
