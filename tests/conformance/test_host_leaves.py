"""Laws 2 and 5: NumPy arrays and Python numbers are leaves like others, and leaves without numbers are left alone."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from gradtx import apply_updates
from tests.conformance.cases import CASES, as_given, at, extras, gradients, params_like
from tests.conformance.laws import close, law

# The shapes of other laws' trees, for which everything is compiled already.
DEVICE = params_like()["dense"] | {"number": jnp.float32(0.5)}
HOST = DEVICE | {"number": 0.5, "bias": np.asarray(DEVICE["bias"])}
GRADS = at(gradients(params_like(), 1), 0)["dense"] | {"number": jnp.float32(-0.25)}
FLOAT0 = np.zeros((), jax.dtypes.float0)


def updated(tx, params, grads, state):
    """The updates and the state after one."""
    return tx.update(as_given(tx, grads), state, params, **extras(params, grads, 0))


def on_host(tree):
    """The arrays as NumPy's; keys have no such form."""
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x), tree)


@law(2)
def test_host_leaves_are_as_good_as_those_on_the_device(name):
    tx = CASES[name]
    updates, state = updated(tx, DEVICE, GRADS, tx.init(DEVICE))
    expected = apply_updates(DEVICE, updates), state
    begun = tx.init(HOST)
    chex.assert_trees_all_equal_shapes_and_dtypes(begun, tx.init(DEVICE))
    grads, begun = on_host(GRADS), on_host(begun)
    updates, state = updated(tx, HOST, grads, begun)
    close((apply_updates(HOST, updates), state), expected)
    # The params are no arguments of the program, and the gradients are traced beside them.
    both = jax.jit(lambda g, p, s: (updated(tx, HOST, g, begun), updated(tx, p, grads, s)))
    for updates, state in both(GRADS, DEVICE, begun):
        close((apply_updates(HOST, updates), state), expected)


@law(5)
def test_leaves_without_numbers_are_left_alone(name):
    tx = CASES[name]
    inert = {"zz_key": jax.random.key(0), "zz_keys": jax.random.split(jax.random.key(1), 2), "zz_table": np.arange(3)}
    params = HOST | inert
    grads = GRADS | {"zz_key": FLOAT0, "zz_keys": np.zeros(2, jax.dtypes.float0), "zz_table": np.zeros(3, FLOAT0.dtype)}
    expected, _ = updated(tx, DEVICE, GRADS, tx.init(DEVICE))
    state = tx.init(params)
    step = functools.partial(updated, tx, params, grads)
    for run in (step, jax.jit(step)):
        updates, new_state = run(state)
        after = apply_updates(params, updates)
        assert jax.tree.structure(after) == jax.tree.structure(params)
        for key, x in inert.items():
            assert after[key] is x
        close({key: after[key] for key in DEVICE}, apply_updates(DEVICE, expected))
        assert jax.tree.structure(new_state) == jax.tree.structure(state)
