"""Sophia as a whole optimizer."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.evaluations import hutchinson_diagonal, scale_by_sophia
from gradtx.transforms import add_decayed_weights, scale_by_learning_rate
from gradtx.typing import AtLeastOne, Decay, DTypeName, Mask, NonNegative, Positive


@optimizer
def sophia(
    learning_rate: NonNegative,
    b1: Decay = 0.965,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-4,
    weight_decay_mask: Mask = None,
    gamma: NonNegative = 0.01,
    clip_threshold: Positive | None = 1.0,
    update_interval: AtLeastOne = 10,
    hessian_diagonal_fn: GradientTransformation = hutchinson_diagonal(),  # noqa: B008  a value, which never changes
    mu_dtype: DTypeName | None = None,
    *,
    bias_correction: bool = True,
) -> GradientTransformation:
    r"""Sophia: momentum divided by an estimate of the Hessian's diagonal, clipped, with decoupled weight decay.

    Composition: `scale_by_sophia`, `add_decayed_weights`, `scale_by_learning_rate`.

    Its steps need ``key`` and one of ``grad_fn``, ``value_fn`` and ``value_and_grad_fn``.

    Args:
      learning_rate: at least 0; the authors advise about that of AdamW.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the Hessian's diagonal, in [0, 1), for each estimate.
      eps: the least denominator, at least 0.
      weight_decay: decoupled weight decay, at least 0; 0.2 in the authors' advice.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      gamma: the factor of the Hessian's diagonal, at least 0; to be tuned for a ``win_rate`` of 0.1 to 0.5.
      clip_threshold: the largest element of a step before the learning rate, more than 0; ``None`` does not clip.
      update_interval: the number of steps from one estimate to the next, at least 1.
      hessian_diagonal_fn: a transformation that makes the estimate.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      bias_correction: of the first moment; ``False`` is the paper's algorithm.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, loss, params = gradtx.sophia(0.1), lambda p: jnp.sum(p**2), jnp.array([1.0, -2.0])
      >>> state = tx.init(params)
      >>> updates, state = tx.update(jax.grad(loss)(params), state, params, value_fn=loss, key=jax.random.key(0))
      >>> gradtx.apply_updates(params, updates)
      Array([ 0.89999, -1.89998], dtype=float32)

    References:
      - Liu et al., Sophia: a scalable stochastic second-order optimizer for language model pre-training, 2023,
        arXiv:2305.14342.
    """
    return chain(
        scale_by_sophia(
            b1, b2, eps, gamma, clip_threshold, update_interval, hessian_diagonal_fn, mu_dtype,
            bias_correction=bias_correction,
        ),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )  # fmt: skip
