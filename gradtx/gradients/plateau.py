"""Scale updates down when a metric stops improving."""

from typing import Any

import jax

from gradtx.core import Form, leafwise, transformation
from gradtx.schedules.plateau import Mode, PlateauState, Reduction, plateau_schedule
from gradtx.typing import AtLeastOne, Fraction, NonNegative, Params


@transformation
def reduce_on_plateau(
    factor: Reduction = 0.1,
    patience: NonNegative = 10,
    rtol: Fraction = 1e-4,
    atol: NonNegative = 0.0,
    cooldown: NonNegative = 0,
    accumulation_size: AtLeastOne = 1,
    min_scale: Fraction = 0.0,
    mode: Mode = "min",
    monitor: str = "value",
) -> Form:
    r"""Scale updates by a number that falls whenever a metric has stopped improving.

    .. math:: u = s\, g, \qquad s = \max(\text{factor}^{k}, \text{min\_scale})

    where :math:`k` counts the reductions so far, by the rule of `plateau_schedule`, which says what an improvement is
    and how other libraries count. Put it last in a `chain`. Feed it by ``update(..., value=loss)``, where the loss is
    taken into account before the updates are scaled, or by `observe` once an epoch; an update without ``value`` keeps
    the scale (Optax demands a value with every update).

    Args:
      factor: what the scale is multiplied by at a reduction, in (0, 1).
      patience: how many observations in a row without improvement bring a reduction, in [0, inf).
      rtol: the least improvement relative to the best observation, in [0, 1].
      atol: the least improvement, absolute, in [0, inf).
      cooldown: how many observations after a reduction do not count, in [0, inf).
      accumulation_size: how many values are averaged into one observation, in [1, inf).
      min_scale: the least scale, in [0, 1].
      mode: ``"min"`` if less is better (a loss), ``"max"`` if more is (an accuracy).
      monitor: the extra of `update` that is observed: ``"value"``, the loss of the step, or a name of your own.

    State:
      `PlateauState`: 13 floats (float32, or float64 in x64 mode) and 3 counters; 0 bytes per parameter.

    Raises:
      ArgumentValueError: ``value`` is not a scalar.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.reduce_on_plateau(factor=0.5, patience=1))
      >>> state = tx.init(jnp.zeros(1))
      >>> for loss in [2.0, 2.0, 1.0]:
      ...     updates, state = tx.update(jnp.ones(1), state, value=loss)
      ...     print(updates)
      [-1.]
      [-0.5]
      [-0.5]
    """
    rule = (factor, patience, rtol, atol, cooldown, accumulation_size, min_scale, mode, monitor)
    plateau = plateau_schedule(1.0, *rule)

    def init_shared(params: Params) -> dict[str, Any]:
        state: PlateauState = plateau.init()
        return state._asdict()

    def prepare(state: PlateauState, **extra: Any) -> tuple[PlateauState, dict[str, Any]]:
        state = plateau.update(state, **extra)
        return state, {"scale": state.value}

    def leaf(g: jax.Array, *, scale: Any) -> Any:
        return scale * g

    return leafwise(leaf, state=PlateauState, init_shared=init_shared, prepare=prepare)
