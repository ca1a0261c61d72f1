"""Norms by group, recorded in passing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError

PARAMS = {
    "a": {"kernel": jnp.array([[3.0, 0.0], [0.0, 4.0]]), "bias": jnp.zeros(2)},
    "b": {"kernel": jnp.array([12.0])},
}
UPDATES = {"a": {"kernel": jnp.array([[0.0, 0.3], [0.4, 0.0]]), "bias": jnp.ones(2)}, "b": {"kernel": jnp.array([1.2])}}


def seen(tx, updates=UPDATES, params=PARAMS):
    same, state = tx.update(updates, tx.init(params), params)
    assert same is updates
    return state


def test_norms_are_those_of_the_leaves_of_a_group():
    state = seen(gradtx.monitor({"kernels": "*/kernel", "rest": "*"}))
    np.testing.assert_allclose(state.update_norm["kernels"], np.sqrt(0.25 + 1.44), rtol=1e-6)
    np.testing.assert_allclose(state.param_norm["kernels"], 13.0, rtol=1e-6)
    np.testing.assert_allclose(state.ratio["kernels"], 1.3 / 13.0, rtol=1e-6)
    np.testing.assert_allclose(state.update_norm["rest"], np.sqrt(2.0), rtol=1e-6)


def test_a_ratio_to_parameters_of_zero_is_zero_and_has_finite_slopes():
    tx = gradtx.monitor("*/bias")
    assert seen(tx).ratio == {"*/bias": 0.0}

    def ratio(scale):
        p = jax.tree.map(lambda x: scale * x, PARAMS)
        return tx.update(UPDATES, tx.init(p), p)[1].ratio["*/bias"]

    assert jax.grad(ratio)(1.0) == 0.0


def test_the_first_matching_group_has_the_leaf_and_others_are_left_out():
    state = seen(gradtx.monitor({"b": ("b/*", "b/k*"), "kernels": "*/kernel"}))
    np.testing.assert_allclose(list(state.param_norm.values()), [12.0, 5.0])


@pytest.mark.parametrize(
    ("groups", "names"), [(None, ["all"]), ("*", ["*"]), (("a/*", "b/*"), ["a/*", "b/*"]), ({"x": ("a*", "b*")}, ["x"])]
)
def test_ways_to_name_groups(groups, names):
    tx = gradtx.monitor(groups)
    assert list(seen(tx).ratio) == names
    assert gradtx.parse(repr(tx)) == tx


def test_it_sees_what_arrives_where_it_stands():
    tx = gradtx.chain(gradtx.monitor(), gradtx.sgd(0.5), gradtx.monitor())
    _, (before, _, after) = tx.update(UPDATES, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(after.update_norm["all"], 0.5 * before.update_norm["all"], rtol=1e-6)


def test_low_precision_is_measured_in_float32():
    params = {"w": jnp.full(4096, 0.01, jnp.bfloat16)}
    state = seen(gradtx.monitor(), params, params)
    assert state.param_norm["all"].dtype == jnp.float32
    np.testing.assert_allclose(state.param_norm["all"], 0.64 * float(params["w"][0]) / 0.01, rtol=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ArgumentTypeError, match=r"gradtx\.monitor: expected groups to be globs on leaf paths"):
        gradtx.monitor((1, 2))
    with pytest.raises(ArgumentValueError, match=r"gradtx\.monitor: expected a glob that is the first to match"):
        gradtx.monitor({"all": "*", "biases": "*/bias"}).init(PARAMS)
    assert float(seen(gradtx.monitor(("a*", "b*", "*"))).ratio["*"]) == 0.0
    with pytest.raises(MissingExtraError, match=r"gradtx\.monitor: expected update\(\.\.\., params=\.\.\.\)"):
        gradtx.monitor().update(UPDATES, gradtx.monitor().init(PARAMS))
