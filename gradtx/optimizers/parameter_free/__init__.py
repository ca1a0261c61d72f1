"""Step sizes that follow from values and distances, not from a learning rate."""

from gradtx.optimizers.parameter_free.cocob import ScaleByCocobState, cocob, scale_by_cocob
from gradtx.optimizers.parameter_free.dadapt_adam import ScaleByDadaptAdamState, dadapt_adamw, scale_by_dadapt_adam
from gradtx.optimizers.parameter_free.dog import (
    ScaleByDistanceOverGradientsState,
    ScaleByDogState,
    dog,
    scale_by_distance_over_gradients,
    scale_by_dog,
)
from gradtx.optimizers.parameter_free.dowg import ScaleByDowgState, dowg, scale_by_dowg
from gradtx.optimizers.parameter_free.kt import KtState, kt
from gradtx.optimizers.parameter_free.momo import MomoAdamState, MomoState, momo, momo_adam
from gradtx.optimizers.parameter_free.polyak import ScaleByPolyakState, polyak_sgd, scale_by_polyak
from gradtx.optimizers.parameter_free.prodigy import ScaleByProdigyState, prodigy, scale_by_prodigy

__all__ = [
    "KtState",
    "MomoAdamState",
    "MomoState",
    "ScaleByCocobState",
    "ScaleByDadaptAdamState",
    "ScaleByDistanceOverGradientsState",
    "ScaleByDogState",
    "ScaleByDowgState",
    "ScaleByPolyakState",
    "ScaleByProdigyState",
    "cocob",
    "dadapt_adamw",
    "dog",
    "dowg",
    "kt",
    "momo",
    "momo_adam",
    "polyak_sgd",
    "prodigy",
    "scale_by_cocob",
    "scale_by_dadapt_adam",
    "scale_by_distance_over_gradients",
    "scale_by_dog",
    "scale_by_dowg",
    "scale_by_polyak",
    "scale_by_prodigy",
]
