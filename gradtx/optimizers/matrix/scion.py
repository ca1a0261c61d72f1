"""Scion: momentum whose direction is the steepest in a norm of the layer."""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, optimizer, transformation
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.matrix.batches import in_batches, map_matrices
from gradtx.optimizers.matrix.choice import (
    Matrices,
    MatrixChoice,
    check_matrices,
    choose_matrices,
    inputs_of,
    is_head,
    layouts_of,
)
from gradtx.optimizers.matrix.orthogonalization import coefficients, orthogonalize
from gradtx.optimizers.matrix.shape_scaling import shape_factor, unit_and_rms
from gradtx.optimizers.momentum.ema import ema
from gradtx.tree.arithmetic import cast, widen
from gradtx.tree.mapping import numbers_beside, stored_dtype
from gradtx.tree.paths import is_inert, is_none
from gradtx.tree.select import matches
from gradtx.typing import Decay, DTypeName, EmptyState, NonNegative, Params, State, Updates

Norm = Literal["spectral", "sign", "rms"]
Norms = Mapping[str, Norm] | None


@transformation
def steepest_direction(
    norms: Norms = None,
    *,
    radius: NonNegative = 1.0,
    sign_radius: NonNegative = 1.0,
    method: Any = "newton_schulz",
    steps: int = 5,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
) -> Form:
    r"""Replace each leaf by the point of a ball that is farthest along it, in a norm for the kind of its layer.

    .. math::
        \begin{aligned}
        &\rho \sqrt{\text{out} / \text{in}}\; U V^\top && \text{spectral, } g = U S V^\top \\
        &\rho_s \operatorname{sign}(g) / \text{in} && \text{sign} \\
        &\rho\, g / \mathrm{RMS}(g) && \text{rms, along the last axis}
        \end{aligned}

    Such a step changes the features alike at every width. Matrices take the spectral norm, output heads the sign, and
    all others, embeddings and biases, the root mean square: of each row of a table. Of a convolution with a kernel of
    k x k points, ``in`` counts the channels, and the step is divided by :math:`k^2`.

    Args:
      norms: ``"spectral"``, ``"sign"`` or ``"rms"`` by globs, tried in order before that rule. A table that is both the
        embedding and the head takes ``{"embed/*": "sign"}``: ``in`` is then its width.
      radius: :math:`\rho`, at least 0.
      sign_radius: :math:`\rho_s`, at least 0.
      method: how to orthogonalize; see `orthogonalize`.
      steps: how many iterations, at least 1.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and how. See `Matrices`.

    State:
      Empty.

    Raises:
      ArgumentValueError: a norm is unknown, or the axes of a leaf are not known.
      TreeMismatchError: a leaf shall take the spectral norm and is no matrix.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.steepest_direction()
      >>> g = {"head": {"kernel": jnp.array([[3.0, -2.0], [0.0, 7.0]])}, "bias": jnp.array([3.0, 0.0, 0.0, 4.0])}
      >>> u, _ = tx.update(g, tx.init(g))
      >>> u["head"]["kernel"], u["bias"]
      (Array([[ 0.5, -0.5],
             [ 0. ,  0.5]], dtype=float32), Array([1.2, 0. , 0. , 1.6], dtype=float32))

    References:
      - Pethick et al., Training deep learning models with norm-constrained LMOs, 2025, arXiv:2502.07529.
    """
    check_matrices(matrices)
    _check_norms(norms)
    if method != "exact":
        coefficients(method, steps)

    def spectral(xs: list[jax.Array]) -> list[jax.Array]:
        directions = in_batches(lambda x: orthogonalize(x, method, steps, dtype=dtype), xs)
        return [shape_factor("spectral", *u.shape[1:]) * u for u in directions]

    def direction(g: Any, u: Any, choice: MatrixChoice, norm: Norm) -> jax.Array:
        x = widen(g)
        rho, rho_of_signs = numbers_beside((x,), (radius, sign_radius))
        if norm == "spectral":
            u = rho / math.sqrt(_points(choice)) * widen(u)
        elif norm == "sign":
            u = rho_of_signs / max(inputs_of(choice.name, x.shape), 1) * jnp.sign(x)
        else:
            u = rho * unit_and_rms(x, (x.ndim - 1,) if x.ndim else ())[0]
        return cast(u, stored_dtype(jnp.result_type(g)))

    def init(params: Params) -> EmptyState:
        treedef: Any = jax.tree.structure(params, is_leaf=is_none)
        choices = treedef.flatten_up_to(choose_matrices(matrices, params))
        rows = zip(treedef.flatten_up_to(params), choices, strict=True)
        layouts_of(
            matrices, treedef.unflatten([x if _norm(norms, c) == "spectral" else None for x, c in rows]), treedef
        )
        return EmptyState()

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        treedef: Any = jax.tree.structure(updates, is_leaf=is_none)
        leaves = treedef.flatten_up_to(updates)
        choices = treedef.flatten_up_to(choose_matrices(matrices, updates))
        kinds = [None if is_inert(g) else _norm(norms, choice) for g, choice in zip(leaves, choices, strict=True)]
        of_matrices = [g if norm == "spectral" else None for g, norm in zip(leaves, kinds, strict=True)]
        made = treedef.flatten_up_to(map_matrices(spectral, treedef.unflatten(of_matrices), matrices))
        rows = zip(leaves, made, choices, kinds, strict=True)
        return treedef.unflatten([g if norm is None else direction(g, u, c, norm) for g, u, c, norm in rows]), state

    return init, update


def _check_norms(norms: Norms) -> None:
    """Refuse norms of other names."""
    for glob, norm in (norms or {}).items():
        if not isinstance(glob, str):
            raise ArgumentTypeError("globs on leaf paths as keys of norms", got=repr(glob))
        if norm not in get_args(Norm):
            raise ArgumentValueError(f"norms[{glob!r}] to be one of {list(get_args(Norm))}", got=repr(norm))


def _norm(norms: Norms, choice: MatrixChoice | None) -> Norm | None:
    """The norm of a leaf, as declared or by what it was taken for."""
    if choice is None:
        return None
    for glob, norm in (norms or {}).items():
        if matches(choice.name, glob):
            return norm
    return "spectral" if choice.layout else "sign" if is_head(choice.name) else "rms"


def _points(choice: MatrixChoice) -> int:
    """How many points the kernel of a convolution has; 1 of another matrix."""
    layout = choice.layout
    if layout is None or layout.words.count("out") != 1 or layout.words.count("in") < 2:
        return 1
    if "conv" not in choice.name.lower() and len(layout.words) - layout.words.count("batch") < 4:
        return 1  # the projection behind an attention, [heads, size, out]
    out = layout.words.index("out")
    inputs = [i for i, word in enumerate(layout.words) if word == "in"]
    channels = min(inputs, key=lambda i: abs(i - out))  # [..., in, out] in Flax and Haiku, [out, in, ...] in Equinox
    return math.prod(layout.shape[i] for i in inputs if i != channels)


@transformation
def scale_by_scion(
    beta: Decay = 0.9,
    *,
    radius: NonNegative = 50.0,
    sign_radius: NonNegative = 3000.0,
    norms: Norms = None,
    method: Any = "newton_schulz",
    steps: int = 5,
    mu_dtype: DTypeName | None = None,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
) -> GradientTransformation:
    r"""Scion's direction: the moving average of gradients, and then the steepest direction in a norm of the layer.

    .. math::
        m_t = \beta\, m_{t-1} + (1-\beta)\, g_t, \qquad
        u_t = \arg\max_{\lVert u \rVert \le \rho} \langle m_t, u \rangle

    Composition: `ema`, `steepest_direction`. All leaves are taken, matrices or not.

    Args:
      beta: :math:`\beta`, in [0, 1); the paper's :math:`\alpha` is :math:`1 - \beta`.
      radius: of the balls of matrices, embeddings and biases, at least 0.
      sign_radius: of output heads, at least 0.
      norms: which leaf takes which norm; see `steepest_direction`.
      method: how to orthogonalize; see `orthogonalize`.
      steps: how many iterations, at least 1.
      mu_dtype: the dtype of :math:`m`; at least float32 by default.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and how. See `Matrices`.

    State:
      `EmaState` and an empty one: 4 bytes per float32 parameter.

    Raises:
      ArgumentValueError: a norm is unknown, or the axes of a leaf are not known.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, g = gradtx.scale_by_scion(radius=1.0), {"bias": jnp.array([3.0, 0.0, 0.0, 4.0])}
      >>> tx.update(g, tx.init(g))[0]["bias"]
      Array([1.2, 0. , 0. , 1.6], dtype=float32)

    References:
      - Pethick et al., Training deep learning models with norm-constrained LMOs, 2025, arXiv:2502.07529.
    """
    return chain(
        ema(beta, debias=False, accumulator_dtype=mu_dtype),
        steepest_direction(
            norms, radius=radius, sign_radius=sign_radius, method=method, steps=steps, dtype=dtype, matrices=matrices
        ),
    )


@optimizer
def scion(
    learning_rate: NonNegative,
    beta: Decay = 0.9,
    *,
    constrained: bool = False,
    radius: NonNegative = 50.0,
    sign_radius: NonNegative = 3000.0,
    norms: Norms = None,
    method: Any = "newton_schulz",
    steps: int = 5,
    mu_dtype: DTypeName | None = None,
    dtype: DTypeName | None = None,
    matrices: Matrices = None,
) -> GradientTransformation:
    r"""Scion: one rate for all layers, each of which steps in a norm of its own.

    .. math::
        p \leftarrow p - \eta\, u_t \qquad \text{or, constrained,} \qquad p \leftarrow (1-\eta)\, p - \eta\, u_t

    Composition: `scale_by_scion`, ``add_decayed_weights(1.0)`` if constrained, `scale_by_learning_rate`. No leaf needs
    another optimizer, and rates carry over from narrow networks to wide ones. The constrained form is the method of
    Frank and Wolfe: parameters stay in the balls, the better the sooner their first values are inside, such as
    orthogonal matrices times :math:`\rho \sqrt{\text{out} / \text{in}}`. It takes the place of a weight decay.

    Args:
      learning_rate: :math:`\eta`, at least 0, in [0, 1] if constrained; 0.00024 for language models in the paper.
      beta: the decay of the momentum, in [0, 1); the paper's :math:`\alpha` is one minus it.
      constrained: stay in the balls.
      radius: of the balls of matrices, embeddings and biases, at least 0.
      sign_radius: of output heads, at least 0.
      norms: which leaf takes which norm, by globs; see `steepest_direction`.
      method: how to orthogonalize; see `orthogonalize`.
      steps: how many iterations, at least 1.
      mu_dtype: the dtype of the momentum; at least float32 by default.
      dtype: that of the iteration; by default float32 on CPU and bfloat16 on accelerators.
      matrices: which leaves are matrices, and how. See `Matrices`.

    State:
      4 bytes per float32 parameter.

    Raises:
      ArgumentValueError: a norm is unknown, or the axes of a leaf are not known.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.expand(gradtx.scion(2**-12, constrained=True, norms={"embed/*": "sign"}))
      chain(scale_by_scion(norms={'embed/*': 'sign'}), add_decayed_weights(weight_decay=1.0), scale_by_learning_rate(learning_rate=0.000244140625))

    References:
      - Pethick et al., Training deep learning models with norm-constrained LMOs, 2025, arXiv:2502.07529.
    """  # noqa: E501
    direction = scale_by_scion(
        beta, radius=radius, sign_radius=sign_radius, norms=norms, method=method, steps=steps, mu_dtype=mu_dtype,
        dtype=dtype, matrices=matrices,
    )  # fmt: skip
    ball = [add_decayed_weights(1.0)] if constrained else []
    return chain(direction, *ball, scale_by_learning_rate(learning_rate))
