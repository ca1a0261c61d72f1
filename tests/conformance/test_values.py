"""Law 8: transformations and schedules are values, and every number of a transformation may be a schedule."""

import json
import pickle

import jax
import jax.numpy as jnp
import pytest

import gradtx
from tests.conformance.cases import CASES, SCHEDULES, TRANSFORMATIONS, VALUES, as_given, at, problem, step_once
from tests.conformance.laws import close, law, programs

NO_TEXT = {
    "adam+schedules": "one of its arguments is a plain function, which has no text",
    "conditionally_mask": "its condition is a plain function, which has no text",
    "conditionally_transform": "its condition is a plain function, which has no text",
    "custom_schedule": "its argument is a plain function, which has no text",
    "from_functions": "its arguments are plain functions, which have no text",
    "measure_with_ema": "its measure is a plain function, which has no text",
    "skip_if": "its predicate is a plain function, which has no text",
    "snapshot": "its measure is a plain function, which has no text",
    "stateless": "its argument is a plain function, which has no text",
    "stateless_with_tree_map": "its argument is a plain function, which has no text",
    "with_state_reset+everything": "its condition is a plain function, which has no text",
}


@law(8, VALUES, exempt=NO_TEXT)
def test_text_and_config_give_the_value_back(name):
    value = VALUES[name]
    for copy in (
        gradtx.parse(repr(value)),
        gradtx.from_config(json.loads(json.dumps(gradtx.to_config(value)))),
        pickle.loads(pickle.dumps(value)),  # noqa: S301
        value.replace(),
    ):
        assert copy == value
        assert hash(copy) == hash(value)
        assert repr(copy) == repr(value)


@pytest.mark.parametrize("name", NO_TEXT)
def test_a_plain_function_has_no_text(name):
    with pytest.raises((gradtx.errors.ArgumentTypeError, gradtx.errors.ArgumentValueError)):
        gradtx.parse(repr(VALUES[name]))
    with pytest.raises(gradtx.errors.ArgumentTypeError, match="expected numbers, strings, containers and registered"):
        gradtx.to_config(VALUES[name])
    assert VALUES[name].replace() == VALUES[name]


@law(8, VALUES)
def test_values_are_equal_by_factory_and_arguments(name):
    value = VALUES[name]
    assert value == value.replace()
    assert [key for key, other in VALUES.items() if other == value] == [name]


@law(8, VALUES)
def test_flatten_and_unflatten_give_the_value_back(name):
    leaves, treedef = jax.tree.flatten(VALUES[name])
    assert treedef.unflatten(leaves) == VALUES[name]
    assert all(isinstance(leaf, float | jax.Array) for leaf in leaves)


COUNTS = ("sync_period", "patience", "cooldown", "accumulation_size")
"""Arguments of which only whole numbers are of interest."""


def varied(argument, start, steps):
    """Values of an argument, one per step, inside its range."""
    start = float(start) if isinstance(start, int | float) else max(argument.range.low, 0.5)
    if argument.name in COUNTS:
        return [start + i % 2 for i in range(steps)]
    if argument.range.low > 0 and start * 0.9 < argument.range.low:
        return [start + 0.01 * i for i in range(steps)]
    return [start * (1 - 0.01 * i) for i in range(steps)]


ONLY_NUMBERS = dict.fromkeys(SCHEDULES, "schedules are combined by arithmetic; no number of one is itself a schedule")


@law(8, exempt=ONLY_NUMBERS)
def test_every_number_may_be_a_schedule(name):
    base, (params, grads), steps = TRANSFORMATIONS[name], problem(), 5
    numbers = [a for a in base.factory.arguments.values() if a.numeric]
    values = {a.name: varied(a, base.arguments[a.name], steps) for a in numbers}
    if not numbers:
        return
    tables = {key: jnp.array(value) for key, value in values.items()}
    tx = base.replace(**{key: lambda step, table=table: table[step] for key, table in tables.items()})
    step = jax.jit(lambda *args: step_once(tx, *args))
    by_hand = [base.replace(**{key: value[i] for key, value in values.items()}) for i in range(steps)]
    by_hand = [jax.tree.map(jnp.float32, tx) for tx in by_hand]  # as elsewhere, so that one program does for all
    p, state = params, tx.init(params)
    q, state_by_hand = params, by_hand[0].init(params)
    for i in range(steps):
        p, state = step(p, state, at(grads, i), i)
        q, state_by_hand = programs(name).of_any(by_hand[i], q, state_by_hand, at(grads, i), i)
        for key, value in values.items():
            assert float(gradtx.get_hyperparams(state)[key]) == pytest.approx(value[i])
    close(p, q, rtol=1e-4, atol=1e-5)
    close(state.inner, state_by_hand, rtol=1e-4, atol=1e-5)


NO_DESCENT = {
    "freeze": "its purpose is to stand still",
    "hutchinson_diagonal": "an estimate of curvature is no direction",
    "keep_params_in": "its steps are those of the gradient, unscaled, and the minimum may be outside",
    "keep_params_nonnegative": "its steps are those of the gradient, unscaled",
    "keep_params_on_simplex": "its steps are those of the gradient, unscaled, and the minimum is outside",
    "keep_params_unit_norm": "its steps are those of the gradient, unscaled, and the minimum is outside",
    "qk_clip": "its steps are those of the gradient, unscaled",
    "scale_by_dadapt_lion": "a twentieth of its steps is no way to the target, whatever their length: see dadapt_lion",
    "selective_transform": "the only leaf is one that it freezes",
    "scale_by_kt": "like kt",
    "kt": "it is for gradients of norm 1, and these are longer: see the clipped one",
    "set_to_zero": "its purpose is to stand still",
}
SCALINGS = {n for n in CASES if n.startswith("scale_by_")} - {
    "scale_by_asgd",
    "scale_by_backtracking_linesearch",
    "scale_by_backtracking_linesearch+store_grad",
    "scale_by_cocob",
    "scale_by_kt",
    "scale_by_learning_rate",
    "scale_by_madgrad",
    "scale_by_schedule",
    "scale_by_zoom_linesearch",
}
DIRECTIONS = (
    SCALINGS
    | set(SCHEDULES)
    | {
        "adaptive_grad_clip",
        "add_cautious_weight_decay",
        "add_decayed_weights",
        "add_noise",
        "apply_every",
        "centralize",
        "chain+empty",
        "clip",
        "clip_by_block_rms",
        "clip_by_global_norm",
        "compensate_growth",
        "differentially_private_aggregate",
        "ema",
        "heun",
        "grokfast",
        "grokfast_ma",
        "mars_correction",
        "identity",
        "measure_with_ema",
        "monitor",
        "normalize",
        "normalize_by_update_norm",
        "normalize_neurons",
        "orthogonalize_updates",
        "ralston",
        "reduce_on_plateau",
        "rk4",
        "runge_kutta",
        "scale_to_rms",
        "snapshot",
        "steepest_direction",
        "trace",
        "whiten_updates",
        "zero_nans",
    }
)
"""Transformations that return a direction of ascent, to be followed by a learning rate."""


@law(8, exempt=NO_DESCENT)
def test_descends_on_a_parabola(name):
    tx = CASES[name]
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

    final = jax.jit(lambda p: jax.lax.scan(body, (p, tx.init(p)), jnp.arange(60))[0][0])(params)
    assert float(loss(final)) < float(loss(params))
