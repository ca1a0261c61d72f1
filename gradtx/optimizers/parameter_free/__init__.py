"""Step sizes that follow from values and distances, not from a learning rate."""

from gradtx.optimizers.parameter_free.cocob import ScaleByCocobState, cocob, scale_by_cocob
from gradtx.optimizers.parameter_free.dadapt_adagrad import (
    ScaleByDadaptAdagradState,
    dadapt_adagrad,
    scale_by_dadapt_adagrad,
)
from gradtx.optimizers.parameter_free.dadapt_adam import ScaleByDadaptAdamState, dadapt_adamw, scale_by_dadapt_adam
from gradtx.optimizers.parameter_free.dadapt_adan import ScaleByDadaptAdanState, dadapt_adan, scale_by_dadapt_adan
from gradtx.optimizers.parameter_free.dadapt_lion import ScaleByDadaptLionState, dadapt_lion, scale_by_dadapt_lion
from gradtx.optimizers.parameter_free.dadapt_sgd import ScaleByDadaptSgdState, dadapt_sgd, scale_by_dadapt_sgd
from gradtx.optimizers.parameter_free.dog import (
    ScaleByDistanceOverGradientsState,
    ScaleByDogState,
    dog,
    scale_by_distance_over_gradients,
    scale_by_dog,
)
from gradtx.optimizers.parameter_free.dowg import ScaleByDowgState, dowg, scale_by_dowg
from gradtx.optimizers.parameter_free.kt import ScaleByKtState, kt, scale_by_kt
from gradtx.optimizers.parameter_free.momo import (
    ScaleByMomoAdamState,
    ScaleByMomoState,
    momo,
    momo_adam,
    scale_by_momo,
    scale_by_momo_adam,
)
from gradtx.optimizers.parameter_free.polyak import ScaleByPolyakState, polyak_sgd, scale_by_polyak
from gradtx.optimizers.parameter_free.prodigy import ScaleByProdigyState, prodigy, scale_by_prodigy

__all__ = [
    "ScaleByCocobState",
    "ScaleByDadaptAdagradState",
    "ScaleByDadaptAdamState",
    "ScaleByDadaptAdanState",
    "ScaleByDadaptLionState",
    "ScaleByDadaptSgdState",
    "ScaleByDistanceOverGradientsState",
    "ScaleByDogState",
    "ScaleByDowgState",
    "ScaleByKtState",
    "ScaleByMomoAdamState",
    "ScaleByMomoState",
    "ScaleByPolyakState",
    "ScaleByProdigyState",
    "cocob",
    "dadapt_adagrad",
    "dadapt_adamw",
    "dadapt_adan",
    "dadapt_lion",
    "dadapt_sgd",
    "dog",
    "dowg",
    "kt",
    "momo",
    "momo_adam",
    "polyak_sgd",
    "prodigy",
    "scale_by_cocob",
    "scale_by_dadapt_adagrad",
    "scale_by_dadapt_adam",
    "scale_by_dadapt_adan",
    "scale_by_dadapt_lion",
    "scale_by_dadapt_sgd",
    "scale_by_distance_over_gradients",
    "scale_by_dog",
    "scale_by_dowg",
    "scale_by_kt",
    "scale_by_momo",
    "scale_by_momo_adam",
    "scale_by_polyak",
    "scale_by_prodigy",
]
