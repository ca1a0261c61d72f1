"""Law 4: every floating dtype is kept, accumulators are wide, and no gradient makes a NaN that was not there."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx.tree import accumulator_dtype
from tests.conformance.cases import CASES, mixed, params_like, problem
from tests.conformance.laws import arrays, close, finite, law, programs, trace_step
from tests.conftest import x64_mode
from tests.effort import some

MOVES_WITHOUT_GRADIENT = {
    "adafactor+factored": "weight decay",
    "compensate_growth": "its purpose is to shrink the params",
    "adamaxw": "weight decay",
    "adamw": "weight decay",
    "adamw+corrected": "weight decay",
    "adamw+mask": "weight decay",
    "adamp+projecting": "weight decay",
    "asgd": "weight decay",
    "chain": "its member is adamw",
    "differentially_private_aggregate": "noise",
    "add_noise": "noise",
    "dpsgd": "noise",
    "noisy_sgd": "noise",
    "fromage": "it shrinks the params in every step",
    "qk_clip": "its purpose is to shrink the params",
    "scion+constrained": "its ball draws to the origin",
    "hutchinson_diagonal": "the curvature is not zero",
    "keep_params_in": "its purpose is to bring params inside",
    "keep_params_nonnegative": "its purpose is to raise params to zero",
    "keep_params_on_simplex": "its purpose is to bring params to the simplex",
    "keep_params_unit_norm": "its purpose is to bring params to the norm 1",
    "lamb+paper": "weight decay",
    "lars+sum_of_norms": "weight decay",
    "lion": "weight decay",
    "lion+b2_below_b1": "weight decay",
    "lion+bfloat16": "weight decay",
    "momo+adapted": "weight decay",
    "momo_adam+adapted": "weight decay",
    "novograd+decay": "weight decay",
    "stable_adamw": "weight decay",
    "dadapt_adamw+everything": "weight decay",
    "dadapt_lion+decay": "weight decay",
    "dadapt_sgd+momentum": "weight decay",
    "prodigy+everything": "weight decay",
    "scale_by_yogi": "its first moment begins at 1e-6",
    "sgdw": "weight decay",
    "sophia": "weight decay",
    "sophia+bfloat16": "weight decay",
    "tiger": "weight decay",
    "yogi": "its first moment begins at 1e-6",
}
UNCLIPPED_BY_NAN = {
    "adaptive_sharpness_aware": "a norm that is NaN perturbs nothing: the others take the gradient where they are",
    "adaptive_sharpness_aware+mask": "as without a mask",
    "chain": "its first member is clip_by_global_norm",
    "clip_by_global_norm": "a norm that is NaN clips nothing, so that the other leaves stay finite, if longer",
    "clip_by_global_norm+group": "like clip_by_global_norm",
    "normalize": "a norm that is NaN gives a step of zero",
    "normalize_by_update_norm": "a norm that is NaN gives a step of zero",
    "partition+clip": "its members clip by the norm of the whole tree",
    "sharpness_aware": "a norm that is NaN perturbs nothing: the others take the gradient where they are",
    "dog": "a norm that is NaN gives a step of zero",
    "dowg": "a norm that is NaN gives a step of zero",
    "kt": "a bet that is NaN is not counted: those of the others go on with another wealth",
    "kt+clipped": "like kt",
    "momo": "a norm that is NaN gives a step of zero",
    "momo+adapted": "a norm that is NaN gives a step of zero",
    "momo_adam": "a norm that is NaN gives a step of zero",
    "momo_adam+adapted": "a norm that is NaN gives a step of zero",
    "polyak_sgd": "a norm that is NaN gives a step of zero",
    "dadapt_adamw+everything": "a NaN ends the growth of the estimate, which is one for all leaves",
    "dadapt_lion+decay": "a NaN ends the growth of the estimate, which is one for all leaves",
    "dadapt_sgd+momentum": "a NaN ends the growth of the estimate, which is one for all leaves",
    "prodigy+everything": "a NaN ends the growth of the estimate, which is one for all leaves",
    "scale_by_dog": "a norm that is NaN gives a step of zero",
    "scale_by_dog+learning_rate": "a norm that is NaN gives a step of zero",
    "scale_by_dowg": "a norm that is NaN gives a step of zero",
    "scale_by_lbfgs": "the inner products with the memory are NaN: it is not used",
    "scale_by_lbfgs+identity": "the inner products with the memory are NaN: it is not used",
    "scale_by_kt": "like kt",
    "scale_by_momo": "a norm that is NaN gives a step of zero",
    "scale_by_momo_adam": "a norm that is NaN gives a step of zero",
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
CODES = {"quantized+small": "its state is kept in eight bits on purpose"}
WIDE_UPDATES = dict.fromkeys(
    ("kahan", "master_weights", "master_weights+remainder"),
    "its updates of leaves in low precision are float32, and bring these to numbers of that precision exactly",
)


def widths(params):
    """For the shape of each leaf, the bytes of a real number in its accumulators."""
    return {p.shape: np.dtype(accumulator_dtype(p.dtype, real=True)).itemsize for p in jax.tree.leaves(params)}


def width(x):
    """The bytes of a real number, and 0 for what is no floating number."""
    return np.zeros((), x.dtype).real.itemsize if jnp.issubdtype(x.dtype, jnp.inexact) else 0


def of_leaves(found, params):
    """Of some arrays those that are shaped like a leaf, or like several in a row, with the width they should have."""
    for x in found:
        for shape, wide in widths(params).items():
            if getattr(x, "shape", ())[-len(shape) :] == shape and width(x):
                yield x, wide


@law(4, weaker=LOW_MOMENTS | WIDE_UPDATES | CODES)
@pytest.mark.parametrize("dtype", some(["every"], ["float16", "bfloat16", "complex64", "float64"]))
def test_dtypes_are_kept_and_accumulators_are_wide(name, dtype):
    with x64_mode() if dtype in ("every", "float64") else contextlib.nullcontext():
        alone = None if dtype == "every" else {"kernel": problem(dtype)[0]["dense"]["kernel"]}
        traced = programs(name).of_every_dtype if alone is None else trace_step(CASES[name], alone)
        kept = [jax.tree.map(lambda x: x.dtype, tree) for tree in (traced.params, traced.after, traced.updates)]
        of_updates = jax.tree.map(accumulator_dtype, kept[0]) if name in WIDE_UPDATES else kept[0]
        assert (kept[1], kept[2]) == (kept[0], of_updates)
        state = jax.tree.leaves(traced.next_state)
        if name in WIDE_UPDATES:  # what it keeps beside the state of the inner one has tests of its own
            state = jax.tree.leaves(traced.next_state.inner_state)
        if name not in LOW_MOMENTS:
            assert not [x for x, wide in of_leaves(state, traced.params) if width(x) < wide]
        assert {str(x.dtype) for x in state if not width(x) >= 4} <= {"int32", "bool"} | (
            {"bfloat16"} if name in LOW_MOMENTS else {"uint8"} if name in CODES else set()
        )


def numbers_of(tx):
    """The numeric arguments of a transformation that may be schedules, and are not."""
    free = (a.name for a in tx.factory.arguments.values() if a.numeric and not a.operand)
    return {k: tx.arguments[k] for k in free if not callable(tx.arguments[k]) and tx.arguments[k] is not None}


@law(4)
def test_nothing_shaped_like_a_leaf_is_wider_than_its_accumulator(name):
    """In x64 mode numbers are float64, as arguments are and schedules' values: no reason to compute with leaves so."""
    with x64_mode():
        tx, params = CASES[name], mixed()
        schedules = {k: lambda step, x=x: jnp.asarray(x, jnp.float64) for k, x in numbers_of(tx).items()}
        for traced in (
            programs(name).of_every_dtype,
            trace_step(tx, params, *(jnp.asarray(x, jnp.float64) for x in jax.tree.leaves(tx))),
            trace_step(tx.replace(**schedules), params),
        ):
            too_wide = {str(x) for x, wide in of_leaves(arrays(traced.program.jaxpr), params) if width(x) > wide}
            assert not too_wide


@law(4)
@pytest.mark.parametrize("dtype", some(["every"], ["float32", "float64", "bfloat16", "complex64"]))
def test_strict_promotion_of_dtypes_is_no_obstacle(name, dtype):
    with x64_mode(), jax.numpy_dtype_promotion("strict"):
        trace_step(CASES[name], mixed() if dtype == "every" else params_like(jnp.dtype(dtype)))


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
    "add_noise": "its noise is complex where the gradients are",
    "quantized+small": "complex arrays are not stored in eight bits",
    "dpsgd": "its noise is complex where the gradients are",
    "noisy_sgd": "its noise is complex where the gradients are",
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
def test_a_thousand_zero_gradients_do_nothing_bad(name):
    case, (params, grads) = programs(name), problem()
    zeros = jax.tree.map(jnp.zeros_like, grads)
    for begin in (params, jax.tree.map(jnp.zeros_like, params)):
        now = begin, case.tx.init(begin)
        for _ in range(50):
            now = case.advance(*now, zeros)
        assert finite(now)
        if name not in MOVES_WITHOUT_GRADIENT:
            close(now[0], begin)


PRODUCTS = dict.fromkeys(
    ("scale_by_param_block_norm", "scale_by_param_block_rms"),
    "gradients of 1e30 make params of that size, and the next product is no float32",
)


@law(4, exempt=PRODUCTS)
def test_tiny_and_huge_gradients_stay_finite(name):
    case, (params, grads) = programs(name), problem()
    for size in (1e-30, 1e30):
        after, _ = case.advance(params, case.tx.init(params), jax.tree.map(lambda g, size=size: g * size, grads))
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
