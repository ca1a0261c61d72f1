"""LAMB: Adam whose updates are as long as the parameters of their layer."""

from gradtx.combinators import chain, masked
from gradtx.core import GradientTransformation, optimizer
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam import scale_by_adam
from gradtx.optimizers.layerwise.trust_ratio import scale_by_trust_ratio
from gradtx.typing import Decay, Mask, NonNegative, Positive


@optimizer
def lamb(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
    *,
    bias_correction: bool = True,
    max_norm: Positive | None = None,
    trust_ratio_mask: Mask = None,
) -> GradientTransformation:
    r"""LAMB: Adam, with decay, of which each layer gets a step as long as a part of its parameters.

    .. math::
        r = u_\text{Adam} + \lambda p, \qquad
        p \leftarrow p - \eta\, \frac{\phi(\lVert p \rVert_2)}{\lVert r \rVert_2}\, r, \qquad
        \phi(x) = \min(x, \text{max\_norm})

    Composition: `scale_by_adam`, `add_decayed_weights`, `scale_by_trust_ratio`, `scale_by_learning_rate`.

    The learning rate is the fraction of its length that a layer moves in one step. Where the parameters or the update
    are all 0, the step is that of Adam. The third version of the paper and the authors' code correct no bias and bound
    the norm: ``lamb(rate, bias_correction=False, max_norm=10.0)``. Without decay the correction matters to eps alone,
    as the ratio cancels what is common to all elements. NVIDIA's code clips the gradients first:
    ``chain(clip_by_global_norm(1.0), lamb(rate))``.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in most codes.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      weight_decay: :math:`\lambda`, at least 0; 0.01 in the paper.
      mask: the leaves to decay, as in `add_decayed_weights`.
      bias_correction: correct the bias of Adam's moments.
      max_norm: what the norm of a layer is taken to be at most, above 0; ``None`` for no bound.
      trust_ratio_mask: the leaves whose steps are as long as they are; the others take Adam's. In practice biases and
        the scales of norms are left out of both masks.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.lamb(0.1), jnp.array([3.0, 4.0])
      >>> updates, state = tx.update(jnp.array([1.0, -1.0]), tx.init(params), params)
      >>> jnp.linalg.norm(updates)
      Array(0.5, dtype=float32)

    References:
      - You et al., Large batch optimization for deep learning: training BERT in 76 minutes, 2020, arXiv:1904.00962.

    Differences from Optax: `bias_correction`, `max_norm` and `trust_ratio_mask` are arguments.
    """
    ratio = scale_by_trust_ratio(max_norm=max_norm)
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, bias_correction=bias_correction),
        add_decayed_weights(weight_decay, mask),
        ratio if trust_ratio_mask is None else masked(ratio, trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
    )
