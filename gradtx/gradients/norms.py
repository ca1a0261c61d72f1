"""Norms of the parts of an array."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import cond, safe_sqrt


def norms(squares: Callable[[Any], jax.Array], dtype: Any) -> jax.Array:
    """The roots of some sums of squares. If one of them is infinite, the elements are read again, and made smaller.

    Without that, gradients beyond 1e19 in float32 would have infinite norms. The second reading is a branch: an
    ordinary step does not make it. Its sums may vanish where those of the first did not, so that it is for the others.

    Args:
      squares: ``squares(scale)`` returns the sums of squares of the elements times `scale`, which is 1 or has the shape
        of the sums.
      dtype: the narrowest real dtype of the elements.
    """
    sums = squares(1)
    overflowed = sums == jnp.inf

    def again() -> jax.Array:
        # Squares of the largest floats are then a sixteenth of the largest: their sum is infinite if the norm is.
        small = np.ldexp(np.ones((), sums.dtype), -(np.finfo(dtype).maxexp // 2) - 2)
        scale = jnp.where(overflowed, small, 1)
        return safe_sqrt(squares(scale)) / scale

    norm: jax.Array = cond(jnp.any(overflowed), again, lambda: safe_sqrt(sums))
    return norm
