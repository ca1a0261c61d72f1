"""Gradient descent, and a decaying sum of gradients for its momentum."""

from typing import Any, NamedTuple

import jax

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, optimizer, transformation
from gradtx.gradients import add_decayed_weights, scale, scale_by_learning_rate
from gradtx.schedules import piecewise_constant_schedule
from gradtx.typing import DTypeName, Fraction, Mask, NonNegative, Updates


class TraceState(NamedTuple):
    """The state of `trace`.

    Attributes:
      trace: the running sum of gradients, like the params, in accumulator dtype.
    """

    trace: Updates


@transformation
def trace(decay: Fraction, nesterov: bool = False, accumulator_dtype: DTypeName | None = None) -> Form:
    r"""Accumulate a decaying sum of gradients: momentum.

    .. math::
        m_t = \mu\, m_{t-1} + g_t, \qquad
        u_t = \begin{cases} m_t & \text{heavy ball} \\ g_t + \mu\, m_t & \text{Nesterov} \end{cases}

    The sum is not damped (there is no :math:`1-\mu` before :math:`g`), as in torch, Keras and Optax. Nesterov's method
    is in the form that needs only the gradient at the current parameters.

    Args:
      decay: :math:`\mu`, in [0, 1].
      nesterov: look ahead by one step of the momentum.
      accumulator_dtype: the dtype :math:`m` is stored in; at least float32 by default.

    State:
      `TraceState`: 4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.trace(decay=0.9)
      >>> g = jnp.array([1.0])
      >>> u, state = tx.update(g, tx.init(g))
      >>> u, state = tx.update(g, state)
      >>> u
      Array([1.9], dtype=float32)

    References:
      - Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
      - Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013 (for `nesterov`).
    """

    def init_leaf(p: jax.Array) -> Any:
        return tree.zeros_accumulator(p, dtype=accumulator_dtype)

    def leaf(g: jax.Array, m: jax.Array) -> tuple[jax.Array, jax.Array]:
        m = g + decay * m
        return (g + decay * m if nesterov else m), m

    return leafwise(leaf, state=TraceState, init_leaf=init_leaf)


@optimizer
def sgd(
    learning_rate: NonNegative,
    momentum: Fraction | None = None,
    nesterov: bool = False,
    accumulator_dtype: DTypeName | None = None,
    *,
    dampening: Fraction | None = None,
) -> GradientTransformation:
    r"""Gradient descent: :math:`p \leftarrow p - \eta\, g`, or with momentum :math:`p \leftarrow p - \eta\, m`.

    Composition: `trace` (if there is a momentum), `scale_by_learning_rate`; before them `scale`, if there is a
    dampening.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      momentum: :math:`\mu` of `trace`, in [0, 1]; ``None`` keeps no momentum and no state.
      nesterov: Nesterov's momentum.
      accumulator_dtype: the dtype of the momentum; at least float32 by default.
      dampening: d, in [0, 1]; with momentum, all gradients but the first are multiplied by :math:`1 - d`, as in torch.
        With :math:`d = \mu` the momentum is an average. ``None`` for none, and no counter.

    State:
      With momentum 4 bytes per float32 parameter, otherwise none; with dampening a counter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.sgd(0.1, momentum=0.9))
      chain(trace(decay=0.9), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Robbins, Monro, A stochastic approximation method, 1951.
      - Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013 (for `momentum`).

    Differences from Optax: `dampening`, which Optax has not. torch allows it without Nesterov's momentum alone.
    """
    step = scale_by_learning_rate(learning_rate)
    direction = _momentum(momentum, nesterov, accumulator_dtype, dampening)
    return chain(*direction, step) if direction else step


def _momentum(momentum: Any, nesterov: bool, accumulator_dtype: Any, dampening: Any) -> list[GradientTransformation]:
    """The members of a chain that make the direction."""
    if momentum is None:
        return []
    accumulated = trace(momentum, nesterov, accumulator_dtype)
    if dampening is None:
        return [accumulated]
    return [scale(piecewise_constant_schedule(1.0, {1: 1 - dampening})), accumulated]


@optimizer
def sgdw(
    learning_rate: NonNegative,
    momentum: Fraction | None = 0.9,
    nesterov: bool = False,
    accumulator_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 1e-4,
    mask: Mask = None,
    *,
    dampening: Fraction | None = None,
) -> GradientTransformation:
    r"""Gradient descent with momentum and decoupled weight decay: :math:`p \leftarrow p - \eta\,(m + \lambda p)`.

    Composition: as `sgd`, with `add_decayed_weights` before `scale_by_learning_rate`.

    An L2 penalty goes through the momentum, which makes it :math:`1/(1-\mu)` times as strong, ten times for 0.9, and
    late: that is ``chain(add_decayed_weights(0.1), sgd(0.1, momentum=0.9))``. The decay is multiplied by the learning
    rate, as in `adamw`; in the paper only by its schedule.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      momentum: :math:`\mu` of `trace`, in [0, 1]; ``None`` keeps no momentum and no state.
      nesterov: Nesterov's momentum.
      accumulator_dtype: the dtype of the momentum; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`, for example ``"*/kernel"``.
      dampening: as in `sgd`.

    State:
      With momentum 4 bytes per float32 parameter, otherwise none; with dampening a counter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.sgdw(0.1, weight_decay=0.01, mask="*/kernel")).transforms[1]
      add_decayed_weights(weight_decay=0.01, mask='*/kernel')

    References:
      - Loshchilov, Hutter, Decoupled weight decay regularization, 2019, arXiv:1711.05101.
    """
    return chain(
        *_momentum(momentum, nesterov, accumulator_dtype, dampening),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
