"""MARS: gradients corrected by what the last one has become, before AdamW or Lion."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, optimizer, transformation
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.adam import scale_by_adam
from gradtx.optimizers.momentum.ema import ema
from gradtx.optimizers.momentum.sign import scale_by_sign
from gradtx.typing import Decay, DTypeName, Mask, NonNegative, Positive, Updates


class MarsCorrectionState(NamedTuple):
    """The state of `mars_correction`.

    Attributes:
      previous: the last gradient, like the params, in accumulator dtype.
    """

    previous: Updates


@transformation
def mars_correction(b1: Decay = 0.95, gamma: NonNegative = 0.025, max_norm: Positive | None = 1.0) -> Form:
    r"""Extrapolate each gradient from the last one, so that the average behind it has less variance (MARS).

    .. math::
        c_t = g_t + \gamma\, \frac{\beta_1}{1-\beta_1}\, (g_t - g_{t-1}), \qquad
        u_t = c_t\, \min\left(1, \frac{N}{\lVert c_t \rVert_2}\right)

    with :math:`g_0 = 0`. The norm is that of a leaf. Before an average with the factor :math:`\beta_1`, the difference
    is what the gradient has changed by since the average was made; :math:`\gamma = 1` would be the full correction of
    STORM, for gradients of one batch at both places. These are of two batches, the authors' approximate form.

    Args:
      b1: :math:`\beta_1` of the average that comes after it, in [0, 1).
      gamma: :math:`\gamma`, at least 0; with 0, gradients are only clipped.
      max_norm: :math:`N`, above 0; ``None`` clips nothing.

    State:
      `MarsCorrectionState`: 4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.mars_correction(b1=0.5, gamma=0.5, max_norm=None)
      >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
      >>> tx.update(jnp.array([1.0]), state)[0]
      Array([0.5], dtype=float32)

    References:
      - Yuan et al., MARS: unleashing the power of variance reduction for training large models, 2024,
        arXiv:2411.10438.
    """
    factor = gamma * b1 / (1 - b1)

    def leaf(g: jax.Array, previous: jax.Array) -> tuple[jax.Array, jax.Array]:
        c = g + factor * (g - previous)
        if max_norm is not None:
            c = c * (max_norm / jnp.maximum(tree.global_norm(c), max_norm))
        return c, g

    return leafwise(leaf, state=MarsCorrectionState, init_leaf=tree.zeros_accumulator)


@optimizer
def mars(
    learning_rate: NonNegative,
    b1: Decay = 0.95,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-8,
    gamma: NonNegative = 0.025,
    max_norm: Positive | None = 1.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
    mu_dtype: DTypeName | None = None,
) -> GradientTransformation:
    r"""MARS-AdamW: AdamW on gradients that are corrected by the last ones.

    Composition: `mars_correction`, `scale_by_adam`, `add_decayed_weights`, `scale_by_learning_rate`.

    Both moments are of the corrected gradients, as in the authors' code. It is for matrices; the authors give the other
    leaves to AdamW: ``partition({"*/kernel": mars(0.003), "*": adamw(0.003, b2=0.95, weight_decay=0.1)})``.

    Args:
      learning_rate: at least 0; 0.003 in the authors' code.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      gamma: the scale of the correction, at least 0.
      max_norm: the largest norm of the corrected gradient of a leaf; ``None`` for any.
      weight_decay: decoupled weight decay, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.
      mu_dtype: the dtype of the first moment; at least float32 by default.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.mars(0.1)).transforms[:2]
      (mars_correction(), scale_by_adam(b1=0.95, b2=0.99))

    References:
      - Yuan et al., MARS: unleashing the power of variance reduction for training large models, 2024,
        arXiv:2411.10438.
    """
    return chain(
        mars_correction(b1, gamma, max_norm),
        scale_by_adam(b1, b2, eps, mu_dtype=mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@optimizer
def mars_lion(
    learning_rate: NonNegative,
    b1: Decay = 0.95,
    gamma: NonNegative = 0.025,
    max_norm: Positive | None = 1.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
    mu_dtype: DTypeName | None = None,
) -> GradientTransformation:
    r"""MARS-Lion: steps by the signs of the average of gradients that are corrected by the last ones.

    Composition: `mars_correction`, `ema` without bias correction, which changes no sign, `scale_by_sign`,
    `add_decayed_weights`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      b1: decay of the average, in [0, 1).
      gamma: the scale of the correction, at least 0.
      max_norm: the largest norm of the corrected gradient of a leaf; ``None`` for any.
      weight_decay: decoupled weight decay, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.
      mu_dtype: the dtype of the average; at least float32 by default.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.mars_lion(0.1)).transforms[:3]
      (mars_correction(), ema(decay=0.95, debias=False), scale_by_sign())

    References:
      - Yuan et al., MARS: unleashing the power of variance reduction for training large models, 2024,
        arXiv:2411.10438.
    """
    return chain(
        mars_correction(b1, gamma, max_norm),
        ema(b1, debias=False, accumulator_dtype=mu_dtype),
        scale_by_sign(),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
