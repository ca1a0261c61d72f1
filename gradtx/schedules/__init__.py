"""Numbers that change from step to step: a topic a file, with everything built from `core.schedule`."""

from gradtx.schedules.arithmetic import (
    add_schedules,
    constant_schedule,
    divide_schedules,
    multiply_schedules,
    subtract_schedules,
)
from gradtx.schedules.averaging import ema_warmup_decay, power_function_decay
from gradtx.schedules.compose import join_schedules, repeat_schedule
from gradtx.schedules.cyclic import cosine_onecycle_schedule, linear_onecycle_schedule, sgdr_schedule
from gradtx.schedules.decay import (
    cosine_decay_schedule,
    debiased_decay,
    exponential_decay,
    half_life_schedule,
    inverse_time_decay,
    linear_schedule,
    natural_exp_decay,
    polynomial_schedule,
    rex_schedule,
)
from gradtx.schedules.piecewise import piecewise_constant_schedule, piecewise_interpolate_schedule
from gradtx.schedules.plateau import PlateauSettings, PlateauState, observe, plateau_schedule
from gradtx.schedules.warmup import (
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
    warmup_stable_decay_schedule,
    wsds_schedule,
)

__all__ = [
    "PlateauSettings",
    "PlateauState",
    "add_schedules",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "debiased_decay",
    "divide_schedules",
    "ema_warmup_decay",
    "exponential_decay",
    "half_life_schedule",
    "inverse_time_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "multiply_schedules",
    "natural_exp_decay",
    "observe",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "plateau_schedule",
    "polynomial_schedule",
    "power_function_decay",
    "repeat_schedule",
    "rex_schedule",
    "sgdr_schedule",
    "subtract_schedules",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_stable_decay_schedule",
    "wsds_schedule",
]
