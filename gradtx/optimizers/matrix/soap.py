"""SOAP: Adam in the eigenbases of the second moments of a matrix."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import (
    Form,
    GradientTransformation,
    complement_of_power,
    cond,
    divide_by_root,
    increment,
    moving_average,
    moving_average_sq,
    optimizer,
    transformation,
    zero_count,
)
from gradtx.core.control import is_due
from gradtx.optimizers.matrix.batches import init_matrices, map_matrices_with
from gradtx.optimizers.matrix.choice import Matrices, check_matrices
from gradtx.optimizers.matrix.rest import matrices_and_rest
from gradtx.optimizers.matrix.sides import (
    Sides,
    adjoints,
    between,
    each_side,
    full_sides,
    map_sides,
    second_moments,
    turns,
)
from gradtx.tree.mapping import numbers_beside
from gradtx.typing import AtLeastOne, Count, Decay, Mask, NonNegative, Params, State, Updates

FirstStep = Literal["use", "skip"]
SoapSides = Literal["both", "shorter"]


class ScaleBySoapState(NamedTuple):
    """The state of `scale_by_soap`. At each leaf stands a tuple with an entry for each of its matrices.

    Attributes:
      count: the number of updates, int32 [].
      failures: how often a new basis was not finite, and the last one was kept, int32 [].
      mu: the first moments [batch, inputs, outputs], in the bases, in accumulator dtype.
      nu: the second moments, likewise, real.
      factors: the second moments of rows and columns, `Sides`.
      bases: their eigenvectors in columns, from the largest eigenvalue to the smallest, `Sides`.
    """

    count: Count
    failures: Count
    mu: Updates
    nu: Updates
    factors: Updates
    bases: Updates


@transformation
def scale_by_soap(
    b1: Decay = 0.95,
    b2: Decay = 0.95,
    shampoo_beta: Decay | None = None,
    eps: NonNegative = 1e-8,
    *,
    precondition_frequency: AtLeastOne = 10,
    max_precond_dim: int = 10_000,
    sides: SoapSides = "both",
    bias_correction: bool = True,
    first_step: FirstStep = "use",
    stagger: bool = False,
    matrices: Matrices = None,
) -> Form:
    r"""Rescale matrices by the SOAP rule: Adam in bases that turn slowly.

    .. math::
        L_t = \beta_3 L_{t-1} + (1-\beta_3)\, G_t G_t^\top, \qquad
        R_t = \beta_3 R_{t-1} + (1-\beta_3)\, G_t^\top G_t

    .. math::
        u_t = Q_L \operatorname{Adam}(Q_L^\top G_t\, Q_R)\, Q_R^\top

    where :math:`Q_L` and :math:`Q_R` are the eigenvectors of :math:`L` and :math:`R` after the first step; then, every
    k steps, one step of subspace iteration brings them nearer to those of the moment, :math:`Q \leftarrow
    \operatorname{qr}(L\, Q)`, in the order of their eigenvalues. The first moment turns with the bases; the second
    cannot be turned, and follows their order alone.

    The first step is Adam's, in the bases of the identity. It cannot be in the bases of its own gradient, as that is
    diagonal there: Adam would divide rounding errors by their size. The author returns zeros instead, and lets the
    first gradient make the bases alone (``first_step="skip"``).

    Between refreshes a step of an m x n matrix takes :math:`6 m n (m + n)` operations more than Adam's. Inside
    `jax.vmap` over states, the bases are computed at every step, as a condition is a selection there. The bases are
    constants to derivatives.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      shampoo_beta: :math:`\beta_3`, in [0, 1); that of `b2` by default.
      eps: :math:`\epsilon`, outside the root, at least 0.
      precondition_frequency: k, at least 1.
      max_precond_dim: a longer side keeps the basis of the identity.
      sides: turn ``"both"`` sides or the ``"shorter"`` one alone, which is the paper's one-sided variant; of a square
        matrix the inputs.
      bias_correction: ``False`` uses the moments as they are.
      first_step: ``"use"`` the first gradient, or ``"skip"`` its step, as the author does.
      stagger: refresh the matrices by turns within the k steps, so that no step takes much longer than another.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `ScaleBySoapState`: 8 bytes per float32 parameter, :math:`8 (m^2 + n^2)` for each m x n matrix, and two counters.

    Raises:
      TreeMismatchError: a leaf is no matrix; the message says why, and what to do.

    Example:
      >>> import jax.numpy as jnp, numpy as np, gradtx
      >>> tx, g = gradtx.scale_by_soap(), jnp.array([[3.0, 0.0], [4.0, 0.0]])
      >>> _, state = tx.update(g, tx.init(g))
      >>> print(np.round(np.float64(tx.update(g, state)[0]), 2) + 0.0)  # along the gradient; Adam would take (1, 1)
      [[0.72 0.  ]
       [0.96 0.  ]]

    References:
      - Vyas et al., SOAP: improving and stabilizing Shampoo using Adam, 2024, arXiv:2409.11321.

    Differences from the author's code: the first gradient makes a step; `eps` is that of `adam`, beside the corrected
    root; a basis that is not finite is not used.
    """
    check_matrices(matrices)
    beta = b2 if shampoo_beta is None else shampoo_beta

    def multiples_of_identity(scale: float, x: jax.Array) -> Sides:
        return full_sides(x, scale, max_precond_dim, sides == "shorter")

    def init(params: Params) -> ScaleBySoapState:
        entries = (
            jnp.zeros_like,
            lambda x: jnp.zeros_like(x.real),
            functools.partial(multiples_of_identity, 0.0),
            functools.partial(multiples_of_identity, 1.0),
        )
        fields = [init_matrices(entry, params, matrices) for entry in entries]
        return ScaleBySoapState(zero_count(), zero_count(), *fields)

    def update(
        updates: Updates, state: ScaleBySoapState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        skipped = (state.count == 0) if first_step == "skip" else False
        done = state.count - (first_step == "skip")
        count = jnp.maximum(done + 1, 1)
        weights = [complement_of_power(b, count) if bias_correction else None for b in (b1, b2)]
        numbers = {
            # A skipped step leaves moments of zero as they are.
            "b1": jnp.where(skipped, 1.0, b1) if first_step == "skip" else b1,
            "b2": jnp.where(skipped, 1.0, b2) if first_step == "skip" else b2,
            "ratio": divide_by_root(eps, mu_weight=weights[0], nu_weight=weights[1]),
        }
        failures = [state.failures]

        def of_all(gs: list[Any], *fields: list[Any]) -> list[list[Any]]:
            rows = [Row(*row) for row in zip(*fields, strict=True)]
            us: list[Any] = [None] * len(gs)
            for places, ahead in turns(len(gs), precondition_frequency, stagger):
                due = (done > 0) & is_due(done + ahead, 0, precondition_frequency)
                new, failed = _refreshed(state.count == 1, due, [rows[i] for i in places], failures[-1])
                failures.append(failed)
                # A number that comes out of the condition: without it XLA does not know that the condition reads the
                # factors before they are overwritten, and copies them in each step.
                after = jnp.where(failed >= 0, beta, 0.0)
                for i, row in zip(places, new, strict=True):
                    us[i], rows[i] = _step(gs[i], row, **numbers_beside((gs[i],), {"beta": after, **numbers}))
            return [us, *([row[k] for row in rows] for k in range(4))]

        updates, mu, nu, factors, bases = map_matrices_with(of_all, updates, state[2:], matrices)
        return updates, ScaleBySoapState(increment(state.count), failures[-1], mu, nu, factors, bases)

    return init, update


class Row(NamedTuple):
    """What belongs to a matrix: its part of a `ScaleBySoapState`."""

    mu: jax.Array
    nu: jax.Array
    factors: Sides
    bases: Sides


def _step(g: jax.Array, row: Row, *, b1: Any, b2: Any, beta: Any, ratio: Any) -> tuple[jax.Array, Row]:
    """The update of a matrix, and what belongs to it in the next step."""
    basis, inverse = row.bases, adjoints(row.bases)
    turned = between(Sides(inverse.left, basis.right), g)
    mu, nu = moving_average(b1, row.mu, turned), moving_average_sq(b2, row.nu, turned)
    factors = map_sides(functools.partial(moving_average, beta), row.factors, second_moments(g))
    return between(Sides(basis.left, inverse.right), ratio(mu, nu)), Row(mu, nu, factors, basis)


def _refreshed(first: jax.Array, due: jax.Array, rows: list[Row], failures: jax.Array) -> tuple[list[Row], jax.Array]:
    """Moments and bases in the new bases, if it is time; and how often one was not finite.

    Args:
      first: whether there were no bases before.
      due: whether the bases of the last step are brought one step nearer to the eigenvectors.
      rows: what belongs to each matrix.
      failures: how often a basis was not finite so far.
    """
    if not any(jax.tree.leaves(row.bases) for row in rows):
        return rows, failures

    def turn(rows: list[Row], failures: jax.Array) -> tuple[list[Row], jax.Array]:
        columns = [row.bases for row in rows], [jax.tree.map(jax.lax.stop_gradient, row.factors) for row in rows]
        made = cond(first, lambda: each_side(_first_basis, *columns), lambda: each_side(_next_basis, *columns))
        new = [
            Row(between(_from_both(rotation), row.mu), _reordered(order, row.nu), row.factors, basis)
            for row, basis, order, rotation in zip(rows, *made[:3], strict=True)
        ]
        return new, failures + sum(jnp.sum(x, dtype=jnp.int32) for x in jax.tree.leaves(made[3]))

    return cond(first | due, turn, lambda *same: same, rows, failures)


@jax.jit
def _first_basis(basis: jax.Array, factor: jax.Array) -> tuple[jax.Array, ...]:
    """The eigenvectors of factors, from the largest eigenvalue to the smallest, and what `_checked` says of them."""
    return _checked(jnp.linalg.eigh(factor)[1][..., ::-1], basis, _unchanged(basis))


@jax.jit
def _next_basis(basis: jax.Array, factor: jax.Array) -> tuple[jax.Array, ...]:
    """Bases that are a step of subspace iteration nearer to the eigenvectors of factors; see `_checked`."""
    with jax.default_matmul_precision("highest"):
        image = factor @ basis
    sizes = jnp.real(jnp.sum(basis.conj() * image, axis=-2))
    order = jnp.argsort(-sizes, axis=-1).astype(jnp.int32)
    nearer = jnp.linalg.qr(jnp.take_along_axis(image, order[:, None], axis=-1))[0]
    return _checked(nearer, basis, order)


def _unchanged(basis: jax.Array) -> jax.Array:
    """The order in which nothing moves, int32 [batch, n]."""
    return jnp.broadcast_to(jnp.arange(basis.shape[-1], dtype=jnp.int32), basis.shape[:-1])


def _checked(new: jax.Array, old: jax.Array, order: jax.Array) -> tuple[jax.Array, ...]:
    """The new bases, or the old where they are not finite.

    Returns:
      The bases; the order in which they take the vectors of the old ones; the rotation of coordinates from the old to
      the new; and which have failed, bool [batch].
    """
    good = jnp.all(jnp.isfinite(new), axis=(-2, -1), keepdims=True)
    basis = jnp.where(good, new, old)
    with jax.default_matmul_precision("highest"):
        rotation = basis.mT.conj() @ old
    return basis, jnp.where(good[..., 0], order, _unchanged(old)), rotation, ~good[:, 0, 0]


def _from_both(rotation: Sides) -> Sides:
    """The rotations of coordinates of rows and columns, as they are multiplied from the left and from the right."""
    return Sides(rotation.left, adjoints(rotation).right)


def _reordered(order: Sides, v: jax.Array) -> jax.Array:
    """The second moments in the order of the bases."""
    v = v if order.left is None else jnp.take_along_axis(v, order.left[:, :, None], axis=1)
    return v if order.right is None else jnp.take_along_axis(v, order.right[:, None, :], axis=2)


@optimizer
def soap(
    learning_rate: NonNegative,
    b1: Decay = 0.95,
    b2: Decay = 0.95,
    shampoo_beta: Decay | None = None,
    eps: NonNegative = 1e-8,
    *,
    weight_decay: NonNegative = 0.01,
    weight_decay_mask: Mask = None,
    precondition_frequency: AtLeastOne = 10,
    max_precond_dim: int = 10_000,
    sides: SoapSides = "both",
    bias_correction: bool = True,
    first_step: FirstStep = "use",
    stagger: bool = False,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""SOAP for the matrices of a network, and `adamw` for the rest.

    .. math::
        p \leftarrow p - \eta\,(u_t + \lambda p)

    Composition: `scale_by_soap` with `add_decayed_weights` and `scale_by_learning_rate`, beside `adamw`. Rates are
    those of Adam, or somewhat larger. It costs memory: for a square matrix six numbers per parameter, where Adam keeps
    two; with ``sides="shorter"`` four.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.003 in the author's code.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      shampoo_beta: decay of the factors, in [0, 1); that of `b2` by default.
      eps: outside the root, at least 0.
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      precondition_frequency: the steps between two refreshes of the bases, at least 1.
      max_precond_dim: a longer side keeps the basis of the identity.
      sides: turn ``"both"`` sides, or the ``"shorter"`` one alone.
      bias_correction: ``False`` uses the moments as they are.
      first_step: see `scale_by_soap`.
      stagger: refresh the matrices by turns; see `scale_by_soap`.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; ``adamw(learning_rate, b2=0.95, weight_decay=...)`` by
        default.

    State:
      8 bytes per float32 parameter, and :math:`8 (m^2 + n^2)` for each m x n matrix.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf and says what to declare.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((4, 8)), "bias": jnp.zeros(8)}}
      >>> tx = gradtx.soap(3e-3, matrices={"*/kernel": "in out"})
      >>> updates, _ = tx.update(params, tx.init(params), params)

    References:
      - Vyas et al., SOAP: improving and stabilizing Shampoo using Adam, 2024, arXiv:2409.11321.

    Differences from the author's code: those of `scale_by_soap`; the decay is that of `adamw`, before the step and not
    after it; biases and scales are left to `adamw`.
    """
    direction = scale_by_soap(
        b1, b2, shampoo_beta, eps, precondition_frequency=precondition_frequency, max_precond_dim=max_precond_dim,
        sides=sides, bias_correction=bias_correction, first_step=first_step, stagger=stagger, matrices=matrices,
    )  # fmt: skip
    return matrices_and_rest(direction, rest, learning_rate, weight_decay, weight_decay_mask, matrices)
