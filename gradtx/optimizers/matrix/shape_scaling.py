"""How long a step a matrix takes, by its shape."""

from typing import Any, Literal

import jax

from gradtx.core import Form, transformation
from gradtx.optimizers.matrix.layout import Matrices, check_matrices, choose_matrices, map_matrices
from gradtx.typing import EmptyState, Params, State, Updates

ShapeScaling = Literal["keller", "match_rms", "spectral"]


def shape_factor(scaling: ShapeScaling | None, inputs: int, outputs: int) -> float:
    """The factor for a matrix of so many inputs and outputs; see `scale_by_shape`."""
    if scaling == "keller":
        return float(max(1.0, outputs / inputs) ** 0.5) if inputs else 1.0
    if scaling == "match_rms":
        return float(0.2 * max(inputs, outputs) ** 0.5)
    if scaling == "spectral":
        return float((outputs / inputs) ** 0.5) if inputs else 1.0
    return 1.0


@transformation
def scale_by_shape(scaling: ShapeScaling = "keller", matrices: Matrices = None) -> Form:
    r"""Multiply each matrix by a factor of its numbers of inputs and outputs.

    .. math::
        \begin{aligned}
        &\sqrt{\max(1, \text{out} / \text{in})} && \text{keller} \\
        &0.2 \sqrt{\max(\text{in}, \text{out})} && \text{match\_rms} \\
        &\sqrt{\text{out} / \text{in}} && \text{spectral}
        \end{aligned}

    Args:
      scaling: ``"keller"`` is that of Muon's author; ``"match_rms"`` gives orthogonal matrices elements as large as
        those of Adam's updates, so that Adam's rate and decay serve (Moonlight, arXiv:2502.16982); ``"spectral"`` lets
        the features change alike at every width (spectral muP, arXiv:2310.17813).
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
