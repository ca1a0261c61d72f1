"""DoWG: DoG with gradients that weigh as much as the distance at which they were taken."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, optimizer, safe_sqrt, transformation, with_eps
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.parameter_free.distance import scalar
from gradtx.optimizers.parameter_free.dog import displacement, farthest
from gradtx.typing import Mask, NonNegative, Params, Updates


class ScaleByDowgState(NamedTuple):
    """The state of `scale_by_dowg`.

    Attributes:
      max_dist: the largest distance from the first params so far, float [].
      weighted_norm: the root of the sum of the squared norms of all gradients, each times the distance, float [].
      init_params: the first params, like them, in accumulator dtype.
    """

    max_dist: jax.Array
    weighted_norm: jax.Array
    init_params: Params


@transformation
def scale_by_dowg(init_estim_sq_dist: NonNegative | None = None, eps: NonNegative = 1e-4) -> Form:
    r"""Scale by the squared distance travelled over the root of the sum of weighted squared gradients (DoWG).

    .. math::
        D_t = \max(D_{t-1}, \lVert p_t - p_0 \rVert^2), \qquad
        V_t = V_{t-1} + D_t \lVert g_t \rVert^2, \qquad
        u_t = \frac{D_t}{\sqrt{V_t} + \epsilon}\, g_t

    The norms are those of all leaves taken together. A gradient whose norm is not finite gives a step of zero, and is
    not counted.

    Args:
      init_estim_sq_dist: :math:`D_0`, at least 0; None for :math:`\epsilon`.
      eps: :math:`\epsilon`, at least 0.

    State:
      `ScaleByDowgState`: 4 bytes per float32 parameter, and two scalars.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_dowg(init_estim_sq_dist=1e-4, eps=0.0), jnp.zeros(2)
      >>> tx.update(jnp.array([30.0, -40.0]), tx.init(p), p)[0]
      Array([ 0.006, -0.008], dtype=float32)

    References:
      - Khaled, Mishchenko, Jin, DoWG unleashed: an efficient universal parameter-free gradient descent method, 2023,
        arXiv:2305.16284.

    Differences from Optax: roots are kept instead of squares, which would overflow.
    """

    def init_shared(params: Params) -> dict[str, Any]:
        square = scalar(eps if init_estim_sq_dist is None else init_estim_sq_dist)
        return {"max_dist": safe_sqrt(square), "weighted_norm": scalar(0)}

    def prepare(state: ScaleByDowgState, updates: Updates, params: Params) -> tuple[ScaleByDowgState, dict[str, Any]]:
        distance = farthest(state.max_dist, displacement(params, state.init_params))
        norm = tree.global_norm(updates).astype(state.weighted_norm.dtype)
        usable = jnp.isfinite(norm)
        total = jnp.where(usable, jnp.hypot(state.weighted_norm, distance * norm), state.weighted_norm)
        rate = jnp.where(usable, distance * (distance / with_eps(total, eps)), 0)
        return state._replace(max_dist=distance, weighted_norm=total), {"rate": rate}

    def leaf(g: jax.Array, p0: jax.Array, *, rate: Any) -> tuple[jax.Array, ...]:
        return rate * g, p0

    return leafwise(
        leaf, state=ScaleByDowgState, init_leaf=tree.copy_accumulator, init_shared=init_shared, prepare=prepare
    )


@optimizer
def dowg(
    learning_rate: NonNegative = 1.0,
    init_estim_sq_dist: NonNegative | None = None,
    eps: NonNegative = 1e-4,
    weight_decay: NonNegative | None = None,
    mask: Mask = None,
) -> GradientTransformation:
    r"""DoWG: DoG with gradients that weigh as much as the distance at which they were taken.

    Composition: `add_decayed_weights` if there is a decay, `scale_by_dowg`, `scale_by_learning_rate`.

    It has no rate to search for. Early gradients, from before the right distance is known, weigh little in it, and its
    steps are longer than those of `dog`.

    Args:
      learning_rate: a factor of the step size, at least 0; 1 is the method.
      init_estim_sq_dist: the square of the first distance, at least 0; None for `eps`.
      eps: what is added to the root, at least 0.
      weight_decay: added to the gradient times the params, at least 0; None for none.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      4 bytes per float32 parameter, and two scalars.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.dowg(weight_decay=0.1)).transforms[1]
      scale_by_dowg()

    References:
      - Khaled, Mishchenko, Jin, DoWG unleashed: an efficient universal parameter-free gradient descent method, 2023,
        arXiv:2305.16284.
    """
    decay = [] if weight_decay is None else [add_decayed_weights(weight_decay, mask)]
    return chain(*decay, scale_by_dowg(init_estim_sq_dist, eps), scale_by_learning_rate(learning_rate))
