"""Law 10: laws 1, 2, 5 and 7 hold for random compositions of all registered names over random trees.

A few examples, always the same; more of them in the exhaustive run; with `HYPOTHESIS_PROFILE=fuzz` 2,000 at random.
"""

import functools
import itertools
import os

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from tests.conformance import strategies
from tests.conformance.cases import advance, step_once
from tests.conformance.laws import Counting, describe, law_of_all
from tests.effort import exhaustive


def follow(step, carry, grads, begin=0):
    """The steps from `begin` on, each with the structure it began with."""
    for index, g in enumerate(grads[begin:], begin):
        after = step(*carry, g, index)
        assert describe(after) == describe(carry)
        carry = after
    return carry


def against_eager(step, start, grads):
    """Law 2: what is not compiled does the same."""
    near(follow(step, start, grads[:2]), follow(step.__wrapped__.function, start, grads[:2]))


def against_scan(step, start, grads):
    """Law 2: one program for all steps does the same."""
    tx = step.__wrapped__.function.args[0]
    scanned = jax.jit(functools.partial(advance, tx))(*start, jax.tree.map(lambda *x: jnp.stack(x), *grads))
    near(scanned, follow(step, start, grads))


def against_restored(step, start, grads):
    """Law 7: saved and restored, it goes on with the same bits."""
    saved = follow(step, start, grads[:1])
    leaves, treedef = jax.tree.flatten(saved)
    restored = treedef.unflatten([jnp.asarray(np.array(x)) for x in leaves])
    chex.assert_trees_all_equal(follow(step, saved, grads, 1), follow(step, restored, grads, 1))


def near(got, expected):
    """As near as rounding in the coarsest dtype of the tree allows."""
    leaves = jax.tree.leaves(expected)
    coarse = max(strategies.ROUND.get(str(y.dtype), 0.0) for y in leaves)
    for x, y in zip(jax.tree.leaves(got), leaves, strict=True):
        np.testing.assert_allclose(np.asarray(x, complex), np.asarray(y, complex), rtol=coarse, atol=coarse)


_count = itertools.count(1)


def forget():
    """Let go of compiled code from time to time."""
    if next(_count) % EVERY == 0:
        jax.clear_caches()


PROFILES = {
    "ci": hypothesis.settings(max_examples=400 if exhaustive() else 40, derandomize=True, deadline=None, database=None),
    "fuzz": hypothesis.settings(max_examples=2000, deadline=None, database=None, print_blob=True),
}
STEPS = 3
EVERY = 40


@law_of_all(10, exempt=strategies.NOT_DRAWN)
@hypothesis.settings(
    PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "ci")], suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(
    strategies.transformations(),
    strategies.trees(),
    st.integers(0, 2**16),
    st.sampled_from([against_eager, against_scan, against_restored]),
)
def test_random_chains_obey_the_laws(tx, shapes, seed, against):
    forget()
    params, *grads = (strategies.fill(shapes, seed + i) for i in range(STEPS + 1))
    state = tx.init(params)
    abstract = jax.eval_shape(tx.init, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, state)
    assert not any(x.weak_type for x in jax.tree.leaves(state))
    step = Counting(functools.partial(step_once, tx))
    against(jax.jit(step), (params, state), grads)
    assert step.traces == 1
