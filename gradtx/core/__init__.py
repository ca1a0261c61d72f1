"""What every algorithm is built on: transformations and schedules as values, their registry, and applying updates."""

from gradtx.core.control import as_boolean, cond, scan_carry, while_loop
from gradtx.core.evaluation import (
    grad_function,
    value_and_ascent,
    value_and_grad_function,
    value_function,
)
from gradtx.core.leafwise import Leafwise, leafwise
from gradtx.core.numerics import (
    abs_sq,
    as_stored,
    complement_of_power,
    increment,
    moving_average,
    moving_average_sq,
    zero_count,
)
from gradtx.core.randomness import member_key
from gradtx.core.registry import Factory, alias, aliases, lookup, registry
from gradtx.core.roots import divide_by_root, one_for_zero, safe_sqrt, with_eps
from gradtx.core.schedule import Schedule, Stateful, as_float, as_number, as_schedule, custom_schedule, schedule
from gradtx.core.scheduled import ScheduledState
from gradtx.core.transformation import (
    Form,
    GradientTransformation,
    Pair,
    accepting_extras,
    as_transformation,
    expand,
    from_functions,
    optimizer,
    require_function,
    sweep_axes,
    transformation,
)
from gradtx.core.value import Value

__all__ = [
    "Factory",
    "Form",
    "GradientTransformation",
    "Leafwise",
    "Pair",
    "Schedule",
    "ScheduledState",
    "Stateful",
    "Value",
    "abs_sq",
    "accepting_extras",
    "alias",
    "aliases",
    "as_boolean",
    "as_float",
    "as_number",
    "as_schedule",
    "as_stored",
    "as_transformation",
    "complement_of_power",
    "cond",
    "custom_schedule",
    "divide_by_root",
    "expand",
    "from_functions",
    "grad_function",
    "increment",
    "leafwise",
    "lookup",
    "member_key",
    "moving_average",
    "moving_average_sq",
    "one_for_zero",
    "optimizer",
    "registry",
    "require_function",
    "safe_sqrt",
    "scan_carry",
    "schedule",
    "sweep_axes",
    "transformation",
    "value_and_ascent",
    "value_and_grad_function",
    "value_function",
    "while_loop",
    "with_eps",
    "zero_count",
]
