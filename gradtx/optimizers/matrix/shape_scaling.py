"""How long a step a matrix takes, by its shape or by its root mean square."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gradtx.core import Form, abs_sq, one_for_zero, safe_sqrt, transformation
from gradtx.optimizers.matrix.batches import map_matrices
from gradtx.optimizers.matrix.choice import Matrices, check_matrices, choose_matrices
from gradtx.tree.arithmetic import cast
from gradtx.typing import EmptyState, NonNegative, Params, State, Updates

ShapeScaling = Literal["keller", "match_rms", "spectral", "inverse_mean"]


def shape_factor(scaling: ShapeScaling | None, inputs: int, outputs: int) -> float:
    """The factor for a matrix of so many inputs and outputs; see `scale_by_shape`."""
    if scaling == "keller":
        return float(max(1.0, outputs / inputs) ** 0.5) if inputs else 1.0
    if scaling == "match_rms":
        return float(0.2 * max(inputs, outputs) ** 0.5)
    if scaling == "spectral":
        return float((outputs / inputs) ** 0.5) if inputs else 1.0
    if scaling == "inverse_mean":
        return 2.0 / max(inputs + outputs, 1)
    return 1.0


@transformation
def scale_by_shape(scaling: ShapeScaling = "keller", matrices: Matrices = None) -> Form:
    r"""Multiply each matrix by a factor of its numbers of inputs and outputs.

    .. math::
        \begin{aligned}
        &\sqrt{\max(1, \text{out} / \text{in})} && \text{keller} \\
        &0.2 \sqrt{\max(\text{in}, \text{out})} && \text{match\_rms} \\
        &\sqrt{\text{out} / \text{in}} && \text{spectral} \\
        &2 / (\text{in} + \text{out}) && \text{inverse\_mean}
        \end{aligned}

    Args:
      scaling: ``"keller"`` is that of Muon's author; ``"match_rms"`` gives orthogonal matrices elements as large as
        those of Adam's updates, so that Adam's rate and decay serve (Moonlight, arXiv:2502.16982); ``"spectral"`` lets
        the features change alike at every width (spectral muP, arXiv:2310.17813); ``"inverse_mean"`` is for updates
        whose elements are 1 at every width, as those of `scale_by_splus`.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      Empty.

    Raises:
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_shape("keller"), jnp.ones((1, 4))
      >>> tx.update(g, tx.init(g))[0]
      Array([[2., 2., 2., 2.]], dtype=float32)

    References:
      - Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
      - Liu et al., Muon is scalable for LLM training, 2025, arXiv:2502.16982.
      - Yang, Simon, Bernstein, A spectral condition for feature learning, 2023, arXiv:2310.17813.
    """
    check_matrices(matrices)

    def scaled(x: jax.Array) -> jax.Array:
        return shape_factor(scaling, *x.shape[1:]) * x

    def init(params: Params) -> EmptyState:
        choose_matrices(matrices, params)
        return EmptyState()

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        return map_matrices(lambda xs: [scaled(x) for x in xs], updates, matrices), state

    return init, update


def unit_and_rms(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """An array with the root mean square 1 along some axes, and the one that it had. Zero stays zero.

    It is divided by its largest element first: squares of 1e-30 or 1e30 are no floats.
    """
    largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True, initial=0)
    largest = jax.lax.stop_gradient(jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1))
    x = x / largest
    count = max(math.prod(x.shape[axis] for axis in axes), 1)
    rms = safe_sqrt(jnp.sum(abs_sq(x), axis=axes, keepdims=True) / count)
    return x / one_for_zero(rms), largest * rms


@transformation
def scale_to_rms(rms: NonNegative = 0.2, matrices: Matrices = None) -> Form:
    r"""Give each matrix the same root mean square: :math:`u = c\, g / \mathrm{RMS}(g)`. Zero stays zero.

    Updates of Adam have one of 0.2 to 0.4 in training: after this with 0.2, its rates and decays serve.

    Args:
      rms: :math:`c`, at least 0.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      Empty.

    Raises:
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_to_rms(0.5), jnp.array([[3.0, -3.0]])
      >>> tx.update(g, tx.init(g))[0]
      Array([[ 0.5, -0.5]], dtype=float32)

    References:
      - Liu et al., Muon is scalable for LLM training, 2025, arXiv:2502.16982.
    """
    check_matrices(matrices)

    def scaled(x: jax.Array) -> jax.Array:
        unit, before = unit_and_rms(x, (1, 2))
        return cast(rms, before.dtype) * unit

    def init(params: Params) -> EmptyState:
        choose_matrices(matrices, params)
        return EmptyState()

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        return map_matrices(lambda xs: [scaled(x) for x in xs], updates, matrices), state

    return init, update
