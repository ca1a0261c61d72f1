"""The schedulers of torch, and those that transformers makes for it, as gradtx has them."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any, Literal

import gradtx
from gradtx.cli.convert import REQUIRED, Call, Class, Notes, build, shown
from gradtx.cli.failure import CommandError
from gradtx.cli.program import Transformation

STEPS = "a schedule counts updates, torch's counts calls of scheduler.step(): multiply epochs by the updates in one"
MOMENTUM = "torch cycles the momentum too (cycle_momentum=True): give b1 or momentum a schedule of its own"


def _scheduler(make: Callable[[float, dict[str, Any], Notes], Any]) -> Callable[[dict[str, Any], Notes], Any]:
    """A rule that gives the optimizer in the scheduler's first argument a schedule for its learning rate."""

    def rule(given: dict[str, Any], notes: Notes) -> Any:
        optimizer = given.pop("optimizer")
        if optimizer is not None and not isinstance(optimizer, Transformation):
            raise CommandError(f"convert: the optimizer of a scheduler must be one, got {optimizer!r}")
        if optimizer is None:
            notes.append("a factor, since no optimizer was given: multiply it by the learning rate, 0.1 * schedule")
            return make(1.0, given, notes)
        return with_rate(optimizer, lambda rate: make(rate, given, notes))

    return rule


def with_rate(tx: Transformation, change: Callable[[float], Any]) -> Transformation:
    """The transformation with its learning rate replaced by a function of it."""
    if "learning_rate" in tx.arguments:
        if isinstance(tx.learning_rate, gradtx.Schedule):
            raise CommandError("convert: the learning rate follows a schedule already")
        return tx.replace(learning_rate=change(tx.learning_rate))
    if tx.factory.name == "chain":
        *others, last = tx.transforms
        return gradtx.chain(*others, with_rate(last, change))
    raise CommandError(f"convert: {tx!r} has no learning rate")


def _step(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    return gradtx.exponential_decay(rate, given["step_size"], given["gamma"], staircase=True)


def _multi_step(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    milestones = given["milestones"]
    if not isinstance(milestones, tuple | list):
        raise CommandError(f"convert: milestones must be a list of steps, got {milestones!r}")
    scales: dict[int, float] = {}
    for milestone in milestones:
        scales[milestone] = scales.get(milestone, 1.0) * given["gamma"]
    return gradtx.piecewise_constant_schedule(rate, scales)


def _exponential(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    return gradtx.exponential_decay(rate, 1, given["gamma"])


def _cosine(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    notes.append("after T_max the value stays at eta_min; torch's rises again")
    return gradtx.cosine_decay_schedule(rate, given["T_max"], alpha=shown(given["eta_min"] / rate) if rate else 0.0)


def _linear(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    return gradtx.linear_schedule(
        shown(rate * given["start_factor"]), shown(rate * given["end_factor"]), given["total_iters"]
    )


def _constant(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    factor = given["factor"]
    levels = [gradtx.constant_schedule(rate * factor), gradtx.constant_schedule(rate)]
    return gradtx.join_schedules(levels, [given["total_iters"]])


def _polynomial(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    return gradtx.polynomial_schedule(rate, 0.0, given["power"], given["total_iters"])


def _warm_restarts(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    cycle = gradtx.cosine_decay_schedule(rate, given["T_0"], alpha=shown(given["eta_min"] / rate) if rate else 0.0)
    return gradtx.repeat_schedule(cycle, given["T_0"], given["T_mult"])


def _cyclic(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    notes.append(STEPS)
    notes.append("the rates are those of the scheduler, whatever that of the optimizer")
    if given["cycle_momentum"]:
        notes.append(MOMENTUM)
    low, high, up = given["base_lr"], given["max_lr"], given["step_size_up"]
    down = up if given["step_size_down"] is None else given["step_size_down"]
    if given["mode"] == "triangular":
        return _triangle(low, high, up, down)
    if given["mode"] == "triangular2":
        return low + _triangle(0.0, shown(high - low), up, down, 0.5)
    if given["mode"] == "exp_range":
        return low + gradtx.exponential_decay(shown(high - low), 1, given["gamma"]) * _triangle(0.0, 1.0, up, down)
    raise CommandError(f"convert: mode must be 'triangular', 'triangular2' or 'exp_range', got {given['mode']!r}")


def _triangle(low: float, high: float, up: int, down: int, value_factor: float = 1.0) -> Any:
    sides = [gradtx.linear_schedule(low, high, up), gradtx.linear_schedule(high, low, down)]
    return gradtx.repeat_schedule(gradtx.join_schedules(sides, [up]), up + down, value_factor=value_factor)


def _onecycle(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    steps = given["total_steps"]
    if steps is None and given["epochs"] is not None and given["steps_per_epoch"] is not None:
        steps = given["epochs"] * given["steps_per_epoch"]
    if steps is None:
        raise CommandError("convert: OneCycleLR needs total_steps, or epochs and steps_per_epoch")
    kinds: dict[str, Literal["cosine", "linear"]] = {"cos": "cosine", "linear": "linear"}
    if given["anneal_strategy"] not in kinds:
        raise CommandError(f"convert: anneal_strategy must be 'cos' or 'linear', got {given['anneal_strategy']!r}")
    notes.append(STEPS)
    notes.append("the cycle ends at step total_steps - 1, and its peak is at pct_start * total_steps - 1, as in torch")
    if given["cycle_momentum"]:
        notes.append(MOMENTUM)
    peak, div, final = given["max_lr"], given["div_factor"], given["final_div_factor"]
    top, kind = shown(given["pct_start"] * steps - 1), kinds[given["anneal_strategy"]]
    if kind == "cosine" and isinstance(top, int) and not given["three_phase"]:
        return gradtx.cosine_onecycle_schedule(steps - 1, peak, shown(top / (steps - 1)), div, final)
    if given["three_phase"]:
        points = {top: div, shown(2 * top): 1 / div, steps - 1: 1 / final}
    else:
        points = {top: div, steps - 1: 1 / (div * final)}
    return gradtx.piecewise_interpolate_schedule(kind, shown(peak / div), points)


def _sequential(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    members = [_of_rate(rate, x, notes) for x in _calls(given["schedulers"])]
    return gradtx.join_schedules(members, given["milestones"])


def _chained(given: dict[str, Any], notes: Notes) -> Any:
    if isinstance(given["optimizer"], list):  # torch has the optimizer last
        given = {"optimizer": None, "schedulers": given["optimizer"]}

    def product(rate: float, given: dict[str, Any], notes: Notes) -> Any:
        calls = _calls(given["schedulers"])
        for call in calls:
            least = call.name == "CosineAnnealingLR" and ("eta_min" in call.named or len(call.positional) > 1)
            if call.name not in FACTORS or least:
                raise CommandError(f"convert: {call.name} in a ChainedScheduler is no factor of the rate")
        first, *others = [_of_rate(1.0 if k else rate, call, notes) for k, call in enumerate(calls)]
        return functools.reduce(operator.mul, others, first)

    return _scheduler(product)(given, notes)


FACTORS = ("ConstantLR", "CosineAnnealingLR", "ExponentialLR", "LinearLR", "MultiStepLR", "PolynomialLR", "StepLR")
"""Schedulers that multiply the rate at each step, whatever it is."""


def _calls(schedulers: Any) -> list[Call]:
    if not isinstance(schedulers, list) or not schedulers or not all(isinstance(x, Call) for x in schedulers):
        raise CommandError("convert: a scheduler of schedulers needs them written out: [LinearLR(optimizer, ...), ...]")
    return schedulers


def _of_rate(rate: float, call: Call, notes: Notes) -> Any:
    """The schedule that a scheduler makes of a rate."""
    named = call.named | {"optimizer": gradtx.sgd(rate)}
    return build(dataclasses.replace(call, named=named, bare=True), SCHEDULERS, notes).learning_rate


def _plateau(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    patience = given["patience"] + 1
    notes.append(f"patience {patience} here is {given['patience']} in torch, which reduces one observation later")
    notes.append("feed it as gradtx.observe(state, value=validation_loss), or as update(..., value=loss)")
    if given["threshold_mode"] not in ("rel", "abs"):
        raise CommandError(f"convert: threshold_mode must be 'rel' or 'abs', got {given['threshold_mode']!r}")
    relative = given["threshold_mode"] == "rel"
    if relative:
        notes.append("the relative threshold is of the magnitude, so that negative metrics work; in torch they do not")
    return gradtx.plateau_schedule(
        rate,
        given["factor"],
        patience,
        rtol=given["threshold"] if relative else 0.0,
        atol=0.0 if relative else given["threshold"],
        cooldown=given["cooldown"],
        min_value=given["min_lr"],
        mode=given["mode"],
    )


# --- transformers -----------------------------------------------------------------------------------------------------

ENDS = "the schedule stays at its end after num_training_steps; the cosine of transformers rises again"


def _warmup(rate: float, given: dict[str, Any], rest: Any) -> Any:
    """A schedule after the warm-up from 0 that all but one have."""
    warmup = given["num_warmup_steps"]
    return gradtx.join_schedules([gradtx.linear_schedule(0.0, rate, warmup), rest], [warmup]) if warmup else rest


def _hf_constant(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    warmup = given.get("num_warmup_steps")
    return gradtx.warmup_constant_schedule(0.0, rate, warmup) if warmup else gradtx.constant_schedule(rate)


def _hf_linear(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    steps = given["num_training_steps"] - given["num_warmup_steps"]
    return _warmup(rate, given, gradtx.linear_schedule(rate, 0.0, steps))


def _hf_polynomial(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    steps = given["num_training_steps"] - given["num_warmup_steps"]
    return _warmup(rate, given, gradtx.polynomial_schedule(rate, given["lr_end"], given["power"], steps))


def _hf_cosine(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    warmup, steps, low = given["num_warmup_steps"], given["num_training_steps"], _least(rate, given)
    if given["num_cycles"] == 0.5:
        notes.append(ENDS)
        return gradtx.warmup_cosine_decay_schedule(0.0, rate, warmup, steps, low)
    return _warmup(rate, given, _wave(rate, low, (steps - warmup) / (2 * given["num_cycles"])))


def _wave(high: float, low: float, half: float) -> Any:
    """The cosine that falls and rises for ever."""
    fall, half = gradtx.cosine_decay_schedule(high, shown(half), alpha=shown(low / high)), shown(half)
    return gradtx.repeat_schedule(gradtx.join_schedules([fall, shown(high + low) - fall], [half]), 2 * half)


def _least(rate: float, given: dict[str, Any]) -> Any:
    if given.get("min_lr") is not None:
        return given["min_lr"]
    return shown(rate * (given.get("min_lr_rate") or 0.0))


def _hf_cosine_lr_rate(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    if given["num_cycles"] != 0.5:
        raise CommandError("convert: this schedule has a counterpart with num_cycles=0.5 alone")
    notes.append("the warm-up takes one step less and begins above 0, and all is one step earlier, as in transformers")
    notes.append(ENDS)
    warmup, steps = given["num_warmup_steps"], given["num_training_steps"]
    start = given["warmup_lr_rate"]
    first = shown(rate / max(1, warmup) if start is None else rate * start)
    return gradtx.warmup_cosine_decay_schedule(first, rate, max(0, warmup - 1), steps - 1, _least(rate, given))


def _hf_restarts(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    warmup, steps = given["num_warmup_steps"], given["num_training_steps"]
    period = shown((steps - warmup) / given["num_cycles"])
    cycles = gradtx.repeat_schedule(gradtx.cosine_decay_schedule(rate, period), period)
    parts = [gradtx.linear_schedule(0.0, rate, warmup), cycles, gradtx.constant_schedule(0.0)]
    return gradtx.join_schedules(parts, [warmup, steps])


def _hf_inverse_sqrt(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    scale = given["timescale"] or given["num_warmup_steps"] or 10_000
    return _warmup(rate, given, gradtx.inverse_time_decay(rate, scale, 1.0, power=0.5))


def _hf_stable(rate: float, given: dict[str, Any], notes: Notes) -> Any:
    warmup, decay, stable = given["num_warmup_steps"], given["num_decay_steps"], given["num_stable_steps"]
    if stable is None:
        if given["num_training_steps"] is None:
            raise CommandError("convert: get_wsd_schedule needs num_stable_steps or num_training_steps")
        stable = given["num_training_steps"] - warmup - decay
    if given["warmup_type"] != "linear" or given["num_cycles"] != 0.5:
        raise CommandError("convert: get_wsd_schedule has a counterpart with a linear warm-up and num_cycles=0.5 alone")
    if given["min_lr_ratio"]:
        notes.append("the warm-up begins at the least rate, as in transformers")
    low = shown(rate * given["min_lr_ratio"])
    return gradtx.warmup_stable_decay_schedule(low, rate, warmup, stable, decay, low, given["decay_type"])


def _get_scheduler(given: dict[str, Any], notes: Notes) -> Any:
    """``get_scheduler(name, ...)``, which hands its arguments on to the function of the name."""
    if given["name"] not in BY_NAME:
        raise CommandError(f"convert: the name {given['name']!r} has no counterpart; known are {', '.join(BY_NAME)}")
    function = BY_NAME[given["name"]]
    taken = SCHEDULERS[function].arguments
    named: dict[str, Any] = {k: given[k] for k in ("optimizer", "num_warmup_steps", "num_training_steps") if k in taken}
    named = {k: x for k, x in named.items() if x is not None} | (given["scheduler_specific_kwargs"] or {})
    return build(Call(function, (), named), SCHEDULERS, notes)


BY_NAME = {
    "linear": "get_linear_schedule_with_warmup",
    "cosine": "get_cosine_schedule_with_warmup",
    "cosine_with_restarts": "get_cosine_with_hard_restarts_schedule_with_warmup",
    "polynomial": "get_polynomial_decay_schedule_with_warmup",
    "constant": "get_constant_schedule",
    "constant_with_warmup": "get_constant_schedule_with_warmup",
    "inverse_sqrt": "get_inverse_sqrt_schedule",
    "reduce_lr_on_plateau": "ReduceLROnPlateau",
    "cosine_with_min_lr": "get_cosine_with_min_lr_schedule_with_warmup",
    "cosine_warmup_with_min_lr": "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
    "warmup_stable_decay": "get_wsd_schedule",
}
"""The functions of transformers by the names that its ``lr_scheduler_type`` takes."""

LAST = {"optimizer": None}
WARMUP = LAST | {"num_warmup_steps": REQUIRED}
WHOLE = WARMUP | {"num_training_steps": REQUIRED}

SCHEDULERS: dict[str, Class] = {
    "StepLR": Class(_scheduler(_step), LAST | {"step_size": REQUIRED, "gamma": 0.1}, ("last_epoch",)),
    "MultiStepLR": Class(_scheduler(_multi_step), LAST | {"milestones": REQUIRED, "gamma": 0.1}, ("last_epoch",)),
    "ExponentialLR": Class(_scheduler(_exponential), LAST | {"gamma": REQUIRED}, ("last_epoch",)),
    "CosineAnnealingLR": Class(_scheduler(_cosine), LAST | {"T_max": REQUIRED, "eta_min": 0.0}, ("last_epoch",)),
    "LinearLR": Class(
        _scheduler(_linear), LAST | {"start_factor": 1 / 3, "end_factor": 1.0, "total_iters": 5}, ("last_epoch",)
    ),
    "ConstantLR": Class(_scheduler(_constant), LAST | {"factor": 1 / 3, "total_iters": 5}, ("last_epoch",)),
    "PolynomialLR": Class(_scheduler(_polynomial), LAST | {"total_iters": 5, "power": 1.0}, ("last_epoch",)),
    "CosineAnnealingWarmRestarts": Class(
        _scheduler(_warm_restarts), LAST | {"T_0": REQUIRED, "T_mult": 1, "eta_min": 0.0}, ("last_epoch",)
    ),
    "CyclicLR": Class(
        _scheduler(_cyclic),
        LAST
        | {
            "base_lr": REQUIRED,
            "max_lr": REQUIRED,
            "step_size_up": 2000,
            "step_size_down": None,
            "mode": "triangular",
            "gamma": 1.0,
            "cycle_momentum": True,
        },
        ("base_momentum", "max_momentum", "scale_mode", "last_epoch"),
    ),
    "OneCycleLR": Class(
        _scheduler(_onecycle),
        LAST
        | {
            "max_lr": REQUIRED,
            "total_steps": None,
            "epochs": None,
            "steps_per_epoch": None,
            "pct_start": 0.3,
            "anneal_strategy": "cos",
            "cycle_momentum": True,
            "div_factor": 25.0,
            "final_div_factor": 1e4,
            "three_phase": False,
        },
        ("last_epoch", "base_momentum", "max_momentum"),
    ),
    "SequentialLR": Class(
        _scheduler(_sequential), LAST | {"schedulers": REQUIRED, "milestones": REQUIRED}, ("last_epoch",)
    ),
    "ChainedScheduler": Class(_chained, LAST | {"schedulers": None}),
    "ReduceLROnPlateau": Class(
        _scheduler(_plateau),
        LAST
        | {
            "mode": "min",
            "factor": 0.1,
            "patience": 10,
            "threshold": 1e-4,
            "threshold_mode": "rel",
            "cooldown": 0,
            "min_lr": 0.0,
            "eps": 1e-8,
        },
        ("verbose",),
    ),
    "get_constant_schedule": Class(_scheduler(_hf_constant), LAST, ("last_epoch",)),
    "get_constant_schedule_with_warmup": Class(_scheduler(_hf_constant), WARMUP, ("last_epoch",)),
    "get_linear_schedule_with_warmup": Class(_scheduler(_hf_linear), WHOLE, ("last_epoch",)),
    "get_cosine_schedule_with_warmup": Class(_scheduler(_hf_cosine), WHOLE | {"num_cycles": 0.5}, ("last_epoch",)),
    "get_cosine_with_hard_restarts_schedule_with_warmup": Class(
        _scheduler(_hf_restarts), WHOLE | {"num_cycles": 1}, ("last_epoch",)
    ),
    "get_polynomial_decay_schedule_with_warmup": Class(
        _scheduler(_hf_polynomial), WHOLE | {"lr_end": 1e-7, "power": 1.0}, ("last_epoch",)
    ),
    "get_inverse_sqrt_schedule": Class(_scheduler(_hf_inverse_sqrt), WARMUP | {"timescale": None}, ("last_epoch",)),
    "get_cosine_with_min_lr_schedule_with_warmup": Class(
        _scheduler(_hf_cosine), WHOLE | {"num_cycles": 0.5, "min_lr": None, "min_lr_rate": None}, ("last_epoch",)
    ),
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": Class(
        _scheduler(_hf_cosine_lr_rate),
        WHOLE | {"num_cycles": 0.5, "min_lr": None, "min_lr_rate": None, "warmup_lr_rate": None},
        ("last_epoch",),
    ),
    "get_wsd_schedule": Class(
        _scheduler(_hf_stable),
        WARMUP
        | {
            "num_decay_steps": REQUIRED,
            "num_training_steps": None,
            "num_stable_steps": None,
            "warmup_type": "linear",
            "decay_type": "cosine",
            "min_lr_ratio": 0,
            "num_cycles": 0.5,
        },
        ("last_epoch",),
    ),
    "get_scheduler": Class(
        _get_scheduler,
        {
            "name": REQUIRED,
            "optimizer": None,
            "num_warmup_steps": None,
            "num_training_steps": None,
            "scheduler_specific_kwargs": None,
        },
    ),
}
