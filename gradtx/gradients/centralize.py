"""Gradients without their mean."""

import math

import jax
import jax.numpy as jnp

from gradtx.core import Form, leafwise, transformation
from gradtx.gradients.axes import OutputAxis, as_axes, other_axes


@transformation
def centralize(output_axis: OutputAxis = -1) -> Form:
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
