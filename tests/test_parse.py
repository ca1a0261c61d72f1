"""Constructor text: what is understood, and that everything else is refused without running code."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError, UnknownNameError

LITERALS = "registered names and literals only"
CALL = "a call such as adam(0.001)"


def refusal(text, kind=ArgumentValueError):
    with pytest.raises(kind) as error:
        gradtx.parse(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sgd(0.1)", lambda: gradtx.sgd(0.1)),
        (" sgd( learning_rate = 1e-1 ,\n momentum=+0.9)\n", lambda: gradtx.sgd(0.1, momentum=0.9)),
        ("chain()", gradtx.chain),
        ("scale(-1)", lambda: gradtx.scale(-1)),
        (
            "chain(clip_by_global_norm(1.0), adamw(exponential_decay(1e-3, 100, 0.9)))",
            lambda: gradtx.chain(
                gradtx.clip_by_global_norm(1.0), gradtx.adamw(gradtx.exponential_decay(1e-3, 100, 0.9))
            ),
        ),
        ("sgd(array([0.1, 0.2]))", lambda: gradtx.sgd(jnp.array([0.1, 0.2]))),
        ("sgd(array(0.1, 'float64'))", lambda: gradtx.sgd(np.array(0.1))),
        ("sgd(array([1, 2], 'int32'))", lambda: gradtx.sgd(jnp.array([1, 2]))),
        (
            "partition({'*/b': sgd(0.1), '*': chain()}, {'x': ['*', ('*/b', None)]})",
            lambda: gradtx.partition({"*/b": gradtx.sgd(0.1), "*": gradtx.chain()}, {"x": ["*", ("*/b", None)]}),
        ),
        (
            "masked(chain(), {'a': (True, False), 'b': []})",
            lambda: gradtx.masked(gradtx.chain(), {"a": (True, False), "b": []}),
        ),
        ("constant_schedule(0.1)", lambda: gradtx.constant_schedule(0.1)),
        (
            "sgd(multiply_schedules(2.0, constant_schedule(0.1)))",
            lambda: gradtx.sgd(2.0 * gradtx.constant_schedule(0.1)),
        ),
    ],
)
def test_texts(text, value):
    assert gradtx.parse(text) == value()


def test_infinity_and_nan_are_numbers():
    parsed = gradtx.parse("partition({inf: chain(), -inf: chain()}, {'a': [inf, -inf]})")
    assert list(parsed.transforms) == [math.inf, -math.inf]
    assert parsed.param_labels["a"] == [math.inf, -math.inf]
    with pytest.raises(gradtx.errors.ArgumentValueError, match="param_labels among \\[inf\\], got nan at"):
        gradtx.parse("partition({inf: chain()}, {'b': nan})")
    assert gradtx.parse("partition({inf: chain()}, inf)") == gradtx.partition({math.inf: gradtx.chain()}, math.inf)


def test_arrays_keep_their_dtype():
    assert gradtx.parse("sgd(array([0.1], 'bfloat16'))").learning_rate.dtype == jnp.bfloat16
    double = gradtx.parse("sgd(array([0.1], 'float64'))").learning_rate
    assert (double.dtype, double.item()) == (np.float64, 0.1)


def test_aliases():
    assert gradtx.parse("multi_transform({'*': sgd(0.1)})") == gradtx.partition({"*": gradtx.sgd(0.1)})


REFUSED = [
    ("", "constructor text, got ''; invalid syntax"),
    ("   ", "constructor text, got ''; invalid syntax"),
    ("sgd(", "constructor text, got 'sgd('; '(' was never closed"),
    ("sgd(0.1) sgd(0.2)", "constructor text, got 'sgd(0.1) sgd(0.2)'; invalid syntax"),
    ("import os", "constructor text, got 'import os'; invalid syntax"),
    ("x = sgd(0.1)", "constructor text, got 'x = sgd(0.1)'; invalid syntax"),
    ("\0", "constructor text, got '\\x00'; source code string cannot contain null bytes"),
    ("sgd", f"{CALL}, got 'sgd'"),
    ("0.1", f"{CALL}, got '0.1'"),
    ("'sgd'", f"{CALL}, got \"'sgd'\""),
    ("[sgd(0.1)]", f"{CALL}, got '[sgd(0.1)]'"),
    ("array([0.1])", f"{CALL}, got 'array([0.1])'"),
    ("(x := sgd(0.1))", f"{CALL}, got 'x := sgd(0.1)'"),
    ("lambda: 1", f"{CALL}, got 'lambda: 1'"),
    ("sgd(0.1).init", f"{CALL}, got 'sgd(0.1).init'"),
    ("sgd(0.1) if 1 else 2", f"{CALL}, got 'sgd(0.1) if 1 else 2'"),
    ("sgd(0.1).init()", f"{LITERALS}, got 'sgd(0.1).init()'"),
    ("gradtx.sgd(0.1)", "a registered name, got 'gradtx.sgd'; did you mean sgd?"),
    ("os.path.join('a')", "a registered name, got 'os.path.join'; import the module that defines it"),
    ("sgd(0.1).a.b(0.1)", f"{LITERALS}, got 'sgd(0.1).a.b(0.1)'"),
    ("'a'.join([])", f"{LITERALS}, got \"'a'.join([])\""),
    ("sgd(a.b)", f"{LITERALS}, got 'a.b'"),
    ("(lambda: 1)()", f"{LITERALS}, got '(lambda: 1)()'"),
    ("sgd(0.1)()", f"{LITERALS}, got 'sgd(0.1)()'"),
    ("sgd(rate)", f"{LITERALS}, got 'rate'"),
    ("sgd(-rate)", f"{LITERALS}, got 'rate'"),
    ("sgd(lambda step: 0.1)", f"{LITERALS}, got 'lambda step: 0.1'"),
    ("sgd(0.1 + 0.2)", f"{LITERALS}, got '0.1 + 0.2'"),
    ("sgd(2**99999999)", f"{LITERALS}, got '2**99999999'"),
    ("sgd(not 1)", f"{LITERALS}, got 'not 1'"),
    ("sgd(--1)", f"{LITERALS}, got '--1'"),
    ("sgd(~1)", f"{LITERALS}, got '~1'"),
    ("scale(-True)", f"{LITERALS}, got '-True'"),
    ("sgd(1j)", f"{LITERALS}, got '1j'"),
    ("sgd(b'1')", f"{LITERALS}, got \"b'1'\""),
    ("sgd(...)", f"{LITERALS}, got '...'"),
    ("sgd(f'{1}')", f"{LITERALS}, got \"f'{{1}}'\""),
    ("sgd({1, 2})", f"{LITERALS}, got '{{1, 2}}'"),
    ("sgd([x for x in 'ab'])", f"{LITERALS}, got \"[x for x in 'ab']\""),
    ("sgd(x for x in 'ab')", f"{LITERALS}, got \"(x for x in 'ab')\""),
    ("sgd({**{}})", f"{LITERALS}, got '{{**{{}}}}'"),
    ("sgd(*[0.1])", f"{LITERALS}, got 'sgd(*[0.1])'"),
    ("sgd(**{'learning_rate': 0.1})", f"{LITERALS}, got \"sgd(**{{'learning_rate': 0.1}})\""),
    ("chain(sgd(0.1), [*()])", f"{LITERALS}, got '*()'"),
    ("sgd([0.1][0])", f"{LITERALS}, got '[0.1][0]'"),
    ("sgd((y := 0.1))", f"{LITERALS}, got 'y := 0.1'"),
    ("sgd(await x)", f"{LITERALS}, got 'await x'"),
    ("sgd((yield))", f"{LITERALS}, got 'yield'"),
    ("sgd(a < b)", f"{LITERALS}, got 'a < b'"),
    ("sgd(inf())", "a registered name, got 'inf'"),
    ("sgd(0.1, momentum=0.5, momentum=0.6)", "each argument once, got 'momentum' twice at 'sgd(0.1, momentum=0.5, m"),
    ("sgd(array())", "array(values, dtype), got 'array()'"),
    ("sgd(array([1], dtype='int32'))", "array(values, dtype), got \"array([1], dtype='int32')\""),
    ("sgd(array([1], 'floot'))", "an array of numbers, got \"array([1], 'floot')\"; data type 'floot' not understood"),
    (
        "sgd(array(['x']))",
        "an array of numbers, got \"array(['x'], 'float32')\"; could not convert string to float: 'x'",
    ),
    ("sgd(array([1, [2]]))", "an array of numbers, got \"array([1, [2]], 'float32')\"; setting an array element"),
    ("sgd({[1]: 2})", "a mapping with plain keys, got unhashable type: 'list'"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_refused(text, reason):
    kind = UnknownNameError if "registered name, got" in reason else ArgumentValueError
    assert refusal(text, kind).startswith(f"gradtx.parse: expected {reason}")


def test_a_bad_piece_is_found_however_deep():
    text = "chain(sgd(0.1), masked(adam(exponential_decay(0.1, 10, os.getcwd())), '*'))"
    expected = "gradtx.parse: expected a registered name, got 'os.getcwd'; import the module that defines it"
    assert refusal(text, UnknownNameError) == expected
    assert refusal(text.replace("os.getcwd()", "1 + 1")) == f"gradtx.parse: expected {LITERALS}, got '1 + 1'"


@pytest.mark.parametrize(
    "text",
    [
        "os.system('true')",
        "gradtx.core.registry.lookup('sgd')",
        "__import__('os')",
        "eval('1')",
        "chain(__import__('os'))",
        "sgd(open('/etc/passwd'))",
        "exec('x')",
        "print(1)",
    ],
)
def test_functions_of_python_are_unknown_names(text):
    assert refusal(text, UnknownNameError).startswith("gradtx.parse: expected a registered name, got '")


def test_unknown_names_suggest_the_nearest():
    assert refusal("adamm(0.1)", UnknownNameError).startswith(
        "gradtx.parse: expected a registered name, got 'adamm'; did you mean adam"
    )
    assert refusal("zzzzzz()", UnknownNameError) == (
        "gradtx.parse: expected a registered name, got 'zzzzzz'; `gradtx list` shows every name"
    )
    with pytest.raises(KeyError):
        gradtx.parse("zzzzzz()")


@pytest.mark.parametrize(
    "text",
    [
        "sgd(" + "[" * 50_000 + "]" * 50_000 + ")",
        "sgd(" + "-" * 50_000 + "1)",
        "sgd(" + "(" * 50_000 + "1" + ")" * 50_000 + ")",
        "sgd(" + "1+" * 50_000 + "1)",
        "sgd(" + "a." * 50_000 + "b)",
        "chain(" * 5_000 + ")" * 5_000,
        "sgd(" + "9" * 10_000 + ")",
    ],
    ids=["lists", "signs", "brackets", "sums", "attributes", "calls", "digits"],
)
def test_huge_texts_are_refused_in_one_line(text):
    message = refusal(text)
    assert message.startswith("gradtx.parse: expected ")
    assert len(message) < 500


@pytest.mark.parametrize("text", [None, 3, b"sgd(0.1)", ["sgd(0.1)"]])
def test_only_text_is_parsed(text):
    assert refusal(text, ArgumentTypeError) == f"gradtx.parse: expected constructor text, got {type(text).__name__}"


def test_arguments_are_checked_as_in_a_call():
    assert refusal("chain(sgd(-1.0))") == "gradtx.sgd: expected learning_rate in [0, inf), got -1.0"
    assert refusal("sgd(0.1, momentun=0.5)", ArgumentTypeError).endswith("got 'momentun'; did you mean 'momentum'?")
    assert refusal("chain(0.1)", ArgumentTypeError).startswith(
        "gradtx.chain: expected argument 0 to be a transformation, got 0.1"
    )
    assert refusal("custom_schedule('x')", ArgumentTypeError).startswith("gradtx.custom_schedule: expected a function")
    assert refusal("from_functions(1, 2)", ArgumentTypeError).startswith("gradtx.from_functions: expected init to be")


def test_every_refusal_is_one_kind_of_error():
    for text, _ in REFUSED:
        with pytest.raises(GradtxError):
            gradtx.parse(text)
