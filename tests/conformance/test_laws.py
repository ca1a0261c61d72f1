"""Laws that every registered transformation and optimizer obeys."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.conformance.cases import (
    REGISTRY,
    STEPS,
    TRANSFORMATIONS,
    VALUES,
    as_given,
    extras,
    gradients,
    params_like,
    run,
    step_once,
)
from tests.conftest import x64_mode

every = pytest.mark.parametrize("name", TRANSFORMATIONS)
every_value = pytest.mark.parametrize("name", VALUES)

NO_DESCENT = {
    "freeze": "its purpose is to stand still",
    "hutchinson_diagonal": "an estimate of curvature is no direction",
    "set_to_zero": "its purpose is to stand still",
}
"""Transformations that do not move along the gradient, with the reason."""

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
"""Transformations that move parameters whose gradients are zero, with the reason."""

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
"""Transformations in which a NaN in one leaf undoes the shrinking or the shift of the others, with the reason."""

GUARDS = {
    "differentially_private_aggregate": "an example with a NaN anywhere is left out: that bounds its influence",
    "dpsgd": "an example with a NaN anywhere is left out: that bounds its influence",
    "apply_if_finite": "a NaN anywhere skips the whole update: that is its purpose",
    "lbfgs": "its search goes nowhere where the slope is NaN",
    "scale_by_backtracking_linesearch": "there is no search where the slope is NaN",
    "scale_by_zoom_linesearch": "there is no search where the slope is NaN",
    "skip_large_updates": "a norm that is NaN skips the whole update: that is its purpose",
}
"""Transformations that answer a NaN in one leaf by skipping the update of all, with the reason."""

SCALINGS = {name for name in REGISTRY if name.startswith("scale_by_")} - {
    "scale_by_backtracking_linesearch",
    "scale_by_learning_rate",
    "scale_by_schedule",
    "scale_by_zoom_linesearch",
}
DIRECTIONS = SCALINGS | {
    "adaptive_grad_clip",
    "add_decayed_weights",
    "centralize",
    "chain+empty",
    "clip",
    "differentially_private_aggregate",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "ema",
    "heun",
    "identity",
    "monitor",
    "monitor+groups",
    "ralston",
    "reduce_on_plateau",
    "rk4",
    "runge_kutta",
    "trace",
    "zero_nans",
}
"""Transformations that return a direction of ascent, to be followed by a learning rate."""


class Counting:
    """A function that remembers how often it was traced."""

    def __init__(self, function):
        self.function, self.traces = function, 0

    def __call__(self, *args):
        self.traces += 1
        return self.function(*args)


def describe(tree):
    return jax.tree.structure(tree), [(x.shape, x.dtype, x.weak_type) for x in map(jnp.asarray, jax.tree.leaves(tree))]


def close(a, b, rtol=2e-5, atol=2e-6):
    chex.assert_trees_all_close(a, b, rtol=rtol, atol=atol)


@every
def test_state_structure_is_fixed(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    state = tx.init(params)
    _, after = step_once(tx, params, state, params, 0)
    assert describe(after) == describe(state)
    assert not any(weak for *_, weak in describe(after)[1])


@every
def test_init_is_abstract_and_aliases_nothing(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    state = tx.init(params)
    abstract = jax.eval_shape(tx.init, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, state)
    buffers = {x.unsafe_buffer_pointer() for x in jax.tree.leaves(params) if x.size}
    assert not buffers & {x.unsafe_buffer_pointer() for x in jax.tree.leaves(state) if x.size}


@every
def test_eager_jit_scan_and_fori_agree_and_trace_once(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    grads = gradients(params)
    step = Counting(functools.partial(step_once, tx))
    compiled = jax.jit(step)
    eager, jitted = (params, tx.init(params)), (params, tx.init(params))
    for index in range(STEPS):
        g = jax.tree.map(lambda x, i=index: x[i], grads)
        eager = step_once(tx, *eager, g, index)
        jitted = compiled(*jitted, g, index)
    assert step.traces == 1
    close(eager, jitted)
    close(eager, jax.jit(lambda p, g: run(tx, p, g))(params, grads))
    looped = jax.lax.fori_loop(
        0, STEPS, lambda i, c: step_once(tx, *c, jax.tree.map(lambda x: x[i], grads), i), (params, tx.init(params))
    )
    close(eager, looped)


@every
def test_vmap_equals_separate_runs(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    batch = jax.tree.map(lambda x: jnp.stack([x, 2 * x, -x]), params)
    grads = jax.tree.map(lambda x: jnp.stack([x, -x, 3 * x]), gradients(params))
    together = jax.jit(jax.vmap(lambda p, g: run(tx, p, g)))(batch, grads)
    one = jax.jit(lambda p, g: run(tx, p, g))
    for i in range(3):
        p, g = jax.tree.map(lambda x, i=i: x[i], (batch, grads))
        close(jax.tree.map(lambda x, i=i: x[i], together), one(p, g))


@every
def test_donation_is_safe(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    grads = gradients(params)
    expected = jax.jit(lambda p, g: run(tx, p, g))(params, grads)
    step = jax.jit(functools.partial(step_once, tx), donate_argnums=(0, 1))
    params, state = jax.tree.map(jnp.copy, params), tx.init(params)
    for index in range(STEPS):
        params, state = step(params, state, jax.tree.map(lambda x, i=index: x[i], grads), index)
    close((params, state), expected)


@every
def test_a_saved_and_restored_state_continues_with_the_same_bits(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    grads = gradients(params)
    step = jax.jit(functools.partial(step_once, tx))
    straight, resumed = (params, tx.init(params)), (params, tx.init(params))
    for index in range(STEPS):
        g = jax.tree.map(lambda x, i=index: x[i], grads)
        straight, resumed = step(*straight, g, index), step(*resumed, g, index)
        if index == STEPS // 2:
            paths, _ = jax.tree_util.tree_flatten_with_path(resumed[1])
            saved = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}
            treedef = jax.tree.structure(jax.eval_shape(tx.init, params))
            resumed = resumed[0], treedef.unflatten(saved.values())
            assert len(saved) == treedef.num_leaves
    chex.assert_trees_all_equal(straight, resumed)


@every
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64"])
def test_dtypes_are_kept_and_accumulators_are_wide(name, dtype):
    tx = TRANSFORMATIONS[name]
    params = params_like(jnp.dtype(dtype))
    final, state = run(tx, params, gradients(params))
    assert all(p.dtype == dtype for p in jax.tree.leaves(final))
    allowed = {"float32", "complex64", "int32", "bool", "bfloat16" if "bfloat16" in name else "float32"}
    assert {str(x.dtype) for x in jax.tree.leaves(state)} <= allowed
    assert all(bool(jnp.all(jnp.isfinite(p))) for p in jax.tree.leaves(final))


@every
def test_bfloat16_tracks_float32(name):
    tx = TRANSFORMATIONS[name]
    params = params_like(jnp.bfloat16)
    grads = gradients(params)
    low, _ = run(tx, params, grads)
    high, _ = run(tx, *jax.tree.map(lambda x: x.astype(jnp.float32), (params, grads)))
    # Each step rounds parameters of size about 1 to 8 bits: half of 2**-8, STEPS times, and again in the gradients.
    scale = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(high) if x.size)
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: x.astype(jnp.float32), low), high, atol=STEPS * 2**-8 * max(scale, 1.0)
    )


@every
def test_x64_keeps_the_structure_and_float64(name):
    with x64_mode():
        for dtype in (jnp.float32, jnp.float64):
            tx, params = TRANSFORMATIONS[name], params_like(dtype)
            state = tx.init(params)
            after_params, after = step_once(tx, params, state, params, 0)
            assert describe(after) == describe(state)
            assert describe(after_params) == describe(params)


@every
def test_strict_promotion_of_dtypes_is_no_obstacle(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    with jax.numpy_dtype_promotion("strict"):
        state = tx.init(params)
        given = extras(params, params, 0)
    with jax.numpy_dtype_promotion("strict"):
        tx.update(as_given(tx, params), state, params, **given)


@every
def test_zero_gradients_for_long_do_nothing_bad(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    zeros = jax.tree.map(lambda p: jnp.zeros((300, *p.shape)), params)
    final, state = jax.jit(lambda p, g: run(tx, p, g))(params, zeros)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves((final, state)))
    if name not in MOVES_WITHOUT_GRADIENT:
        close(final, params)


@every
def test_one_nan_leaf_leaves_the_others_right(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    grads = gradients(params)
    spoilt = {**grads, "dense": {**grads["dense"], "bias": grads["dense"]["bias"].at[2].set(jnp.nan)}}
    expected, _ = run(tx, params, grads)
    got, _ = run(tx, params, spoilt)
    if name.partition("+")[0] in GUARDS:
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(got))
    elif name in UNCLIPPED_BY_NAN:
        assert bool(jnp.all(jnp.isfinite(got["dense"]["kernel"])))
    else:
        close(got["dense"]["kernel"], expected["dense"]["kernel"])
        close(got["pair"], expected["pair"])


@every
def test_absent_gradients_leave_parameters_and_state(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    grads = {**params, "pair": (None, params["pair"][1])}
    state = tx.init(params)
    after, new_state = step_once(tx, params, state, grads, 0)
    np.testing.assert_array_equal(after["pair"][0], params["pair"][0])
    assert describe(new_state) == describe(state)


@every
def test_integer_parameters_are_passed_over(name):
    tx, params = TRANSFORMATIONS[name], {"kernel": jnp.ones((2, 2)), "table": jnp.arange(3)}
    grads = jax.grad(lambda p: jnp.sum(p["kernel"] ** 2), allow_int=True)(params)
    assert grads["table"].dtype == jax.dtypes.float0
    after, state = step_once(tx, params, tx.init(params), grads, 0)
    chex.assert_trees_all_equal(after["table"], params["table"])
    assert describe(state) == describe(tx.init(params))


@every
@pytest.mark.parametrize("params", [{}, (), [], {"a": None}], ids=repr)
def test_empty_trees(name, params):
    tx = TRANSFORMATIONS[name]
    updates, _ = tx.update(params, tx.init(params), params, **extras(params, params, 0))
    assert updates == params


@every
def test_scalar_params(name):
    tx = TRANSFORMATIONS[name]
    if "*kernel" in repr(tx):  # a glob that matches nothing is an error, and the leaf here has no name
        tx = gradtx.parse(repr(tx).replace("*kernel", "*"))
    params = jnp.float32(2.0)
    after, state = step_once(tx, params, tx.init(params), jnp.float32(1.0), 0)
    assert after.shape == ()
    assert describe(state) == describe(tx.init(params))


@every_value
def test_text_and_config_give_the_value_back(name):
    value = VALUES[name]
    if _has_function(value):
        with pytest.raises((gradtx.errors.ArgumentTypeError, gradtx.errors.ArgumentValueError)):
            gradtx.parse(repr(value))
        return
    assert gradtx.parse(repr(value)) == value
    assert repr(gradtx.parse(repr(value))) == repr(value)
    assert gradtx.from_config(gradtx.to_config(value)) == value
    assert hash(gradtx.parse(repr(value))) == hash(value)


def _has_function(value):
    """Whether an argument is a plain function, which has no text."""
    return "<function" in repr(value)


@every_value
def test_flatten_and_unflatten_give_the_value_back(name):
    leaves, treedef = jax.tree.flatten(VALUES[name])
    assert treedef.unflatten(leaves) == VALUES[name]
    assert all(isinstance(leaf, float | jax.Array) for leaf in leaves)


@every
def test_a_transformation_is_an_argument_of_a_compiled_function(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    grads = gradients(params)
    function = Counting(run)
    compiled = jax.jit(function)
    # As an argument, 0.999 is a float32, and 1 - 0.999 then has a relative error of 6e-5.
    close(compiled(tx, params, grads), run(tx, params, grads), rtol=2e-4)
    compiled(jax.tree.map(lambda x: x * 0.99, tx), params, grads)
    assert function.traces == 1


@every
def test_derivatives_with_respect_to_everything_are_finite(name):
    tx, params = TRANSFORMATIONS[name], params_like()
    grads = gradients(params)
    grads = jax.tree.map(lambda g: g.at[:, :1].set(0.0) if g.ndim > 2 else g, grads)

    def loss(tx, params):
        final, _ = run(tx, params, grads)
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(final))

    with jax.debug_nans(True):
        by_tx, by_params = jax.jit(jax.grad(loss, argnums=(0, 1)))(tx, params)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves((by_tx, by_params)))
    assert type(by_tx) is type(tx)


NUMERIC = [
    pytest.param(name, key, id=f"{name}-{key}")
    for name, factory in REGISTRY.items()
    for key, argument in factory.arguments.items()
    if argument.numeric and factory.kind != "schedule"
]


@pytest.mark.parametrize(("name", "argument"), NUMERIC)
def test_every_number_may_be_a_schedule(name, argument):
    base = TRANSFORMATIONS[name]
    start = base.arguments[argument]
    start = 0.5 if start is None else float(start)
    values = [start * (1 - 0.01 * i) if argument != "threshold" else start + 0.01 * i for i in range(STEPS)]
    if argument in ("sync_period", "patience", "cooldown", "accumulation_size"):
        values = [start + i % 2 for i in range(STEPS)]
    table = jnp.array(values)
    tx, params = base.replace(**{argument: lambda step: table[step]}), params_like()
    grads = gradients(params)
    p, state = params, tx.init(params)
    q, by_hand = params, base.replace(**{argument: values[0]}).init(params)
    for i in range(STEPS):
        g = jax.tree.map(lambda x, i=i: x[i], grads)
        p, state = step_once(tx, p, state, g, i)
        q, by_hand = step_once(base.replace(**{argument: values[i]}), q, by_hand, g, i)
        assert float(gradtx.get_hyperparams(state)[argument]) == pytest.approx(values[i])
    close(p, q, rtol=1e-4, atol=1e-5)
    close(state.inner, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in TRANSFORMATIONS if n not in NO_DESCENT])
def test_descends_on_a_parabola(name):
    tx = TRANSFORMATIONS[name]
    if {name, name.partition("+")[0]} & DIRECTIONS:
        tx = gradtx.chain(tx, gradtx.scale_by_learning_rate(0.05))
    if "learning_rate" in tx.arguments:
        tx = tx.replace(learning_rate=0.05)
    params = {"kernel": jnp.array([[1.0, -2.0], [3.0, -0.5]])}

    def loss(p):
        return jnp.sum((p["kernel"] - 0.3) ** 2)

    def body(carry, index):
        p, state = carry
        value, g = jax.value_and_grad(loss)(p)
        given = {"value": value, "grad": g, "value_fn": loss, "key": jax.random.key(index)}
        updates, state = tx.update(as_given(tx, g), state, p, **given)
        return (gradtx.apply_updates(p, updates), state), None

    final = jax.lax.scan(body, (params, tx.init(params)), jnp.arange(60))[0][0]
    assert float(loss(final)) < float(loss(params))
