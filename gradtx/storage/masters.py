"""Parameters in low precision that learn: float32 copies of them, or what their rounding has cut off, in the state."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import Form, GradientTransformation, transformation
from gradtx.core.leafwise import PARAMS_HINT
from gradtx.core.numerics import rounded
from gradtx.errors import require_extra
from gradtx.storage.apply import apply_updates
from gradtx.storage.leaves import in_float32, is_low, map_all
from gradtx.storage.rounding import join_float32, split_float32
from gradtx.tree.arithmetic import widen
from gradtx.typing import Params, State, Updates


class MasterWeightsState(NamedTuple):
    """The state of `master_weights`.

    Attributes:
      masters: for each parameter in low precision its float32 copy, or the 16 bits that its rounding has cut off; None
        for the others.
      inner_state: the state of the inner transformation, made for the float32 parameters.
    """

    masters: Params
    inner_state: State


@transformation
def master_weights(inner: GradientTransformation, keep: Literal["copy", "remainder"] = "copy") -> Form:
    r"""Train float32 copies of parameters in bfloat16 or float16, which are the rounded copies after each step.

    .. math:: w \leftarrow w + T(g, w), \qquad p \leftarrow \operatorname{round}(w)

    Where a step is less than half a unit in the last place of a parameter, the parameter stands still: of bfloat16
    numbers near 1, a step of 0.002. The copies take every step. The inner transformation sees the copies as its params,
    and the gradients in float32.

    It has to be the outermost: what comes after it would move the parameters away from the copies. Parameters in
    float32 or float64, and complex ones, have no copies and are moved as ever. The updates of the others are float32,
    so that `apply_updates` brings them to the rounded copies exactly.

    Args:
      inner: a whole optimizer.
      keep: ``"copy"`` keeps the float32 numbers. ``"remainder"`` keeps the 16 bits that are cut off, and takes the
        others from the parameters: the same numbers exactly, in half the space, for bfloat16 parameters. These have to
        be the result of the last step, unchanged. Halves are rounded away from zero, and not to even.

    State:
      `MasterWeightsState`: the inner state, and 4 bytes per parameter in low precision, or 2 with ``"remainder"``.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params, tx = jnp.ones(1, jnp.bfloat16), gradtx.master_weights(gradtx.sgd(1e-3))
      >>> state = tx.init(params)
      >>> for _ in range(10):
      ...     updates, state = tx.update(jnp.ones(1, jnp.bfloat16), state, params)
      ...     params = gradtx.apply_updates(params, updates)
      >>> params, state.masters
      (Array([0.988281], dtype=bfloat16), Array([0.98999995], dtype=float32))

    References:
      - Micikevicius et al., Mixed precision training, 2017, arXiv:1710.03740.
    """

    def remains(p: Any) -> bool:
        return keep == "remainder" and jnp.result_type(p) == jnp.bfloat16

    def kept(p: Any, w: Any) -> Any:
        """What the state has of a parameter, whose float32 number is w."""
        if not is_low(p):
            return None
        return split_float32(w)[1] if remains(p) else w

    def whole(p: Any, master: Any) -> Any:
        """The float32 number of a parameter; the parameter itself where there is none."""
        if master is None:
            return p
        return join_float32(jnp.asarray(p), master) if master.dtype == jnp.uint16 else master

    def moved(p: Any, w: Any) -> Any:
        """The update that brings a parameter to its rounded float32 number."""
        after = split_float32(w)[0] if remains(p) else rounded(w, jnp.result_type(p))
        return widen(after) - widen(p)

    def init(params: Params) -> MasterWeightsState:
        copies = jax.tree.map(lambda p: jnp.array(p, jnp.float32, copy=True) if is_low(p) else p, params)
        return MasterWeightsState(map_all(kept, params, copies), inner.init(copies))

    def update(
        updates: Updates, state: MasterWeightsState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", PARAMS_HINT)
        copies = map_all(whole, params, state.masters)
        steps, inner_state = inner.update(in_float32(updates), state.inner_state, copies, **extra)
        after = apply_updates(copies, steps)
        made = map_all(lambda u, p, w: moved(p, w) if u is not None and is_low(p) else u, steps, params, after)
        return made, MasterWeightsState(map_all(kept, params, after), inner_state)

    return init, update
