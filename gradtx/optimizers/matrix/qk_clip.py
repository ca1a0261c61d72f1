"""QK-Clip: queries and keys shrink where attention logits have become too large."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Form, one_for_zero, transformation
from gradtx.core.leafwise import PARAMS_HINT
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError, require_extra
from gradtx.tree.arithmetic import cast, widen
from gradtx.tree.mapping import stored_dtype
from gradtx.tree.paths import flatten_like, is_inert, is_none, leaf_paths
from gradtx.tree.select import matches, no_match
from gradtx.typing import EmptyState, Params, Positive, State, Updates

ATTENTION = {"*query*": 0.5, "*key*": 0.5}
"""Queries and keys by their names in Flax, Equinox and Haiku."""


@transformation
def qk_clip(
    threshold: Positive = 100.0,
    exponents: Mapping[str, float] | None = None,
    *,
    head_axis: int = -2,
) -> Form:
    r"""Shrink the projections to queries and keys of each head whose largest attention logit exceeds a threshold.

    .. math::
        \gamma_h = \min\left(1, \frac{\tau}{S_h}\right), \qquad
        u_h = g_h + (\gamma_h^{a} - 1)\,(p_h + g_h) \quad\text{so that}\quad p_h + u_h = \gamma_h^{a}\,(p_h + g_h)

    Put it last in a chain, after the learning rate, around any optimizer: ``chain(muon(...), qk_clip())`` is MuonClip.
    Logits are products of queries and keys: with :math:`a = 1/2` on both, they shrink by :math:`\gamma`.

    `update` takes ``max_logits``, the largest logit of each head over the batch of this step, before the softmax and
    after the scale: a mapping from globs to arrays [heads], ``{"layer_0/*": ..., "layer_1/*": ...}``, tried in order,
    or one array for all leaves. Leaves that are stacked over layers, [layers, ...], take [layers, heads]. Of grouped
    queries, keys have fewer heads: give them the largest logit of each group, ``{"*key*": ..., "*query*": ...}``.
    Logits that are not finite change nothing.

    Args:
      threshold: :math:`\tau`, in (0, inf).
      exponents: :math:`a` by globs, tried in order; other leaves pass as they are. By default 1/2 for names with
        ``query`` or ``key`` in them. With latent attention (MLA), 1/2 for the parts of queries and keys of a head, 1
        for the queries that are rotated, and nothing for the keys that all heads share.
      head_axis: the axis of heads: -2 for kernels [in, heads, size] and biases [heads, size]. If it is longer than
        there are heads, each has an equal part of it, one after another: 0 for [heads x size, in].

    State:
      Empty.

    Raises:
      MissingExtraError: `update` was called without ``params`` or ``max_logits``.
      ArgumentValueError: a glob matches no leaf, or there are not as many logits as heads; the message names the leaf.
      ArgumentTypeError: an exponent is no number.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(0.1), gradtx.qk_clip(50.0))
      >>> params = {"query": jnp.ones((1, 2, 1)), "key": jnp.ones((1, 2, 1)), "out": jnp.ones((2, 1, 1))}
      >>> zero = {"query": jnp.zeros((1, 2, 1)), "key": jnp.zeros((1, 2, 1)), "out": jnp.zeros((2, 1, 1))}
      >>> updates, _ = tx.update(zero, tx.init(params), params, max_logits=jnp.array([200.0, 20.0]))
      >>> gradtx.apply_updates(params, updates)["query"]
      Array([[[0.5],
              [1. ]]], dtype=float32)

    References:
      - Kimi team, Kimi K2: open agentic intelligence, 2025, arXiv:2507.20534.
    """
    powers = ATTENTION if exponents is None else dict(exponents)
    for glob in powers:
        if not isinstance(glob, str):
            raise ArgumentTypeError("globs on leaf paths as keys of exponents", got=repr(glob))

    def init(params: Params) -> EmptyState:
        names = jax.tree.leaves(tree.leaf_names(params))
        used = [glob for glob in powers if any(matches(name, glob) for name in names)]
        if jax.tree.leaves(params) and not (used if exponents is None else len(used) == len(powers)):
            raise no_match(next(glob for glob in powers if glob not in used), params)
        return EmptyState()

    def update(
        updates: Updates, state: State, params: Params | None = None, *, max_logits: Any = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", PARAMS_HINT)
        require_extra(max_logits, "max_logits", "pass the largest logit of each head: max_logits={'layer_0/*': ...}")
        treedef: Any = jax.tree.structure(updates, is_leaf=is_none)
        names = treedef.flatten_up_to(tree.leaf_names(updates))
        rows = zip(treedef.flatten_up_to(updates), flatten_like(updates, treedef, params, "params"), names, strict=True)
        new = []
        for i, (g, p, name) in enumerate(rows):
            glob = None if is_inert(g) else next((glob for glob in powers if matches(name, glob)), None)
            if glob is None:
                new.append(g)
                continue
            try:
                new.append(shrunk(g, p, _of_leaf(max_logits, name), powers[glob]))
            except (ArgumentValueError, TreeMismatchError) as error:
                error.at = error.at or leaf_paths(updates)[i]
                raise
        return treedef.unflatten(new), state

    def shrunk(g: Any, p: Any, logits: Any, power: Any) -> jax.Array:
        u, p = widen(g), widen(p)
        real = jnp.real(u).dtype
        size = cast(jnp.where(jnp.isfinite(logits), logits, 0), real)
        over = size > cast(threshold, real)
        ratio = jnp.where(over, cast(threshold, real) / one_for_zero(size), 1)
        less = _along_heads(jnp.where(over, ratio ** cast(power, real) - 1, 0), u.shape, head_axis)
        return cast(u + less * (p + u), stored_dtype(jnp.result_type(g)))

    return init, update


def _of_leaf(max_logits: Any, name: str) -> jax.Array:
    """The largest logits for a leaf."""
    if not isinstance(max_logits, Mapping):
        return jnp.asarray(max_logits)
    glob = next((glob for glob in max_logits if matches(name, glob)), None)
    if glob is None:
        got = f"those of {list(max_logits)}"
        raise ArgumentValueError(
            f"max_logits for {name!r}", got=got, hint="leave the leaf out of exponents if it has none"
        )
    return jnp.asarray(max_logits[glob])


def _along_heads(x: jax.Array, shape: tuple[int, ...], head_axis: int) -> jax.Array:
    """An array [..., heads] with the axes of a leaf: the last one along the heads, the others as they are in front."""
    rank = len(shape)
    if not rank and x.shape == (1,):
        return x[0]
    if not -rank <= head_axis < rank:
        raise ArgumentValueError(f"a leaf with axis {head_axis} for its heads", got=f"the shape {list(shape)}")
    axis, heads = head_axis % rank, x.shape[-1] if x.ndim else 0
    stacked = x.shape[:-1]
    if not heads or shape[axis] % heads or len(stacked) > axis or stacked != shape[: len(stacked)]:
        expected = f"max_logits [..., heads] for a leaf of shape {list(shape)} with its heads on axis {axis}"
        raise ArgumentValueError(expected, got=f"the shape {list(x.shape)}")
    x = jnp.repeat(x, shape[axis] // heads, axis=-1)
    between, behind = axis - len(stacked), rank - 1 - axis
    return x.reshape(*stacked, *(1,) * between, shape[axis], *(1,) * behind)
