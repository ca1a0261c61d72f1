"""Square roots and divisions by them that are finite, with finite derivatives, where the divisor is zero."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@jax.custom_jvp
def safe_sqrt(x: jax.Array) -> jax.Array:
    """The square root, with derivative 0 instead of infinity at 0.

    A parameter whose gradient is exactly zero has second moment zero; the derivative of its update is then finite.
    """
    return jnp.sqrt(x)


@safe_sqrt.defjvp
def _safe_sqrt_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    positive = x > 0
    root = safe_sqrt(x)
    return root, jnp.where(positive, dx / (2 * jnp.where(positive, root, 1)), 0)


def one_for_zero(x: jax.Array) -> jax.Array:
    """The array with 1 for each 0: a divisor that is zero only where what it divides is."""
    return x + (x == 0).astype(x.dtype)


def with_eps(x: jax.Array, eps: Any) -> jax.Array:
    r""":math:`x + \epsilon` for x and :math:`\epsilon` of at least 0; 1 where that is zero."""
    total = x + eps
    return total if _is_above_zero(eps) else one_for_zero(total)


class _RootDivision(NamedTuple):
    r"""Adam's division, as a function of m and v: :math:`m / \sqrt{a v + b} + c`, with a, b and c made once a step.

    Attributes:
      factor: a, or None for 1.
      inside: b, or None for 0.
      outside: c, or None for 0.
    """

    factor: Any
    inside: Any
    outside: Any

    def __call__(self, m: jax.Array, v: jax.Array) -> jax.Array:
        square = v if self.factor is None else self.factor * v
        # The least normal number, invisible beside eps, keeps the derivative finite where v is 0. Without it the root
        # would need a derivative of its own, which takes a tenth of the time in which the step on a ResNet is traced.
        square = square + (np.finfo(square.dtype).tiny if self.inside is None else self.inside)
        root = jnp.sqrt(square)
        ratio: jax.Array = m / (root if self.outside is None else root + self.outside)
        return ratio


class _GuardedRootDivision(NamedTuple):
    """`_RootDivision` for numbers that may all be zero: where the divisor is, one is added to it.

    Attributes:
      eps: outside the root, or None for 0.
      eps_root: inside the root, or None for 0.
      mu_weight: what has to be divided out of m, or None for 1.
      nu_weight: what has to be divided out of v, or None for 1.
    """

    eps: Any
    eps_root: Any
    mu_weight: Any
    nu_weight: Any

    def __call__(self, m: jax.Array, v: jax.Array) -> jax.Array:
        v = v if self.nu_weight is None else v / self.nu_weight
        root = safe_sqrt(v if self.eps_root is None else v + self.eps_root)
        total = root if self.eps is None else root + self.eps
        limits = np.finfo(total.dtype)
        least = limits.tiny / limits.eps**2  # the root of the least number there is, is larger
        total = total + (total < least).astype(total.dtype)
        ratio: jax.Array = m / (total if self.mu_weight is None else self.mu_weight * total)
        return ratio


def divide_by_root(
    eps: Any, eps_root: Any = 0.0, *, mu_weight: Any = None, nu_weight: Any = None
) -> _RootDivision | _GuardedRootDivision:
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
      mu_weight: :math:`w_m`, the bias correction of m; None for 1.
      nu_weight: :math:`w_v`, the bias correction of v; None for 1.
    """
    eps, eps_root = _none_for_zero(eps), _none_for_zero(eps_root)
    if not (_is_above_zero(eps_root) or (eps_root is None and _is_above_zero(eps))):
        return _GuardedRootDivision(eps, eps_root, mu_weight, nu_weight)
    if mu_weight is None:
        return _RootDivision(None if nu_weight is None else 1 / nu_weight, eps_root, eps)
    square = mu_weight * mu_weight
    return _RootDivision(
        factor=square if nu_weight is None else square / nu_weight,
        inside=None if eps_root is None else eps_root * square,
        outside=None if eps is None else eps * mu_weight,
    )


def _none_for_zero(x: Any) -> Any:
    return None if isinstance(x, float | int) and x == 0 else x


def _is_above_zero(x: Any) -> bool:
    """Whether a number is known to be, by so much that its product with a float32 rounding error is."""
    return isinstance(x, float | int) and x > 1e-28
