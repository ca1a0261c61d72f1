"""The key of a step: one for each name, and errors for what is not a key."""

import jax
import jax.numpy as jnp
import pytest

from gradtx.core import member_key
from gradtx.errors import ArgumentTypeError, MissingExtraError


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_names_and_steps_have_keys_of_their_own(make):
    keys = [member_key({"key": make(seed)}, name) for seed in (0, 1) for name in ("a", "b")]
    drawn = [float(jax.random.uniform(key)) for key in keys]
    assert len(set(drawn)) == 4
    assert float(jax.random.uniform(member_key({"key": make(0)}, "a"))) == drawn[0]


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
