"""An extrapolated gradient: for games, where plain descent circles."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Pair, increment, transformation, weighted_sum, zero_count
from gradtx.typing import Count, Numeric, Params, State, Updates


class ScaleByOptimisticGradientState(NamedTuple):
    """The state of `scale_by_optimistic_gradient`.

    Attributes:
      count: the number of updates, int32 [].
      trace: the last gradient, like the params, in accumulator dtype.
    """

    count: Count
    trace: Updates


def _optimistic(g: jax.Array, last: jax.Array, weight: Any, change: Any) -> tuple[jax.Array, jax.Array]:
    r""":math:`(\alpha + \beta)\, g_t - \beta\, g_{t-1}`, and the gradient to keep."""
    return weighted_sum(weight, g, -change, last), g


@transformation
def scale_by_optimistic_gradient(
    alpha: Numeric = 1.0, beta: Numeric = 1.0, first: Literal["repeat", "zero"] = "repeat"
) -> Pair:
    r"""Extrapolate the gradient from the last one: an extragradient without a second evaluation.

    .. math:: u_t = (\alpha + \beta)\, g_t - \beta\, g_{t-1}

    Args:
      alpha: :math:`\alpha`, the weight of the gradient.
      beta: :math:`\beta`, the weight of its change.
      first: what the gradient before the first is taken to be: ``"repeat"`` the first, so that :math:`u_1 = \alpha
        g_1`, as in Optax; or ``"zero"``, so that :math:`u_1 = (\alpha + \beta) g_1`, as the authors write it.

    State:
      `ScaleByOptimisticGradientState`: 4 bytes per float32 parameter and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_optimistic_gradient()
      >>> state = tx.init(jnp.zeros(1))
      >>> for g in [1.0, 0.5]:
      ...     updates, state = tx.update(jnp.array([g]), state)
      ...     print(updates)
      [1.]
      [0.]

    References:
      - Rakhlin, Sridharan, "Optimization, learning, and games with predictable sequences", 2013, arXiv:1311.1869.
      - Daskalakis et al., Training GANs with optimism, 2017, arXiv:1711.00141.
    """

    def init(params: Params) -> ScaleByOptimisticGradientState:
        return ScaleByOptimisticGradientState(zero_count(), tree.zeros_accumulator(params))

    @tree.fusible
    def update(
        updates: Updates, state: ScaleByOptimisticGradientState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        # On the first step the change is that from zero; repeating the first gradient means not counting it.
        change = jnp.where(state.count == 0, 0.0, beta) if first == "repeat" else beta
        updates, trace = tree.map_leaves(_optimistic, updates, state.trace, operands=(alpha + change, change))
        return updates, ScaleByOptimisticGradientState(increment(state.count), trace)

    return init, update
