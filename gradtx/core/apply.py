"""The last step: adding updates to parameters."""

from typing import Any

import jax

from gradtx.errors import TreeMismatchError
from gradtx.tree.arithmetic import cast, widened
from gradtx.tree.fusion import Row, fusing, settle
from gradtx.tree.leaves import aligned
from gradtx.tree.operations import add
from gradtx.tree.paths import absent, flatten_like, is_none
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
    treedef: Any
    try:
        leaves, treedef = jax.tree.flatten(settle(updates) if fusing() else updates, is_leaf=is_none)
        rows = zip(flatten_like(updates, treedef, params, "params"), leaves, strict=True)
        moved = [_moved(updates, index, row) for index, row in enumerate(rows)]
    except TreeMismatchError as error:
        error.hint = _HINT
        error.locate("apply_updates")
        raise
    return treedef.unflatten(moved)


def _moved(updates: Updates, index: int, row: Row) -> Any:
    """A parameter plus its update, or the parameter if either is absent."""
    if row[0] is None or absent(row[1]):
        return row[0]
    p, u = aligned(updates, index, row)
    return cast(add(widened(p), widened(u)), p.dtype)
