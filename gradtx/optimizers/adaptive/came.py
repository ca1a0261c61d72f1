"""CAME: Adafactor with momentum, which is trusted the less the more the updates differ from it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    abs_sq,
    divide_by_root,
    leafwise,
    moving_average,
    optimizer,
    transformation,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adaptive.adafactor import bounded_square, divide_by_means, factored_axes, next_means, zero_means
from gradtx.typing import Decay, DTypeName, Mask, NonNegative, Positive, SecondMoments, Updates


class ScaleByCameState(NamedTuple):
    """The state of `scale_by_came`. A leaf has an entry in the four means of rows and columns, or in `v`, else None.

    Attributes:
      mu: the average of bounded updates, like the params, in accumulator dtype (or ``mu_dtype``).
      v_row: the mean square of gradients over the largest axis, real, in accumulator dtype.
      v_col: the mean square of gradients over the second largest axis, likewise.
      v: the mean square of each element of a leaf with fewer than two axes, likewise.
      s_row: the mean square of what updates differ from their average by, over the largest axis, likewise.
      s_col: the same over the second largest axis.
    """

    mu: Updates
    v_row: SecondMoments
    v_col: SecondMoments
    v: SecondMoments
    s_row: SecondMoments
    s_col: SecondMoments


@transformation
def scale_by_came(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    eps: NonNegative = 1e-30,
    eps_instability: NonNegative = 1e-16,
    clipping_threshold: Positive = 1.0,
    mu_dtype: DTypeName | None = None,
) -> Form:
    r"""Rescale updates by the CAME rule.

    .. math::
        R_t, C_t &= \beta_2 (R, C)_{t-1} + (1-\beta_2) \operatorname{mean}_{j, i} (|g_t|^2 + \epsilon), \qquad
        U_t = g_t \Big/ \sqrt{\tfrac{R_t C_t}{\operatorname{mean} R_t}} \\
        \hat U_t &= \frac{U_t}{\max(1, \mathrm{RMS}(U_t)/d)}, \qquad
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, \hat U_t \\
        R'_t, C'_t &= \beta_3 (R', C')_{t-1} + (1-\beta_3)
            \operatorname{mean}_{j, i} (|\hat U_t - m_t|^2 + \epsilon'), \qquad
        u_t = m_t \Big/ \sqrt{\tfrac{R'_t C'_t}{\operatorname{mean} R'_t}}

    i and j are the two largest axes of a leaf; further ones number matrices of their own. A leaf with fewer axes keeps
    the mean square of each element, and its update is :math:`m_t`. No bias is corrected: the first :math:`U` are
    :math:`1/\sqrt{1-\beta_2}` times too long, which the bound takes back. The last division takes nothing back: its
    mean fills up over :math:`1/(1-\beta_3)` steps, and before that updates of matrices are long, the first of them
    about :math:`(1-\beta_1) / (\beta_1 \sqrt{1-\beta_3})`, which is 11. A learning rate wants a warm-up.

    Args:
      b1: :math:`\beta_1`, in [0, 1). With 0, nothing differs from its average, and updates are divided by
        :math:`\sqrt{\epsilon'}` alone.
      b2: :math:`\beta_2`, in [0, 1).
      b3: :math:`\beta_3`, in [0, 1).
      eps: :math:`\epsilon`, added to squared gradients, at least 0.
      eps_instability: :math:`\epsilon'`, added to squared differences, at least 0.
      clipping_threshold: d, above 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.

    State:
      `ScaleByCameState`: 4 bytes per float32 parameter of a large matrix (2 with ``mu_dtype="bfloat16"``) and 8 (n + m)
      for its rows and columns; 8 bytes per parameter of a vector.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_came(b1=0.5, b2=0.75, b3=0.75)
      >>> u, state = tx.update(jnp.array([[1.0, -2.0], [2.0, 4.0]]), tx.init(jnp.zeros((2, 2))))
      >>> u.round(3), state.v_row.shape, state.v
      (Array([[ 2., -2.],
             [ 2.,  2.]], dtype=float32), (2,), None)

    References:
      - Luo et al., CAME: confidence-guided adaptive memory efficient optimization, 2023, arXiv:2307.02047.

    Differences from the authors' code: the two largest axes are factored, there the last two, which is the same for
    matrices and for kernels of convolutions [h, w, in, out]. Optax has no CAME.
    """

    def init_leaf(p: jax.Array) -> tuple[Any, ...]:
        m, axes = tree.zeros_accumulator(p, dtype=mu_dtype), factored_axes(p.shape, 1)
        if axes is None:
            return m, None, None, tree.zeros_accumulator(p, real=True), None, None
        return m, *zero_means(p, axes), None, *zero_means(p, axes)

    def leaf(g: jax.Array, m: jax.Array, r: Any, c: Any, v: Any, s_row: Any, s_col: Any) -> tuple[Any, ...]:
        square, axes = bounded_square(g, eps), factored_axes(g.shape, 1)
        if axes is None:
            v = moving_average(b2, v, square)
            u = divide_by_root(0.0)(g, v)
        else:
            r, c = next_means(r, c, square, axes, b2, 1 - b2)
            u = divide_by_means(g, r, c, axes)
        rms = tree.global_norm(u) * max(u.size, 1) ** -0.5
        u = u / jnp.maximum(1, rms / clipping_threshold)
        m = moving_average(b1, m, u)
        if axes is None:
            return m, m, None, None, v, None, None
        s_row, s_col = next_means(s_row, s_col, abs_sq(u - m) + eps_instability, axes, b3, 1 - b3)
        return divide_by_means(m, s_row, s_col, axes), m, r, c, None, s_row, s_col

    return leafwise(leaf, state=ScaleByCameState, init_leaf=init_leaf)


@optimizer
def came(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    eps: NonNegative = 1e-30,
    eps_instability: NonNegative = 1e-16,
    clipping_threshold: Positive = 1.0,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    r"""CAME with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{CAME} + \lambda p)`.

    Composition: `scale_by_came`, `add_decayed_weights`, `scale_by_learning_rate`.

    About half the state of Adam. See `scale_by_came` for the length of the first steps.

    Args:
      learning_rate: :math:`\eta`, at least 0; the authors train BERT with 0.0002, after a warm-up.
      b1: decay of the average of updates, in [0, 1).
      b2: decay of the means of squared gradients, in [0, 1).
      b3: decay of the means of squared differences, in [0, 1).
      eps: added to squared gradients, at least 0.
      eps_instability: added to squared differences, at least 0.
      clipping_threshold: the largest root mean square of an update that is averaged, above 0.
      mu_dtype: the dtype of the average; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      4 bytes per float32 parameter of a large matrix, 8 per parameter of a vector.

    Example:
      >>> import gradtx
      >>> gradtx.came(gradtx.warmup_cosine_decay_schedule(0.0, 2e-4, 100, 1000), weight_decay=0.01).weight_decay
      0.01

    References:
      - Luo et al., CAME: confidence-guided adaptive memory efficient optimization, 2023, arXiv:2307.02047.
    """
    return chain(
        scale_by_came(b1, b2, b3, eps, eps_instability, clipping_threshold, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
