"""AdamP and SGDP: steps of scale-invariant weights without the part that only makes them longer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    optimizer,
    safe_sqrt,
    transformation,
    with_eps,
)
from gradtx.core.leafwise import PARAMS_HINT
from gradtx.errors import ArgumentTypeError, require_extra
from gradtx.gradients import scale_by_learning_rate
from gradtx.gradients.axes import OutputAxis, as_axes, other_axes
from gradtx.optimizers.adam.adam import scale_by_adam
from gradtx.optimizers.momentum.sgd import trace
from gradtx.typing import Decay, DTypeName, Fraction, NonNegative, Params, State, Updates


@transformation
def tangential(
    inner: GradientTransformation,
    delta: NonNegative = 0.1,
    weight_decay: NonNegative = 0.0,
    wd_ratio: Fraction = 0.1,
    eps: NonNegative = 1e-8,
    *,
    output_axis: OutputAxis = -1,
) -> Form:
    r"""Take out of the inner updates the part along the weights, where the loss does not depend on their length.

    .. math::
        u = \begin{cases}
            d - \langle w, d \rangle\, w + \rho \lambda p & \max \cos(g, p) < \delta / \sqrt{n} \\
            d + \lambda p & \text{otherwise}
        \end{cases}
        \qquad w = \frac{p}{\lVert p \rVert + \epsilon}, \quad
        \cos(g, p) = \frac{|\langle g, p \rangle|}{(\lVert g \rVert + \epsilon)(\lVert p \rVert + \epsilon)}

    where d is the inner update. Weights before a normalization have gradients at a right angle to them; momentum has
    not, and makes them grow, which makes later steps shorter than the learning rate says. Whether weights are such is
    read from the gradient: first for each output, with n weights, by the largest cosine of all; if they are not, for
    the whole leaf. Leaves with fewer than two axes are left alone, but decay.

    Args:
      inner: the directions, of a leafwise transformation. With a weight decay they are of ascent, with a learning rate
        after this.
      delta: :math:`\delta`, at least 0.
      weight_decay: :math:`\lambda`, at least 0.
      wd_ratio: :math:`\rho`, in [0, 1]: the part of the decay that weights get whose length does not matter.
      eps: :math:`\epsilon`, at least 0.
      output_axis: the axis (or axes) of a kernel that numbers its outputs: the last one in JAX.

    State:
      That of `inner`.

    Raises:
      ArgumentTypeError: `inner` is not leafwise.
      ArgumentValueError: a leaf does not have the axis.
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.tangential(gradtx.trace(0.9)), jnp.array([[3.0], [4.0]])
      >>> _, state = tx.update(jnp.array([[1.0], [1.0]]), tx.init(p), p)
      >>> tx.update(jnp.array([[4.0], [-3.0]]), state, p)[0].round(3)
      Array([[ 4.144],
             [-3.108]], dtype=float32)

    References:
      - Heo et al., AdamP: slowing down the slowdown for momentum optimizers on scale-invariant weights, 2021,
        arXiv:2006.08217.

    Differences from the authors' code: outputs are on the last axis by default, torch's are on the first.
    """
    form, axes = inner.leafwise, as_axes(output_axis)
    if form is None:
        raise ArgumentTypeError("inner to be leafwise: a function of each leaf", got=repr(inner))

    def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Any]:
        require_extra(params, "params", PARAMS_HINT)
        return form.prepare(updates, state, params, extra)

    def leaf(scalars: Any, index: Any, g: jax.Array, s: Any, p: jax.Array) -> tuple[Any, Any]:
        u, s = form.leaf(scalars, index, g, s, p)
        if g.ndim < 2 or g.size == 0:
            return u + weight_decay * p, s
        everything = tuple(range(g.ndim))
        of_output, of_leaf = (_at_right_angles(g, p, over, delta, eps) for over in (other_axes(p, axes), everything))
        whole = jnp.where(of_leaf, _without(u, p, everything, eps), u)
        projected = jnp.where(of_output, _without(u, p, other_axes(p, axes), eps), whole)
        return projected + jnp.where(of_output | of_leaf, wd_ratio, 1.0) * weight_decay * p, s

    return dataclasses.replace(form, prepare=prepare, leaf=leaf, needs_params=True)


def _product(x: jax.Array, y: jax.Array, over: tuple[int, ...]) -> jax.Array:
    """The inner product over some axes, real, with these kept."""
    return jnp.sum(jnp.real(jnp.conj(x) * y), axis=over, keepdims=True)


def _norm(x: jax.Array, over: tuple[int, ...]) -> jax.Array:
    return safe_sqrt(jnp.sum(abs_sq(x), axis=over, keepdims=True))


def _at_right_angles(g: jax.Array, p: jax.Array, over: tuple[int, ...], delta: Any, eps: Any) -> jax.Array:
    """Whether two arrays are nearly so, in each of their slices over some axes."""
    cosines = jnp.abs(_product(g, p, over)) / (with_eps(_norm(g, over), eps) * with_eps(_norm(p, over), eps))
    size = p.size // cosines.size
    nearly: jax.Array = jnp.max(cosines) < delta * size**-0.5
    return nearly


def _without(u: jax.Array, p: jax.Array, over: tuple[int, ...], eps: Any) -> jax.Array:
    """The part of each slice of an array that is at a right angle to that of another."""
    direction = p / with_eps(_norm(p, over), eps)
    return u - direction * _product(direction, u, over)


@optimizer
def adamp(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    delta: NonNegative = 0.1,
    wd_ratio: Fraction = 0.1,
    *,
    output_axis: OutputAxis = -1,
) -> GradientTransformation:
    r"""AdamP: Adam whose steps do not lengthen weights that are normalized afterwards.

    Composition: `tangential` of `scale_by_adam`, `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.001 in the authors' code.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, and beside the norms of weights, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: decoupled, at least 0.
      delta: how large a cosine may be to be taken for 0, times the root of the number of weights; at least 0.
      wd_ratio: the part of the decay that weights get whose length does not matter, in [0, 1].
      output_axis: the axis (or axes) of a kernel that numbers its outputs.

    State:
      8 bytes per float32 parameter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adamp(1e-3))
      chain(tangential(inner=scale_by_adam()), scale_by_learning_rate(learning_rate=0.001))

    References:
      - Heo et al., AdamP: slowing down the slowdown for momentum optimizers on scale-invariant weights, 2021,
        arXiv:2006.08217.
    """
    return chain(
        tangential(
            scale_by_adam(b1, b2, eps, 0.0, mu_dtype), delta, weight_decay, wd_ratio, eps, output_axis=output_axis
        ),
        scale_by_learning_rate(learning_rate),
    )


@optimizer
def sgdp(
    learning_rate: NonNegative,
    momentum: Decay = 0.9,
    nesterov: bool = False,
    accumulator_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    delta: NonNegative = 0.1,
    wd_ratio: Fraction = 0.1,
    *,
    output_axis: OutputAxis = -1,
) -> GradientTransformation:
    r"""SGDP: gradient descent whose momentum does not lengthen weights that are normalized afterwards.

    Composition: `tangential` of `trace`, `scale_by_learning_rate`.

    The decay is divided by :math:`1 - \mu`, as in the authors' code, to be as strong as an L2 penalty.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      momentum: :math:`\mu`, in [0, 1); 0 in the authors' code.
      nesterov: Nesterov's momentum.
      accumulator_dtype: the dtype of the momentum; at least float32 by default.
      weight_decay: decoupled, at least 0.
      delta: how large a cosine may be to be taken for 0, times the root of the number of weights; at least 0.
      wd_ratio: the part of the decay that weights get whose length does not matter, in [0, 1].
      output_axis: the axis (or axes) of a kernel that numbers its outputs.

    State:
      4 bytes per float32 parameter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.sgdp(0.1)).transforms[0]
      tangential(inner=trace(decay=0.9))

    References:
      - Heo et al., AdamP: slowing down the slowdown for momentum optimizers on scale-invariant weights, 2021,
        arXiv:2006.08217.

    Differences from the authors' code: that also changes the momentum that it keeps, unless it is Nesterov's; here, as
    in the paper, the step alone is changed.
    """
    return chain(
        tangential(
            trace(momentum, nesterov, accumulator_dtype),
            delta,
            weight_decay / (1 - momentum),
            wd_ratio,
            output_axis=output_axis,
        ),
        scale_by_learning_rate(learning_rate),
    )
