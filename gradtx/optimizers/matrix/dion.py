"""Dion: Muon of low rank, by one step of a power iteration and an error that is fed back."""

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, optimizer, transformation
from gradtx.errors import ArgumentValueError
from gradtx.optimizers.matrix.batches import in_equal_batches, init_matrices, map_matrices, map_matrices_with
from gradtx.optimizers.matrix.choice import Matrices, check_matrices
from gradtx.optimizers.matrix.rest import matrices_and_rest
from gradtx.optimizers.matrix.shape_scaling import ShapeScaling, scale_by_shape, unit_and_rms
from gradtx.tree.arithmetic import cast
from gradtx.tree.paths import is_inert, is_none
from gradtx.typing import Decay, Mask, NonNegative, Params, State, Updates


class ScaleByDionState(NamedTuple):
    """The state of `scale_by_dion`.

    Attributes:
      mu: the momentum, which has in it what no step has gone yet, like the params, in accumulator dtype.
      basis: for each leaf a tuple with an array [batch, inputs, rank] for each of its matrices: directions among the
        inputs, as columns.
    """

    mu: Updates
    basis: Updates


@transformation
def scale_by_dion(rank: int = 128, beta: Decay = 0.95, *, seed: int = 0, matrices: Matrices = None) -> Form:
    r"""Orthogonalize the part of low rank of the momentum, and leave the rest in it.

    .. math::
        \begin{aligned}
        B &= M_{t-1} + g_t, & P &= \operatorname{orth}(B^\top Q_{t-1}), & R &= B P, \\
        M_t &= B - (1-\beta)\, R P^\top, & Q_t &= \operatorname{columns}(R), & u_t &= Q_t P^\top
        \end{aligned}

    for matrices [inputs, outputs], where orth is by a QR decomposition, and each column of :math:`R` is divided by its
    norm. It costs :math:`2 r (\text{in} + \text{out}) r + 6\, \text{in}\, \text{out}\, r` operations, fewer than `muon`
    for small ranks; what is lost of the gradient is only put off: it stays in the momentum.

    A direction in which the momentum is as good as zero makes no step, and keeps its column of :math:`Q`.

    Args:
      rank: :math:`r`, at least 1, and at most the shorter side of each matrix; a fourth to a sixteenth of the width in
        the paper.
      beta: :math:`\beta`, in [0, 1): how much of the part that made the step stays in the momentum.
      seed: of the first, random, :math:`Q`; the same numbers on every host.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `ScaleByDionState`: 4 bytes per float32 parameter, and 4 r for each input.

    Raises:
      ArgumentValueError: the rank is less than 1.
      TreeMismatchError: a leaf is no matrix; the message says why, and what to do.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_dion(rank=1), jnp.array([[3.0, 0.0], [0.0, 0.0]])
      >>> u, state = tx.update(g, tx.init(g))
      >>> print(jnp.round(u, 3) + 0.0, round(float(state.mu[0, 0]), 3))
      [[1. 0.]
       [0. 0.]] 2.85

    References:
      - Ahn et al., Dion: distributed orthonormalized updates, 2025, arXiv:2504.05295.
    """
    check_matrices(matrices)
    if rank < 1:
        raise ArgumentValueError("rank to be at least 1", got=str(rank))

    def init(params: Params) -> ScaleByDionState:
        keys = (jax.random.fold_in(jax.random.key(seed), i) for i in itertools.count())

        def draw(x: jax.Array) -> jax.Array:
            batch, inputs, outputs = x.shape
            shape = (batch, inputs, min(rank, inputs, outputs))
            return cast(jax.random.normal(next(keys), shape, jnp.real(x).dtype), x.dtype)

        return ScaleByDionState(tree.zeros_accumulator(params), init_matrices(draw, params, matrices))

    def stepped(b: jax.Array, q: jax.Array) -> tuple[jax.Array, ...]:
        # The basis is taken for a constant: the derivative of a decomposition is infinite where singular values agree.
        of_outputs = jax.lax.stop_gradient(_orthonormal(_product(unit_and_rms(b, (1, 2))[0].mT.conj(), q)))
        r = _product(b, of_outputs)
        unit, length = unit_and_rms(r, (1,))
        floor = np.finfo(length.dtype).eps * max(b.shape[1:]) * jnp.max(length, -1, keepdims=True, initial=0)
        found = length > floor  # beyond the rank of b, columns are made of rounding errors
        columns = jnp.where(found, unit / math.sqrt(max(b.shape[1], 1)), 0)
        adjoint = of_outputs.mT.conj()
        left = b - cast(1 - beta, length.dtype) * _product(r, adjoint)
        return _product(columns, adjoint), left, jnp.where(found, columns, q)

    def update(
        updates: Updates, state: ScaleByDionState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        _, mu = tree.map_leaves(lambda g, m: (g, m + g), updates, state.mu)
        present = jax.tree.map(lambda g, m: None if is_inert(g) else m, updates, mu, is_leaf=is_none)
        left: list[jax.Array] = []

        def of_all(bs: list[jax.Array], qs: list[jax.Array]) -> list[list[jax.Array]]:
            if not bs:
                return [[], []]
            steps, rest, qs = in_equal_batches(stepped, bs, qs)
            left.extend(rest)
            return [steps, qs]

        steps, basis = map_matrices_with(of_all, present, (state.basis,), matrices)
        rest = map_matrices(lambda _: left, present, matrices)
        mu = jax.tree.map(lambda x, m: m if x is None else x, rest, mu, is_leaf=is_none)
        return tree.map_leaves(lambda _, u: u, updates, read=(steps,)), ScaleByDionState(mu, basis)

    return init, update


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """In full precision: what is left in the momentum is a difference of nearly equal numbers."""
    return jnp.matmul(a, b, precision="highest")


def _orthonormal(x: jax.Array) -> jax.Array:
    """Orthonormal columns that span those of x."""
    return jnp.linalg.qr(x)[0]


@optimizer
def dion(
    learning_rate: NonNegative,
    rank: int = 128,
    beta: Decay = 0.95,
    *,
    weight_decay: NonNegative = 0.1,
    weight_decay_mask: Mask = None,
    scaling: ShapeScaling | None = "spectral",
    seed: int = 0,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""Dion for the matrices of a network, and `adamw` for the rest.

    .. math::
        p \leftarrow p - \eta\,(\sqrt{\text{out} / \text{in}}\; u_t + \lambda p)

    Composition: `scale_by_dion`, `scale_by_shape`, `add_decayed_weights` and `scale_by_learning_rate`, beside `adamw`.
    Where all singular values of the momentum would be brought to 1 by `muon`, those of the first `rank` directions are,
    and one rank-r product for each step is all that devices have to exchange. The rate is one of its own, such as 0.01,
    and seldom that of the rest: ``rest=adamw(3e-4, b2=0.95)``.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      rank: how many directions a step has, at least 1; see `scale_by_dion`.
      beta: the decay of the momentum, in [0, 1).
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      scaling: how long the steps are by the shape; see `scale_by_shape`.
      seed: of the first directions.
      matrices: which leaves are matrices, and how. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; ``adamw(learning_rate, b2=0.95, weight_decay=...)`` by
        default.

    State:
      4 bytes per float32 parameter of a matrix and 4 r for each input, 8 per other parameter.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf and says what to declare.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((4, 8)), "bias": jnp.zeros(8)}}
      >>> tx = gradtx.dion(0.01, rank=2)
      >>> updates, _ = tx.update(params, tx.init(params), params)

    References:
      - Ahn et al., Dion: distributed orthonormalized updates, 2025, arXiv:2504.05295.
    """
    direction = scale_by_dion(rank, beta, seed=seed, matrices=matrices)
    if scaling:
        direction = chain(direction, scale_by_shape(scaling, matrices))
    return matrices_and_rest(direction, rest, learning_rate, weight_decay, weight_decay_mask, matrices)
