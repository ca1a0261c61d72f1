"""What is done to gradients and updates whatever the optimizer: bounds, scaling, weight decay, repairs, privacy."""

from gradtx.gradients.apply_every import ApplyEveryState, apply_every
from gradtx.gradients.blocks import scale_by_param_block_norm, scale_by_param_block_rms
from gradtx.gradients.centralize import centralize
from gradtx.gradients.clipping import (
    ClipByGlobalNormState,
    adaptive_grad_clip,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
    unitwise_clip,
    unitwise_norm,
)
from gradtx.gradients.constraints import (
    keep_params_in,
    keep_params_nonnegative,
    keep_params_on_simplex,
    keep_params_unit_norm,
)
from gradtx.gradients.grokfast import GrokfastMaState, GrokfastState, grokfast, grokfast_ma
from gradtx.gradients.layers import layer_decay_factors, scale_by_layer
from gradtx.gradients.measure import MeasureWithEmaState, SnapshotState, measure_with_ema, snapshot
from gradtx.gradients.monitor import MonitorState, monitor
from gradtx.gradients.noise import AddNoiseState, add_noise
from gradtx.gradients.normalize import normalize, normalize_by_update_norm
from gradtx.gradients.plateau import reduce_on_plateau
from gradtx.gradients.privacy import (
    differentially_private_aggregate,
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
)
from gradtx.gradients.scaling import identity, scale, scale_by_learning_rate, scale_by_schedule, set_to_zero
from gradtx.gradients.stateless import stateless, stateless_with_tree_map
from gradtx.gradients.weight_decay import add_cautious_weight_decay, add_decayed_weights
from gradtx.gradients.zero_nans import ZeroNansState, zero_nans

__all__ = [
    "AddNoiseState",
    "ApplyEveryState",
    "ClipByGlobalNormState",
    "GrokfastMaState",
    "GrokfastState",
    "MeasureWithEmaState",
    "MonitorState",
    "SnapshotState",
    "ZeroNansState",
    "adaptive_grad_clip",
    "add_cautious_weight_decay",
    "add_decayed_weights",
    "add_noise",
    "apply_every",
    "centralize",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "differentially_private_aggregate",
    "grokfast",
    "grokfast_ma",
    "identity",
    "keep_params_in",
    "keep_params_nonnegative",
    "keep_params_on_simplex",
    "keep_params_unit_norm",
    "layer_decay_factors",
    "measure_with_ema",
    "monitor",
    "normalize",
    "normalize_by_update_norm",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "reduce_on_plateau",
    "scale",
    "scale_by_layer",
    "scale_by_learning_rate",
    "scale_by_param_block_norm",
    "scale_by_param_block_rms",
    "scale_by_schedule",
    "set_to_zero",
    "snapshot",
    "stateless",
    "stateless_with_tree_map",
    "unitwise_clip",
    "unitwise_norm",
    "zero_nans",
]
