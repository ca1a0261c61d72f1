"""Fromage: steps in proportion to each layer, which let no layer grow."""

from typing import Any

import jax

from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, optimizer, transformation
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.layerwise.trust_ratio import scale_by_trust_ratio
from gradtx.typing import NonNegative


@transformation
def compensate_growth(learning_rate: NonNegative) -> Form:
    r"""Shrink the parameters after a step by as much as one of a given relative length lets them grow (Fromage).

    .. math:: u = \frac{p + g}{\sqrt{1 + \eta^2}} - p

    A step at a right angle to the parameters and :math:`\eta` times as long makes them :math:`\sqrt{1+\eta^2}` times as
    long. In a chain it comes last, after the learning rate: :math:`g` is the whole step, and :math:`p + g` where it
    leads. Parameters whose gradient is zero shrink too.

    Args:
      learning_rate: :math:`\eta`, at least 0: the length of the step, in lengths of the parameters.

    State:
      `EmptyState`: nothing; with a schedule, a `ScheduledState` that counts the steps.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.compensate_growth(0.75), jnp.array([4.0, 0.0])
      >>> tx.update(jnp.array([0.0, 3.0]), tx.init(params), params)[0]
      Array([-0.8,  2.4], dtype=float32)

    References:
      - Bernstein et al., On the distance between two neural networks and the stability of learning, 2020,
        arXiv:2002.03432.
    """
    square = learning_rate**2
    growth = (1 + square) ** 0.5

    def leaf(g: jax.Array, *, p: jax.Array) -> Any:
        # 1/growth - 1, without the digits that the difference would lose where the rate is small.
        return g / growth - square / (growth * (1 + growth)) * p

    return leafwise(leaf)


@optimizer
def fromage(learning_rate: NonNegative, min_norm: NonNegative = 1e-6) -> GradientTransformation:
    r"""Fromage: each layer turns by the same angle in each step, and does not grow.

    .. math::
        p \leftarrow \frac{1}{\sqrt{1 + \eta^2}}
        \left( p - \eta\, \frac{\lVert p \rVert_2}{\lVert g \rVert_2}\, g \right)

    Composition: `scale_by_trust_ratio`, `scale_by_learning_rate`, `compensate_growth`.

    Layers of zeros move by `min_norm` times the rate, with ``min_norm=0.0`` as in gradient descent. Layers whose
    gradient is zero shrink.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.01 in the paper.
      min_norm: what both norms are taken to be at least; at least 0, in the authors' code 0.

    State:
      None; with a schedule, a `ScheduledState` that counts the steps.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.fromage(0.75), jnp.array([4.0, 0.0])
      >>> updates, state = tx.update(jnp.array([0.0, -0.1]), tx.init(params), params)
      >>> gradtx.apply_updates(params, updates)
      Array([3.2, 2.4], dtype=float32)

    References:
      - Bernstein et al., On the distance between two neural networks and the stability of learning, 2020,
        arXiv:2002.03432.

    Differences from Optax: the shrinking factor keeps its digits at small rates in float32; the authors' bound on the
    norm of the parameters (``p_bound``) is in neither.
    """
    return chain(
        scale_by_trust_ratio(min_norm),
        scale_by_learning_rate(learning_rate),
        compensate_growth(learning_rate),
    )
