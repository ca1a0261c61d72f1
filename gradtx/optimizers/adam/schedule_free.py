"""Schedule-free optimizers: gradient descent, AdamW and rectified Adam with averages of their iterates."""

from typing import Any

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, Schedule, optimizer
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.radam import rectification_schedule
from gradtx.optimizers.adaptive.rmsprop import scale_by_rms
from gradtx.schedules import linear_schedule, multiply_schedules
from gradtx.typing import Decay, DTypeName, NonNegative
from gradtx.wrappers import average_iterates
from gradtx.wrappers.schedule_free import Share


@optimizer
def schedule_free_sgd(
    learning_rate: NonNegative = 1.0,
    warmup_steps: int | None = None,
    b1: Share = 0.9,
    weight_decay: NonNegative | None = None,
    weight_lr_power: NonNegative = 2.0,
    state_dtype: DTypeName | None = None,
) -> GradientTransformation:
    r"""Gradient descent with an average of its iterates in place of momentum and of a schedule.

    Composition: `add_decayed_weights`, `scale_by_learning_rate`, `average_iterates`. Evaluate with
    `schedule_free_eval_params`; see `schedule_free` for what the params are.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      warmup_steps: over how many steps the rate rises: step n of k, counted from 1, has :math:`\eta\, n / k`.
      b1: the share of the average in the params, in (0, 1].
      weight_decay: :math:`\lambda`, at least 0; of the params, times the rate.
      weight_lr_power: the power of the rate by which an iterate weighs, at least 0.
      state_dtype: the dtype the iterate is stored in; at least float32 by default.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.schedule_free_sgd(0.5)).transforms[1:]
      (scale_by_learning_rate(learning_rate=0.5), average_iterates(learning_rate=0.5))

    References:
      - Defazio et al., The road less scheduled, 2024, arXiv:2405.15682.

    Differences from Optax: the warm-up is that of the authors' package; Optax's makes a first step of length 0, and
    weighs each iterate by the rate of the next step. Without a warm-up the steps are the same.
    """
    if warmup_steps:
        rate = _warmed_up(learning_rate, warmup_steps)
        return schedule_free_sgd(rate, None, b1, weight_decay, weight_lr_power, state_dtype)
    return chain(
        add_decayed_weights(0.0 if weight_decay is None else weight_decay),
        scale_by_learning_rate(learning_rate),
        average_iterates(learning_rate, b1, weight_lr_power, state_dtype),
    )


@optimizer
def schedule_free_adamw(
    learning_rate: NonNegative = 0.0025,
    warmup_steps: int | None = None,
    b1: Share = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
    state_dtype: DTypeName | None = None,
) -> GradientTransformation:
    r"""AdamW with an average of its iterates in place of momentum and of a schedule.

    Composition: `scale_by_rms` (Adam without its first moment), `add_decayed_weights`, `scale_by_learning_rate`,
    `average_iterates`. Evaluate with `schedule_free_eval_params`; see `schedule_free` for what the params are.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      warmup_steps: over how many steps the rate rises: step n of k, counted from 1, has :math:`\eta\, n / k`.
      b1: the share of the average in the params, in (0, 1].
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      weight_decay: :math:`\lambda`, at least 0; of the params, times the rate.
      weight_lr_power: the power of the rate by which an iterate weighs, at least 0.
      state_dtype: the dtype the iterate is stored in; at least float32 by default.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.schedule_free_adamw(0.1)).transforms[::3]
      (scale_by_rms(decay=0.999, eps_in_sqrt=False, bias_correction=True), average_iterates(learning_rate=0.1))

    References:
      - Defazio et al., The road less scheduled, 2024, arXiv:2405.15682.

    Differences from Optax: the warm-up, as in `schedule_free_sgd`.
    """
    if warmup_steps:
        rate = _warmed_up(learning_rate, warmup_steps)
        return schedule_free_adamw(rate, None, b1, b2, eps, weight_decay, weight_lr_power, state_dtype)
    return chain(
        scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(learning_rate),
        average_iterates(learning_rate, b1, weight_lr_power, state_dtype),
    )


@optimizer
def schedule_free_radam(
    learning_rate: NonNegative = 0.0025,
    b1: Share = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
    state_dtype: DTypeName | None = None,
) -> GradientTransformation:
    r"""Rectified Adam with an average of its iterates: neither a schedule nor the length of a warm-up has to be chosen.

    Composition: that of `schedule_free_adamw`, with the rate times `rectification_schedule`. The params do not move in
    the first steps (4 with the default ``b2``), in which nothing is known of the variance of the second moment.

    Args:
      learning_rate: at least 0.
      b1: the share of the average in the params, in (0, 1].
      b2: decay of the second moment, in [0, 1); above 0.6, or the rate is 0 for ever.
      eps: outside the root, at least 0.
      weight_decay: at least 0; of the params, times the rate.
      weight_lr_power: the power of the rate by which an iterate weighs, at least 0.
      state_dtype: the dtype the iterate is stored in; at least float32 by default.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.schedule_free_radam(1.0, b2=0.9)
      >>> params = jnp.array([1.0])
      >>> state = tx.init(params)
      >>> for _ in range(5):
      ...     updates, state = tx.update(jnp.array([3.0]), state, params)
      ...     print(updates)
      [0.]
      [0.]
      [0.]
      [0.]
      [-0.15611072]

    References:
      - Defazio et al., The road less scheduled, 2024, arXiv:2405.15682.
      - Liu et al., On the variance of the adaptive learning rate and beyond, 2020, arXiv:1908.03265.
    """
    rate = multiply_schedules(learning_rate, rectification_schedule(b2))
    return schedule_free_adamw(rate, None, b1, b2, eps, weight_decay, weight_lr_power, state_dtype)


def _warmed_up(learning_rate: Any, warmup_steps: int) -> Schedule:
    """The rate times 1/k, 2/k, ..., 1, and so on: the first step is not lost."""
    return multiply_schedules(learning_rate, linear_schedule(1 / warmup_steps, 1.0, warmup_steps - 1))
