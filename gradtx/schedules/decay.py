"""Schedules that go from one value to another, and stay there."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import (
    as_float,
    as_number,
    complement_of_power,
    one_for_zero,
    safe_sqrt,
    schedule,
)
from gradtx.schedules.compose import StepFunction
from gradtx.typing import Decay, NonNegative, Numeric, OpenFraction

Shape = Callable[[jax.Array], jax.Array]


# --- transitions ------------------------------------------------------------------------------------------------------


def transition(init_value: Any, end_value: Any, shape: Shape, steps: Any, begin: Any = 0) -> StepFunction:
    """A function of the step that goes from one value to another in `steps` steps from `begin`.

    `shape` maps the fraction of the way that remains (1 at the beginning, 0 at the end) to the weight of `init_value`;
    it takes 1 to 1 and 0 to 0, so both values are met exactly.
    """

    def value(step: Any) -> jax.Array:
        weight = shape(remaining(step, steps, begin))
        mean: jax.Array = weight * as_number(init_value) + (1 - weight) * as_number(end_value)
        return mean

    return value


def remaining(step: Any, steps: Any, begin: Any = 0) -> jax.Array:
    """The fraction of a transition that remains: 1 until `begin`, 0 from ``begin + steps``; without steps, a jump."""
    length = as_number(steps)
    length = length * (length > 0).astype(length.dtype)
    return jnp.clip((as_number(begin) + length - as_float(step)) / one_for_zero(length), 0, 1)


def linear(x: jax.Array) -> jax.Array:
    """:math:`x`."""
    return x


def cosine(x: jax.Array) -> jax.Array:
    r""":math:`(1 - \cos \pi x)/2`, by the half-angle formula: no cancellation near 0."""
    return jnp.sin(jnp.pi / 2 * x) ** 2


def one_minus_sqrt(x: jax.Array) -> jax.Array:
    r""":math:`1 - \sqrt{1 - x}`, without cancellation near 0."""
    root: jax.Array = safe_sqrt(1 - x)
    return x / (1 + root)


def polynomial(power: Any) -> Shape:
    """:math:`x^p`, which is 0 at 0 for every p in [0, inf), with finite derivatives."""

    def shape(x: jax.Array) -> jax.Array:
        positive = x > 0
        return jnp.where(positive, jnp.where(positive, x, 1) ** as_number(power), 0)

    return linear if isinstance(power, int | float) and power == 1 else shape


def hyperbolic(curvature: Any) -> Shape:
    """:math:`x / (1 - c + c x)`, which is 0 at 0 also for a c so near 1 that it is rounded to it."""

    def shape(x: jax.Array) -> jax.Array:
        c = as_number(curvature)
        return x / one_for_zero(1 - c + c * x)

    return shape


SHAPES: dict[str, Shape] = {"linear": linear, "cosine": cosine, "1-sqrt": one_minus_sqrt}


@schedule
def linear_schedule(
    init_value: Numeric, end_value: Numeric, transition_steps: NonNegative, transition_begin: NonNegative = 0
) -> StepFunction:
    r"""Go from one value to another in a straight line.

    .. math:: s(n) = x\,\text{init\_value} + (1 - x)\,\text{end\_value}, \qquad
        x = \operatorname{clip}\left(\frac{\text{begin} + \text{steps} - n}{\text{steps}}, 0, 1\right)

    Both values are met exactly: the first until step `transition_begin`, the last from step
    ``transition_begin + transition_steps``. A transition of 0 steps is a jump to the end value, one of 1 step has no
    value in between.

    With ``transition_steps=0`` Optax stays at the initial value for ever, so that a warm-up of no steps never leaves
    its (usually zero) initial value; here, it is over at once.

    Args:
      init_value: the value at the beginning; any finite number.
      end_value: the value at the end; any finite number.
      transition_steps: how many steps it takes, in [0, inf).
      transition_begin: the step at which it begins, in [0, inf).

    Example:
      >>> import gradtx
      >>> gradtx.linear_schedule(1.0, 0.0, transition_steps=4, transition_begin=1).sample(6).tolist()
      [1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return transition(init_value, end_value, linear, transition_steps, transition_begin)


@schedule
def polynomial_schedule(
    init_value: Numeric,
    end_value: Numeric,
    power: NonNegative,
    transition_steps: NonNegative,
    transition_begin: NonNegative = 0,
) -> StepFunction:
    r"""Go from one value to another along a power of the remaining time.

    .. math:: s(n) = x^{\text{power}}\,\text{init\_value} + (1 - x^{\text{power}})\,\text{end\_value}, \qquad
        x = \operatorname{clip}\left(\frac{\text{begin} + \text{steps} - n}{\text{steps}}, 0, 1\right)

    A power of 1 is `linear_schedule`, whose rules for few steps hold here too: a transition of 0 steps is a jump to the
    end value (Optax stays at the initial value). A power of 0 stays at the initial value until the last step and then
    jumps; Optax stays there for ever.

    Args:
      init_value: the value at the beginning; any finite number.
      end_value: the value at the end; any finite number.
      power: the exponent, in [0, inf).
      transition_steps: how many steps it takes, in [0, inf).
      transition_begin: the step at which it begins, in [0, inf).

    Example:
      >>> import gradtx
      >>> gradtx.polynomial_schedule(1.0, 0.0, power=2, transition_steps=4).sample(5).tolist()
      [1.0, 0.5625, 0.25, 0.0625, 0.0]

    References:
      - Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets,
        Atrous Convolution, and Fully Connected CRFs", 2016, arXiv:1606.00915 (power 0.9, the "poly" policy)
    """
    return transition(init_value, end_value, polynomial(power), transition_steps, transition_begin)


@schedule
def rex_schedule(
    init_value: Numeric,
    end_value: Numeric,
    transition_steps: NonNegative,
    curvature: Decay = 0.5,
    transition_begin: NonNegative = 0,
) -> StepFunction:
    r"""Fall slowly at first and fast in the end, along a reflected hyperbola (REX).

    .. math:: s(n) = w\,\text{init\_value} + (1 - w)\,\text{end\_value}, \qquad w = \frac{x}{1 - c + c x}

    with :math:`x` the fraction of the steps that remains, as in `linear_schedule`, whose rules for few steps hold here
    too. Put a warm-up before it with `join_schedules`.

    Args:
      init_value: the value at the beginning; any finite number.
      end_value: the value at the end; any finite number.
      transition_steps: how many steps it takes, in [0, inf).
      curvature: :math:`c`, in [0, 1). 0 is `linear_schedule`, 0.5 the curve of the paper; the authors' code has 0.9,
        which is another curve: half of the way down after 91 per cent of the steps instead of 67.
      transition_begin: the step at which it begins, in [0, inf).

    Example:
      >>> import gradtx
      >>> [round(float(x), 4) for x in gradtx.rex_schedule(1.0, 0.0, 4).sample(6)]
      [1.0, 0.8571, 0.6667, 0.4, 0.0, 0.0]

    References:
      - Chen, Wolfe, Kyrillidis, "REX: Revisiting Budgeted Training with an Improved Schedule", 2021, arXiv:2107.04197
    """
    return transition(init_value, end_value, hyperbolic(curvature), transition_steps, transition_begin)


@schedule
def cosine_decay_schedule(
    init_value: Numeric, decay_steps: NonNegative, alpha: NonNegative = 0.0, exponent: NonNegative = 1.0
) -> StepFunction:
    r"""Fall along half a period of the cosine, to a fraction of the initial value.

    .. math:: s(n) = \text{init\_value}\left((1 - \alpha)
        \left(\tfrac12 + \tfrac12 \cos \frac{\pi \min(n, \text{steps})}{\text{steps}}\right)^{\text{exponent}}
        + \alpha\right)

    From step `decay_steps` on, the value is ``alpha * init_value``; with ``decay_steps=0`` it is so from the start
    (Optax raises an error). TensorFlow calls the same function ``CosineDecay``; torch's ``CosineAnnealingLR`` rises
    again after the end.

    Args:
      init_value: the value at step 0; any finite number.
      decay_steps: how many steps it takes, in [0, inf).
      alpha: the last value as a fraction of the first, in [0, inf).
      exponent: sharpens the curve above 1, flattens it below; in [0, inf).

    Example:
      >>> import gradtx
      >>> [round(float(x), 4) for x in gradtx.cosine_decay_schedule(1.0, 4, alpha=0.1).sample(6)]
      [1.0, 0.8682, 0.55, 0.2318, 0.1, 0.1]

    References:
      - Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016, arXiv:1608.03983
    """
    fall = cosine_transition(1, alpha, decay_steps, exponent)
    return lambda step: as_number(init_value) * fall(step)


def cosine_transition(init_value: Any, end_value: Any, steps: Any, exponent: Any) -> StepFunction:
    """A transition along half a period of the cosine, raised to a power."""
    raised = polynomial(exponent)
    return transition(init_value, end_value, lambda x: raised(cosine(x)), steps)


# --- exponential and hyperbolic ---------------------------------------------------------------------------------------


@schedule
def exponential_decay(
    init_value: Numeric,
    transition_steps: NonNegative,
    decay_rate: NonNegative,
    transition_begin: NonNegative = 0,
    staircase: bool = False,
    end_value: Numeric | None = None,
) -> StepFunction:
    r"""Multiply by the decay rate once every so many steps, smoothly or in stairs.

    .. math:: s(n) = \text{init\_value} \cdot \text{decay\_rate}^{\,x}, \qquad
        x = \frac{\max(n - \text{begin}, 0)}{\text{steps}} \quad (\lfloor x \rfloor \text{ if staircase})

    `end_value` bounds the value from the side it moves to: from below if it falls, from above if it rises. The bound
    holds at every step, so an initial value beyond it is replaced too. As in Optax, 0 steps or a rate of 0 switch the
    decay off: the value is `init_value` for ever, whatever `end_value` is.

    The power is taken as :math:`e^{x \log(\text{decay\_rate})}`, with the logarithm of a Python number in double
    precision: in float32, ``0.999**5000`` has six correct digits, where Optax's power has four. A rate above 1 without
    an end value stops growing before it overflows (at :math:`10^{19}` times the initial value in float32). A negative
    initial value is bounded as its magnitude is; Optax would go to the end value at once.

    Args:
      init_value: the value at the beginning; any finite number.
      transition_steps: the number of steps in which the value is multiplied by the rate once, in [0, inf).
      decay_rate: the factor, in [0, inf).
      transition_begin: the step at which the decay begins, in [0, inf).
      staircase: multiply once every `transition_steps` steps, and hold the value in between.
      end_value: the value at which to stop; ``None`` for never.

    Example:
      >>> import gradtx
      >>> gradtx.exponential_decay(1.0, 2, 0.5, staircase=True, end_value=0.25).sample(8).tolist()
      [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    """

    def value(step: Any) -> jax.Array:
        x = periods(step, transition_steps, transition_begin, staircase)
        decayed = as_number(init_value) * growth(x * _log(decay_rate))
        return decayed if end_value is None else bounded(decayed)

    def bounded(decayed: jax.Array) -> jax.Array:
        init, end, rate = as_number(init_value), as_number(end_value), as_number(decay_rate)
        falls = (rate < 1) == (init >= 0)
        changes = (as_number(transition_steps) > 0) & (rate > 0)
        stopped = jnp.where(falls, jnp.maximum(decayed, end), jnp.minimum(decayed, end))
        return jnp.where(changes, stopped, decayed)

    return value


@schedule
def natural_exp_decay(
    init_value: Numeric, transition_steps: NonNegative, decay_rate: NonNegative, staircase: bool = False
) -> StepFunction:
    r"""Decay by a factor of e every ``transition_steps / decay_rate`` steps.

    .. math:: s(n) = \text{init\_value} \cdot e^{-\text{decay\_rate} \cdot x}, \qquad
        x = \frac{n}{\text{steps}} \quad (\lfloor x \rfloor \text{ if staircase})

    It is `exponential_decay` with the rate :math:`e^{-\text{decay\_rate}}`. TensorFlow 1 had it under this name; Optax
    does not. With 0 steps the value is `init_value` for ever.

    Args:
      init_value: the value at step 0; any finite number.
      transition_steps: the unit of time in steps, in [0, inf).
      decay_rate: the decay per unit of time, in [0, inf).
      staircase: change the value once every `transition_steps` steps, and hold it in between.

    Example:
      >>> import gradtx
      >>> [round(float(x), 4) for x in gradtx.natural_exp_decay(1.0, 2, 0.5).sample(5)]
      [1.0, 0.7788, 0.6065, 0.4724, 0.3679]
    """

    def value(step: Any) -> jax.Array:
        x = periods(step, transition_steps, staircase=staircase)
        decayed: jax.Array = as_number(init_value) * growth(-as_number(decay_rate) * x)
        return decayed

    return value


@schedule
def inverse_time_decay(
    init_value: Numeric,
    transition_steps: NonNegative,
    decay_rate: NonNegative,
    staircase: bool = False,
    power: NonNegative = 1.0,
) -> StepFunction:
    r"""Decay like the inverse of time, or of a power of it.

    .. math:: s(n) = \frac{\text{init\_value}}{(1 + \text{decay\_rate} \cdot x)^{\text{power}}}, \qquad
        x = \frac{n}{\text{steps}} \quad (\lfloor x \rfloor \text{ if staircase})

    Keras calls it ``InverseTimeDecay``; Optax does not have it. With 0 steps the value is `init_value` for ever. With
    the power 0.5 and a warm-up before it, it is the schedule of the Transformer: ``join_schedules([linear_schedule(0,
    peak, w), inverse_time_decay(peak, w, 1.0, power=0.5)], [w])``.

    Args:
      init_value: the value at step 0; any finite number.
      transition_steps: the unit of time in steps, in [0, inf).
      decay_rate: how much the denominator grows per unit of time, in [0, inf).
      staircase: change the value once every `transition_steps` steps, and hold it in between.
      power: the power of time, in [0, inf).

    Example:
      >>> import gradtx
      >>> gradtx.inverse_time_decay(1.0, 2, 2.0).sample(4).tolist()
      [1.0, 0.5, 0.3333333432674408, 0.25]

    References:
      - Darken, Moody, "Note on Learning Rate Schedules for Stochastic Optimization", NIPS 1990
      - Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762 (power 0.5)
    """

    def value(step: Any) -> jax.Array:
        time = 1 + as_number(decay_rate) * periods(step, transition_steps, staircase=staircase)
        slowed = time if isinstance(power, int | float) and power == 1 else time ** as_number(power)
        decayed: jax.Array = as_number(init_value) / slowed
        return decayed

    return value


def periods(step: Any, steps: Any, begin: Any = 0, staircase: bool = False) -> jax.Array:
    """How many times `steps` steps have passed since `begin`; 0 if a period has no steps."""
    passed = jnp.maximum(as_float(step) - as_number(begin), 0)
    period = as_number(steps)
    count = passed // one_for_zero(period) if staircase else passed / one_for_zero(period)
    counted: jax.Array = count * (period > 0).astype(period.dtype)
    return counted


def growth(exponent: jax.Array) -> jax.Array:
    """The exponential, which stops at the square root of the largest float: no overflow, nor in products with it."""
    return jnp.exp(jnp.minimum(exponent, math.log(np.finfo(exponent.dtype).max) / 2))


def _log(rate: Any) -> Any:
    """The logarithm, in double precision for a Python number; 0 for 0, which switches a decay off."""
    if isinstance(rate, int | float):
        return math.log(rate) if rate > 0 else 0.0
    return jnp.log(jnp.where(rate > 0, as_float(rate), 1))


@schedule
def half_life_schedule(
    init_value: OpenFraction, end_value: OpenFraction, transition_steps: NonNegative, transition_begin: NonNegative = 0
) -> StepFunction:
    r"""Go from one decay factor to another so that the half-life of what it averages changes in a straight line.

    .. math:: s(n) = \exp\frac{\ln a\, \ln b}{x \ln b + (1 - x) \ln a}, \qquad
        x = \operatorname{clip}\left(\frac{\text{begin} + \text{steps} - n}{\text{steps}}, 0, 1\right)

    with :math:`a` the initial and :math:`b` the end value. An average with the factor :math:`\beta` has forgotten half
    of a gradient after :math:`\ln 2 / \ln(1/\beta)` steps: 7 for 0.9, 6931 for 0.9999. Were the factor itself to go
    from one to the other in a straight line, the half-life would be 68 after nine tenths of the way.

    Both values are met exactly, as by `linear_schedule`. The authors of AdEMAMix let :math:`\beta_3` rise so over the
    whole run, from :math:`\beta_1`.

    Args:
      init_value: the factor at the beginning, in (0, 1).
      end_value: the factor at the end, in (0, 1).
      transition_steps: how many steps it takes, in [0, inf).
      transition_begin: the step at which it begins, in [0, inf).

    Example:
      >>> import gradtx
      >>> b3 = gradtx.half_life_schedule(0.9, 0.9999, transition_steps=1000)
      >>> [round(float(b3(n)), 4) for n in (0, 10, 100, 500, 1000)]
      [0.9, 0.9909, 0.999, 0.9998, 0.9999]

    References:
      - Pagliardini, Ablin, Grangier, The AdEMAMix optimizer: better, faster, older, 2024, arXiv:2409.03137.
    """

    def value(step: Any) -> jax.Array:
        first, last = _log_of(init_value), _log_of(end_value)
        x = remaining(step, transition_steps, transition_begin)
        # 0 only if both factors are so near 1 that float32 has 1 for them.
        between = jnp.exp(first * last / one_for_zero(x * last + (1 - x) * first))
        factor: jax.Array = jnp.where(x == 1, as_number(init_value), jnp.where(x == 0, as_number(end_value), between))
        return factor

    return value


def _log_of(factor: Any) -> Any:
    """The logarithm of a number in (0, 1), with all its digits near 1."""
    if isinstance(factor, int | float):
        return math.log(factor)
    factor = as_float(factor)
    high = factor > 0.5
    return jnp.where(high, jnp.log1p(jnp.where(high, factor, 0.75) - 1), jnp.log(jnp.where(high, 0.5, factor)))


@schedule
def debiased_decay(decay: Decay) -> StepFunction:
    r"""The decay factor with which a moving average needs no bias correction.

    .. math:: s(n) = \beta_t = \beta\, \frac{1 - \beta^{t-1}}{1 - \beta^t}, \qquad t = n + 1

    The average :math:`m_t = \beta_t m_{t-1} + (1 - \beta_t) g_t` equals the one with the constant factor
    :math:`\beta` after division by :math:`1 - \beta^t`: :math:`\beta_1 = 0` takes over the first gradient whole, and
    :math:`\beta_t` rises to :math:`\beta`.

    Args:
      decay: :math:`\beta`, in [0, 1).

    Example:
      >>> import gradtx
      >>> [round(float(x), 4) for x in gradtx.debiased_decay(0.9).sample(4)]
      [0.0, 0.4737, 0.631, 0.7092]

    References:
      - Shazeer, Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", 2018, arXiv:1804.04235,
        section 7.1
    """

    def value(step: Any) -> jax.Array:
        t = jnp.maximum(as_float(step) + 1, 1)
        whole = complement_of_power(decay, t)
        # The limit at decay 1, which a number just below 1 becomes when it is rounded to float32.
        ratio = jnp.where(whole > 0, complement_of_power(decay, t - 1) / one_for_zero(whole), (t - 1) / t)
        factor: jax.Array = as_number(decay) * ratio
        return factor

    return value
