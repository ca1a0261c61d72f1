"""Runs of a sketch in a chain with a clip, weight decay and a schedule, against the same in NumPy float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx

STEPS, RATES = 5, (0.1, 0.03)
CLIP, DECAY = 4.0, 0.05

PARAMS = {
    "kernel": np.linspace(-1.0, 2.0, 128, dtype=np.float32).reshape(16, 8),
    "other": np.cos(np.arange(128, dtype=np.float32)).reshape(16, 8),
    "bias": np.ones(8, np.float32),
    "absent": None,
}
"""Two matrices of one shape, a vector, and nothing."""


def gradients(step: Any) -> Any:
    """The gradients of a step, which may be traced."""
    leaves, treedef = jax.tree.flatten(PARAMS)
    return treedef.unflatten(
        [jnp.sin(jnp.arange(p.size) * (1 + i) + 2 * step).reshape(p.shape) for i, p in enumerate(leaves)]
    )


def in_chain(direction: Any, rate: Any) -> Any:
    """Clip, a direction of ascent, weight decay, and a learning rate that falls by half over the run."""
    return gradtx.chain(
        gradtx.clip_by_global_norm(CLIP), direction, gradtx.add_decayed_weights(DECAY),
        gradtx.scale_by_learning_rate(falling(rate)),
    )  # fmt: skip


def falling(rate: Any) -> Any:
    return gradtx.linear_schedule(rate, rate / 2, STEPS)


Rule = Callable[[Any, Any, float], Any]
"""``rule(g, p, rate)``: the update of a leaf at the next step, NumPy float64."""


def descent(direction: Callable[[Any, Any], Any]) -> Rule:
    """What `in_chain` makes of a direction."""
    return lambda g, p, rate: -rate * (direction(g, p) + DECAY * p)


def expected(make_rule: Callable[[], Rule], rate: float) -> dict[str, Any]:
    """The params after a run in NumPy float64, each leaf by a rule of its own."""
    params = {k: np.float64(p) for k, p in PARAMS.items() if p is not None}
    rules = {k: make_rule() for k in params}
    for step in range(STEPS):
        grads = {k: np.float64(g) for k, g in gradients(step).items() if g is not None}
        factor = min(1.0, CLIP / np.sqrt(sum(np.sum(g**2) for g in grads.values())))
        now = rate * (1 - step / STEPS / 2)
        params = {k: p + rules[k](factor * grads[k], p, now) for k, p in params.items()}
    return params


def one_step(tx: Any, params: Any, state: Any, step: Any) -> tuple[Any, Any]:
    updates, state = tx.update(gradients(step), state, params)
    return gradtx.apply_updates(params, updates), state


def looped(tx: Any, step: Any, params: Any = PARAMS, state: Any = None) -> tuple[Any, Any]:
    """The params and the state after a run, a call a step."""
    params = jax.tree.map(jnp.asarray, params)
    state = tx.init(params) if state is None else state
    for i in range(STEPS):
        params, state = step(tx, params, state, i)
    return params, state


def scanned(tx: Any) -> tuple[Any, Any]:
    """The same in one program."""

    def body(carry: Any, step: Any) -> Any:
        return one_step(tx, *carry, step), None

    params = jax.tree.map(jnp.asarray, PARAMS)
    return jax.lax.scan(body, (params, tx.init(params)), jnp.arange(STEPS))[0]


def agree(got: Any, wanted: Any, rtol: float = 3e-5, share: float = 1.0) -> None:
    """Assert that the params are as expected, but for a share of the elements."""
    assert got["absent"] is None
    close = [np.isclose(got[k], wanted[k], rtol=rtol, atol=rtol).ravel() for k in wanted]
    assert np.mean(np.concatenate(close)) >= share, jax.tree.map(
        lambda x, y: np.abs(x - y).max(), got | {"absent": None}, wanted | {"absent": None}
    )


def check(make: Callable[[Any], Any], make_rule: Callable[[], Rule], share: float = 1.0) -> None:
    """Assert that a sketch follows its reference eagerly, compiled, in a scan, and mapped over learning rates.

    Args:
      make: makes the whole optimizer for a learning rate.
      make_rule: makes the reference of one leaf.
      share: the share of elements that has to agree.
    """
    tx, wanted = make(RATES[0]), [expected(make_rule, rate) for rate in RATES]
    params, eager = looped(tx, one_step)
    agree(params, wanted[0], share=share)
    params, state = looped(tx, jax.jit(one_step))
    agree(params, wanted[0], share=share)
    assert jax.tree.structure(state) == jax.tree.structure(eager) == jax.tree.structure(tx.init(PARAMS))
    sweep = make(jnp.array(RATES))
    params, _ = jax.jit(jax.vmap(scanned, in_axes=(gradtx.sweep_axes(sweep),)))(sweep)
    for i in range(len(RATES)):
        agree({k: None if p is None else p[i] for k, p in params.items()}, wanted[i], share=share)
