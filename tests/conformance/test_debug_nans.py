"""Law 4: finite gradients make no NaN anywhere, not even one that a selection drops: users look for theirs."""

import jax
import jax.numpy as jnp

from tests.conformance.cases import at, problem, step_once
from tests.conformance.laws import law, programs


def gradients():
    """Ordinary gradients after some that are zero, and zero ones again."""
    zero, first, second = (at(problem()[1], i) for i in range(3))
    zero = jax.tree.map(jnp.zeros_like, zero)
    return [zero, first, first, zero, second]


@law(4)
def test_no_step_makes_a_nan_eagerly(name):
    tx, (params, _) = programs(name).tx, problem()
    with jax.debug_nans(True):
        carry = params, tx.init(params)
        for index, g in enumerate(gradients()):
            carry = step_once(tx, *carry, g, index)


@law(4)
def test_no_compiled_step_makes_a_nan(name):
    case, (params, _) = programs(name), problem()
    carry = case.start(params)
    for index, g in enumerate(gradients()):
        carry = case.step(*carry, g, index)
    for leaf in jax.tree.leaves(carry):
        assert not (jnp.issubdtype(leaf.dtype, jnp.inexact) and jnp.isnan(leaf).any())
