"""What holds for every schedule of the step."""

import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import schedules

from .checks import x64

CYCLE = {"init_value": 0.1, "peak_value": 1.0, "warmup_steps": 3, "decay_steps": 11, "end_value": 0.05}

EXAMPLES = [
    schedules.constant_schedule(0.3),
    schedules.linear_schedule(0.9, 0.2, 7, 3),
    schedules.polynomial_schedule(0.9, 0.2, 1.7, 7, 3),
    schedules.rex_schedule(0.9, 0.2, 7, 0.6, 3),
    schedules.cosine_decay_schedule(0.9, 11, 0.1, 1.3),
    schedules.exponential_decay(0.9, 7, 0.8, 3, end_value=0.6),
    schedules.exponential_decay(0.9, 7, 0.8, 3, True),
    schedules.natural_exp_decay(0.9, 7, 0.4),
    schedules.inverse_time_decay(0.9, 7, 0.4, True),
    schedules.inverse_time_decay(0.9, 7, 0.4),
    schedules.inverse_time_decay(0.9, 7, 0.4, power=0.5),
    schedules.half_life_schedule(0.8, 0.95, 7, 3),
    schedules.debiased_decay(0.9),
    schedules.ema_warmup_decay(0.9, 0.2, 5.0, 0.8),
    schedules.power_function_decay(2.5),
    schedules.piecewise_constant_schedule(0.9, {5: 0.5, 11: 0.1}),
    schedules.piecewise_interpolate_schedule("cosine", 0.9, {5: 0.5, 11: 2.0}),
    schedules.warmup_constant_schedule(0.1, 0.9, 7),
    schedules.warmup_cosine_decay_schedule(0.1, 0.9, 5, 17, 0.05, 1.3),
    schedules.warmup_exponential_decay_schedule(0.1, 0.9, 5, 7, 0.8, 3, end_value=0.01),
    schedules.warmup_stable_decay_schedule(0.1, 0.9, 5, 6, 7, 0.05, "linear"),
    schedules.warmup_stable_decay_schedule(0.1, 0.9, 5, 6, 7, 0.05, "1-sqrt"),
    schedules.wsds_schedule(0.1, 0.9, 5, [14, 23], 7, 0.05, "1-sqrt"),
    schedules.cosine_onecycle_schedule(21, 0.9),
    schedules.linear_onecycle_schedule(21, 0.9),
    schedules.sgdr_schedule([CYCLE, CYCLE | {"peak_value": 0.5, "exponent": 2.0}]),
    schedules.join_schedules([schedules.linear_schedule(0.9, 0.2, 7), schedules.constant_schedule(0.5)], [9]),
    schedules.repeat_schedule(schedules.linear_schedule(0.9, 0.2, 7), 9, value_factor=0.8),
    schedules.repeat_schedule(schedules.cosine_decay_schedule(0.9, 7), 6.5, 1.5, 0.8),
    schedules.linear_schedule(0.9, 0.2, 7) * schedules.debiased_decay(0.9) + 0.1,
]
LENGTHS = {"transition_steps", "warmup_steps", "stable_steps", "decay_steps", "transition_begin"}
# One shape of steps everywhere: most of the time goes into compiling.
STEPS = np.arange(32)
CORNERS = np.array([*range(31), 10**9], np.float32)
BETWEEN = np.linspace(0.3, 25.7, 32)

every = pytest.mark.parametrize("made", EXAMPLES, ids=[repr(made).partition("(")[0] for made in EXAMPLES])


def test_there_is_an_example_of_every_schedule():
    names = {name for name, factory in gradtx.registry().items() if factory.function.__module__.startswith(SOURCE)}
    assert names == {made.factory.name for made in EXAMPLES} | ELSEWHERE


SOURCE = "gradtx.schedules."
ELSEWHERE = {
    "plateau_schedule",
    "constant_schedule",
    *(f"{name}_schedules" for name in ("subtract", "multiply", "divide")),
}
"""Schedules with tests of their own: one that observes, one that never changes, and arithmetic."""


@every
def test_all_ways_to_evaluate_agree(made):
    together, same = made(STEPS), {"rtol": 1e-6, "atol": 1e-7}
    for n in (0, 4, 9, 29):
        np.testing.assert_allclose(made(n), together[n], **same)
        np.testing.assert_allclose(made(jnp.int32(n)), together[n], **same)
    np.testing.assert_allclose(made(jnp.asarray(STEPS, jnp.float32)), together, **same)
    np.testing.assert_allclose(made.sample(32), together, **same)
    np.testing.assert_allclose(jax.jit(lambda made, n: made(n))(made, STEPS), together, **same)
    _, scanned = jax.lax.scan(lambda n, _: (n + 1, made(n)), jnp.int32(0), length=32)
    np.testing.assert_allclose(scanned, together, **same)


@every
def test_results_are_floats_of_the_default_width(made):
    def check(dtype):
        for step in (3, np.int64(3), jnp.int32(3), jnp.uint32(3)):
            value = made(step)
            assert (value.dtype, value.shape, value.weak_type) == (dtype, (), False)
        assert made(STEPS).shape == STEPS.shape
        traced = jax.eval_shape(lambda n, made: made(n), 3, made)
        assert (traced.dtype, traced.shape, traced.weak_type) == (dtype, (), False)

    check(jnp.float32)
    with x64():
        check(jnp.float64)


@every
def test_text_config_and_pickle_round_trip(made):
    for copy in (
        gradtx.parse(repr(made)),
        gradtx.from_config(json.loads(json.dumps(gradtx.to_config(made)))),
        pickle.loads(pickle.dumps(made)),  # noqa: S301
        made.replace(),
        jax.tree.map(lambda x: x, made),
    ):
        assert copy == made
        assert copy.sample(32).tolist() == made.sample(32).tolist()
    assert repr(gradtx.parse(repr(made))) == repr(made)


@every
def test_a_sweep_equals_separate_schedules(made):
    leaves, treedef = jax.tree.flatten(made)
    factors = np.array([1.0, 0.9], np.float32)
    swept = treedef.unflatten([leaf * factors for leaf in leaves])
    together = jax.vmap(lambda made: made.sample(32))(swept)
    for factor, values in zip(factors, together, strict=True):
        alone = treedef.unflatten([leaf * factor for leaf in leaves])
        np.testing.assert_allclose(values, alone.sample(32), rtol=1e-5, atol=1e-7)


def values_and_slopes(made, steps):
    """The value at each step, and its derivatives with respect to each number of the schedule."""
    return jax.vmap(jax.value_and_grad(lambda made, step: made(step)), in_axes=(None, 0))(made, steps)


def floats(made):
    return jax.tree.map(lambda x: jnp.asarray(x, float), made)


@every
def test_derivatives_are_those_of_finite_differences(made):
    with x64():
        slopes = jax.tree.leaves(values_and_slopes(floats(made), BETWEEN)[1])
        leaves, treedef = jax.tree.flatten(floats(made))
        assert len(slopes) == len(leaves) > 0

        def moved(h):
            return treedef.unflatten([x + dx for x, dx in zip(leaves, h, strict=True)])(BETWEEN)

        for h, slope in zip(1e-6 * np.eye(len(leaves)), slopes, strict=True):
            np.testing.assert_allclose(slope, (moved(h) - moved(-h)) / 2e-6, rtol=1e-6, atol=1e-7)


@every
def test_a_schedule_first_called_in_a_trace_can_be_called_outside(made):
    copy = jax.tree.map(jnp.asarray, made)
    jax.jit(lambda n: copy(n))(3)
    np.testing.assert_allclose(copy(3), made(3), rtol=1e-6)


def shortened(made):
    """The schedule itself, and with its lengths, one or all, replaced by 0, 1 and 2."""
    yield made
    names = [name for name in made.arguments if name in LENGTHS]
    for few in (0, 1, 2):
        yield made.replace(**dict.fromkeys(names, few))
        for name in names:
            changes = (
                {name: few, "warmup_steps": 0} if name == "decay_steps" and "warmup_steps" in names else {name: few}
            )
            yield made.replace(**changes)


@every
def test_few_steps_are_finite_with_finite_derivatives(made):
    with jax.debug_nans(True):
        for few in shortened(made):
            values, slopes = values_and_slopes(floats(few), CORNERS)
            np.testing.assert_allclose(values, few(CORNERS), rtol=2e-5, atol=1e-7, err_msg=repr(few))
            assert all(np.all(np.isfinite(slope)) for slope in jax.tree.leaves(slopes)), few


@pytest.mark.parametrize(
    "made",
    [
        schedules.rex_schedule(1.0, 0.1, 3, 1 - 1e-9),
        schedules.inverse_time_decay(1.0, 3, 0.0, power=0.0),
        schedules.repeat_schedule(schedules.linear_schedule(1.0, 0.0, 3), 3, 2.0, 0.0),
        schedules.repeat_schedule(schedules.linear_schedule(1.0, 0.0, 1), 1, 1e6),
        schedules.exponential_decay(1.0, 3, 0.0),
        schedules.polynomial_schedule(1.0, 0.0, 0.5, 3),
        schedules.polynomial_schedule(1.0, 0.0, 0.0, 3),
        schedules.cosine_decay_schedule(0.0, 3, exponent=0.0),
        schedules.half_life_schedule(1e-30, 1 - 1e-9, 5),
        schedules.half_life_schedule(1 - 1e-9, 1 - 1e-10, 5),
        schedules.debiased_decay(0.0),
        schedules.ema_warmup_decay(0.9, 0.0, 1.0, 0.0),
        schedules.power_function_decay(0.0),
        schedules.debiased_decay(np.float32(1 - 1e-7)),
        schedules.warmup_cosine_decay_schedule(0.0, 0.0, 2, 5, 0.1),
        schedules.warmup_stable_decay_schedule(0.0, 1.0, 2, 2, 2, decay_type="1-sqrt"),
        schedules.piecewise_constant_schedule(1.0, {2: 0.0, 4: 2.0}),
        schedules.cosine_onecycle_schedule(3, 0.0),
    ],
    ids=repr,
)
def test_derivatives_are_finite_at_the_ends_of_ranges(made):
    with jax.debug_nans(True):
        _, slopes = values_and_slopes(floats(made), CORNERS)
    assert all(np.all(np.isfinite(slope)) for slope in jax.tree.leaves(slopes))
