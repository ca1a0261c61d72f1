"""AdaMuon: Muon with the second moment of Adam."""

from typing import Any

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer, transformation
from gradtx.optimizers.adaptive.rmsprop import scale_by_rms
from gradtx.optimizers.matrix.choice import Matrices
from gradtx.optimizers.matrix.orthogonalization import orthogonalize_updates
from gradtx.optimizers.matrix.rest import matrices_and_rest
from gradtx.optimizers.matrix.shape_scaling import scale_to_rms
from gradtx.optimizers.momentum.ema import ema
from gradtx.optimizers.momentum.sign import scale_by_sign
from gradtx.typing import Decay, DTypeName, Mask, NonNegative


@transformation
def scale_by_adamuon(
    beta: Decay = 0.95,
    b2: Decay = 0.95,
    *,
    nesterov: bool = False,
    method: Any = "newton_schulz",
    steps: int = 5,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
) -> GradientTransformation:
    r"""AdaMuon's direction: the signs of the momentum, orthogonalized, and divided by the roots of their mean squares.

    .. math::
        \begin{aligned}
        m_t &= \beta\, m_{t-1} + (1-\beta)\, g_t, & o_t &= \operatorname{orth}(\operatorname{sign}(m_t)), \\
        v_t &= \beta_2 v_{t-1} + (1-\beta_2)\, |o_t|^2, &
        u_t &= 0.2\, \frac{d_t}{\mathrm{RMS}(d_t)}, \quad d_t = \frac{o_t}{\sqrt{v_t} + \epsilon}
        \end{aligned}

    Composition: `ema`, `scale_by_sign`, `orthogonalize_updates`, `scale_by_rms`, `scale_to_rms`. The first version of
    the paper has no sign, and steps :math:`0.2 \sqrt{\min(\text{in}, \text{out})}\, d_t`. Its direction is that of
    ``chain(ema(0.95, debias=False), orthogonalize_updates(), scale_by_rms(0.95, eps_in_sqrt=False))``.

    Args:
      beta: :math:`\beta`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      nesterov: Nesterov's momentum in place of :math:`m_t`.
      method: how to orthogonalize; see `orthogonalize`.
      steps: how many iterations, at least 1.
      eps: :math:`\epsilon`, at least 0.
      mu_dtype: the dtype of the momentum; at least float32 by default.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `EmaState` and `ScaleByRmsState`: 8 bytes per float32 parameter.

    Raises:
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_adamuon(method="exact"), jnp.array([[0.0, 2.0], [3.0, 0.0]])
      >>> print(jnp.round(tx.update(g, tx.init(g))[0], 4))
      [[0.     0.2828]
       [0.2828 0.    ]]

    References:
      - Si et al., AdaMuon: adaptive Muon optimizer, 2025, arXiv:2507.11005.
    """
    return chain(
        ema(beta, debias=False, accumulator_dtype=mu_dtype, nesterov=nesterov),
        scale_by_sign(),
        orthogonalize_updates(method, steps, dtype=dtype, matrices=matrices),
        scale_by_rms(b2, eps, eps_in_sqrt=False),
        scale_to_rms(0.2, matrices),
    )


@optimizer
def adamuon(
    learning_rate: NonNegative,
    beta: Decay = 0.95,
    b2: Decay = 0.95,
    *,
    weight_decay: NonNegative = 0.1,
    weight_decay_mask: Mask = None,
    nesterov: bool = False,
    method: Any = "newton_schulz",
    steps: int = 5,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""AdaMuon for the matrices of a network, and `adamw` for the rest.

    .. math::
        p \leftarrow p - \eta\,(u_t + \lambda p)

    Composition: `scale_by_adamuon` with `add_decayed_weights` and `scale_by_learning_rate`, beside `adamw`. The rate
    and decay are those that suit `adamw`.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      beta: the decay of the momentum, in [0, 1).
      b2: the decay of the second moment, in [0, 1).
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      nesterov: Nesterov's momentum.
      method: how to orthogonalize; see `orthogonalize`.
      steps: how many iterations, at least 1.
      eps: added to the roots of the second moment, at least 0.
      mu_dtype: the dtype of the momentum; at least float32 by default.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and how. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; ``adamw(learning_rate, b2=0.95, weight_decay=...)`` by
        default.

    State:
      8 bytes per float32 parameter.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf and says what to declare.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((4, 8)), "bias": jnp.zeros(8)}}
      >>> tx = gradtx.adamuon(1e-3)
      >>> updates, _ = tx.update(params, tx.init(params), params)

    References:
      - Si et al., AdaMuon: adaptive Muon optimizer, 2025, arXiv:2507.11005.
    """
    direction = scale_by_adamuon(
        beta, b2, nesterov=nesterov, method=method, steps=steps, eps=eps, mu_dtype=mu_dtype, dtype=dtype,
        matrices=matrices,
    )  # fmt: skip
    return matrices_and_rest(direction, rest, learning_rate, weight_decay, weight_decay_mask, matrices)
