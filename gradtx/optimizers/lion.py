"""Lion: steps of one length, in the direction of a sign."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.transforms import add_decayed_weights, scale_by_learning_rate, scale_by_lion
from gradtx.typing import Decay, DTypeName, Mask, NonNegative


@optimizer
def lion(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 1e-3,
    mask: Mask = None,
) -> GradientTransformation:
    r"""Lion with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{Lion} + \lambda p)`.

    Composition: `scale_by_lion`, `add_decayed_weights`, `scale_by_learning_rate`.

    Since every element moves by the whole learning rate, the authors advise one 3 to 10 times smaller than for
    `adamw`, a weight decay as many times larger, and large batches.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.0001 in the authors' code.
      b1: decay of the average whose sign is taken, in [0, 1).
      b2: decay of the average that is kept, in [0, 1).
      mu_dtype: the dtype of the moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0; 0.001 as in Optax, 0 in the authors' code.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.lion(1e-4, mask="*/kernel")).transforms[1]
      add_decayed_weights(weight_decay=0.001, mask='*/kernel')

    References:
      - Chen et al., Symbolic discovery of optimization algorithms, 2023, arXiv:2302.06675.
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
