"""Gradient descent, with and without momentum."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.transforms import scale_by_learning_rate, trace
from gradtx.typing import DTypeName, Fraction, NonNegative


@optimizer
def sgd(
    learning_rate: NonNegative,
    momentum: Fraction | None = None,
    nesterov: bool = False,
    accumulator_dtype: DTypeName | None = None,
) -> GradientTransformation:
    r"""Gradient descent: :math:`p \leftarrow p - \eta\, g`, or with momentum :math:`p \leftarrow p - \eta\, m`.

    Composition: `trace` (if there is a momentum), `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      momentum: :math:`\mu` of `trace`, in [0, 1]; ``None`` keeps no momentum and no state.
      nesterov: Nesterov's momentum.
      accumulator_dtype: the dtype of the momentum; at least float32 by default.

    State:
      With momentum 4 bytes per float32 parameter, otherwise none.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.sgd(0.1, momentum=0.9))
      chain(trace(decay=0.9), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Robbins, Monro, A stochastic approximation method, 1951.
      - Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013.
    """
    step = scale_by_learning_rate(learning_rate)
    if momentum is None:
        return step
    return chain(trace(momentum, nesterov, accumulator_dtype), step)
