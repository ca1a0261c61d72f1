"""Running sums and averages of gradients."""

from typing import Any, NamedTuple

import jax

from gradtx import tree
from gradtx.core import Pair, add_scaled, complement_of_power, increment, moving_average, transformation, zero_count
from gradtx.typing import Count, Decay, DTypeName, Fraction, Params, State, Updates


class TraceState(NamedTuple):
    """The state of `trace`.

    Attributes:
      trace: the running sum of gradients, like the params, in accumulator dtype.
    """

    trace: Updates


@transformation
def trace(decay: Fraction, nesterov: bool = False, accumulator_dtype: DTypeName | None = None) -> Pair:
    r"""Accumulate a decaying sum of gradients: momentum.

    .. math::
        m_t = \mu\, m_{t-1} + g_t, \qquad
        u_t = \begin{cases} m_t & \text{heavy ball} \\ g_t + \mu\, m_t & \text{Nesterov} \end{cases}

    The sum is not damped (there is no :math:`1-\mu` before :math:`g`), as in torch, Keras and Optax. Nesterov's method
    is in the form that needs only the gradient at the current parameters.

    Args:
      decay: :math:`\mu`, in [0, 1].
      nesterov: look ahead by one step of the momentum.
      accumulator_dtype: the dtype :math:`m` is stored in; at least float32 by default.

    State:
      `TraceState`: 4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.trace(decay=0.9)
      >>> g = jnp.array([1.0])
      >>> u, state = tx.update(g, tx.init(g))
      >>> u, state = tx.update(g, state)
      >>> u
      Array([1.9], dtype=float32)

    References:
      - Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
      - Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013 (for `nesterov`).
    """

    def init(params: Params) -> TraceState:
        return TraceState(tree.zeros_accumulator(params, dtype=accumulator_dtype))

    @tree.fusible
    def update(
        updates: Updates, state: TraceState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        def leaf(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
            m = add_scaled(g, decay, m)
            return (add_scaled(g, decay, m) if nesterov else m), m

        updates, m = tree.map_leaves(leaf, updates, state.trace)
        return updates, TraceState(m)

    return init, update


class EmaState(NamedTuple):
    """The state of `ema`.

    Attributes:
      count: the number of updates, int32 [].
      ema: the average, like the params, in accumulator dtype; not debiased.
    """

    count: Count
    ema: Updates


@transformation
def ema(decay: Decay, debias: bool = True, accumulator_dtype: DTypeName | None = None) -> Pair:
    r"""Replace updates by their exponential moving average.

    .. math::
        m_t = \beta\, m_{t-1} + (1-\beta)\, g_t, \qquad u_t = m_t / (1 - \beta^t)

    Args:
      decay: :math:`\beta`, in [0, 1).
      debias: divide by :math:`1-\beta^t`, which makes up for the start at zero.
      accumulator_dtype: the dtype :math:`m` is stored in; at least float32 by default.

    State:
      `EmaState`: 4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.ema(decay=0.5)
      >>> g = jnp.array([1.0])
      >>> tx.update(g, tx.init(g))[0]
      Array([1.], dtype=float32)
    """

    def init(params: Params) -> EmaState:
        return EmaState(zero_count(), tree.zeros_accumulator(params, dtype=accumulator_dtype))

    @tree.fusible
    def update(updates: Updates, state: EmaState, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        count = increment(state.count)
        correct = 1 / complement_of_power(decay, count) if debias else 1.0

        def leaf(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
            m = moving_average(decay, m, g)
            return correct * m, m

        updates, m = tree.map_leaves(leaf, updates, state.ema)
        return updates, EmaState(count, m)

    return init, update
