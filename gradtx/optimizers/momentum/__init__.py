"""Gradient descent and its momenta: sums, averages, signs and extrapolations of gradients."""

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
from gradtx.optimizers.momentum.sgd import TraceState, sgd, trace
from gradtx.optimizers.momentum.sign import scale_by_sign, sign_sgd, signum

__all__ = [
    "EmaState",
    "ScaleByLionState",
    "ScaleByOptimisticGradientState",
    "TraceState",
    "dpsgd",
    "ema",
    "lion",
    "noisy_sgd",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "scale_by_lion",
    "scale_by_optimistic_gradient",
    "scale_by_sign",
    "sgd",
    "sign_sgd",
    "signum",
    "trace",
]
