"""Explicit Runge-Kutta steps along the gradient flow."""

import math
from typing import Any

import jax

from gradtx import tree
from gradtx.core import Form, Pair, grad_function, transformation
from gradtx.errors import ArgumentValueError, require_extra
from gradtx.storage import apply_updates
from gradtx.typing import EmptyState, NonNegative, Params, State, Updates

Row = tuple[float, ...]


@transformation
def runge_kutta(step_size: NonNegative, a: tuple[Row, ...], b: Row) -> Pair:
    r"""The mean gradient of an explicit Runge-Kutta step along the gradient flow :math:`\dot p = -g(p)`.

    .. math::
        k_1 = g(p), \qquad k_i = g\Big(p - \eta \sum_{j<i} a_{ij} k_j\Big), \qquad u = \sum_i b_i k_i

    Followed by ``scale_by_learning_rate`` with the same :math:`\eta`, the parameters make one step of the method. The
    incoming updates are taken for :math:`k_1`: in a chain, it comes first. All gradients are of one batch.

    Args:
      step_size: :math:`\eta`, at least 0: where the other gradients are taken.
      a: the rows of the tableau from the second stage on; row i has i numbers.
      b: the weights of the stages; they sum to 1.

    State:
      `EmptyState`: nothing. A step evaluates ``len(b) - 1`` more gradients.

    Raises:
      ArgumentValueError: the tableau is not lower triangular, or its weights do not sum to 1.
      MissingExtraError: `update` was called without ``params``, or without a function to take gradients with.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> midpoint = gradtx.runge_kutta(0.1, a=((0.5,),), b=(0.0, 1.0))
      >>> grad_fn, params = jax.grad(lambda p: p**2 / 2), jnp.array(1.0)
      >>> midpoint.update(grad_fn(params), midpoint.init(params), params, grad_fn=grad_fn)[0]
      Array(0.95, dtype=float32)

    References:
      - Butcher, Numerical methods for ordinary differential equations, 2016, chapter 3.
      - Qin et al., Training generative adversarial networks by solving ordinary differential equations, 2020,
        arXiv:2010.15040.
    """
    _check_tableau(a, b)

    def init(params: Params) -> EmptyState:
        return EmptyState()

    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "gradients are taken beside them: tx.update(grads, state, params, grad_fn=...)")
        grad_fn = grad_function(extra)
        stages = [updates]
        for row in a:
            shift = _combine([-step_size * weight for weight in row], stages)
            stages.append(grad_fn(apply_updates(params, shift)))
        return _combine(b, stages), state

    return init, update


def _combine(weights: Any, stages: list[Updates]) -> Updates:
    """The weighted sum of the stages."""
    first, *rest = stages

    def leaf(*stages: jax.Array, weights: Any) -> Any:
        return sum(w * k for w, k in zip(weights, stages, strict=True))

    return tree.map_leaves(leaf, first, read=rest, weights=tuple(weights))


def _check_tableau(a: tuple[Row, ...], b: Row) -> None:
    if len(b) != len(a) + 1:
        got, hint = f"{len(b)} for {len(a)} rows of a", "the first stage has no row"
        raise ArgumentValueError("one weight in b for each stage", got=got, hint=hint)
    for i, row in enumerate(a, 1):
        if not isinstance(row, tuple | list) or len(row) != i:
            expected = f"row {i} of a to have one number for each stage before it ({i})"
            raise ArgumentValueError(expected, got=repr(row), hint="the method must be explicit")
    if all(isinstance(x, int | float) for x in b) and not math.isclose(math.fsum(b), 1, rel_tol=1e-12):
        raise ArgumentValueError("weights b that sum to 1", got=f"{math.fsum(b):g}", hint="else it is not consistent")


@transformation
def heun(step_size: NonNegative) -> Form:
    r"""Heun's method: the mean of the gradient here and of the gradient after a step along it.

    .. math:: u = \tfrac12\big(g(p) + g(p - \eta\, g(p))\big)

    ``chain(heun(eta), scale_by_learning_rate(eta))`` is a second-order step of the gradient flow, and of a game if
    ``grad_fn`` returns the joint vector field of its players.

    It is a `runge_kutta` of two stages.

    Args:
      step_size: :math:`\eta`, at least 0.

    State:
      `EmptyState`: nothing. A step evaluates one more gradient.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.heun(0.1), gradtx.scale_by_learning_rate(0.1))
      >>> grad_fn, params = jax.grad(lambda p: p**2 / 2), jnp.array(1.0)
      >>> updates, state = tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)
      >>> gradtx.apply_updates(params, updates)  # 1 - 0.1 + 0.1**2 / 2
      Array(0.905, dtype=float32)

    References:
      - Heun, Neue Methoden zur approximativen Integration der Differentialgleichungen, 1900.
    """
    return runge_kutta(step_size, a=((1.0,),), b=(0.5, 0.5)).form


@transformation
def ralston(step_size: NonNegative) -> Form:
    r"""Ralston's method, the second-order step of two stages with the least bound on its error.

    .. math:: u = \tfrac14 g(p) + \tfrac34 g\big(p - \tfrac23 \eta\, g(p)\big)

    It is a `runge_kutta` of two stages.

    Args:
      step_size: :math:`\eta`, at least 0.

    State:
      `EmptyState`: nothing. A step evaluates one more gradient.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> grad_fn, params = jax.grad(lambda p: p**2 / 2), jnp.array(1.0)
      >>> tx = gradtx.ralston(0.1)
      >>> tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)[0]
      Array(0.95, dtype=float32)

    References:
      - Ralston, Runge-Kutta methods with minimum error bounds, Mathematics of Computation 16, 1962.
    """
    return runge_kutta(step_size, a=((2 / 3,),), b=(0.25, 0.75)).form


@transformation
def rk4(step_size: NonNegative) -> Form:
    r"""The classical Runge-Kutta method of fourth order.

    .. math::
        u = \tfrac16 (k_1 + 2 k_2 + 2 k_3 + k_4), \qquad k_1 = g(p), \quad k_2 = g(p - \tfrac{\eta}{2} k_1), \quad
        k_3 = g(p - \tfrac{\eta}{2} k_2), \quad k_4 = g(p - \eta k_3)

    It is a `runge_kutta` of four stages.

    Args:
      step_size: :math:`\eta`, at least 0.

    State:
      `EmptyState`: nothing. A step evaluates three more gradients.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> grad_fn, params = jax.grad(lambda p: p**2 / 2), jnp.array(1.0)
      >>> tx = gradtx.chain(gradtx.rk4(1.0), gradtx.scale_by_learning_rate(1.0))
      >>> updates, state = tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)
      >>> gradtx.apply_updates(params, updates)  # 1 - 1 + 1/2 - 1/6 + 1/24; exp(-1) is 0.3679
      Array(0.375, dtype=float32)

    References:
      - Kutta, Beitrag zur näherungsweisen Integration totaler Differentialgleichungen, 1901.
    """
    return runge_kutta(step_size, a=((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6)).form
