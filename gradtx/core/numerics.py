"""Arithmetic that many transformations share: counters, bias corrections, moving averages, roots, denominators."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.tree.arithmetic import cast
from gradtx.tree.operations import add, compiled, divide, multiply


def zero_count() -> jax.Array:
    """A step counter at zero, int32 []."""
    return jnp.zeros((), jnp.int32)


@compiled()
def increment(count: jax.Array) -> jax.Array:
    """The counter plus one, saturating at the largest int32."""
    one = count.dtype.type(1)
    return jax.lax.add(jax.lax.min(count, np.iinfo(count.dtype).max - one), one)


def complement_of_power(decay: Any, count: Any) -> Any:
    r"""The bias correction :math:`1 - \beta^t`, accurate to the last bit or two.

    Written plainly in float32, ``1 - 0.999**1`` has three correct digits fewer than float32 can hold; as
    ``-expm1(t log(decay))`` with the logarithm of a Python number taken in double precision, it has all of them.
    """
    if not isinstance(decay, float | int):
        return _complement_of_array_power(decay, count)
    return _complement_of_exp(math.log(decay), count) if decay > 0 else jnp.ones((), jnp.result_type(float))


@compiled()
def _complement_of_exp(rate: Any, count: Any) -> jax.Array:
    t = jax.lax.convert_element_type(count, jnp.result_type(float))
    return jax.lax.neg(jax.lax.expm1(multiply(_as_operand(rate, t), t)))


@compiled()
def _complement_of_array_power(decay: jax.Array, count: Any) -> jax.Array:
    count = jnp.asarray(count, decay.dtype)
    positive, high = decay > 0, decay > 0.5
    near_zero = jnp.log(jnp.where(positive, decay, 0.5))
    near_one = jnp.log1p(jnp.where(high, decay, 0.75) - 1)
    correction = -jnp.expm1(count * jnp.where(high, near_one, near_zero))
    return jnp.where(positive, correction, 1 - jnp.where(count == 1, decay, 0))


def _is_number(x: Any) -> bool:
    return isinstance(x, float | int)


def _as_operand(a: Any, x: jax.Array) -> Any:
    """A Python number in the dtype of a traced array, so that `jax.lax` takes the two; anything else as it is.

    It is not weakly typed then: JAX lowers an operation on a weakly typed scalar apart from one on other scalars.
    """
    return x.dtype.type(a) if isinstance(x, jax.core.Tracer) and _is_number(a) else a


def scaled(a: Any, x: jax.Array) -> jax.Array:
    r""":math:`a x`."""
    return _product(_as_operand(a, x), x)


_product = compiled()(multiply)


def add_scaled(y: jax.Array, a: Any, x: jax.Array) -> jax.Array:
    r""":math:`y + a x`."""
    return _add_scaled(y, _as_operand(a, x), x)


@compiled()
def _add_scaled(y: jax.Array, a: Any, x: jax.Array) -> jax.Array:
    return add(y, multiply(a, x))


def weighted_sum(a: Any, x: jax.Array, b: Any, y: jax.Array) -> jax.Array:
    r""":math:`a x + b y`."""
    return _weighted_sum(_as_operand(a, x), x, _as_operand(b, y), y)


@compiled()
def _weighted_sum(a: Any, x: jax.Array, b: Any, y: jax.Array) -> jax.Array:
    return add(multiply(a, x), multiply(b, y))


def moving_average(decay: Any, m: jax.Array, x: jax.Array) -> jax.Array:
    r""":math:`\beta\, m + (1-\beta)\, x`."""
    return weighted_sum(decay, m, 1 - decay, x)


def moving_average_sq(decay: Any, v: jax.Array, x: jax.Array) -> jax.Array:
    r""":math:`\beta\, v + (1-\beta)\, |x|^2`, real."""
    return _weighted_sum_sq(_as_operand(decay, v), v, _as_operand(1 - decay, v), x)


@compiled()
def _weighted_sum_sq(a: Any, v: jax.Array, b: Any, x: jax.Array) -> jax.Array:
    return add(multiply(a, v), abs_sq(x, b))


def abs_sq(x: jax.Array, weight: Any = None) -> jax.Array:
    r""":math:`w\,|x|^2`, real; w is 1 if there is none.

    The weight goes to one of the factors. If :math:`|x|^2` were a product of its own, and the program takes the norm of
    x as well, to clip it or to report it, XLA's CPU backend would write the squares for both: 8 bytes per element.
    """
    if jnp.iscomplexobj(x):
        square = jnp.real(x) ** 2 + jnp.imag(x) ** 2
        return square if weight is None else weight * square
    return multiply(x if weight is None else multiply(weight, x), x)


@jax.custom_jvp
def _sqrt(x: jax.Array) -> jax.Array:
    return jax.lax.sqrt(x)


@_sqrt.defjvp
def _sqrt_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    positive = x > 0
    root = _sqrt(x)
    return root, jnp.where(positive, dx / (2 * jnp.where(positive, root, 1)), 0)


@compiled()
def safe_sqrt(x: jax.Array) -> jax.Array:
    """The square root, with derivative 0 instead of infinity at 0.

    A parameter whose gradient is exactly zero has second moment zero; the derivative of its update is then finite.
    """
    return _sqrt(x)


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
    total = x if _unless_zero(eps) is None else x + eps
    return total if _is_above_zero(eps) else nonzero(total)


def rescaling(
    eps: Any, eps_root: Any = 0.0, *, mu_weight: Any = None, nu_weight: Any = None
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    r"""The function of m and v that divides the mean gradient by the root of the mean square, as Adam does.

    .. math::
        \frac{\hat m}{\sqrt{\hat v + \bar\epsilon} + \epsilon}
        = \frac{m}{\sqrt{(w_m^2/w_v)\, v + w_m^2\bar\epsilon} + w_m\epsilon}, \qquad
        \hat m = m / w_m, \quad \hat v = v / w_v

    The form on the right has one operation for each element less. It is used if one of the numbers is known to be above
    zero; otherwise, where the denominator is as good as zero, as the numerator then is, one is added to it.

    Args:
      eps: :math:`\epsilon`.
      eps_root: :math:`\bar\epsilon`.
      mu_weight: :math:`w_m`, what has to be divided out of m; None for 1.
      nu_weight: :math:`w_v`, likewise.
    """
    eps, eps_root = _unless_zero(eps), _unless_zero(eps_root)
    if not (_is_above_zero(eps_root) or (eps_root is None and _is_above_zero(eps))):
        return lambda m, v: _rescaled_guarded(m, v, eps, eps_root, mu_weight, nu_weight)
    factor, inside, outside = _moved_inside(eps, eps_root, mu_weight, nu_weight)
    return lambda m, v: _rescaled(m, v, _as_operand(factor, v), _as_operand(inside, v), _as_operand(outside, v))


def _moved_inside(eps: Any, eps_root: Any, mu_weight: Any, nu_weight: Any) -> tuple[Any, Any, Any]:
    """The factor of v, the summand inside the root and the one outside; None for what does nothing."""
    if mu_weight is None:
        return (None if nu_weight is None else 1 / nu_weight), eps_root, eps
    return _times_weight(eps, eps_root, mu_weight, nu_weight)


@compiled()
def _times_weight(eps: Any, eps_root: Any, weight: Any, nu_weight: Any) -> tuple[Any, Any, Any]:
    square = multiply(weight, weight)
    inside, outside = (None if x is None else scaled(x, w) for x, w in ((eps_root, square), (eps, weight)))
    return square if nu_weight is None else divide(square, nu_weight), inside, outside


@compiled()
def _rescaled(m: jax.Array, v: jax.Array, factor: Any, inside: Any, outside: Any) -> jax.Array:
    """`rescaling` by a denominator above zero, without the operations that are needless: each is traced for a shape."""
    square = v if factor is None else multiply(factor, v)
    # The least number there is, invisible beside eps, keeps the derivative finite where v is 0. A custom derivative
    # takes a tenth of the time in which the step on a ResNet is traced.
    square = add(square, np.finfo(square.dtype).tiny if inside is None else inside)
    root = jax.lax.sqrt(square)
    return divide(m, root if outside is None else add(root, outside))


@compiled()
def _rescaled_guarded(m: jax.Array, v: jax.Array, eps: Any, eps_root: Any, mu_weight: Any, nu_weight: Any) -> jax.Array:
    """`rescaling` by a denominator that may be zero."""
    v = v if nu_weight is None else divide(v, nu_weight)
    root = _sqrt(v if eps_root is None else v + eps_root)
    total = root if eps is None else root + eps
    limits = np.finfo(total.dtype)
    least = limits.tiny / limits.eps**2  # the root of the least number there is, is larger
    total = total + (total < least).astype(total.dtype)
    return divide(m, total if mu_weight is None else multiply(mu_weight, total))


def _unless_zero(x: Any) -> Any:
    return None if _is_number(x) and x == 0 else x


def _is_above_zero(x: Any) -> bool:
    """Whether a number is known to be, by so much that its product with a float32 rounding error is."""
    return _is_number(x) and x > 1e-28
