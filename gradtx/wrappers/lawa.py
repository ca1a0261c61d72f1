"""Latest weight averaging: the mean of the last few checkpoints."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, cond, increment, transformation, zero_count
from gradtx.core.control import is_due
from gradtx.errors import ArgumentValueError, require_extra
from gradtx.storage import apply_updates
from gradtx.typing import AtLeastOne, Count, Params, State, Updates


class LawaState(NamedTuple):
    """The state of `lawa`.

    Attributes:
      step: the number of updates made, int32 [].
      taken: how many checkpoints were taken, int32 [].
      checkpoints: the last k of them, the newest last, each like the params, in accumulator dtype; before the first,
        the newest is a copy of the params given to ``init``.
      inner_state: the state of the inner transformation.
    """

    step: Count
    taken: Count
    checkpoints: tuple[Params, ...]
    inner_state: State


@transformation
def lawa(inner: GradientTransformation, k: int = 5, every: AtLeastOne = 1) -> Pair:
    r"""Latest weight averaging (LAWA): keep the last k checkpoints of the parameters, to evaluate with their mean.

    .. math:: \bar p = \frac1n \sum_{i=0}^{n-1} p_{(m-i)\, v}, \qquad n = \min(k, m), \qquad m = \lfloor t / v \rfloor

    where :math:`p_t` are the params after t updates. The updates are the inner transformation's. Evaluate with
    `averaged_params`. Nothing after this in a chain may change the updates.

    The authors take a checkpoint an epoch, and 5 to 10 of them. An exponential average with a horizon of :math:`k v`
    updates does nearly the same in a k-th of the memory: `ema_params` with a decay of :math:`1 - 2 / (k v)`.

    Args:
      inner: a whole optimizer, learning rate and all.
      k: how many checkpoints are kept, at least 1; a part of the program.
      every: :math:`v`, the number of updates from one to the next, at least 1; a number or a schedule.

    State:
      `LawaState`: 4 k bytes per float32 parameter, two counters, and the inner state.

    Raises:
      ArgumentValueError: `k` is less than 1.
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.lawa(gradtx.sgd(1.0), k=3, every=2)
      >>> params = jnp.array([0.0])
      >>> state = tx.init(params)
      >>> for _ in range(9):
      ...     updates, state = tx.update(jnp.array([-1.0]), state, params)
      ...     params = gradtx.apply_updates(params, updates)
      >>> gradtx.averaged_params(state)  # of 4, 6 and 8
      Array([6.], dtype=float32)

    References:
      - Kaddour, Stop wasting my time! Saving days of ImageNet and BERT training with latest weight averaging, 2022,
        arXiv:2209.14981.
    """
    if k < 1:
        raise ArgumentValueError("k in [1, inf)", got=str(k))

    def init(params: Params) -> LawaState:
        older = tuple(tree.zeros_accumulator(params) for _ in range(k - 1))
        return LawaState(zero_count(), zero_count(), (*older, tree.copy_accumulator(params)), inner.init(params))

    def update(updates: Updates, state: LawaState, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        require_extra(params, "params", "they are averaged: tx.update(grads, state, params)")
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra)
        step = increment(state.step)
        due = is_due(step, 0, every)

        def take(checkpoints: tuple[Params, ...], params: Params, updates: Updates) -> tuple[Params, ...]:
            newest = tree.map_leaves(lambda _, p: p, checkpoints[-1], read=(apply_updates(params, updates),))
            return (*checkpoints[1:], newest)

        checkpoints = cond(due, take, lambda checkpoints, *_: checkpoints, state.checkpoints, params, updates)
        taken = jnp.where(due, increment(state.taken), state.taken)
        return updates, LawaState(step, taken, checkpoints, inner_state)

    return init, update


def mean_of_checkpoints(state: LawaState) -> Params:
    """The mean of the checkpoints that were taken; the copy of the first params if there are none."""
    count = jnp.clip(state.taken, 1, len(state.checkpoints))

    def leaf(newest: jax.Array, *older: jax.Array, count: jax.Array) -> Any:
        # The first params given to `init` are no checkpoint, but may still be in the row.
        return sum((jnp.where(i < count, x, 0) for i, x in enumerate(older, 1)), start=newest) / count

    newest, *older = reversed(state.checkpoints)
    return tree.map_leaves(leaf, newest, read=older, count=count)
