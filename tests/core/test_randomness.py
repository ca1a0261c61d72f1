"""The key of a step: one for each name, and errors for what is not a key."""

import jax
import jax.numpy as jnp
import pytest

import gradtx
from gradtx.core import member_key
from gradtx.errors import ArgumentTypeError, MissingExtraError


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_names_and_steps_have_keys_of_their_own(make):
    keys = [member_key({"key": make(seed)}, name) for seed in (0, 1) for name in ("a", "b")]
    drawn = [float(jax.random.uniform(key)) for key in keys]
    assert len(set(drawn)) == 4
    assert float(jax.random.uniform(member_key({"key": make(0)}, "a"))) == drawn[0]


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_each_member_has_a_key_of_its_own(make):
    seen = []

    def note(key):
        words = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        seen.append(tuple(words.tolist()))

    @gradtx.transformation
    def test_only_noting():
        def prepare(state, key):
            note(key)
            return state, {}

        return gradtx.leafwise(lambda g: g, prepare=prepare)

    def update(updates, state, params=None, *, key):
        note(key)
        return updates, state

    leafwise, plain = test_only_noting(), gradtx.from_functions(lambda params: (), update)
    grads = {"a": jnp.ones(1), "b": jnp.ones(1)}
    for tx, count in (
        (gradtx.chain(leafwise, leafwise), 2),
        (gradtx.chain(plain, plain), 2),
        (gradtx.chain(plain, leafwise, leafwise, plain), 4),
        (gradtx.partition({"a": leafwise, "b": leafwise}), 2),
        (gradtx.partition({"a": plain, "b": leafwise}), 2),
    ):
        seen.clear()
        tx.update(grads, tx.init(grads), key=make(0))
        # The first has the key as it came, so that a transformation draws in a chain what it draws alone.
        assert seen[0] == tuple(jax.random.key_data(jax.random.key(0)).tolist())
        assert len(set(seen)) == len(seen) == count


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
