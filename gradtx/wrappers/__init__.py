"""A transformation in, a transformation out."""

from gradtx.wrappers.accumulate import AccumulateState, accumulate
from gradtx.wrappers.average import EmaParamsState, averaged_params, ema_params
from gradtx.wrappers.finite import (
    ApplyIfFiniteState,
    SkipIfState,
    SkipLargeUpdatesState,
    apply_if_finite,
    skip_if,
    skip_large_updates,
)
from gradtx.wrappers.lookahead import LookaheadState, lookahead, lookahead_params
from gradtx.wrappers.reset import WithStateResetState, reset_state, with_state_reset

__all__ = [
    "AccumulateState",
    "ApplyIfFiniteState",
    "EmaParamsState",
    "LookaheadState",
    "SkipIfState",
    "SkipLargeUpdatesState",
    "WithStateResetState",
    "accumulate",
    "apply_if_finite",
    "averaged_params",
    "ema_params",
    "lookahead",
    "lookahead_params",
    "reset_state",
    "skip_if",
    "skip_large_updates",
    "with_state_reset",
]
