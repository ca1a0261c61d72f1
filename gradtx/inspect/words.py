"""Schedules in words."""

from collections.abc import Callable
from typing import Any

from gradtx.core import Schedule


def in_words(schedule: Schedule) -> str:
    """What a schedule does, such as "warm-up from 0 to 0.001 over 1000 steps, cosine to 0 at 10000".

    A schedule that has no words for it, or whose numbers are arrays or traced, is shown as its constructor text.
    """
    words = WORDS.get(schedule.factory.name)
    try:
        return repr(schedule) if words is None else words(**schedule.arguments)
    except (TypeError, ValueError):
        return repr(schedule)


def number(x: Any) -> str:
    """A number in at most six digits."""
    return f"{float(x):g}"


def _held(text: str, begin: Any) -> str:
    return text if begin == 0 else f"{text}, beginning at step {number(begin)}"


def _linear(init_value: Any, end_value: Any, transition_steps: Any, transition_begin: Any) -> str:
    line = f"linear from {number(init_value)} to {number(end_value)} over {number(transition_steps)} steps"
    return _held(line, transition_begin)


def _polynomial(init_value: Any, end_value: Any, power: Any, transition_steps: Any, transition_begin: Any) -> str:
    line = _linear(init_value, end_value, transition_steps, transition_begin)
    return line if power == 1 else line.replace("linear", f"polynomial of power {number(power)}", 1)


def _rex(init_value: Any, end_value: Any, transition_steps: Any, curvature: Any, transition_begin: Any) -> str:
    line = _linear(init_value, end_value, transition_steps, transition_begin)
    return line.replace("linear", f"hyperbola of curvature {number(curvature)}", 1)


def _sharpened(exponent: Any) -> str:
    return "cosine" if exponent == 1 else f"cosine to the power {number(exponent)}"


def _cosine(init_value: Any, decay_steps: Any, alpha: Any, exponent: Any) -> str:
    return f"{_sharpened(exponent)} from {number(init_value)} to {number(init_value * alpha)} at {number(decay_steps)}"


def _geometric(factor: str, steps: Any, staircase: bool, begin: Any = 0, end: Any = None) -> str:
    stairs = " at once" if staircase else ""
    bound = "" if end is None else f", no further than {number(end)}"
    return _held(f"times {factor} every {number(steps)} steps{stairs}{bound}", begin)


def _exponential(
    init_value: Any, transition_steps: Any, decay_rate: Any, transition_begin: Any, staircase: bool, end_value: Any
) -> str:
    fall = _geometric(number(decay_rate), transition_steps, staircase, transition_begin, end_value)
    return f"{number(init_value)}, {fall}"


def _natural(init_value: Any, transition_steps: Any, decay_rate: Any, staircase: bool) -> str:
    return f"{number(init_value)}, {_geometric(f'exp(-{number(decay_rate)})', transition_steps, staircase)}"


def _inverse(init_value: Any, transition_steps: Any, decay_rate: Any, staircase: bool, power: Any) -> str:
    raised, stairs = "" if power == 1 else f"^{number(power)}", ", in stairs" if staircase else ""
    return f"{number(init_value)} / (1 + {number(decay_rate)} step / {number(transition_steps)}){raised}{stairs}"


def _warmup(init_value: Any, peak_value: Any, warmup_steps: Any) -> str:
    return f"warm-up from {number(init_value)} to {number(peak_value)} over {number(warmup_steps)} steps"


def _warmup_cosine(
    init_value: Any, peak_value: Any, warmup_steps: Any, decay_steps: Any, end_value: Any, exponent: Any
) -> str:
    rise = _warmup(init_value, peak_value, warmup_steps)
    return f"{rise}, {_sharpened(exponent)} to {number(end_value)} at {number(decay_steps)}"


def _warmup_exponential(
    init_value: Any,
    peak_value: Any,
    warmup_steps: Any,
    transition_steps: Any,
    decay_rate: Any,
    transition_begin: Any,
    staircase: bool,
    end_value: Any,
) -> str:
    fall = _geometric(number(decay_rate), transition_steps, staircase, end=end_value)
    later = "" if transition_begin == 0 else f", beginning {number(transition_begin)} steps later"
    return f"{_warmup(init_value, peak_value, warmup_steps)}, {fall}{later}"


def _warmup_stable(
    init_value: Any,
    peak_value: Any,
    warmup_steps: Any,
    stable_steps: Any,
    decay_steps: Any,
    end_value: Any,
    decay_type: str,
) -> str:
    held = warmup_steps + stable_steps
    rise = _warmup(init_value, peak_value, warmup_steps)
    return f"{rise}, stable to {number(held)}, {decay_type} to {number(end_value)} at {number(held + decay_steps)}"


def _wsds(
    init_value: Any,
    peak_value: Any,
    warmup_steps: Any,
    checkpoints: Any,
    decay_steps: Any,
    end_value: Any,
    decay_type: str,
) -> str:
    falls = f"{decay_type} to {number(end_value)} over {number(decay_steps)} steps"
    ends = ", ".join(number(step) for step in checkpoints)
    return f"{_warmup(init_value, peak_value, warmup_steps)}, {falls} before each of {ends}"


def _onecycle(transition_steps: Any, peak_value: Any, pct_start: Any, div_factor: Any, final_div_factor: Any) -> str:
    first = peak_value / div_factor
    rise = f"cosine from {number(first)} to {number(peak_value)} at {number(pct_start * transition_steps)}"
    return f"{rise}, cosine to {number(first / final_div_factor)} at {number(transition_steps)}"


def _linear_onecycle(
    transition_steps: Any, peak_value: Any, pct_start: Any, pct_final: Any, div_factor: Any, final_div_factor: Any
) -> str:
    first = peak_value / div_factor
    rise = f"linear from {number(first)} to {number(peak_value)} at {number(pct_start * transition_steps)}"
    fall = f"to {number(first)} at {number(pct_final * transition_steps)}"
    return f"{rise}, {fall}, to {number(first / final_div_factor)} at {number(transition_steps)}"


def _sgdr(cosine_kwargs: Any) -> str:
    cycles = [_warmup_cosine(**{"end_value": 0.0, "exponent": 1.0} | dict(cycle)) for cycle in cosine_kwargs]
    return "; then ".join(cycles)


def _join(schedules: Any, boundaries: Any) -> str:
    first, *others = [in_words(s) for s in schedules]
    return "; ".join([first, *(f"from {number(b)}: {s}" for b, s in zip(boundaries, others, strict=True))])


def _repeat(cycle: Any, period: Any, period_factor: Any, value_factor: Any) -> str:
    longer = "" if period_factor == 1 else f", each cycle {number(period_factor)} times longer"
    larger = "" if value_factor == 1 else f", each cycle times {number(value_factor)}"
    return f"({in_words(cycle)}), again from {number(period)}{longer}{larger}"


def _operand(x: Any) -> str:
    return f"({in_words(x)})" if isinstance(x, Schedule) else number(x)


def _operation(sign: str) -> Callable[..., str]:
    return lambda left, right: f"{_operand(left)} {sign} {_operand(right)}"


def _piecewise(init_value: Any, boundaries_and_scales: Any, interpolate_type: str = "") -> str:
    value, parts = init_value, [number(init_value)]
    for boundary, scale in sorted((boundaries_and_scales or {}).items()):
        value = value * scale
        move = f"{interpolate_type} to {number(value)} at" if interpolate_type else f"{number(value)} from"
        parts.append(f"{move} {number(boundary)}")
    return ", ".join(parts)


def _plateau(init_value: Any, factor: Any, patience: Any, monitor: str, **others: Any) -> str:
    waiting = f"{number(patience)} observations of {monitor!r} without improvement"
    floor = "" if others["min_value"] == 0 else f", not below {number(others['min_value'])}"
    return f"{number(init_value)}, times {number(factor)} after {waiting}{floor}"


WORDS: dict[str, Callable[..., str]] = {
    "add_schedules": _operation("+"),
    "constant_schedule": lambda value: number(value),
    "cosine_decay_schedule": _cosine,
    "cosine_onecycle_schedule": _onecycle,
    "custom_schedule": lambda function: f"the function {getattr(function, '__qualname__', type(function).__name__)}",
    "debiased_decay": lambda decay: f"rising from 0 to {number(decay)}: {number(decay)} without bias",
    "divide_schedules": _operation("/"),
    "ema_warmup_decay": lambda decay, init_value, **_: f"rising from {number(init_value)} to {number(decay)}",
    "exponential_decay": _exponential,
    "half_life_schedule": lambda **given: f"half-life {_linear(**given)}",
    "inverse_time_decay": _inverse,
    "join_schedules": _join,
    "linear_onecycle_schedule": _linear_onecycle,
    "linear_schedule": _linear,
    "multiply_schedules": _operation("*"),
    "natural_exp_decay": _natural,
    "piecewise_constant_schedule": _piecewise,
    "piecewise_interpolate_schedule": lambda interpolate_type, init_value, boundaries_and_scales: _piecewise(
        init_value, boundaries_and_scales, interpolate_type
    ),
    "plateau_schedule": _plateau,
    "polynomial_schedule": _polynomial,
    "power_function_decay": lambda gamma: f"rising from 0 to 1: step k weighs about k^{number(gamma)}",
    "rectification_schedule": lambda b2, threshold: (
        f"0, then rising to 1: Adam's rectification for b2 {number(b2)} from {number(threshold)}"
    ),
    "repeat_schedule": _repeat,
    "rex_schedule": _rex,
    "sgdr_schedule": _sgdr,
    "subtract_schedules": _operation("-"),
    "warmup_constant_schedule": _warmup,
    "warmup_cosine_decay_schedule": _warmup_cosine,
    "warmup_exponential_decay_schedule": _warmup_exponential,
    "warmup_stable_decay_schedule": _warmup_stable,
    "wsds_schedule": _wsds,
}
