"""Slow gradients amplified: what the gradients of many steps have in common is added to each (Grokfast)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Form, increment, leafwise, moving_average, transformation
from gradtx.errors import ArgumentValueError
from gradtx.typing import Count, Decay, NonNegative, Updates


class GrokfastState(NamedTuple):
    """The state of `grokfast`.

    Attributes:
      count: the number of updates, int32 [].
      slow: the average of gradients, like the params, in accumulator dtype.
    """

    count: Count
    slow: Updates


@transformation
def grokfast(alpha: Decay = 0.98, lamb: NonNegative = 2.0) -> Form:
    r"""Add to each gradient a multiple of the moving average of all gradients (Grokfast-EMA).

    .. math:: h_t = \alpha\, h_{t-1} + (1-\alpha)\, g_t, \qquad u_t = g_t + \lambda\, h_t

    with :math:`h_1 = g_1`. A low-pass filter: it is meant for models that fit the training data long before they
    generalise, and goes before the optimizer: ``chain(grokfast(), adamw(0.001))``. Weight decay helps it. Behind it,
    Adam does not see that the gradients have become :math:`1+\lambda` times as large.

    Args:
      alpha: :math:`\alpha`, in [0, 1); 0.8 to 0.99 in the paper, 0.98 for modular arithmetic.
      lamb: :math:`\lambda`, at least 0; 0.1 to 5 in the paper.

    State:
      `GrokfastState`: 4 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.grokfast(alpha=0.5, lamb=2.0)
      >>> u, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
      >>> u, tx.update(jnp.array([-1.0]), state)[0]
      (Array([3.], dtype=float32), Array([-1.], dtype=float32))

    References:
      - Lee et al., Grokfast: accelerated grokking by amplifying slow gradients, 2024, arXiv:2405.20233.
    """

    def prepare(state: GrokfastState) -> tuple[GrokfastState, dict[str, Any]]:
        count = increment(state.count)
        return state._replace(count=count), {"memory": jnp.where(count == 1, 0.0, alpha)}

    def leaf(g: jax.Array, h: jax.Array, *, memory: Any) -> tuple[jax.Array, jax.Array]:
        h = moving_average(memory, h, g)
        return g + lamb * h, h

    return leafwise(leaf, state=GrokfastState, init_leaf=tree.zeros_accumulator, prepare=prepare)


class GrokfastMaState(NamedTuple):
    """The state of `grokfast_ma`.

    Attributes:
      count: the number of updates, int32 [].
      window: the last gradients, each with a new first axis in which they go round, in accumulator dtype.
    """

    count: Count
    window: Updates


@transformation
def grokfast_ma(window_size: int = 100, lamb: NonNegative = 5.0, *, warmup: bool = True) -> Form:
    r"""Add to each gradient a multiple of the mean of the last gradients (Grokfast-MA).

    .. math:: u_t = g_t + \frac{\lambda}{w} \sum_{i=0}^{w-1} g_{t-i} \quad \text{from step } w \text{ on}

    It keeps :math:`w` gradients and reads all of them at every step. `grokfast` does nearly the same with one average.

    Args:
      window_size: :math:`w`, how many gradients, at least 1; this one included.
      lamb: :math:`\lambda`, at least 0. The authors' code also knows a sum in place of the mean: w times this.
      warmup: leave the gradients as they are until there are :math:`w` of them. ``False`` adds the mean of those that
        there are.

    State:
      `GrokfastMaState`: 4 w bytes per float32 parameter, and a counter.

    Raises:
      ArgumentValueError: the window has no place.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.grokfast_ma(window_size=2, lamb=10.0)
      >>> u, state = tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))
      >>> u, tx.update(jnp.array([-3.0]), state)[0]
      (Array([1.], dtype=float32), Array([-13.], dtype=float32))

    References:
      - Lee et al., Grokfast: accelerated grokking by amplifying slow gradients, 2024, arXiv:2405.20233.
    """
    if window_size < 1:
        raise ArgumentValueError("window_size of at least 1", got=str(window_size))

    def init_leaf(p: jax.Array) -> jax.Array:
        zeros: jax.Array = tree.zeros_accumulator(p)
        return jnp.broadcast_to(zeros, (window_size, *p.shape))  # of zeros placed as the parameter is

    def prepare(state: GrokfastMaState) -> tuple[GrokfastMaState, dict[str, Any]]:
        count = increment(state.count)
        known = jnp.minimum(count, window_size)
        share = jnp.where(known < window_size, 0.0, lamb / window_size) if warmup else lamb / known
        return state._replace(count=count), {"place": state.count % window_size, "share": share}

    def leaf(g: jax.Array, window: jax.Array, *, place: Any, share: Any) -> tuple[jax.Array, jax.Array]:
        window = window.at[place].set(g)
        return g + share * jnp.sum(window, axis=0), window

    return leafwise(leaf, state=GrokfastMaState, init_leaf=init_leaf, prepare=prepare)
