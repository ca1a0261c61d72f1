"""The form of a message, and what kind of exception each error is."""

import pickle

import pytest

from gradtx import errors
from gradtx.errors import ArgumentValueError, GradtxError, MissingExtraError, require_extra


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "gradtx: expected a number"),
        ({"got": "'x'"}, "gradtx: expected a number, got 'x'"),
        ({"at": "['w']"}, "gradtx: expected a number at ['w']"),
        ({"hint": "use 3"}, "gradtx: expected a number; use 3"),
        (
            {"got": "'x'", "at": "['w']", "hint": "use 3", "origin": "adam"},
            "gradtx.adam: expected a number, got 'x' at ['w']; use 3",
        ),
    ],
)
def test_the_form_of_a_message(fields, text):
    assert str(GradtxError("a number", **fields)) == text


def test_the_innermost_origin_stays():
    error = GradtxError("a number")
    error.locate("adam")
    error.locate("chain")
    assert str(error) == "gradtx.adam: expected a number"


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ArgumentValueError", ValueError),
        ("ArgumentTypeError", TypeError),
        ("TreeMismatchError", ValueError),
        ("MissingExtraError", TypeError),
        ("UnknownNameError", KeyError),
    ],
)
def test_every_error_is_also_one_of_pythons(name, builtin):
    kind = getattr(errors, name)
    assert issubclass(kind, GradtxError)
    assert issubclass(kind, builtin)
    # KeyError would show the representation of its message.
    assert str(kind("a number", got="'x'")) == "gradtx: expected a number, got 'x'"


def test_errors_cross_processes():
    error = ArgumentValueError("a number", got="'x'", at="['w']", hint="use 3", origin="adam")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


def test_require_extra():
    assert require_extra(0.0, "value", "pass the loss") == 0.0
    with pytest.raises(MissingExtraError, match=r"^gradtx: expected update\(..., value=...\), got no value; pass it$"):
        require_extra(None, "value", "pass it")
