"""Rectified Adam: an adaptive rate that waits until its variance is known."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    alias,
    as_float,
    complement_of_power,
    divide_by_root,
    increment,
    leafwise,
    moving_average,
    moving_average_sq,
    optimizer,
    safe_sqrt,
    schedule,
    transformation,
)
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.adam.adam import ScaleByAdamState, mean_gradient, moments, nesterov_weight
from gradtx.typing import Decay, NonNegative, Range

AtLeastFour = Annotated[Any, Range(low=4)]


@transformation
def scale_by_rectified_adam(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    threshold: AtLeastFour = 5.0,
    *,
    nesterov: bool = False,
    below_threshold: Literal["momentum", "none"] = "momentum",
) -> Form:
    r"""Rescale updates by the RAdam rule: Adam whose first steps are rectified for the variance of the adaptive rate.

    .. math::
        \rho_\infty = \frac{2}{1-\beta_2} - 1, \qquad
        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1-\beta_2^t}, \qquad
        r_t = \sqrt{\frac{(\rho_t-4)(\rho_t-2)\,\rho_\infty}{(\rho_\infty-4)(\rho_\infty-2)\,\rho_t}}

    .. math::
        u_t = \begin{cases}
            r_t\, \hat m_t / (\sqrt{\hat v_t + \bar\epsilon} + \epsilon) & \rho_t \ge \text{threshold} \\
            \hat m_t \text{ (momentum)}, \text{ or } 0 \text{ (none)} & \text{otherwise}
        \end{cases}

    with the moments of `scale_by_adam`. For :math:`\beta_2 \le 0.6` the variance is never tractable
    (:math:`\rho_\infty \le 4`), and no step is rectified.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, outside the root, at least 0.
      eps_root: :math:`\bar\epsilon`, inside the root, at least 0.
      threshold: the length of the approximated average from which steps are rectified, at least 4: 4 in the paper, 5
        in the authors' code, torch and Optax (a step later, for usual :math:`\beta_2`).
      nesterov: as in `scale_by_adam`.
      below_threshold: the steps before: ``"momentum"`` (paper, torch, Optax) or ``"none"``, none at all (the authors'
        code).

    State:
      `ScaleByAdamState`: 8 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_rectified_adam()
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 0.5, -3. ], dtype=float32)

    References:
      - Liu et al., On the variance of the adaptive learning rate and beyond, 2020, arXiv:1908.03265.
    """

    def prepare(state: ScaleByAdamState) -> tuple[ScaleByAdamState, dict[str, Any]]:
        count = increment(state.count)
        mu_weight = complement_of_power(b1, count)
        ratio = divide_by_root(eps, eps_root, mu_weight=mu_weight, nu_weight=complement_of_power(b2, count))
        return state._replace(count=count), {
            "ratio": rectified(ratio, b2, count, threshold, 1 / mu_weight if below_threshold == "momentum" else 0.0),
            "ahead": nesterov_weight(nesterov, b1, count, mu_weight),
        }

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, *, ratio: Any, ahead: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, g)
        v = moving_average_sq(b2, v, g)
        return ratio(mean_gradient(b1, g, m, ahead), v), m, v

    return leafwise(leaf, state=ScaleByAdamState, init_leaf=moments(), prepare=prepare)


scale_by_radam = alias("scale_by_radam", scale_by_rectified_adam)
"""Optax's name for `scale_by_rectified_adam`."""


@optimizer
def radam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    threshold: AtLeastFour = 5.0,
    *,
    nesterov: bool = False,
    below_threshold: Literal["momentum", "none"] = "momentum",
) -> GradientTransformation:
    """Rectified Adam: no adaptive step before its variance is known, so that no warm-up is needed.

    Composition: `scale_by_rectified_adam`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      threshold: from which length of the average steps are rectified, at least 4.
      nesterov: Nesterov's momentum.
      below_threshold: ``"momentum"`` steps before, or ``"none"``.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.radam(0.1, threshold=4.0))
      chain(scale_by_rectified_adam(threshold=4.0), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Liu et al., On the variance of the adaptive learning rate and beyond, 2020, arXiv:1908.03265.
    """
    rescale = scale_by_rectified_adam(
        b1, b2, eps, eps_root, threshold, nesterov=nesterov, below_threshold=below_threshold
    )
    return chain(rescale, scale_by_learning_rate(learning_rate))


@schedule
def rectification_schedule(b2: Decay = 0.999, threshold: AtLeastFour = 4.0) -> Callable[[Any], Any]:
    r"""The factor of the steps of `scale_by_rectified_adam` by itself, as a warm-up: 0 at first, then rising to 1.

    .. math:: s(n) = r_{n+1} \text{ if } \rho_{n+1} \ge \text{threshold}, \text{ else } 0

    with :math:`r_t` and :math:`\rho_t` of `scale_by_rectified_adam`, for optimizers that divide by the root of an
    average of squared gradients: ``0.001 * rectification_schedule()`` is a learning rate. For :math:`\beta_2 \le 0.6`
    it is 0 for ever.

    Args:
      b2: the decay factor of that average, in [0, 1).
      threshold: the length of the average from which it is not 0, at least 4.

    Example:
      >>> import gradtx
      >>> [round(float(x), 3) for x in gradtx.rectification_schedule(0.99).sample(7)]
      [0.0, 0.0, 0.0, 0.0, 0.054, 0.082, 0.104]

    References:
      - Liu et al., On the variance of the adaptive learning rate and beyond, 2020, arXiv:1908.03265.
    """

    def value(step: Any) -> jax.Array:
        tractable, r = _rectification(b2, as_float(step) + 1, threshold)
        return jnp.where(tractable, r, 0)

    return value


def average_length(b2: Any, count: Any) -> jax.Array:
    r""":math:`\rho_t`, the length of the simple moving average that the exponential one amounts to after t steps.

    With :math:`q = -\ln\beta_2` and :math:`M(x) = 1 + 1/x - \coth x`, the textbook form equals
    :math:`\rho_t = 1 + t\,M(tq/2) - M(q/2)`, in which nothing cancels: in float32 at :math:`\beta_2 = 0.99999`,
    :math:`\rho_5` of the textbook form is off by more than its distance from the threshold 5.
    """
    t = as_float(count)
    python = isinstance(b2, float | int)
    # The bound on b2 keeps q finite; the length differs from 1 by no more than it there.
    q: Any = -math.log(max(b2, 1e-30)) if python else -jnp.log1p(jnp.maximum(b2, 1e-6) - 1)
    rho: jax.Array = 1 + t * _one_minus_langevin(t * q / 2) - _one_minus_langevin(q / 2)
    return rho


def _one_minus_langevin(x: Any) -> jax.Array:
    r""":math:`1 + 1/x - \coth x`, by its power series where :math:`1/x` and :math:`\coth x` cancel."""
    x = jnp.asarray(x)
    small = x < 0.5
    near, far = jnp.where(small, x, 0), jnp.where(small, 1, x)
    # The coefficients are 2^2n B_2n / (2n)!; nine terms give double precision below 0.5.
    series = (
        1 / 3, -1 / 45, 2 / 945, -1 / 4725, 2 / 93555, -1382 / 638512875, 4 / 18243225, -3617 / 162820783125,
        87734 / 38979295480125,
    )  # fmt: skip
    langevin = near * jnp.polyval(jnp.array(series[::-1], x.dtype), near * near)
    # coth x - 1 = 2e / (1-e), e = exp(-2x), and not 2 / (exp(2x) - 1), which overflows when it is differentiated.
    e = jnp.exp(-2 * far)
    return jnp.where(small, 1 - langevin, 1 / far - 2 * e / (1 - e))


class _Rectified(NamedTuple):
    """A division as of `divide_by_root`, rectified.

    Attributes:
      ratio: the division.
      tractable: whether the variance is.
      r: the factor if it is.
      fallback: by what m is multiplied if it is not.
    """

    ratio: Any
    tractable: Any
    r: Any
    fallback: Any

    def __call__(self, m: jax.Array, v: jax.Array) -> jax.Array:
        return m * jnp.where(self.tractable, self.ratio(self.r, v), self.fallback)


def rectified(ratio: Any, b2: Any, count: jax.Array, threshold: Any, fallback: Any) -> _Rectified:
    """A division as of `divide_by_root`, rectified; where the variance is not tractable, m times the fallback."""
    return _Rectified(ratio, *_rectification(b2, count, threshold), fallback)


def _rectification(b2: Any, count: jax.Array, threshold: Any) -> tuple[jax.Array, jax.Array]:
    """Whether the variance is tractable, and the factor by which the step is rectified (1 where it is not)."""
    rho_inf = 2 / (1 - b2) - 1
    rho = average_length(b2, count)
    tractable = (rho >= threshold) & (rho_inf > 4)
    rho_inf = jnp.where(rho_inf > 4, rho_inf, 5)
    rho = jnp.where(tractable, rho, rho_inf)
    r = safe_sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    return tractable, r
