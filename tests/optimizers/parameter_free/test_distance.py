"""What all methods that estimate the way have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.optimizers.parameter_free.distance import beside, raised, sum_of_absolutes
from tests.optimizers.parameter_free.whole import descend, problem
from tests.trajectories import SINGLE, run

METHODS = {
    "prodigy": gradtx.prodigy,
    "dadapt_adamw": gradtx.dadapt_adamw,
    "dadapt_sgd": gradtx.dadapt_sgd,
    "dadapt_adagrad": gradtx.dadapt_adagrad,
    "dadapt_lion": gradtx.dadapt_lion,
    "dadapt_adan": gradtx.dadapt_adan,
}
every = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


def estimate(state):
    return float(gradtx.tree.get_field(state, "estim_lr"))


@every
@pytest.mark.parametrize("zeros", [0, 5])
def test_the_estimate_grows_after_zero_gradients_too(make, zeros):
    """The way is about 3; a step of Lion stays that long, and Adan's estimate is not one from below."""
    p, state = descend(make(), 400 + zeros, zeros=zeros)
    assert 0.1 < estimate(state) < (1000 if make is gradtx.dadapt_adan else 6)
    if make is not gradtx.dadapt_lion:
        assert all(np.allclose(x, 3.0, atol=0.1) for x in jax.tree.leaves(p))


@every
def test_nothing_is_estimated_from_zero_gradients_or_with_a_rate_of_zero(make):
    params = {"a": jnp.ones(3), "b": jnp.ones(())}
    zeros = jax.tree.map(jnp.zeros_like, params)
    for tx, grads in ((make(), zeros), (make(gradtx.linear_schedule(0.0, 1.0, 3)), params)):
        updates, state = tx.update(grads, tx.init(params), params)
        assert not any(u.any() for u in jax.tree.leaves(updates))
        assert estimate(state) == np.float32(1e-6)


@every
def test_a_gradient_that_is_not_finite_leaves_the_estimate(make):
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    for tx in (make(), make(growth_rate=2.0)):
        state = tx.init(params)
        for g in (jnp.inf, jnp.nan, -jnp.inf):
            _, state = tx.update({"a": jnp.full(2, g), "b": jnp.ones(2)}, state, params)
        assert estimate(state) == np.float32(1e-6)


@every
def test_a_leaf_without_a_gradient_has_no_part(make):
    params, grads = problem(SINGLE)
    frozen = {**params, "frozen": jnp.full(2, 7.0)}
    tx, paths = make(estim_lr0=0.1), []
    for p in (params, frozen):
        state = tx.init(p)
        for t in range(6):
            g = {k: grads[k][t] if k in grads else None for k in p}
            updates, state = tx.update(g, state, p)
            p = gradtx.apply_updates(p, updates)
        paths.append({k: p[k] for k in params})
    jax.tree.map(np.testing.assert_array_equal, *paths)


def test_a_leaf_without_a_gradient_counts_no_more():
    """Though its sum is not zero: as in the authors' code."""
    x = {"a": jnp.ones(2), "b": jnp.ones(2)}
    (made,) = beside({"a": jnp.ones(2), "b": None}, lambda g, s: s + g, x)
    assert made["b"] is None
    np.testing.assert_array_equal(made["a"], [2, 2])


@every
def test_the_growth_is_bounded(make):
    params, grads = problem(SINGLE, 40)
    free, bounded = (estimate(run(make(growth_rate=growth), params, grads)[2]) for growth in (None, 1.02))
    assert bounded < free
    if make is not gradtx.prodigy:  # whose first estimate counts as it is
        assert bounded < 1e-6 * 1.02**40.01


@pytest.mark.parametrize("make", [METHODS[k] for k in METHODS if k not in ("dadapt_sgd", "dadapt_adagrad")])
def test_the_mask_chooses_what_decays_and_a_decay_needs_the_params(make):
    params, grads = problem(SINGLE)
    mask = "weight_decay_mask" if make is gradtx.prodigy else "mask"
    decayed, plain, masked = (
        run(make(estim_lr0=1e-2, weight_decay=decay, **{mask: which}), params, grads)[0]
        for decay, which in ((0.1, None), (0.0, None), (0.1, "kernel"))
    )
    np.testing.assert_array_equal(masked["kernel"][0], decayed["kernel"][0])
    np.testing.assert_array_equal(masked["scalar"][0], plain["scalar"][0])
    assert abs(float(decayed["scalar"][0] - plain["scalar"][0])) > 1e-5
    with pytest.raises(gradtx.errors.ArgumentValueError, match="glob that is the first to match"):
        make(weight_decay=0.1, **{mask: "none"}).init(params)
    with pytest.raises(gradtx.errors.MissingExtraError, match=r"gradtx.scale_by_\w+: expected update"):
        make(weight_decay=0.1).update(params, make(weight_decay=0.1).init(params))


@pytest.mark.parametrize(("make", "count"), [(gradtx.prodigy, 2), (gradtx.dadapt_lion, 2), (gradtx.dadapt_adan, 3)])
def test_the_number_of_decays_is_checked(make, count):
    with pytest.raises(gradtx.errors.ArgumentValueError, match=f"betas to be {count} numbers in .0, 1., got 1"):
        make(betas=(0.9,))


EDGES = [
    gradtx.prodigy(eps=0.0, growth_rate=1.5, bias_correction=False),
    gradtx.dadapt_adamw(eps=0.0),
    gradtx.dadapt_sgd(),
    gradtx.dadapt_adagrad(initial_accumulator_value=0.0),
    gradtx.dadapt_lion(),
    gradtx.dadapt_adan(eps=0.0),
    gradtx.mechanize(gradtx.adam(0.1, eps=0.0), eps=0.0),
]


@pytest.mark.parametrize("tx", EDGES, ids=repr)
def test_derivatives_are_finite_where_gradients_are_zero_and_nothing_is_added_to_a_divisor(tx):
    def after(tx, params, grads):
        state = tx.init(params)
        for g in grads:
            updates, state = tx.update(g, state, params)
            params = gradtx.apply_updates(params, updates)
        return jnp.sum(params**2 + params)

    slope = jax.jit(jax.grad(after, (0, 1, 2)))
    for grads in (jnp.zeros((4, 3)), jnp.array([[0.0, 0, 0], [1, 0, -1], [1, 0, 1], [0, 0, 0]])):
        with jax.debug_nans(True):
            slopes = slope(tx, jnp.array([1.0, 0.0, -2.0]), grads)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))


def test_derivatives_of_an_estimate_of_nothing():
    slope = jax.grad(lambda d: raised(d, 0 * d, 0 * d))
    assert float(slope(1.0)) == 1


def test_a_quotient_that_is_infinite_is_none():
    for bound in (None, 2.0):
        assert float(raised(jnp.float32(1), jnp.float32(1e30), jnp.float32(1e-30), bound)) == 1


def test_a_sum_of_absolutes():
    x = {"a": jnp.array([3.0, -4.0, 0.0]), "b": jnp.array([3 + 4j, 0]), "none": None}
    assert float(sum_of_absolutes(x)) == 12
    slope = jax.grad(lambda x: sum_of_absolutes(x))(jnp.array([3.0, -4.0, 0.0]))
    np.testing.assert_array_equal(slope, [1, -1, 0])
