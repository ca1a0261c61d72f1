"""SPlus: the signs of the momentum of a matrix in the eigenbases of its second moments."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    cond,
    increment,
    moving_average,
    one_for_zero,
    optimizer,
    transformation,
    zero_count,
)
from gradtx.core.control import is_due
from gradtx.gradients import add_decayed_weights, scale, scale_by_learning_rate
from gradtx.optimizers.matrix.batches import init_matrices, map_matrices_with
from gradtx.optimizers.matrix.choice import Matrices, check_matrices
from gradtx.optimizers.matrix.rest import in_two_groups
from gradtx.optimizers.matrix.shape_scaling import scale_by_shape
from gradtx.optimizers.matrix.sides import (
    Sides,
    adjoints,
    between,
    each_side,
    full_sides,
    map_sides,
    second_moments,
)
from gradtx.optimizers.momentum.ema import ema
from gradtx.optimizers.momentum.sign import scale_by_sign
from gradtx.tree.mapping import numbers_beside
from gradtx.typing import AtLeastOne, Count, Decay, Mask, NonNegative, Params, State, Updates


class ScaleBySplusState(NamedTuple):
    """The state of `scale_by_splus`. At each leaf stands a tuple with an entry for each of its matrices.

    Attributes:
      count: the number of updates, int32 [].
      failures: how often a new basis was not finite, and the last one was kept, int32 [].
      mu: the momentum [batch, inputs, outputs], in accumulator dtype.
      factors: the second moments of rows and columns, `Sides`.
      bases: their eigenvectors in columns, `Sides`; in the beginning the identity.
    """

    count: Count
    failures: Count
    mu: Updates
    factors: Updates
    bases: Updates


@transformation
def scale_by_splus(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    *,
    inverse_every: AtLeastOne = 100,
    max_dim: int = 10_000,
    matrices: Matrices = None,
) -> Form:
    r"""Replace matrices by the signs of their momentum in the eigenbases of their second moments.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, G_t, \qquad
        u_t = Q_L \operatorname{sign}(Q_L^\top m_t\, Q_R)\, Q_R^\top

    .. math::
        L_t = \beta_2 L_{t-1} + (1-\beta_2)\, G_t G_t^\top, \qquad
        R_t = \beta_2 R_{t-1} + (1-\beta_2)\, G_t^\top G_t

    where :math:`Q_L` and :math:`Q_R` are the eigenvectors of :math:`L` and :math:`R` after the first step and after
    every k-th; the first step is that of the sign. All updates have the root mean square 1, however old the bases are:
    that is what lets k be large.

    Elements that are no more than rounding errors of the largest one have the sign 0. Eigenvectors of the eigenvalue 0
    are any basis of what no gradient was in so far; where the next ones are, they make steps of full length, which on
    another machine may have other directions.

    Inside `jax.vmap` over states, the bases are computed at every step, as a condition is a selection there. They are
    constants to derivatives, and the sign has the derivative zero.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      inverse_every: k, at least 1.
      max_dim: a longer side keeps the basis of the identity.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `ScaleBySplusState`: 4 bytes per float32 parameter, :math:`8 (m^2 + n^2)` for each m x n matrix, and two counters.

    Raises:
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_splus(), jnp.array([[3.0, 4.0]])
      >>> first, state = tx.update(g, tx.init(g))
      >>> second, _ = tx.update(g, state)
      >>> print(first, jnp.round(second, 2))
      [[1. 1.]] [[0.6 0.8]]

    References:
      - Frans, Levine, Abbeel, A stable whitening optimizer for efficient neural network training, 2025,
        arXiv:2506.07254.

    Differences from the authors' code: rounding errors have no sign; a basis that is not finite is not used.
    """
    check_matrices(matrices)

    def init(params: Params) -> ScaleBySplusState:
        mu = init_matrices(jnp.zeros_like, params, matrices)
        factors = init_matrices(lambda x: full_sides(x, 0.0, max_dim), params, matrices)
        bases = init_matrices(lambda x: full_sides(x, 1.0, max_dim), params, matrices)
        return ScaleBySplusState(zero_count(), zero_count(), mu, factors, bases)

    def update(
        updates: Updates, state: ScaleBySplusState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        # The bases after a step are computed at the beginning of the next one, with the same result.
        due = (state.count == 1) | ((state.count > 0) & is_due(state.count, 0, inverse_every))
        failures = [state.failures]

        def of_all(gs: list[Any], mu: list[Any], factors: list[Sides], bases: list[Sides]) -> list[list[Any]]:
            bases, failed = _refreshed(due, factors, bases, failures[-1])
            failures.append(failed)
            # A number that comes out of the condition: without it XLA does not know that the condition reads the
            # factors before they are overwritten, and copies them in each step.
            after = jnp.where(failed >= 0, b2, 0.0)
            made = [
                _step(*row, **numbers_beside((row[0],), {"b1": b1, "b2": after}))
                for row in zip(gs, mu, factors, bases, strict=True)
            ]
            return [*([row[k] for row in made] for k in range(3)), bases]

        updates, *fields = map_matrices_with(of_all, updates, (state.mu, state.factors, state.bases), matrices)
        return updates, ScaleBySplusState(increment(state.count), failures[-1], *fields)

    return init, update


def _step(
    g: jax.Array, m: jax.Array, factors: Sides, basis: Sides, *, b1: Any, b2: Any
) -> tuple[jax.Array, jax.Array, Sides]:
    """The update of a matrix, its momentum and its factors."""
    m = moving_average(b1, m, g)
    inverse = adjoints(basis)
    turned = between(Sides(inverse.left, basis.right), m)
    u = between(Sides(basis.left, inverse.right), _signs(turned))
    return u, m, map_sides(functools.partial(moving_average, b2), factors, second_moments(g))


def _signs(x: jax.Array) -> jax.Array:
    """The signs of elements; 0 for those that are rounding errors of the largest one."""
    size = jnp.abs(x)
    floor = np.finfo(size.dtype).eps * max(x.shape[1:]) * jnp.max(size, axis=(1, 2), keepdims=True, initial=0)
    return jnp.where(size > floor, jnp.sign(x), 0)


def _refreshed(
    due: jax.Array, factors: list[Sides], bases: list[Sides], failures: jax.Array
) -> tuple[list[Sides], jax.Array]:
    """The eigenvectors of factors, if it is time, and how often they were not finite."""
    if not jax.tree.leaves(bases):
        return bases, failures

    def compute(bases: list[Sides], failures: jax.Array) -> tuple[list[Sides], jax.Array]:
        made, failed = each_side(_eigenvectors, bases, factors)
        return made, failures + sum(jnp.sum(x, dtype=jnp.int32) for x in jax.tree.leaves(failed))

    return cond(due, compute, lambda *same: same, bases, failures)


@jax.jit
def _eigenvectors(last: jax.Array, factor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The eigenvectors of factors in columns, or the last ones where they are not finite; and where that was so."""
    factor = jax.lax.stop_gradient(factor)
    largest = jnp.max(jnp.abs(factor), axis=(1, 2), keepdims=True, initial=0)
    new = jnp.linalg.eigh(factor / one_for_zero(largest))[1]
    good = jnp.all(jnp.isfinite(new), axis=(1, 2), keepdims=True)
    return jnp.where(good, new, last), ~good[:, 0, 0]


@optimizer
def splus(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    *,
    weight_decay: NonNegative = 0.01,
    weight_decay_mask: Mask = None,
    inverse_every: AtLeastOne = 100,
    max_dim: int = 10_000,
    nonstandard_constant: NonNegative = 0.001,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""SPlus for the matrices of a network, and the sign of the momentum for the rest.

    .. math::
        p \leftarrow p - \eta\, c\,(u_\text{SPlus} + \lambda p), \qquad c = \frac{2}{\text{in} + \text{out}}

    Composition, of matrices: `scale_by_splus`, `add_decayed_weights`, `scale_by_shape`, `scale_by_learning_rate`; of
    the rest: `ema`, `scale_by_sign`, `add_decayed_weights`, with a small constant for c.

    The authors evaluate a moving average of the params, which lets the rate stay constant:
    ``ema_params(splus(0.1), 0.999)``, and `averaged_params`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.1 in the paper.
      b1: decay of the momentum, in [0, 1).
      b2: decay of the second moments, in [0, 1).
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      inverse_every: the steps between two computations of bases, at least 1.
      max_dim: a longer side keeps the basis of the identity.
      nonstandard_constant: :math:`c` of the rest, at least 0.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate.

    State:
      4 bytes per float32 parameter, and :math:`8 (m^2 + n^2)` for each m x n matrix.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf and says what to declare.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((4, 8)), "bias": jnp.zeros(8)}}
      >>> tx = gradtx.ema_params(gradtx.splus(0.1), 0.999)
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> print(updates["dense"]["kernel"][0, 0])
      -0.016833333

    References:
      - Frans, Levine, Abbeel, A stable whitening optimizer for efficient neural network training, 2025,
        arXiv:2506.07254.

    Differences from the authors' code: the factor is the paper's, where their torch version has a fourth of it; a
    matrix with a side above `max_dim` has it too; the decay is that of the params before the step.
    """
    direction = scale_by_splus(b1, b2, inverse_every=inverse_every, max_dim=max_dim, matrices=matrices)
    rate = scale_by_learning_rate(learning_rate)

    def make(mask: Mask) -> tuple[GradientTransformation, GradientTransformation]:
        decay = add_decayed_weights(weight_decay, mask)
        of_matrices = chain(direction, decay, scale_by_shape("inverse_mean", matrices), rate)
        signs = chain(ema(b1, debias=False), scale_by_sign(), decay, scale(nonstandard_constant), rate)
        return of_matrices, rest or signs

    return in_two_groups(make, weight_decay_mask, matrices)
