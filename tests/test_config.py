"""Values as plain nested dicts, through JSON and back."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError, UnknownNameError

ROUND = [
    lambda: gradtx.adam(1e-3),
    lambda: gradtx.adam(jnp.array([0.1, 0.2]), mu_dtype="bfloat16"),
    lambda: gradtx.adam(np.array([0.1, 0.2])),
    lambda: gradtx.adam(np.float64(0.1), b1=np.float32(0.9)),
    lambda: gradtx.adam(jnp.array(0.5, jnp.bfloat16)),
    lambda: gradtx.chain(),
    lambda: gradtx.chain(gradtx.clip(1), gradtx.adamw(gradtx.exponential_decay(1e-3, 100, 0.9), mask="*/kernel")),
    lambda: gradtx.named_chain(("a", gradtx.identity()), ("b", gradtx.sgd(0.1, momentum=0.9))),
    lambda: gradtx.partition({2: gradtx.identity(), 1: gradtx.sgd(0.1)}, {"x": [1, (2, 1)]}),
    lambda: gradtx.partition({math.inf: gradtx.identity(), -math.inf: gradtx.chain()}, math.inf),
    lambda: gradtx.masked(gradtx.identity(), {"a": np.array(True), "b": (True, [False])}, unselected="freeze"),
    lambda: gradtx.tunable(gradtx.sgd(0.1), ("learning_rate",)),
    lambda: gradtx.piecewise_constant_schedule(1.0, {100: 0.5, 20: 0.1}),
    lambda: 2.0 * gradtx.constant_schedule(0.1) - 1,
]


@pytest.mark.parametrize("make", ROUND)
def test_round_trip_through_json(make):
    value = make()
    config = gradtx.to_config(value)
    text = json.dumps(config, allow_nan=False)
    again = gradtx.from_config(json.loads(text))
    assert again == value
    assert repr(again) == repr(value)
    assert gradtx.from_config(config) == value


def test_the_form_of_a_config():
    assert gradtx.to_config(gradtx.chain(gradtx.clip(1.0))) == {
        "name": "chain",
        "arguments": {"transforms": {"tuple": [{"name": "clip", "arguments": {"max_delta": 1.0}}]}},
    }
    config = gradtx.to_config(gradtx.adam(jnp.array([0.5])))
    assert config["arguments"]["learning_rate"] == {"array": [0.5], "dtype": "float32"}
    assert config["arguments"]["b1"] == 0.9  # defaults are written down: a config outlives them
    assert config["arguments"]["mu_dtype"] is None


def test_plain_python_types_only():
    def check(entry):
        assert type(entry) in (dict, list, str, int, float, bool, type(None))
        for child in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            check(child)

    for make in ROUND:
        check(gradtx.to_config(make()))


def test_arguments_may_be_left_out():
    assert gradtx.from_config({"name": "chain"}) == gradtx.chain()
    assert gradtx.from_config({"name": "sgd", "arguments": {"learning_rate": 1}}) == gradtx.sgd(1)
    by_hand = {"name": "chain", "arguments": {"transforms": [{"name": "identity"}]}}
    assert gradtx.from_config(by_hand) == gradtx.chain(gradtx.identity())


def test_aliases():
    config = {"name": "multi_transform", "arguments": {"transforms": {"dict": [["*", {"name": "identity"}]]}}}
    assert gradtx.from_config(config) == gradtx.partition({"*": gradtx.identity()})


def sgd(learning_rate):
    return {"name": "sgd", "arguments": {"learning_rate": learning_rate}}


ENTRY = 'gradtx.from_config: expected an entry {"name": ..., "arguments": {...}} or one made by to_config, '

BAD = [
    (3, ArgumentTypeError, 'gradtx.from_config: expected a config {"name": ..., "arguments": {...}}, got \'3\''),
    (None, ArgumentTypeError, 'gradtx.from_config: expected a config {"name": ...'),
    ("sgd", ArgumentTypeError, 'gradtx.from_config: expected a config {"name": ...'),
    ([sgd(0.1)], ArgumentTypeError, 'gradtx.from_config: expected a config {"name": ...'),
    ({}, ArgumentTypeError, 'gradtx.from_config: expected a config {"name": ...'),
    ({"array": [1.0], "dtype": "float32"}, ArgumentTypeError, 'gradtx.from_config: expected a config {"name": ...'),
    (
        {"name": 3},
        ArgumentTypeError,
        ENTRY + "got keys ['name'] at config",
    ),
    (
        {"name": "sgd", "args": {}},
        ArgumentTypeError,
        ENTRY + "got keys ['args', 'name'] at config",
    ),
    ({"name": "sdg"}, UnknownNameError, "gradtx.from_config: expected a registered name, got 'sdg'; did you mean sgd"),
    (
        {"name": "sgd", "arguments": [0.1]},
        ArgumentTypeError,
        "gradtx.from_config: expected arguments as a mapping, got list at config.sgd",
    ),
    (
        {"name": "chain", "arguments": {"transforms": [{"name": "identity"}, sgd({"value": 1.0})]}},
        ArgumentTypeError,
        ENTRY + "got keys ['value'] at config.chain.transforms[1].sgd.learning_rate",
    ),
    (sgd({"float": "import os"}), ArgumentTypeError, "gradtx.from_config: expected an entry"),
    (sgd({"float": "inf"}), ArgumentValueError, "gradtx.sgd: expected learning_rate in [0, inf), got inf"),
    (sgd({"float": "nan", "x": 1}), ArgumentTypeError, "gradtx.from_config: expected an entry"),
    (sgd({"dict": [[1]]}), ArgumentTypeError, "gradtx.from_config: expected an entry"),
    (sgd({"dict": [[[1], 2]]}), ArgumentValueError, "gradtx.from_config: expected a mapping with plain keys"),
    (sgd({"tuple": 3}), ArgumentTypeError, "gradtx.from_config: expected an entry"),
    (sgd({"array": ["x"], "dtype": "float32"}), ArgumentValueError, "gradtx.from_config: expected an array of numbers"),
    (sgd({"array": [1], "dtype": "object_"}), ArgumentValueError, "gradtx.from_config: expected an array of numbers"),
    (sgd("0.1"), ArgumentTypeError, "gradtx.sgd: expected learning_rate to be a number in [0, inf)"),
    (sgd(-1), ArgumentValueError, "gradtx.sgd: expected learning_rate in [0, inf), got -1"),
    ({"name": "sgd"}, ArgumentTypeError, "gradtx.sgd: expected arguments (learning_rate, "),
    (
        {"name": "sgd", "arguments": {1: 2}},
        ArgumentTypeError,
        "gradtx.from_config: expected arguments by name, got the key 1 at config.sgd",
    ),
    (
        {"name": "chain", "arguments": {"transforms": [{"name": "sgd", "arguments": {None: 2, "learning_rate": 1}}]}},
        ArgumentTypeError,
        "gradtx.from_config: expected arguments by name, got the key None at config.chain.transforms[0].sgd",
    ),
    ({"name": "chain", "arguments": {"txs": []}}, ArgumentTypeError, "gradtx.chain: expected arguments among (transfo"),
]


@pytest.mark.parametrize(("config", "kind", "text"), BAD)
def test_bad_configs(config, kind, text):
    with pytest.raises(kind) as error:
        gradtx.from_config(config)
    assert str(error.value).startswith(text)
    assert isinstance(error.value, GradtxError)


def deep(wrap, innermost=None):
    entry = innermost
    for _ in range(5000):
        entry = wrap(entry)
    return entry


@pytest.mark.parametrize(
    "config",
    [
        deep(lambda e: {"name": "chain", "arguments": {"transforms": [e]}}, {"name": "identity"}),
        deep(lambda e: {"name": "masked", "arguments": {"inner": e, "mask": "*"}}, {"name": "identity"}),
        sgd(deep(lambda e: [e])),
        sgd(deep(lambda e: {"tuple": [e]})),
        sgd(deep(lambda e: {"dict": [[1, e]]})),
        sgd(deep(lambda e: {"dict": [[e, 1]]})),
        sgd({"array": deep(lambda e: [e]), "dtype": "float32"}),
        {"nameless": deep(lambda e: [e])},
        deep(lambda e: [e]),
    ],
    ids=["chains", "masks", "lists", "tuples", "values", "keys", "array", "nameless", "list"],
)
def test_deep_configs_are_refused_in_one_line(config):
    with pytest.raises(GradtxError) as error:
        gradtx.from_config(config)
    assert str(error.value).startswith("gradtx.from_config: expected a")
    assert len(str(error.value)) < 500


def test_a_config_that_holds_itself_is_refused():
    config = {"name": "chain", "arguments": {"transforms": []}}
    config["arguments"]["transforms"].append(config)
    with pytest.raises(ArgumentValueError) as error:
        gradtx.from_config(config)
    assert str(error.value) == "gradtx.from_config: expected a config of some depth, got one that is nested too deeply"


def test_deep_values_have_no_config():
    value = gradtx.GradientTransformation.of(gradtx.chain.factory, {"transforms": deep(lambda e: [e])})
    with pytest.raises(ArgumentValueError, match=r"^gradtx.to_config: expected a value of some depth, got one that is"):
        gradtx.to_config(value)


def test_what_no_config_describes():
    hint = "; register a factory for it (@gradtx.schedule, @gradtx.transformation) to give it a name"

    def halve(step):
        return 0.5**step

    with pytest.raises(ArgumentTypeError) as error:
        gradtx.to_config(gradtx.chain(gradtx.sgd(halve)))
    text = str(error.value)
    assert text.startswith(
        "gradtx.to_config: expected numbers, strings, containers and registered values, got <function"
    )
    assert text.endswith(f" at config.chain.transforms[0].sgd.learning_rate.custom_schedule.function{hint}")

    with pytest.raises(ArgumentTypeError, match=r"^gradtx.to_config: expected a transformation or schedule, got 3$"):
        gradtx.to_config(3)
    with pytest.raises(ArgumentTypeError, match=r"expected a transformation or schedule, got <function sgd"):
        gradtx.to_config(gradtx.sgd)
    with pytest.raises(ArgumentTypeError, match=r"got .*Tracer.* at config.sgd.learning_rate"):
        jax.jit(lambda tx: gradtx.to_config(tx) and 0)(gradtx.sgd(0.1))


def test_local_factories_have_no_config():
    @gradtx.transformation
    def local():
        return lambda params: (), lambda updates, state, params=None, **extra: (updates, state)

    with pytest.raises(ArgumentTypeError) as error:
        gradtx.to_config(gradtx.chain(local()))
    assert str(error.value) == (
        "gradtx.to_config: expected a registered factory, got the local 'local' at config.chain.transforms[0]"
    )
