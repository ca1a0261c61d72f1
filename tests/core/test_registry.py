"""What is registered, under which names, and what is not."""

import pytest

import gradtx
from gradtx.core import lookup
from gradtx.errors import ArgumentValueError, UnknownNameError

pytestmark = pytest.mark.usefixtures("scratch_registry")


def defined_in(module, name="example", document="One line.", kind=gradtx.transformation):
    """A factory as if it were written at the top of a module."""

    def factory():
        return lambda params: gradtx.EmptyState(), lambda updates, state, params=None, **extra: (updates, state)

    factory.__module__, factory.__name__, factory.__qualname__, factory.__doc__ = module, name, name, document
    return kind(factory)


DOCUMENT = """Scale by a half.

    Args:
      rate: a number.

    References:
      - First, Author, A title that goes on
        over two lines, 2020, arXiv:2001.00001.
      - Second, Another title, 2021.

    Notes follow.
    """


def test_an_entry():
    make = defined_in("somewhere.halving", document=DOCUMENT)
    entry = gradtx.registry()["example"]
    assert entry is make.factory is lookup("example")
    assert (entry.name, entry.kind, entry.family, entry.summary) == (
        "example",
        "transformation",
        "halving",
        "Scale by a half",
    )
    assert entry.references == (
        "First, Author, A title that goes on over two lines, 2020, arXiv:2001.00001.",
        "Second, Another title, 2021.",
    )
    assert entry.make is make
    assert repr(entry) == "<gradtx transformation example>"


def test_references_as_paragraphs_and_none():
    two = "One.\n\n    References:\n      A paper, 2020.\n\n      Another\n      paper, 2021.\n"
    assert defined_in("m", "a", two).factory.references == ("A paper, 2020.", "Another paper, 2021.")
    assert defined_in("m", "b", "One.").factory.references == ()
    assert defined_in("m", "c", None).factory.summary == ""


def test_the_registry_is_sorted_and_a_copy():
    names = list(gradtx.registry())
    assert names == sorted(names)
    gradtx.registry().clear()
    assert list(gradtx.registry()) == names


@pytest.mark.parametrize(
    ("name", "kind", "family"),
    [
        ("adamw", "optimizer", "adam"),
        ("scale_by_adam", "transformation", "adam"),
        ("chain", "transformation", "chain"),
        ("exponential_decay", "schedule", "decay"),
    ],
)
def test_what_the_library_registers(name, kind, family):
    entry = gradtx.registry()[name]
    assert (entry.kind, entry.family) == (kind, family)
    assert entry.summary
    assert entry.make is getattr(gradtx, name)


def test_local_factories_are_not_registered():
    before = gradtx.registry()

    @gradtx.transformation
    def adam():
        return lambda params: (), lambda updates, state, params=None, **extra: (updates, state)

    assert gradtx.registry() == before
    assert repr(adam()) == "adam()"
    assert adam() != gradtx.adam(0.1)


def test_a_name_of_another_module_is_taken():
    defined_in("first")
    with pytest.raises(ArgumentValueError) as error:
        defined_in("second")
    assert (
        str(error.value)
        == "gradtx: expected a name that is free, got 'example', taken by first.example; choose another"
    )


def test_a_module_may_define_a_name_again():
    defined_in("first")
    again = defined_in("first")
    assert lookup("example") is again.factory


def test_aliases():
    make = defined_in("first")
    assert gradtx.alias("second_name", make) is make
    gradtx.alias("second_name", make)  # twice is no error: a module may be loaded again
    assert gradtx.aliases()["second_name"] == "example"
    assert "second_name" not in gradtx.registry()
    assert lookup("second_name") is make.factory
    assert gradtx.parse("second_name()") == make()
    assert repr(gradtx.parse("second_name()")) == "example()"


def test_an_alias_cannot_take_a_name():
    make = defined_in("first")
    with pytest.raises(ArgumentValueError, match=r"got 'adam', taken by gradtx.optimizers.adam.adam"):
        gradtx.alias("adam", make)
    gradtx.alias("short", make)
    with pytest.raises(ArgumentValueError, match=r"got 'short', taken by first.example"):
        gradtx.alias("short", gradtx.adam)
    with pytest.raises(ArgumentValueError, match=r"got 'short', taken by first.example"):
        defined_in("third", "short")
    assert lookup("adam").name == "adam"


def test_lookup_of_an_unknown_name():
    with pytest.raises(UnknownNameError) as error:
        lookup("scale_by_adamm")
    assert str(error.value).startswith(
        "gradtx: expected a registered name, got 'scale_by_adamm'; did you mean scale_by_adam"
    )
