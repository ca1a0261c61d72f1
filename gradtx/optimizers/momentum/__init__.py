"""Gradient descent and its momenta: sums, averages, signs and extrapolations of gradients."""

from gradtx.optimizers.momentum.aggmo import ScaleByAggmoState, aggmo, scale_by_aggmo
from gradtx.optimizers.momentum.asgd import ScaleByAsgdState, asgd, asgd_params, scale_by_asgd
from gradtx.optimizers.momentum.dpsgd import dpsgd
from gradtx.optimizers.momentum.ema import EmaState, ema
from gradtx.optimizers.momentum.lion import ScaleByLionState, lion, scale_by_lion
from gradtx.optimizers.momentum.noisy_sgd import noisy_sgd
from gradtx.optimizers.momentum.optimistic import (
    ScaleByOptimisticGradientState,
    optimistic_adam,
    optimistic_adam_v2,
    optimistic_gradient_descent,
    scale_by_optimistic_gradient,
)
from gradtx.optimizers.momentum.qhm import ScaleByQhmState, qhm, scale_by_qhm
from gradtx.optimizers.momentum.sgd import TraceState, sgd, sgdw, trace
from gradtx.optimizers.momentum.sign import scale_by_sign, sign_sgd, signum
from gradtx.optimizers.momentum.tiger import tiger

__all__ = [
    "EmaState",
    "ScaleByAggmoState",
    "ScaleByAsgdState",
    "ScaleByLionState",
    "ScaleByOptimisticGradientState",
    "ScaleByQhmState",
    "TraceState",
    "aggmo",
    "asgd",
    "asgd_params",
    "dpsgd",
    "ema",
    "lion",
    "noisy_sgd",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "qhm",
    "scale_by_aggmo",
    "scale_by_asgd",
    "scale_by_lion",
    "scale_by_optimistic_gradient",
    "scale_by_qhm",
    "scale_by_sign",
    "sgd",
    "sgdw",
    "sign_sgd",
    "signum",
    "tiger",
    "trace",
]
