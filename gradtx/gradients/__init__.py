"""What is done to gradients and updates whatever the optimizer: bounds, scaling, weight decay, repairs, privacy."""

from gradtx.gradients.blocks import scale_by_param_block_norm, scale_by_param_block_rms
from gradtx.gradients.centralize import centralize
from gradtx.gradients.clipping import (
    ClipByGlobalNormState,
    adaptive_grad_clip,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
)
from gradtx.gradients.monitor import MonitorState, monitor
from gradtx.gradients.noise import AddNoiseState, add_noise
from gradtx.gradients.plateau import reduce_on_plateau
from gradtx.gradients.privacy import differentially_private_aggregate, per_example_global_norm_clip
from gradtx.gradients.scaling import identity, scale, scale_by_learning_rate, scale_by_schedule, set_to_zero
from gradtx.gradients.weight_decay import add_decayed_weights
from gradtx.gradients.zero_nans import ZeroNansState, zero_nans

__all__ = [
    "AddNoiseState",
    "ClipByGlobalNormState",
    "MonitorState",
    "ZeroNansState",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_noise",
    "centralize",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "differentially_private_aggregate",
    "identity",
    "monitor",
    "per_example_global_norm_clip",
    "reduce_on_plateau",
    "scale",
    "scale_by_learning_rate",
    "scale_by_param_block_norm",
    "scale_by_param_block_rms",
    "scale_by_schedule",
    "set_to_zero",
    "zero_nans",
]
