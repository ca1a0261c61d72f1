"""Multiplication of each leaf of the updates by the size of its parameter."""

from typing import Any

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Form, leafwise, transformation
from gradtx.typing import NonNegative


@transformation
def scale_by_param_block_norm(min_scale: NonNegative = 1e-3) -> Form:
    r"""Multiply each leaf by the norm of its parameter: :math:`u = \max(\lVert p \rVert, \kappa)\, g`.

    Args:
      min_scale: :math:`\kappa`, at least 0. With 0, a parameter that is all zeros would stay so.

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_param_block_norm(), jnp.array([3.0, 4.0])
      >>> tx.update(jnp.array([1.0, -1.0]), tx.init(p), p)[0]
      Array([ 5., -5.], dtype=float32)

    References:
      - Bernstein et al., On the distance between two neural networks and the stability of learning, 2020,
        arXiv:2002.03432.
    """

    def leaf(g: jax.Array, *, p: jax.Array) -> Any:
        return jnp.maximum(tree.global_norm(p), min_scale) * g

    return leafwise(leaf)


@transformation
def scale_by_param_block_rms(min_scale: NonNegative = 1e-3) -> Form:
    r"""Multiply each leaf by the root mean square of its parameter.

    .. math::
        u = \max(\mathrm{RMS}(p), \kappa)\, g, \qquad \mathrm{RMS}(p) = \sqrt{\tfrac1n \textstyle\sum_i |p_i|^2}

    An update of root mean square r then changes a parameter by the share r of itself, whatever its scale.

    Args:
      min_scale: :math:`\kappa`, at least 0. With 0, a parameter that is all zeros would stay so.

    State:
      `EmptyState`: nothing.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_param_block_rms(), jnp.array([1.0, -7.0])
      >>> tx.update(jnp.array([1.0, -1.0]), tx.init(p), p)[0]
      Array([ 5., -5.], dtype=float32)

    References:
      - Shazeer, Stern, Adafactor: adaptive learning rates with sublinear memory cost, 2018, arXiv:1804.04235.
    """

    def leaf(g: jax.Array, *, p: jax.Array) -> Any:
        rms = tree.global_norm(p) * max(p.size, 1) ** -0.5
        return jnp.maximum(rms, min_scale) * g

    return leafwise(leaf)
