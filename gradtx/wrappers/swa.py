"""Stochastic weight averaging: the mean of the parameters at equal distances along the rest of a run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, cond, increment, transformation, zero_count
from gradtx.core.control import is_due
from gradtx.errors import require_extra
from gradtx.storage import apply_updates
from gradtx.typing import AtLeastOne, Count, NonNegative, Params, State, Updates


class SwaState(NamedTuple):
    """The state of `swa`.

    Attributes:
      step: the number of updates made, int32 [].
      averaged: how many params are in the average, int32 [].
      average: their mean, like the params, in accumulator dtype; before the first, a copy of those given to ``init``.
      inner_state: the state of the inner transformation.
    """

    step: Count
    averaged: Count
    average: Params
    inner_state: State


@transformation
def swa(inner: GradientTransformation, start: NonNegative = 0, period: AtLeastOne = 1) -> Pair:
    r"""Stochastic weight averaging (SWA): keep the mean of the parameters after every few updates.

    .. math::
        \bar p \leftarrow \bar p + \frac{p_t - \bar p}{n + 1}, \quad n \leftarrow n + 1 \qquad
        \text{at } t = s,\ s + c,\ s + 2c,\ \dots

    where :math:`p_t` are the params after t updates, and the first of them are taken over as they are. The updates are
    the inner transformation's. Evaluate with `averaged_params`; where there is batch normalization, compute its
    statistics anew for the averaged params. Nothing after this in a chain may change the updates.

    The authors average over the last quarter of a run, with a constant or a cyclic learning rate, and take the params
    at the end of each cycle: let `period` be its length.

    Args:
      inner: a whole optimizer, learning rate and all.
      start: :math:`s`, the number of updates before the first params that are averaged, at least 0; with 0 they are
        those after `period` updates.
      period: :math:`c`, the number of updates from one to the next, at least 1.

    State:
      `SwaState`: 4 bytes per float32 parameter, two counters, and the inner state.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.swa(gradtx.sgd(1.0), start=2, period=2)
      >>> params = jnp.array([0.0])
      >>> state = tx.init(params)
      >>> for _ in range(6):
      ...     updates, state = tx.update(jnp.array([-1.0]), state, params)
      ...     params = gradtx.apply_updates(params, updates)
      >>> gradtx.averaged_params(state)  # of 2, 4 and 6
      Array([4.], dtype=float32)

    References:
      - Izmailov et al., Averaging weights leads to wider optima and better generalization, 2018, arXiv:1803.05407.

    Differences from torch's ``AveragedModel``: it averages when ``update_parameters`` is called.
    """

    def init(params: Params) -> SwaState:
        return SwaState(zero_count(), zero_count(), tree.copy_accumulator(params), inner.init(params))

    def update(updates: Updates, state: SwaState, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        require_extra(params, "params", "they are averaged: tx.update(grads, state, params)")
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra)
        step = increment(state.step)
        due = is_due(step, start, period)

        def leaf(a: jax.Array, p: jax.Array, *, before: Any) -> Any:
            return jnp.where(before == 0, p, a + (p - a) / (before + 1))

        def take(average: Params, params: Params, updates: Updates) -> Params:
            return tree.map_leaves(leaf, average, read=(apply_updates(params, updates),), before=state.averaged)

        average = cond(due, take, lambda average, *_: average, state.average, params, updates)
        averaged = jnp.where(due, increment(state.averaged), state.averaged)
        return updates, SwaState(step, averaged, average, inner_state)

    return init, update
