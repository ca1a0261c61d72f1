"""Adafactor: second moments of a matrix kept as means of its rows and of its columns."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    divide_by_root,
    increment,
    leafwise,
    one_for_zero,
    optimizer,
    safe_sqrt,
    transformation,
)
from gradtx.errors import ArgumentValueError
from gradtx.gradients import (
    add_decayed_weights,
    clip_by_block_rms,
    scale,
    scale_by_learning_rate,
    scale_by_param_block_rms,
)
from gradtx.optimizers.momentum.ema import ema
from gradtx.typing import Count, Decay, DTypeName, Fraction, Mask, NonNegative, SecondMoments


class FactoredState(NamedTuple):
    """The state of `scale_by_factored_rms`. A leaf has an entry in `v_row` and `v_col`, or in `v`, else None.

    Attributes:
      count: the number of updates, int32 [].
      v_row: the mean square over the largest axis, so of the shape without it; real, in accumulator dtype.
      v_col: the mean square over the second largest axis, likewise.
      v: the mean square of each element, like the params, real, in accumulator dtype.
    """

    count: Count
    v_row: SecondMoments
    v_col: SecondMoments
    v: SecondMoments


@transformation
def scale_by_factored_rms(
    factored: bool = True,
    decay_rate: NonNegative = 0.8,
    step_offset: NonNegative = 0,
    min_dim_size_to_factor: int = 128,
    epsilon: NonNegative = 1e-30,
    *,
    max_decay: Fraction = 1.0,
) -> Form:
    r"""Divide by the root of a mean square that is kept as a product of two vectors (Adafactor's second moment).

    .. math::
        &\beta_t = 1 - t^{-c}, \qquad s_t = |g_t|^2 + \epsilon \\
        &R_t = \beta_t R_{t-1} + (1-\beta_t) \operatorname{mean}_j s_t, \qquad
        C_t = \beta_t C_{t-1} + (1-\beta_t) \operatorname{mean}_i s_t \\
        &u_t = \frac{g_t}{\sqrt{V_t}}, \qquad V_t = \frac{R_t\, C_t}{\operatorname{mean} R_t}

    The first :math:`\beta` is 0: nothing needs a bias correction. i and j are the two largest axes of a leaf, if both
    have at least `min_dim_size_to_factor` elements; further axes number matrices of their own. Other leaves keep
    :math:`V_t = \beta_t V_{t-1} + (1-\beta_t)\, s_t` for each element.

    :math:`\beta_t` grows towards 1, and V forgets ever less. `max_decay` bounds it, for long runs whose gradients
    change (0.99 or 0.999 in Zhai et al.).

    Args:
      factored: ``False`` keeps the second moment of each element of all leaves.
      decay_rate: c, at least 0; 0.8 in the paper.
      step_offset: the number of updates, at least 0, after which t counts from 1: for a state that another task left
        behind, whose counter goes on. Until then :math:`\beta` is 0.
      min_dim_size_to_factor: the least size of the two largest axes, at least 1.
      epsilon: :math:`\epsilon`, added to the squares, at least 0. With 0, an element whose gradients were all zero gets
        a zero update.
      max_decay: the bound on :math:`\beta_t`, in [0, 1].

    State:
      `FactoredState`: 4 (n + m) bytes for an n by m matrix of float32, 0.004 per parameter where both are 2048; 4 bytes
      per parameter of other leaves; and a counter.

    Raises:
      ArgumentValueError: `min_dim_size_to_factor` is less than 1.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_factored_rms(min_dim_size_to_factor=2)
      >>> u, state = tx.update(jnp.array([[1.0, -2.0, 4.0], [2.0, 4.0, -8.0]]), tx.init(jnp.zeros((2, 3))))
      >>> u, state.v_row.shape, state.v_col.shape
      (Array([[ 1., -1.,  1.],
             [ 1.,  1., -1.]], dtype=float32), (2,), (3,))

    References:
      - Shazeer, Stern, Adafactor: adaptive learning rates with sublinear memory cost, 2018, arXiv:1804.04235.
      - Zhai et al., Scaling vision transformers, 2022, arXiv:2106.04560 (for `max_decay`).

    Differences from Optax: `params` are not needed; means are at least float32; a leaf has None where it has no mean,
    not a zero; `max_decay` stands for ``decay_rate_fn``; before `step_offset` updates, Optax's are NaN. torch's
    ``Adafactor`` and the code of Hugging Face factor the last two axes, of any size.
    """
    if min_dim_size_to_factor < 1:
        raise ArgumentValueError("min_dim_size_to_factor of at least 1", got=str(min_dim_size_to_factor))

    def init_leaf(p: jax.Array) -> tuple[Any, Any, Any]:
        axes = factored_axes(p.shape, min_dim_size_to_factor) if factored else None
        if axes is None:
            return None, None, tree.zeros_accumulator(p, real=True)
        return *zero_means(p, axes), None

    def prepare(state: FactoredState) -> tuple[FactoredState, dict[str, Any]]:
        count = increment(state.count)
        t = jnp.maximum(jnp.asarray(count, jnp.result_type(float)) - step_offset, 1)
        # Both weights from the exponent: of a small decay_rate, 1 - t^-c keeps few of float32's digits.
        exponent = -decay_rate * jnp.log(t)
        keep, weight = jnp.minimum(-jnp.expm1(exponent), max_decay), jnp.maximum(jnp.exp(exponent), 1 - max_decay)
        return state._replace(count=count), {"keep": keep, "weight": weight}

    def leaf(g: jax.Array, r: Any, c: Any, v: Any, *, keep: Any, weight: Any) -> tuple[Any, ...]:
        square = bounded_square(g, epsilon)
        if v is not None:
            v = keep * v + weight * square
            return divide_by_root(0.0)(g, v), None, None, v
        axes = factored_axes(g.shape, min_dim_size_to_factor) or (0, 0)
        r, c = next_means(r, c, square, axes, keep, weight)
        return divide_by_means(g, r, c, axes), r, c, None

    return leafwise(leaf, state=FactoredState, init_leaf=init_leaf, prepare=prepare)


def factored_axes(shape: tuple[int, ...], min_size: int) -> tuple[int, int] | None:
    """The largest and the second largest axis, of equal ones the later first; None if one is too small."""
    if len(shape) < 2:
        return None
    *_, second, largest = sorted(range(len(shape)), key=shape.__getitem__)
    return None if shape[second] < min_size else (largest, second)


def zero_means(p: jax.Array, axes: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Zeros for the means over either axis."""
    # The sums are dropped; they lend their shardings.
    r, c = (tree.zeros_accumulator(jnp.sum(p, axis=axis), real=True) for axis in axes)
    return r, c


def bounded_square(g: jax.Array, epsilon: Any) -> jax.Array:
    r""":math:`|g|^2 + \epsilon`. If squares overflowed, their mean would be infinite, and that by itself NaN."""
    largest = np.finfo(g.dtype).max / max(g.size, 1)
    return jnp.minimum(abs_sq(g) + epsilon, largest)


def next_means(
    r: jax.Array, c: jax.Array, square: jax.Array, axes: tuple[int, int], keep: Any, weight: Any
) -> tuple[jax.Array, jax.Array]:
    """The moving means over either axis, after some more squares."""
    r = keep * r + weight * jnp.mean(square, axis=axes[0])
    c = keep * c + weight * jnp.mean(square, axis=axes[1])
    return r, c


def divide_by_means(x: jax.Array, r: jax.Array, c: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """An array over the root of the product of the means over either axis."""
    largest_axis, second_axis = axes
    # Roots before products: where all gradients are zero, the square of epsilon would vanish.
    mean = jnp.mean(r, axis=second_axis - (second_axis > largest_axis), keepdims=True)
    by_row = safe_sqrt(mean) / one_for_zero(safe_sqrt(r))
    by_column = 1 / one_for_zero(safe_sqrt(c))
    return x * jnp.expand_dims(by_row, largest_axis) * jnp.expand_dims(by_column, second_axis)


@optimizer
def adafactor(
    learning_rate: NonNegative | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: NonNegative = 0.8,
    decay_offset: NonNegative = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: NonNegative | None = 1.0,
    momentum: Decay | None = None,
    dtype_momentum: DTypeName | None = None,
    weight_decay_rate: NonNegative | None = None,
    eps: NonNegative = 1e-30,
    factored: bool = True,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:
    r"""Adafactor: steps relative to the size of a parameter, and next to no state.

    .. math::
        U_t = \frac{g_t}{\sqrt{V_t}}, \qquad \hat U_t = \frac{U_t}{\max(1, \mathrm{RMS}(U_t) / d)}, \qquad
        p \leftarrow p - \eta_t \max(\mathrm{RMS}(p), 10^{-3})\, \hat U_t - \lambda p

    Composition: `scale_by_factored_rms`, `clip_by_block_rms`, `scale_by_learning_rate`, `scale_by_param_block_rms`,
    `ema`, `add_decayed_weights`, `scale`; those that are switched off are left out.

    The learning rate is the share of itself by which a parameter changes in a step: 0.01 is usual, 1 is not. In the
    paper it is :math:`\min(10^{-2}, 1/\sqrt t)`. With ``multiply_by_parameter_scale=False`` it is absolute, as in
    Adam. The weight decay is *not* multiplied by it.

    Args:
      learning_rate: :math:`\eta`, at least 0; None for 1, as where a later member of a chain scales.
      min_dim_size_to_factor: the least size of the two largest axes of a leaf whose moment is factored, at least 1.
      decay_rate: c in :math:`\beta_t = 1 - t^{-c}`, at least 0.
      decay_offset: the number of updates, at least 0, after which t counts from 1.
      multiply_by_parameter_scale: multiply by the root mean square of the parameter.
      clipping_threshold: d, at least 0; None for no bound.
      momentum: decay of a moving average of the steps, in [0, 1), not debiased; None, as in the paper, for none.
      dtype_momentum: the dtype of that average; at least float32 by default.
      weight_decay_rate: :math:`\lambda`, at least 0; None for none.
      eps: added to squared gradients, at least 0.
      factored: ``False`` keeps the second moment of each element.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      0.004 bytes per parameter of a 2048 by 2048 matrix of float32, 4 per parameter of small leaves and vectors; 4 more
      with momentum.

    Raises:
      ArgumentValueError: `min_dim_size_to_factor` is less than 1.
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import gradtx
      >>> [tx.factory.name for tx in gradtx.expand(gradtx.adafactor(0.01)).transforms]
      ['scale_by_factored_rms', 'clip_by_block_rms', 'scale_by_learning_rate', 'scale_by_param_block_rms', 'scale']

    References:
      - Shazeer, Stern, Adafactor: adaptive learning rates with sublinear memory cost, 2018, arXiv:1804.04235.

    Differences from the paper: what scales the parameter is a factor of its own, and the rate is constant unless it is
    a schedule. torch and Keras let it fall as :math:`\min(\eta, 1/\sqrt t)`, and decay weights times the rate.

    Differences from Optax: those of `scale_by_factored_rms`; the average of float64 leaves is float64.
    """
    members = [
        scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps),
        None if clipping_threshold is None else clip_by_block_rms(clipping_threshold),
        None if learning_rate is None else scale_by_learning_rate(learning_rate, flip_sign=False),
        scale_by_param_block_rms() if multiply_by_parameter_scale else None,
        None if momentum is None else ema(momentum, debias=False, accumulator_dtype=dtype_momentum),
        None if weight_decay_rate is None else add_decayed_weights(weight_decay_rate, weight_decay_mask),
        scale(-1.0),
    ]
    return chain(*[tx for tx in members if tx is not None])
