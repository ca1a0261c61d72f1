"""AggMo: the mean of several momenta, of which each damps the oscillations of the others."""

from typing import Any, NamedTuple, TypeAlias

import jax

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, optimizer, transformation
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.gradients import scale_by_learning_rate
from gradtx.typing import DTypeName, NonNegative, Updates

Decays: TypeAlias = Any
"""Several decay factors. They are a part of the program, as which of them is 0 decides what is kept."""


class ScaleByAggmoState(NamedTuple):
    """The state of `scale_by_aggmo`.

    Attributes:
      traces: for each leaf a tuple with the running sum of each decay, in accumulator dtype (or
        ``accumulator_dtype``); None for a decay of 0, whose sum is the gradient.
    """

    traces: Updates


@transformation
def scale_by_aggmo(decays: Decays = (0.0, 0.9, 0.99), accumulator_dtype: DTypeName | None = None) -> Form:
    r"""Replace updates by the mean of several decaying sums of them: aggregated momentum.

    .. math::
        v^{(k)}_t = \beta_k v^{(k)}_{t-1} + g_t, \qquad
        u_t = \frac 1 K \sum_{k=1}^K v^{(k)}_t

    A large :math:`\beta` is fast along a valley and swings across it; a small one does not swing, and holds the other
    back. So the largest may be larger than a momentum alone: the authors take
    :math:`\beta_k = 1 - 0.1^{k-1}`, the default with three of them and ``(0.0, 0.9, 0.99, 0.999)`` with four.

    Args:
      decays: :math:`\beta_1, \dots, \beta_K`, each in [0, 1], at least one; Python numbers, no schedules.
      accumulator_dtype: the dtype the sums are stored in; at least float32 by default.

    State:
      `ScaleByAggmoState`: 4 bytes per float32 parameter for each decay but 0.

    Raises:
      ArgumentTypeError, ArgumentValueError: they are no such numbers.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_aggmo((0.0, 0.5)), jnp.array([1.0])
      >>> u, state = tx.update(g, tx.init(g))
      >>> tx.update(g, state)[0]
      Array([1.25], dtype=float32)

    References:
      - Lucas, Sun, Zemel, Grosse, Aggregated momentum: stability through passive damping, 2018, arXiv:1804.00325.

    Differences from the authors' code: none in the numbers. Optax has no AggMo.
    """
    _check_decays(decays)

    def init_leaf(p: jax.Array) -> tuple[Any, ...]:
        return tuple(tree.zeros_accumulator(p, dtype=accumulator_dtype) if b else None for b in decays)

    def leaf(g: jax.Array, traces: tuple[Any, ...]) -> tuple[Any, ...]:
        sums = [b * v + g if b else g for b, v in zip(decays, traces, strict=True)]
        mean = sum(sums[1:], sums[0]) / len(sums)
        return mean, tuple(v if b else None for b, v in zip(decays, sums, strict=True))

    return leafwise(leaf, state=ScaleByAggmoState, init_leaf=init_leaf)


def _check_decays(decays: Any) -> None:
    if not isinstance(decays, tuple | list) or not all(type(b) in (int, float) for b in decays):
        raise ArgumentTypeError("decays to be a sequence of numbers in [0, 1]", got=repr(decays))
    if not decays or not all(0 <= b <= 1 for b in decays):
        raise ArgumentValueError("decays to be at least one number in [0, 1]", got=repr(decays))


@optimizer
def aggmo(
    learning_rate: NonNegative,
    decays: Decays = (0.0, 0.9, 0.99),
    accumulator_dtype: DTypeName | None = None,
) -> GradientTransformation:
    r"""Gradient descent with aggregated momentum.

    Composition: `scale_by_aggmo`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; what gradient descent with a momentum of 0.9 takes, or somewhat more.
      decays: one for each momentum, in [0, 1].
      accumulator_dtype: the dtype of the momenta; at least float32 by default.

    State:
      8 bytes per float32 parameter; 4 for each decay but 0.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.aggmo(0.1, (0.0, 0.9)))
      chain(scale_by_aggmo(decays=(0.0, 0.9)), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Lucas, Sun, Zemel, Grosse, Aggregated momentum: stability through passive damping, 2018, arXiv:1804.00325.
    """
    return chain(scale_by_aggmo(decays, accumulator_dtype), scale_by_learning_rate(learning_rate))
