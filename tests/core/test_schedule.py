"""Schedules as values: evaluation, arithmetic, functions of the step, schedules that observe."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import Stateful
from gradtx.core import as_float, as_number, as_schedule
from gradtx.core.schedule import SteppedState
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.typing import Fraction, Numeric
from tests.conformance.cases import SCHEDULES as CASES


class BestState(NamedTuple):
    best: jax.Array
    count: jax.Array


def make_ramp():
    @gradtx.schedule
    def ramp(scale: Numeric = 1.0):
        return lambda step: scale * (step + 1.0)

    return ramp


ramp = make_ramp()


def make_best():
    """A stateful schedule: its value is the least loss observed."""

    @gradtx.schedule
    def best_seen(scale: Fraction = 1.0):
        def init():
            return BestState(as_float(10.0), jnp.zeros((), jnp.int32))

        def update(state, value=None, **extra):
            if value is None:
                return state
            return BestState(jnp.minimum(state.best, value), state.count + 1)

        return Stateful(init, update, lambda step, state: scale * state.best)

    return best_seen


def test_evaluation():
    for step in (3, 3.0, np.int32(3), jnp.array(3)):
        value = ramp(0.5)(step)
        assert (value.dtype, value.shape, value.item()) == (jnp.float32, (), 2.0)
        assert not value.weak_type
    assert jax.jit(ramp(0.5))(3).item() == 2.0
    assert ramp(0.5)(jnp.arange(3)).tolist() == [0.5, 1.0, 1.5]
    assert jax.vmap(ramp(0.5))(jnp.arange(3)).tolist() == [0.5, 1.0, 1.5]


def test_values_are_double_precision_in_x64_mode(x64):
    value = gradtx.constant_schedule(0.1)(0)
    assert (value.dtype, value.item()) == (jnp.float64, 0.1)
    assert (2 * gradtx.constant_schedule(0.1))(0).dtype == jnp.float64
    assert gradtx.constant_schedule(0.1).sample(2).dtype == jnp.float64


def test_low_precision_values_are_raised():
    assert as_schedule(lambda step: jnp.ones((), jnp.bfloat16))(0).dtype == jnp.float32
    assert as_schedule(lambda step: 1)(0).dtype == jnp.float32


@pytest.mark.parametrize("n", [0, 1, 5])
def test_sample(n):
    assert ramp(2.0).sample(n).tolist() == [2.0 * (i + 1) for i in range(n)]
    assert gradtx.constant_schedule(3.0).sample(n).tolist() == [3.0] * n
    assert as_schedule(lambda step: 0.5).sample(n).tolist() == [0.5] * n


def test_constants_may_be_arrays():
    constant = gradtx.constant_schedule(jnp.array([1.0, 2.0]))
    assert constant(5).tolist() == [1.0, 2.0]
    swept = jax.vmap(lambda s: s(0))(constant)
    assert swept.tolist() == [1.0, 2.0]


ARITHMETIC = {
    "add_schedules(left=ramp(), right=2)": (lambda s: s + 2, lambda x: x + 2),
    "add_schedules(left=2, right=ramp())": (lambda s: 2 + s, lambda x: 2 + x),
    "subtract_schedules(left=ramp(), right=0.5)": (lambda s: s - 0.5, lambda x: x - 0.5),
    "subtract_schedules(left=0.5, right=ramp())": (lambda s: 0.5 - s, lambda x: 0.5 - x),
    "multiply_schedules(left=ramp(), right=3.0)": (lambda s: s * 3.0, lambda x: x * 3),
    "multiply_schedules(left=3.0, right=ramp())": (lambda s: 3.0 * s, lambda x: x * 3),
    "divide_schedules(left=ramp(), right=4.0)": (lambda s: s / 4.0, lambda x: x / 4),
    "divide_schedules(left=4.0, right=ramp())": (lambda s: 4.0 / s, lambda x: 4 / x),
    "multiply_schedules(left=-1.0, right=ramp())": (lambda s: -s, lambda x: -x),
    "add_schedules(left=ramp(), right=ramp(scale=2.0))": (lambda s: s + ramp(2.0), lambda x: 3 * x),
    "divide_schedules(left=ramp(), right=ramp())": (lambda s: s / s, lambda x: x / x),
    "multiply_schedules(left=2.0, right=ramp())": (lambda s: np.float64(2) * s, lambda x: 2 * x),
    "multiply_schedules(left=array(2.0, 'float32'), right=ramp())": (lambda s: jnp.float32(2) * s, lambda x: 2 * x),
    "subtract_schedules(left=array(2.0, 'float32'), right=ramp())": (lambda s: np.float32(2) - s, lambda x: 2 - x),
}


@pytest.mark.parametrize("text", ARITHMETIC)
def test_arithmetic(text):
    make, expected = ARITHMETIC[text]
    combined = make(ramp())
    assert isinstance(combined, gradtx.Schedule)
    assert repr(combined) == text
    np.testing.assert_allclose(combined.sample(5), expected(np.arange(1.0, 6.0)), rtol=1e-6)
    assert combined == make(ramp())


def test_arithmetic_nests_and_round_trips():
    combined = 2 * gradtx.constant_schedule(0.5) - 1 / gradtx.linear_schedule(1.0, 2.0, 10)
    assert gradtx.parse(repr(combined)) == combined
    assert gradtx.from_config(gradtx.to_config(combined)) == combined
    assert combined(10).item() == 0.5
    assert [type(leaf) for leaf in jax.tree.leaves(combined)] == [float] * len(jax.tree.leaves(combined))


@pytest.mark.parametrize("wrong", ["x", None, True, [1.0], 1j])
def test_arithmetic_with_anything_else_is_a_type_error(wrong):
    with pytest.raises(TypeError, match=r"^gradtx.multiply_schedules: expected right to be a number in \(-inf, inf\)"):
        ramp() * wrong
    with pytest.raises(ArgumentValueError, match=r"^gradtx.add_schedules: expected right in \(-inf, inf\), got nan$"):
        ramp() + float("nan")


def test_functions_of_the_step_are_schedules():
    def halve(step):
        return 0.5**step

    made = as_schedule(halve)
    assert made == gradtx.custom_schedule(halve)
    assert as_schedule(made) is made
    assert hash(made) == hash(gradtx.custom_schedule(halve))
    assert (ramp() + halve)(1).item() == 2.5
    assert gradtx.sgd(halve) == gradtx.sgd(gradtx.custom_schedule(halve))
    assert jax.tree.leaves(made) == []


def test_schedules_do_not_take_schedules_for_numbers():
    with pytest.raises(ArgumentTypeError) as error:
        ramp(gradtx.constant_schedule(1.0))
    assert str(error.value) == (
        "gradtx.ramp: expected scale to be a number, got constant_schedule(value=1.0); "
        "combine schedules with + - * / or join_schedules"
    )


def test_schedules_are_pytrees():
    grads = jax.grad(lambda s: s(3))(ramp(0.5))
    assert grads == ramp(4.0)
    traces = []

    @jax.jit
    def at_two(s):
        traces.append(s)
        return s(2)

    assert [at_two(ramp(x)).item() for x in (1, 2.0, 3.0)] == [3.0, 6.0, 9.0]
    assert len(traces) == 1


# --- stateful schedules -----------------------------------------------------------------------------------------------


def test_a_stateful_schedule():
    best = make_best()(0.5)
    assert best.stateful
    state = best.init()
    for loss, expected in ((4.0, 2.0), (6.0, 2.0), (1.0, 0.5)):
        state = best.update(state, value=loss, other="ignored")
        assert best(state).item() == expected
    assert best.update(state).inner == state.inner  # nothing observed
    assert best(state).dtype == jnp.float32


def test_a_stateful_schedule_is_sampled_in_no_advance():
    with pytest.raises(ArgumentTypeError) as error:
        make_best()().sample(3)
    assert str(error.value) == "gradtx.Schedule.sample: expected a schedule of the step alone, got best_seen()"


def test_the_state_of_a_schedule_of_the_step_is_the_step():
    state = ramp().init()
    assert (state.dtype, state.shape, state.item()) == (jnp.int32, (), 0)
    assert ramp(0.5)(state).item() == 0.5
    assert ramp(0.5)(ramp().update(state, value=3.0)).item() == 1.0
    assert not ramp().stateful
    largest = jnp.array(np.iinfo(np.int32).max)
    assert ramp().update(largest) == largest  # it does not wrap round to the step -2147483648


def test_arithmetic_with_a_stateful_schedule():
    combined = 2 * make_best()(1.0) + ramp()
    assert combined.stateful
    state = combined.init()
    state = combined.update(state, value=3.0)
    assert combined.value(4, state).item() == 2 * 3.0 + 5.0


def test_the_state_of_a_stateful_schedule_counts_the_steps_that_its_value_looks_at():
    combined = make_best()() * ramp()
    state = combined.init()
    assert combined(state).item() == 10.0 * 1.0
    for loss, expected in ((4.0, 4.0 * 2), (6.0, 4.0 * 3), (1.0, 1.0 * 4)):
        state = combined.update(state, value=loss)
        assert combined(state).item() == expected
    plateau = gradtx.plateau_schedule(0.5)
    for made in (plateau, 2 * plateau, plateau / plateau):  # none looks at the step
        assert not isinstance(made.init(), SteppedState)
    assert isinstance((plateau * ramp() * 2).init(), SteppedState)


@pytest.mark.parametrize("combine", [lambda s: s, lambda s: 0.5 * s, lambda s: s - ramp(0.0)])
def test_stateful_schedules_drive_a_transformation(combine):
    best = make_best()
    tx = gradtx.sgd(combine(best()))
    factor = 0.5 if "multiply" in repr(tx) else 1.0
    params = jnp.array(1.0)
    state = tx.init(params)
    assert gradtx.get_hyperparams(state)["learning_rate"].item() == 10.0 * factor
    structure = jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state)
    for loss, rate in ((4.0, 4.0), (6.0, 4.0), (1.0, 1.0)):
        updates, state = jax.jit(tx.update)(params, state, params, value=jnp.asarray(loss))
        assert updates.item() == -rate * factor
        assert gradtx.get_hyperparams(state)["learning_rate"].item() == rate * factor
    updates, state = tx.update(params, state, params)  # nothing observed: the rate stays
    assert updates.item() == -factor
    chex.assert_trees_all_equal(jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state), structure)


def test_python_numbers_are_computed_with_before_anything_is_traced(x64):
    assert as_number(0.1).dtype == as_float(0.1).dtype == jnp.float64
    assert isinstance(as_number(1), np.number)
    assert isinstance(as_number(jnp.array(1)), jax.Array)
    schedule = gradtx.linear_schedule(1.0, 0.0, 10, 5)
    assert len(jax.make_jaxpr(schedule)(3).eqns) < 12
    assert len(jax.make_jaxpr(lambda tx, n: tx(n))(schedule, 3).eqns) > 12


@pytest.mark.parametrize("step", [0, 3, np.int32(3), jnp.array(3)])
def test_values_are_arrays(step):
    for schedule in (gradtx.constant_schedule(0.5), gradtx.linear_schedule(1.0, 0.5, 10)):
        value = schedule(step)
        assert isinstance(value, jax.Array)
        assert (value.shape, value.dtype, value.weak_type) == ((), jnp.float32, False)


# --- where Optax takes a schedule -------------------------------------------------------------------------------------

SCHEDULES = {
    "plain": lambda: gradtx.exponential_decay(0.5, 2, 0.5),
    "sum": lambda: ramp(0.25) + 1.0,
    "plateau": lambda: gradtx.plateau_schedule(0.5, factor=0.5, patience=1),
    "product": lambda: gradtx.plateau_schedule(0.5, factor=0.5, patience=1) * ramp(),
    "stateful": lambda: make_best()(0.5),
}


@pytest.mark.parametrize("wrapper", ["inject_hyperparams", "inject_stateful_hyperparams"])
@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.filterwarnings("ignore:inject_stateful_hyperparams is deprecated:DeprecationWarning")
def test_schedules_in_optax_inject_hyperparams(kind, wrapper):
    optax = pytest.importorskip("optax")
    made = SCHEDULES[kind]()
    tx = getattr(optax, wrapper)(optax.sgd)(made)
    losses = [4.0, 6.0, 1.0, 1.0]
    expected, state = [], made.init()
    for step, loss in enumerate(losses):
        # Optax reads the value before the schedule sees the loss of the step.
        expected.append(float(made.value(step, state)))
        state = made.update(state, value=loss)
    assert len(set(expected)) > 1
    params = jnp.ones(2)
    update, state, taken = jax.jit(tx.update), tx.init(params), []
    assert state.hyperparams["learning_rate"] == expected[0]
    for loss in losses:
        updates, state = update(params, state, params, value=loss)
        taken.append(-float(updates[0]))
    np.testing.assert_allclose(taken, expected, rtol=1e-6)
    assert update._cache_size() == 1


@pytest.mark.parametrize("name", CASES)
def test_every_schedule_is_stepped_as_optax_does(name):
    made = CASES[name]
    step = jax.jit(lambda state: (made(state, value=1.0), made.update(state, value=1.0)))
    state, plain = made.init(), made.parts.init() if made.stateful else ()
    for n in range(2):
        value, new = step(state)
        np.testing.assert_allclose(value, made.value(n, plain), rtol=1e-6)
        chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
        state, plain = new, made.parts.update(plain, value=1.0) if made.stateful else ()
