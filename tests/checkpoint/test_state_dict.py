"""States as nested dicts: names, errors with paths, fields that changed."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import checkpoint
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError, TreeMismatchError
from tests.checkpoint.runs import TX, assert_same_bits, params, run
from tests.conformance.cases import TRANSFORMATIONS

DATA = Path(__file__).parents[1] / "data"
MODULE = importlib.import_module("gradtx.checkpoint.state_dict")


@pytest.fixture
def changes() -> Iterator[None]:
    """What a test says of changed fields is forgotten after it."""
    before = dict(MODULE._changes)
    yield
    MODULE._changes.clear()
    MODULE._changes.update(before)


# --- the form ---------------------------------------------------------------------------------------------------------


def test_every_entry_has_a_name() -> None:
    tx = gradtx.named_chain(("clip", gradtx.clip_by_global_norm(1.0)), ("adam", gradtx.adam(0.1)))
    d = checkpoint.to_state_dict(tx.init({"dense": [jnp.ones(2), None, ()]}))
    assert int(d["schema"]) == checkpoint.SCHEMA == 1
    moment = {"0": np.zeros(2), "1": {}, "2": {}}
    wanted = {
        "clip": {"norm": 0.0, "clipped": 0},
        "adam": {"0": {"count": 0, "mu": {"dense": moment}, "nu": {"dense": moment}}, "1": {}},
    }
    assert jax.tree.structure(d["state"]) == jax.tree.structure(wanted)
    assert jax.tree.all(jax.tree.map(np.array_equal, d["state"], wanted))


def test_a_state_that_is_one_array_or_none() -> None:
    for state in (jnp.ones(2), None, (), gradtx.EmptyState()):
        flat = checkpoint.flatten_state_dict(checkpoint.to_state_dict(state))
        assert_same_bits(checkpoint.from_state_dict(state, checkpoint.unflatten_state_dict(flat)), state)


def test_masked_leaves_have_no_entries() -> None:
    state = gradtx.masked(gradtx.trace(0.9), "a").init({"a": jnp.ones(2), "b": jnp.ones(2)})
    d = checkpoint.to_state_dict(state)
    assert d["state"] == {"inner_state": {"trace": {"a": d["state"]["inner_state"]["trace"]["a"], "b": {}}}}


def test_keys_are_saved_as_words_and_restored_as_keys() -> None:
    state = {"key": jax.random.split(jax.random.key(7), 2), "rbg": jax.random.key(1, impl="rbg")}
    d = checkpoint.to_state_dict(state)
    assert {name: (x.dtype, x.shape) for name, x in d["state"].items()} == {
        "key": (jnp.uint32, (2, 2)),
        "rbg": (jnp.uint32, (4,)),
    }
    template = {"key": jax.random.split(jax.random.key(0), 2), "rbg": jax.random.key(0, impl="rbg")}
    for given in (template, jax.eval_shape(lambda: template)):
        restored = checkpoint.from_state_dict(given, d)
        assert jax.tree.map(lambda x: x.dtype, restored) == jax.tree.map(lambda x: x.dtype, state)
        assert jax.tree.all(jax.tree.map(lambda x, y: bool(jnp.all(x == y)), restored, state))


def test_names_with_slashes_and_tildes_survive_being_flat() -> None:
    d = {"schema": 1, "state": {"a/b": {"~": 1, "~1": 2, "": 3}, "a": {"b": 4}}}
    flat = checkpoint.flatten_state_dict(d)
    assert list(flat) == ["schema", "state/a~1b/~0", "state/a~1b/~01", "state/a~1b/", "state/a/b"]
    assert checkpoint.unflatten_state_dict(flat) == d


def test_an_abstract_state_says_what_will_be_saved() -> None:
    abstract = checkpoint.to_state_dict(jax.eval_shape(TX.init, params()))
    saved = checkpoint.to_state_dict(TX.init(params()))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == jax.tree.map(lambda x: (x.shape, x.dtype), saved)


@pytest.mark.parametrize("placed", [False, True])
def test_restored_arrays_are_independent_of_numpys(placed: bool) -> None:
    template = jax.device_put(jnp.zeros(1 << 20), jax.devices()[0]) if placed else jnp.zeros(1 << 20)
    memory = np.ones((1 << 20) + 64, np.float32)
    skip = -memory.ctypes.data % 256 // 4
    x = memory[skip : skip + (1 << 20)]  # aligned, so that JAX could take it as it is
    state = checkpoint.from_state_dict(template, {"schema": 1, "state": x})
    x[:] = 5.0
    assert float(state[0]) == 1.0


def test_what_holds_no_array_needs_no_entry_and_may_have_one() -> None:
    template = (jnp.zeros(1), None, ())
    for empty in ({}, {"1": {}, "2": {}}, {"1": None, "7": {"a": {}}}):
        d = {"schema": 1, "state": {"0": np.ones(1, np.float32)} | empty}
        assert_same_bits(checkpoint.from_state_dict(template, d), (jnp.ones(1), None, ()))


def test_restored_arrays_are_where_the_templates_are() -> None:
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    d = checkpoint.to_state_dict(jnp.ones(4))
    assert checkpoint.from_state_dict(jax.device_put(jnp.zeros(4), place), d).committed
    assert checkpoint.from_state_dict(jax.ShapeDtypeStruct((4,), jnp.float32, sharding=place), d).committed
    assert not checkpoint.from_state_dict(jnp.zeros(4), d).committed


def test_without_a_place_in_the_template_arrays_stay_and_counters_are_loose() -> None:
    """A counter tied to one device could not meet params on others."""
    state = {"count": jnp.int32(3), "key": jax.random.key(1), "mu": jnp.ones(4)}
    saved = checkpoint.to_state_dict(jax.device_put(state, jax.devices()[0]))
    for template in (state, jax.eval_shape(lambda: state)):
        restored = checkpoint.from_state_dict(template, saved)
        assert {name: x.committed for name, x in restored.items()} == {"count": False, "key": False, "mu": True}
        assert restored["mu"] is saved["state"]["mu"]
        assert int(restored["count"]) == 3
        assert bool(restored["key"] == state["key"])


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_transformation_restores(name: str) -> None:
    state = TRANSFORMATIONS[name].init({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)})
    state = jax.tree.map(lambda x: (x + 1).astype(x.dtype), state)
    flat = checkpoint.flatten_state_dict(checkpoint.to_state_dict(state))
    assert all(isinstance(path, str) and hasattr(x, "dtype") for path, x in flat.items())
    d = checkpoint.unflatten_state_dict({path: np.asarray(x) for path, x in flat.items()})
    assert_same_bits(checkpoint.from_state_dict(jax.tree.map(jnp.zeros_like, state), d), state)


# --- errors -----------------------------------------------------------------------------------------------------------


class UsersState(NamedTuple):
    """The state of a transformation that is not gradtx's."""

    mu: Any


TEMPLATE = (
    gradtx.EmptyState(),
    {"w": jnp.ones((2, 3)), "n": None},
    gradtx.TraceState(jnp.ones(2)),
    UsersState(jnp.ones(2)),
)
WHERE = "gradtx.checkpoint.from_state_dict: expected "
HINT = "; restore into the state of the same transformation for the same params"


def broken(**changes: Any) -> Any:
    """The dict of `TEMPLATE` with entries replaced, by flat path with _ for /; ``None`` takes one out."""
    flat = checkpoint.flatten_state_dict(checkpoint.to_state_dict(TEMPLATE))
    flat |= {f"state/{path.replace('_', '/')}": x for path, x in changes.items()}
    return checkpoint.unflatten_state_dict({path: x for path, x in flat.items() if x is not None})


MISTAKES = {
    "missing": ({"1_w": None}, f"an entry '1', got none at [1]{HINT}"),
    "missing leaf": ({"1_w": None, "1_n": {}}, f"an entry 'w', got none at [1]['w']{HINT}"),
    "extra": ({"1_v": np.ones(2)}, f"entries ['n', 'w'], got 'v' too at [1]{HINT}"),
    "extra where there is none": ({"0_v": np.ones(2)}, f"entries [], got 'v' too at [0]{HINT}"),
    "extra at the top": ({"4": np.ones(2)}, f"entries ['0', '1', '2', '3'], got '4' too at the top{HINT}"),
    "shape": ({"1_w": np.ones((3, 2), np.float32)}, f"float32[2, 3], got float32[3, 2] at [1]['w']{HINT}"),
    "dtype": (
        {"1_w": np.ones((2, 3), np.float16)},
        "float32[2, 3], got float16[2, 3] at [1]['w']; change the entry with astype, if that is meant",
    ),
    "no array": ({"1_w": 3}, f"an array, got int at [1]['w']{HINT}"),
    "only described": (
        {"1_w": jax.ShapeDtypeStruct((2, 3), jnp.float32)},
        f"an array, got ShapeDtypeStruct at [1]['w']{HINT}",
    ),
    "entries for an array": ({"1_w": None, "1_w_a": np.ones(2)}, f"an array, got a dict with ['a'] at [1]['w']{HINT}"),
    "an array for entries": (
        {"1_w": None, "1": np.ones(2)},
        "entries for a dict with ['w', 'n'], got float64[2] at [1]",
    ),
    "renamed": (
        {"3_mu": None, "3_momentum": np.ones(2, np.float32)},
        "an entry 'mu', got none at [3].mu; a field that was renamed from 'momentum'? see fields_changed",
    ),
    "another key of a dict": ({"1_w": None, "1_v": np.ones(2)}, f"an entry 'w', got none at [1]['w']{HINT}"),
    "something else": (
        {"2_trace": None, "2_momentum": np.ones(2, np.float32)},
        f"TraceState with ['trace'], got another optimizer's state: a dict with ['momentum'] at [2]{HINT}",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_with_their_path(name: str) -> None:
    entries, message = MISTAKES[name]
    with pytest.raises(TreeMismatchError) as caught:
        checkpoint.from_state_dict(TEMPLATE, broken(**entries))
    assert str(caught.value) == WHERE + message
    checkpoint.from_state_dict(TEMPLATE, broken())


def test_something_else_is_not_a_state_dict() -> None:
    hint = "pass what to_state_dict returned; unflatten_state_dict makes it from a flat file"
    with pytest.raises(ArgumentTypeError) as caught:
        checkpoint.from_state_dict((), {"0": {}})
    assert str(caught.value) == f'{WHERE}a dict {{"schema": ..., "state": ...}}, got a dict with [\'0\']; {hint}'
    with pytest.raises(ArgumentValueError) as newer:
        checkpoint.from_state_dict((), {"schema": np.asarray(2), "state": {}})
    assert str(newer.value) == f"{WHERE}a schema up to 1, got 2; upgrade gradtx to read it"


# --- the state of something else --------------------------------------------------------------------------------------

RATE = gradtx.cosine_decay_schedule(0.1, 20)
SMALL = {"kernel": jnp.ones(2)}
STATES = {
    "adam": gradtx.adam(0.1),
    "scheduled": gradtx.adam(RATE),
    "momentum": gradtx.sgd(0.1, momentum=0.9),
    "sgd": gradtx.sgd(0.1),
    "scheduled sgd": gradtx.sgd(RATE),
    "in a chain": gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(0.1)),
    "scheduled in a chain": gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(RATE)),
    "averaged": gradtx.ema_params(gradtx.adam(0.1)),
    "tunable": gradtx.tunable(gradtx.adam(0.1)),
    "lbfgs": gradtx.lbfgs(),
}
WITH, WITHOUT = "the state of an optimizer with a schedule", "the state of an optimizer without a schedule"
INTO = HINT + "; tree.set_field(state, 'inner', ...) puts it into a new one"
ANOTHER = "another optimizer's state: a dict with"
ADAM = "ScaleByAdamState with ['count', 'mu', 'nu']"
OTHERS = [
    ("adam", "scheduled", f"{WITH}, got {WITHOUT} at the top{INTO}"),
    ("sgd", "scheduled sgd", f"{WITH}, got {WITHOUT} at the top{INTO}"),
    ("in a chain", "scheduled in a chain", f"{WITH}, got {WITHOUT} at [1]{INTO}"),
    ("scheduled", "adam", f"entries ['0', '1'], got {WITH} at the top{HINT}"),
    ("scheduled sgd", "sgd", f"EmptyState, got {WITH} at the top{HINT}"),
    ("scheduled in a chain", "in a chain", f"entries ['0', '1'], got {WITH} at [1]{HINT}"),
    ("momentum", "scheduled", f"{WITH}, got {ANOTHER} ['0', '1'] at the top{HINT}"),
    ("momentum", "adam", f"{ADAM}, got {ANOTHER} ['trace'] at [0]{HINT}"),
    ("adam", "momentum", f"TraceState with ['trace'], got {ANOTHER} ['count', 'mu', 'nu'] at [0]{HINT}"),
    ("in a chain", "adam", f"{ADAM}, got {ANOTHER} ['norm', 'clipped'] at [0]{HINT}"),
    ("sgd", "adam", f"an entry '0', got none at [0]{HINT}"),
    ("lbfgs", "adam", f"entries ['0', '1'], got '2' too at the top{HINT}"),
    ("averaged", "adam", f"entries ['0', '1'], got the state of a wrapper around it at the top{HINT}"),
    ("tunable", "adam", f"entries ['0', '1'], got the state of a wrapper around it at the top{HINT}"),
    ("adam", "tunable", f"TunableState with ['hyperparams', 'inner'], got the state of what it wraps at the top{INTO}"),
]


@pytest.mark.parametrize(("saved", "template", "message"), OTHERS)
def test_the_state_of_another_optimizer_is_called_that(saved: str, template: str, message: str) -> None:
    d = checkpoint.to_state_dict(STATES[saved].init(SMALL))
    with pytest.raises(TreeMismatchError) as caught:
        checkpoint.from_state_dict(STATES[template].init(SMALL), d)
    assert str(caught.value) == WHERE + message


def test_a_state_without_a_schedule_can_be_put_into_one_with() -> None:
    """As the error says."""
    _, saved = STATES["adam"].update(SMALL, STATES["adam"].init(SMALL))
    inner = checkpoint.from_state_dict(STATES["adam"].init(SMALL), checkpoint.to_state_dict(saved))
    state = gradtx.tree.set_field(STATES["scheduled"].init(SMALL), "inner", inner)
    updates, _ = STATES["scheduled"].update(SMALL, state)
    assert jnp.allclose(updates["kernel"], STATES["adam"].update(SMALL, saved)[0]["kernel"])


def scheduled(tx: Any) -> Any:
    """A transformation with a schedule for its first number; ``None`` if it has no number, or a schedule already."""
    if any(isinstance(x, gradtx.Schedule) for x in tx.arguments.values()):
        return None
    for name, argument in tx.factory.arguments.items():
        x = tx.arguments[name]
        if argument.numeric and not argument.operand and type(x) in (int, float):
            return tx.replace(**{name: gradtx.constant_schedule(float(x))})
    return None


@pytest.mark.parametrize("name", [name for name, tx in TRANSFORMATIONS.items() if scheduled(tx)])
def test_a_schedule_more_or_less_is_said_of_every_transformation(name: str) -> None:
    with_one = scheduled(TRANSFORMATIONS[name]).init(SMALL)
    without = TRANSFORMATIONS[name].init(SMALL)
    with pytest.raises(TreeMismatchError, match=f"expected {WITH}, got {WITHOUT}"):
        checkpoint.from_state_dict(with_one, checkpoint.to_state_dict(without))
    with pytest.raises(TreeMismatchError, match=f"got {WITH}"):
        checkpoint.from_state_dict(without, checkpoint.to_state_dict(with_one))


# --- forms that are no state dict -------------------------------------------------------------------------------------

SCHEMAS: dict[str, tuple[Any, type, str]] = {
    "text": ("abc", ArgumentTypeError, "a schema that is an integer, got 'abc'"),
    "digits": ("1", ArgumentTypeError, "a schema that is an integer, got '1'"),
    "text of NumPy's": (np.asarray("1"), ArgumentTypeError, "a schema that is an integer, got <U1[]"),
    "nothing": (None, ArgumentTypeError, "a schema that is an integer, got None"),
    "list": ([1], ArgumentTypeError, "a schema that is an integer, got a list of 1"),
    "several": (np.ones(2, np.int32), ArgumentTypeError, "a schema that is an integer, got int32[2]"),
    "dict": ({"a": 1}, ArgumentTypeError, "a schema that is an integer, got a dict with ['a']"),
    "boolean": (True, ArgumentTypeError, "a schema that is an integer, got True"),
    "boolean of NumPy's": (np.bool_(True), ArgumentTypeError, "a schema that is an integer, got bool[]"),
    "NaN": (float("nan"), ArgumentTypeError, "a schema that is an integer, got nan"),
    "NaN of JAX's": (jnp.float32(jnp.nan), ArgumentTypeError, "a schema that is an integer, got float32[]"),
    "fraction": (1.7, ArgumentTypeError, "a schema that is an integer, got 1.7"),
    "only described": (
        jax.ShapeDtypeStruct((), jnp.int32),
        ArgumentTypeError,
        "a schema that is an integer, got int32[]",
    ),
    "object": (np.asarray(None), ArgumentTypeError, "a schema that is an integer, got object[]"),
    "negative": (-5, ArgumentValueError, "a schema of at least 1, got -5"),
    "zero": (np.int32(0), ArgumentValueError, "a schema of at least 1, got 0"),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_broken_schema(name: str) -> None:
    schema, kind, message = SCHEMAS[name]
    with pytest.raises(kind) as caught:
        checkpoint.from_state_dict((), {"schema": schema, "state": {}})
    assert str(caught.value) == f"{WHERE}{message}; the file is damaged, or something else than to_state_dict wrote it"


def test_a_schema_may_be_any_integer() -> None:
    for schema in (1, np.int64(1), np.asarray(1, np.uint8), jnp.int32(1)):
        assert checkpoint.from_state_dict((), {"schema": schema, "state": {}}) == ()


def test_a_flat_dict_is_to_be_nested() -> None:
    flat = checkpoint.flatten_state_dict(checkpoint.to_state_dict(TEMPLATE))
    with pytest.raises(ArgumentTypeError, match=r"got a flat one; make it nested: unflatten_state_dict\(d\)"):
        checkpoint.from_state_dict(TEMPLATE, flat)


def test_names_that_are_no_strings() -> None:
    numbered = {"schema": 1, "state": {0: {}, 1: {"w": np.ones((2, 3), np.float32)}, 2: {"trace": np.ones(2, "f")}}}
    numbered["state"][3] = {"mu": np.ones(2, "f")}
    assert jax.tree.structure(checkpoint.from_state_dict(TEMPLATE, numbered)) == jax.tree.structure(TEMPLATE)
    numbered["state"]["3"] = {}
    with pytest.raises(TreeMismatchError, match="expected different names, got '3' twice at the top"):
        checkpoint.from_state_dict(TEMPLATE, numbered)
    mixed = {"schema": 1, "state": {"0": {1: np.ones(1), "a": np.ones(1)}}}
    with pytest.raises(TreeMismatchError, match="got '1' too at \\[0\\]"):
        checkpoint.from_state_dict((gradtx.EmptyState(),), mixed)
    hint = "to_state_dict makes strings of the keys of a state"
    for given in ({1: 2}, {"a": {1: 2}}):
        with pytest.raises(
            ArgumentTypeError, match=rf"flatten_state_dict: expected names that are strings, got 1.*{hint}"
        ):
            checkpoint.flatten_state_dict(given)
    with pytest.raises(ArgumentTypeError) as caught:
        checkpoint.unflatten_state_dict({1: 2})
    where = "gradtx.checkpoint.unflatten_state_dict: expected "
    assert str(caught.value) == f"{where}names that are strings, got 1; {hint}"


@pytest.mark.parametrize("given", [None, 3, [1], "state", jnp.ones(2)])
def test_what_is_no_dict(given: Any) -> None:
    for function in (checkpoint.flatten_state_dict, checkpoint.unflatten_state_dict):
        with pytest.raises(ArgumentTypeError, match=rf"^gradtx\.checkpoint\.{function.__name__}: expected a "):
            function(given)
    with pytest.raises(ArgumentTypeError, match=r"^gradtx\.checkpoint\.from_state_dict: expected a dict"):
        checkpoint.from_state_dict((), given)


def test_a_nested_dict_is_not_made_nested_again() -> None:
    nested = checkpoint.to_state_dict(TEMPLATE)
    with pytest.raises(
        ArgumentTypeError, match="got a dict at 'state'; what is nested already goes to from_state_dict"
    ):
        checkpoint.unflatten_state_dict(nested)
    empty: dict[str, Any] = {}
    assert checkpoint.unflatten_state_dict({"a": empty, "a/b": 1}) == {"a": {"b": 1}}
    assert not empty


def test_names_must_differ_as_strings() -> None:
    class Key:
        """A key that sorts with others and prints alike."""

        def __lt__(self, other: Any) -> bool:
            return id(self) < id(other)

        def __repr__(self) -> str:
            return "key"

    with pytest.raises(ArgumentValueError, match=r"^gradtx\.checkpoint\.to_state_dict: .*'key' twice at \[0\]$"):
        checkpoint.to_state_dict(({Key(): jnp.ones(1), Key(): jnp.ones(1)},))


def test_a_flat_path_through_an_array() -> None:
    for flat in ({"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}):
        with pytest.raises(
            TreeMismatchError, match=r"unflatten_state_dict: expected an array or further names, got both"
        ):
            checkpoint.unflatten_state_dict(flat)


# --- fields that changed ----------------------------------------------------------------------------------------------


class ThisState(NamedTuple):
    """What the state of a transformation is today."""

    count: Any
    mu: Any
    clipped: Any


OLD = {"schema": np.asarray(1), "state": {"count": np.int32(3), "momentum": np.ones(2, np.float32), "gone": np.ones(1)}}


@pytest.mark.usefixtures("changes")
def test_an_old_state_loads_once_it_is_said_what_changed() -> None:
    template = ThisState(jnp.zeros((), jnp.int32), {"w": jnp.zeros(2)}["w"], jnp.full((), 7))
    with pytest.raises(TreeMismatchError, match=r"renamed from 'momentum'\? see fields_changed"):
        checkpoint.from_state_dict(template, OLD)
    checkpoint.fields_changed(ThisState, renamed={"momentum": "mu"})
    checkpoint.fields_changed(ThisState, added=("clipped",), removed=("gone",))
    restored = checkpoint.from_state_dict(template, OLD)
    assert_same_bits(restored, ThisState(jnp.int32(3), jnp.ones(2), jnp.full((), 7)))
    assert_same_bits(checkpoint.from_state_dict(template, checkpoint.to_state_dict(restored)), restored)
    with pytest.raises(TreeMismatchError, match=r"a template with values for a field that was added at \.clipped"):
        checkpoint.from_state_dict(jax.eval_shape(lambda: template), OLD)


@pytest.mark.usefixtures("changes")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": dict}, "a named tuple class, got <class 'dict'>"),
        ({"renamed": {"a": "b"}}, "fields of ThisState, ['count', 'mu', 'clipped'], got 'b'"),
        ({"added": ("b",)}, "fields of ThisState, ['count', 'mu', 'clipped'], got 'b'"),
        ({"renamed": {"mu": "count"}}, "names of old fields, got 'mu', which ThisState has"),
        ({"removed": ("mu",)}, "names of old fields, got 'mu', which ThisState has"),
    ],
)
def test_wrong_changes(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(GradtxError) as caught:
        checkpoint.fields_changed(**({"kind": ThisState} | arguments))
    assert str(caught.value) == f"gradtx.checkpoint.fields_changed: expected {message}"


# --- an older file ----------------------------------------------------------------------------------------------------

OLDER = gradtx.chain(
    gradtx.clip_by_global_norm(1e3), gradtx.adamw(gradtx.linear_schedule(0.5, 0.25, 8), b1=0.5, b2=0.75)
)
"""With these decay factors and the gradients below, the moments are exact: they have the same bits on any machine."""


def older_gradients(i: int) -> Any:
    """Small powers of two."""
    return {"kernel": jnp.asarray([[1.0, -2.0], [0.5, 4.0]]) * 0.5**i, "bias": jnp.asarray([2.0, -0.25])}


def older_run(p: Any, state: Any, steps: range) -> Any:
    update = jax.jit(OLDER.update)
    for i in steps:
        updates, state = update(older_gradients(i), state, p)
        p = gradtx.apply_updates(p, updates)
    return p, state


@pytest.mark.usefixtures("changes")
def test_a_file_with_the_names_of_an_older_version_continues_with_the_same_bits() -> None:
    """``older_state.npz`` was saved after 4 steps when the moments were ``m`` and ``v`` and no clip was counted."""
    start = jax.tree.map(jnp.ones_like, older_gradients(0))
    template = OLDER.init(start)
    halfway, state = older_run(start, template, range(4))
    with np.load(DATA / "older_state.npz") as file:
        saved = checkpoint.unflatten_state_dict(file)
    with pytest.raises(TreeMismatchError, match=r"an entry 'clipped', got none at \[0\]\.clipped"):
        checkpoint.from_state_dict(template, saved)
    checkpoint.fields_changed(gradtx.ClipByGlobalNormState, added=("clipped",))
    checkpoint.fields_changed(gradtx.ScaleByAdamState, renamed={"m": "mu", "v": "nu"})
    restored = checkpoint.from_state_dict(template, saved)
    assert_same_bits(gradtx.tree.get_field(restored, "nu"), gradtx.tree.get_field(state, "nu"))
    assert_same_bits(older_run(halfway, restored, range(4, 9)), older_run(halfway, state, range(4, 9)))


def test_a_run_goes_on_in_memory_with_the_same_bits() -> None:
    halfway = run(params(), TX.init(params()), 5)
    restored = checkpoint.from_state_dict(TX.init(params()), checkpoint.to_state_dict(halfway[1]))
    assert_same_bits(run(halfway[0], restored, 5), run(*halfway, 5))
