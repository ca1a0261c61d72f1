"""Grams: how far to go from the optimizer, which way from the gradient."""

import jax
import jax.numpy as jnp

from gradtx.core import Form, GradientTransformation, transformation
from gradtx.wrappers.cautious import ascent, beside_gradients


@transformation
def grams(inner: GradientTransformation) -> Form:
    r"""Give each element of an update the sign of its gradient: :math:`u \leftarrow \operatorname{sign}(g)\, |u|`.

    Momentum then decides on the size of a step alone. Where the gradient is 0 there is no step. Of a complex number,
    the direction is that of :math:`g`.

    The authors' optimizer, with weight decay outside, is ``chain(grams(scale_by_adam()), add_decayed_weights(0.01),
    scale_by_learning_rate(0.001))``. A whole optimizer is a step down, and gets the opposite sign: see `cautious` for
    what is taken for one.

    Args:
      inner: a direction of ascent, such as `scale_by_adam`, or an optimizer.

    State:
      That of the inner transformation.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.grams(gradtx.trace(0.5))
      >>> _, state = tx.update(jnp.array([4.0, 1.0]), tx.init(jnp.zeros(2)))
      >>> tx.update(jnp.array([-1.0, 1.0]), state)[0]
      Array([-1. ,  1.5], dtype=float32)

    References:
      - Cao, Li, Song, Grams: gradient descent with adaptive momentum scaling, 2024, arXiv:2412.17107.
    """
    sign = ascent(inner)

    def leaf(u: jax.Array, g: jax.Array) -> jax.Array:
        return sign * jnp.abs(u) * jnp.sign(g)

    return beside_gradients(inner, leaf)
