"""What is registered, under which names, and what is not."""

import copy
import json

import pytest

import gradtx
from gradtx.core import lookup
from gradtx.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError

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
    entry = gradtx.registry()["somewhere.halving.example"]
    assert entry is make.factory is lookup("example") is lookup("somewhere.halving.example")
    assert (entry.name, entry.kind, entry.family, entry.summary) == (
        "example",
        "transformation",
        "somewhere",
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
        ("chain", "transformation", "combinators"),
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


def test_a_local_factory_has_its_bare_name_whatever_is_registered():
    defined_in("first")
    defined_in("second")

    @gradtx.transformation
    def example():
        return lambda params: (), lambda updates, state, params=None, **extra: (updates, state)

    assert repr(example()) == "example()"


def round_trips(value):
    config = json.loads(json.dumps(gradtx.to_config(value)))
    return [gradtx.parse(repr(value)), gradtx.from_config(config), value.replace(), pickle_like(value)]


def pickle_like(value):
    """A copy by the way a pickle takes, of a value whose module cannot be imported."""
    rebuild, arguments = value.__reduce__()
    return rebuild(*arguments)


def test_a_name_of_another_module_of_gradtx_is_taken():
    defined_in("gradtx.first")
    with pytest.raises(ArgumentValueError) as error:
        defined_in("gradtx.second")
    assert (
        str(error.value)
        == "gradtx: expected a name that is free, got 'example', taken by gradtx.first.example; choose another"
    )


@pytest.mark.parametrize("gradtx_first", [True, False])
def test_gradtx_may_have_the_name_of_a_users_factory(gradtx_first):
    modules = ["gradtx.some", "package.rules"] if gradtx_first else ["package.rules", "gradtx.some"]
    ours, theirs = (make() for make in sorted((defined_in(m) for m in modules), key=lambda f: f.__module__))
    assert (repr(ours), repr(theirs)) == ("example()", "package.rules.example()")
    assert gradtx.registry()["example"] is ours.factory is lookup("example")
    assert gradtx.registry()["package.rules.example"] is theirs.factory
    assert gradtx.to_config(theirs)["name"] == "package.rules.example"
    assert gradtx.to_config(ours)["name"] == "example"
    for value in (ours, theirs, gradtx.chain(ours, theirs)):
        assert round_trips(value) == [value] * 4
    assert ours != theirs


def test_two_packages_may_have_one_name():
    first = defined_in("first.rules")()
    assert repr(first) == "example()"
    saved = gradtx.to_config(first)
    second = defined_in("second.rules")()
    assert (repr(first), repr(second)) == ("first.rules.example()", "second.rules.example()")
    for value in (first, second, gradtx.chain(first, second)):
        assert round_trips(value) == [value] * 4
    assert gradtx.from_config(saved) == first
    for ask in (lambda: gradtx.parse("example()"), lambda: gradtx.from_config({"name": "example"})):
        with pytest.raises(UnknownNameError, match=r"expected a name of one factory, got 'example', which may be "
                           r"first.rules.example or second.rules.example; write all of it$"):  # fmt: skip
            ask()


@pytest.mark.parametrize("name", sorted(gradtx.registry()))
def test_a_user_may_have_had_any_name_of_gradtx(name):
    theirs = defined_in("package", name)
    assert repr(theirs()) == f"package.{name}()"
    assert gradtx.parse(repr(theirs())) == theirs()
    assert lookup(name) is not theirs.factory
    assert lookup(name).key == name


@pytest.mark.parametrize("name", sorted(gradtx.aliases()))
def test_a_user_may_have_had_any_alias_of_gradtx(name):
    theirs = defined_in("package", name)
    assert lookup(name) is not theirs.factory
    assert gradtx.parse(repr(theirs())) == theirs()


def test_a_factory_in_a_class_is_qualified_by_it():
    def example():
        return lambda params: (), lambda updates, state, params=None, **extra: (updates, state)

    example.__module__, example.__qualname__ = "package", "Rules.example"
    value = gradtx.transformation(example)()
    assert gradtx.to_config(value)["name"] == "package.Rules.example"
    assert gradtx.parse("package.Rules.example()") == gradtx.parse("example()") == value


def test_a_module_may_define_a_name_again():
    make = defined_in("first")
    old = make()
    again = defined_in("first")
    assert lookup("example") is again.factory
    assert old != again()
    assert copy.copy(old) == old
    with pytest.raises(ArgumentTypeError, match="got 'example', which its module has defined again since at config"):
        gradtx.to_config(old)


def test_aliases():
    make = defined_in("first")
    assert gradtx.alias("second_name", make) is make
    gradtx.alias("second_name", make)  # twice is no error: a module may be loaded again
    assert gradtx.aliases()[f"{__name__}.second_name"] == "first.example"
    assert "second_name" not in gradtx.registry()
    assert lookup("second_name") is make.factory
    assert gradtx.parse("second_name()") == make()
    assert repr(gradtx.parse("second_name()")) == "example()"


def alias_in(module, name, make):
    """An alias as if a module gave it."""
    exec("alias(name, make)", {"__name__": module, "alias": gradtx.alias, "name": name, "make": make})  # noqa: S102


def test_an_alias_cannot_take_a_name_of_its_own_package():
    make = defined_in("gradtx.first")
    with pytest.raises(ArgumentValueError, match=r"got 'adam', taken by gradtx.optimizers.adam.adam"):
        alias_in("gradtx.first", "adam", make)
    alias_in("gradtx.first", "short", make)
    with pytest.raises(ArgumentValueError, match=r"got 'short', taken by gradtx.first.example"):
        alias_in("gradtx.first", "short", gradtx.adam)
    with pytest.raises(ArgumentValueError, match=r"got 'short', taken by gradtx.first.example"):
        defined_in("gradtx.third", "short")
    assert lookup("adam").name == "adam"


def test_an_alias_of_a_user_takes_no_name():
    make = defined_in("package")
    alias_in("package", "adam", make)
    alias_in("package", "ours", gradtx.adam)
    assert lookup("adam") is gradtx.adam.factory is lookup("ours")
    assert lookup("package.adam") is make.factory
    defined_in("gradtx.later", "ours")
    assert lookup("ours").function.__module__ == "gradtx.later"
    assert lookup("package.ours") is gradtx.adam.factory
    alias_in("other", "short", gradtx.sgd)
    alias_in("package", "short", gradtx.adam)
    with pytest.raises(UnknownNameError, match="got 'short', which may be adam or sgd"):
        lookup("short")
    with pytest.raises(ArgumentValueError, match=r"got 'package.short', taken by gradtx.optimizers.adam.adam.adam"):
        defined_in("package", "short")


def test_lookup_of_an_unknown_name():
    with pytest.raises(UnknownNameError) as error:
        lookup("scale_by_adamm")
    assert str(error.value).startswith(
        "gradtx: expected a registered name, got 'scale_by_adamm'; did you mean scale_by_adam"
    )
    defined_in("package.rules")
    for name, hint in {
        "package.other.example": "did you mean package.rules.example?",
        "gradtx.sgd": "did you mean sgd?",
        "absent.rule": "import the module that defines it",
    }.items():
        with pytest.raises(UnknownNameError) as error:
            lookup(name)
        assert str(error.value) == f"gradtx: expected a registered name, got {name!r}; {hint}"
    with pytest.raises(UnknownNameError) as error:
        lookup("x." * 10_000)
    assert len(str(error.value)) < 200


def test_arguments_by_place_do_not_move_up():
    def example(a: float = 1.0, b: float = 2.0, /):
        return lambda params: (), lambda updates, state, params=None, **extra: (updates, state)

    def strict(a: float, b: float = 2.0, /):
        return lambda params: (), lambda updates, state, params=None, **extra: (updates, state)

    for function in (example, strict):
        function.__qualname__ = function.__name__
        gradtx.transformation(function)
    assert gradtx.from_config({"name": "example", "arguments": {"b": 3.0}}).arguments == {"a": 1.0, "b": 3.0}
    with pytest.raises(ArgumentTypeError, match=r"^gradtx.strict: expected arguments \(a, b\), got no a$"):
        gradtx.from_config({"name": "strict", "arguments": {"b": 3.0}})
