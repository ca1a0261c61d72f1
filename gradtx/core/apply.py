"""The last step: adding updates to parameters."""

import jax

from gradtx.errors import TreeMismatchError
from gradtx.tree import cast_like, check_same_structure, keep, map_leaves, restore
from gradtx.tree.operations import add
from gradtx.tree.paths import absent, is_none
from gradtx.typing import Params, Updates

_HINT = "pass the updates that update(...) returned for these params: updates, state = tx.update(...)"


def apply_updates(params: Params, updates: Updates) -> Params:
    r"""The parameters plus the updates, each leaf in its parameter's dtype: :math:`p \leftarrow p + u`.

    The sum is taken in at least float32 and rounded once. A leaf whose update is ``None`` (or float0, JAX's gradient
    of an integer) stays as it is.

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
    present = jax.tree.map(lambda u: not absent(u), updates, is_leaf=is_none)
    try:
        check_same_structure(present, params, "params")
        kept = keep(params, present)
        moved = map_leaves(add, kept, read=(keep(updates, present),), share=False)
    except TreeMismatchError as error:
        error.hint = _HINT
        error.locate("apply_updates")
        raise
    return restore(cast_like(moved, kept), params)
