"""Steps along the gradient at an extrapolated point: for games."""

from typing import Any, Literal, NamedTuple

from gradtx.core import (
    GradientTransformation,
    Pair,
    grad_function,
    transformation,
)
from gradtx.errors import require_extra
from gradtx.storage import apply_updates
from gradtx.typing import Params, State, Updates


class ExtragradientState(NamedTuple):
    """The state of `extragradient`.

    Attributes:
      inner_state: the state of the inner transformation.
    """

    inner_state: State


@transformation
def extragradient(inner: GradientTransformation, extrapolation: Literal["forget", "remember"] = "forget") -> Pair:
    r"""Take a step to look at the gradient there, and take the step from here with that gradient.

    .. math::
        \tilde\theta = \theta + u\big(g(\theta)\big), \qquad \theta \leftarrow \theta + u\big(g(\tilde\theta)\big)

    Both gradients are of one batch. The inner transformation gets the params :math:`\theta` and the extras as they
    came, both times. For a game, let ``grad_fn`` return the joint vector field of its players: they then move at once.

    Args:
      inner: a whole optimizer, learning rate and all; :math:`u`.
      extrapolation: what the inner state makes of the first gradient: ``"forget"`` it, so that one step is one count
        and moments are averages of :math:`g(\tilde\theta)`; or ``"remember"`` it, as the authors' ExtraAdam does: both
        gradients enter the moments, and counters and schedules inside advance by two.

    State:
      `ExtragradientState` around the inner state. A step evaluates one more gradient.

    Raises:
      MissingExtraError: `update` was called without ``params``, or without a function to take gradients with.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> def field(p):  # x descends on x y, y ascends
      ...     return {"x": p["y"], "y": -p["x"]}
      >>> tx, params = gradtx.extragradient(gradtx.sgd(0.1)), {"x": jnp.array(1.0), "y": jnp.array(1.0)}
      >>> updates, state = tx.update(field(params), tx.init(params), params, grad_fn=field)
      >>> gradtx.apply_updates(params, updates)
      {'x': Array(0.89, dtype=float32), 'y': Array(1.0899999, dtype=float32)}

    References:
      - Korpelevich, The extragradient method for finding saddle points and other problems, 1976.
      - Gidel et al., A variational inequality perspective on generative adversarial networks, 2018, arXiv:1802.10551.
    """

    def init(params: Params) -> ExtragradientState:
        return ExtragradientState(inner.init(params))

    def update(
        updates: Updates, state: ExtragradientState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "it steps away from them: tx.update(grads, state, params, grad_fn=...)")
        shift, extrapolated = inner.update(updates, state.inner_state, params, **extra)
        there = grad_function(extra)(apply_updates(params, shift))
        inner_state = extrapolated if extrapolation == "remember" else state.inner_state
        updates, inner_state = inner.update(there, inner_state, params, **extra)
        return updates, ExtragradientState(inner_state)

    return init, update
