"""Several gradients, one update."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx

PARAMS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}


def draw(n, dtype=jnp.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), dtype), PARAMS) for _ in range(n)]


def run(tx, gradients, params=PARAMS, **extra):
    update, state, results = jax.jit(tx.update), tx.init(params), []
    for g in gradients:
        updates, state = update(g, state, params, **extra)
        params = gradtx.apply_updates(params, updates)
        results.append(updates)
    return params, state, results


@pytest.mark.parametrize("every", [1, 2, 4])
def test_equals_the_inner_optimizer_on_averages(every):
    gradients = draw(8)
    means = [
        jax.tree.map(lambda *x: sum(x) / every, *gradients[i : i + every]) for i in range(0, len(gradients), every)
    ]
    params, state, results = run(gradtx.accumulate(gradtx.adamw(0.1), every), gradients)
    expected, inner_state, _ = run(gradtx.adamw(0.1), means)
    chex.assert_trees_all_close((params, state.inner_state), (expected, inner_state), rtol=1e-5, atol=1e-7)
    off = [u for i, u in enumerate(results) if (i + 1) % every]
    assert all(not np.any(x) for u in off for x in jax.tree.leaves(u))
    assert (int(state.mini_step), int(state.gradient_step)) == (0, 8 // every)


def test_schedules_of_the_inner_optimizer_count_updates():
    tx = gradtx.accumulate(gradtx.sgd(gradtx.piecewise_constant_schedule(1.0, {1: 0.5})), 2)
    _, state, results = run(tx, [PARAMS] * 4)
    np.testing.assert_allclose(results[1]["a"], -PARAMS["a"])
    np.testing.assert_allclose(results[3]["a"], -0.5 * PARAMS["a"])
    assert int(gradtx.tree.get_field(state.inner_state, "count")) == 2


def test_every_may_be_a_schedule():
    tx = gradtx.accumulate(gradtx.sgd(1.0), lambda step: jnp.where(step < 2, 1, 3))
    _, _, results = run(tx, [PARAMS] * 8)
    assert [bool(np.any(u["a"])) for u in results] == [True, True, False, False, True, False, False, True]


def test_a_nan_spoils_its_own_average_only():
    gradients = draw(6)
    gradients[2] = jax.tree.map(lambda g: g * jnp.nan, gradients[2])
    _, state, results = run(gradtx.accumulate(gradtx.sgd(0.1), 2), gradients)
    assert np.all(np.isnan(results[3]["a"]))
    mean = (gradients[4]["a"] + gradients[5]["a"]) / 2
    np.testing.assert_allclose(results[5]["a"], -0.1 * mean, rtol=1e-6)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.acc_grads))


def test_a_guard_around_it_or_inside_it_keeps_a_nan_out():
    gradients = draw(4)
    gradients[1] = jax.tree.map(lambda g: g * jnp.nan, gradients[1])
    inside, _, _ = run(gradtx.accumulate(gradtx.apply_if_finite(gradtx.sgd(0.1)), 2), gradients)
    outside, _, _ = run(gradtx.apply_if_finite(gradtx.accumulate(gradtx.sgd(0.1), 2)), gradients)
    mean = jax.tree.map(lambda x, y: (x + y) / 2, gradients[2], gradients[3])
    chex.assert_trees_all_close(inside, jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, mean), rtol=1e-5)
    mean = jax.tree.map(lambda x, y: (x + y) / 2, gradients[0], gradients[2])
    chex.assert_trees_all_close(outside, jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, mean), rtol=1e-5)


def test_bfloat16_gradients_are_summed_in_float32():
    ones = jnp.ones(3, jnp.bfloat16)
    tx = gradtx.accumulate(gradtx.sgd(1.0), 1000)
    state = tx.init(ones)
    state = jax.lax.fori_loop(0, 999, lambda _, s: tx.update(ones, s, ones)[1], state)
    np.testing.assert_array_equal(state.acc_grads, np.full(3, 999.0, np.float32))
    updates, _ = tx.update(ones, state, ones)
    assert updates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(updates.astype(jnp.float32), -np.ones(3))


def test_extras_reach_the_inner_transformation():
    tx = gradtx.accumulate(gradtx.chain(gradtx.sgd(1.0), gradtx.reduce_on_plateau(factor=0.5, patience=1)), 2)
    _, state, _ = run(tx, [PARAMS] * 4, value=1.0)
    assert float(gradtx.tree.get_field(state, "scale")) == 0.5


# --- a window that is cut short ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gathered", [1, 2, 3])
@pytest.mark.parametrize("inner", [gradtx.adamw(0.1), optax.adamw(0.1)], ids=["ours", "optax"])
def test_what_is_left_over_is_an_update_of_its_mean(inner, gathered):
    tx, gradients = gradtx.accumulate(inner, 4), draw(8 + gathered)
    params, state, _ = run(tx, gradients[: 4 + gathered])
    updates, state = jax.jit(lambda state, params: gradtx.finish_accumulation(tx, state, params))(state, params)
    params = gradtx.apply_updates(params, updates)
    means = [jax.tree.map(lambda *x: sum(x) / len(x), *part) for part in (gradients[:4], gradients[4 : 4 + gathered])]
    expected, inner_state, _ = run(inner, means)
    chex.assert_trees_all_close((params, state.inner_state), (expected, inner_state), rtol=1e-5, atol=1e-7)
    assert (int(state.mini_step), int(state.gradient_step)) == (0, 2)
    assert not any(np.any(x) for x in jax.tree.leaves(state.acc_grads))


def test_after_a_whole_window_nothing_is_left_over():
    tx = gradtx.accumulate(gradtx.adam(0.1), 2)
    params, state, _ = run(tx, draw(4))
    for finish in (gradtx.finish_accumulation, jax.jit(gradtx.finish_accumulation)):
        updates, after = finish(tx, state, params)
        assert not any(np.any(x) for x in jax.tree.leaves(updates))
        chex.assert_trees_all_equal(after, state)


def test_a_window_is_cut_short_where_every_is_a_schedule_and_with_extras():
    tx = gradtx.accumulate(gradtx.chain(gradtx.add_noise(0.0, 0.0), gradtx.sgd(1.0)), lambda step: 3 + 0 * step)
    _, state, _ = run(tx, [PARAMS], key=jax.random.key(0))
    updates, after = gradtx.finish_accumulation(tx, state, PARAMS, key=jax.random.key(1))
    chex.assert_trees_all_close(updates, jax.tree.map(jnp.negative, PARAMS))
    assert int(after.count) == 1
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


def test_the_mean_of_what_is_left_over_has_the_dtypes_of_the_params():
    params = {"w": jnp.ones(2, jnp.bfloat16), "table": jnp.arange(2), "none": None}
    grads = jax.grad(lambda p: jnp.sum(p["w"]), allow_int=True)(params)
    tx = gradtx.accumulate(gradtx.adam(0.1), 4)
    _, state = tx.update(grads, tx.init(params), params)
    updates, state = gradtx.finish_accumulation(tx, state, params)
    assert updates["w"].dtype == jnp.bfloat16
    assert updates["table"] is updates["none"] is None
    chex.assert_trees_all_equal(gradtx.apply_updates(params, updates)["table"], params["table"])
    chex.assert_trees_all_equal_shapes_and_dtypes(state, tx.init(params))


def test_only_an_accumulation_is_finished():
    tx = gradtx.accumulate(gradtx.sgd(0.1), 2)
    hint = "of a chain, take the member and its part of the state"
    for wrong, state, expected in (
        (gradtx.chain(tx), (tx.init(PARAMS),), r"expected tx to be an accumulate\(...\), got chain"),
        (tx, (tx.init(PARAMS),), "expected the state to be an AccumulateState, got a tuple of 1"),
    ):
        with pytest.raises(gradtx.errors.ArgumentTypeError, match=f"gradtx.finish_accumulation: {expected}.*; {hint}"):
            gradtx.finish_accumulation(wrong, state, PARAMS)


# --- privacy ----------------------------------------------------------------------------------------------------------


def test_gradients_of_examples_are_refused_with_what_to_do():
    tx = gradtx.accumulate(gradtx.dpsgd(0.1, 1.0, 0.5), 2)
    examples = jax.tree.map(lambda p: jnp.stack([p, p, p]), PARAMS)
    with pytest.raises(gradtx.errors.TreeMismatchError) as error:
        tx.update(examples, tx.init(PARAMS), PARAMS, key=jax.random.key(0))
    assert str(error.value) == (
        "gradtx.accumulate: expected gradients like the params, got [3, 2] for [2], as of single examples at ['a']; "
        "clip and sum examples outside of accumulate, and add the noise inside, once a window: chain("
        "differentially_private_aggregate(C, 0.0), "
        "accumulate(chain(add_noise((sigma * C / (every * B)) ** 2, 0.0), ...), every))"
    )


@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_what_to_do_has_the_noise_of_dpsgd_once_a_window(sigma):
    clip, every, batch, size = 1.5, 4, 3, 20_000
    rng = np.random.default_rng(0)
    parts = jnp.asarray(rng.normal(size=(every, batch, size)) / 50, jnp.float32)
    params, key = jnp.zeros(size), jax.random.key(0)
    noise = gradtx.add_noise((sigma * clip / (every * batch)) ** 2, gamma=0.0)
    tx = gradtx.chain(
        gradtx.differentially_private_aggregate(clip, 0.0),
        gradtx.accumulate(gradtx.chain(noise, gradtx.sgd(1.0)), every),
    )
    state = tx.init(params)
    for i, part in enumerate(parts):
        updates, state = tx.update(part, state, params, key=jax.random.fold_in(key, i))
    whole = gradtx.dpsgd(1.0, clip, 0.0)
    expected, _ = whole.update(parts.reshape(-1, size), whole.init(params), params, key=key)
    difference = np.asarray(updates - expected)
    if not sigma:
        np.testing.assert_allclose(updates, expected, rtol=1e-4, atol=1e-7)
    assert np.std(difference) == pytest.approx(sigma * clip / (every * batch), rel=0.03, abs=1e-6)
