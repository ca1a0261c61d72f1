"""Adam and its descendants: momentum divided by an estimate of the gradient's scale."""

from gradtx.optimizers.adam.acprop import acprop, scale_by_acprop
from gradtx.optimizers.adam.adabound import adabound, amsbound, scale_by_adabound, scale_by_amsbound
from gradtx.optimizers.adam.adam import ScaleByAdamState, adam, adamw, scale_by_adam
from gradtx.optimizers.adam.adam_mini import ScaleByAdamMiniState, adam_mini, scale_by_adam_mini
from gradtx.optimizers.adam.adamax import ScaleByAdamaxState, adamax, adamaxw, scale_by_adamax
from gradtx.optimizers.adam.adamod import ScaleByAdamodState, adamod, scale_by_adamod
from gradtx.optimizers.adam.adamp import adamp, sgdp, tangential
from gradtx.optimizers.adam.adan import ScaleByAdanState, adan, scale_by_adan
from gradtx.optimizers.adam.ademamix import ScaleByAdemamixState, ademamix, scale_by_ademamix
from gradtx.optimizers.adam.adopt import adopt, scale_by_adopt
from gradtx.optimizers.adam.amsgrad import ScaleByAmsgradState, amsgrad, scale_by_amsgrad
from gradtx.optimizers.adam.belief import adabelief, scale_by_belief
from gradtx.optimizers.adam.diffgrad import ScaleByDiffgradState, diffgrad, scale_by_diffgrad
from gradtx.optimizers.adam.laprop import laprop, scale_by_laprop
from gradtx.optimizers.adam.mars import MarsCorrectionState, mars, mars_correction, mars_lion
from gradtx.optimizers.adam.nadam import ScaleByNadamState, nadam, scale_by_nadam
from gradtx.optimizers.adam.qhadam import qhadam, scale_by_qhadam
from gradtx.optimizers.adam.radam import radam, rectification_schedule, scale_by_radam, scale_by_rectified_adam
from gradtx.optimizers.adam.ranger import ranger
from gradtx.optimizers.adam.schedule_free import schedule_free_adamw, schedule_free_radam, schedule_free_sgd
from gradtx.optimizers.adam.simplified_ademamix import scale_by_simplified_ademamix, simplified_ademamix
from gradtx.optimizers.adam.stable_adamw import scale_by_stable_adam, stable_adamw
from gradtx.optimizers.adam.yogi import scale_by_yogi, yogi

__all__ = [
    "MarsCorrectionState",
    "ScaleByAdamMiniState",
    "ScaleByAdamState",
    "ScaleByAdamaxState",
    "ScaleByAdamodState",
    "ScaleByAdanState",
    "ScaleByAdemamixState",
    "ScaleByAmsgradState",
    "ScaleByDiffgradState",
    "ScaleByNadamState",
    "acprop",
    "adabelief",
    "adabound",
    "adam",
    "adam_mini",
    "adamax",
    "adamaxw",
    "adamod",
    "adamp",
    "adamw",
    "adan",
    "ademamix",
    "adopt",
    "amsbound",
    "amsgrad",
    "diffgrad",
    "laprop",
    "mars",
    "mars_correction",
    "mars_lion",
    "nadam",
    "qhadam",
    "radam",
    "ranger",
    "rectification_schedule",
    "scale_by_acprop",
    "scale_by_adabound",
    "scale_by_adam",
    "scale_by_adam_mini",
    "scale_by_adamax",
    "scale_by_adamod",
    "scale_by_adan",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_amsbound",
    "scale_by_amsgrad",
    "scale_by_belief",
    "scale_by_diffgrad",
    "scale_by_laprop",
    "scale_by_nadam",
    "scale_by_qhadam",
    "scale_by_radam",
    "scale_by_rectified_adam",
    "scale_by_simplified_ademamix",
    "scale_by_stable_adam",
    "scale_by_yogi",
    "schedule_free_adamw",
    "schedule_free_radam",
    "schedule_free_sgd",
    "sgdp",
    "simplified_ademamix",
    "stable_adamw",
    "tangential",
    "yogi",
]
