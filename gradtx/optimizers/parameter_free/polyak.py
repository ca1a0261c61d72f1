"""Polyak's step size: from the value, as if the function were a cone."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    leafwise,
    one_for_zero,
    optimizer,
    transformation,
    value_function,
)
from gradtx.errors import require_extra
from gradtx.gradients import scale_by_learning_rate
from gradtx.typing import NonNegative, Numeric, Params, Updates


class ScaleByPolyakState(NamedTuple):
    """The state of `scale_by_polyak`.

    Attributes:
      learning_rate: what the last updates were multiplied by, float []; 0 before the first.
    """

    learning_rate: jax.Array


@transformation
def scale_by_polyak(
    f_min: Numeric = 0.0,
    max_learning_rate: NonNegative = 1.0,
    eps: NonNegative = 0.0,
    variant: Literal["sps", "sps+"] = "sps",
) -> Form:
    r"""Scale by Polyak's step size, which would reach the minimum if the function were linear up to there.

    .. math:: u = \min\left(\frac{f(p) - f^*}{|g|^2 + \epsilon}, \eta_{\max}\right) g

    With ``variant="sps+"`` a value below :math:`f^*` gives a step of zero; otherwise the step then goes backwards. A
    gradient of zero, and a step size that is not finite, give zero as well.

    `update` takes the value from ``value``, or else calls ``value_fn``. The incoming updates must be the gradient, up
    to a factor.

    Args:
      f_min: :math:`f^*`, the value at the minimum, or a guess of it. Models that interpolate their data have 0.
      max_learning_rate: :math:`\eta_{\max}`, at least 0.
      eps: :math:`\epsilon`, at least 0.
      variant: ``"sps"``, or ``"sps+"`` with the positive part of :math:`f(p) - f^*`.

    State:
      `ScaleByPolyakState`: one scalar.

    Raises:
      MissingExtraError: `update` was called without ``value`` and without a function to take it from.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_polyak(), jnp.array([3.0, 4.0])
      >>> updates, state = tx.update(2 * p, tx.init(p), p, value=jnp.sum(p**2))
      >>> updates, state.learning_rate
      (Array([1.5, 2. ], dtype=float32), Array(0.25, dtype=float32))

    References:
      - Polyak, Introduction to optimization, 1987.
      - Loizou et al., Stochastic Polyak step-size for SGD: an adaptive learning rate for fast convergence, 2021,
        arXiv:2002.10542.
      - Garrigos et al., Function value learning: adaptive learning rates based on the Polyak stepsize and function
        splitting in ERM, 2023, arXiv:2307.14528.

    Differences from Optax: the step size is in the state.
    """

    def init_shared(params: Params) -> dict[str, Any]:
        return {"learning_rate": jnp.zeros((), jnp.result_type(float))}

    def prepare(
        state: ScaleByPolyakState, updates: Updates, params: Params | None = None, **extra: Any
    ) -> tuple[ScaleByPolyakState, dict[str, Any]]:
        gap = jnp.asarray(loss_of(params, extra), state.learning_rate.dtype) - f_min
        if variant == "sps+":
            gap = jnp.maximum(gap, 0)
        square = tree.squared_norm(updates).astype(gap.dtype)
        usable = (square > 0) & jnp.isfinite(square) & ~jnp.isnan(gap)
        step = jnp.minimum(gap / one_for_zero(jnp.where(usable, square, 1) + eps), max_learning_rate)
        rate = jnp.where(usable & jnp.isfinite(step), step, 0).astype(state.learning_rate.dtype)
        return ScaleByPolyakState(rate), {"rate": rate}

    def leaf(g: jax.Array, *, rate: Any) -> Any:
        return rate * g

    return leafwise(leaf, state=ScaleByPolyakState, init_shared=init_shared, prepare=prepare)


@optimizer
def polyak_sgd(
    max_learning_rate: NonNegative = 1.0,
    scaling: NonNegative = 1.0,
    f_min: Numeric = 0.0,
    eps: NonNegative = 0.0,
    variant: Literal["sps", "sps+"] = "sps",
) -> GradientTransformation:
    r"""Gradient descent with Polyak's step size, which follows from the value: `update` needs ``value``.

    Composition: `scale_by_learning_rate` with `scaling`, `scale_by_polyak`.

    Args:
      max_learning_rate: the largest step size, at least 0.
      scaling: a factor of the gradient, at least 0. The step size :math:`(f - f^*) / |g|^2` is made of the scaled
        gradient, as in Optax: at 2, the step is half as long.
      f_min: :math:`f^*`, the value at the minimum, or a guess of it.
      eps: what is added to the squared norm, at least 0.
      variant: ``"sps"``, or ``"sps+"``, which stays where the value is below :math:`f^*`.

    State:
      One scalar.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.polyak_sgd(), jnp.array([1.0, 2.0])
      >>> state = tx.init(p)
      >>> for _ in range(20):
      ...     value, grad = jax.value_and_grad(lambda p: jnp.sum(p**2))(p)
      ...     updates, state = tx.update(grad, state, p, value=value)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(value < 1e-10)
      True

    References:
      - Loizou et al., Stochastic Polyak step-size for SGD: an adaptive learning rate for fast convergence, 2021,
        arXiv:2002.10542.
    """
    return chain(scale_by_learning_rate(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))


def loss_of(params: Params | None, extra: dict[str, Any]) -> Any:
    """The loss at the params, from the extras: their ``value``, or what a function returns."""
    if extra.get("value") is None and (extra.get("value_fn") or extra.get("value_and_grad_fn")) is not None:
        return value_function(extra)(params)
    hint = "the step size is made of the loss: tx.update(grads, state, params, value=loss)"
    return require_extra(extra.get("value"), "value", hint)
