"""Primitive transformations, a topic a file: each turns one tree of updates into another."""

from gradtx.transforms.adam import (
    ScaleByAdamState,
    ScaleByAmsgradState,
    scale_by_adam,
    scale_by_amsgrad,
    scale_by_belief,
    scale_by_yogi,
)
from gradtx.transforms.adaptive import (
    ScaleByAdaDeltaState,
    ScaleByRmsState,
    ScaleByRssState,
    ScaleByStddevState,
    scale_by_adadelta,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
)
from gradtx.transforms.clipping import (
    ClipByGlobalNormState,
    adaptive_grad_clip,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
)
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.filtering import ZeroNansState, centralize, zero_nans
from gradtx.transforms.momentum import EmaState, TraceState, ema, trace
from gradtx.transforms.monitor import MonitorState, monitor
from gradtx.transforms.optimistic import ScaleByOptimisticGradientState, scale_by_optimistic_gradient
from gradtx.transforms.plateau import reduce_on_plateau
from gradtx.transforms.privacy import differentially_private_aggregate, per_example_global_norm_clip
from gradtx.transforms.rectified import scale_by_radam, scale_by_rectified_adam
from gradtx.transforms.scaling import identity, scale, scale_by_learning_rate, scale_by_schedule, set_to_zero
from gradtx.transforms.sign import ScaleByLionState, scale_by_lion, scale_by_sign

__all__ = [
    "ClipByGlobalNormState",
    "EmaState",
    "MonitorState",
    "ScaleByAdaDeltaState",
    "ScaleByAdamState",
    "ScaleByAmsgradState",
    "ScaleByLionState",
    "ScaleByOptimisticGradientState",
    "ScaleByRmsState",
    "ScaleByRssState",
    "ScaleByStddevState",
    "TraceState",
    "ZeroNansState",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "centralize",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "differentially_private_aggregate",
    "ema",
    "identity",
    "monitor",
    "per_example_global_norm_clip",
    "reduce_on_plateau",
    "scale",
    "scale_by_adadelta",
    "scale_by_adam",
    "scale_by_amsgrad",
    "scale_by_belief",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_optimistic_gradient",
    "scale_by_radam",
    "scale_by_rectified_adam",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_schedule",
    "scale_by_sign",
    "scale_by_stddev",
    "scale_by_yogi",
    "set_to_zero",
    "trace",
    "zero_nans",
]
