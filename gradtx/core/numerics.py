"""Arithmetic that many transformations share: counters, bias corrections, moving averages, squares."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.tree.arithmetic import cast


def zero_count() -> jax.Array:
    """A step counter at zero, int32 []."""
    return jnp.zeros((), jnp.int32)


@jax.jit
def increment(count: jax.Array) -> jax.Array:
    """The counter plus one, saturating at the largest int32."""
    return jnp.minimum(count, np.iinfo(np.int32).max - 1).astype(jnp.int32) + 1


def complement_of_power(decay: Any, count: Any) -> Any:
    r"""The bias correction :math:`1 - \beta^t`, accurate to the last bit or two.

    Written plainly in float32, ``1 - 0.999**1`` has three correct digits fewer than float32 can hold; as
    ``-expm1(t log(decay))`` with the logarithm of a Python number taken in double precision, it has all of them.
    """
    if not isinstance(decay, float | int):
        return _complement_of_array_power(decay, count)
    return _complement_of_exp(math.log(decay), count) if decay > 0 else jnp.ones((), jnp.result_type(float))


@functools.partial(jax.jit, static_argnums=0)
def _complement_of_exp(rate: float, count: Any) -> jax.Array:
    return -jnp.expm1(rate * jnp.asarray(count, jnp.result_type(float)))


@jax.jit
def _complement_of_array_power(decay: jax.Array, count: Any) -> jax.Array:
    count = jnp.asarray(count, decay.dtype)
    positive, high = decay > 0, decay > 0.5
    near_zero = jnp.log(jnp.where(positive, decay, 0.5))
    near_one = jnp.log1p(jnp.where(high, decay, 0.75) - 1)
    correction = -jnp.expm1(count * jnp.where(high, near_one, near_zero))
    return jnp.where(positive, correction, 1 - jnp.where(count == 1, decay, 0))


def moving_average(decay: Any, m: jax.Array, x: jax.Array) -> jax.Array:
    r""":math:`\beta\, m + (1-\beta)\, x`."""
    average: jax.Array = decay * m + (1 - decay) * x
    return average


def moving_average_sq(decay: Any, v: jax.Array, x: jax.Array) -> jax.Array:
    r""":math:`\beta\, v + (1-\beta)\, |x|^2`, real."""
    average: jax.Array = decay * v + abs_sq(x, 1 - decay)
    return average


def abs_sq(x: jax.Array, weight: Any = None) -> jax.Array:
    r""":math:`w\,|x|^2`, real; w is 1 if there is none.

    The weight goes to one of the factors. If :math:`|x|^2` were a product of its own, and the program takes the norm of
    x as well, to clip it or to report it, XLA's CPU backend would write the squares for both: 8 bytes per element.
    """
    if jnp.iscomplexobj(x):
        square = jnp.real(x) ** 2 + jnp.imag(x) ** 2
        return square if weight is None else weight * square
    return (x if weight is None else weight * x) * x


def as_stored(x: jax.Array, dtype: Any) -> jax.Array:
    """The array rounded to the dtype in which it will be stored, in its own dtype (unchanged if `dtype` is None).

    An update computed from it agrees with the stored array, and not with the wider one before it was rounded.
    """
    if dtype is None or jnp.iscomplexobj(x) or jnp.dtype(dtype).itemsize >= x.dtype.itemsize:
        return x
    return cast(rounded(x, dtype), x.dtype)


def rounded(x: jax.Array, dtype: Any) -> jax.Array:
    """The nearest numbers of a narrower dtype, in that dtype.

    The rounding is explicit, because XLA may leave out a cast to a narrow dtype and back.
    """
    narrow: Any = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    # Formats of 8 bits have no infinity, or other exponents than reduce_precision knows.
    if narrow.bits == 16:
        normal = jax.lax.reduce_precision(x, narrow.nexp, narrow.nmant)
        if narrow.minexp > jnp.finfo(x.dtype).minexp:  # type: ignore[no-untyped-call]
            # reduce_precision makes float16's subnormal numbers zero: those below 6e-5.
            step = float(narrow.smallest_subnormal)
            normal = jnp.where(jnp.abs(x) < float(narrow.tiny), jnp.round(x / step) * step, normal)
        x = normal
    return cast(x, dtype)
