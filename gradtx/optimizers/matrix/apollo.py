"""APOLLO: gradients of matrices, scaled as Adam would scale a random projection of them."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    complement_of_power,
    cond,
    divide_by_root,
    increment,
    moving_average,
    moving_average_sq,
    one_for_zero,
    optimizer,
    safe_sqrt,
    transformation,
    zero_count,
)
from gradtx.core.control import is_due
from gradtx.errors import ArgumentValueError
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam import adamw
from gradtx.optimizers.matrix.batches import in_equal_batches, init_matrices, map_matrices_with
from gradtx.optimizers.matrix.choice import Matrices, check_matrices
from gradtx.optimizers.matrix.galore import leading_vectors, no_vectors, projects_inputs
from gradtx.optimizers.matrix.rest import in_two_groups
from gradtx.tree.arithmetic import zeros_accumulator
from gradtx.tree.mapping import numbers_beside
from gradtx.typing import AtLeastOne, Count, Decay, Mask, NonNegative, Params, State, Updates

ScaleType = Literal["channel", "tensor"]
Projection = Literal["random", "svd"]

NORM_EPS = 1e-8
"""What the authors add to norms that they divide by."""


class ScaleByApolloState(NamedTuple):
    """The state of `scale_by_apollo`. Each field like the params has a tuple with an entry for each matrix of a leaf.

    Attributes:
      count: the number of updates, int32 [].
      projector: [batch, short side, rank], columns of norm 1; ``None`` of random projections, which are made anew.
      norm: the norm of the last update without its bias correction, real [batch]; 0 before the first.
      mu: the first moment of the projected gradients, [batch, rank, outputs] or [batch, inputs, rank].
      nu: the second moment, real, of the same shape.
    """

    count: Count
    projector: Updates
    norm: Updates
    mu: Updates
    nu: Updates


@transformation
def scale_by_apollo(
    rank: int = 256,
    update_proj_gap: AtLeastOne = 200,
    scale: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    scale_type: ScaleType = "channel",
    max_growth: AtLeastOne | None = 1.01,
    proj: Projection = "random",
    seed: int = 0,
    matrices: Matrices = None,
) -> Form:
    r"""Scale the gradients of matrices by factors that Adam has for a random projection of them (APOLLO).

    .. math::
        R_t &= P^\top g_t, \qquad P_{ij} \sim \mathcal{N}(0, 1/r) \text{ of steps } 0, k, 2k, \dots, \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, R_t, \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2)\, |R_t|^2, \\
        s_j &= \frac{\lVert (m_t / (\sqrt{v_t} + \epsilon))_{:, j} \rVert}{\lVert (R_t)_{:, j} \rVert}, \qquad
        x_t = g_t \operatorname{diag}(s), \\
        u_t &= \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}\, \sqrt{\alpha}\;
               x_t \min\!\Bigl(1, \gamma \frac{\lVert \tilde x_{t-1} \rVert}{\lVert x_t \rVert}\Bigr)

    where :math:`\tilde x` is x as it was used. The shorter side is projected (of a square matrix the inputs), and there
    is a factor for each place of the longer one; with ``scale_type="tensor"`` one for the whole matrix. So the update
    keeps the direction of the gradient in each column, and the state has r rows in place of all.

    A random projection depends on `seed`, the number of the step and the length of the short side, and on nothing
    else: it is the same on all devices and hosts, in every run and for every matrix of that side, and takes no memory.
    Moments outlive it.

    Args:
      rank: :math:`r`, at least 1; a matrix with a shorter side keeps all of it.
      update_proj_gap: :math:`k`, the number of updates from one projection to the next, at least 1.
      scale: :math:`\alpha`, at least 0; 1 in the paper, and 128 for one factor by a rank of 1.
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root and before the bias correction, at least 0.
      scale_type: ``"channel"`` for a factor per place of the longer side, ``"tensor"`` for one.
      max_growth: :math:`\gamma`, at least 1: by how much the norm of a matrix may grow from update to update. ``None``
        for no limit.
      proj: ``"random"``, or ``"svd"`` for the directions of the largest singular values, as in `scale_by_galore`.
        Derivatives take those for constants.
      seed: that of random projections.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `ScaleByApolloState`: for each matrix :math:`8 r \max(m, n)` bytes and a number;
      with ``"svd"`` :math:`4 r \min(m, n)` more.

    Raises:
      ArgumentValueError: the rank is less than 1.
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_apollo(1, scale_type="tensor"), jnp.array([[3.0, 0.0], [0.0, 4.0]])
      >>> u, _ = tx.update(g, tx.init(g))
      >>> bool(jnp.allclose(u / u[1, 1], g / 4))
      True

    References:
      - Zhu et al., APOLLO: SGD-like memory, AdamW-level performance, 2024, arXiv:2412.05270.

    Differences from the authors' code: after an update of zero the next one is not limited, where theirs has to grow
    from 1e-8 by a hundredth in each step; all matrices of one short side share a projection; each matrix of a stack has
    a norm of its own.
    """
    check_matrices(matrices)
    if rank < 1:
        raise ArgumentValueError("rank to be at least 1", got=str(rank))

    def of_inputs(g: jax.Array) -> bool:
        return projects_inputs("std", g)

    def projected(g: jax.Array, p: jax.Array) -> jax.Array:
        return p.mT.conj() @ g if of_inputs(g) else g @ p

    def init(params: Params) -> ScaleByApolloState:
        gs = init_matrices(jnp.zeros_like, params, matrices)
        vectors = jax.tree.map(lambda g: no_vectors(g, rank, of_inputs(g)), gs)
        low = jax.tree.map(projected, gs, vectors)
        return ScaleByApolloState(
            zero_count(),
            vectors if proj == "svd" else jax.tree.map(lambda _: None, gs),
            jax.tree.map(lambda g: jnp.zeros_like(jnp.sum(g, (1, 2)).real), gs),
            low,
            zeros_accumulator(low, real=True),
        )

    def update(
        updates: Updates, state: ScaleByApolloState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count = increment(state.count)
        due = is_due(state.count, 0, update_proj_gap)
        key = jax.random.key(seed, impl="threefry2x32")
        key = jax.random.fold_in(key, jnp.floor_divide(state.count, update_proj_gap).astype(jnp.int32))
        numbers = {"b1": b1, "b2": b2, "eps": eps, "max_growth": max_growth}
        length = safe_sqrt(complement_of_power(b2, count) * scale) / complement_of_power(b1, count)

        def refreshed(gs: list[jax.Array], ps: list[Any]) -> list[Any]:
            return in_equal_batches(lambda g: (leading_vectors(g, rank, of_inputs(g)),), gs)[0]

        def step(gs: list[jax.Array], ps: list[Any], *rows: list[Any]) -> list[list[Any]]:
            if proj == "svd":
                kept = ps = cond(due, refreshed, lambda _, ps: ps, gs, ps)
            else:
                kept, ps = ps, [random(g) for g in gs]
            made = [leaf(g, projected(g, p), *row) for g, p, *row in zip(gs, ps, *rows, strict=True)]
            us, *new = map(list, zip(*made, strict=True)) if made else ([] for _ in range(4))
            return [us, kept, *new]

        def random(g: jax.Array) -> jax.Array:
            side = min(g.shape[1:])
            drawn = jax.random.normal(jax.random.fold_in(key, side), (side, min(rank, side)), g.real.dtype)
            return drawn / float(max(min(rank, side), 1) ** 0.5)

        def leaf(g: jax.Array, low: jax.Array, norm: jax.Array, m: jax.Array, v: jax.Array) -> tuple[jax.Array, ...]:
            beside = numbers_beside((g,), numbers | {"length": length})
            m = moving_average(beside["b1"], m.astype(low.dtype), low)
            v = moving_average_sq(beside["b2"], v, low)
            axes = (1, 2) if scale_type == "tensor" else (1 if of_inputs(g) else 2)
            x = g * (_norm(divide_by_root(beside["eps"])(m, v), axes) / (_norm(low, axes) + NORM_EPS))
            x, norm = _limited(x, norm, beside["max_growth"])
            return beside["length"] * x, norm, m, v

        columns = (state.projector, state.norm, state.mu, state.nu)
        updates, *new = map_matrices_with(step, updates, columns, matrices)
        return updates, ScaleByApolloState(count, *new)

    return init, update


def _norm(x: jax.Array, axes: Any) -> jax.Array:
    return safe_sqrt(jnp.sum(abs_sq(x), axes, keepdims=True))


def _limited(x: jax.Array, before: jax.Array, max_growth: Any) -> tuple[jax.Array, jax.Array]:
    """Matrices whose norms are at most so many times those before, and their norms."""
    norm = _norm(x, (1, 2))
    if max_growth is None:
        return x, norm[:, 0, 0]
    before = before[:, None, None]
    most = jnp.where(before > 0, max_growth * (before + NORM_EPS), jnp.inf)
    limited = jnp.minimum(norm, most)
    return x * (limited / one_for_zero(norm)), limited[:, 0, 0]


@optimizer
def apollo(
    learning_rate: NonNegative,
    rank: int = 256,
    update_proj_gap: AtLeastOne = 200,
    scale: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    weight_decay: NonNegative = 0.0,
    weight_decay_mask: Mask = None,
    scale_type: ScaleType = "channel",
    max_growth: AtLeastOne | None = 1.01,
    proj: Projection = "random",
    seed: int = 0,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""APOLLO for the matrices of a network, and `adamw` for the rest.

    .. math::
        p \leftarrow p - \eta\,(u_\text{APOLLO} + \lambda p)

    Composition, of matrices: `scale_by_apollo`, `add_decayed_weights`, `scale_by_learning_rate`. Not the Apollo of
    2020, which estimates a diagonal Hessian.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.01 in the paper.
      rank: the number of rows of a projection, at least 1; a fourth of the width in the paper.
      update_proj_gap: the number of updates from one projection to the next, at least 1.
      scale: a factor, under a root, of the updates of matrices, at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      scale_type: ``"channel"`` for a factor per place of the longer side, ``"tensor"`` for one.
      max_growth: by how much the norm of an update may grow, at least 1; ``None`` for no limit.
      proj: ``"random"`` or ``"svd"``; see `scale_by_apollo`.
      seed: that of random projections.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; `adamw` with the same numbers by default.

    State:
      For a matrix of m inputs and n outputs :math:`8 r \max(m, n)` bytes, 8 per other parameter.

    Raises:
      ArgumentValueError: the rank is less than 1, or the axes of a leaf are not known; the message names the leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((256, 64)), "bias": jnp.zeros(64)}}
      >>> state = gradtx.apollo(0.01, rank=8).init(params)
      >>> state.inner_states["matrix"][0].mu["dense"]["kernel"][0].shape
      (1, 256, 8)

    References:
      - Zhu et al., APOLLO: SGD-like memory, AdamW-level performance, 2024, arXiv:2412.05270.
    """
    direction = scale_by_apollo(
        rank, update_proj_gap, scale, b1, b2, eps, scale_type=scale_type, max_growth=max_growth, proj=proj, seed=seed,
        matrices=matrices,
    )  # fmt: skip

    def make(mask: Mask) -> tuple[GradientTransformation, GradientTransformation]:
        of_matrices = chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
        return of_matrices, rest or adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)

    return in_two_groups(make, weight_decay_mask, matrices)


@optimizer
def apollo_mini(
    learning_rate: NonNegative,
    update_proj_gap: AtLeastOne = 200,
    scale: NonNegative = 128.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    *,
    weight_decay: NonNegative = 0.0,
    weight_decay_mask: Mask = None,
    max_growth: AtLeastOne | None = 1.01,
    proj: Projection = "random",
    seed: int = 0,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""APOLLO with projections of rank 1 and one factor for each matrix: the memory of SGD.

    .. math::
        p \leftarrow p - \eta\,(\sqrt{\alpha}\, s_t\, g_t + \lambda p)

    It is ``apollo(learning_rate, 1, scale=128, scale_type="tensor")``.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.01 in the paper.
      update_proj_gap: the number of updates from one projection to the next, at least 1.
      scale: :math:`\alpha`, at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      max_growth: by how much the norm of an update may grow, at least 1; ``None`` for no limit.
      proj: ``"random"`` or ``"svd"``; see `scale_by_apollo`.
      seed: that of random projections.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; `adamw` with the same numbers by default.

    State:
      For a matrix of m inputs and n outputs :math:`8 \max(m, n)` bytes, 8 per other parameter.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.apollo_mini(0.01))
      apollo(learning_rate=0.01, rank=1, scale=128.0, scale_type='tensor')

    References:
      - Zhu et al., APOLLO: SGD-like memory, AdamW-level performance, 2024, arXiv:2412.05270.
    """
    return apollo(
        learning_rate, 1, update_proj_gap, scale, b1, b2, eps, weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask, scale_type="tensor", max_growth=max_growth, proj=proj, seed=seed,
        matrices=matrices, rest=rest,
    )  # fmt: skip
