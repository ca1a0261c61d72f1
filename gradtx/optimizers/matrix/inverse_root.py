"""Inverse roots of symmetric matrices."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import one_for_zero
from gradtx.errors import ArgumentValueError
from gradtx.tree.arithmetic import cast, widen

RootMethod = Literal["eigh", "newton"]

_MOST_STEPS, _WORST_GROWTH = 100, 1.2
"""Of the iteration: how many steps, and by how much the norm of its error may grow in one. But for rounding it falls;
the largest element of the error may grow by more."""

_POWER_STEPS = 30
"""How often a vector is multiplied by a matrix to find its largest eigenvalue, which need not be exact."""


class InverseRoot(NamedTuple):
    """What `inverse_root` found.

    Attributes:
      root: the inverse roots, [..., n, n].
      error: how far each is from one, real [...]: the largest element of :math:`X^p A - I` of the coupled iteration;
        of an eigendecomposition 0. Infinite where a root is not finite.
    """

    root: jax.Array
    error: jax.Array


def inverse_root(
    matrix: jax.Array,
    p: int,
    method: RootMethod = "eigh",
    *,
    eps: Any = 1e-6,
    relative: bool = True,
    tolerance: Any = None,
) -> InverseRoot:
    r"""The inverse p-th root of symmetric matrices without negative eigenvalues: :math:`(A + \delta I)^{-1/p}`.

    .. math::
        M_0 = z A, \quad X_0 = z^{1/p} I, \qquad
        T_k = \tfrac{(p + 1) I - M_k}{p}, \quad X_{k+1} = X_k T_k, \quad M_{k+1} = T_k^p M_k

    is the coupled Newton iteration, with :math:`z = (1 + p) / (2 \lVert A \rVert_F)`. In it :math:`M_k = X_k^p A` goes
    to :math:`I`. It takes matrix products alone, which is fast on accelerators; in float32 it does not get far below
    an error of the condition number times 1e-7. An eigendecomposition is exact, whatever the condition.

    Args:
      matrix: :math:`A`, [..., n, n]; the leading axes are a batch. Of complex matrices: Hermitian ones.
      p: the root, at least 1.
      method: ``"eigh"`` or ``"newton"``.
      eps: what is added to the eigenvalues, at least 0. Negative ones, which rounding makes, are taken for 0 first by
        ``"eigh"``.
      relative: whether `eps` is in units of the largest eigenvalue.
      tolerance: of ``"newton"``: the error at which it ends; by default 1e-6, and in float64 1e-12.

    Returns:
      `InverseRoot`, in the dtype of the matrix, at least float32. A constant to derivatives.

    Raises:
      ArgumentValueError: it is no square matrix, or `p` or the method is none.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> print(jnp.round(gradtx.inverse_root(jnp.diag(jnp.array([16.0, 81.0])), 4, eps=0.0).root, 4))
      [[0.5    0.    ]
       [0.     0.3333]]

    References:
      - Guo, Higham, A Schur-Newton method for the matrix p-th root and its inverse, 2006.
      - Anil et al., Scalable second order optimization for deep learning, 2020, arXiv:2002.09018.
    """
    matrix = widen(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ArgumentValueError("a square matrix or a batch of them", got=f"the shape {list(matrix.shape)}")
    if isinstance(p, bool) or not isinstance(p, int) or p < 1:
        raise ArgumentValueError("p to be a positive whole number", got=repr(p))
    if method not in ("eigh", "newton"):
        raise ArgumentValueError("method to be 'eigh' or 'newton'", got=repr(method))
    matrix = jax.lax.stop_gradient(matrix)
    real = matrix.real.dtype
    if matrix.size == 0:
        return InverseRoot(matrix, jnp.zeros(matrix.shape[:-2], real))
    eps = cast(jax.lax.stop_gradient(eps), real)
    if method == "eigh":
        root, error = _by_eigh(matrix, p, eps, relative)
    else:
        least = 1e-12 if real == np.float64 else 1e-6
        tolerance = cast(least if tolerance is None else jax.lax.stop_gradient(tolerance), real)
        root, error = _by_newton(matrix, p, eps, relative, tolerance)
    finite = jnp.all(jnp.isfinite(root), axis=(-2, -1)) & jnp.isfinite(error)
    return InverseRoot(root, jnp.where(finite, error, jnp.inf))


@functools.partial(jax.jit, static_argnames=("p", "relative"))
def _by_eigh(a: jax.Array, p: int, eps: jax.Array, relative: bool) -> tuple[jax.Array, jax.Array]:
    values, vectors = jnp.linalg.eigh(a)
    values = jnp.maximum(values, 0)
    values = values + eps * (values[..., -1:] if relative else 1)
    # Of a zero matrix without eps, all is as if the eigenvalues were the least normal number.
    powers = jnp.maximum(values, np.finfo(values.dtype).tiny) ** (-1 / p)
    with jax.default_matmul_precision("highest"):
        return (vectors * powers[..., None, :]) @ vectors.mT.conj(), jnp.zeros(a.shape[:-2], values.dtype)


@functools.partial(jax.jit, static_argnames=("p", "relative"))
def _by_newton(
    a: jax.Array, p: int, eps: jax.Array, relative: bool, tolerance: jax.Array
) -> tuple[jax.Array, jax.Array]:
    identity = jnp.eye(a.shape[-1], dtype=a.dtype)
    if not relative:
        a = a + eps * identity
    # Divided by their largest element first: the norm of 1e-30 or 1e30 is no float.
    size = jnp.maximum(jnp.max(jnp.abs(a), axis=(-2, -1), keepdims=True), np.finfo(eps.dtype).tiny)
    a = a / size
    largest = _largest_eigenvalue(a)
    if relative:
        a = a + eps * largest * identity
    a = a + (largest == 0) * identity  # of zero without eps, as if its eigenvalues were the least normal number
    z = (1 + p) / (2 * _frobenius(a))

    def errors_of(m: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The largest element and the norm of the error."""
        return jnp.max(jnp.abs(m - identity), axis=(-2, -1), keepdims=True), _frobenius(m - identity)

    def goes_on(carry: tuple[Any, ...]) -> jax.Array:
        _, _, going, step = carry
        more: jax.Array = jnp.any(going) & (step < _MOST_STEPS)
        return more

    def iterate(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        (x, m), (error, norm), going, step = carry
        t = ((p + 1) * identity - m) / p
        m_next = _power(t, p) @ m
        error_next, norm_next = errors_of(m_next)
        better = going & (norm_next < _WORST_GROWTH * norm)
        new = jax.tree.map(
            lambda new, old: jnp.where(better, new, old),
            ((x @ t, m_next), (error_next, norm_next)), ((x, m), (error, norm)),
        )  # fmt: skip
        return *new, better & (new[1][0] > tolerance), step + 1

    with jax.default_matmul_precision("highest"):
        m = z * a
        start = (z ** (1 / p) * identity, m), errors_of(m), jnp.isfinite(z), jnp.zeros((), jnp.int32)
        (x, _), (error, _), _, _ = jax.lax.while_loop(goes_on, iterate, start)
    return x * size ** (-1 / p), error[..., 0, 0]


def _power(t: jax.Array, p: int) -> jax.Array:
    """The p-th power of matrices, by squaring."""
    if p == 1:
        return t
    half = _power(t, p // 2)
    square = half @ half
    return square @ t if p % 2 else square


def _frobenius(a: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.real(a * a.conj()), axis=(-2, -1), keepdims=True))


def _largest_eigenvalue(a: jax.Array) -> jax.Array:
    """The largest eigenvalues, [..., 1, 1], by the power iteration from the longest columns."""
    longest = jnp.argmax(jnp.sum(jnp.abs(a), axis=-2), axis=-1)
    v = jnp.take_along_axis(a, longest[..., None, None], axis=-1)

    def iterate(_: Any, v: jax.Array) -> jax.Array:
        v = a @ v
        return v / one_for_zero(_frobenius(v))

    with jax.default_matmul_precision("highest"):
        v = jax.lax.fori_loop(0, _POWER_STEPS, iterate, v / one_for_zero(_frobenius(v)))
        return jnp.real(v.mT.conj() @ (a @ v))
