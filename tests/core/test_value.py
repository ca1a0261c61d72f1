"""Values: text, equality, hash, copies, `replace`, attributes."""

import copy
import pickle
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.typing import Numeric


class Pattern(NamedTuple):
    kernel: object
    bias: object


VALUES = {
    "adam(learning_rate=0.001)": lambda: gradtx.adam(1e-3),
    "adam(learning_rate=0.001, b1=0.95, nesterov=True)": lambda: gradtx.adam(1e-3, 0.95, nesterov=True),
    "adam(learning_rate=0.001, mu_dtype='bfloat16')": lambda: gradtx.adam(1e-3, mu_dtype=jnp.bfloat16),
    "adam(learning_rate=array([0.25, 0.5], 'float32'))": lambda: gradtx.adam(jnp.array([0.25, 0.5])),
    "adam(learning_rate=array([0.1, 0.2], 'float64'))": lambda: gradtx.adam(np.array([0.1, 0.2])),
    "adam(learning_rate=array(0.5, 'bfloat16'))": lambda: gradtx.adam(jnp.array(0.5, jnp.bfloat16)),
    "adam(learning_rate=0.1)": lambda: gradtx.adam(np.float64(0.1)),
    "adam(learning_rate=1)": lambda: gradtx.adam(1),
    "adam(learning_rate=constant_schedule(value=0.1))": lambda: gradtx.adam(gradtx.constant_schedule(0.1)),
    "chain()": gradtx.chain,
    "chain(clip(max_delta=1.0), sgd(learning_rate=0.1))": lambda: gradtx.chain(gradtx.clip(1.0), gradtx.sgd(0.1)),
    "named_chain(('a', identity()), ('b', sgd(learning_rate=0.1)))": lambda: gradtx.named_chain(
        ("a", gradtx.identity()), ("b", gradtx.sgd(0.1))
    ),
    "partition(transforms={'*/bias': identity(), '*': sgd(learning_rate=0.1)})": lambda: gradtx.partition(
        {"*/bias": gradtx.identity(), "*": gradtx.sgd(0.1)}
    ),
    "masked(inner=identity(), mask=('*/a', '*/b'))": lambda: gradtx.masked(gradtx.identity(), ("*/a", "*/b")),
    "masked(inner=identity(), mask=('*/a',))": lambda: gradtx.masked(gradtx.identity(), ("*/a",)),
    "masked(inner=identity(), mask={'a': [True, False]}, unselected='freeze')": lambda: gradtx.masked(
        gradtx.identity(), {"a": [True, False]}, unselected="freeze"
    ),
    "tunable(inner=sgd(learning_rate=0.1), names=('learning_rate',))": lambda: gradtx.tunable(
        gradtx.sgd(0.1), ("learning_rate",)
    ),
}


@pytest.fixture(params=list(VALUES))
def text(request):
    return request.param


def make_local():
    @gradtx.transformation
    def local(rate: Numeric, mode: Literal["a", "b"] = "a", mask: object = None):
        return lambda params: gradtx.EmptyState(), lambda updates, state, params=None, **extra: (updates, state)

    return local


def test_repr_is_constructor_code(text):
    assert repr(VALUES[text]()) == text


def test_parse_undoes_repr(text):
    parsed = gradtx.parse(text)
    assert parsed == VALUES[text]()
    assert repr(parsed) == text
    assert hash(parsed) == hash(VALUES[text]())


def test_equal_arguments_make_equal_values(text):
    a, b = VALUES[text](), VALUES[text]()
    assert a == b
    assert hash(a) == hash(b)
    assert {a: 1}[b] == 1


def test_no_two_of_these_are_equal(text):
    assert [t for t in VALUES if VALUES[t]() == VALUES[text]()] == [text]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # noqa: S301
def test_copies_are_equal_and_work(text, duplicate):
    value = VALUES[text]()
    again = duplicate(value)
    assert again == value
    assert type(again) is type(value)
    assert hash(again) == hash(value)
    if "array" not in text and "mask={" not in text:
        params = {"x": {"a": jnp.ones(2), "bias": jnp.ones(2)}}
        assert jax.tree.structure(again.init(params)) == jax.tree.structure(value.init(params))


def test_a_local_value_deep_copies_but_does_not_pickle():
    local = make_local()(0.1)
    assert copy.deepcopy(local) == local
    with pytest.raises((pickle.PicklingError, AttributeError), match="local"):
        pickle.dumps(local)


def test_numbers_are_compared_by_value():
    adam = gradtx.adam
    assert adam(0.1) == adam(jnp.float32(0.1)) == adam(np.float64(0.1)) == adam(0.1) == adam(np.array(0.1))
    assert adam(1) == adam(1.0) == adam(jnp.array(1))
    assert adam(jnp.array([0.1, 0.2])) == adam(np.array([0.1, 0.2], np.float32))
    assert adam(0.1) != adam(0.2)
    assert adam(0.1) != adam(np.float32(0.1) + np.float32(1e-8))
    assert adam(jnp.array(0)) != adam(0.5)
    assert adam(np.array([0.1])) != adam(np.array(0.1))
    assert adam(np.array([0.1])) != adam(np.array([0.1], np.float32))  # the nearest float32 is another number


def test_values_differ_by_factory_and_static_arguments():
    adam = gradtx.adam(0.1)
    assert adam != gradtx.nadam(0.1)
    assert adam != gradtx.adam(0.1, nesterov=True)
    assert adam != gradtx.constant_schedule(0.1)
    assert adam != "adam(learning_rate=0.1)"
    assert gradtx.chain(adam) != adam


def test_order_decides_in_a_partition():
    a, b = gradtx.identity(), gradtx.sgd(0.1)
    assert gradtx.partition({"x": a, "y": b}) != gradtx.partition({"y": b, "x": a})


def test_masks_are_compared_by_content():
    def masked(mask):
        return gradtx.masked(gradtx.identity(), mask)

    assert masked({"a": np.array(True)}) == masked({"a": np.array(True)})
    assert masked({"a": np.array(True)}) != masked({"a": np.array(False)})
    assert masked(Pattern(np.array(True), False)) == masked(Pattern(np.array(True), False))
    assert masked(Pattern(np.array(True), False)) != masked(Pattern(np.array(True), True))
    assert masked([True]) != masked((True,))


@pytest.mark.parametrize(
    "mask", [{"a": [True]}, {"a": np.array(True)}, {"a": jnp.array(True)}, Pattern(np.array(True), [False])]
)
def test_unhashable_masks_do_not_stop_the_hash(mask):
    assert hash(gradtx.masked(gradtx.identity(), mask)) == hash(gradtx.masked(gradtx.identity(), copy.deepcopy(mask)))


def test_arrays_do_not_enter_the_hash():
    assert hash(gradtx.adam(jnp.array(0.1))) == hash(gradtx.adam(jnp.array(0.2))) == hash(gradtx.adam(0.1))


def test_the_hash_sees_static_arguments():
    assert len({hash(make_local()(0.1, mode)) for mode in ("a", "b")}) == 2


def test_replace():
    adam = gradtx.adam(1e-3)
    assert adam.replace(b1=0.95) == gradtx.adam(1e-3, b1=0.95)
    assert adam.replace() == adam
    assert adam == gradtx.adam(1e-3)
    chain = gradtx.chain(adam, gradtx.identity())
    assert chain.replace(transforms=(adam,)) == gradtx.chain(adam)
    assert gradtx.constant_schedule(0.1).replace(value=0.2) == gradtx.constant_schedule(0.2)


def test_replace_checks_like_a_call():
    with pytest.raises(ArgumentValueError, match=r"^gradtx.adam: expected b1 in \[0, 1\), got 1.5$"):
        gradtx.adam(1e-3).replace(b1=1.5)
    with pytest.raises(ArgumentTypeError, match=r"got 'momentun'$"):
        gradtx.adam(1e-3).replace(momentun=0.5)


def test_arguments_are_attributes():
    adam = gradtx.adam(1e-3)
    assert (adam.learning_rate, adam.b1, adam.nesterov, adam.mu_dtype) == (1e-3, 0.9, False, None)
    assert gradtx.chain(adam).transforms == (adam,)
    with pytest.raises(AttributeError, match=r"^GradientTransformation has no attribute or argument 'momentum'$"):
        _ = adam.momentum
    assert not hasattr(adam, "momentum")


def test_values_never_change():
    adam = gradtx.adam(1e-3)
    with pytest.raises(AttributeError) as error:
        adam.learning_rate = 1e-4
    assert str(error.value) == (
        "GradientTransformation is a value and never changes; make another: .replace(learning_rate=...)"
    )
    labels = {"*": gradtx.sgd(0.1)}
    partition = gradtx.partition(labels)
    labels["*"] = gradtx.sgd(0.2)
    assert partition == gradtx.partition({"*": gradtx.sgd(0.1)})


def test_an_attribute_error_inside_a_factory_is_not_hidden():
    @gradtx.transformation
    def broken(rate: Numeric = 1.0):
        return rate.there_is_no_such_thing

    with pytest.raises(AttributeError, match="'float' object has no attribute 'there_is_no_such_thing'"):
        broken()


def test_what_has_no_text_is_shown_in_angle_brackets():
    def halve(step):
        return 0.5**step

    # The name of a nested function includes its place.
    place = "test_what_has_no_text_is_shown_in_angle_brackets.<locals>.halve"
    assert repr(gradtx.sgd(halve)) == f"sgd(learning_rate=custom_schedule(function=<function {place}>))"
    assert repr(gradtx.adam(jnp.zeros(100))) == "adam(learning_rate=<float32[100]>)"
    shown = []
    jax.jit(lambda tx: shown.append(repr(tx)))(gradtx.adam(1e-3))
    assert shown[0].startswith("adam(learning_rate=<float32[]>, b1=<float32[]>")
    abstract = jax.eval_shape(lambda: gradtx.sgd(jnp.ones(2)))
    assert repr(abstract) == "sgd(learning_rate=<float32[2]>)"


def test_defaults_are_not_shown():
    local = make_local()
    assert repr(local(1.0, "a", None)) == "local(rate=1.0)"
    assert repr(local(rate=2.0, mode="b")) == "local(rate=2.0, mode='b')"
