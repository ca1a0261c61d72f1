"""Slow copies of parameters that are moved by hand: target networks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import TreeMismatchError
from gradtx.tree.arithmetic import in_one_dtype
from gradtx.tree.mapping import numbers_beside
from gradtx.tree.paths import flatten_like, is_none, leaf_paths
from gradtx.typing import Params


def incremental_update(new_tensors: Params, old_tensors: Params, step_size: Any) -> Params:
    r"""A slow copy of the parameters, moved a part of the way to them.

    .. math:: \bar p \leftarrow \tau\, p + (1 - \tau)\, \bar p

    In a training step, `ema_params` does this by itself.

    Args:
      new_tensors: the parameters :math:`p`.
      old_tensors: the slow copy :math:`\bar p`.
      step_size: :math:`\tau`, in [0, 1].

    Returns:
      The next slow copy, in the dtypes of the old one; computed in at least float32. Integers, such as counters, are
      those of the parameters.

    Raises:
      TreeMismatchError: the trees differ.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.incremental_update(jnp.array([1.0]), jnp.array([0.0]), step_size=0.25)
      Array([0.25], dtype=float32)

    References:
      - Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992.

    Differences from Optax: the copy keeps its dtypes.
    """

    def leaf(new: Any, old: Any) -> Any:
        if not jnp.issubdtype(old.dtype, jnp.inexact):
            return jnp.copy(new)
        wide_new, wide_old = in_one_dtype(new, old)
        rate = numbers_beside((wide_old,), jnp.asarray(step_size, jnp.result_type(float)))
        return (rate * wide_new + (1 - rate) * wide_old).astype(old.dtype)

    return _moved(leaf, new_tensors, old_tensors, "incremental_update")


def periodic_update(new_tensors: Params, old_tensors: Params, steps: Any, update_period: Any) -> Params:
    r"""A slow copy of the parameters, replaced by them every few steps.

    .. math:: \bar p \leftarrow p \quad \text{if } k \text{ divides } t

    Args:
      new_tensors: the parameters :math:`p`.
      old_tensors: the slow copy :math:`\bar p`.
      steps: :math:`t`, the number of steps made.
      update_period: :math:`k`, the number of steps from one replacement to the next.

    Returns:
      The next slow copy, in the dtypes of the old one. It shares no buffer with the parameters: both may be donated.

    Raises:
      TreeMismatchError: the trees differ.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> slow = jnp.array([0.0])
      >>> for step in range(1, 5):
      ...     slow = gradtx.periodic_update(jnp.array([float(step)]), slow, step, update_period=3)
      >>> slow
      Array([3.], dtype=float32)

    References:
      - Mnih et al., Playing Atari with deep reinforcement learning, 2013, arXiv:1312.5602.
    """
    due = jnp.mod(steps, update_period) == 0

    def leaf(new: Any, old: Any) -> Any:
        new = new if jnp.issubdtype(old.dtype, jax.dtypes.extended) else new.astype(old.dtype)
        return jnp.where(due, new, old)

    return _moved(leaf, new_tensors, old_tensors, "periodic_update")


def _moved(function: Callable[[Any, Any], Any], new: Params, old: Params, origin: str) -> Params:
    """The old tree with a function of the leaves of both in place of each; ``None`` stays."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(old, is_leaf=is_none)
    try:
        rows = zip(flatten_like(old, treedef, new, ""), leaves, strict=True)
        return treedef.unflatten([_one(function, old, i, *row) for i, row in enumerate(rows)])
    except TreeMismatchError as error:
        hint = "give both trees of the same model"
        raise TreeMismatchError(
            "old_tensors like new_tensors", got=error.got, at=error.at, hint=hint, origin=origin
        ) from None


def _one(function: Callable[[Any, Any], Any], tree: Params, index: int, new: Any, old: Any) -> Any:
    if old is None or new is None:
        return None
    old, new = jnp.asarray(old), jnp.asarray(new)
    if old.shape != new.shape:
        got = f"shapes {list(new.shape)} and {list(old.shape)}"
        raise TreeMismatchError("", got=got, at=leaf_paths(tree)[index])
    return function(new, old)
