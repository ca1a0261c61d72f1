"""Compensated sums: what the rounding of a parameter lost is added to its next step."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradtx.core import Form, GradientTransformation, transformation
from gradtx.core.leafwise import PARAMS_HINT
from gradtx.core.numerics import rounded
from gradtx.errors import require_extra
from gradtx.storage.leaves import in_float32, is_low, map_all
from gradtx.tree.arithmetic import widen
from gradtx.typing import Params, State, Updates


class KahanState(NamedTuple):
    """The state of `kahan`.

    Attributes:
      lost: what the rounding of each parameter in low precision has lost so far, in its dtype; None for the others.
      inner_state: the state of the inner transformation.
    """

    lost: Params
    inner_state: State


@transformation
def kahan(inner: GradientTransformation) -> Form:
    r"""Add to each step of a parameter in bfloat16 or float16 what the rounding of its last steps has lost.

    .. math::
        s = c + u, \qquad p' = \operatorname{round}(p + s), \qquad c \leftarrow \operatorname{round}(s - (p' - p))

    The sum of the steps is right to about twice the digits of the parameter, in half the space of a float32 copy
    (`master_weights`). The inner transformation sees the parameters as they are, and the gradients in float32.

    It has to be the outermost: what comes after it would be lost. Parameters in float32 or float64, and complex ones,
    are moved as ever. The updates of the others are float32, so that `apply_updates` makes :math:`p'` exactly.

    Args:
      inner: a whole optimizer.

    State:
      `KahanState`: the inner state, and 2 bytes per parameter in low precision.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params, tx = jnp.ones(1, jnp.bfloat16), gradtx.kahan(gradtx.sgd(1e-3))
      >>> state = tx.init(params)
      >>> for _ in range(10):
      ...     updates, state = tx.update(jnp.ones(1, jnp.bfloat16), state, params)
      ...     params = gradtx.apply_updates(params, updates)
      >>> params
      Array([0.988281], dtype=bfloat16)

    References:
      - Kahan, Further remarks on reducing truncation errors, 1965.
      - Zamirai et al., Revisiting BFloat16 training, 2020, arXiv:2010.06192.
    """

    def init(params: Params) -> KahanState:
        lost = map_all(lambda p: jnp.zeros_like(p) if is_low(p) else None, params)
        return KahanState(lost, inner.init(in_float32(params)))

    def leaf(u: Any, p: Any, c: Any) -> tuple[Any, Any]:
        if u is None or c is None:
            return u, c
        step, before = widen(c) + widen(u), widen(p)
        after = widen(rounded(before + step, c.dtype))
        made = after - before
        # A parameter that is not finite any more has lost nothing that could be added.
        lost = jnp.where(jnp.isfinite(made), step - made, 0)
        return made, rounded(lost, c.dtype)

    def update(
        updates: Updates, state: KahanState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", PARAMS_HINT)
        steps, inner_state = inner.update(in_float32(updates), state.inner_state, params, **extra)
        pairs = map_all(leaf, steps, params, state.lost)
        made, lost = (map_all(lambda _, pair, i=i: pair[i], steps, pairs) for i in (0, 1))
        return made, KahanState(lost, inner_state)

    return init, update
