"""Weight decay, and the ways to say which leaves decay."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.trajectories import DOUBLE, SETTINGS, SINGLE, problems, run, run_eagerly, x64

PARAMS = {"dense": {"kernel": jnp.array([2.0]), "bias": jnp.array([4.0])}, "norm": {"scale": jnp.array([8.0])}}

MASKS = {
    "none": (None, (1, 1, 1)),
    "tree": ({"dense": {"kernel": True, "bias": False}, "norm": {"scale": True}}, (1, 0, 1)),
    "prefix": ({"dense": True, "norm": False}, (1, 1, 0)),
    "function": (lambda updates: {"dense": {"kernel": False, "bias": True}, "norm": {"scale": False}}, (0, 1, 0)),
    "glob": ("*/kernel", (1, 0, 0)),
    "globs": (("*/bias", "norm/*"), (0, 1, 1)),
    "nothing": (False, (0, 0, 0)),
}


@pytest.mark.parametrize("precision", [SINGLE, DOUBLE])
def test_equals_the_formula(precision):
    @SETTINGS
    @hypothesis.given(problems, st.just(0.0) | st.floats(1e-6, 10))
    def holds(problem, weight_decay):
        params, grads = problem.draw(precision, steps=1)
        weight_decay = precision.real(weight_decay)
        with x64(precision.x64):
            updates = run(gradtx.add_decayed_weights(float(weight_decay)), params, grads)[0]
        for name, p in params.items():
            bound = 2 * np.finfo(precision.real).eps * (np.abs(grads[name]) + weight_decay * np.abs(p))
            assert np.all(np.abs(updates[name] - (grads[name] + weight_decay * p)) <= bound)

    holds()


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_chooses_the_leaves(name):
    mask, chosen = MASKS[name]
    tx = gradtx.add_decayed_weights(0.5, mask)
    grads = {"dense": {"kernel": jnp.array([0.1]), "bias": jnp.array([0.2])}, "norm": {"scale": jnp.array([0.3])}}
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    actual = [float(x[0]) for x in (updates["dense"]["kernel"], updates["dense"]["bias"], updates["norm"]["scale"])]
    expected = [g + 0.5 * p * c for g, p, c in zip((0.1, 0.2, 0.3), (2.0, 4.0, 8.0), chosen, strict=True)]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_glob_that_matches_nothing_is_an_error():
    with pytest.raises(gradtx.errors.ArgumentValueError, match=r"^gradtx.add_decayed_weights: .*'\*/embedding'"):
        gradtx.add_decayed_weights(0.5, "*/embedding").init(PARAMS)


def test_the_decay_may_follow_a_schedule():
    tx = gradtx.add_decayed_weights(lambda step: 0.5 * step)
    updates, _, _ = run_eagerly(tx, jnp.array([2.0]), jnp.zeros((3, 1)))
    # p = 2, then 2, then 2 + 0.5 * 2.
    np.testing.assert_allclose(updates[:, 0], [0.0, 1.0, 3.0])


def test_decay_of_low_precision_parameters_is_added_before_rounding():
    p, g = jnp.array([3.0], jnp.bfloat16), jnp.array([1e-3], jnp.bfloat16)
    update, _ = gradtx.add_decayed_weights(1 / 3).update(g, gradtx.EmptyState(), p)
    assert update.dtype == jnp.bfloat16
    assert update[0] == jnp.bfloat16(1 + float(g[0]))


def test_without_params_it_says_what_it_needs():
    message = r"^gradtx.add_decayed_weights: expected update\(..., params=...\), got no params; pass them third"
    with pytest.raises(gradtx.errors.MissingExtraError, match=message):
        gradtx.add_decayed_weights(0.1).update(PARAMS, gradtx.EmptyState())


def test_a_decay_of_zero_does_not_read_the_parameters():
    tx, g = gradtx.add_decayed_weights(0.0), {"w": jnp.ones(2)}
    assert tx.update(g, tx.init(g), {"w": jnp.full(2, jnp.inf)})[0]["w"].tolist() == [1.0, 1.0]
    jaxpr = jax.make_jaxpr(tx.update)(g, tx.init(g), g).jaxpr
    assert jaxpr.invars[-1] not in [v for eqn in jaxpr.eqns for v in eqn.invars]


def test_cautious_decay_is_where_the_step_goes_towards_zero():
    p = {"w": jnp.array([2.0, -2.0, 2.0, -2.0, 0.0]), "z": jnp.array([1 + 1j, 1 + 1j], jnp.complex64)}
    g = {"w": jnp.array([1.0, -1.0, -1.0, 0.0, 1.0]), "z": jnp.array([2 - 1j, 1 - 2j], jnp.complex64)}
    tx = gradtx.add_cautious_weight_decay(0.5)
    u, _ = tx.update(g, tx.init(p), p)
    np.testing.assert_allclose(u["w"], [2.0, -2.0, -1.0, -1.0, 1.0])
    np.testing.assert_allclose(u["z"], [2.5 - 0.5j, 1 - 2j])


def test_cautious_decay_of_products_that_vanish():
    tiny = jnp.array([1e-30, -1e-30])
    tx = gradtx.add_cautious_weight_decay(0.5)
    np.testing.assert_allclose(tx.update(tiny, tx.init(tiny), -tiny)[0], tiny)


def test_cautious_decay_has_a_mask_and_needs_params():
    p = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
    tx = gradtx.add_cautious_weight_decay(0.5, mask="kernel")
    u, _ = tx.update(p, tx.init(p), p)
    assert (u["kernel"].tolist(), u["bias"].tolist()) == ([1.5, 1.5], [1.0, 1.0])
    for decay in (0.0, 0.5):
        with pytest.raises(gradtx.errors.MissingExtraError, match="add_cautious_weight_decay"):
            gradtx.add_cautious_weight_decay(decay).update(p, gradtx.EmptyState())


# --- what the learning rate has to do with it -------------------------------------------------------------------------

RATE, PEAK = gradtx.linear_schedule(0.2, 0.05, 8), 0.2
SHARES = {
    "coupled": lambda rate: rate,
    "independent": lambda rate: rate / PEAK,
    "corrected": lambda rate: rate**2 / PEAK,
}
"""What share of a parameter a decay of 1 takes at a step, by convention."""


@pytest.mark.parametrize("convention", SHARES)
def test_a_convention_says_what_share_of_a_parameter_decays(convention):
    peak = {} if convention == "coupled" else {"decay_convention": convention, "peak_learning_rate": PEAK}
    tx, p = gradtx.adamw(RATE, weight_decay=0.1, **peak), np.array([1.0, -2.0])
    with x64():
        params = run(tx, p, np.zeros((10, 2)))[1]
        rates = [float(RATE(step)) for step in range(10)]
    np.testing.assert_allclose(params, p * np.prod([1 - 0.1 * SHARES[convention](rate) for rate in rates]), rtol=1e-12)


def test_conventions_are_arithmetic_for_other_optimizers():
    params, grads = np.ones(3), np.random.default_rng(0).normal(size=(10, 3))
    with x64():
        for convention, decay in (("independent", 0.1 / PEAK), ("corrected", 0.1 * RATE / PEAK)):
            named = gradtx.adamw(RATE, weight_decay=0.1, decay_convention=convention, peak_learning_rate=PEAK)
            written = gradtx.adamw(RATE, weight_decay=decay)
            assert gradtx.parse(repr(written)) == written
            for x, y in zip(run(named, params, grads)[:2], run(written, params, grads)[:2], strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-12)


def test_a_constant_rate_is_its_own_peak():
    params, grads = np.ones(3, np.float32), np.ones((5, 3), np.float32)
    coupled, corrected = (
        run(tx, params, grads)[1]
        for tx in (
            gradtx.adamw(0.1, weight_decay=0.5),
            gradtx.adamw(0.1, weight_decay=0.5, decay_convention="corrected", peak_learning_rate=0.1),
        )
    )
    np.testing.assert_allclose(coupled, corrected, rtol=1e-6)


def test_a_peak_is_there_where_it_is_used():
    with pytest.raises(gradtx.errors.ArgumentValueError, match=r"^gradtx.adamw: expected a peak_learning_rate"):
        gradtx.adamw(0.1, decay_convention="corrected")
    with pytest.raises(gradtx.errors.ArgumentValueError, match=r"^gradtx.adamw: expected no peak.*got 0.1;"):
        gradtx.adamw(0.1, peak_learning_rate=0.1)
