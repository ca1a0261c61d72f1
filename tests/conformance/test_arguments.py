"""Law 9: what cannot be the value of an argument is refused when given, by an error that says which, why, and what."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError
from tests.conformance.cases import SCHEDULES, TRANSFORMATIONS, VALUES, params_like
from tests.conformance.laws import law

NO_FUNCTION = (None, "x", 1.0, object())
NO_TRANSFORMATION = (None, "x", 1.0, object(), gradtx.sgd, gradtx.constant_schedule(1.0))
REFUSED = {
    "a": (None, 0.5, "x", ((0.5,), (0.25, 0.25, 0.25)), ((math.nan,),)),
    "b": (None, 0.5, "x", (), (math.nan, 1.0)),
    "betas": (None, 0.5, "x", (), (0.5,), (0.5,) * 4, (1.0,) * 3, (math.nan, 0.5), (-0.5, 0.5)),
    "boundaries": (None, 1.0, "x", (-1,), (math.nan,), ("x",), (3, 3)),
    "boundaries_and_scales": (1.0, "x", [1.0], {1: -1.0}, {1: math.nan}, {1: "x"}),
    "cosine_kwargs": (None, 1.0, "x", {}, [0.1], [{"init_value": math.nan}]),
    "cycle": (None, 1.0, "x", gradtx.plateau_schedule(1.0)),
    "checkpoints": (None, 30, "x", (), (-1,), (math.nan,), (30, 40)),
    "f": NO_FUNCTION,
    "base_optimizer": NO_TRANSFORMATION[1:],
    "blocks": (None, "x", 1.0, object(), -1, {"*": 1.5}, {"*": "0"}, {"*": (0, True)}, {"*": {0: 0}}, {1: 0}),
    "decays": (None, 0.5, "x", (), (0.5, 1.5), (math.nan,)),
    "direction": NO_TRANSFORMATION,
    "magnitude": NO_TRANSFORMATION[1:],
    "function": (None, "x", 1.0, gradtx.constant_schedule, float),
    "groups": (1.0, object(), ("x", 1), {"x": 1.0}),
    "hessian_diagonal_fn": NO_FUNCTION[1:],
    "init": NO_FUNCTION,
    "init_step": (None, 1e-6, "x", ("x", 1e-6), ("heuristic", -1.0), ("heuristic", "x"), ("heuristic",)),
    "inner": NO_TRANSFORMATION,
    "linesearch": NO_TRANSFORMATION[1:],
    "matrices": (1.5, object(), "in", "in out in/3/2", {"*": "rows columns"}, {"*": 1.5}, [object()]),
    "measure": NO_FUNCTION,
    "method": (None, 1.5, "x", (1.0, 2.0), ((1.0, 2.0, 3.0), (1.0,)), object()),
    "names": (1.0, (1,), object(), ("nothing",)),
    "norms": (1.5, object(), "sign", {"*": "l2"}, {"*": None}, {0: "sign"}),
    "optimizer": NO_TRANSFORMATION,
    "output_axis": (None, 1.5, "x", True, ("x",)),
    "axis": ("rows", 1.5, (0, 0.5), [0]),
    "exponents": (1.5, "x", {"*": "x"}, {"*": math.nan}, {0: 0.5}),
    "factors": ({0: 1.0}, {"*": "1"}, {"*": None}),
    "param_labels": ({"a": "nobody"}, "nobody", 1.5, object()),
    "predicate": NO_FUNCTION,
    "rest": NO_TRANSFORMATION[1:],
    "schedules": (None, 1.0, "x", (1.0,), (gradtx.sgd(0.1), gradtx.constant_schedule(1.0))),
    "should_transform_fn": NO_FUNCTION,
    "transforms": (None, "x", 1.0, object(), {"*": 1.0}, ["x"], [None]),
    "update": NO_FUNCTION,
    "when": (None, 1.5, "x", True, 0),
    "where": (None, 1.0, object(), ("mu", 1), ()),
}
"""What arguments refuse whose annotation does not say it, by their names."""

NOT_NUMBERS = ("x", True, 1j, [0.5], object(), b"1")
NOT_FINITE = (math.nan, math.inf, -math.inf, np.float32("nan"), jnp.array([0.5, math.nan]), 10**400)


def refused(argument):
    """Values that an argument must refuse, each with what the error says instead of them."""
    if argument.name in REFUSED:
        return [(value, "") for value in REFUSED[argument.name]]
    none = [] if argument.optional or argument.default is None else [None]
    if argument.numeric:
        bounds = argument.range
        outside = [bounds.low - 1, bounds.high + 1]
        outside += [bounds.low] if bounds.open_low else []
        outside += [bounds.high] if bounds.open_high else []
        outside = [x for x in outside if math.isfinite(x)]
        wrong = [(value, str(bounds)) for value in (*NOT_NUMBERS, *NOT_FINITE, *outside, *none)]
        return [*wrong, (np.array(1j), "to be real"), (np.array("x"), "to be real"), (jax.random.key(0), "to be real")]
    if argument.choices:
        return [(value, repr(argument.choices[0])) for value in ("x", 1, *none)]
    if argument.kind is not None:
        others = {bool: (1, "x", 0.5), int: (1.5, "x", True), str: (1, 0.5)}[argument.kind]
        return [(value, argument.kind.__name__) for value in (*others, *none)]
    if argument.dtype:
        return [(value, "a floating dtype") for value in ("floot32", jnp.int32, 1.5, jax.random.key(0), *none)]
    if argument.mask:
        return [(value, "a function or globs") for value in (1.5, {"a": 1}, object(), np.array("x"))]
    raise AssertionError(f"{argument.name}: write in REFUSED what it refuses")


@law(9, VALUES)
def test_every_argument_refuses_what_it_cannot_be(name):
    value = VALUES[name]
    for argument in value.factory.arguments.values():
        for wrong, bound in refused(argument):
            with pytest.raises(GradtxError) as error:
                value.replace(**{argument.name: wrong})
            text = str(error.value)
            assert isinstance(error.value, ArgumentTypeError | ArgumentValueError | gradtx.errors.UnknownNameError)
            assert argument.name in text or (argument.variadic and "argument 0" in text), (wrong, text)
            assert bound in text
            assert ", got " in text


NO_SCHEDULE = dict.fromkeys(TRANSFORMATIONS, "its numbers may be schedules: law 8")


@law(9, VALUES, exempt=NO_SCHEDULE)
def test_the_numbers_of_a_schedule_are_no_schedules(name):
    schedule = SCHEDULES[name]
    for argument in schedule.factory.arguments.values():
        if argument.numeric and not argument.operand:
            with pytest.raises(ArgumentTypeError, match=f"{name}: expected {argument.name} to be a number, got"):
                schedule.replace(**{argument.name: gradtx.constant_schedule(0.5)})


NO_STATE = dict.fromkeys(SCHEDULES, "arrays of numbers make a schedule with arrays of values")


@law(9, VALUES, exempt=NO_STATE)
def test_an_array_for_a_number_is_refused_by_init(name):
    tx = VALUES[name]
    for argument in tx.factory.arguments.values():
        if not argument.numeric:
            continue
        inside = max(argument.range.low, 0.0) + 0.5
        swept = tx.replace(**{argument.name: jnp.array([inside, inside])})
        with pytest.raises(ArgumentValueError, match=f"expected a single number for {argument.name}, got an array"):
            swept.init(params_like())
