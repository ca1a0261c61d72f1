"""Shampoo: gradients of a matrix multiplied by inverse roots of the second moments of its rows and columns."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    complement_of_power,
    cond,
    increment,
    moving_average,
    optimizer,
    transformation,
    zero_count,
)
from gradtx.core.control import is_due
from gradtx.errors import ArgumentValueError
from gradtx.optimizers.adaptive import scale_by_rms
from gradtx.optimizers.matrix.batches import init_matrices, map_matrices_with
from gradtx.optimizers.matrix.choice import Matrices, check_matrices
from gradtx.optimizers.matrix.inverse_root import InverseRoot, RootMethod, inverse_root
from gradtx.optimizers.matrix.rest import matrices_and_rest
from gradtx.optimizers.matrix.sides import Sides, between, each_side, full_sides, map_sides, second_moments, turns
from gradtx.optimizers.momentum.ema import ema
from gradtx.tree.mapping import numbers_beside
from gradtx.typing import AtLeastOne, Count, Decay, Mask, NonNegative, Params, State, Updates
from gradtx.wrappers.graft import graft

Axes = Literal["product", "sum"]


class ScaleByShampooState(NamedTuple):
    """The state of `scale_by_shampoo`. At each leaf stands a tuple with an entry for each of its matrices.

    Attributes:
      count: the number of updates, int32 [].
      failures: how often a new root was not good enough, and the last one was kept, int32 [].
      factors: the second moments of rows and columns, `Sides` of arrays [blocks, n, n].
      roots: their inverse roots, `Sides`; in the beginning the identity.
    """

    count: Count
    failures: Count
    factors: Updates
    roots: Updates


@transformation
def scale_by_shampoo(
    b2: Decay | None = 0.999,
    eps: NonNegative = 1e-6,
    *,
    relative_eps: bool = True,
    root: int = 4,
    method: RootMethod = "eigh",
    max_error: NonNegative = 0.1,
    precondition_frequency: AtLeastOne = 10,
    start_preconditioning_step: NonNegative = 0,
    block_size: int = 1024,
    bias_correction: bool = True,
    axes: Axes = "product",
    stagger: bool = False,
    matrices: Matrices = None,
) -> Form:
    r"""Rescale matrices by the Shampoo rule.

    .. math::
        L_t = \beta_2 L_{t-1} + (1-\beta_2)\, G_t G_t^\top, \qquad
        R_t = \beta_2 R_{t-1} + (1-\beta_2)\, G_t^\top G_t, \qquad
        u_t = \hat L_t^{-1/4}\, G_t\, \hat R_t^{-1/4}

    with :math:`\hat L_t = L_t / (1 - \beta_2^t) + \delta I`, and :math:`\hat R_t` likewise. The roots are computed
    every k steps, and kept between. A matrix that is longer than a block is cut into blocks of equal shapes, each with
    factors of its own; where it cannot be cut evenly, rows or columns of zeros are added.

    How long the steps are says nothing: give them the lengths of another method, as `shampoo` does with `graft`.

    A root that is not finite, or has an error above a threshold, is not used: the last one stays, and is counted as a
    failure in the state. Inside `jax.vmap` over states, roots are computed at every step, as a condition is a selection
    there. They are constants to derivatives.

    Args:
      b2: :math:`\beta_2`, in [0, 1); ``None`` sums, as in the paper.
      eps: :math:`\delta`, at least 0.
      relative_eps: whether `eps` is in units of the largest eigenvalue; else it is a number, 1e-12 in the PyTorch
        package of the second reference.
      root: 4; 2 is as in some old implementations, and with one-sided factors in mind.
      method: how to find roots: ``"eigh"``, or ``"newton"`` by the coupled iteration; see `inverse_root`.
      max_error: the error of a root that is still used, at least 0; that of ``"eigh"`` is 0.
      precondition_frequency: k, at least 1.
      start_preconditioning_step: the step of the first roots, at least 0; before it :math:`u = G`.
      block_size: how long the sides of a block may be, at least 1.
      bias_correction: ``False`` uses the moving averages as they are.
      axes: how both sides are combined: the ``"product"``, or the ``"sum"`` of CASPR, twice half of what one side does
        and half of what the other does, :math:`u = (L^{-1/2} G + 2 L^{-1/4} G R^{-1/4} + G R^{-1/2}) / 4`.
      stagger: compute the roots of the matrices by turns within the k steps, so that no step takes much longer than
        another.
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      `ScaleByShampooState`: :math:`8 (m^2 + n^2)` bytes for each m x n block in float32, and two counters.

    Raises:
      TreeMismatchError: a leaf is no matrix; the message says why, and what to do.
      ArgumentValueError: the root or the size of blocks is below 1.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_shampoo(eps=0.0), jnp.array([[0.0, 2.0], [3.0, 0.0]])
      >>> print(jnp.round(tx.update(g, tx.init(g))[0], 4))
      [[0. 1.]
       [1. 0.]]

    References:
      - Gupta, Koren, Singer, Shampoo: preconditioned stochastic tensor optimization, 2018, arXiv:1802.09568.
      - Shi et al., A distributed data-parallel PyTorch implementation of the distributed Shampoo optimizer for training
        neural networks at scale, 2023, arXiv:2309.06497.
      - Anil et al., Scalable second order optimization for deep learning, 2020, arXiv:2002.09018.
      - Duvvuri et al., Combining axes preconditioners through Kronecker approximation for deep learning, 2024 (CASPR).
    """
    check_matrices(matrices)
    for name, number in (("root", root), ("block_size", block_size)):
        if number < 1:
            raise ArgumentValueError(f"{name} of at least 1", got=str(number))

    def multiples_of_identity(scale: float, x: jax.Array) -> Sides:
        return full_sides(cut(x, block_size), scale, block_size)

    def init(params: Params) -> ScaleByShampooState:
        factors, roots = (
            init_matrices(functools.partial(multiples_of_identity, scale), params, matrices) for scale in (0.0, 1.0)
        )
        return ScaleByShampooState(zero_count(), zero_count(), factors, roots)

    find = functools.partial(inverse_root, p=root, method=method, eps=eps, relative=relative_eps)

    def update(
        updates: Updates, state: ScaleByShampooState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count, since = increment(state.count), state.count - start_preconditioning_step
        weight = complement_of_power(b2, count) if bias_correction and b2 is not None else 1.0
        failures = [state.failures]

        def of_all(gs: list[Any], factors: list[Sides], roots: list[Sides]) -> list[list[Any]]:
            blocks = [cut(g, block_size) for g in gs]
            factors = [_added(b2, factor, x) for factor, x in zip(factors, blocks, strict=True)]
            roots = list(roots)
            for places, ahead in turns(len(gs), precondition_frequency, stagger):
                due = (since >= 0) & ((since < 1) | is_due(since + ahead, 0, precondition_frequency))
                rows = [factors[i] for i in places], [roots[i] for i in places]
                new, failed = _refreshed(due, *rows, failures[-1], find, weight, max_error)
                failures.append(failed)
                for i, sides in zip(places, new, strict=True):
                    roots[i] = sides
            made = [_direction(axes, sides, x) for sides, x in zip(roots, blocks, strict=True)]
            return [[put_together(u, g.shape, block_size) for u, g in zip(made, gs, strict=True)], factors, roots]

        updates, factors, roots = map_matrices_with(of_all, updates, (state.factors, state.roots), matrices)
        return updates, ScaleByShampooState(count, failures[-1], factors, roots)

    return init, update


def _added(weight: Any, factors: Sides, x: jax.Array) -> Sides:
    """The factors with the second moments of a gradient: their moving averages, or their sums."""
    if weight is None:
        return map_sides(jnp.add, factors, second_moments(x))
    weight = numbers_beside((x,), {"weight": weight})["weight"]
    return map_sides(functools.partial(moving_average, weight), factors, second_moments(x))


def _direction(axes: Axes, roots: Sides, x: jax.Array) -> jax.Array:
    """Gradients multiplied by roots."""
    if axes == "product":
        return between(roots, x)
    for _ in range(2):
        x = (between(Sides(roots.left, None), x) + between(Sides(None, roots.right), x)) / 2
    return x


def _refreshed(
    due: jax.Array,
    factors: list[Sides],
    roots: list[Sides],
    failures: jax.Array,
    find: Callable[[jax.Array], InverseRoot],
    weight: Any,
    max_error: Any,
) -> tuple[list[Sides], jax.Array]:
    """The roots of factors, if it is time; and how often one was not good enough.

    Args:
      due: whether it is time.
      factors: the factors.
      roots: their last roots.
      failures: how often one was not good enough so far.
      find: finds the roots of an array of factors.
      weight: what the factors are divided by.
      max_error: the error of a root that is good enough.
    """
    if not jax.tree.leaves(roots):
        return roots, failures

    def of_side(last: jax.Array, factor: jax.Array) -> tuple[jax.Array, jax.Array]:
        numbers = numbers_beside((factor,), {"weight": weight, "max_error": max_error})
        made = find(factor / numbers["weight"])
        failed = ~(made.error <= numbers["max_error"])
        return jnp.where(failed[:, None, None], last, made.root), failed

    def compute(roots: list[Sides], failures: jax.Array) -> tuple[list[Sides], jax.Array]:
        made, failed = each_side(of_side, roots, factors)
        return made, failures + sum(jnp.sum(x, dtype=jnp.int32) for x in jax.tree.leaves(failed))

    return cond(due, compute, lambda *same: same, roots, failures)


def _blocks(size: int, largest: int) -> tuple[int, int]:
    """Into how many blocks a side is cut, and how long they are."""
    number = max(math.ceil(size / largest), 1)
    return number, math.ceil(size / number)


def cut(x: jax.Array, largest: int) -> jax.Array:
    """The blocks of matrices, [batch * blocks, m, n] of [batch, inputs, outputs]; those at the end may have zeros."""
    (rows, m), (columns, n) = (_blocks(size, largest) for size in x.shape[1:])
    if rows == columns == 1:
        return x
    x = jnp.pad(x, ((0, 0), (0, rows * m - x.shape[1]), (0, columns * n - x.shape[2])))
    return x.reshape(-1, rows, m, columns, n).swapaxes(2, 3).reshape(-1, m, n)


def put_together(blocks: jax.Array, shape: tuple[int, ...], largest: int) -> jax.Array:
    """The matrices of a shape that consist of blocks; it undoes `cut`."""
    (rows, m), (columns, n) = (_blocks(size, largest) for size in shape[1:])
    if rows == columns == 1:
        return blocks
    x = blocks.reshape(-1, rows, columns, m, n).swapaxes(2, 3).reshape(-1, rows * m, columns * n)
    return x[:, : shape[1], : shape[2]]


@optimizer
def shampoo(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay | None = 0.999,
    eps: NonNegative = 1e-6,
    *,
    weight_decay: NonNegative = 0.01,
    weight_decay_mask: Mask = None,
    magnitude: GradientTransformation | None = None,
    relative_eps: bool = True,
    root: int = 4,
    method: RootMethod = "eigh",
    max_error: NonNegative = 0.1,
    precondition_frequency: AtLeastOne = 10,
    start_preconditioning_step: NonNegative = 0,
    block_size: int = 1024,
    bias_correction: bool = True,
    axes: Axes = "product",
    stagger: bool = False,
    matrices: Matrices = None,
    rest: GradientTransformation | None = None,
) -> GradientTransformation:
    r"""Shampoo for the matrices of a network, with the lengths of Adam's steps, and `adamw` for the rest.

    .. math::
        p \leftarrow p - \eta\,(m_t + \lambda p), \qquad
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, \lVert a_t \rVert \frac{u_t}{\lVert u_t \rVert}

    Composition: `graft` of `scale_by_shampoo` and `magnitude`, `ema`, `add_decayed_weights`, `scale_by_learning_rate`,
    beside `adamw`. Without grafting it is ``chain(scale_by_shampoo(), ema(0.9), scale_by_learning_rate(0.1))``.

    Args:
      learning_rate: :math:`\eta`, at least 0; those of `magnitude`, by default of `adamw`.
      b1: :math:`\beta_1` of the momentum, in [0, 1).
      b2: decay of the factors, in [0, 1); ``None`` sums, as in the paper.
      eps: what is added to the eigenvalues of the factors, at least 0.
      weight_decay: :math:`\lambda`, at least 0; of the rest as well, unless `rest` is given.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      magnitude: whose lengths :math:`\lVert a_t \rVert` the steps have; by default those of
        ``scale_by_rms(0.999, bias_correction=True)``; ``identity()`` is for those of gradient descent.
      relative_eps: whether `eps` is in units of the largest eigenvalue.
      root: 4, or 2; see `scale_by_shampoo`.
      method: how to find roots: ``"eigh"`` or ``"newton"``.
      max_error: the error of a root that is still used, at least 0.
      precondition_frequency: the steps between two computations of roots, at least 1.
      start_preconditioning_step: the step of the first roots, at least 0; the steps before are those of `magnitude`.
      block_size: how long the sides of a block may be, at least 1.
      bias_correction: ``False`` uses the factors as they are.
      axes: how both sides are combined; see `scale_by_shampoo`.
      stagger: compute the roots by turns; see `scale_by_shampoo`.
      matrices: which leaves are matrices, and which of their axes are inputs, outputs and batch. See `Matrices`.
      rest: the optimizer of the other leaves, with its own rate; ``adamw(learning_rate, b2=0.95, weight_decay=...)`` by
        default.

    State:
      8 bytes per float32 parameter, and :math:`8 (m^2 + n^2)` for each m x n block.

    Raises:
      ArgumentValueError: the axes of a leaf are not known; the message names the leaf and says what to declare.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params = {"dense": {"kernel": jnp.ones((4, 8)), "bias": jnp.zeros(8)}}
      >>> tx = gradtx.shampoo(1e-3, matrices={"*/kernel": "in out"})
      >>> updates, _ = tx.update(params, tx.init(params), params)

    References:
      - Gupta, Koren, Singer, Shampoo: preconditioned stochastic tensor optimization, 2018, arXiv:1802.09568.
      - Anil et al., Scalable second order optimization for deep learning, 2020, arXiv:2002.09018.
      - Shi et al., A distributed data-parallel PyTorch implementation of the distributed Shampoo optimizer for training
        neural networks at scale, 2023, arXiv:2309.06497.
    """
    preconditioned = scale_by_shampoo(
        b2, eps, relative_eps=relative_eps, root=root, method=method, max_error=max_error,
        precondition_frequency=precondition_frequency, start_preconditioning_step=start_preconditioning_step,
        block_size=block_size, bias_correction=bias_correction, axes=axes, stagger=stagger, matrices=matrices,
    )  # fmt: skip
    lengths = magnitude or scale_by_rms(0.999, bias_correction=True)
    direction = chain(graft(preconditioned, lengths, start_preconditioning_step), ema(b1))
    return matrices_and_rest(direction, rest, learning_rate, weight_decay, weight_decay_mask, matrices)
