"""Arguments are checked when a transformation is made; the messages are pinned."""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.typing import AtLeastOne, Decay, DTypeName, Fraction, NonNegative, Numeric, Positive


@pytest.fixture(scope="module")
def make():
    @gradtx.transformation
    def example(
        rate: Numeric = 1.0,
        decay: Decay = 0.5,
        eps: NonNegative = 0.0,
        scale: Positive = 1.0,
        period: AtLeastOne = 1,
        share: Fraction = 0.5,
        momentum: Decay | None = None,
        mode: Literal["a", "b"] = "a",
        flag: bool = False,
        size: int = 2,
        name: str = "x",
        dtype: DTypeName = "float32",
        mu_dtype: DTypeName | None = None,
        plain: float = 0.0,
        scales: Mapping[int, Numeric] | None = None,
        points: tuple[NonNegative, ...] = (),
    ):
        return lambda params: gradtx.EmptyState(), lambda updates, state, params=None, **extra: (updates, state)

    return example


def message(make, kind, **arguments):
    with pytest.raises(kind) as error:
        make(**arguments)
    return str(error.value)


OUTSIDE = [
    ("rate", float("nan"), "rate in (-inf, inf), got nan"),
    ("rate", float("inf"), "rate in (-inf, inf), got inf"),
    ("rate", -np.inf, "rate in (-inf, inf), got -inf"),
    ("rate", jnp.array([0.0, jnp.nan]), "rate in (-inf, inf), got nan"),
    ("decay", 1.0, "decay in [0, 1), got 1.0"),
    ("decay", 1, "decay in [0, 1), got 1"),
    ("decay", -0.25, "decay in [0, 1), got -0.25"),
    ("decay", jnp.array([0.5, 1.5]), "decay in [0, 1), got 1.5"),
    ("decay", np.array(2), "decay in [0, 1), got 2"),
    ("decay", np.float32(1.0), "decay in [0, 1), got 1.0"),
    ("eps", -1e-8, "eps in [0, inf), got -1e-08"),
    ("eps", float("inf"), "eps in [0, inf), got inf"),
    ("scale", 0.0, "scale in (0, inf), got 0.0"),
    ("period", 0, "period in [1, inf), got 0"),
    ("share", 1.5, "share in [0, 1], got 1.5"),
    ("momentum", 1.0, "momentum in [0, 1), got 1.0"),
    ("plain", float("nan"), "plain in (-inf, inf), got nan"),
    ("rate", 10**310, f"rate in (-inf, inf), got {10**310}"),
    ("scales", {3: 0.5, 5: float("nan")}, "scales[5] in (-inf, inf), got nan"),
    ("points", (1.0, -1.0), "points[1] in [0, inf), got -1.0"),
    ("points", np.array([1.0, -1.0]), "points in [0, inf), got -1.0"),
    ("mode", "c", "mode to be one of 'a', 'b', got 'c'"),
    ("mode", None, "mode to be one of 'a', 'b', got None"),
    ("mode", 1, "mode to be one of 'a', 'b', got 1"),
]


@pytest.mark.parametrize(("name", "value", "text"), OUTSIDE)
def test_values_outside_the_range(make, name, value, text):
    assert message(make, ArgumentValueError, **{name: value}) == f"gradtx.example: expected {text}"


ANY = "(-inf, inf), an array of such numbers or a schedule"
WRONG = [
    ("rate", "0.1", f"rate to be a number in {ANY}, got '0.1' (str)"),
    ("rate", b"1", f"rate to be a number in {ANY}, got b'1' (bytes)"),
    ("rate", True, f"rate to be a number in {ANY}, got True (bool)"),
    ("rate", None, f"rate to be a number in {ANY}, got None (NoneType)"),
    ("rate", 1j, f"rate to be a number in {ANY}, got 1j (complex)"),
    ("rate", [0.1], f"rate to be a number in {ANY}, got [0.1] (list)"),
    ("rate", jax.ShapeDtypeStruct((), jnp.float32), f"rate to be a number in {ANY}, got ShapeDtypeStruct(shape=(), dt"),
    ("rate", jnp.array(1j), "rate to be real, got an array of complex64"),
    ("rate", np.array([True]), "rate to be real, got an array of bool"),
    ("rate", np.array("x"), "rate to be real, got an array of <U1"),
    ("rate", jax.random.key(0), "rate to be real, got an array of key<fry>"),
    ("decay", "0.1", "decay to be a number in [0, 1), an array of such numbers or a schedule, got '0.1' (str)"),
    ("flag", 1, "flag to be a bool, got 1 (int)"),
    ("flag", None, "flag to be a bool, got None (NoneType)"),
    ("size", 2.0, "size to be an int, got 2.0 (float)"),
    ("size", True, "size to be an int, got True (bool)"),
    ("name", 1, "name to be a str, got 1 (int)"),
    ("dtype", "floot32", "dtype to be a floating dtype, got 'floot32'"),
    ("dtype", "int32", "dtype to be a floating dtype, got int32"),
    ("dtype", jnp.complex64, "dtype to be a floating dtype, got complex64"),
    ("dtype", None, "dtype to be a floating dtype, got None"),
    ("scales", [0.5], "scales to be a mapping, got [0.5] (list)"),
    ("scales", 0.5, "scales to be a mapping, got 0.5 (float)"),
    ("scales", {3: "x"}, "scales[3] to be a number in (-inf, inf) or an array of such numbers, got 'x' (str)"),
    ("points", 1.0, "points to be a sequence of numbers in [0, inf), got 1.0 (float)"),
]


@pytest.mark.parametrize(("name", "value", "text"), WRONG)
def test_values_of_the_wrong_type(make, name, value, text):
    assert message(make, ArgumentTypeError, **{name: value}).startswith(f"gradtx.example: expected {text}")


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("rate", 3, 3),
        ("rate", -1e300, -1e300),
        ("rate", np.float16(0.5), np.float16(0.5)),
        ("decay", 0, 0),
        ("eps", np.int64(2), np.int64(2)),
        ("momentum", None, None),
        ("mode", "b", "b"),
        ("flag", np.bool_(True), True),
        ("size", np.int32(7), 7),
        ("dtype", jnp.bfloat16, "bfloat16"),
        ("dtype", np.dtype("float64"), "float64"),
        ("dtype", "float8_e4m3fn", "float8_e4m3fn"),
        ("mu_dtype", None, None),
        ("scales", None, None),
        ("scales", {3: 1, 1: 2.0}, {3: 1, 1: 2.0}),
        ("points", [1, 2.0], [1, 2.0]),
    ],
)
def test_permitted_values(make, name, value, kept):
    result = make(**{name: value}).arguments[name]
    assert result == kept
    assert type(result) is type(kept)


def test_arrays_are_kept_as_they_are(make):
    for array in (jnp.array([0.1, 0.2]), jnp.array(0.1), jnp.array([1, 2]), jnp.array([0.5], jnp.bfloat16)):
        assert make(rate=array).rate is array
    for array in (np.array([0.1, 0.2]), np.array(0.1), np.array([1, 2])):
        kept = make(rate=array).rate
        assert type(kept) is np.ndarray
        assert (kept.dtype, kept.tolist()) == (array.dtype, array.tolist())
        assert not np.shares_memory(kept, array)


def test_containers_are_copied_in_order(make):
    scales = {9: 0.5, 1: 0.25}
    made = make(scales=scales)
    scales[9] = 7.0
    assert list(made.scales.items()) == [(9, 0.5), (1, 0.25)]


def test_traced_values_are_not_checked(make):
    shown = []

    @jax.jit
    def run(x):
        shown.append(make(decay=x, scales={1: x}))
        return x

    run(7.0)
    assert repr(shown[0]) == "example(decay=<float32[]>, scales={1: <float32[]>})"


def test_ranges_are_checked_when_made_not_when_run():
    # A schedule may leave the range by rounding; a step then does the same with and without jit.
    tx = gradtx.sgd(lambda step: -1.0)
    params = jnp.ones(2)
    for jit in (lambda f: f, jax.jit):
        updates, _ = jit(tx.update)(params, tx.init(params))
        assert updates.tolist() == [1.0, 1.0]
    tuned = gradtx.tunable(gradtx.sgd(0.1))
    state = gradtx.set_hyperparams(tuned.init(params), learning_rate=-1.0)
    assert tuned.update(params, state)[0].tolist() == [1.0, 1.0]
    with pytest.raises(ArgumentValueError):
        gradtx.sgd(-1.0)


def test_unknown_keyword(make):
    text = message(make, ArgumentTypeError, decai=0.5)
    assert text.startswith("gradtx.example: expected arguments among (rate, decay, eps,")
    assert text.endswith("got 'decai'; did you mean 'decay'?")
    assert message(make, ArgumentTypeError, zzzzz=0.5).endswith(", got 'zzzzz'")


@pytest.mark.parametrize(
    ("args", "kwargs", "got"),
    [
        ((), {}, "no learning_rate"),
        ((0.1, 0.9, True, None, 5), {}, "too many positional arguments"),
        ((0.1,), {"learning_rate": 0.1}, "multiple values for argument 'learning_rate'"),
    ],
)
def test_a_call_that_does_not_fit(args, kwargs, got):
    with pytest.raises(ArgumentTypeError) as error:
        gradtx.sgd(*args, **kwargs)
    names = ", ".join(gradtx.registry()["sgd"].arguments)
    assert str(error.value) == f"gradtx.sgd: expected arguments ({names}), got {got}"
    assert isinstance(error.value, TypeError)


def test_a_factory_or_a_class_is_no_schedule(make):
    with pytest.raises(ArgumentTypeError) as error:
        make(rate=gradtx.constant_schedule)
    assert str(error.value) == (
        "gradtx.example: expected rate to be a number or a schedule, got the factory 'constant_schedule'; "
        "call it: constant_schedule(...)"
    )
    with pytest.raises(ArgumentTypeError, match="expected a function of the step, got <class 'float'>"):
        make(rate=float)
    with pytest.raises(ArgumentTypeError, match=r"expected rate to be a number .*, got sgd\(learning_rate=0.1\)"):
        make(rate=gradtx.sgd(0.1))


def test_keyword_dictionaries_are_refused():
    with pytest.raises(ArgumentTypeError) as error:

        @gradtx.transformation
        def loose(**options):
            return None

    assert str(error.value) == "gradtx.loose: expected a factory whose arguments all have names, got **options"


def test_errors_are_the_errors_of_python():
    with pytest.raises(ValueError):
        gradtx.adam(-1.0)
    with pytest.raises(TypeError):
        gradtx.adam("fast")
    with pytest.raises(gradtx.errors.GradtxError):
        gradtx.adam("fast")
