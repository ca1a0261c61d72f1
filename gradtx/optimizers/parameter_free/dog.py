"""DoG: the step size is the distance travelled so far, over the root of the sum of the squared gradients."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    leafwise,
    one_for_zero,
    optimizer,
    safe_sqrt,
    transformation,
)
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.parameter_free.distance import scalar
from gradtx.typing import DTypeName, Mask, NonNegative, Numeric, Params, Updates

# --- of all leaves together -------------------------------------------------------------------------------------------


class ScaleByDogState(NamedTuple):
    """The state of `scale_by_dog`.

    Attributes:
      max_dist: the largest distance from the first params so far, float [].
      grad_norm: the root of the sum of the squared norms of all gradients, float [].
      init_params: the first params, like them, in accumulator dtype.
    """

    max_dist: jax.Array
    grad_norm: jax.Array
    init_params: Params


@transformation
def scale_by_dog(
    init_step: Literal["heuristic", "distance", "learning_rate"] = "heuristic",
    init_value: NonNegative = 1e-6,
    eps: NonNegative = 1e-8,
) -> Form:
    r"""Scale by the distance travelled over the root of the sum of squared gradients (DoG).

    .. math::
        \bar r_t = \max(\bar r_{t-1}, \lVert p_t - p_0 \rVert), \qquad
        G_t = G_{t-1} + \lVert g_t \rVert^2, \qquad
        u_t = \frac{\bar r_t}{\sqrt{G_t + \epsilon}}\, g_t

    The norms are those of all leaves taken together. How the first step is chosen:

    - ``"heuristic"``: :math:`\bar r_0 = \text{value} \cdot (1 + \lVert p_0 \rVert)`;
    - ``"distance"``: :math:`\bar r_0 = \text{value}`;
    - ``"learning_rate"``: the factor is `init_value` itself, until the params have moved.

    A gradient whose norm is not finite gives a step of zero, and is not counted.

    Args:
      init_step: what `init_value` is.
      init_value: at least 0. It is to be small: what is too small costs some steps, what is too large may diverge. The
        authors take 1e-6 with ``"heuristic"``, and 1e-4 for models with batch normalization.
      eps: :math:`\epsilon`, at least 0.

    State:
      `ScaleByDogState`: 4 bytes per float32 parameter, and two scalars.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_dog("distance", 0.01), jnp.zeros(2)
      >>> tx.update(jnp.array([30.0, -40.0]), tx.init(p), p)[0]
      Array([ 0.006, -0.008], dtype=float32)

    References:
      - Ivgi, Hinder, Carmon, DoG is SGD's best friend: a parameter-free dynamic step size schedule, 2023,
        arXiv:2302.12022.

    Differences from Optax: the root is kept instead of the sum, which would overflow. With ``"learning_rate"`` and a
    first gradient of zero, Optax has used up its rate and stands still for ever.
    """

    def init_shared(params: Params) -> dict[str, Any]:
        sizes = {"heuristic": 1 + tree.global_norm(params), "distance": 1, "learning_rate": 0}
        return {"max_dist": scalar(init_value * sizes[init_step]), "grad_norm": scalar(0)}

    def prepare(state: ScaleByDogState, updates: Updates, params: Params) -> tuple[ScaleByDogState, dict[str, Any]]:
        distance = farthest(state.max_dist, displacement(params, state.init_params))
        norm = tree.global_norm(updates).astype(state.grad_norm.dtype)
        usable = jnp.isfinite(norm)
        total = jnp.where(usable, jnp.hypot(state.grad_norm, norm), state.grad_norm)
        rate = distance / root_with_eps(total, eps)
        if init_step == "learning_rate":
            rate = jnp.where(distance > 0, rate, init_value)
        return state._replace(max_dist=distance, grad_norm=total), {"rate": jnp.where(usable, rate, 0)}

    def leaf(g: jax.Array, p0: jax.Array, *, rate: Any) -> tuple[jax.Array, ...]:
        return rate * g, p0

    return leafwise(
        leaf, state=ScaleByDogState, init_leaf=tree.copy_accumulator, init_shared=init_shared, prepare=prepare
    )


def displacement(params: Params, init_params: Params) -> Params:
    """How far each parameter has gone from where it began, in accumulator dtype."""
    moved: Params = tree.map_leaves(lambda p0, p: p - p0, init_params, read=(params,))
    return moved


def farthest(max_dist: jax.Array, way: Params) -> jax.Array:
    """The largest distance so far, of which this is the last; one that is not finite does not count.

    The way is read once, and its squares overflow at 1e19, where no training in float32 goes. `tree.global_norm`, which
    may have to read it twice, would have it written out: 4 bytes per parameter.
    """
    distance = safe_sqrt(tree.squared_norm(way)).astype(max_dist.dtype)
    return jnp.where((distance > max_dist) & jnp.isfinite(distance), distance, max_dist)


def root_with_eps(norm: jax.Array, eps: Any) -> jax.Array:
    r""":math:`\sqrt{|x|^2 + \epsilon}` of a norm, without its square; 1 where that is zero."""
    return one_for_zero(jnp.hypot(norm, safe_sqrt(eps)))


@optimizer
def dog(
    learning_rate: NonNegative = 1.0,
    init_step: Any = ("heuristic", 1e-6),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative | None = None,
    mask: Mask = None,
) -> GradientTransformation:
    r"""DoG: the step size is the distance travelled so far, over the root of the sum of the squared gradients.

    Composition: `add_decayed_weights` if there is a decay, `scale_by_dog`, `scale_by_learning_rate`.

    It has no rate to search for. The last params are noisy, as the step sizes hardly fall: the authors call it
    essential to evaluate on an average in which late params weigh most, those of step k about :math:`k^8`. That is
    ``ema_params(dog(), power_function_decay(8.0))``, to be seen by `averaged_params`; with the very weights of their
    code, :math:`9 / (n + 9)`, the factor is ``1 - inverse_time_decay(1.0, 9, 1.0)``.
    `scale_by_distance_over_gradients` is the form with a step size for each leaf.

    Args:
      learning_rate: a factor of the step size, at least 0; 1 is the method.
      init_step: how the first step is chosen, a pair: ``("heuristic", x)`` begins with the distance
        :math:`x (1 + \lVert p_0 \rVert)`, ``("distance", x)`` with x, and ``("learning_rate", x)`` takes x as its first
        rate. The authors recommend ``("heuristic", 1e-6)``, with batch normalization 1e-4. To sweep x, or to learn it,
        compose the optimizer of `scale_by_dog`, of which it is a number.
      eps: what is added to the sum of squares, at least 0.
      weight_decay: added to the gradient times the params, at least 0; None for none. In the authors' code it does not
        count in the norm.
      mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      4 bytes per float32 parameter, and two scalars.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.dog(init_step=("distance", 0.01)))
      chain(scale_by_dog(init_step='distance', init_value=0.01), scale_by_learning_rate(learning_rate=1.0))

    References:
      - Ivgi, Hinder, Carmon, DoG is SGD's best friend: a parameter-free dynamic step size schedule, 2023,
        arXiv:2302.12022.
    """
    kind, value = _kind_and_value(init_step)
    decay = [] if weight_decay is None else [add_decayed_weights(weight_decay, mask)]
    return chain(*decay, scale_by_dog(kind, value, eps), scale_by_learning_rate(learning_rate))


def _kind_and_value(init_step: Any) -> tuple[Any, Any]:
    """The two parts of the first step, as Optax writes it, or an error."""
    kinds = ("heuristic", "distance", "learning_rate")
    pair = isinstance(init_step, tuple | list) and len(init_step) == 2
    if not pair or isinstance(init_step[1], bool | str) or not jnp.isscalar(init_step[1]):
        raise ArgumentTypeError("init_step to be a pair of a name and a number", got=repr(init_step))
    kind, value = init_step
    if kind not in kinds:
        raise ArgumentValueError(f"init_step to begin with one of {', '.join(map(repr, kinds))}", got=repr(kind))
    if not (np.isrealobj(value) and 0 <= value < np.inf):
        raise ArgumentValueError("the number of init_step in [0, inf)", got=repr(value))
    return kind, value


# --- of each leaf -----------------------------------------------------------------------------------------------------


class ScaleByDistanceOverGradientsState(NamedTuple):
    """The state of `scale_by_distance_over_gradients`.

    Attributes:
      max_dist: for each leaf the largest distance from its first value so far, real [], in accumulator dtype.
      grad_norm: for each leaf the root of the sum of the squared norms of its gradients, likewise.
      init_params: the first params, like them, in accumulator dtype (or ``param_dtype``).
    """

    max_dist: Updates
    grad_norm: Updates
    init_params: Params


@transformation
def scale_by_distance_over_gradients(
    reps_rel: NonNegative = 1e-6,
    eps: NonNegative = 1e-8,
    param_dtype: DTypeName | None = None,
    global_scale: Numeric = 1.0,
) -> Form:
    r"""Scale each leaf by the distance it has travelled over the root of its sum of squared gradients (L-DoG).

    .. math::
        \bar r_t = \max(\bar r_{t-1}, \lVert p_t - p_0 \rVert), \qquad
        G_t = G_{t-1} + \lVert g_t \rVert^2, \qquad
        u_t = s\, \frac{\bar r_t}{\sqrt{G_t + \epsilon}}\, g_t

    with :math:`\bar r_0 = r\,(1 + \lVert p_0 \rVert)`, each leaf by itself. `dog` is the form with one step size
    for all leaves; what is said there of averages holds here too. An optimizer is
    ``chain(scale_by_distance_over_gradients(), scale(-1.0))``.

    Args:
      reps_rel: :math:`r`, at least 0; 1e-4 for models with batch normalization.
      eps: :math:`\epsilon`, at least 0.
      param_dtype: the dtype the first params are stored in; at least float32 by default. In a narrower one than that of
        the params, their rounding would look like a distance, far above the first one.
      global_scale: :math:`s`, a factor of all updates.

    State:
      `ScaleByDistanceOverGradientsState`: 4 bytes per float32 parameter, and 8 for each leaf.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_distance_over_gradients(0.01)
      >>> p, g = [jnp.zeros(1), jnp.array([3.0])], [jnp.array([7.0]), jnp.array([-5.0])]
      >>> tx.update(g, tx.init(p), p)[0]
      [Array([0.01], dtype=float32), Array([-0.04], dtype=float32)]

    References:
      - Ivgi, Hinder, Carmon, DoG is SGD's best friend: a parameter-free dynamic step size schedule, 2023,
        arXiv:2302.12022.

    Differences from Optax: the root is kept instead of the sum, which would overflow; ``param_dtype`` is that of the
    params, at least float32, if none is given; the update of a scalar is one, in Optax 0.2.8 a vector.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        p0 = tree.copy_accumulator(p)
        if param_dtype is not None and not jnp.iscomplexobj(p):
            p0 = p0.astype(param_dtype)
        real = tree.accumulator_dtype(p.dtype, real=True)
        return jnp.asarray(reps_rel * (1 + tree.global_norm(p)), real), jnp.zeros((), real), p0

    def leaf(
        g: jax.Array, max_dist: jax.Array, grad_norm: jax.Array, p0: jax.Array, *, p: jax.Array
    ) -> tuple[jax.Array, ...]:
        max_dist = farthest(max_dist, p - p0)
        grad_norm = jnp.hypot(grad_norm, tree.global_norm(g))
        return global_scale * max_dist / root_with_eps(grad_norm, eps) * g, max_dist, grad_norm, p0

    return leafwise(leaf, state=ScaleByDistanceOverGradientsState, init_leaf=init_leaf)
