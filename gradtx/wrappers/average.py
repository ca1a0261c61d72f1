"""An average of the parameters over the run, to evaluate with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, transformation
from gradtx.errors import UnknownNameError, require_extra
from gradtx.storage import apply_updates
from gradtx.typing import Decay, Params, State, Updates
from gradtx.wrappers.lawa import LawaState, mean_of_checkpoints
from gradtx.wrappers.swa import SwaState


class EmaParamsState(NamedTuple):
    r"""The state of `ema_params`.

    Attributes:
      weight: the sum of the weights in the average, :math:`1 - \beta^t` for a constant decay, float32 [].
      ema: the average of the params, like them, in accumulator dtype; not debiased.
      inner_state: the state of the inner transformation.
    """

    weight: jax.Array
    ema: Params
    inner_state: State


@transformation
def ema_params(inner: GradientTransformation, decay: Decay = 0.999) -> Pair:
    r"""Keep an exponential moving average of the parameters; the updates are the inner transformation's.

    .. math::
        a_t = \beta\, a_{t-1} + (1-\beta)\,(p_t + u_t), \qquad
        w_t = \beta\, w_{t-1} + (1-\beta), \qquad \bar p_t = a_t / w_t

    Evaluate with `averaged_params`, which divides by the weights and so is right from the first step on, also when
    the decay is a schedule: `ema_warmup_decay` while the run is young, `power_function_decay` for a profile that grows
    with it. Nothing after this in a chain may change the updates.

    Args:
      inner: a whole optimizer, learning rate and all.
      decay: :math:`\beta`, in [0, 1); a number or a schedule.

    State:
      `EmaParamsState`: 4 bytes per float32 parameter, a scalar, and the inner state.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.ema_params(gradtx.sgd(1.0), decay=0.5)
      >>> params = jnp.array([4.0])
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update(jnp.array([1.0]), state, params)
      ...     params = gradtx.apply_updates(params, updates)
      >>> params, gradtx.averaged_params(state)
      (Array([2.], dtype=float32), Array([2.3333333], dtype=float32))

    References:
      - Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992.
    """

    def init(params: Params) -> EmaParamsState:
        weight = jnp.zeros((), jnp.result_type(float))
        return EmaParamsState(weight, tree.zeros_accumulator(params), inner.init(params))

    def update(
        updates: Updates, state: EmaParamsState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "they are averaged: tx.update(grads, state, params)")
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra)

        def leaf(a: jax.Array, p: jax.Array, *, decay: Any) -> Any:
            return decay * a + (1 - decay) * p

        ema = tree.map_leaves(leaf, state.ema, read=(apply_updates(params, updates),), decay=decay)
        weight = (decay * state.weight + (1 - decay)).astype(state.weight.dtype)
        return updates, EmaParamsState(weight, ema, inner_state)

    return init, update


def averaged_params(state: State, params: Params | None = None, *, index: int | None = None) -> Params:
    """The average of the parameters that `ema_params`, `swa` or `lawa` keeps, to evaluate and save.

    Before the first params are in it, that of `ema_params` is NaN; that of the others is of those given to ``init``.

    Args:
      state: the state of an optimizer with one of these anywhere in it.
      params: if given, the average is cast to the dtypes of these.
      index: which one, if there are several: 0 is the innermost.

    Raises:
      UnknownNameError: the state has no average, or several and no `index`.
    """
    found = tree.find_nodes(state, (EmaParamsState, SwaState, LawaState))
    if not found or (index is None and len(found) > 1):
        hint = "say which: index=0 is the innermost" if found else "wrap the optimizer: ema_params(tx)"
        raise UnknownNameError("one average in the state", got=str(len(found)), hint=hint, origin="averaged_params")
    average = _average(found[index or 0])
    return average if params is None else tree.cast_like(average, params)


def _average(node: EmaParamsState | SwaState | LawaState) -> Params:
    if isinstance(node, EmaParamsState):
        return tree.map_leaves(lambda a, *, weight: a / weight, node.ema, weight=node.weight)
    return node.average if isinstance(node, SwaState) else mean_of_checkpoints(node)
