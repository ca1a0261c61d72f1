"""AdaGrad, RMSProp, centered RMSProp and AdaDelta against their references."""

import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import SINGLE, Problem, booleans, check_all, check_numbers, decays, epsilons, run, run_eagerly

averages = {
    "decay": decays,
    "eps": epsilons,
    "initial_scale": st.sampled_from([0.0, 0.5]),
    "eps_in_sqrt": booleans,
    "bias_correction": booleans,
}

RULES = {
    "rss": (
        gradtx.scale_by_rss,
        references.Rss,
        {"initial_accumulator_value": st.sampled_from([0.0, 0.1]), "eps": epsilons, "eps_in_sqrt": booleans},
    ),
    "rms": (gradtx.scale_by_rms, references.Rms, averages),
    # Corrected, mean and mean square cancel at t = 1: only an eps inside the root keeps that from being mere rounding.
    "stddev": (
        gradtx.scale_by_stddev,
        references.Stddev,
        averages | {"eps": st.just(1e-3), "eps_in_sqrt": st.just(True)},
    ),
    "stddev, eps outside": (
        gradtx.scale_by_stddev,
        references.Stddev,
        averages | {"decay": st.floats(0.1, 0.999), "eps_in_sqrt": st.just(False), "bias_correction": st.just(False)},
    ),
    "adadelta": (
        gradtx.scale_by_adadelta,
        references.Adadelta,
        {"rho": decays, "eps": st.sampled_from([0.0, 1e-8, 1e-6, 1.0])},
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_equals_the_reference(name):
    check_all(*RULES[name])


@pytest.mark.parametrize("arguments", [{}, {"eps": 1e-3}], ids=str)
@pytest.mark.parametrize("name", ["rss", "rms", "adadelta"])
def test_python_numbers_lose_nothing(name, arguments):
    factory, rule, _ = RULES[name]
    check_numbers(factory, rule, arguments)


@pytest.mark.parametrize("centered", [False, True])
def test_the_first_corrected_step_has_all_the_digits_of_float32(centered):
    factory, rule = (gradtx.scale_by_stddev, references.Stddev) if centered else (gradtx.scale_by_rms, references.Rms)
    arguments = {"decay": 0.999, "eps": 1.0, "bias_correction": True}
    g, tx = np.float32(0.37), factory(**arguments)
    update, _ = tx.update(g, tx.init(g))
    np.testing.assert_allclose(update, rule(**arguments)(np.float64(g)), rtol=5e-7)


@pytest.mark.parametrize("bias_correction", [False, True])
@pytest.mark.parametrize("runner", [run, run_eagerly])
def test_the_variance_of_a_constant_gradient_is_never_negative(runner, bias_correction):
    """Rounding would put it below zero, and make a root of a negative number."""
    grads = np.full((100, 4), [0.1, 1 / 3, 7.7e5, 1e-12], np.float32)
    tx = gradtx.scale_by_stddev(decay=0.7, eps=0.0, bias_correction=bias_correction)
    updates, _, _ = runner(tx, np.zeros(4, np.float32), grads)
    assert np.all(np.isfinite(updates))


@pytest.mark.parametrize("factory", [gradtx.scale_by_rms, gradtx.scale_by_stddev, gradtx.scale_by_rss])
def test_the_two_places_of_eps_differ(factory):
    """The root of 4 + 5 is 3, the root of 4 plus 5 is 7: at h = 4, v = 4, and variance 4."""
    g = {gradtx.scale_by_rss: 2.0, gradtx.scale_by_rms: 4.0, gradtx.scale_by_stddev: 8 / 3**0.5}[factory]
    decay = {"initial_accumulator_value": 0.0} if factory is gradtx.scale_by_rss else {"decay": 0.75}
    for inside, root in ((True, 3.0), (False, 7.0)):
        tx = factory(eps=5.0, eps_in_sqrt=inside, **decay)
        update, _ = tx.update(np.float32(g), tx.init(np.float32(g)))
        np.testing.assert_allclose(update, g / root, rtol=1e-6)


def test_second_moments_of_complex_gradients_are_real():
    params, grads = Problem({"z": (3,)}, 0).draw(SINGLE)
    for factory, _, _ in RULES.values():
        state = run(factory(), params, grads)[2]
        dtypes = {field: state._asdict()[field]["z"].dtype for field in state._fields if field != "count"}
        assert dtypes.pop("mu", np.complex64) == np.complex64
        assert set(dtypes.values()) == {np.dtype(np.float32)}


def test_adadelta_without_eps_makes_no_step():
    tx = gradtx.scale_by_adadelta(eps=0.0)
    updates = run(tx, np.ones(2, np.float32), np.array([[1, 0], [2, 0], [-3, 1]], np.float32))[0]
    assert not updates.any()
