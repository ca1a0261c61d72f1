"""Adam-mini: Adam with one second moment for each block of a leaf."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    complement_of_power,
    divide_by_root,
    increment,
    leafwise,
    moving_average,
    optimizer,
    transformation,
    zero_count,
)
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.tree.paths import is_inert, is_none
from gradtx.tree.select import matches, no_match
from gradtx.typing import Count, Decay, DTypeName, Mask, NonNegative, Params, SecondMoments, Updates


class ScaleByAdamMiniState(NamedTuple):
    """The state of `scale_by_adam_mini`.

    Attributes:
      count: the number of updates, int32 [].
      mu: the first moment, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the second moment of each block, real, in accumulator dtype: with as many axes as the leaf, of which each is
        as long as there are blocks along it.
    """

    count: Count
    mu: Updates
    nu: SecondMoments


@transformation
def scale_by_adam_mini(
    blocks: Mapping[str, Any],
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
) -> Form:
    r"""Rescale updates by the Adam rule, with one second moment for each block of a leaf (Adam-mini).

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad
        v^b_t = \beta_2 v^b_{t-1} + (1-\beta_2) \operatorname{mean}_{i \in b} |g_{t,i}|^2, \quad
        u_{t,i} = \frac{\hat m_{t,i}}{\sqrt{\hat v^b_t + \bar\epsilon} + \epsilon} \text{ for } i \in b

    with the bias corrections of Adam. `blocks` says by globs on the paths of leaves what a block is; the first that
    matches counts, and a leaf that matches none has blocks of one element, as in Adam:

    - an axis, or a tuple of axes: a block for each index along it, over all other axes. ``-1`` is a block for each
      output of a kernel [..., in, out], ``0`` one for each row of an embedding;
    - a mapping from axes to numbers: that many blocks of equal length along these axes. ``{-1: heads}`` is a block for
      each head of a kernel [in, heads * size]; a kernel [in, heads, size] has them with ``1``;
    - ``()``: one block, the whole leaf; ``None``: one for each element. A scalar is a block of its own in any case.

    The authors find blocks in which the curvature is of one size: heads of queries and keys; outputs of values, of
    projections and of multilayer perceptrons; rows of embeddings and of the head, which is an output layer; the whole
    of a norm's scale. Blocks that are too large make training unstable: in the authors' first version, that was so for
    whole embeddings.

    Args:
      blocks: for globs on leaf paths, the axes that number the blocks.
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByAdamMiniState`: 4 bytes per float32 parameter (2 with ``mu_dtype="bfloat16"``), 4 per block, and a
      counter.

    Raises:
      ArgumentTypeError: an entry of `blocks` is none of these.
      ArgumentValueError: a glob matches no leaf, a leaf lacks an axis, or an axis cannot be cut into that many parts.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adam_mini({"*kernel": -1, "*query": {-1: 2}})
      >>> params = {"kernel": jnp.zeros((8, 3)), "query": jnp.zeros((8, 4)), "bias": jnp.zeros(3)}
      >>> {k: v.shape for k, v in tx.init(params).nu.items()}
      {'bias': (3,), 'kernel': (1, 3), 'query': (1, 2)}

    References:
      - Zhang et al., Adam-mini: use fewer learning rates to gain more, 2024, arXiv:2406.16793.

    Differences from the authors' code: blocks are declared, and not read from the names of layers; axes are those of
    JAX, where outputs come last. Optax has no Adam-mini.
    """
    for glob, entry in blocks.items():
        _check_entry(glob, entry)

    def init(params: Params) -> ScaleByAdamMiniState:
        for glob in blocks if jax.tree.leaves(params) else ():
            if not any(matches(name, glob) for name in jax.tree.leaves(tree.leaf_names(params))):
                raise no_match(glob, params)
        nu = jax.tree.map(zeros, params, tree.leaf_names(params), is_leaf=is_none)
        return ScaleByAdamMiniState(zero_count(), tree.zeros_accumulator(params, dtype=mu_dtype), nu)

    def zeros(p: Any, name: str) -> Any:
        if is_inert(p):
            return None
        p = jnp.asarray(p)
        entry = next((entry for glob, entry in blocks.items() if matches(name, glob)), None)
        try:
            counts = _block_counts(p.shape, entry)
        except GradtxError as error:
            error.at = name
            raise
        # The sums are dropped; they lend their shardings.
        return tree.zeros_accumulator(_block_sums(p, counts).reshape(counts), real=True)

    def prepare(state: ScaleByAdamMiniState) -> tuple[ScaleByAdamMiniState, dict[str, Any]]:
        count = increment(state.count)
        weights = {"mu_weight": complement_of_power(b1, count), "nu_weight": complement_of_power(b2, count)}
        return state._replace(count=count), {"ratio": divide_by_root(eps, eps_root, **weights)}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, ratio: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        size = max(g.size // max(v.size, 1), 1)
        v = moving_average(b2, v, _block_sums(abs_sq(g), v.shape).reshape(v.shape) / size)
        cut = _cut(g.shape, v.shape)
        u = ratio(m.reshape(cut), v.reshape([n if i % 2 == 0 else 1 for i, n in enumerate(cut)]))
        return u.reshape(g.shape), m, v

    form = leafwise(leaf, state=ScaleByAdamMiniState, init_leaf=lambda p: (p, p), prepare=prepare)
    return dataclasses.replace(form, init=init)


def _check_entry(glob: Any, entry: Any) -> None:
    """Refuse what does not say how to cut a leaf."""
    axes = list(entry) if isinstance(entry, tuple | list | Mapping) else [] if entry is None else [entry]
    numbers = list(entry.values()) if isinstance(entry, Mapping) else []
    if not isinstance(glob, str) or not all(type(x) is int for x in (*axes, *numbers)):
        wanted = "blocks to map globs to an axis, a tuple of axes, numbers of blocks by axis, or None"
        raise ArgumentTypeError(wanted, got=f"{glob!r}: {entry!r}")
    if any(number < 1 for number in numbers):
        raise ArgumentValueError("numbers of blocks of at least 1", got=f"{glob!r}: {entry!r}")


def _block_counts(shape: tuple[int, ...], entry: Any) -> tuple[int, ...]:
    """The number of blocks along each axis of a leaf."""
    if entry is None or not shape:
        return shape
    named = (
        entry if isinstance(entry, Mapping) else dict.fromkeys(entry if isinstance(entry, tuple | list) else [entry])
    )
    counts = [1] * len(shape)
    for axis, number in named.items():
        if not -len(shape) <= axis < len(shape):
            raise ArgumentValueError(f"a leaf with axis {axis}", got=f"one of shape {list(shape)}")
        if number is not None and shape[axis] % number:
            raise ArgumentValueError(f"an axis {axis} of {number} equal parts", got=f"a leaf of shape {list(shape)}")
        counts[axis] = shape[axis] if number is None else number
    return tuple(counts)


def _cut(shape: tuple[int, ...], counts: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with each axis cut in two: the number of blocks along it, and how long one is."""
    return tuple(n for size, count in zip(shape, counts, strict=True) for n in (count, size // max(count, 1)))


def _block_sums(x: jax.Array, counts: tuple[int, ...]) -> jax.Array:
    """The sum over each block."""
    return jnp.sum(x.reshape(_cut(x.shape, counts)), axis=tuple(range(1, 2 * x.ndim, 2)))


@optimizer
def adam_mini(
    learning_rate: NonNegative,
    blocks: Mapping[str, Any],
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""Adam-mini with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{Adam-mini} + \lambda p)`.

    Composition: `scale_by_adam_mini`, `add_decayed_weights`, `scale_by_learning_rate`.

    Half the state of Adam, with Adam's learning rates. See `scale_by_adam_mini` for what blocks to declare.

    Args:
      learning_rate: :math:`\eta`, at least 0; that of Adam.
      blocks: for globs on leaf paths, the axes that number the blocks.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moments, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0; 0 as in the authors' code.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      4 bytes per float32 parameter, and 4 per block.

    Raises:
      ArgumentTypeError, ArgumentValueError: as in `scale_by_adam_mini`.

    Example:
      >>> import gradtx
      >>> heads = 12
      >>> blocks = {"*embedding": 0, "*/query/kernel": {-1: heads}, "*/key/kernel": {-1: heads}, "*kernel": -1}
      >>> gradtx.adam_mini(3e-4, blocks, b2=0.95, weight_decay=0.1, mask="*kernel").learning_rate
      0.0003

    References:
      - Zhang et al., Adam-mini: use fewer learning rates to gain more, 2024, arXiv:2406.16793.
    """
    return chain(
        scale_by_adam_mini(blocks, b1, b2, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
