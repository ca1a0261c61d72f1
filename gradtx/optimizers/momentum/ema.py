"""The exponential moving average of gradients."""

from typing import Any, NamedTuple

import jax

from gradtx import tree
from gradtx.core import Form, complement_of_power, increment, leafwise, moving_average, transformation
from gradtx.typing import Count, Decay, DTypeName, Updates


class EmaState(NamedTuple):
    """The state of `ema`.

    Attributes:
      count: the number of updates, int32 [].
      ema: the average, like the params, in accumulator dtype; not debiased.
    """

    count: Count
    ema: Updates


@transformation
def ema(
    decay: Decay, debias: bool = True, accumulator_dtype: DTypeName | None = None, *, nesterov: bool = False
) -> Form:
    r"""Replace updates by their exponential moving average.

    .. math::
        m_t = \beta\, m_{t-1} + (1-\beta)\, g_t, \qquad u_t = m_t / (1 - \beta^t)

    With `nesterov`, by the average as it will be if the gradient stays the same, which has a larger part of it:

    .. math::
        u_t = \beta\, m_t / (1 - \beta^{t+1}) + (1-\beta)\, g_t / (1 - \beta^t)

    Args:
      decay: :math:`\beta`, in [0, 1).
      debias: divide by the powers of :math:`\beta`, which makes up for the start at zero; else by nothing.
      accumulator_dtype: the dtype :math:`m` is stored in; at least float32 by default.
      nesterov: Nesterov's momentum.

    State:
      `EmaState`: 4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.ema(decay=0.5)
      >>> g = jnp.array([1.0])
      >>> tx.update(g, tx.init(g))[0]
      Array([1.], dtype=float32)
    """

    def init_leaf(p: jax.Array) -> Any:
        return tree.zeros_accumulator(p, dtype=accumulator_dtype)

    def prepare(state: EmaState) -> tuple[EmaState, dict[str, Any]]:
        count = increment(state.count)
        of_average, of_gradient = 1.0, 1.0
        if debias:
            of_gradient = 1 / complement_of_power(decay, count)
            of_average = 1 / complement_of_power(decay, count + 1) if nesterov else of_gradient
        return state._replace(count=count), {"of_average": of_average, "of_gradient": of_gradient}

    def leaf(g: jax.Array, m: jax.Array, *, of_average: Any, of_gradient: Any) -> tuple[jax.Array, jax.Array]:
        m = moving_average(decay, m, g)
        u = of_average * m
        return (moving_average(decay, u, of_gradient * g) if nesterov else u), m

    return leafwise(leaf, state=EmaState, init_leaf=init_leaf, prepare=prepare)
