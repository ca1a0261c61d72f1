"""The pair, the factories that make it, and what they do about extras, errors and variadic arguments."""

import chex
import jax
import jax.numpy as jnp
import pytest

import gradtx
from gradtx.core import Pair, as_transformation
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError, TreeMismatchError, require_extra
from gradtx.typing import EmptyState, Numeric

GRADS = {"w": jnp.array([1.0, -2.0])}


def scaling(factor=2.0):
    @gradtx.transformation
    def scaled(factor: Numeric):
        def init(params):
            return EmptyState()

        def update(updates, state, params=None, **extra):
            return gradtx.tree.map_leaves(lambda g: factor * g, updates), state

        return init, update

    return scaled(factor)


def test_the_pair():
    tx = scaling()
    init, update = tx
    assert init is tx.init
    assert update is tx.update
    assert tx.init is tx.init  # jit caches by function
    updates, state = update(GRADS, init(GRADS))
    assert state == EmptyState()
    chex.assert_trees_all_equal(updates, {"w": jnp.array([2.0, -4.0])})


def test_update_takes_extras_and_optional_params():
    tx = scaling()
    first = tx.update(GRADS, EmptyState())
    second = tx.update(GRADS, EmptyState(), GRADS, value=1.0, anything="x")
    chex.assert_trees_all_equal(first, second)


def test_a_transformation_from_two_functions():
    def init(params):
        return 0

    def update(updates, state, params=None):
        return updates, state + 1

    tx = gradtx.GradientTransformation(init, update)
    assert isinstance(tx, gradtx.GradientTransformation)
    assert tx == gradtx.from_functions(init, update)
    assert tx.update(GRADS, tx.init(GRADS), None, value=1.0) == (GRADS, 1)
    assert hash(tx) == hash(gradtx.from_functions(init, update))
    assert tx != gradtx.from_functions(init, lambda updates, state, params=None: (updates, state))


@pytest.mark.parametrize("init", [None, 3, "x"])
def test_from_functions_wants_functions(init):
    with pytest.raises(ArgumentTypeError) as error:
        gradtx.from_functions(init, print)
    assert str(error.value) == f"gradtx.from_functions: expected init to be a function of (params), got {init!r}"


def test_from_functions_wants_functions_that_can_be_called():
    init = lambda params: ()  # noqa: E731
    expected = r"expected update to be a function of \(updates, state, params\), got one of \(updates, state\)"
    with pytest.raises(ArgumentTypeError, match=expected):
        gradtx.from_functions(init, lambda updates, state: (updates, state))
    gradtx.from_functions(init, lambda updates, state, *more: (updates, state, more))


def test_extras_reach_the_parameters_that_name_them():
    seen = {}

    def update(updates, state, params=None, *, value):
        seen.update(value=value)
        return updates, state

    tx = gradtx.from_functions(lambda params: (), update)
    tx.update(GRADS, (), None, value=3.0, key="unwanted")
    assert seen == {"value": 3.0}


def test_the_update_of_a_factory_need_not_take_extras():
    @gradtx.transformation
    def plain() -> Pair:
        return lambda params: (), lambda updates, state, params=None: (updates, state)

    assert plain().update(GRADS, (), GRADS, value=1.0) == (GRADS, ())


def test_an_optimizer_remembers_its_own_arguments():
    @gradtx.optimizer
    def double(rate: Numeric = 1.0):
        return gradtx.chain(scaling(2.0), gradtx.scale(rate))

    tx = double(0.5)
    assert repr(tx) == "double(rate=0.5)"
    assert jax.tree.leaves(tx) == [0.5]
    assert repr(gradtx.expand(tx)) == "chain(scaled(factor=2.0), scale(step_size=0.5))"
    chex.assert_trees_all_equal(tx.update(GRADS, tx.init(GRADS))[0], GRADS)
    assert gradtx.expand(gradtx.scale(1.0)) == gradtx.scale(1.0)  # a primitive is itself
    opened = gradtx.expand(gradtx.adamw(0.1))
    assert gradtx.expand(opened) == opened


def test_arguments_before_variadic_ones():
    @gradtx.transformation
    def choose(index: Numeric, *transforms: gradtx.GradientTransformation, flip: bool = False):
        return transforms[-1 if flip else 0]

    @gradtx.optimizer
    def both(index: Numeric, *transforms: gradtx.GradientTransformation):
        return gradtx.chain(*transforms)

    tx = choose(0, scaling(2.0), scaling(3.0), flip=True)
    assert repr(tx) == "choose(0, scaled(factor=2.0), scaled(factor=3.0), flip=True)"
    chex.assert_trees_all_equal(tx.update(GRADS, ())[0], {"w": jnp.array([3.0, -6.0])})
    chex.assert_trees_all_equal(tx.replace(flip=False).update(GRADS, ())[0], {"w": jnp.array([2.0, -4.0])})
    assert jax.tree.map(lambda x: x, tx) == tx
    assert gradtx.expand(both(1, gradtx.scale(2.0))) == gradtx.chain(gradtx.scale(2.0))


def test_positional_only_arguments():
    @gradtx.transformation
    def power(rate: Numeric, /, exponent: Numeric = 1.0):
        return gradtx.scale(rate**exponent)

    tx = power(2.0, exponent=3.0)
    assert repr(tx) == "power(2.0, exponent=3.0)"
    assert tx.replace(exponent=1.0, rate=3.0) == power(3.0)
    chex.assert_trees_all_equal(tx.update(GRADS, gradtx.EmptyState())[0], {"w": jnp.array([8.0, -16.0])})


def test_annotations_exist_when_the_program_runs():
    with pytest.raises(ArgumentTypeError) as error:

        @gradtx.transformation
        def hinted(rate: "NotImported"):  # noqa: F821
            return gradtx.identity()

    assert str(error.value) == (
        "gradtx.hinted: expected annotations that exist when the program runs, got name 'NotImported' is not defined; "
        "import the name at the top of the module, and not under TYPE_CHECKING"
    )


def test_variadic_numbers_and_schedules():
    @gradtx.schedule
    def highest(*values: Numeric):
        return lambda step: jnp.max(jnp.stack([jnp.asarray(v, float) for v in values]))

    made = highest(1, 3.0, 2)
    assert float(made(0)) == 3.0
    assert jax.tree.leaves(made) == [1.0, 3.0, 2.0]
    with pytest.raises(ArgumentValueError, match=r"^gradtx.highest: expected values\[1\] in \(-inf, inf\), got nan$"):
        highest(1.0, float("nan"))


# --- errors name the factory ------------------------------------------------------------------------------------------


def refusing(name):
    def factory():
        def update(updates, state, params=None, **extra):
            require_extra(extra.get("value"), "value", "pass the loss")
            return updates, state

        return lambda params: EmptyState(), update

    factory.__name__ = name
    factory.__qualname__ = f"test.<locals>.{name}"
    return gradtx.transformation(factory)()


def test_the_innermost_factory_is_named_once():
    tx = gradtx.chain(gradtx.masked(refusing("needs_value"), "*"))
    with pytest.raises(MissingExtraError) as error:
        tx.update(GRADS, tx.init(GRADS))
    assert str(error.value) == "gradtx.needs_value: expected update(..., value=...), got no value; pass the loss"
    assert isinstance(error.value, TypeError)
    tx.update(GRADS, tx.init(GRADS), value=1.0)


def test_errors_of_init_and_update_name_the_factory():
    tx = gradtx.chain(gradtx.scale_by_adam())
    state = tx.init({"other": jnp.ones(2)})
    for jit in (lambda f: f, jax.jit):
        with pytest.raises(TreeMismatchError) as error:
            jit(tx.update)(GRADS, state)
        assert str(error.value).startswith(
            "gradtx.scale_by_adam: expected updates with the structure of the state, got"
        )
    with pytest.raises(TreeMismatchError, match=r"^gradtx.masked: expected the mask to be a tree"):
        gradtx.chain(gradtx.masked(scaling(), {"v": True})).init(GRADS)


@pytest.mark.parametrize(
    ("tx", "state", "text"),
    [
        (
            gradtx.scale_by_adam(),
            EmptyState(),
            "scale_by_adam: expected the state to be a ScaleByAdamState, got EmptyState",
        ),
        (
            gradtx.scale_by_adam(),
            (0, {}, {}),
            "scale_by_adam: expected the state to be a ScaleByAdamState, got a tuple of 3",
        ),
        (gradtx.scale_by_adam(), None, "scale_by_adam: expected the state to be a ScaleByAdamState, got None"),
        (gradtx.scale(lambda n: 1.0), EmptyState(), "scale: expected the state to be a ScheduledState, got EmptyState"),
        (gradtx.masked(gradtx.scale(1.0), "*"), (), "masked: expected the state to be a MaskedState, got a tuple of 0"),
        (gradtx.tunable(gradtx.scale(1.0)), (), "tunable: expected the state to be a TunableState, got a tuple of 0"),
    ],
)
def test_a_state_of_another_transformation(tx, state, text):
    with pytest.raises(ArgumentTypeError) as error:
        tx.update(GRADS, state)
    hint = "; pass the state that init(params) of this transformation made: tx.update(grads, state, params)"
    assert str(error.value) == f"gradtx.{text}{hint}"


def test_errors_of_a_factory_name_it():
    @gradtx.transformation
    def pair_of(low: Numeric, high: Numeric):
        if low > high:
            raise ArgumentValueError("low <= high", got=f"{low} and {high}")
        return scaling()

    with pytest.raises(ArgumentValueError, match=r"^gradtx.pair_of: expected low <= high, got 2 and 1$"):
        pair_of(2, 1)


# --- what is taken for a transformation -------------------------------------------------------------------------------


def test_as_transformation():
    tx = scaling()
    assert as_transformation(tx) is tx

    class Foreign:
        def init(self, params):
            return 0

        def update(self, updates, state, params=None):
            return updates, state + 1

    wrapped = as_transformation(Foreign())
    assert wrapped.update(GRADS, wrapped.init(GRADS), value=1.0) == (GRADS, 1)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (gradtx.adam, "the function 'adam'; call it: adam(...)"),
        (3, "3; use a factory such as adam(1e-3)"),
        (None, "None; use a factory such as adam(1e-3)"),
        (gradtx.GradientTransformation, "the function 'GradientTransformation'; call it: GradientTransformation(...)"),
        (gradtx.constant_schedule(0.1), "constant_schedule(value=0.1); use a factory such as adam(1e-3)"),
    ],
)
def test_what_is_no_transformation(wrong, got):
    with pytest.raises(ArgumentTypeError) as error:
        gradtx.chain(wrong)
    assert str(error.value) == f"gradtx.chain: expected argument 0 to be a transformation, got {got}"


def test_a_transformation_first_used_in_a_trace_can_be_used_outside():
    tx = jax.tree.map(jnp.asarray, gradtx.adamw(jnp.array(0.5)))  # a copy: nothing in it has been made yet
    state = jax.jit(lambda grads: tx.init(grads))(GRADS)
    inside, _ = jax.jit(lambda grads, state: tx.update(grads, state, grads))(GRADS, state)
    outside, _ = tx.update(GRADS, state, GRADS)
    chex.assert_trees_all_close(inside, outside)


def test_what_a_factory_computes_outlives_the_trace_in_which_it_is_called():
    @gradtx.transformation
    def test_only_constant():
        factor = jnp.exp2(jnp.ones(()))
        return gradtx.leafwise(lambda g: factor * g)

    made = []
    jax.jit(lambda grads: made.append(test_only_constant()) or grads)(GRADS)
    assert made[0].update(GRADS, made[0].init(GRADS))[0]["w"].tolist() == [2.0, -4.0]


@pytest.mark.parametrize("tx", [gradtx.sgd(0.1), gradtx.clip(1.0), gradtx.identity()], ids=str)
def test_a_state_that_holds_something_is_refused_where_none_is_kept(tx):
    for state in ({"w": jnp.ones(2)}, (jnp.ones(2),), 0):
        with pytest.raises(ArgumentTypeError, match="expected the state to be an EmptyState, got"):
            tx.update({"w": jnp.ones(2)}, state)


@pytest.mark.parametrize("made", [gradtx.sgd(0.1).leafwise, tuple(gradtx.sgd(0.1))])
def test_the_factory_of_an_optimizer_returns_a_composition(made):
    @gradtx.optimizer
    def test_only_no_composition(rate: gradtx.Numeric):
        return made

    with pytest.raises(gradtx.errors.ArgumentTypeError, match=r"a composition from the factory.*transformation, or"):
        gradtx.expand(test_only_no_composition(0.1))
