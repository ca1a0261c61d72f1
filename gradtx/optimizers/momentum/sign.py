"""Signs of gradients."""

import jax.numpy as jnp

from gradtx.core import Form, leafwise, transformation


@transformation
def scale_by_sign() -> Form:
    r"""Replace each element by its sign: :math:`u = \operatorname{sign}(g)`, with :math:`\operatorname{sign}(0) = 0`.

    A complex element becomes :math:`g/|g|`.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.scale_by_sign().update(jnp.array([2.0, 0.0, -3.0]), gradtx.EmptyState())[0]
      Array([ 1.,  0., -1.], dtype=float32)

    References:
      - Bernstein et al., signSGD: compressed optimisation for non-convex problems, 2018, arXiv:1802.04434.
    """
    return leafwise(lambda g: jnp.sign(g))
