"""KT: the step is a bet on the direction of the next gradient, of a share of the wealth that the last bets have won."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, increment, leafwise, optimizer, transformation
from gradtx.gradients import add_decayed_weights
from gradtx.optimizers.parameter_free.distance import scalar
from gradtx.optimizers.parameter_free.dog import displacement
from gradtx.typing import Count, Mask, NonNegative, Params, Updates


class ScaleByKtState(NamedTuple):
    """The state of `scale_by_kt`.

    Attributes:
      count: the number of updates, int32 [].
      wealth: what there is to bet with, float [].
      init_params: the first params, like them, in accumulator dtype.
      theta: minus the sum of the gradients, likewise.
    """

    count: Count
    wealth: jax.Array
    init_params: Params
    theta: Updates


@transformation
def scale_by_kt(initial_wealth: NonNegative = 1e-4) -> Form:
    r"""Replace gradients by the steps of a bettor on their direction, with the estimator of Krichevsky and Trofimov.

    .. math::
        w_t = w_{t-1} + \langle p_0 - p_t, g_t \rangle, \qquad
        \theta_t = \theta_{t-1} - g_t, \qquad
        p_{t+1} = p_0 + \frac{w_t}{t + 1}\, \theta_t

    It has no rate: as long as the bets win, the wealth grows like a power of two. The inner product is that of all
    leaves taken together.

    The method is made for gradients of norm 1 at most. A longer one may cost more than there is, and a debt changes the
    sign of the steps. Where nothing bounds them, clip: ``chain(clip_by_global_norm(1.0), kt())``. A gain that is not
    finite is not counted. The updates are steps to be added, sign and all: nothing should scale them.

    Args:
      initial_wealth: :math:`w_0`, at least 0: about the rate that would do for SGD. Of a schedule, the first value
        counts.

    State:
      `ScaleByKtState`: 8 bytes per float32 parameter, a scalar and a counter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_kt(0.5), jnp.zeros(2)
      >>> tx.update(jnp.array([0.6, -0.8]), tx.init(p), p)[0]
      Array([-0.15,  0.2 ], dtype=float32)

    References:
      - Orabona, Pal, Coin betting and parameter-free online learning, 2016, arXiv:1602.04128.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tree.copy_accumulator(p), tree.zeros_accumulator(p)

    def init_shared(params: Params) -> dict[str, Any]:
        return {"wealth": scalar(initial_wealth)}

    def prepare(state: ScaleByKtState, updates: Updates, params: Params) -> tuple[ScaleByKtState, dict[str, Any]]:
        count = increment(state.count)
        lost = tree.inner(updates, displacement(params, state.init_params)).astype(state.wealth.dtype)
        wealth = state.wealth - jnp.where(jnp.isfinite(lost), lost, 0)
        return state._replace(count=count, wealth=wealth), {"share": wealth / increment(count).astype(wealth.dtype)}

    def leaf(g: jax.Array, p0: jax.Array, theta: jax.Array, *, share: Any, p: jax.Array) -> tuple[jax.Array, ...]:
        theta = theta - g
        return p0 + share * theta - p, p0, theta

    return leafwise(leaf, state=ScaleByKtState, init_leaf=init_leaf, init_shared=init_shared, prepare=prepare)


@optimizer
def kt(
    initial_wealth: NonNegative = 1e-4, weight_decay: NonNegative | None = None, mask: Mask = None
) -> GradientTransformation:
    r"""KT: the step is a bet on the direction of the next gradient, of a share of the wealth that bets have won.

    Composition: `add_decayed_weights` if there is a decay, `scale_by_kt`.

    It has no rate to search for, and is made for gradients of norm 1 at most: see `scale_by_kt`.

    Args:
      initial_wealth: what there is to bet with at first, at least 0: about the rate that would do for SGD.
      weight_decay: added to the gradient times the params, at least 0; None for none.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter, a scalar and a counter.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.kt()), jnp.array([0.0, 1.0])
      >>> state = tx.init(p)
      >>> for _ in range(100):
      ...     updates, state = tx.update(p - 3, state, p)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(jnp.all(jnp.abs(p - 3) < 1))
      True

    References:
      - Orabona, Pal, Coin betting and parameter-free online learning, 2016, arXiv:1602.04128.

    Differences from the authors' code, parameterfree's ``KT``: its decay changes the sum of the gradients, and not what
    a bet has won; here it is a part of the gradient.
    """
    decay = [] if weight_decay is None else [add_decayed_weights(weight_decay, mask)]
    return chain(*decay, scale_by_kt(initial_wealth))
