"""GaLore: an optimizer of a few directions of each matrix, those of the largest singular values of a gradient."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, cond, increment, optimizer, transformation, zero_count
from gradtx.core.control import is_due
from gradtx.errors import ArgumentValueError
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam import scale_by_adam
from gradtx.optimizers.matrix.batches import in_equal_batches, init_matrices, join_matrices
from gradtx.optimizers.matrix.choice import Matrices, check_matrices
from gradtx.optimizers.matrix.rest import in_two_groups
from gradtx.tree.arithmetic import cast
from gradtx.tree.paths import is_none
from gradtx.typing import AtLeastOne, Count, Mask, NonNegative, Params, State, Updates

ProjType = Literal["reverse_std", "std", "left", "right"]


class ScaleByGaloreState(NamedTuple):
    """The state of `scale_by_galore`.

    Attributes:
      count: the number of updates, int32 [].
      projector: like the params, a tuple of arrays [batch, side, rank] of each leaf, one for each of its matrices:
        columns of norm 1, orthogonal to each other; zeros before the first update.
      inner_state: the state of `base_optimizer`, made for trees like the params whose leaves are tuples of projected
        matrices.
    """

    count: Count
    projector: Updates
    inner_state: State


@transformation
def scale_by_galore(
    rank: int = 128,
    update_proj_gap: AtLeastOne = 200,
    scale: NonNegative = 1.0,
    base_optimizer: GradientTransformation | None = None,
    *,
    proj_type: ProjType = "reverse_std",
    rotate_moments: bool = False,
    matrices: Matrices = None,
) -> Form:
    r"""Let a transformation see matrices in the directions of their largest singular values only (GaLore).

    .. math::
        g = U S V^\top, \qquad P = U_{:, :r} \text{ at steps } 0, k, 2k, \dots, \qquad
        u = \alpha\, P\, T(P^\top g)

    where T is `base_optimizer`, whose moments are so much smaller. Of the other side, :math:`P = V_{:, :r}` and
    :math:`u = \alpha\, T(g P)\, P^\top`.

    Singular vectors are known up to their signs, and moments that outlive a projection depend on those: here the
    largest entry of each is positive, so that a run repeats. Derivatives take P for a constant.

    *Moments after a new projection* are, by the authors and in Optax, those of the directions before. With
    `rotate_moments` they are brought to the new ones: with :math:`C = P_\text{new}^\top P`, the first moment
    :math:`m` becomes :math:`C m`, and the second one :math:`C^{\circ 2} v`, which is right if the directions are not
    correlated. That is done to the fields ``mu`` and ``nu`` in the state of `base_optimizer`.

    Args:
      rank: :math:`r`, at least 1; a matrix with a shorter side keeps all of it.
      update_proj_gap: :math:`k`, the number of updates from one projection to the next, at least 1.
      scale: :math:`\alpha`, at least 0; 1 as in Optax, 0.25 in the authors' recipes.
      base_optimizer: :math:`T`, a direction such as `scale_by_adam()`, the default. It gets neither params nor extras:
        a decay or a trust ratio comes after this, in a chain.
      proj_type: which side is projected. ``"reverse_std"``, Optax's, projects the longer one and keeps less;
        ``"std"``, the authors', the shorter one; ``"left"`` the outputs and ``"right"`` the inputs of every matrix. The
        words are the authors', whose matrices have their outputs first. Of a square matrix, the first two project the
        inputs.
      rotate_moments: bring the moments to each new projection.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `ScaleByGaloreState`: for each matrix of m inputs and n outputs, with Adam and Optax's side,
      :math:`4 r (\max(m, n) + 2 \min(m, n))` bytes.

    Raises:
      ArgumentValueError: the rank is less than 1.
      TreeMismatchError: a leaf is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_galore(1, base_optimizer=gradtx.identity()), jnp.array([[3.0, 0.0], [0.0, 1.0]])
      >>> print(tx.update(g, tx.init(g))[0])
      [[3. 0.]
       [0. 0.]]

    References:
      - Zhao et al., GaLore: memory-efficient LLM training by gradient low-rank projection, 2024, arXiv:2403.03507.

    Differences from Optax: signs are fixed; projections and moments of half precision are float32, and the singular
    values of float64 gradients are computed in float64; all leaves must be matrices, for the others see `galore`;
    axes are said by `matrices`; `proj_type` and `rotate_moments` are arguments.
    """
    check_matrices(matrices)
    if rank < 1:
        raise ArgumentValueError("rank to be at least 1", got=str(rank))
    base = base_optimizer or scale_by_adam()
    of_inputs = functools.partial(projects_inputs, proj_type)

    def projected(g: jax.Array, p: jax.Array) -> jax.Array:
        return p.mT.conj() @ g if of_inputs(g) else g @ p

    def expanded(g: jax.Array, u: jax.Array, p: jax.Array) -> jax.Array:
        return cast(scale, p.real.dtype) * (p @ u if of_inputs(g) else u @ p.mT.conj())

    def init(params: Params) -> ScaleByGaloreState:
        gs = init_matrices(jnp.zeros_like, params, matrices)
        projector = jax.tree.map(lambda g: no_vectors(g, rank, of_inputs(g)), gs)
        return ScaleByGaloreState(zero_count(), projector, base.init(jax.tree.map(projected, gs, projector)))

    def update(
        updates: Updates, state: ScaleByGaloreState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        gs = init_matrices(lambda g: g, updates, matrices)

        def refresh(projector: Updates, inner_state: State) -> tuple[Updates, State]:
            treedef: Any
            flat, treedef = jax.tree.flatten(gs)
            (found,) = in_equal_batches(lambda g: (leading_vectors(g, rank, of_inputs(g)),), flat)
            new = _or_else(treedef.unflatten(found), projector)
            if rotate_moments:
                inner_state = _rotated(inner_state, gs, projector, new, of_inputs)
            return new, inner_state

        due = is_due(state.count, 0, update_proj_gap)
        projector, inner_state = cond(due, refresh, lambda *kept: kept, state.projector, state.inner_state)
        low = _of_present(projected, gs, projector)
        low, inner_state = base.update(low, inner_state, None)
        full = _of_present(expanded, gs, low, projector)
        return join_matrices(full, updates, matrices), ScaleByGaloreState(
            increment(state.count), projector, inner_state
        )

    return init, update


def projects_inputs(proj_type: ProjType, g: jax.Array) -> bool:
    """Whether it is the inputs of a matrix that are projected."""
    _, inputs, outputs = g.shape
    if proj_type in ("left", "right"):
        return proj_type == "right"
    return inputs == outputs or (inputs > outputs) == (proj_type == "reverse_std")


def no_vectors(g: jax.Array, rank: int, left: bool) -> jax.Array:
    """Zeros of the shape of `leading_vectors`."""
    # The sums are dropped; they lend their shardings.
    lent = jnp.zeros_like(jnp.sum(g, 2 if left else 1))
    return jnp.broadcast_to(lent[:, :, None], (*lent.shape, min(rank, *g.shape[1:])))


def leading_vectors(g: jax.Array, rank: int, left: bool) -> jax.Array:
    """The first singular vectors of matrices as columns [batch, side, rank], their largest entries positive."""
    largest = jnp.max(jnp.abs(g), axis=(1, 2), keepdims=True, initial=0)
    # Products of 1e-30 or of 1e30 are no float32; a matrix of zeros has singular vectors too.
    g = jax.lax.stop_gradient(g / jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1))
    u, _, vh = jnp.linalg.svd(g, full_matrices=False)
    q = (u if left else vh.mT.conj())[:, :, :rank]
    if not q.size:
        return q
    at = jnp.argmax(jnp.abs(q), axis=1, keepdims=True)
    top = jnp.take_along_axis(q, at, axis=1)
    fixed: jax.Array = q * (top.conj() / jnp.abs(top))
    return fixed


def _of_present(function: Callable[..., Any], gs: Any, *others: Any) -> Any:
    """A function of the matrices of each leaf, and of what belongs to them; ``None`` where a leaf is absent."""
    return jax.tree.map(lambda g, *row: None if g is None else function(g, *row), gs, *others, is_leaf=is_none)


def _or_else(new: Any, old: Any) -> Any:
    """A tree, with the entries of another where it has ``None``."""
    return jax.tree.map(lambda x, y: y if x is None else x, new, old, is_leaf=is_none)


def _rotated(
    inner_state: State, gs: Any, before: Updates, after: Updates, of_inputs: Callable[[jax.Array], bool]
) -> State:
    """The state of a transformation of projected matrices, its moments brought to other directions."""

    def change(g: jax.Array, m: jax.Array, p: jax.Array, q: jax.Array, *, squared: bool) -> jax.Array:
        c = q.mT.conj() @ p
        if squared:
            c = (c * c.conj()).real
        return cast(c @ m.astype(c.dtype) if of_inputs(g) else m.astype(c.dtype) @ c.mT.conj(), m.dtype)

    for name, squared in (("mu", False), ("nu", True)):
        if tree.get_all_fields(inner_state, name):
            rotate = functools.partial(change, squared=squared)
            moved = lambda m, rotate=rotate: _or_else(_of_present(rotate, gs, m, before, after), m)  # noqa: E731
            inner_state = tree.set_field(inner_state, name, moved)
    return inner_state


@optimizer
def galore(
    learning_rate: NonNegative,
    rank: int = 128,
    update_proj_gap: AtLeastOne = 200,
    scale: NonNegative = 1.0,
    base_optimizer: GradientTransformation | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
    *,
    proj_type: ProjType = "reverse_std",
    rotate_moments: bool = False,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""GaLore: Adam in a few directions of each matrix, and Adam as it is for the rest.

    .. math::
        p \leftarrow p - \eta\,(u_\text{GaLore} + \lambda p)

    Composition, of matrices: `scale_by_galore`, `add_decayed_weights`, `scale_by_learning_rate`; of the rest the same
    around `base_optimizer` itself.

    The authors train large models with ``galore(0.01, scale=0.25, proj_type="std")`` and Adam's eps of 1e-6.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.01 in the paper.
      rank: the number of directions, at least 1; a fourth to a half of the width in the paper.
      update_proj_gap: the number of updates from one projection to the next, at least 1.
      scale: a factor of the updates of matrices, at least 0; 1 as in Optax, 0.25 in the paper.
      base_optimizer: a direction that needs no params; `scale_by_adam()` by default.
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      mask: the leaves to decay, as in `add_decayed_weights`.
      proj_type: which side is projected; see `scale_by_galore`.
      rotate_moments: bring the moments to each new projection; see `scale_by_galore`.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate.

    State:
      For a matrix of m inputs and n outputs :math:`4 r (\max(m, n) + 2 \min(m, n))` bytes, 8 per other parameter.

    Raises:
      ArgumentValueError: the rank is less than 1, or the axes of a leaf are not known; the message names the leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((256, 64)), "bias": jnp.zeros(64)}}
      >>> state = gradtx.galore(0.01, rank=8).init(params)
      >>> gradtx.tree.get_field(state, "projector")["dense"]["kernel"][0].shape
      (1, 256, 8)

    References:
      - Zhao et al., GaLore: memory-efficient LLM training by gradient low-rank projection, 2024, arXiv:2403.03507.

    Differences from Optax: embeddings and heads are no matrices; see `scale_by_galore`.
    """
    base = base_optimizer or scale_by_adam()
    direction = scale_by_galore(
        rank, update_proj_gap, scale, base, proj_type=proj_type, rotate_moments=rotate_moments, matrices=matrices
    )

    def make(mask: Mask) -> tuple[GradientTransformation, GradientTransformation]:
        after = add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate)
        return chain(direction, *after), rest or chain(base, *after)

    return in_two_groups(make, mask, matrices)
