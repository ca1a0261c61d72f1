"""SM3: AdaGrad with one number for each index of each axis in place of one for each element."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    divide_by_root,
    leafwise,
    moving_average,
    optimizer,
    transformation,
)
from gradtx.gradients import scale_by_learning_rate
from gradtx.typing import Decay, Fraction, NonNegative, SecondMoments, Updates


class ScaleBySM3State(NamedTuple):
    """The state of `scale_by_sm3`.

    Attributes:
      accumulators: for each leaf a tuple with a vector for each axis, real, in accumulator dtype: bounds on the sums of
        squared gradients of the elements with an index. Of a scalar, its sum.
      mu: the average of the updates, like the params, in accumulator dtype; None without momentum.
    """

    accumulators: SecondMoments
    mu: Updates


@transformation
def scale_by_sm3(b1: Decay | None = 0.9, b2: Fraction = 1.0, eps: NonNegative = 1e-8) -> Form:
    r"""Divide by the root of a bound on the sum of squared gradients that takes one vector for each axis (SM3-II).

    .. math::
        &\nu_t(i, j, \dots) = \min\bigl(\mu^1_{t-1}(i),\; \mu^2_{t-1}(j), \dots\bigr) + |g_t(i, j, \dots)|^2 \\
        &\mu^1_t(i) = \max_{j, \dots} \nu_t(i, j, \dots), \qquad
        \mu^2_t(j) = \max_{i, \dots} \nu_t(i, j, \dots), \quad \dots \\
        &m_t = \beta_1 m_{t-1} + (1-\beta_1) \frac{g_t}{\sqrt{\nu_t + \epsilon}}, \qquad u_t = m_t

    :math:`\nu` is at least AdaGrad's sum of squares, and equal to it for vectors and scalars. It is close where rows
    and columns have scales of their own, as the gradients of embeddings have.

    The momentum is not debiased: the first update is :math:`1-\beta_1` of a step.

    Args:
      b1: :math:`\beta_1`, in [0, 1); None for no momentum, and no memory of it.
      b2: :math:`\beta_2`, in [0, 1]. Below 1, :math:`\nu_t = \beta_2 \min(\dots) + (1-\beta_2)\, |g_t|^2` forgets.
      eps: :math:`\epsilon`, inside the root, at least 0; 0 in the paper. With 0, an element whose gradients were all
        zero gets a zero update.

    State:
      `ScaleBySM3State`: 4 (n + m) bytes for an n by m matrix of float32, 0.004 per parameter where both are 2048; 4
      bytes per parameter of a vector; with momentum 4 more per parameter of all.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_sm3(b1=None, eps=0.0)
      >>> u, state = tx.update(jnp.array([[3.0, 0.0], [0.0, -1.0]]), tx.init(jnp.zeros((2, 2))))
      >>> u, state.accumulators
      (Array([[ 1.,  0.],
             [ 0., -1.]], dtype=float32), (Array([9., 1.], dtype=float32), Array([9., 1.], dtype=float32)))

    References:
      - Anil, Gupta, Koren, Singer, Memory-efficient adaptive optimization, 2019, arXiv:1901.11150.

    Differences from Optax: scalars and complex numbers are leaves like others; `b1` may be None; the state has other
    names.
    """
    share: Any = 1 - b2
    if isinstance(b2, float | int):
        share = share if b2 < 1 else 1.0
    else:
        share = jnp.where(b2 < 1, share, jnp.ones_like(share))

    def init_leaf(p: jax.Array) -> tuple[Any, Any]:
        # The sums are dropped; they lend their shardings.
        vectors = tuple(tree.zeros_accumulator(jnp.sum(p, axis=others), real=True) for others in other_axes(p.ndim))
        return vectors, None if b1 is None else tree.zeros_accumulator(p)

    def leaf(g: jax.Array, vectors: tuple[jax.Array, ...], m: Any) -> tuple[Any, ...]:
        axes = other_axes(g.ndim)
        bounds = [jnp.expand_dims(mu, others) for mu, others in zip(vectors, axes, strict=True)]
        v = b2 * functools.reduce(jnp.minimum, bounds) + abs_sq(g, share)
        # Squares are not negative: zero is the maximum of none, in a leaf without elements.
        vectors = tuple(jnp.max(v, axis=others, initial=0) for others in axes)
        u = divide_by_root(0.0, eps)(g, v)
        m = None if b1 is None else moving_average(b1, m, u)
        return u if m is None else m, vectors, m

    return leafwise(leaf, state=ScaleBySM3State, init_leaf=init_leaf)


def other_axes(ndim: int) -> list[tuple[int, ...]]:
    """For each axis the others; a scalar has no other axes once."""
    return [tuple(k for k in range(ndim) if k != axis) for axis in range(max(ndim, 1))]


@optimizer
def sm3(learning_rate: NonNegative, momentum: Decay | None = 0.9) -> GradientTransformation:
    """SM3: AdaGrad with one number for each index of each axis in place of one for each element.

    Composition: `scale_by_sm3`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; with a warm-up and constant from then on, in the paper.
      momentum: decay of the average of steps, in [0, 1); None for none, and no memory of it.

    State:
      4 bytes per float32 parameter, and a vector for each axis; without momentum the vectors alone.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.sm3(0.1))
      chain(scale_by_sm3(), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Anil, Gupta, Koren, Singer, Memory-efficient adaptive optimization, 2019, arXiv:1901.11150.
    """
    return chain(scale_by_sm3(momentum), scale_by_learning_rate(learning_rate))
