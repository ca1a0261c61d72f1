"""PSGD with Kronecker factors: matrices whitened by a preconditioner that is fitted to them from step to step."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    cond,
    increment,
    one_for_zero,
    optimizer,
    transformation,
    zero_count,
)
from gradtx.gradients import clip_by_block_rms
from gradtx.optimizers.matrix.batches import in_equal_batches, init_matrices, map_matrices_with
from gradtx.optimizers.matrix.choice import Matrices, check_matrices
from gradtx.optimizers.matrix.rest import matrices_and_rest
from gradtx.optimizers.matrix.sides import Sides, full_sides
from gradtx.optimizers.momentum.ema import ema
from gradtx.tree.arithmetic import cast
from gradtx.typing import Count, Decay, DTypeName, Fraction, Mask, NonNegative, Params, State, Updates

MemorySaveMode = Literal["smart_one_diag", "one_diag", "all_diag"]
Timing = Literal["random", "counter"]

DAMPING = float(np.finfo(np.float32).eps) ** 0.5
BALANCED = 0.01
"""The probability with which a refresh gives both factors of a matrix the same largest element first."""


class WhitenUpdatesState(NamedTuple):
    """The state of `whiten_updates`.

    Attributes:
      count: the number of updates, int32 [].
      since: the number of updates since the last refresh, int32 [].
      failures: how many new factors were not finite, so that the ones before were kept, int32 [].
      factors: like the params, a tuple with `Sides` for each matrix of a leaf: upper triangular [batch, n, n], or a
        diagonal [batch, n], which is real.
    """

    count: Count
    since: Count
    failures: Count
    factors: Updates


@transformation
def whiten_updates(
    preconditioner_update_probability: Fraction | None = None,
    preconditioner_lr: NonNegative = 0.1,
    *,
    max_size_triangular: int = 8192,
    memory_save_mode: MemorySaveMode | None = None,
    timing: Timing = "random",
    seed: int = 0,
    matrices: Matrices = None,
) -> Form:
    r"""Whiten matrices: elements of the updates become uncorrelated over time and of size 1 (PSGD, Kronecker factors).

    .. math::
        u = Q_L^\top Q_L\, G\, Q_R^\top Q_R

    A refresh moves each of the factors, with random :math:`V_{ij} \sim \mathcal{N}(0, 1)`, a step towards where
    :math:`A A^\top` and :math:`B B^\top` are equal on average:

    .. math::
        \begin{aligned}
        &A = Q_L \bigl(G + \sqrt{\epsilon_{32}}\, \operatorname{mean}|G|\, V\bigr) Q_R^\top, \qquad
        B = Q_L^{-\top} V Q_R^{-1}, \\
        &Q_L \leftarrow Q_L - \frac{\eta_p}{\lVert A A^\top + B B^\top \rVert}
            \operatorname{triu}(A A^\top - B B^\top)\, Q_L
        \end{aligned}

    and likewise :math:`Q_R` with :math:`A^\top` and :math:`B^\top`. The norm is a close lower bound of the spectral
    one. It is of no matter how long gradients are: the updates of any have a root mean square near 1.

    A factor is upper triangular, or diagonal if its side is too long. One refresh in a hundred first multiplies the two
    of a matrix so that their largest elements are equal. A matrix of zeros moves nothing. Derivatives take the factors
    for constants.

    All that is random depends on `seed`, the number of the step and the shape of a matrix, and on nothing else: it is
    the same on all devices and hosts and in every run, and matrices of one shape share it.

    Args:
      preconditioner_update_probability: the probability of a refresh at a step, in [0, 1]; a number or a schedule. By
        default the authors', :math:`\max(0.03, \min(1, e^{-0.001 (t - 500)}))`.
      preconditioner_lr: :math:`\eta_p`, at least 0.
      max_size_triangular: a longer side has a diagonal factor.
      memory_save_mode: diagonal factors besides: ``"one_diag"`` for the longer side (of a square matrix the outputs),
        ``"smart_one_diag"`` for the longer side of what is not square, ``"all_diag"`` for both.
      timing: ``"random"``, or ``"counter"`` for a refresh as soon as 1 / probability steps have passed since the last.
      seed: that of the random numbers.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `WhitenUpdatesState`: :math:`4 (m^2 + n^2)` bytes for each m x n matrix; of a diagonal factor 4 n. Three counters.

    Raises:
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx = gradtx.whiten_updates(1.0)
      >>> grads = jax.random.normal(jax.random.key(0), (1000, 4, 4)) * jnp.array([10.0, 3.0, 1.0, 0.1])
      >>> _, updates = jax.lax.scan(lambda state, g: tx.update(g, state)[::-1], tx.init(grads[0]), grads)
      >>> print(jnp.round(jnp.std(updates[500:], (0, 1))))
      [1. 1. 1. 1.]

    References:
      - Li, Preconditioned stochastic gradient descent, 2015, arXiv:1512.04202.
      - Pooladzandi, Li, Curvature-informed SGD via general purpose Lie-group preconditioners, 2024, arXiv:2402.11858.
    """
    check_matrices(matrices)

    def identity(x: jax.Array) -> Sides:
        inputs, outputs = x.shape[1:]
        one_diagonal = memory_save_mode == "one_diag" or (memory_save_mode == "smart_one_diag" and inputs != outputs)
        sides = full_sides(x, 1.0, 0 if memory_save_mode == "all_diag" else max_size_triangular, one_diagonal)
        left, right = (jnp.ones_like(jnp.sum(x.real, axis)) for axis in (2, 1))  # the sums lend their shardings
        return Sides(left if sides.left is None else sides.left, right if sides.right is None else sides.right)

    def init(params: Params) -> WhitenUpdatesState:
        factors = init_matrices(identity, params, matrices)
        return WhitenUpdatesState(zero_count(), zero_count(), zero_count(), factors)

    def update(
        updates: Updates, state: WhitenUpdatesState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), state.count)
        number = jnp.result_type(float)
        probability = _annealed(state.count) if preconditioner_update_probability is None else (
            cast(preconditioner_update_probability, number)
        )  # fmt: skip
        if timing == "counter":
            due = cast(state.since + 1, number) * probability >= 1
        else:
            due = jax.random.uniform(jax.random.fold_in(key, 1), dtype=number) < probability
        balanced = jax.random.uniform(jax.random.fold_in(key, 2)) < BALANCED
        failures = [state.failures]

        def refreshed(factors: list[Sides], failures: jax.Array, gs: list[jax.Array]) -> tuple[list[Sides], jax.Array]:
            def fitted(g: jax.Array, left: jax.Array, right: jax.Array) -> tuple[jax.Array, ...]:
                drawn = jax.random.fold_in(jax.random.fold_in(key, g.shape[1]), g.shape[2])
                v = jax.random.normal(drawn, g.shape[1:], g.real.dtype)
                made: tuple[jax.Array, ...]
                made = _fitted(g, left, right, v, cast(preconditioner_lr, g.real.dtype), balanced)
                return made

            if not gs:
                return factors, failures
            lefts, rights, failed = in_equal_batches(fitted, gs, [x.left for x in factors], [x.right for x in factors])
            new = [Sides(*sides) for sides in zip(lefts, rights, strict=True)]
            return new, failures + sum(jnp.sum(x, dtype=jnp.int32) for x in failed)

        def of_all(gs: list[jax.Array], factors: list[Sides]) -> list[list[Any]]:
            new, failed = cond(due, refreshed, lambda *kept: kept[:2], factors, failures[-1], gs)
            failures.append(failed)
            return [[_on_both(_whitened, sides, g) for sides, g in zip(new, gs, strict=True)], new]

        updates, factors = map_matrices_with(of_all, updates, (state.factors,), matrices)
        since = jnp.where(due, 0, increment(state.since))
        return updates, WhitenUpdatesState(increment(state.count), since, failures[-1], factors)

    return init, update


def _annealed(count: jax.Array) -> jax.Array:
    """The authors' probability of a refresh: 1 for 500 steps, then falling to 0.03."""
    return jnp.clip(jnp.exp(-0.001 * (cast(count, jnp.result_type(float)) - 500)), 0.03, 1)


def _times(q: jax.Array, x: jax.Array) -> jax.Array:
    """A factor, triangular or diagonal, times matrices."""
    return q[:, :, None] * x if q.ndim == 2 else q @ x


def _whitened(q: jax.Array, x: jax.Array) -> jax.Array:
    """Matrices times :math:`Q^* Q` from the left."""
    y = _times(q, x)
    return _times(q, y) if q.ndim == 2 else q.mT.conj() @ y


def _solved(q: jax.Array, x: jax.Array) -> jax.Array:
    """Matrices times :math:`Q^{-*}` from the left."""
    if q.ndim == 2:
        return x / q[:, :, None]
    return jax.lax.linalg.triangular_solve(q, x, left_side=True, transpose_a=True, conjugate_a=True)


def _on_both(function: Any, sides: Sides, x: jax.Array) -> jax.Array:
    """A function of a factor and of matrices, for the left factor and then, transposed, for the right one."""
    made: jax.Array = function(sides.right, function(sides.left, x).mT).mT
    return made


@jax.jit
def _fitted(
    g: jax.Array, left: jax.Array, right: jax.Array, v: jax.Array, rate: jax.Array, balanced: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The factors after one step; steps lead to factors with which matrices are white.

    Args:
      g: the matrices, [batch, inputs, outputs].
      left: the factors of inputs.
      right: the factors of outputs.
      v: random numbers [inputs, outputs].
      rate: how long the step is.
      balanced: whether to make the largest elements of both factors equal first.

    Returns:
      Both factors; and which were not finite, so that the ones before are returned, bool [batch].
    """
    g, left, right = jax.tree.map(jax.lax.stop_gradient, (g, left, right))
    with jax.default_matmul_precision("highest"):
        sides = Sides(*_balanced(left, right, balanced))
        mean = jnp.mean(jnp.abs(g), axis=(1, 2), keepdims=True)
        a = _on_both(_times, sides, g + DAMPING * mean * v)
        b = _on_both(_solved, sides, jnp.broadcast_to(v.astype(a.dtype), a.shape))
        # Squares of 1e30 are no float32. The step is a ratio of squares: dividing both changes nothing.
        largest = jnp.max(jnp.maximum(jnp.abs(a), jnp.abs(b)), axis=(1, 2), keepdims=True, initial=0)
        a, b = (x / jnp.where(jnp.isfinite(largest), one_for_zero(largest), 1) for x in (a, b))
        new = _stepped(sides.left, a, b, rate), _stepped(sides.right, a.mT, b.mT, rate)
    good = jnp.isfinite(largest[:, 0, 0]) & _all(jnp.isfinite, new[0]) & _all(jnp.isfinite, new[1])
    moved = good & (mean[:, 0, 0] > 0)
    left, right = _where(moved, new[0], left), _where(moved, new[1], right)
    return jax.lax.stop_gradient(left), jax.lax.stop_gradient(right), ~good


def _balanced(left: jax.Array, right: jax.Array, balanced: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The factors, multiplied so that their largest elements are equal, if that is asked for."""
    a, b = (jnp.max(jnp.abs(q), axis=tuple(range(1, q.ndim)), initial=0) for q in (left, right))
    ratio = jnp.where(balanced & (a > 0) & (b > 0), jnp.sqrt(b / one_for_zero(a)), 1)
    return _along(ratio, left) * left, right / _along(ratio, right)


def _stepped(q: jax.Array, a: jax.Array, b: jax.Array, rate: jax.Array) -> jax.Array:
    """A factor after a step, from A and B with its side first."""
    if q.ndim == 2:
        one, two = jnp.sum(abs_sq(a), 2), jnp.sum(abs_sq(b), 2)
        size = jnp.max(one + two, axis=1, keepdims=True, initial=0)
        return q - rate * (one - two) / one_for_zero(size) * q
    one, two = a @ a.mT.conj(), b @ b.mT.conj()
    step = (rate / one_for_zero(_norm_bound(one + two)))[:, None, None]
    moved: jax.Array = q - step * (jnp.triu(one - two) @ q)
    return moved


def _norm_bound(x: jax.Array) -> jax.Array:
    """A close lower bound of the spectral norms of matrices that have no negative eigenvalues, real [batch]."""
    largest = jnp.max(jnp.abs(x), axis=(1, 2), keepdims=True, initial=0)
    x = x / one_for_zero(largest)
    column = jnp.argmax(jnp.sum(abs_sq(x), axis=1), axis=1)
    y = x @ jnp.take_along_axis(x, column[:, None, None], axis=2)
    y = x @ (y / one_for_zero(jnp.linalg.norm(y, axis=1, keepdims=True)))
    bound: jax.Array = (largest * jnp.linalg.norm(y, axis=1, keepdims=True))[:, 0, 0]
    return bound


def _along(x: jax.Array, q: jax.Array) -> jax.Array:
    """Numbers [batch] beside arrays [batch, ...]."""
    return x.reshape(-1, *[1] * (q.ndim - 1))


def _all(holds: Any, q: jax.Array) -> jax.Array:
    return jnp.all(holds(q), axis=tuple(range(1, q.ndim)))


def _where(chosen: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.where(_along(chosen, x), x, y)


@transformation
def scale_by_kron(
    b1: Decay = 0.9,
    preconditioner_update_probability: Fraction | None = None,
    preconditioner_lr: NonNegative = 0.1,
    *,
    max_size_triangular: int = 8192,
    memory_save_mode: MemorySaveMode | None = None,
    max_rms: NonNegative | None = 1.1,
    mu_dtype: DTypeName | None = None,
    timing: Timing = "random",
    seed: int = 0,
    matrices: Matrices = None,
) -> GradientTransformation:
    r"""PSGD-Kron: the mean gradient of each matrix, whitened.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \qquad u_t = Q_L^\top Q_L\, \hat m_t\, Q_R^\top Q_R

    Composition: `ema`, `whiten_updates`, `clip_by_block_rms`. The preconditioner is fitted to the mean gradient; to fit
    it to the gradients themselves, take ``chain(whiten_updates(), ema(0.9))``.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      preconditioner_update_probability: of a refresh at a step, in [0, 1]; see `whiten_updates`.
      preconditioner_lr: how far a refresh goes, at least 0.
      max_size_triangular: a longer side has a diagonal factor.
      memory_save_mode: which factors are diagonal besides; see `whiten_updates`.
      max_rms: the largest root mean square of the update of a leaf, at least 0; ``None`` for no limit.
      mu_dtype: the dtype :math:`m` is stored in; at least float32 by default.
      timing: ``"random"`` or ``"counter"``; see `whiten_updates`.
      seed: that of the random numbers.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      4 bytes per float32 parameter, and :math:`4 (m^2 + n^2)` for each m x n matrix.

    Raises:
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.scale_by_kron()).transforms[1]
      whiten_updates()

    References:
      - Li, Preconditioned stochastic gradient descent, 2015, arXiv:1512.04202.
      - Pooladzandi, Li, Curvature-informed SGD via general purpose Lie-group preconditioners, 2024, arXiv:2402.11858.
    """
    return chain(
        ema(b1, accumulator_dtype=mu_dtype),
        whiten_updates(
            preconditioner_update_probability, preconditioner_lr, max_size_triangular=max_size_triangular,
            memory_save_mode=memory_save_mode, timing=timing, seed=seed, matrices=matrices,
        ),
        *([] if max_rms is None else [clip_by_block_rms(max_rms)]),
    )  # fmt: skip


@optimizer
def kron(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    *,
    weight_decay: NonNegative = 0.0,
    weight_decay_mask: Mask = None,
    preconditioner_update_probability: Fraction | None = None,
    preconditioner_lr: NonNegative = 0.1,
    max_size_triangular: int = 8192,
    memory_save_mode: MemorySaveMode | None = None,
    max_rms: NonNegative | None = 1.1,
    mu_dtype: DTypeName | None = None,
    timing: Timing = "random",
    seed: int = 0,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""PSGD-Kron for the matrices of a network, and `adamw` for the rest.

    .. math::
        p \leftarrow p - \eta\,(u_\text{Kron} + \lambda p)

    Composition, of matrices: `scale_by_kron`, `add_decayed_weights`, `scale_by_learning_rate`. All elements of its
    steps are about as long as the longest of Adam's: the authors advise a third of its rate, and a decay three to ten
    times as large.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.0003 or 0.001 in the authors' codes.
      b1: decay of the mean gradient, in [0, 1).
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      preconditioner_update_probability: of a refresh at a step, in [0, 1]; see `whiten_updates`.
      preconditioner_lr: how far a refresh goes, at least 0.
      max_size_triangular: a longer side has a diagonal factor.
      memory_save_mode: which factors are diagonal besides; see `whiten_updates`.
      max_rms: the largest root mean square of the update of a leaf, at least 0; ``None`` for no limit.
      mu_dtype: the dtype of the mean gradient; at least float32 by default.
      timing: ``"random"`` or ``"counter"``; see `whiten_updates`.
      seed: that of the random numbers.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; ``adamw(learning_rate, b2=0.95, weight_decay=...)`` by
        default.

    State:
      For each m x n matrix :math:`4 (m n + m^2 + n^2)` bytes, 8 per other parameter.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf and says what to declare.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((4, 8)), "bias": jnp.zeros(8)}}
      >>> tx = gradtx.kron(3e-4, rest=gradtx.adamw(1e-3))
      >>> updates, _ = tx.update(params, tx.init(params), params)

    References:
      - Li, Preconditioned stochastic gradient descent, 2015, arXiv:1512.04202.
      - Pooladzandi, Li, Curvature-informed SGD via general purpose Lie-group preconditioners, 2024, arXiv:2402.11858.

    Differences from the authors' codes: leaves that are no matrices are left to `adamw`, where theirs have diagonal
    factors.
    """
    direction = scale_by_kron(
        b1, preconditioner_update_probability, preconditioner_lr, max_size_triangular=max_size_triangular,
        memory_save_mode=memory_save_mode, max_rms=max_rms, mu_dtype=mu_dtype, timing=timing, seed=seed,
        matrices=matrices,
    )  # fmt: skip
    return matrices_and_rest(direction, rest, learning_rate, weight_decay, weight_decay_mask, matrices)
