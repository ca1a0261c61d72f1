"""Adam, with decoupled weight decay."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

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
    optimizer,
    transformation,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.gradients.weight_decay import DecayConvention, decay_under_rate
from gradtx.typing import Count, Decay, DTypeName, Mask, NonNegative, Positive, SecondMoments, Updates


class ScaleByAdamState(NamedTuple):
    """The state of `scale_by_adam` and of its descendants that keep two moments.

    Attributes:
      count: the number of updates, int32 [].
      mu: the first moment, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the second moment, like the params, real, in accumulator dtype.
    """

    count: Count
    mu: Updates
    nu: SecondMoments


@transformation
def scale_by_adam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    nesterov: bool = False,
    bias_correction: bool = True,
) -> Form:
    r"""Rescale updates by the Adam rule.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad
        v_t = \beta_2 v_{t-1} + (1-\beta_2)\, |g_t|^2, \quad
        u_t = \frac{\hat m_t}{\sqrt{\hat v_t + \bar\epsilon} + \epsilon}

    with :math:`\hat m_t = m_t/(1-\beta_1^t)` and :math:`\hat v_t = v_t/(1-\beta_2^t)`.

    *Without bias correction.* Decay factors that change with t make the correction needless: with
    :math:`\beta_t = \beta(1-\beta^{t-1})/(1-\beta^t)` the stored moments are the corrected ones. That is
    ``scale_by_adam(debiased_decay(0.9), debiased_decay(0.999), bias_correction=False)``, equal to ``scale_by_adam()``.

    *Moments from a first, larger batch.* With ``bias_correction=False``, put them into the state made by ``init``:
    ``state = tree.set_field(tree.set_field(state, "mu", grads), "nu", squared_grads)``.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0. It is not needed to differentiate through the
        update: the derivative is finite where a gradient is 0.
      mu_dtype: the dtype :math:`m` is stored in, such as ``"bfloat16"``; at least float32 by default.
      nesterov: use :math:`\beta_1 m_t/(1-\beta_1^{t+1}) + (1-\beta_1) g_t/(1-\beta_1^t)` for :math:`\hat m_t`.
      bias_correction: ``False`` uses :math:`m_t` and :math:`v_t` as they are.

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter (6 with ``mu_dtype="bfloat16"``), and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_adam()
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 1., -1.], dtype=float32)

    References:
      - Kingma, Ba, Adam: a method for stochastic optimization, 2015, arXiv:1412.6980.
      - Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016 (for `nesterov`).

    Differences from Optax: moments of bfloat16 and float16 parameters are float32; bias corrections are exact to the
    last bits also at t = 1; ``bias_correction`` is an argument.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        count = increment(state.count)
        mu_weight = complement_of_power(b1, count) if bias_correction else None
        nu_weight = complement_of_power(b2, count) if bias_correction else None
        ratio = divide_by_root(eps, eps_root, mu_weight=mu_weight, nu_weight=nu_weight)
        return state._replace(count=count), {"ratio": ratio, "ahead": nesterov_weight(nesterov, b1, count, mu_weight)}

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, ratio: Any, ahead: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        return ratio(mean_gradient(b1, g, m, ahead), v), m, v

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(mu_dtype), prepare=prepare)


def moments(mu_dtype: Any = None, initial_value: Any = 0) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """What makes both moments of a leaf, at a constant: the first in `mu_dtype`, the second real."""

    def init_leaf(p: jax.Array) -> tuple[jax.Array, jax.Array]:
        mu = tree.full_accumulator(p, initial_value, dtype=mu_dtype)
        return mu, tree.full_accumulator(p, initial_value, real=True)

    return init_leaf


def nesterov_weight(nesterov: bool, b1: Any, count: jax.Array, mu_weight: Any) -> Any:
    r""":math:`(1-\beta_1^t)/(1-\beta_1^{t+1})`, by which Nesterov's momentum weighs m; None without it."""
    if not nesterov:
        return None
    return 1.0 if mu_weight is None else mu_weight / complement_of_power(b1, increment(count))


def mean_gradient(b1: Any, g: jax.Array, m: jax.Array, ahead: Any) -> jax.Array:
    r"""The mean gradient, not corrected: m, or with Nesterov's momentum :math:`\beta_1 a\, m + (1-\beta_1)\, g`."""
    return m if ahead is None else b1 * ahead * m + (1 - b1) * g


@optimizer
def adam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam.

    Composition: `scale_by_adam`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; 0.001 in the paper.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      nesterov: Nesterov's momentum, as in `nadam`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx = gradtx.adam(0.1)
      >>> params = jnp.array([1.0, 2.0])
      >>> state = tx.init(params)
      >>> updates, state = tx.update(jax.grad(lambda p: jnp.sum(p**2))(params), state, params)
      >>> gradtx.apply_updates(params, updates)
      Array([0.9, 1.9], dtype=float32)

    References:
      - Kingma, Ba, Adam: a method for stochastic optimization, 2015, arXiv:1412.6980.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov), scale_by_learning_rate(learning_rate)
    )


@optimizer
def adamw(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 1e-4,
    mask: Mask = None,
    *,
    nesterov: bool = False,
    decay_convention: DecayConvention = "coupled",
    peak_learning_rate: Positive | None = None,
) -> GradientTransformation:
    r"""Adam with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{Adam} + \lambda p)`.

    Composition: `scale_by_adam`, `add_decayed_weights`, `scale_by_learning_rate`.

    Three conventions are in use for how the decay depends on a learning rate that follows a schedule with the largest
    value :math:`\eta_\text{peak}`:

    - ``"coupled"`` (torch, Optax, Keras): :math:`\eta\lambda p`, as above. A larger rate decays faster.
    - ``"independent"`` (the paper): :math:`(\eta/\eta_\text{peak})\,\lambda p`. The decay follows the shape of the
      schedule only, so that a search for the rate needs no other :math:`\lambda`: usual ones are as many times
      smaller as the peak is below 1.
    - ``"corrected"`` (AdamC): :math:`(\eta^2/\eta_\text{peak})\,\lambda p`. For layers that a normalization follows:
      there the norm of the gradients stays where it is while the rate falls, where it would rise by the coupled one.
      The other leaves keep the coupled decay: ``partition({"norm_follows/*": adamw(...), "*": adamw(...)})``.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0; 0.0001 as in Optax, 0.01 in torch.
      mask: the leaves to decay, as in `add_decayed_weights`, for example ``"*/kernel"``.
      nesterov: Nesterov's momentum.
      decay_convention: ``"coupled"``, ``"independent"`` or ``"corrected"``.
      peak_learning_rate: :math:`\eta_\text{peak}`, in (0, inf): for the conventions that are not coupled, and for them
        alone.

    State:
      8 bytes per float32 parameter.

    Raises:
      ArgumentValueError: a convention needs the peak and there is none, or has no use for it.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adamw(0.1, mask="*/kernel")).transforms[1]
      add_decayed_weights(weight_decay=0.0001, mask='*/kernel')

    References:
      - Loshchilov, Hutter, Decoupled weight decay regularization, 2019, arXiv:1711.05101.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(decay_under_rate(weight_decay, learning_rate, decay_convention, peak_learning_rate), mask),
        scale_by_learning_rate(learning_rate),
    )
