"""Repairs of gradients before they are used."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Pair, leafwise, transformation
from gradtx.transforms.axes import OutputAxis, as_axes, other_axes
from gradtx.typing import Params, State, Updates


@transformation
def centralize(output_axis: OutputAxis = -1) -> Pair:
    r"""Subtract from each gradient its mean over all axes but the output's (gradient centralization).

    .. math::
        u_{\dots j} = g_{\dots j} - \frac{1}{|I|} \sum_{i \in I} g_{i j},
        \qquad j \text{ on the output axis, } I \text{ all others}

    Leaves with fewer than two axes pass through, and so do those whose axes all number outputs.

    Args:
      output_axis: the axis (or axes) of a kernel that numbers its outputs: the last one in JAX, where kernels are
        [..., in, out]. Optax takes axis 0, torch's convention, whatever the layout.

    State:
      `EmptyState`: nothing.

    Raises:
      ArgumentValueError: a leaf does not have the axis.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> g = jnp.array([[1.0, 10.0], [3.0, 30.0]])
      >>> gradtx.centralize().update(g, gradtx.EmptyState())[0]
      Array([[ -1., -10.],
             [  1.,  10.]], dtype=float32)

    References:
      - Yong et al., Gradient centralization: a new optimization technique for deep neural networks, 2020,
        arXiv:2004.01461.
    """
    axes = as_axes(output_axis)

    def leaf(g: jax.Array) -> jax.Array:
        if g.ndim < 2:
            return g
        others = other_axes(g, axes)
        if not others or math.prod(g.shape[axis] for axis in others) == 0:
            return g
        return g - jnp.mean(g, axis=others, keepdims=True)

    return leafwise(leaf)


class ZeroNansState(NamedTuple):
    """The state of `zero_nans`.

    Attributes:
      found_nan: like the params, whether the last update had a NaN in the leaf, bool [].
    """

    found_nan: Updates


@transformation
def zero_nans() -> Pair:
    r"""Replace each NaN by zero, and say which leaves had one.

    Infinities pass through: they mean something else (overflow); `clip` bounds them.

    State:
      `ZeroNansState`: one boolean per leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.zero_nans()
      >>> tx.update(jnp.array([jnp.nan, 1.0]), tx.init(jnp.zeros(2)))
      (Array([0., 1.], dtype=float32), ZeroNansState(found_nan=Array(True, dtype=bool)))
    """

    def init(params: Params) -> ZeroNansState:
        return ZeroNansState(jax.tree.map(lambda _: jnp.zeros((), bool), params))

    def update(
        updates: Updates, state: ZeroNansState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        treedef: Any
        present, treedef = jax.tree.flatten(updates, is_leaf=lambda g: g is None)
        before = treedef.flatten_up_to(state.found_nan)
        found = [
            old if g is None or g.dtype == jax.dtypes.float0 else jnp.any(jnp.isnan(g))
            for g, old in zip(present, before, strict=True)
        ]
        cleaned = tree.map_leaves(lambda g: jnp.where(jnp.isnan(g), 0, g), updates)
        return cleaned, ZeroNansState(treedef.unflatten(found))

    return init, update
