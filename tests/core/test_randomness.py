"""The key of a step: one for each name, and errors for what is not a key."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

import gradtx
from gradtx.core import member_key
from gradtx.errors import ArgumentTypeError, MissingExtraError
from tests.conformance.cases import REGISTRY, TRANSFORMATIONS, extras


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_names_and_steps_have_keys_of_their_own(make):
    keys = [member_key({"key": make(seed)}, name) for seed in (0, 1) for name in ("a", "b")]
    drawn = [float(jax.random.uniform(key)) for key in keys]
    assert len(set(drawn)) == 4
    assert float(jax.random.uniform(member_key({"key": make(0)}, "a"))) == drawn[0]


class DrawnState(NamedTuple):
    """The words of the key that the last update drew from."""

    words: jax.Array


def words_of(key):
    return jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key


def start(params):
    return DrawnState(jnp.zeros(2, jnp.uint32))


def noisy():
    """Two transformations that draw, one of them leafwise. Those of a kind are equal, and have one name."""

    @gradtx.transformation
    def test_only_drawing():
        def prepare(state, key):
            return DrawnState(words_of(member_key({"key": key}, "drawing"))), {}

        return gradtx.leafwise(
            lambda g: g, state=DrawnState, init_shared=lambda params: start(params)._asdict(), prepare=prepare
        )

    def update(updates, state, params=None, *, key):
        return updates, DrawnState(words_of(member_key({"key": key}, "drawing")))

    return test_only_drawing(), gradtx.from_functions(start, update)


GRADS = {"bias": jnp.ones(1), "kernel": jnp.ones(1)}


def drawn(tx, key, jit=False):
    """The words of the keys of all members in the second update, in order."""

    def update(state, key):
        return tx.update(GRADS, state, GRADS, **extras(GRADS, GRADS, 0) | {"key": key})[1]

    step, state = jax.jit(update) if jit else update, tx.init(GRADS)
    for _ in range(2):
        state = step(state, key)
    return [tuple(node.words.tolist()) for node in gradtx.tree.find_nodes(state, DrawnState)]


def arrangements(a, b):
    """Ways to put equal members `a` and `b` together, with the number of members."""
    pair = gradtx.chain(a, a)
    yield gradtx.chain(a, a), 2
    yield gradtx.chain(b, b), 2
    yield gradtx.chain(b, a, a, b), 4
    yield gradtx.named_chain(("x", a), ("y", a), ("z", b)), 3
    yield gradtx.partition({"bias": a, "kernel": a}), 2
    yield gradtx.partition({"bias": b, "kernel": a}), 2
    yield gradtx.chain(pair, pair), 4
    yield gradtx.chain(pair, a, pair, b), 6
    yield gradtx.chain(gradtx.chain(pair, pair), gradtx.chain(pair, pair)), 8
    yield gradtx.chain(gradtx.masked(pair, "bias"), gradtx.tunable(pair), a), 5
    yield gradtx.named_chain(("x", gradtx.chain(b, b)), ("y", gradtx.chain(b, b)), ("z", b)), 5
    yield gradtx.partition({"bias": gradtx.chain(a, b), "kernel": gradtx.chain(a, b)}), 4
    yield (
        gradtx.chain(
            gradtx.partition({"bias": pair, "kernel": pair}), gradtx.partition({"bias": pair, "kernel": pair})
        ),
        8,
    )


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_each_member_has_a_key_of_its_own(make, scratch_registry):
    a, b = noisy()
    (alone,) = drawn(a, make(0))
    assert drawn(b, make(0)) == [alone]
    for tx, count in arrangements(a, b):
        words = drawn(tx, make(0))
        # The first has the key as it came, so that a transformation draws in a chain what it draws alone.
        assert words[0] == alone
        assert len(set(words)) == len(words) == count, tx
        assert not set(words) & set(drawn(tx, make(1)))


@pytest.mark.parametrize("index", [3, 8, 12])
def test_compiled_members_draw_what_they_do_eagerly(index, scratch_registry):
    tx, _ = list(arrangements(*noisy()))[index]
    assert drawn(tx, jax.random.key(0), jit=True) == drawn(tx, jax.random.key(0))


WRAPPERS = [name for name, factory in REGISTRY.items() if "inner" in factory.names]


@pytest.mark.parametrize("name", WRAPPERS)
def test_members_inside_of_a_wrapper_have_keys_of_their_own(name, scratch_registry):
    """A chain counts how deep its members are nested, through every wrapper."""
    a, _ = noisy()
    where = {"where": "words"} if name == "with_state_reset" else {}
    tx = gradtx.chain(TRANSFORMATIONS[name].replace(inner=gradtx.chain(a, a), **where), a)
    words = drawn(tx, jax.random.key(0))
    assert len(set(words)) == len(words) == 3


def test_depth_is_counted_through_the_composition_of_an_optimizer(scratch_registry):
    a, _ = noisy()

    @gradtx.optimizer
    def test_only_twice():
        return gradtx.chain(a, a)

    words = drawn(gradtx.chain(test_only_twice(), a), jax.random.key(0))
    assert len(set(words)) == len(words) == 3


def test_a_missing_key():
    with pytest.raises(MissingExtraError) as caught:
        member_key({"value": 1.0}, "a")
    assert str(caught.value) == (
        "gradtx: expected update(..., key=...), got no key; "
        "pass a new one at every step: key=jax.random.fold_in(key, step)"
    )


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (3, "3"),
        (jnp.ones(2), "float32[2]"),
        (jax.random.split(jax.random.key(0), 2), "key<fry>[2]"),
        (jax.random.split(jax.random.PRNGKey(0), 2), "uint32[2, 2]"),
    ],
    ids=str,
)
def test_what_is_not_a_key(key, shown):
    with pytest.raises(ArgumentTypeError) as caught:
        member_key({"key": key}, "a")
    assert str(caught.value) == (
        f"gradtx: expected key to be a single JAX PRNG key, got {shown}; make one with jax.random.key(seed), "
        "and a new one for every step with jax.random.fold_in(key, step)"
    )
