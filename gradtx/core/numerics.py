"""Scalars every transformation needs: counters, bias corrections, and roots that are safe to differentiate."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.tree.arithmetic import cast


def zero_count() -> jax.Array:
    """A step counter at zero, int32 []."""
    return jnp.zeros((), jnp.int32)


def increment(count: jax.Array) -> jax.Array:
    """The counter plus one, saturating at the largest int32."""
    more = count < np.iinfo(count.dtype).max
    return jnp.add(count, more.astype(count.dtype))


def complement_of_power(decay: Any, count: Any) -> Any:
    r"""The bias correction :math:`1 - \beta^t`, accurate to the last bit or two.

    Written plainly in float32, ``1 - 0.999**1`` has three correct digits fewer than float32 can hold; as
    ``-expm1(t log(decay))`` with the logarithm of a Python number taken in double precision, it has all of them.
    """
    if isinstance(decay, float | int):
        count = jnp.asarray(count, jnp.result_type(float))
        return -jnp.expm1(count * math.log(decay)) if decay > 0 else jnp.ones_like(count)
    count = jnp.asarray(count, decay.dtype)
    positive, high = decay > 0, decay > 0.5
    near_zero = jnp.log(jnp.where(positive, decay, 0.5))
    near_one = jnp.log1p(jnp.where(high, decay, 0.75) - 1)
    correction = -jnp.expm1(count * jnp.where(high, near_one, near_zero))
    return jnp.where(positive, correction, 1 - jnp.where(count == 1, decay, 0))


def abs_sq(x: jax.Array, weight: Any = None) -> jax.Array:
    r""":math:`w\,|x|^2`, real; w is 1 if there is none.

    The weight goes to one of the factors. If :math:`|x|^2` were a product of its own, and the program takes the norm of
    x as well, to clip it or to report it, XLA's CPU backend would write the squares for both: 8 bytes per element.
    """
    if jnp.iscomplexobj(x):
        square = jnp.real(x) ** 2 + jnp.imag(x) ** 2
        return square if weight is None else weight * square
    return (x if weight is None else weight * x) * x


@jax.custom_jvp
def _sqrt(x: Any) -> jax.Array:
    return jnp.sqrt(x)


@_sqrt.defjvp
def _sqrt_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    positive = x > 0
    root = _sqrt(x)
    return root, jnp.where(positive, dx / (2 * jnp.where(positive, root, 1)), 0)


_compiled_sqrt = jax.jit(_sqrt)  # costs an eager update one dispatch


def safe_sqrt(x: Any) -> jax.Array:
    """The square root, with derivative 0 instead of infinity at 0.

    A parameter whose gradient is exactly zero has second moment zero; the derivative of its update is then finite.
    """
    root: jax.Array = _sqrt(x) if isinstance(x, jax.core.Tracer) else _compiled_sqrt(x)
    return root


def as_stored(x: jax.Array, dtype: Any) -> jax.Array:
    """The array rounded to the dtype in which it will be stored, in its own dtype (unchanged if `dtype` is None).

    What is computed from it then reads the stored array, and not what the array was made of. In a program, the first
    rounding is explicit, because XLA may leave out a cast to a narrow dtype and back.
    """
    if dtype is None or jnp.iscomplexobj(x) or jnp.dtype(dtype).itemsize >= x.dtype.itemsize:
        return x
    narrow: Any = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    # Formats of 8 bits have no infinity, or other exponents than reduce_precision knows.
    if narrow.bits == 16 and isinstance(x, jax.core.Tracer):
        x = jax.lax.reduce_precision(x, narrow.nexp, narrow.nmant)
    return cast(cast(x, dtype), x.dtype)


def nonzero(x: jax.Array) -> jax.Array:
    """The array with 1 for each 0: a denominator that is zero only where the numerator is."""
    return x + (x == 0).astype(x.dtype)


def plus(x: jax.Array, eps: Any) -> jax.Array:
    r""":math:`x + \epsilon` for x and :math:`\epsilon` of at least 0, and one more where that is zero."""
    total = x if _is_number(eps) and eps == 0 else x + eps
    return total if _is_above_zero(eps) else nonzero(total)


def denominator(v: jax.Array, eps: Any, eps_root: Any = 0.0) -> jax.Array:
    r""":math:`\sqrt{v + \bar\epsilon} + \epsilon`, and one more where that is as good as zero, as the numerator is.

    It can be multiplied by any :math:`1 - \beta` without becoming zero. What Python numbers make needless is left out:
    every operation is traced, lowered and, eagerly, dispatched for each leaf.
    """
    inside = v if _is_number(eps_root) and eps_root == 0 else v + eps_root
    root: jax.Array = jnp.sqrt(inside) if _is_above_zero(eps_root) else safe_sqrt(inside)
    total = root if _is_number(eps) and eps == 0 else root + eps
    if _is_above_zero(eps) or _is_above_zero(eps_root):
        return total
    limits: Any = jnp.finfo(total.dtype)  # type: ignore[no-untyped-call]
    least: float = limits.tiny / limits.eps**2  # the root of the least number there is, is larger
    return total + (total < least).astype(total.dtype)


def _is_number(x: Any) -> bool:
    return isinstance(x, float | int)


def _is_above_zero(x: Any) -> bool:
    """Whether a number is known to be, by so much that its product with a float32 rounding error is."""
    return _is_number(x) and x > 1e-28
