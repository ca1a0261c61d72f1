"""Measurements of the updates on their way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx

GRADIENTS = np.random.default_rng(0).normal(size=(7, 3))


def run(tx, steps=7):
    params = jnp.zeros(3, jnp.result_type(float))
    state, states = tx.init(params), []
    for g in jnp.asarray(GRADIENTS[:steps], params.dtype):
        updates, state = jax.jit(tx.update)(g, state, params)
        states.append((updates, state))
    return states


def test_a_snapshot_is_of_the_updates_at_its_place():
    tx = gradtx.chain(gradtx.scale(2.0), gradtx.snapshot("norm", gradtx.global_norm), gradtx.scale(3.0))
    theirs = optax.chain(optax.scale(2.0), optax.snapshot("norm", optax.tree.norm), optax.scale(3.0))
    with jax.enable_x64():
        for (updates, state), (_, other) in zip(run(tx), run(theirs), strict=True):
            np.testing.assert_allclose(state[1].measurement["norm"], other[1].measurement["norm"], rtol=1e-12)
            np.testing.assert_allclose(jnp.linalg.norm(updates), 3 * state[1].measurement["norm"], rtol=1e-12)
            assert float(gradtx.metrics(state)["snapshot/measurement/norm"]) == float(state[1].measurement["norm"])


def test_a_snapshot_may_be_a_tree_which_is_no_metric():
    tx = gradtx.snapshot("parts", lambda u: {"signs": jnp.sign(u), "count": jnp.sum(u > 0), "absent": None})
    assert all(not np.any(x) for x in jax.tree.leaves(tx.init(jnp.zeros(3))))
    updates, state = run(tx, 1)[0]
    np.testing.assert_array_equal(state.measurement["parts"]["signs"], np.sign(updates))
    assert state.measurement["parts"]["count"].dtype == jnp.int32
    assert gradtx.metrics(state) == {}


@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_average_equals_optaxs(decay, debias):
    def measure(updates):
        return {"sum": jnp.sum(updates), "each": updates**2}

    with jax.enable_x64():
        ours = run(gradtx.measure_with_ema(measure, decay, debias))
        theirs = run(optax.monitor({"x": optax.measure_with_ema(measure, decay, debias)}))
        for (updates, state), (given, other) in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(updates, given)
            expected = other.measurements["x"]
            np.testing.assert_allclose(state.average["sum"], expected["sum"], rtol=1e-10)
            np.testing.assert_allclose(state.average["each"], expected["each"], rtol=1e-10)


def test_a_decay_that_changes_keeps_the_weights_right():
    decays = jnp.array([0.9, 0.2, 0.7])
    *_, (_, state) = run(gradtx.measure_with_ema(jnp.sum, lambda step: decays[step]), 3)
    a = w = 0.0
    for decay, x in zip(np.asarray(decays), GRADIENTS.sum(1), strict=False):
        a, w = decay * a + (1 - decay) * x, decay * w + (1 - decay)
    np.testing.assert_allclose(gradtx.tree.get_field(state, "average"), a / w, rtol=1e-5)


def test_booleans_count_and_an_average_has_its_dtype():
    tx = gradtx.measure_with_ema(lambda u: u > 0, 0.5)
    _, state = run(tx, 1)[0]
    np.testing.assert_array_equal(state.average, (GRADIENTS[0] > 0).astype(np.float32))
    assert state.average.dtype == jnp.float32
    narrow = gradtx.measure_with_ema(jnp.sum, 0.5, accumulator_dtype="bfloat16")
    assert run(narrow, 2)[1][1].average.dtype == jnp.bfloat16


def test_errors():
    for make in (lambda f: gradtx.snapshot("x", f), lambda f: gradtx.measure_with_ema(f, 0.9)):
        with pytest.raises(gradtx.errors.ArgumentTypeError, match=r"measure to be a function of \(updates\)"):
            make(1.0)
