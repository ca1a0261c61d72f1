"""Optimizers of matrices and of the rest: one mask of the decay for both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.conformance.cases import MADE

PARAMS = {"dense": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
MASKED = {
    name: mask
    for name, tx in MADE.items()
    if tx.factory.kind == "optimizer" and "matrices" in tx.factory.arguments
    for mask in ("weight_decay_mask", "mask")
    if mask in tx.factory.arguments
}


def decayed(tx):
    """The leaves that gradients of zero move."""
    grads = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    return {name for name, u in updates["dense"].items() if np.any(u)}


def test_every_optimizer_of_matrices_with_a_decay_is_here():
    assert {"apollo", "dion", "galore", "kron", "muon", "shampoo", "soap", "splus"} <= set(MASKED)


@pytest.mark.parametrize("name", MASKED)
def test_a_glob_may_match_in_one_group_alone(name):
    tx = MADE[name].replace(weight_decay=0.1)
    for mask, expected in (("*/kernel", {"kernel"}), ("*/bias", {"bias"}), (None, {"kernel", "bias"})):
        assert decayed(tx.replace(**{MASKED[name]: mask})) == expected
    with pytest.raises(gradtx.errors.ArgumentValueError, match=r"a glob .*got '\*/kernels'"):
        tx.replace(**{MASKED[name]: "*/kernels"}).init(PARAMS)
