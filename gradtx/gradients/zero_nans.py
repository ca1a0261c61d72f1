"""Gradients without NaNs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import Form, leafwise, transformation
from gradtx.typing import Updates


class ZeroNansState(NamedTuple):
    """The state of `zero_nans`.

    Attributes:
      found_nan: like the params, whether the last update had a NaN in the leaf, bool [].
    """

    found_nan: Updates


@transformation
def zero_nans() -> Form:
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

    def init_leaf(p: jax.Array) -> jax.Array:
        return jnp.zeros((), bool)

    def leaf(g: jax.Array, found: jax.Array) -> tuple[jax.Array, jax.Array]:
        nan = jnp.isnan(g)
        return jnp.where(nan, 0, g), jnp.any(nan)

    return leafwise(leaf, state=ZeroNansState, init_leaf=init_leaf)
