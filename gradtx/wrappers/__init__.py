"""A transformation in, a transformation out; and gradients taken at other points."""

from gradtx.wrappers.accumulate import AccumulateState, accumulate, finish_accumulation
from gradtx.wrappers.apply_if_finite import ApplyIfFiniteState, apply_if_finite
from gradtx.wrappers.average import EmaParamsState, averaged_params, ema_params
from gradtx.wrappers.cautious import cautious
from gradtx.wrappers.extragradient import ExtragradientState, extragradient
from gradtx.wrappers.flatten import flatten
from gradtx.wrappers.graft import GraftState, graft
from gradtx.wrappers.grams import grams
from gradtx.wrappers.hyperparams import (
    TunableState,
    get_hyperparams,
    inject_hyperparams,
    set_hyperparams,
    tunable,
)
from gradtx.wrappers.lawa import LawaState, lawa
from gradtx.wrappers.lookahead import LookaheadState, lookahead, lookahead_params
from gradtx.wrappers.mechanize import MechanicState, mechanize
from gradtx.wrappers.posthoc import SavedAverage, posthoc_average, power_function_gamma
from gradtx.wrappers.reset import WithStateResetState, reset_state, with_state_reset
from gradtx.wrappers.runge_kutta import heun, ralston, rk4, runge_kutta
from gradtx.wrappers.schedule_free import (
    AverageIteratesState,
    average_iterates,
    schedule_free,
    schedule_free_eval_params,
)
from gradtx.wrappers.sharpness import SharpnessAwareState, adaptive_sharpness_aware, asam, sam, sharpness_aware
from gradtx.wrappers.skip import SkipIfState, SkipLargeUpdatesState, skip_if, skip_large_updates, skip_not_finite
from gradtx.wrappers.split_real_and_imaginary import (
    RealAndImaginary,
    SplitRealAndImaginaryState,
    split_real_and_imaginary,
)
from gradtx.wrappers.swa import SwaState, swa
from gradtx.wrappers.targets import incremental_update, periodic_update

__all__ = [
    "AccumulateState",
    "ApplyIfFiniteState",
    "AverageIteratesState",
    "EmaParamsState",
    "ExtragradientState",
    "GraftState",
    "LawaState",
    "LookaheadState",
    "MechanicState",
    "RealAndImaginary",
    "SavedAverage",
    "SharpnessAwareState",
    "SkipIfState",
    "SkipLargeUpdatesState",
    "SplitRealAndImaginaryState",
    "SwaState",
    "TunableState",
    "WithStateResetState",
    "accumulate",
    "adaptive_sharpness_aware",
    "apply_if_finite",
    "asam",
    "average_iterates",
    "averaged_params",
    "cautious",
    "ema_params",
    "extragradient",
    "finish_accumulation",
    "flatten",
    "get_hyperparams",
    "graft",
    "grams",
    "heun",
    "incremental_update",
    "inject_hyperparams",
    "lawa",
    "lookahead",
    "lookahead_params",
    "mechanize",
    "periodic_update",
    "posthoc_average",
    "power_function_gamma",
    "ralston",
    "reset_state",
    "rk4",
    "runge_kutta",
    "sam",
    "schedule_free",
    "schedule_free_eval_params",
    "set_hyperparams",
    "sharpness_aware",
    "skip_if",
    "skip_large_updates",
    "skip_not_finite",
    "split_real_and_imaginary",
    "swa",
    "tunable",
    "with_state_reset",
]
