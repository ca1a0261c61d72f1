"""The last step: adding updates to parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core.randomness import is_key
from gradtx.errors import ArgumentTypeError, TreeMismatchError
from gradtx.storage.leaves import is_low
from gradtx.storage.rounding import by_chance
from gradtx.tree.arithmetic import cast, in_one_dtype
from gradtx.tree.mapping import arrays_of_one_shape
from gradtx.tree.paths import flatten_like, is_inert, is_none, type_name
from gradtx.typing import Params, Updates

_HINT = "pass the updates that update(...) returned for these params: updates, state = tx.update(...)"


def apply_updates(params: Params, updates: Updates, *, key: jax.Array | None = None) -> Params:
    r"""The parameters plus the updates, each leaf in its parameter's dtype: :math:`p \leftarrow p + u`.

    The sum is taken in at least float32 and rounded once. A leaf stays as it is if its update is ``None`` (or float0,
    JAX's gradient of an integer), and if the parameter is a whole number or a PRNG key: rounding would move a whole
    number by 1 for a step of 0.1, or not at all.

    A parameter in bfloat16 or float16 stands still where its steps are less than half a unit in the last place. With a
    `key`, its sum is rounded up or down by chance, so that it is right in the mean:

    .. math:: P(\text{up}) = \frac{x - \text{down}}{\text{up} - \text{down}}, \qquad E[p'] = p + u

    Every replica has to use the same key, and then has the same parameters. Inside `shard_map`, where each device has
    its own part, fold in the number of the device.

    Args:
      params: a tree of arrays.
      updates: a tree of the same structure and shapes, such as `update` returns.
      key: a random key, a new one at each step; without it, sums are rounded to the nearest.

    Returns:
      The new parameters.

    Raises:
      TreeMismatchError: the trees differ; the message names the leaf.
      ArgumentTypeError: `key` is no random key.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> gradtx.apply_updates({"w": jnp.ones(2)}, {"w": jnp.array([0.5, -0.5])})["w"]
      Array([1.5, 0.5], dtype=float32)
      >>> params = jnp.ones(1000, jnp.bfloat16)
      >>> after = gradtx.apply_updates(params, jnp.full(1000, 1e-3), key=jax.random.key(0))
      >>> print(round(float(after.astype(float).mean()), 3))
      1.001

    References:
      - Gupta et al., Deep learning with limited numerical precision, 2015, arXiv:1502.02551.
    """
    if key is not None and not is_key(key):
        raise ArgumentTypeError("key to be a single JAX PRNG key", got=type_name(key), origin="apply_updates")
    if updates is None and params is not None:
        raise TreeMismatchError("updates like the params", got="None", hint=_HINT, origin="apply_updates")
    try:
        treedef: Any
        leaves, treedef = jax.tree.flatten(updates, is_leaf=is_none)
        rows = zip(flatten_like(updates, treedef, params, "params"), leaves, strict=True)
        return treedef.unflatten([_moved(updates, index, p, u, key) for index, (p, u) in enumerate(rows)])
    except TreeMismatchError as error:
        error.hint = _HINT
        error.locate("apply_updates")
        raise


def _moved(updates: Updates, index: int, p: Any, u: Any, key: jax.Array | None) -> Any:
    """A parameter plus its update; the parameter as it is if one of them is absent, or if it is a whole number."""
    if is_inert(p) or is_inert(u):
        return p
    p, u = arrays_of_one_shape(updates, index, (p, u))
    if not jnp.issubdtype(p.dtype, jnp.inexact):
        return p
    total = jax.lax.add(*in_one_dtype(p, u))
    if key is not None and is_low(p):
        return by_chance(total, p.dtype, jax.random.fold_in(key, index))
    return cast(total, p.dtype)
