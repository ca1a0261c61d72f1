"""Matrices at which arithmetic fails."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FULL = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)

ODD = {
    "zero": np.zeros((3, 4), np.float32),
    "rank one": np.outer(FULL[:, 0], FULL[0]),
    "huge": np.float32(1e30) * FULL,
    "tiny": np.float32(1e-30) * FULL,
    "one row": FULL[:1],
    "one column": FULL[:, :1],
    "one element": FULL[:1, :1],
    "empty": np.zeros((0, 3), np.float32),
    "bfloat16": FULL.astype(jnp.bfloat16),
}


def assert_odd_matrices_are_survived(tx: Any, steps: int = 3, **extra: Any) -> None:
    """No update is NaN or infinite, that of zero is zero, and derivatives at zero are finite."""
    grads = {name: jnp.asarray(x) for name, x in ODD.items()}
    state = tx.init(grads)
    for _ in range(steps):
        updates, state = tx.update(grads, state, grads, **extra)
    for name, u in updates.items():
        assert u.dtype == grads[name].dtype, name
        assert np.isfinite(np.asarray(u, np.float32)).all(), name
    assert not updates["zero"].any()
    for leaf in jax.tree.leaves(state):
        assert not np.isnan(np.asarray(leaf, np.float32)).any()
    zero = {"zero": grads["zero"]}
    slope = jax.grad(lambda g: tx.update({"zero": g}, tx.init(zero), zero, **extra)[0]["zero"].sum())(zero["zero"])
    assert np.isfinite(slope).all()
