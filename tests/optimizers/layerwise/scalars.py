"""The scalar problem whose numbers were recorded from other libraries."""

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from tests.trajectories import x64

GRADIENTS = (0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25)


def path(tx):
    """Where a scalar parameter that begins at 1 is after 1, 2, 3 and 7 steps, in float64."""
    with x64():
        begin = jnp.ones((), jnp.float64)

        def step(carry, g):
            p, state = carry
            updates, state = tx.update(g, state, p)
            p = gradtx.apply_updates(p, updates)
            return (p, state), p

        points = jax.jit(lambda g: jax.lax.scan(step, (begin, tx.init(begin)), g)[1])(jnp.array(GRADIENTS))
        return np.asarray(points)[[0, 1, 2, 6]]
