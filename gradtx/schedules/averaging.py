"""Decay factors for averages of the parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core import as_float, as_number, schedule
from gradtx.schedules.compose import StepFunction
from gradtx.typing import Decay, NonNegative, Positive


@schedule
def ema_warmup_decay(
    decay: Decay = 0.999, init_value: Decay = 0.1, inv_gamma: Positive = 10.0, power: NonNegative = 1.0
) -> StepFunction:
    r"""The decay factor of an average that is short while the run is young.

    .. math:: s(n) = \min\left(\beta,\ 1 - (1 - d_0) (1 + n / \gamma)^{-p}\right)

    By default that is :math:`\min(\beta, (1 + n) / (10 + n))`, as in TensorFlow: three fifths of the average are of
    the last tenth of the steps so far, until the factor is :math:`\beta`. The ramp of timm and of Diffusers is
    ``ema_warmup_decay(0.9999, 0.0, 1.0, 2 / 3)``. `ema_params` takes it: ``ema_params(tx, ema_warmup_decay(0.9999))``.

    Args:
      decay: :math:`\beta`, in [0, 1), the factor in the end.
      init_value: :math:`d_0`, in [0, 1), the factor at step 0.
      inv_gamma: :math:`\gamma`, above 0, the number of steps in which the ramp gets under way.
      power: :math:`p`, at least 0: how steep it is.

    Example:
      >>> import gradtx
      >>> [round(float(gradtx.ema_warmup_decay(0.99)(n)), 4) for n in (0, 1, 10, 100, 1000)]
      [0.1, 0.1818, 0.55, 0.9182, 0.99]
    """

    def value(step: Any) -> jax.Array:
        n = jnp.maximum(as_float(step), 0)
        ramp = 1 - (1 - as_number(init_value)) * (1 + n / as_number(inv_gamma)) ** -as_number(power)
        factor: jax.Array = jnp.minimum(ramp, as_number(decay))
        return factor

    return value


@schedule
def power_function_decay(gamma: NonNegative = 6.94) -> StepFunction:
    r"""The decay factor of an average in which step k of t weighs :math:`(k/t)^{\gamma+1} - ((k-1)/t)^{\gamma+1}`.

    .. math:: s(n) = \beta_t = (1 - 1/t)^{\gamma + 1}, \qquad t = n + 1

    That is the profile :math:`k^\gamma`, stretched over the run as it grows. `power_function_gamma` has the exponent
    for a width of the profile as a fraction of the run: 6.94 for 0.1, 16.97 for 0.05. Two such averages, saved from
    time to time, are enough to make any other after the run: see `posthoc_average`. The average of `dog` has nearly the
    same profile.

    Args:
      gamma: :math:`\gamma`, at least 0; with 0 all steps weigh the same.

    Example:
      >>> import gradtx
      >>> [round(float(x), 4) for x in gradtx.power_function_decay(1.0).sample(4)]
      [0.0, 0.25, 0.4444, 0.5625]

    References:
      - Karras et al., Analyzing and improving the training dynamics of diffusion models, 2023, arXiv:2312.02696.
    """

    def value(step: Any) -> jax.Array:
        n = jnp.maximum(as_float(step), 0)
        # Of step 0 the logarithm is infinite; without the selection its derivative would be NaN.
        factor: jax.Array = jnp.where(
            n == 0, 0, jnp.exp((as_number(gamma) + 1) * -jnp.log1p(1 / jnp.where(n == 0, 1, n)))
        )
        return factor

    return value
