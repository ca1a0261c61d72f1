"""Factors of layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError

PARAMS = {"embed": {"table": jnp.ones(2)}, "dense": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}


def factors_of(tx, steps=1, grads=PARAMS):
    """The first element of each leaf after some updates of ones."""
    state = tx.init(PARAMS)
    for _ in range(steps):
        updates, state = tx.update(grads, state, PARAMS)
    return [float(u[0]) for u in jax.tree.leaves(updates)]  # dense, embed, head


def test_each_layer_has_its_factor_and_the_others_one():
    assert factors_of(gradtx.scale_by_layer({"embed/*": 0.5, "head/*": -8})) == [1.0, 0.5, -8.0]
    assert factors_of(gradtx.scale_by_layer({"embed/*": 0.5, "*": 2})) == [2.0, 0.5, 2.0]
    assert factors_of(gradtx.scale_by_layer({})) == [1.0, 1.0, 1.0]


def test_the_first_glob_that_matches_counts():
    assert factors_of(gradtx.scale_by_layer({"head/kernel": 3.0, "*/kernel": 2.0})) == [2.0, 1.0, 3.0]


def test_zero_freezes_whatever_the_gradient():
    bad = jax.tree.map(lambda p: p * jnp.nan, PARAMS)
    frozen = factors_of(gradtx.scale_by_layer({"embed/*": 0}), grads=bad)
    np.testing.assert_array_equal(frozen, [np.nan, 0.0, np.nan])


def test_factors_take_schedules():
    tx = gradtx.scale_by_layer({"embed/*": gradtx.linear_schedule(0.0, 1.0, 2), "head/*": lambda step: 1.0 + step})
    assert factors_of(tx, steps=2) == [1.0, 0.5, 2.0]


def test_it_scales_the_learning_rate_of_any_optimizer():
    by_layer = gradtx.chain(gradtx.adam(0.1), gradtx.scale_by_layer({"embed/*": 0.5}))
    plain = factors_of(gradtx.adam(0.1))
    np.testing.assert_allclose(factors_of(by_layer), [plain[0], 0.5 * plain[1], plain[2]], rtol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(ArgumentValueError, match=r"gradtx.scale_by_layer: expected a glob that is the first to match"):
        gradtx.scale_by_layer({"block/*": 0.5}).init(PARAMS)
    with pytest.raises(ArgumentTypeError, match=r"scale_by_layer: expected globs on the paths of leaves as keys"):
        gradtx.scale_by_layer({0: 0.5})
    with pytest.raises(
        ArgumentTypeError, match=r"scale_by_layer: expected factors\['a'\] to be a finite number or a schedule, got '1'"
    ):
        gradtx.scale_by_layer({"a": "1"})
    with pytest.raises(
        ArgumentValueError,
        match=r"scale_by_layer: expected factors\['a'\] to be a finite number or a schedule, got nan",
    ):
        gradtx.scale_by_layer({"a": float("nan")})


# --- decay with the depth ---------------------------------------------------------------------------------------------


def test_the_head_has_the_rate_and_the_embeddings_the_least():
    """As timm counts: embeddings 0, blocks 1 to n, head n + 1."""
    n, r = 12, 0.75
    layers = ["embed/*", *(f"block_{i}/*" for i in range(n)), ("norm/*", "head/*")]
    factors = gradtx.layer_decay_factors(layers, r)
    assert factors["head/*"] == factors["norm/*"] == 1
    assert factors["embed/*"] == r ** (n + 1)
    assert [factors[f"block_{i}/*"] for i in range(n)] == [r ** (n + 1 - (i + 1)) for i in range(n)]
    assert factors_of(gradtx.scale_by_layer(gradtx.layer_decay_factors(["embed/*", "dense/*", "head/*"], 0.5))) == [
        0.5,
        0.25,
        1.0,
    ]


def test_layers_are_checked():
    assert gradtx.layer_decay_factors([], 0.5) == {}
    with pytest.raises(ArgumentValueError, match=r"layer_decay_factors: expected each glob once, got 'a' twice"):
        gradtx.layer_decay_factors(["a", ("b", "a")], 0.5)
    for decay in (0.0, -1.0, float("nan")):
        with pytest.raises(ArgumentValueError, match=r"layer_decay_factors: expected decay in \(0, inf\), got"):
            gradtx.layer_decay_factors(["a"], decay)
