"""NorMuon: Muon whose neurons all move equally far."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    moving_average,
    optimizer,
    safe_sqrt,
    transformation,
    with_eps,
)
from gradtx.optimizers.matrix.batches import init_matrices, map_matrices_with
from gradtx.optimizers.matrix.choice import Matrices, check_matrices
from gradtx.optimizers.matrix.orthogonalization import orthogonalize_updates
from gradtx.optimizers.matrix.rest import matrices_and_rest
from gradtx.optimizers.matrix.shape_scaling import scale_by_shape, scale_to_rms, unit_and_rms
from gradtx.optimizers.momentum.ema import ema
from gradtx.tree.arithmetic import cast
from gradtx.typing import Decay, DTypeName, Mask, NonNegative, Params, State, Updates

Neurons = Literal["output", "longer"]
NeuronScaling = Literal["match_rms", "preserve_norm"]


class NormalizeNeuronsState(NamedTuple):
    """The state of `normalize_neurons`.

    Attributes:
      nu: for each leaf a tuple with an array [batch, neurons] for each of its matrices: the mean squares of their rows
        or columns, real, in accumulator dtype.
    """

    nu: Updates


@transformation
def normalize_neurons(
    b2: Decay = 0.95, eps: NonNegative = 1e-8, *, neurons: Neurons = "output", matrices: Matrices = None
) -> Form:
    r"""Divide the weights of each neuron by a moving root mean square of their updates; the matrix keeps its norm.

    .. math::
        v_t = \beta_2 v_{t-1} + (1-\beta_2)\, \mathrm{mean}_\text{in}\, |g_t|^2, \qquad
        d_t = \frac{g_t}{\sqrt{v_t} + \epsilon}, \qquad
        u_t = \frac{\lVert g_t \rVert_F}{\lVert d_t \rVert_F}\, d_t

    with one :math:`v` for each output. After `orthogonalize_updates`, whose rows and columns differ in length by much.

    Args:
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, at least 0.
      neurons: what has a :math:`v` of its own: each ``"output"``, or each row or column on the ``"longer"`` side.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `NormalizeNeuronsState`: 4 bytes for each neuron.

    Raises:
      TreeMismatchError: a leaf is no matrix; the message says why, and what to do.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.normalize_neurons(), jnp.array([[1.0, 0.0], [0.0, -7.0]])
      >>> print(jnp.round(tx.update(g, tx.init(g))[0], 4))
      [[ 5.  0.]
       [ 0. -5.]]

    References:
      - Li et al., NorMuon: making Muon more efficient and scalable, 2025, arXiv:2510.05491.
    """
    check_matrices(matrices)

    def axis_of_sums(x: jax.Array) -> int:
        return 2 if neurons == "longer" and x.shape[1] > x.shape[2] else 1

    def zeros(x: jax.Array) -> jax.Array:
        return jnp.zeros_like(jnp.real(x).sum(axis_of_sums(x)))

    def normalized(x: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        axis = axis_of_sums(x)
        mean_square = jnp.sum(abs_sq(x), axis) / max(x.shape[axis], 1)
        v = moving_average(cast(b2, v.dtype), v, mean_square)
        root = with_eps(safe_sqrt(v), eps if isinstance(eps, float | int) else cast(eps, v.dtype))
        direction, _ = unit_and_rms(x / jnp.expand_dims(root, axis), (1, 2))
        return direction * unit_and_rms(x, (1, 2))[1], v

    def of_all(xs: list[jax.Array], vs: list[jax.Array]) -> list[list[jax.Array]]:
        pairs = [normalized(x, v) for x, v in zip(xs, vs, strict=True)]
        return [[u for u, _ in pairs], [v for _, v in pairs]]

    def init(params: Params) -> NormalizeNeuronsState:
        return NormalizeNeuronsState(init_matrices(zeros, params, matrices))

    def update(
        updates: Updates, state: NormalizeNeuronsState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        updates, nu = map_matrices_with(of_all, updates, (state.nu,), matrices)
        return updates, NormalizeNeuronsState(nu)

    return init, update


@transformation
def scale_by_normuon(
    beta: Decay = 0.95,
    b2: Decay = 0.95,
    *,
    nesterov: bool = True,
    scaling: NeuronScaling = "match_rms",
    neurons: Neurons = "output",
    method: Any = "newton_schulz",
    steps: int = 5,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
) -> GradientTransformation:
    r"""NorMuon's direction: the momentum of a matrix, orthogonalized, and then its neurons normalized.

    Composition: `ema`, `orthogonalize_updates`, `normalize_neurons`, and `scale_to_rms` or `scale_by_shape`.

    Args:
      beta: the decay of the momentum, in [0, 1).
      b2: the decay of the mean squares of neurons, in [0, 1).
      nesterov: Nesterov's momentum, as in the authors' code; the paper has none.
      scaling: ``"match_rms"``, as in the paper: the root mean square of each matrix is 0.2. ``"preserve_norm"``, as in
        the authors' code: the norm that it had before, times :math:`\sqrt{\max(1, \text{out} / \text{in})}`.
      neurons: see `normalize_neurons`.
      method: how to orthogonalize; see `orthogonalize`.
      steps: how many iterations, at least 1.
      eps: added to the roots, at least 0.
      mu_dtype: the dtype of the momentum; at least float32 by default.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and how. See `Matrices`.

    State:
      `EmaState` and `NormalizeNeuronsState`: 4 bytes per float32 parameter, and 4 for each neuron.

    Raises:
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_normuon(method="exact"), jnp.array([[0.0, 2.0], [3.0, 0.0]])
      >>> print(jnp.round(tx.update(g, tx.init(g))[0], 4))
      [[0.     0.2828]
       [0.2828 0.    ]]

    References:
      - Li et al., NorMuon: making Muon more efficient and scalable, 2025, arXiv:2510.05491.
    """
    return chain(
        ema(beta, debias=False, accumulator_dtype=mu_dtype, nesterov=nesterov),
        orthogonalize_updates(method, steps, dtype=dtype, matrices=matrices),
        normalize_neurons(b2, eps, neurons=neurons, matrices=matrices),
        scale_to_rms(0.2, matrices) if scaling == "match_rms" else scale_by_shape("keller", matrices),
    )


@optimizer
def normuon(
    learning_rate: NonNegative,
    beta: Decay = 0.95,
    b2: Decay = 0.95,
    *,
    weight_decay: NonNegative = 0.1,
    weight_decay_mask: Mask = None,
    nesterov: bool = True,
    scaling: NeuronScaling = "match_rms",
    neurons: Neurons = "output",
    method: Any = "newton_schulz",
    steps: int = 5,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""NorMuon for the matrices of a network, and `adamw` for the rest.

    .. math::
        p \leftarrow p - \eta\,(u_t + \lambda p)

    Composition: `scale_by_normuon` with `add_decayed_weights` and `scale_by_learning_rate`, beside `adamw`. The rows of
    an orthogonalized matrix differ in length, so that some neurons move much farther than others; here all move alike.
    With the default scaling, the rate and decay are those that suit `adamw`.

    nanochat's variant has neurons on the longer side and a decay where the step agrees with the parameter:
    ``chain(scale_by_normuon(neurons="longer", scaling="preserve_norm"), add_cautious_weight_decay(0.1),
    scale_by_learning_rate(0.02))``.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      beta: the decay of the momentum, in [0, 1).
      b2: the decay of the mean squares of neurons, in [0, 1).
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      nesterov: Nesterov's momentum, as in the authors' code; the paper has none.
      scaling: ``"match_rms"`` as in the paper or ``"preserve_norm"`` as in the code; see `scale_by_normuon`.
      neurons: see `normalize_neurons`.
      method: how to orthogonalize; see `orthogonalize`.
      steps: how many iterations, at least 1.
      eps: added to the roots, at least 0.
      mu_dtype: the dtype of the momentum; at least float32 by default.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and how. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; ``adamw(learning_rate, b2=0.95, weight_decay=...)`` by
        default.

    State:
      4 bytes per float32 parameter of a matrix and 4 for each neuron, 8 per other parameter.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf and says what to declare.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((4, 8)), "bias": jnp.zeros(8)}}
      >>> tx = gradtx.normuon(1e-3)
      >>> updates, _ = tx.update(params, tx.init(params), params)

    References:
      - Li et al., NorMuon: making Muon more efficient and scalable, 2025, arXiv:2510.05491.
    """
    direction = scale_by_normuon(
        beta, b2, nesterov=nesterov, scaling=scaling, neurons=neurons, method=method, steps=steps, eps=eps,
        mu_dtype=mu_dtype, dtype=dtype, matrices=matrices,
    )  # fmt: skip
    return matrices_and_rest(direction, rest, learning_rate, weight_decay, weight_decay_mask, matrices)
