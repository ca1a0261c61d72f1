"""MoMo: momentum whose step ends where the loss, as the last gradients describe it, would reach its lower bound."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    complement_of_power,
    divide_by_root,
    increment,
    leafwise,
    moving_average,
    moving_average_sq,
    one_for_zero,
    optimizer,
    safe_sqrt,
    transformation,
)
from gradtx.gradients import scale
from gradtx.optimizers.adam.adam import moments
from gradtx.optimizers.parameter_free.distance import scalar
from gradtx.optimizers.parameter_free.polyak import loss_of
from gradtx.typing import Count, Decay, NonNegative, Numeric, Params, SecondMoments, Updates


class ScaleByMomoState(NamedTuple):
    """The state of `scale_by_momo`.

    Attributes:
      count: the number of updates, int32 [].
      mean_value: the average of the losses, float [].
      mean_product: the average of the inner products of gradients and params, float [].
      lower_bound: the lower bound of the loss in force, float [].
      mu: the average of the gradients, like the params, in accumulator dtype.
    """

    count: Count
    mean_value: jax.Array
    mean_product: jax.Array
    lower_bound: jax.Array
    mu: Updates


class ScaleByMomoAdamState(NamedTuple):
    """The state of `scale_by_momo_adam`.

    Attributes:
      count: the number of updates, int32 [].
      mean_value: the average of the losses, float [].
      mean_product: the average of the inner products of gradients and params, float [].
      lower_bound: the lower bound of the loss in force, float [].
      mu: the first moment, like the params, in accumulator dtype.
      nu: the second moment, likewise, real.
    """

    count: Count
    mean_value: jax.Array
    mean_product: jax.Array
    lower_bound: jax.Array
    mu: Updates
    nu: SecondMoments


@transformation
def scale_by_momo(
    learning_rate: NonNegative = 1.0,
    beta: Decay = 0.9,
    lower_bound: Numeric = 0.0,
    weight_decay: NonNegative = 0.0,
    adapt_lower_bound: bool = False,
) -> Form:
    r"""Average gradients, and scale them by the step on which the loss, as they describe it, reaches its lower bound.

    .. math::
        \bar f, m, \gamma = \text{averages of } f,\; g,\; \langle g, p \rangle, \qquad
        s = 1 + \eta\lambda, \qquad
        \tau = \min\left(\eta, \frac{\bigl(s\,(\bar f - f^* - \gamma) + \langle m, p \rangle\bigr)_+}
        {\lVert m \rVert^2}\right), \qquad
        u = \frac{\tau m + \eta\lambda\, p}{s}

    so that :math:`p - u = (p - \tau m) / s`. The averages begin at the first loss and gradient. The norm and the
    products are those of all leaves together. `update` needs the loss at the current params as ``value``. Without
    momentum and decay it is `scale_by_polyak`. The updates have the size of steps, and not yet their sign.

    The lower bound is what the rate depends on: where it is right, :math:`\eta` is only a bound and may be large. Below
    a bound that the loss has passed, the steps become zero: give one that the loss cannot pass, or have it adapted.

    Args:
      learning_rate: :math:`\eta`, the largest step size, at least 0.
      beta: the decay of all averages, in [0, 1).
      lower_bound: :math:`f^*`, any finite number, negative where the loss may be. 0 is right for most losses.
      weight_decay: :math:`\lambda`, at least 0.
      adapt_lower_bound: estimate :math:`f^*` along the way (MoMo*); `lower_bound` is then the least it may be. It is
        for losses above 0: an estimate that has become too high is halved, which does not lower a negative one.

    State:
      `ScaleByMomoState`: 4 bytes per float32 parameter, three scalars and a counter.

    Raises:
      MissingExtraError: `update` was called without ``params`` or without ``value``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_momo(), jnp.array([3.0, 4.0])
      >>> tx.update(2 * p, tx.init(p), p, value=jnp.sum(p**2))[0]
      Array([1.5, 2. ], dtype=float32)

    References:
      - Schaipp, Ohana, Eickenberg, Defazio, Gower, MoMo: momentum models for adaptive learning rates, 2023,
        arXiv:2305.07583.

    Differences from Optax: with a decay, Optax 0.2.8 divides the params by s and not :math:`\tau m`, which is not the
    minimum of the model; this is the paper's step, and that of the authors' code. A gradient is only too short to be
    followed if it is zero; in Optax if its norm is below 1e-8.
    """

    def init_shared(params: Params) -> dict[str, Any]:
        return _first_averages(lower_bound)

    def prepare(
        state: ScaleByMomoState, updates: Updates, params: Params, **extra: Any
    ) -> tuple[ScaleByMomoState, dict[str, Any]]:
        def mean(g: jax.Array, m: jax.Array, *, memory: Any) -> tuple[jax.Array, ...]:
            return g, moving_average(memory, m, g)

        count = increment(state.count)
        memory = jnp.where(count == 1, 0.0, beta)
        _, mu = tree.map_leaves(mean, updates, state.mu, memory=memory)
        state = _with_averages(state, memory, updates, params, loss_of(params, extra))._replace(count=count, mu=mu)
        return _with_step(
            state, params, tree.global_norm(mu), learning_rate, weight_decay, lower_bound, adapt_lower_bound
        )

    def leaf(g: jax.Array, m: jax.Array, *, tau: Any, decay: Any, p: jax.Array) -> tuple[jax.Array, ...]:
        del g  # it is in m already, whose norm had to be known
        return (tau * m + decay * p) / (1 + decay), m

    return leafwise(
        leaf, state=ScaleByMomoState, init_leaf=tree.zeros_accumulator, init_shared=init_shared, prepare=prepare
    )


@transformation
def scale_by_momo_adam(
    learning_rate: NonNegative = 1e-2,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    lower_bound: Numeric = 0.0,
    weight_decay: NonNegative = 0.0,
    adapt_lower_bound: bool = False,
) -> Form:
    r"""Rescale by the Adam rule, up to the step on which the loss, as gradients describe it, reaches its lower bound.

    .. math::
        D = \sqrt{\hat v} + \epsilon, \qquad
        \tau = \min\left(\frac{\eta}{w}, \frac{\bigl(s\,(\bar f - w f^* - \gamma) + \langle m, p \rangle\bigr)_+}
        {\langle m, m / D \rangle}\right), \qquad
        u = \frac{\tau\, m / D + \eta\lambda\, p}{s}

    with the averages :math:`\bar f, m, \gamma` of `scale_by_momo` begun at zero, their weight
    :math:`w = 1-\beta_1^t`, Adam's :math:`\hat v`, and :math:`s = 1 + \eta\lambda`. Where the bound :math:`\eta` is in
    force, the step is Adam's. `update` needs the loss at the current params as ``value``. The updates have the size of
    steps, and not yet their sign.

    Args:
      learning_rate: :math:`\eta`, the largest step size, at least 0.
      b1: :math:`\beta_1`, of the gradients, losses and products, in [0, 1).
      b2: :math:`\beta_2`, of the squared gradients, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      lower_bound: :math:`f^*`, any finite number; see `scale_by_momo`.
      weight_decay: :math:`\lambda`, at least 0.
      adapt_lower_bound: estimate :math:`f^*` along the way (MoMo-Adam*); see `scale_by_momo`.

    State:
      `ScaleByMomoAdamState`: 8 bytes per float32 parameter, three scalars and a counter.

    Raises:
      MissingExtraError: `update` was called without ``params`` or without ``value``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_momo_adam(0.1), jnp.array([1.0, 2.0])
      >>> tx.update(2 * p, tx.init(p), p, value=jnp.sum(p**2))[0].round(3)
      Array([0.1, 0.1], dtype=float32)

    References:
      - Schaipp, Ohana, Eickenberg, Defazio, Gower, MoMo: momentum models for adaptive learning rates, 2023,
        arXiv:2305.07583.

    Differences from Optax: those of `scale_by_momo`.
    """

    def init_shared(params: Params) -> dict[str, Any]:
        return _first_averages(lower_bound)

    def prepare(
        state: ScaleByMomoAdamState, updates: Updates, params: Params, **extra: Any
    ) -> tuple[ScaleByMomoAdamState, dict[str, Any]]:
        def means(g: jax.Array, m: jax.Array, v: jax.Array, *, b1: Any, b2: Any) -> tuple[jax.Array, ...]:
            return g, moving_average(b1, m, g), moving_average_sq(b2, v, g)

        count = increment(state.count)
        weight = complement_of_power(b1, count)
        ratio = divide_by_root(eps, nu_weight=complement_of_power(b2, count))
        _, mu, nu = tree.map_leaves(means, updates, state.mu, state.nu, b1=b1, b2=b2)
        direction = tree.map_leaves(lambda m, v, *, ratio: ratio(m, v), mu, read=(nu,), ratio=ratio)
        norm = safe_sqrt(tree.inner(mu, direction))
        state = _with_averages(state, b1, updates, params, loss_of(params, extra))._replace(count=count, mu=mu, nu=nu)
        state, scalars = _with_step(
            state, params, norm, learning_rate, weight_decay, lower_bound, adapt_lower_bound, weight
        )
        return state, scalars | {"ratio": ratio}

    def leaf(
        g: jax.Array, m: jax.Array, v: jax.Array, *, tau: Any, decay: Any, ratio: Any, p: jax.Array
    ) -> tuple[jax.Array, ...]:
        del g  # it is in m and v already, whose norm had to be known
        return (tau * ratio(m, v) + decay * p) / (1 + decay), m, v

    return leafwise(leaf, state=ScaleByMomoAdamState, init_leaf=moments(), init_shared=init_shared, prepare=prepare)


# --- the optimizers ---------------------------------------------------------------------------------------------------


@optimizer
def momo(
    learning_rate: NonNegative = 1.0,
    beta: Decay = 0.9,
    lower_bound: Numeric = 0.0,
    weight_decay: NonNegative = 0.0,
    adapt_lower_bound: bool = False,
) -> GradientTransformation:
    r"""MoMo: momentum whose step ends where the loss, as the last gradients describe it, would reach its lower bound.

    Composition: `scale_by_momo`, `scale`. `update` needs ``value``.

    Args:
      learning_rate: the largest step size, at least 0.
      beta: the decay of the averages, in [0, 1).
      lower_bound: what the loss cannot pass, any finite number.
      weight_decay: :math:`\lambda`, at least 0: the step minimizes the model of the loss and
        :math:`\lambda \lVert p \rVert^2 / 2`.
      adapt_lower_bound: estimate the lower bound along the way; `lower_bound` is then the least it may be.

    State:
      4 bytes per float32 parameter, three scalars and a counter.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.momo(), jnp.array([1.0, 2.0])
      >>> state = tx.init(p)
      >>> for _ in range(100):
      ...     value, grad = jax.value_and_grad(lambda p: jnp.sum(p**2))(p)
      ...     updates, state = tx.update(grad, state, p, value=value)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(value < 0.01)
      True

    References:
      - Schaipp, Ohana, Eickenberg, Defazio, Gower, MoMo: momentum models for adaptive learning rates, 2023,
        arXiv:2305.07583.
    """
    return chain(scale_by_momo(learning_rate, beta, lower_bound, weight_decay, adapt_lower_bound), scale(-1.0))


@optimizer
def momo_adam(
    learning_rate: NonNegative = 1e-2,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    lower_bound: Numeric = 0.0,
    weight_decay: NonNegative = 0.0,
    adapt_lower_bound: bool = False,
) -> GradientTransformation:
    r"""MoMo-Adam: Adam whose step ends where the loss, as the last gradients describe it, would reach its lower bound.

    Composition: `scale_by_momo_adam`, `scale`. `update` needs ``value``.

    Args:
      learning_rate: the largest step size, at least 0.
      b1: decay of the first moment, and of the averages of losses, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      lower_bound: what the loss cannot pass, any finite number.
      weight_decay: as in `momo`, at least 0.
      adapt_lower_bound: estimate the lower bound along the way; `lower_bound` is then the least it may be.

    State:
      8 bytes per float32 parameter, three scalars and a counter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.momo_adam(0.1))
      chain(scale_by_momo_adam(learning_rate=0.1), scale(step_size=-1.0))

    References:
      - Schaipp, Ohana, Eickenberg, Defazio, Gower, MoMo: momentum models for adaptive learning rates, 2023,
        arXiv:2305.07583.
    """
    return chain(
        scale_by_momo_adam(learning_rate, b1, b2, eps, lower_bound, weight_decay, adapt_lower_bound), scale(-1.0)
    )


# --- the model of the loss --------------------------------------------------------------------------------------------


def _first_averages(lower_bound: Any) -> dict[str, Any]:
    """The shared fields of a first state."""
    return {"mean_value": scalar(0), "mean_product": scalar(0), "lower_bound": scalar(lower_bound)}


def _with_averages(state: Any, memory: Any, updates: Updates, params: Params, value: Any) -> Any:
    """The state with the averages of losses and products that know those of this step."""
    dtype = state.mean_value.dtype
    mean_value = moving_average(memory, state.mean_value, jnp.asarray(value, dtype)).astype(dtype)
    product = tree.inner(updates, params).astype(dtype)
    return state._replace(
        mean_value=mean_value, mean_product=moving_average(memory, state.mean_product, product).astype(dtype)
    )


def _with_step(
    state: Any, params: Params, norm: jax.Array, rate: Any, weight_decay: Any, least: Any, adapt: bool, weight: Any = 1
) -> tuple[Any, dict[str, Any]]:
    """The state with the lower bound of the next step, and the step sizes of this one.

    Args:
      state: the state with all averages of this step.
      params: where they were taken.
      norm: that of the mean gradient, in the metric of the method.
      rate: the largest step size.
      weight_decay: the decay.
      least: the lower bound, or the least it may be if it is adapted.
      adapt: whether it is.
      weight: the sum of the weights in the averages.
    """
    dtype = state.mean_value.dtype
    norm, product = norm.astype(dtype), tree.inner(state.mu, params).astype(dtype)
    decay = rate * weight_decay
    shrink = 1 + decay
    reach = shrink * (state.mean_value - state.mean_product) + product  # the model's loss, if there is no decay
    bound = least
    if adapt:
        too_high = reach < shrink * weight * state.lower_bound
        bound = jnp.where(too_high, jnp.maximum(reach / (2 * weight * shrink), least), state.lower_bound)
    divisor = one_for_zero(norm)
    # The square of the norm is out of the range of the floats long before the norm is.
    tau = jnp.minimum(rate / weight, jnp.maximum(reach - shrink * weight * bound, 0) / divisor / divisor)
    tau = jnp.where(jnp.isnan(tau), 0, tau)
    if adapt:
        after = state.mean_value - state.mean_product + product - tau * norm * norm / 2
        bound = jnp.maximum(after / weight, least)
    bound = jnp.asarray(bound, dtype)
    return state._replace(lower_bound=bound), {"tau": tau, "decay": decay}
