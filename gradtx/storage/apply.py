"""The last step: adding updates to parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import TreeMismatchError
from gradtx.tree.arithmetic import cast, in_one_dtype
from gradtx.tree.mapping import arrays_of_one_shape
from gradtx.tree.paths import flatten_like, is_inert, is_none
from gradtx.typing import Params, Updates

_HINT = "pass the updates that update(...) returned for these params: updates, state = tx.update(...)"


def apply_updates(params: Params, updates: Updates) -> Params:
    r"""The parameters plus the updates, each leaf in its parameter's dtype: :math:`p \leftarrow p + u`.

    The sum is taken in at least float32 and rounded once. A leaf stays as it is if its update is ``None`` (or float0,
    JAX's gradient of an integer), and if the parameter is a whole number or a PRNG key: rounding would move a whole
    number by 1 for a step of 0.1, or not at all.

    Args:
      params: a tree of arrays.
      updates: a tree of the same structure and shapes, such as `update` returns.

    Returns:
      The new parameters.

    Raises:
      TreeMismatchError: the trees differ; the message names the leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.apply_updates({"w": jnp.ones(2)}, {"w": jnp.array([0.5, -0.5])})["w"]
      Array([1.5, 0.5], dtype=float32)
    """
    if updates is None and params is not None:
        raise TreeMismatchError("updates like the params", got="None", hint=_HINT, origin="apply_updates")
    try:
        treedef: Any
        leaves, treedef = jax.tree.flatten(updates, is_leaf=is_none)
        rows = zip(flatten_like(updates, treedef, params, "params"), leaves, strict=True)
        return treedef.unflatten([_moved(updates, index, p, u) for index, (p, u) in enumerate(rows)])
    except TreeMismatchError as error:
        error.hint = _HINT
        error.locate("apply_updates")
        raise


def _moved(updates: Updates, index: int, p: Any, u: Any) -> Any:
    """A parameter plus its update; the parameter as it is if one of them is absent, or if it is a whole number."""
    if is_inert(p) or is_inert(u):
        return p
    p, u = arrays_of_one_shape(updates, index, (p, u))
    if not jnp.issubdtype(p.dtype, jnp.inexact):
        return p
    return cast(jax.lax.add(*in_one_dtype(p, u)), p.dtype)
