"""Law 4: every floating dtype is kept, accumulators are wide, and no gradient makes a NaN that was not there."""

import contextlib

import jax
import jax.numpy as jnp
import pytest

from tests.conformance.cases import CASES, at, full_step, problem
from tests.conformance.laws import close, finite, law, programs
from tests.conftest import x64_mode

MOVES_WITHOUT_GRADIENT = {
    "adamw": "weight decay",
    "adamw+mask": "weight decay",
    "chain": "its member is adamw",
    "differentially_private_aggregate": "noise",
    "dpsgd": "noise",
    "hutchinson_diagonal": "the curvature is not zero",
    "lion": "weight decay",
    "lion+b2_below_b1": "weight decay",
    "lion+bfloat16": "weight decay",
    "scale_by_yogi": "its first moment begins at 1e-6",
    "sophia": "weight decay",
    "sophia+bfloat16": "weight decay",
    "yogi": "its first moment begins at 1e-6",
}
UNCLIPPED_BY_NAN = {
    "adaptive_sharpness_aware": "a norm that is NaN perturbs nothing: the others take the gradient where they are",
    "adaptive_sharpness_aware+mask": "as without a mask",
    "chain": "its first member is clip_by_global_norm",
    "clip_by_global_norm": "a norm that is NaN clips nothing, so that the other leaves stay finite, if longer",
    "clip_by_global_norm+group": "like clip_by_global_norm",
    "partition+clip": "its members clip by the norm of the whole tree",
    "sharpness_aware": "a norm that is NaN perturbs nothing: the others take the gradient where they are",
    "polyak_sgd": "a norm that is NaN gives a step of zero",
    "scale_by_lbfgs": "the inner products with the memory are NaN: it is not used",
    "scale_by_lbfgs+identity": "the inner products with the memory are NaN: it is not used",
    "scale_by_polyak": "a norm that is NaN gives a step of zero",
    "scale_by_polyak+positive": "a norm that is NaN gives a step of zero",
}
GUARDS = {
    "apply_if_finite": "a NaN anywhere skips the whole update: that is its purpose",
    "apply_if_finite+skip": "a NaN anywhere skips the whole update: that is its purpose",
    "differentially_private_aggregate": "an example with a NaN anywhere is left out: that bounds its influence",
    "dpsgd": "an example with a NaN anywhere is left out: that bounds its influence",
    "lbfgs": "its search goes nowhere where the slope is NaN",
    "lbfgs+backtracking": "its search goes nowhere where the slope is NaN",
    "scale_by_backtracking_linesearch": "there is no search where the slope is NaN",
    "scale_by_backtracking_linesearch+store_grad": "there is no search where the slope is NaN",
    "scale_by_zoom_linesearch": "there is no search where the slope is NaN",
    "skip_large_updates": "a norm that is NaN skips the whole update: that is its purpose",
}
LOW_MOMENTS = dict.fromkeys(
    ("adam+bfloat16", "lion+bfloat16", "sophia+bfloat16"),
    "its first moment is kept in bfloat16 on purpose, unless it is complex",
)


@law(4, weaker=LOW_MOMENTS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64", "float64"])
def test_dtypes_are_kept_and_accumulators_are_wide(name, dtype):
    with x64_mode() if dtype == "float64" else contextlib.nullcontext():
        params, grads = problem(dtype)
        tx = CASES[name]
        state = jax.eval_shape(tx.init, params)
        after, state, updates = jax.eval_shape(lambda *a: full_step(tx, *a), params, state, at(grads, 0), 0)
        assert {x.dtype for x in jax.tree.leaves((after, updates))} == {jnp.dtype(dtype)}
        wide = {"float64", "complex64"} if dtype == "float64" else {"float32", "complex64"}
        allowed = wide | {"int32", "bool"} | ({"bfloat16"} if name in LOW_MOMENTS else set())
        assert {str(x.dtype) for x in jax.tree.leaves(state)} <= allowed


BY_COMPARISON = {
    "lbfgs+backtracking": "how often its search shortens a step is decided by the values of a loss, which are rounded",
}


@law(4, weaker=BY_COMPARISON)
def test_low_precision_tracks_float32(name):
    case = programs(name)
    problems = zip(problem("bfloat16"), problem("float16"), strict=True)
    params, grads = ({**x, "dense": {**x["dense"], "bias": y["dense"]["bias"]}} for x, y in problems)
    low, _ = case.advance(params, case.tx.init(params), grads)
    assert jax.tree.map(lambda x: x.dtype, low) == jax.tree.map(lambda x: x.dtype, params)
    high = jax.tree.map(lambda x: x.astype(jnp.float32), (params, grads))
    high, _ = case.advance(high[0], case.tx.init(high[0]), high[1])
    assert finite(low)
    # Each step rounds parameters of size about 1 to 8 bits: half of 2**-8, twenty times, and again in the gradients.
    scale = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(high) if x.size)
    if name not in BY_COMPARISON:
        close(jax.tree.map(lambda x: x.astype(jnp.float32), low), high, atol=20 * 2**-8 * max(scale, 1.0))


COMPLEX_OTHERWISE = LOW_MOMENTS | {
    "differentially_private_aggregate": "its noise is complex where the gradients are",
    "dpsgd": "its noise is complex where the gradients are",
}


@law(4, weaker=COMPLEX_OTHERWISE)
def test_complex_numbers_extend_the_real_ones(name):
    case, (params, grads) = programs(name), problem("complex64")
    assert finite(case.advance(params, case.tx.init(params), grads)[0])
    params, grads = problem()
    expected, _ = case.advance(params, case.tx.init(params), grads)
    flat = jax.tree.map(lambda x: x.astype(jnp.complex64), (params, grads))
    got, _ = case.advance(flat[0], case.tx.init(flat[0]), flat[1])
    if name not in COMPLEX_OTHERWISE:
        close(got, jax.tree.map(lambda x: x.astype(jnp.complex64), expected), rtol=1e-4, atol=1e-5)


@law(4, weaker=MOVES_WITHOUT_GRADIENT)
@pytest.mark.parametrize("factor", [1.0, 0.0], ids=["params", "zero_params"])
def test_a_thousand_zero_gradients_do_nothing_bad(name, factor):
    case, (params, grads) = programs(name), problem()
    params, zeros = jax.tree.map(lambda x: x * factor, params), jax.tree.map(jnp.zeros_like, grads)
    now = params, case.tx.init(params)
    for _ in range(50):
        now = case.advance(*now, zeros)
    assert finite(now)
    if name not in MOVES_WITHOUT_GRADIENT:
        close(now[0], params)


@law(4)
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_tiny_and_huge_gradients_stay_finite(name, size):
    case, (params, grads) = programs(name), problem()
    after, _ = case.advance(params, case.tx.init(params), jax.tree.map(lambda g: g * size, grads))
    assert finite(after)


@law(4, weaker=UNCLIPPED_BY_NAN | GUARDS)
def test_one_nan_leaf_leaves_the_others_right(name):
    case, (params, grads) = programs(name), problem()
    spoilt = {**grads, "dense": {**grads["dense"], "bias": grads["dense"]["bias"].at[2].set(jnp.nan)}}
    expected, _ = case.advance(params, case.tx.init(params), grads)
    got, _ = case.advance(params, case.tx.init(params), spoilt)
    if name in GUARDS:
        assert finite(got)
    elif name in UNCLIPPED_BY_NAN:
        assert finite(got["dense"]["kernel"])
    else:
        close(got["dense"]["kernel"], expected["dense"]["kernel"])
