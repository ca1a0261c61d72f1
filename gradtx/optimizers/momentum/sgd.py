"""Gradient descent, and a decaying sum of gradients for its momentum."""

from typing import Any, NamedTuple

import jax

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, optimizer, transformation
from gradtx.gradients import scale_by_learning_rate
from gradtx.typing import DTypeName, Fraction, NonNegative, Updates


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
) -> GradientTransformation:
    r"""Gradient descent: :math:`p \leftarrow p - \eta\, g`, or with momentum :math:`p \leftarrow p - \eta\, m`.

    Composition: `trace` (if there is a momentum), `scale_by_learning_rate`.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      momentum: :math:`\mu` of `trace`, in [0, 1]; ``None`` keeps no momentum and no state.
      nesterov: Nesterov's momentum.
      accumulator_dtype: the dtype of the momentum; at least float32 by default.

    State:
      With momentum 4 bytes per float32 parameter, otherwise none.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.sgd(0.1, momentum=0.9))
      chain(trace(decay=0.9), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Robbins, Monro, A stochastic approximation method, 1951.
      - Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013 (for `momentum`).
    """
    step = scale_by_learning_rate(learning_rate)
    if momentum is None:
        return step
    return chain(trace(momentum, nesterov, accumulator_dtype), step)
