"""Tiger: the sign of an average, with the weight decay of Lion."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.momentum.ema import ema
from gradtx.optimizers.momentum.sign import scale_by_sign
from gradtx.typing import Decay, DTypeName, Mask, NonNegative


@optimizer
def tiger(
    learning_rate: NonNegative,
    beta: Decay = 0.965,
    accumulator_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.01,
    mask: Mask = None,
) -> GradientTransformation:
    r"""Tiger: signs of an average of gradients, with decoupled weight decay.

    .. math:: m \leftarrow \beta m + (1-\beta)\, g, \qquad p \leftarrow p - \eta\,(\operatorname{sign}(m) + \lambda p)

    Composition: `ema` without bias correction, which changes no sign, `scale_by_sign`, `add_decayed_weights`,
    `scale_by_learning_rate`.

    `signum` with a weight decay, and `lion` with one average instead of two: ``lion(rate, b1=beta, b2=beta)`` takes the
    same steps. An element whose gradients were all 0 only decays.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the author's code.
      beta: :math:`\beta`, in [0, 1).
      accumulator_dtype: the dtype of the average; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0; 0.01 as in the author's code.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.tiger(0.5, weight_decay=0.5), jnp.array([4.0, 4.0])
      >>> tx.update(jnp.array([0.2, 0.0]), tx.init(p), p)[0]
      Array([-1.5, -1. ], dtype=float32)

    References:
      - Su, Tiger: a tight-fisted optimizer, 2023.

    Differences from the author's code: that multiplies the rate of some layers by the size of their weights, and
    accumulates gradients; here `scale_by_param_block_rms` and `accumulate` do.
    """
    return chain(
        ema(beta, debias=False, accumulator_dtype=accumulator_dtype),
        scale_by_sign(),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
