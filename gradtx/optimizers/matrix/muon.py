"""Muon: the momentum of each matrix, orthogonalized."""

from typing import Any

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer, transformation
from gradtx.optimizers.matrix.choice import Matrices
from gradtx.optimizers.matrix.orthogonalization import Preconditioning, orthogonalize_updates
from gradtx.optimizers.matrix.rest import matrices_and_rest
from gradtx.optimizers.matrix.shape_scaling import ShapeScaling, scale_by_shape
from gradtx.optimizers.momentum.ema import ema
from gradtx.typing import Decay, DTypeName, Mask, NonNegative


@transformation
def scale_by_muon(
    beta: Decay = 0.95,
    *,
    nesterov: bool = True,
    method: Any = "newton_schulz",
    steps: int = 5,
    preconditioning: Preconditioning = "frobenius",
    scaling: ShapeScaling | None = "keller",
    eps: NonNegative = 1e-7,
    bias_correction: bool = False,
    adaptive: bool = False,
    mu_dtype: DTypeName | None = None,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
) -> GradientTransformation:
    r"""Muon's direction: the moving average of the gradients of a matrix, orthogonalized.

    .. math::
        m_t = \beta\, m_{t-1} + (1-\beta)\, g_t, \qquad
        u_t = c\, \operatorname{orth}(\beta\, m_t + (1-\beta)\, g_t)

    Composition: `ema`, `orthogonalize_updates`, `scale_by_shape`. All leaves have to be matrices; `muon` has another
    optimizer for the rest. With heavy-ball momentum, ``chain(trace(0.95, nesterov=True), orthogonalize_updates())``,
    the direction is the same.

    Args:
      beta: :math:`\beta`, in [0, 1).
      nesterov: Nesterov's momentum; else :math:`m_t` is orthogonalized.
      method: how: ``"newton_schulz"``, ``"dion"``, ``"polar_express"``, ``"exact"`` or own coefficients; see
        `orthogonalize`.
      steps: how many iterations, at least 1.
      preconditioning: what the matrix is divided by first; see `orthogonalize`.
      scaling: :math:`c` by the shape; see `scale_by_shape`. ``None`` is 1.
      eps: added to the norm, at least 0.
      bias_correction: divide :math:`m` by :math:`1 - \beta^{t+1}` and :math:`g` by :math:`1 - \beta^t`, as Optax does.
        With `nesterov` it is another mixture of the two, and another direction, for some 60 steps.
      adaptive: multiply by the sum of the singular values; see `orthogonalize_updates`.
      mu_dtype: the dtype :math:`m` is stored in; at least float32 by default.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.

    State:
      `EmaState` and two empty ones: 4 bytes per float32 parameter.

    Raises:
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_muon(method="exact"), jnp.array([[0.0, 2.0], [3.0, 0.0]])
      >>> print(jnp.round(tx.update(g, tx.init(g))[0], 6))
      [[0. 1.]
       [1. 0.]]

    References:
      - Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.

    Differences from Optax: `bias_correction` is off, as in the author's code and in torch; the number of the step is
    not in the program; embeddings and heads are no matrices; matrices of one shape are computed together.
    """
    return chain(
        ema(beta, debias=bias_correction, accumulator_dtype=mu_dtype, nesterov=nesterov),
        orthogonalize_updates(
            method, steps, preconditioning=preconditioning, eps=eps, dtype=dtype, adaptive=adaptive, matrices=matrices
        ),
        *([scale_by_shape(scaling, matrices)] if scaling else []),
    )


@optimizer
def muon(
    learning_rate: NonNegative,
    beta: Decay = 0.95,
    *,
    weight_decay: NonNegative = 0.1,
    weight_decay_mask: Mask = None,
    scaling: ShapeScaling | None = "match_rms",
    nesterov: bool = True,
    method: Any = "newton_schulz",
    steps: int = 5,
    preconditioning: Preconditioning = "frobenius",
    eps: NonNegative = 1e-7,
    bias_correction: bool = False,
    adaptive: bool = False,
    mu_dtype: DTypeName | None = None,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""Muon for the matrices of a network, and `adamw` for the rest.

    .. math::
        p \leftarrow p - \eta\,(u_t + \lambda p)

    With the default `scaling`, both take the rate and the decay that suit `adamw`. With ``"keller"`` the rate is one of
    Muon's own, such as 0.02, and the rest needs another:
    ``muon(0.02, scaling="keller", weight_decay=0, rest=adamw(3e-4, b2=0.95))``.

    Embeddings, output heads, biases and the scales of norms are not matrices, by their names in Flax, Equinox and
    Haiku; ``describe(muon(...), params)`` says of each leaf what it was taken for. A leaf that has the shape of an
    embedding and no such name is warned of by ``init``.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      beta: the decay of the momentum, in [0, 1).
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      scaling: how long the steps are by the shape; see `scale_by_shape`.
      nesterov: Nesterov's momentum.
      method: how to orthogonalize; see `orthogonalize`.
      steps: how many iterations, at least 1.
      preconditioning: see `orthogonalize`.
      eps: added to the norm, at least 0.
      bias_correction: Optax's momentum; see `scale_by_muon`.
      adaptive: see `orthogonalize_updates`.
      mu_dtype: the dtype of the momentum; at least float32 by default.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; ``adamw(learning_rate, b2=0.95, weight_decay=...)`` by
        default.

    State:
      4 bytes per float32 parameter of a matrix, 8 per other one.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf and says what to declare.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((4, 8)), "bias": jnp.zeros(8)}}
      >>> tx = gradtx.muon(1e-3, matrices={"*/kernel": "in out"})
      >>> updates, _ = tx.update(params, tx.init(params), params)

    References:
      - Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
      - Liu et al., Muon is scalable for LLM training, 2025, arXiv:2502.16982.

    Differences from Optax: the default scale is Moonlight's, embeddings and heads are not matrices, and the momentum is
    the author's (`bias_correction`).
    """
    direction = scale_by_muon(
        beta, nesterov=nesterov, method=method, steps=steps, preconditioning=preconditioning, scaling=scaling, eps=eps,
        bias_correction=bias_correction, adaptive=adaptive, mu_dtype=mu_dtype, dtype=dtype, matrices=matrices,
    )  # fmt: skip
    return matrices_and_rest(direction, rest, learning_rate, weight_decay, weight_decay_mask, matrices)
