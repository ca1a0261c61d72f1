"""The page of the mistakes people make: complete, and in one form. `test_docs` runs it, so its messages are right."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest

import gradtx
from gradtx import errors

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^### (.+?)$(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
MESSAGES = re.findall(r"^gradtx\.errors\.(\w+): (.*)$", PAGE, re.MULTILINE)


def test_every_mistake_is_in_the_table_with_the_class_of_its_error():
    rows = re.findall(r"^\| \[(.+?)\]\(#.+?\) \| .+? \| `(\w+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 20
    assert [title for title, _ in rows] == [title for title, _ in SECTIONS]
    for (title, kind), (_, text) in zip(rows, SECTIONS, strict=True):
        assert f"gradtx.errors.{kind}: " in text, title


def test_every_message_says_who_complains_what_was_expected_and_what_came():
    others = {"GradtxError", "MissingPackageError"}  # the base; no mistake in a program
    assert {kind for kind, _ in MESSAGES} == {name for name in vars(errors) if name.endswith("Error")} - others
    for _, message in MESSAGES:
        assert re.fullmatch(r"gradtx\.\w+: expected .+, got .+", message), message
        assert not message.endswith("..."), message


def test_what_is_not_a_mistake():
    params = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    tx = gradtx.partition({"*kernel": gradtx.adam(0.1), "*bias": gradtx.sgd(0.1), "*": gradtx.set_to_zero()})
    tx.update(params, tx.init(params))  # a catch-all may catch nothing
    tx.init({})  # an empty tree matches anything
    gradtx.masked(gradtx.sgd(0.1), "*/kernel").init({})
    gradtx.clip(1.0).update(params, ())  # nothing is an empty state


@pytest.mark.parametrize("updates", [None, {}], ids=str)
def test_updates_that_are_missing(updates):
    with pytest.raises(errors.TreeMismatchError, match="got "):
        gradtx.apply_updates({"w": jnp.ones(2)}, updates)


def test_a_long_argument_is_cut_and_text_that_is_no_number_gets_no_hint():
    with pytest.raises(errors.ArgumentTypeError) as caught:
        gradtx.adam({"kernel": jnp.ones((20, 30))})
    assert "\n" not in str(caught.value)
    assert "... (dict)" in str(caught.value)
    with pytest.raises(errors.ArgumentTypeError) as caught:
        gradtx.adam("fast")
    assert str(caught.value).endswith("got 'fast' (str)")


def test_a_type_error_that_params_of_arrays_raise_stays_what_it_is():
    def init(params):
        raise TypeError("something else")

    with pytest.raises(TypeError, match="something else"):
        gradtx.from_functions(init, lambda updates, state, params=None: (updates, state)).init({"w": jnp.ones(1)})
