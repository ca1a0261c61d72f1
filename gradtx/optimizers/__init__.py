"""Whole optimizers: compositions of transformations, and nothing else."""

from gradtx.optimizers.adam import adabelief, adam, adamw, amsgrad, nadam, radam, yogi
from gradtx.optimizers.adaptive import adadelta, adagrad, rmsprop
from gradtx.optimizers.lion import lion
from gradtx.optimizers.optimistic import optimistic_adam, optimistic_adam_v2, optimistic_gradient_descent
from gradtx.optimizers.polyak import polyak_sgd
from gradtx.optimizers.quasi_newton import lbfgs
from gradtx.optimizers.ranger import ranger
from gradtx.optimizers.sgd import dpsgd, sgd
from gradtx.optimizers.sophia import sophia

__all__ = [
    "adabelief",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "amsgrad",
    "dpsgd",
    "lbfgs",
    "lion",
    "nadam",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "polyak_sgd",
    "radam",
    "ranger",
    "rmsprop",
    "sgd",
    "sophia",
    "yogi",
]
