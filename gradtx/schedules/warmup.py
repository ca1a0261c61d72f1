"""Schedules that rise in a straight line first."""

from collections.abc import Sequence
from typing import Any, Literal

from gradtx.core import Schedule, schedule
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.schedules.arithmetic import constant_schedule
from gradtx.schedules.compose import exceeds, join_schedules
from gradtx.schedules.decay import SHAPES, cosine_transition, exponential_decay, linear_schedule, transition
from gradtx.typing import NonNegative, Numeric


@schedule
def warmup_constant_schedule(init_value: Numeric, peak_value: Numeric, warmup_steps: NonNegative) -> Schedule:
    r"""Go to the peak in a straight line, and stay there.

    .. math:: s(n) = \text{init\_value} + (\text{peak\_value} - \text{init\_value})
        \min\left(\frac{n}{\text{warmup\_steps}}, 1\right)

    Without warm-up steps the value is `peak_value` from the start (Optax stays at `init_value` for ever).

    Args:
      init_value: the value at step 0; any finite number.
      peak_value: the value from step `warmup_steps` on; any finite number.
      warmup_steps: the length of the warm-up, in [0, inf).

    Example:
      >>> import gradtx
      >>> gradtx.warmup_constant_schedule(0.0, 1.0, warmup_steps=4).sample(6).tolist()
      [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]

    References:
      - Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017, arXiv:1706.02677
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


@schedule
def warmup_cosine_decay_schedule(
    init_value: Numeric,
    peak_value: Numeric,
    warmup_steps: NonNegative,
    decay_steps: NonNegative,
    end_value: Numeric = 0.0,
    exponent: NonNegative = 1.0,
) -> Schedule:
    r"""Go to the peak in a straight line, then to the end value along half a period of the cosine.

    .. math:: s(n) = \begin{cases}
        \text{init} + (\text{peak} - \text{init})\, n / \text{warmup\_steps} & n < \text{warmup\_steps} \\
        \text{end} + (\text{peak} - \text{end})
        \left(\tfrac12 + \tfrac12 \cos \pi x\right)^{\text{exponent}} & \text{otherwise}
        \end{cases} \qquad
        x = \min\left(\frac{n - \text{warmup\_steps}}{\text{decay\_steps} - \text{warmup\_steps}}, 1\right)

    `decay_steps` counts from step 0 and includes the warm-up, as in Optax. The end value is met exactly at that step
    and held. Without warm-up steps the schedule starts at the peak. If the warm-up takes all the steps, it is followed
    by the end value (Optax raises an error); with 0 steps the value is the end value from the start. A peak of 0 is no
    exception (Optax then stays at 0 whatever the end value).

    Args:
      init_value: the value at step 0; any finite number.
      peak_value: the value at step `warmup_steps`; any finite number.
      warmup_steps: the length of the warm-up, in [0, inf).
      decay_steps: the length of the whole, in [warmup_steps, inf).
      end_value: the value from step `decay_steps` on; any finite number.
      exponent: sharpens the fall above 1, flattens it below; in [0, inf).

    Raises:
      ArgumentValueError: `warmup_steps` exceeds `decay_steps` (not checked for traced values).

    Example:
      >>> import gradtx
      >>> s = gradtx.warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=2, decay_steps=6, end_value=0.5)
      >>> [round(float(x), 4) for x in s.sample(8)]
      [0.0, 0.5, 1.0, 0.9268, 0.75, 0.5732, 0.5, 0.5]

    References:
      - Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2016, arXiv:1608.03983
      - Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017, arXiv:1706.02677
    """
    if exceeds(warmup_steps, decay_steps):
        got = f"{warmup_steps!r} > {decay_steps!r}"
        hint = "decay_steps is the length of the whole schedule, with the warm-up"
        raise ArgumentValueError("warmup_steps to be at most decay_steps", got=got, hint=hint)
    fall = cosine_transition(peak_value, end_value, decay_steps - warmup_steps, exponent)
    return _after_warmup(init_value, peak_value, warmup_steps, fall)


@schedule
def warmup_exponential_decay_schedule(
    init_value: Numeric,
    peak_value: Numeric,
    warmup_steps: NonNegative,
    transition_steps: NonNegative,
    decay_rate: NonNegative,
    transition_begin: NonNegative = 0,
    staircase: bool = False,
    end_value: Numeric | None = None,
) -> Schedule:
    r"""Go to the peak in a straight line, then follow `exponential_decay`.

    .. math:: s(n) = \begin{cases}
        \text{init} + (\text{peak} - \text{init})\, n / \text{warmup\_steps} & n < \text{warmup\_steps} \\
        \text{peak} \cdot \text{decay\_rate}^{\,x} & \text{otherwise}
        \end{cases} \qquad
        x = \frac{\max(n - \text{warmup\_steps} - \text{begin}, 0)}{\text{steps}}

    Without warm-up steps the schedule starts at the peak.

    Args:
      init_value: the value at step 0; any finite number.
      peak_value: the value at step `warmup_steps`; any finite number.
      warmup_steps: the length of the warm-up, in [0, inf).
      transition_steps: the number of steps in which the value is multiplied by the rate once, in [0, inf); 0 switches
        the decay off.
      decay_rate: the factor, in [0, inf); 0 switches the decay off.
      transition_begin: how many steps after the warm-up the decay begins, in [0, inf).
      staircase: multiply once every `transition_steps` steps, and hold the value in between.
      end_value: the value at which the decay stops; ``None`` for never. It does not bound the warm-up.

    Example:
      >>> import gradtx
      >>> gradtx.warmup_exponential_decay_schedule(0.0, 1.0, 2, transition_steps=1, decay_rate=0.5).sample(5).tolist()
      [0.0, 0.5, 1.0, 0.5, 0.25]

    References:
      - Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017, arXiv:1706.02677
    """
    fall = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return _after_warmup(init_value, peak_value, warmup_steps, fall)


@schedule
def warmup_stable_decay_schedule(
    init_value: Numeric,
    peak_value: Numeric,
    warmup_steps: NonNegative,
    stable_steps: NonNegative,
    decay_steps: NonNegative,
    end_value: Numeric = 0.0,
    decay_type: Literal["linear", "cosine", "1-sqrt"] = "linear",
) -> Schedule:
    r"""Go to the peak in a straight line, stay there for most of the training, then fall to the end value (WSD).

    .. math:: s(n) = \begin{cases}
        \text{init} + (\text{peak} - \text{init})\, n / W & n < W \\
        \text{peak} & W \le n < W + S \\
        \text{end} + (\text{peak} - \text{end})\, f(x) & \text{otherwise}
        \end{cases} \qquad
        x = \min\left(\frac{n - W - S}{D}, 1\right)

    with :math:`W, S, D` the steps of warm-up, stable phase and decay, and :math:`f(x) = 1 - x` (linear),
    :math:`\tfrac12 + \tfrac12 \cos \pi x` (cosine) or :math:`1 - \sqrt x` (1-sqrt, steep at first). The length of the
    training need not be known before the decay begins. A phase of 0 steps is skipped; the end value is met exactly at
    step :math:`W + S + D` and held.

    Unlike in `warmup_cosine_decay_schedule`, `decay_steps` is the length of the decay alone. Optax does not have this
    schedule; ``get_wsd_schedule`` of Hugging Face has a cosine decay by default.

    Args:
      init_value: the value at step 0; any finite number.
      peak_value: the value during the stable phase; any finite number.
      warmup_steps: the length of the warm-up, in [0, inf).
      stable_steps: the length of the stable phase, in [0, inf).
      decay_steps: the length of the decay, in [0, inf); 10 to 20 per cent of the whole is usual.
      end_value: the value after the decay; any finite number.
      decay_type: ``"linear"``, ``"cosine"`` or ``"1-sqrt"``.

    Example:
      >>> import gradtx
      >>> gradtx.warmup_stable_decay_schedule(0.0, 1.0, 2, stable_steps=2, decay_steps=4).sample(9).tolist()
      [0.0, 0.5, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]

    References:
      - Hu et al., "MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies", 2024,
        arXiv:2404.06395
      - Haegele, Bakouch, Kosson, Ben Allal, Von Werra, Jaggi, "Scaling Laws and Compute-Optimal Training Beyond Fixed
        Training Durations", 2024, arXiv:2405.18392 (linear and 1-sqrt)
    """
    fall = transition(peak_value, end_value, SHAPES[decay_type], decay_steps)
    stable_and_fall = join_schedules([constant_schedule(peak_value), fall], [stable_steps])
    return _after_warmup(init_value, peak_value, warmup_steps, stable_and_fall)


@schedule
def wsds_schedule(
    init_value: Numeric,
    peak_value: Numeric,
    warmup_steps: NonNegative,
    checkpoints: Sequence[NonNegative],
    decay_steps: NonNegative,
    end_value: Numeric = 0.0,
    decay_type: Literal["linear", "cosine", "1-sqrt"] = "linear",
) -> Schedule:
    r"""A peak from which the value falls to the end value before each checkpoint, and is back at once after it (WSD-S).

    .. math:: s(n) = \begin{cases}
        \text{init} + (\text{peak} - \text{init})\, n / W & n < W \\
        \text{end} + (\text{peak} - \text{end})\, f(x) & C_k - D \le n < C_k \\
        \text{peak} & \text{otherwise, up to the last checkpoint}
        \end{cases} \qquad
        x = \frac{n - (C_k - D)}{D}

    with :math:`W` the steps of the warm-up, :math:`D` those of a decay, :math:`C_k` the checkpoints, and :math:`f` as
    in `warmup_stable_decay_schedule`, which this is for one checkpoint. One run so gives a trained model at each of
    several budgets; it goes on from the decayed parameters, and not from those before the decay. The parameters after
    :math:`C_k` updates are those to save. The end value itself is met from the last checkpoint on.

    Args:
      init_value: the value at step 0; any finite number.
      peak_value: the value between warm-up and decays; any finite number.
      warmup_steps: the length of the warm-up, in [0, inf).
      checkpoints: the steps at which the decays end, at least one, in [0, inf), each at least `decay_steps` after the
        one before, and the first at least ``warmup_steps + decay_steps``.
      decay_steps: the length of each decay, in [0, inf); 10 per cent of the steps so far is usual.
      end_value: the value at the end of a decay; any finite number.
      decay_type: ``"linear"``, ``"cosine"`` or ``"1-sqrt"``.

    Raises:
      ArgumentTypeError: `checkpoints` is not a list or tuple.
      ArgumentValueError: there are no checkpoints, or there is no time for a decay (not checked for traced values).

    Example:
      >>> import gradtx
      >>> gradtx.wsds_schedule(0.0, 1.0, 2, checkpoints=[5, 8], decay_steps=2).sample(10).tolist()
      [0.0, 0.5, 1.0, 1.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]

    References:
      - Wen, Li, Wang, Hall, Liang, Ma, "Understanding Warmup-Stable-Decay Learning Rates: A River Valley Loss Landscape
        Perspective", 2024, arXiv:2410.05192
    """
    if not isinstance(checkpoints, list | tuple):
        raise ArgumentTypeError("checkpoints to be a list or tuple of steps", got=repr(checkpoints))
    if not checkpoints:
        raise ArgumentValueError(
            "checkpoints to be at least one step", got="none", hint="give the step at which the run ends"
        )
    begins, cycles = [0, *checkpoints[:-1]], list[Schedule]()
    for begin, end in zip(begins, checkpoints, strict=True):
        rise, first = (0, peak_value) if cycles else (warmup_steps, init_value)
        stable = end - begin - rise - decay_steps
        if isinstance(stable, int | float) and stable < 0:  # numbers that are tuned are not known here
            hint = "the warm-up and a decay have to fit before the first, a decay between any two"
            got = f"{end!r} after {begin!r} with {decay_steps!r} steps of decay"
            raise ArgumentValueError("checkpoints far enough apart", got=got, hint=hint)
        steps = (rise, stable, decay_steps)
        cycles.append(warmup_stable_decay_schedule(first, peak_value, *steps, end_value, decay_type))
    return join_schedules(cycles, begins[1:])


def _after_warmup(init_value: Any, peak_value: Any, warmup_steps: Any, rest: Any) -> Schedule:
    return join_schedules([linear_schedule(init_value, peak_value, warmup_steps), rest], [warmup_steps])
