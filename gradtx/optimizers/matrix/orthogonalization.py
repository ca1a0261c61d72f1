"""Orthogonalization: all singular values of a matrix brought near to 1."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import Form, safe_sqrt, transformation, with_eps
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.optimizers.matrix.batches import in_batches, map_matrices
from gradtx.optimizers.matrix.choice import Matrices, check_matrices, choose_matrices
from gradtx.tree.arithmetic import cast, widen
from gradtx.typing import DTypeName, EmptyState, NonNegative, Params, State, Updates

Preconditioning = Literal["frobenius", "spectral", "aol", "schatten"]

Row = tuple[float, float, float]

PRESETS: dict[str, tuple[Row, ...]] = {
    "newton_schulz": ((3.4445, -4.7750, 2.0315),),
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "polar_express": (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115951949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
        (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
        (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
        (1.875, -1.25, 0.375),
    ),
}
"""By name, the coefficients (a, b, c) of each iteration; the last row is repeated."""

_SAFETY = 1.01
"""The singular values are at most this, not 1, for Polar Express: rounding would take those beyond 1 to infinity."""


def coefficients(method: str | Sequence[Sequence[float]], steps: int) -> tuple[Row, ...]:
    """The coefficients of each iteration.

    Args:
      method: a name of `PRESETS`, one row (a, b, c), or a sequence of rows; the last row is repeated.
      steps: how many iterations.

    Raises:
      ArgumentValueError: the name is unknown, or `steps` is no positive number.
      ArgumentTypeError: the rows are not of three numbers each.
    """
    if steps < 1:
        raise ArgumentValueError("steps of at least 1", got=str(steps))
    if isinstance(method, str):
        if method not in PRESETS:
            raise ArgumentValueError(f"method to be one of {[*PRESETS, 'exact']} or rows (a, b, c)", got=repr(method))
        rows = PRESETS[method]
        if method == "polar_express":
            safe = [(a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in rows[:-1]]
            rows = (*safe, rows[-1])
    else:
        try:
            table = np.reshape(np.asarray(method, float), (-1, 3))
        except (TypeError, ValueError) as error:
            wanted = f"method to be one of {[*PRESETS, 'exact']} or rows of three numbers (a, b, c)"
            raise ArgumentTypeError(wanted, got=repr(method), hint=str(error)) from None
        rows = tuple((float(a), float(b), float(c)) for a, b, c in table)
    return (*rows, *[rows[-1]] * (steps - len(rows)))[:steps]


def orthogonalize(
    x: jax.Array,
    method: str | Sequence[Sequence[float]] = "newton_schulz",
    steps: int = 5,
    *,
    preconditioning: Preconditioning = "frobenius",
    eps: Any = 1e-7,
    dtype: Any = None,
) -> jax.Array:
    r"""A matrix with the same singular vectors, whose singular values are near 1: its polar factor :math:`U V^\top`.

    .. math::
        X_0 = \frac{X}{\lVert X \rVert_F + \epsilon}, \qquad
        X_{k+1} = a_k X_k + (b_k A_k + c_k A_k^2)\, X_k, \quad A_k = X_k X_k^\top

    The iteration applies the polynomial :math:`a s + b s^3 + c s^5` to each singular value. It takes matrix products
    alone: of an m x n matrix with :math:`m \le n`, :math:`4 m^2 n + 2 m^3` operations each.

    Args:
      x: [..., m, n]; the leading axes are a batch.
      method: the coefficients. ``"newton_schulz"`` repeats one row, the fastest from 0, and ends in [0.68, 1.14];
        ``"dion"`` has five, which end in [0.97, 1.04]; ``"polar_express"`` is optimal at each step for singular values
        from 0.001, and converges to 1 (arXiv:2505.16932). These hold for singular values in [0.01, 1] of the norm, in
        five steps. Or own coefficients, a row or rows (a, b, c). ``"exact"`` is by the singular value decomposition,
        which is slow on accelerators.
      steps: how many iterations.
      preconditioning: what :math:`X` is divided by first: the ``"frobenius"`` norm, the ``"spectral"`` norm (by a
        decomposition), the ``"schatten"`` norm of order 4, :math:`\lVert X X^\top \rVert_F^{1/2}`, or row by row as an
        ``"aol"`` (almost orthogonal layer): by the roots of the row sums of :math:`|X X^\top|`, which saves an
        iteration (arXiv:2512.04632).
      eps: :math:`\epsilon`, at least 0; keeps zero at zero.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators, which the author found
        enough, and float64 for float64 matrices.

    Returns:
      The matrices, in the dtype of `x`, at least float32. Of a zero matrix: zero.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> u = gradtx.orthogonalize(jnp.array([[3.0, 0.0], [0.0, 0.5]]), "polar_express", steps=8)
      >>> print(jnp.round(u, 3))
      [[1. 0.]
       [0. 1.]]

    References:
      - Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
      - Amsel et al., The Polar Express: optimal matrix sign methods, 2025, arXiv:2505.16932.
    """
    x = widen(x)
    if x.ndim < 2:
        raise ArgumentValueError("a matrix or a batch of them", got=f"the shape {list(x.shape)}")
    if method == "exact":
        return _polar_factor(x)
    rows = coefficients(method, steps)
    norm_factor = _SAFETY if method == "polar_express" else 1.0
    tall = x.shape[-2] > x.shape[-1]
    x = _iterated(x.mT if tall else x, eps, rows, norm_factor, preconditioning, dtype)
    return x.mT if tall else x


@functools.partial(jax.jit, static_argnames=("rows", "norm_factor", "preconditioning", "dtype"))
def _iterated(x: Any, eps: Any, rows: tuple[Row, ...], norm_factor: float, preconditioning: str, dtype: Any) -> Any:
    """The iteration on matrices [..., m, n] with m <= n."""
    x = _divided(x, eps, norm_factor, preconditioning)

    def iterate(x: jax.Array) -> jax.Array:
        for a, b, c in rows:
            gram = x @ x.mT.conj()
            x = a * x + (b * gram + c * (gram @ gram)) @ x
        return x

    def iterate_in(narrow: Any) -> Any:
        return lambda x: cast(iterate(cast(x, narrow)), x.dtype)

    if dtype is not None:
        return iterate_in(jnp.promote_types(dtype, jnp.complex64) if jnp.iscomplexobj(x) else dtype)(x)
    if x.dtype != jnp.float32:
        return iterate(x)
    return jax.lax.platform_dependent(x, cpu=iterate, default=iterate_in(jnp.bfloat16))


def _divided(x: jax.Array, eps: Any, norm_factor: float, preconditioning: str) -> jax.Array:
    """Matrices whose singular values are at most about 1.

    They are divided by their largest element first: squares of 1e-30 or 1e30 are no floats.
    """
    largest = jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True, initial=0)
    largest = jax.lax.stop_gradient(jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1))
    x = x / largest
    eps = cast(eps, largest.dtype) / largest
    if preconditioning == "frobenius":
        size = safe_sqrt(jnp.sum(jnp.real(x * x.conj()), axis=(-2, -1), keepdims=True))
    elif preconditioning == "spectral":
        size = jnp.linalg.norm(x, ord=2, axis=(-2, -1), keepdims=True)
    else:
        gram = jnp.abs(x @ x.mT.conj())
        sums = jnp.sum(gram, -1, keepdims=True)
        if preconditioning == "schatten":
            sums = safe_sqrt(jnp.sum(gram**2, axis=(-2, -1), keepdims=True))
        size = safe_sqrt(sums)
    return x / with_eps(norm_factor * size, eps)


def _polar_factor(x: jax.Array) -> jax.Array:
    """The polar factor by the singular value decomposition; directions of singular value 0 are left out."""
    u, s, vh = jnp.linalg.svd(x, full_matrices=False)
    floor = np.finfo(s.dtype).eps * max(x.shape[-2:]) * jnp.max(s, -1, keepdims=True, initial=0)
    polar: jax.Array = (u * (s > floor)[..., None, :]) @ vh
    return polar


@transformation
def orthogonalize_updates(
    method: Any = "newton_schulz",
    steps: int = 5,
    *,
    preconditioning: Preconditioning = "frobenius",
    eps: NonNegative = 1e-7,
    dtype: DTypeName | None = None,
    adaptive: bool = False,
    matrices: Matrices = None,
) -> Form:
    r"""Replace each matrix by its polar factor: the direction of steepest descent in the spectral norm.

    .. math:: u = U V^\top \quad \text{for} \quad g = U S V^\top

    Matrices of one shape, or of the transposed one, are computed in one batch.

    Args:
      method: see `orthogonalize`.
      steps: how many iterations, at least 1.
      preconditioning: see `orthogonalize`.
      eps: :math:`\epsilon`, at least 0.
      dtype: that of the iteration; see `orthogonalize`.
      adaptive: multiply by the dual norm :math:`\langle g, u \rangle`, the sum of the singular values
        (arXiv:2409.20325).
      matrices: which leaves are matrices, and how; all must be. See `Matrices`.

    State:
      Empty.

    Raises:
      TreeMismatchError: a leaf is no matrix; the message says why, and what to do.
      ArgumentValueError: the axes of a leaf are not known; the method is unknown.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.orthogonalize_updates("exact")
      >>> g = jnp.array([[0.0, 2.0], [3.0, 0.0]])
      >>> print(jnp.round(tx.update(g, tx.init(g))[0], 6))
      [[0. 1.]
       [1. 0.]]

    References:
      - Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
      - Bernstein, Newhouse, Old optimizer, new norm: an anthology, 2024, arXiv:2409.20325.
    """
    check_matrices(matrices)
    if method != "exact":
        coefficients(method, steps)

    def direction(x: jax.Array) -> jax.Array:
        u = orthogonalize(x, method, steps, preconditioning=preconditioning, eps=eps, dtype=dtype)
        if not adaptive:
            return u
        return jnp.sum(jnp.real(x.conj() * u), axis=(-2, -1), keepdims=True).astype(u.dtype) * u

    def init(params: Params) -> EmptyState:
        choose_matrices(matrices, params)
        return EmptyState()

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        return map_matrices(lambda xs: in_batches(direction, xs), updates, matrices), state

    return init, update
