"""A training run that can be stopped and continued: a state of every kind, gradients that depend on the params."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx

PARTS = gradtx.partition(
    {
        "dense/*": gradtx.adamw(gradtx.cosine_decay_schedule(0.1, 20), mu_dtype="bfloat16", mask="*/kernel"),
        "*": gradtx.apply_if_finite(gradtx.sgd(gradtx.plateau_schedule(0.1, patience=2), momentum=0.9)),
    }
)
TX = gradtx.lookahead(
    gradtx.ema_params(gradtx.chain(gradtx.clip_by_global_norm(1.0), PARTS), 0.9), sync_period=3, slow_step_size=0.5
)
"""Counters, schedules, a plateau, masked parts, a moment in bfloat16, ``None``, averages of the params."""


def params() -> Any:
    kernel = np.sin(np.arange(16.0, dtype=np.float32)).reshape(8, 2)
    return {
        "dense": {"kernel": jnp.asarray(kernel), "bias": jnp.ones(2, jnp.bfloat16)},
        "a/b~": jnp.ones(3),
        "no": None,
    }


@jax.jit
def step(p: Any, state: Any) -> Any:
    def loss(p: Any) -> Any:
        return sum(jnp.sum(jnp.cos(3 * x.astype(jnp.float32) + i)) for i, x in enumerate(jax.tree.leaves(p)))

    value, grads = jax.value_and_grad(loss)(p)
    updates, state = TX.update(grads, state, p, value=value)
    return gradtx.apply_updates(p, updates), state


def run(p: Any, state: Any, steps: int) -> Any:
    for _ in range(steps):
        p, state = step(p, state)
    return p, state


def assert_same_bits(ours: Any, theirs: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (x.dtype, x.weak_type) == (y.dtype, y.weak_type)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
