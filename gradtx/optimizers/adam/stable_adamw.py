"""StableAdamW: AdamW with shorter steps where gradients are larger than their second moment knows."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    complement_of_power,
    one_for_zero,
    optimizer,
    safe_sqrt,
    transformation,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam.adam import scale_by_adam
from gradtx.typing import Decay, DTypeName, Mask, NonNegative


@transformation
def scale_by_stable_adam(
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-6,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> Form:
    r"""Rescale updates by the rule of StableAdamW: Adam's, divided by how far gradients exceed their second moment.

    .. math::
        r_t = \operatorname{RMS}\Bigl(\frac{g_t}{\max(\sqrt{\hat v_t}, \epsilon)}\Bigr), \qquad
        u_t = \frac{1}{\max(1, r_t)} \Bigl(\frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} + \lambda p\Bigr)

    with the moments of `scale_by_adam`. There is one :math:`r` for each leaf. It exceeds 1 where gradients have grown
    and :math:`\hat v` has not yet, which is where Adam's loss spikes come from. The decay is inside, because it shrinks
    as the step does.

    *It is the gradient that is measured.* Adam's update itself is an average, whose RMS hardly ever exceeds 1: to clip
    that, as ``chain(scale_by_adam(), clip_by_block_rms(1.0))``, changes almost nothing.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, and the least divisor in :math:`r`; at least 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      The states of `scale_by_adam` and `add_decayed_weights`: 8 bytes per float32 parameter (6 with
      ``mu_dtype="bfloat16"``), and a counter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_stable_adam(b1=0.0, b2=0.5)
      >>> params = jnp.zeros(2)
      >>> _, state = tx.update(jnp.array([0.0, 0.0]), tx.init(params), params)
      >>> tx.update(jnp.array([3.0, -3.0]), state, params)[0].round(3)
      Array([ 1., -1.], dtype=float32)

    References:
      - Wortsman et al., Stable and low-precision training for large-scale vision-language models, 2023,
        arXiv:2304.13013.
      - Shazeer, Stern, Adafactor: adaptive learning rates with sublinear memory cost, 2018, arXiv:1804.04235 (whose
        clipping it is).
    """
    adamw = chain(scale_by_adam(b1, b2, eps, mu_dtype=mu_dtype), add_decayed_weights(weight_decay, mask))
    form: Any = adamw.leafwise

    def prepare(updates: Any, state: Any, params: Any, extra: Any) -> tuple[Any, Any]:
        state, scalars = form.prepare(updates, state, params, extra)
        return state, (scalars, complement_of_power(b2, state[0].count))

    def leaf(scalars: Any, index: Any, g: jax.Array, s: Any, p: Any) -> tuple[jax.Array, Any]:
        adamw_scalars, nu_weight = scalars
        u, s = form.leaf(adamw_scalars, index, g, s, p)
        (_, v), _ = s
        surprise = jnp.abs(g) / one_for_zero(jnp.maximum(safe_sqrt(v / nu_weight), eps))
        rms = safe_sqrt(jnp.sum(surprise**2) / max(g.size, 1))
        return u / jnp.maximum(rms, 1), s

    made: Form = dataclasses.replace(form, prepare=prepare, leaf=leaf)
    return made


@optimizer
def stable_adamw(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-6,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 1e-2,
    mask: Mask = None,
) -> GradientTransformation:
    r"""StableAdamW: AdamW with shorter steps where gradients are larger than their second moment knows.

    Composition: `scale_by_stable_adam`, `scale_by_learning_rate`.

    A clip of the global norm is no longer needed beside it, as the authors found.

    Args:
      learning_rate: at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1); 0.99 as in optimi.
      eps: outside the root, at least 0; 1e-6 as in the paper and optimi.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: decoupled and multiplied by the learning rate, which the ratio shortens; at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.stable_adamw(1e-3, mask="*/kernel")).transforms[0]
      scale_by_stable_adam(weight_decay=0.01, mask='*/kernel')

    References:
      - Wortsman et al., Stable and low-precision training for large-scale vision-language models, 2023,
        arXiv:2304.13013.
    """
    return chain(scale_by_stable_adam(b1, b2, eps, mu_dtype, weight_decay, mask), scale_by_learning_rate(learning_rate))
