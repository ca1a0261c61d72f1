"""Records what other people's optimizers do, in float64, for tests of gradtx to compare with: ``recorded.npz``.

It needs all of the packages, so run it where they are installed, in this folder:

    pip install torch schedulefree prodigyopt dadaptation adam-mini torch-optimi momo-opt parameterfree lion-pytorch \
        pytorch_optimizer torch_optimizer grokfast-pytorch adamp adabound adabelief-pytorch came-pytorch galore-torch \
        apollo-torch muon-optimizer dog-optimizer packaging tabulate colorama
    python record_trajectories.py

The file has the problem (``start``, ``grads``, ``values``), the params of each run after `KEPT` steps, and a table
with the packages and their versions for each. A run is named by the text that made its optimizer. What follows the bar
changes the problem: ``falling`` lets the rate fall in a straight line, to reach zero after 20 steps; ``zeros`` makes
the gradients of the fifth step zero, and those of the first entry of an array always; ``all``,
``squares``, ``matrices``, ``flat``, ``arrays`` and ``scalar`` choose other leaves than the usual ones.

Not here are those whose steps depend on random numbers, and of which only properties can be compared: Sophia (probes),
PSGD Kron and Dion (bases), APOLLO with random projections. The packages' own Distributed Shampoo and Dion cannot be had
from the registry; heavyball keeps its numbers in float32.

Where a package casts to float32 or bfloat16 (orthogonalization, bases), the casts are taken out here: all runs are in
float64. Some optimizers hold two sets of weights: the params that take gradients, and those to use. The second are
recorded under the name of the run with ``@``.
"""

import importlib
import importlib.metadata
import json
import re
import sys
import unittest.mock
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

STEPS, KEPT = 12, (1, 2, 3, 6, 12)
PULL = 0.2
"""The gradients of a step are those of the table, plus so much of the params."""

SHAPES = {
    "scalar": (),
    "bias": (3,),
    "kernel": (3, 2),
    "square": (3, 3),
    "stack": (2, 1, 2),
    "conv": (2, 1, 1, 2),
}
SCALES = {"scalar": 1.0, "bias": 0.1, "kernel": 1.0, "square": 1.0, "stack": 10.0, "conv": 0.01}
KINDS = {
    "all": tuple(SHAPES),
    "squares": ("square",),
    "matrices": ("kernel", "square"),
    "scalar": ("scalar",),
    "flat": ("scalar", "bias", "kernel", "square"),
    "arrays": ("bias", "kernel", "stack", "conv"),
}
USUAL = ("scalar", "bias", "kernel", "stack", "conv")


def problem() -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Params, gradients with a leading axis of steps (the eighth tenfold), and values of a loss."""
    generator = np.random.default_rng(20)
    start = {k: generator.normal(size=shape) for k, shape in SHAPES.items()}
    grads = {k: SCALES[k] * generator.normal(size=(STEPS, *shape)) for k, shape in SHAPES.items()}
    for g in grads.values():
        g[7] *= 10
    return start, grads, np.round(5 / (1 + np.arange(STEPS)) + generator.uniform(0, 0.5, STEPS), 4)


START, GRADS, VALUES = problem()


class Narrow:
    """Casts to float32 and bfloat16 leave float64 as it is."""

    NAMES = ("to", "float", "bfloat16", "half")

    def __enter__(self) -> None:
        self.originals = {name: getattr(torch.Tensor, name) for name in self.NAMES}
        for name, original in self.originals.items():
            setattr(torch.Tensor, name, self.wide(original))

    def __exit__(self, *_: Any) -> None:
        for name, original in self.originals.items():
            setattr(torch.Tensor, name, original)

    def wide(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def cast(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            result = original(x, *args, **kwargs)
            narrowed = x.dtype == torch.float64 and result.dtype in (torch.float32, torch.bfloat16, torch.float16)
            return x.clone() if narrowed else result

        return cast


PACKAGES = {
    "torch": "torch",
    "schedulefree": "schedulefree",
    "prodigyopt": "prodigyopt",
    "dadaptation": "dadaptation",
    "adam_mini": "adam-mini",
    "optimi": "torch-optimi",
    "momo": "momo-opt",
    "parameterfree": "parameterfree",
    "lion_pytorch": "lion-pytorch",
    "pytorch_optimizer": "pytorch_optimizer",
    "torch_optimizer": "torch_optimizer",
    "adamp": "adamp",
    "adabound": "adabound",
    "adabelief_pytorch": "adabelief-pytorch",
    "came_pytorch": "came-pytorch",
    "galore_torch": "galore-torch",
    "grokfast_pytorch": "grokfast-pytorch",
    "apollo_torch": "apollo-torch",
    "muon": "muon-optimizer",
    "dog": "dog-optimizer",
}

TORCH = """
torch.optim.SGD(params, lr=0.1)
torch.optim.SGD(params, lr=0.1, momentum=0.9) | falling
torch.optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.1) | falling
torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1) | falling
torch.optim.SGD(params, lr=0.01, momentum=0.9, maximize=True)
torch.optim.Adam(params, lr=0.1)
torch.optim.Adam(params, lr=0.1) | zeros
torch.optim.Adam(params, lr=0.1, eps=0.1, weight_decay=0.1) | falling
torch.optim.Adam(params, lr=0.1, betas=(0.8, 0.9), amsgrad=True) | falling
torch.optim.AdamW(params, lr=0.1, weight_decay=0.1) | falling
torch.optim.AdamW(params, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1, amsgrad=True)
torch.optim.Adamax(params, lr=0.1, betas=(0.9, 0.9))
torch.optim.Adamax(params, lr=0.1, eps=0.1) | zeros
torch.optim.Adamax(params, lr=0.1, weight_decay=0.1) | falling
torch.optim.NAdam(params, lr=0.1)
torch.optim.NAdam(params, lr=0.1) | zeros
torch.optim.NAdam(params, lr=0.1, weight_decay=0.1) | falling
torch.optim.NAdam(params, lr=0.1, momentum_decay=0.1, weight_decay=0.1, decoupled_weight_decay=True) | falling
torch.optim.RAdam(params, lr=0.1)
torch.optim.RAdam(params, lr=0.1, betas=(0.9, 0.9), eps=0.001) | zeros
torch.optim.RAdam(params, lr=0.1, weight_decay=0.1) | falling
torch.optim.RAdam(params, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True) | falling
torch.optim.Adagrad(params, lr=0.1)
torch.optim.Adagrad(params, lr=0.1) | zeros
torch.optim.Adagrad(params, lr=0.1, lr_decay=0.1, weight_decay=0.1)
torch.optim.Adagrad(params, lr=0.1, initial_accumulator_value=0.1, eps=0.001) | falling
torch.optim.Adadelta(params, lr=1.0, eps=0.001)
torch.optim.Adadelta(params, lr=1.0, eps=0.001) | zeros
torch.optim.Adadelta(params, lr=0.5, rho=0.8, eps=0.01, weight_decay=0.1) | falling
torch.optim.RMSprop(params, lr=0.01)
torch.optim.RMSprop(params, lr=0.01, eps=0.1) | zeros
torch.optim.RMSprop(params, lr=0.01, momentum=0.9)
torch.optim.RMSprop(params, lr=0.01, momentum=0.9) | falling
torch.optim.RMSprop(params, lr=0.01, alpha=0.9, centered=True, weight_decay=0.1)
torch.optim.RMSprop(params, lr=0.01, alpha=0.9, centered=True, momentum=0.9, eps=0.001) | falling
torch.optim.Rprop(params, lr=0.1)
torch.optim.Rprop(params, lr=0.1, etas=(0.4, 1.5), step_sizes=(0.03, 0.3)) | zeros
torch.optim.ASGD(params, lr=0.1)
torch.optim.ASGD(params, lr=0.1, lambd=0.1, alpha=1.0, t0=3, weight_decay=0.1)
torch.optim.Adafactor(params, lr=0.1)
torch.optim.Adafactor(params, lr=0.1) | flat zeros
torch.optim.Adafactor(params, lr=0.1, beta2_decay=-0.6, d=1.5, weight_decay=0.1) | flat falling
torch.optim.Muon(params, lr=0.1) | matrices
torch.optim.Muon(params, lr=0.1, weight_decay=0.0) | matrices zeros
torch.optim.Muon(params, lr=0.1, nesterov=False, adjust_lr_fn="match_rms_adamw") | matrices falling
torch.optim.Muon(params, lr=0.1, momentum=0.8, ns_steps=3, weight_decay=0.0) | matrices
"""

FREE_OF_RATES = """
schedulefree.SGDScheduleFree(params, lr=0.5)
schedulefree.SGDScheduleFree(params, lr=0.5, warmup_steps=5)
schedulefree.SGDScheduleFree(params, lr=0.5, momentum=0.8, weight_decay=0.1) | falling
schedulefree.SGDScheduleFree(params, lr=0.5, r=1.0)
schedulefree.AdamWScheduleFree(params, lr=0.1)
schedulefree.AdamWScheduleFree(params, lr=0.1) | zeros
schedulefree.AdamWScheduleFree(params, lr=0.1, warmup_steps=5)
schedulefree.AdamWScheduleFree(params, lr=0.1, warmup_steps=3, weight_decay=0.1, weight_lr_power=1.0)
schedulefree.AdamWScheduleFreeReference(params, lr=0.1, weight_decay=0.1, decay_at_z=True)
schedulefree.RAdamScheduleFree(params, lr=0.1)
schedulefree.RAdamScheduleFree(params, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1)
schedulefree.RAdamScheduleFree(params, lr=0.01, silent_sgd_phase=False)
schedulefree.ScheduleFreeWrapper(torch.optim.SGD(params, lr=0.5)) | arrays
pytorch_optimizer.ScheduleFreeWrapper(torch.optim.Adam(params, lr=0.1, betas=(0.0, 0.9)), momentum=0.8)
pytorch_optimizer.ScheduleFreeWrapper(torch.optim.RMSprop(params, lr=0.01))
prodigyopt.Prodigy(params, d0=0.01)
prodigyopt.Prodigy(params, d0=0.01) | zeros
prodigyopt.Prodigy(params, d0=0.01, weight_decay=0.1) | falling
prodigyopt.Prodigy(params, d0=0.01, weight_decay=0.1, decouple=False)
prodigyopt.Prodigy(params, d0=0.01, use_bias_correction=True)
prodigyopt.Prodigy(params, d0=0.01, safeguard_warmup=True) | falling
prodigyopt.Prodigy(params, d0=0.01, d_coef=2.0, beta3=0.8)
prodigyopt.Prodigy(params, d0=0.01, growth_rate=1.02, betas=(0.8, 0.9))
prodigyopt.Prodigy(params, d0=0.01, slice_p=2)
dadaptation.DAdaptSGD(params, d0=0.01)
dadaptation.DAdaptSGD(params, d0=0.01, momentum=0.9) | falling
dadaptation.DAdaptSGD(params, d0=0.01, weight_decay=0.1)
dadaptation.DAdaptSGD(params, d0=0.01, growth_rate=1.02) | zeros
dadaptation.DAdaptAdam(params, d0=0.01)
dadaptation.DAdaptAdam(params, d0=0.01) | zeros
dadaptation.DAdaptAdam(params, d0=0.01, use_bias_correction=True)
dadaptation.DAdaptAdam(params, d0=0.01, weight_decay=0.1, decouple=True) | falling
dadaptation.DAdaptAdam(params, d0=0.01, weight_decay=0.1, growth_rate=1.02)
dadaptation.DAdaptLion(params, d0=0.01)
dadaptation.DAdaptLion(params, d0=0.01, betas=(0.8, 0.9), weight_decay=0.1) | falling
dadaptation.DAdaptAdaGrad(params, d0=0.01)
dadaptation.DAdaptAdaGrad(params, d0=0.01, momentum=0.9, weight_decay=0.1) | falling
dadaptation.DAdaptAdan(params, d0=0.01, weight_decay=0.0)
dadaptation.DAdaptAdan(params, d0=0.01, weight_decay=0.1, no_prox=True) | falling
dog.DoG(params, reps_rel=0.01)
dog.DoG(params, reps_rel=0.01, lr=0.5, weight_decay=0.1) | zeros
dog.DoG(params, init_eta=0.01)
dog.LDoG(params, reps_rel=0.01)
dog.LDoG(params, reps_rel=0.01, lr=0.5, weight_decay=0.1) | zeros
averaged(dog.DoG(params, reps_rel=0.01), dog.PolynomialDecayAverager)
momo.Momo(params, lr=1.0)
momo.Momo(params, lr=0.02, weight_decay=0.1)
momo.Momo(params, lr=1.0, weight_decay=0.1, beta=0.5) | falling
momo.Momo(params, lr=1.0, bias_correction=True)
momo.Momo(params, lr=1.0, use_fstar=True)
momo.MomoAdam(params, lr=0.1)
momo.MomoAdam(params, lr=1.0)
momo.MomoAdam(params, lr=1.0, weight_decay=0.1) | falling
momo.MomoAdam(params, lr=1.0, use_fstar=True)
momo.MomoAdam(params, lr=1.0, weight_decay=0.1, divide=False)
parameterfree.COCOB(params)
parameterfree.COCOB(params, alpha=2.0, eps=0.01) | zeros
parameterfree.KT(params) | scalar
"""

ADAM = """
adam_mini.Adam_mini(named, lr=0.1, dim=3, n_heads=3, verbose=False) | all
adam_mini.Adam_mini(named, lr=0.1, weight_decay=0.1, dim=3, n_heads=3, verbose=False) | all falling
adam_mini.Adam_mini(neurons, lr=0.1, dim=3, n_heads=3, verbose=False) | matrices
optimi.AdamW(params, lr=0.1, weight_decay=0.1, eps=0.001) | falling
optimi.AdamW(params, lr=0.1, weight_decay=0.01, decouple_lr=True) | falling
optimi.StableAdamW(params, lr=0.1, weight_decay=0.0)
optimi.StableAdamW(params, lr=0.1, weight_decay=0.1) | falling
optimi.StableAdamW(params, lr=0.1) | zeros
optimi.Adan(params, lr=0.1, weight_decay=0.1) | falling
optimi.Adan(params, lr=0.1, weight_decay=0.1, adam_wd=True) | zeros
optimi.Lion(params, lr=0.1, weight_decay=0.1) | falling
optimi.Ranger(params, lr=0.1) | falling
optimi.Ranger(params, lr=0.1, weight_decay=0.1, k=3, alpha=0.8)
optimi.RAdam(params, lr=0.1)
lion_pytorch.Lion(params, lr=0.1, weight_decay=0.1) | falling
lion_pytorch.Lion(params, lr=0.1, betas=(0.5, 0.9)) | zeros
lion_pytorch.Lion(params, lr=0.1, weight_decay=0.01, decoupled_weight_decay=True) | falling
adamp.AdamP(params, lr=0.1)
adamp.AdamP(params, lr=0.1, nesterov=True, weight_decay=0.1) | falling
adamp.AdamP(params, lr=0.1, delta=10.0, weight_decay=0.1)
adamp.SGDP(params, lr=0.1, momentum=0.9)
adamp.SGDP(params, lr=0.1, momentum=0.9, delta=10.0, nesterov=True, weight_decay=0.1) | falling
adabound.AdaBound(params, lr=0.1)
adabound.AdaBound(params, lr=0.1, gamma=0.1, final_lr=0.2, weight_decay=0.1) | falling
adabound.AdaBound(params, lr=0.1, betas=(0.9, 0.9), gamma=0.1, amsbound=True)
adabelief_pytorch.AdaBelief(params, lr=0.1, rectify=False, print_change_log=False)
adabelief_pytorch.AdaBelief(params, lr=0.1, print_change_log=False)
adabelief_pytorch.AdaBelief(params, lr=0.1, betas=(0.9, 0.9), weight_decay=0.1, print_change_log=False) | falling
adabelief_pytorch.AdaBelief(params, lr=0.1, weight_decay=0.1, weight_decouple=False, rectify=False, \
print_change_log=False) | falling
came_pytorch.CAME(params, lr=0.1) | flat
came_pytorch.CAME(params, lr=0.1, betas=(0.8, 0.9, 0.95), weight_decay=0.1) | flat falling
came_pytorch.CAME(params, lr=0.1, clip_threshold=0.5) | matrices
torch_optimizer.Yogi(params, lr=0.1)
torch_optimizer.Yogi(params, lr=0.1, weight_decay=0.1, eps=0.1) | falling
torch_optimizer.AdaBelief(params, lr=0.1, rectify=True) | zeros
torch_optimizer.AdaBound(params, lr=0.1) | zeros
torch_optimizer.AdaMod(params, lr=0.1)
torch_optimizer.AdaMod(params, lr=0.1, beta3=0.8, weight_decay=0.1) | falling
torch_optimizer.DiffGrad(params, lr=0.1)
torch_optimizer.DiffGrad(params, lr=0.1, weight_decay=0.1) | zeros falling
torch_optimizer.QHAdam(params, lr=0.1, nus=(0.7, 1.0))
torch_optimizer.QHAdam(params, lr=0.1, nus=(0.8, 0.6), weight_decay=0.1, decouple_weight_decay=True) | falling
torch_optimizer.SWATS(params, lr=0.1)
torch_optimizer.SWATS(params, lr=0.1, betas=(0.5, 0.5), nesterov=True, weight_decay=0.1)
torch_optimizer.RAdam(params, lr=0.1)
torch_optimizer.RAdam(params, lr=0.1, betas=(0.9, 0.9), weight_decay=0.1) | falling
torch_optimizer.Ranger(params, lr=0.1)
torch_optimizer.Adafactor(params) | matrices
torch_optimizer.Adafactor(params, lr=0.1, relative_step=False, scale_parameter=False, beta1=0.9, \
weight_decay=0.1) | matrices falling
torch_optimizer.Adafactor(params, warmup_init=True, clip_threshold=0.5) | matrices
pytorch_optimizer.Ranger(params, lr=0.1)
pytorch_optimizer.Ranger(params, lr=0.1, eps=1e-8, degenerated_to_sgd=True)
pytorch_optimizer.Ranger(params, lr=0.1, eps=1e-8, weight_decay=0.1, k=3, alpha=0.8, \
degenerated_to_sgd=True) | falling
pytorch_optimizer.ADOPT(params, lr=0.1)
pytorch_optimizer.ADOPT(params, lr=0.1, clip_lambda=None, weight_decay=0.1, weight_decouple=True) | falling
pytorch_optimizer.ADOPT(params, lr=0.1, clip_lambda=None, weight_decay=0.1) | zeros
pytorch_optimizer.AdEMAMix(params, lr=0.1)
pytorch_optimizer.AdEMAMix(params, lr=0.1, alpha=8.0, weight_decay=0.1, weight_decouple=True) | falling
pytorch_optimizer.AdEMAMix(params, lr=0.1, t_alpha_beta3=8)
pytorch_optimizer.SimplifiedAdEMAMix(params, lr=0.01)
pytorch_optimizer.SimplifiedAdEMAMix(params, lr=0.01, betas=(0.9, 0.95), alpha=2.0, weight_decay=0.1) | falling
pytorch_optimizer.SimplifiedAdEMAMix(params, lr=0.01, beta1_warmup=8)
pytorch_optimizer.LaProp(params, lr=0.1)
pytorch_optimizer.LaProp(params, lr=0.1) | falling
pytorch_optimizer.LaProp(params, lr=0.1, weight_decay=0.1) | zeros
pytorch_optimizer.LaProp(params, lr=0.1, centered=True, steps_before_using_centered=3)
pytorch_optimizer.StableAdamW(params, lr=0.1, weight_decay=0.1) | falling
pytorch_optimizer.GrokFastAdamW(params, lr=0.1, normalize_lr=False)
grokfast_pytorch.GrokFastAdamW(params, lr=0.1, grokfast_alpha=0.8, weight_decay=0.1, normalize_lr=False) | falling
pytorch_optimizer.GrokFastAdamW(params, lr=0.1, grokfast_alpha=0.8, grokfast_after_step=3, weight_decay=0.1) | falling
pytorch_optimizer.MARS(params, lr=0.1)
pytorch_optimizer.MARS(params, lr=0.1, optimize_1d=True, weight_decay=0.1) | falling
pytorch_optimizer.MARS(params, lr=0.1, optimize_1d=True, mars_type="lion") | zeros
pytorch_optimizer.MARS(params, lr=0.1, optimize_1d=True, mars_type="shampoo") | matrices
pytorch_optimizer.Lion(params, lr=0.1, weight_decay=0.1, cautious=True) | falling
pytorch_optimizer.LaProp(params, lr=0.1, cautious=True)
pytorch_optimizer.Grams(params, lr=0.1)
pytorch_optimizer.Grams(params, lr=0.1, weight_decay=0.1) | falling zeros
pytorch_optimizer.Adan(params, lr=0.1)
pytorch_optimizer.Adan(params, lr=0.1, weight_decay=0.1) | falling zeros
pytorch_optimizer.Adan(params, lr=0.1, weight_decay=0.1, weight_decouple=True, max_grad_norm=1.0) | arrays
"""

LAYERS_AND_MOMENTUM = """
averaged(torch.optim.SGD(params, lr=0.1), torch.optim.swa_utils.AveragedModel)
averaged(torch.optim.SGD(params, lr=0.1), torch.optim.swa_utils.AveragedModel, \
multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
torch_optimizer.Lamb(params, lr=0.1)
torch_optimizer.Lamb(params, lr=0.1, weight_decay=0.1, debias=True) | falling
torch_optimizer.Lamb(params, lr=0.1, weight_decay=0.1, clamp_value=1.0) | zeros
pytorch_optimizer.Lamb(params, lr=0.1, weight_decay=0.1)
torch_optimizer.LARS(params, lr=1.0, momentum=0.9, trust_coefficient=0.02)
torch_optimizer.LARS(params, lr=1.0, momentum=0.9, trust_coefficient=0.02, weight_decay=0.1) | falling
torch_optimizer.LARS(params, lr=1.0, momentum=0.9, trust_coefficient=0.02, weight_decay=0.1, nesterov=True) | zeros
pytorch_optimizer.LARS(params, lr=1.0, trust_coefficient=0.02, weight_decay=0.1) | falling
torch_optimizer.NovoGrad(params, lr=0.1)
torch_optimizer.NovoGrad(params, lr=0.1, betas=(0.9, 0.25), weight_decay=0.1) | falling
torch_optimizer.NovoGrad(params, lr=0.1, betas=(0.95, 0.98), grad_averaging=True)
pytorch_optimizer.NovoGrad(params, lr=0.1, weight_decay=0.1)
torch_optimizer.QHM(params, lr=0.1, momentum=0.9)
torch_optimizer.QHM(params, lr=0.1, momentum=0.9, nu=0.5, weight_decay=0.1) | falling
torch_optimizer.QHM(params, lr=0.1, momentum=0.9, nu=0.5, weight_decay=0.1, weight_decay_type="direct") | falling
torch_optimizer.AggMo(params, lr=0.01)
torch_optimizer.AggMo(params, lr=0.01, betas=(0.0, 0.5, 0.9, 0.99), weight_decay=0.1) | falling
torch_optimizer.AccSGD(params, lr=0.1)
torch_optimizer.AccSGD(params, lr=0.1, kappa=100.0, xi=5.0, weight_decay=0.1) | falling
torch_optimizer.PID(params, lr=0.01, momentum=0.9)
torch_optimizer.PID(params, lr=0.01, momentum=0.9, dampening=0.1, weight_decay=0.1, integral=2.0, \
derivative=3.0) | falling
torch_optimizer.SGDW(params, lr=0.1, momentum=0.9, weight_decay=0.1) | falling
torch_optimizer.MADGRAD(params, lr=0.1)
torch_optimizer.MADGRAD(params, lr=0.1, momentum=0.0) | falling
torch_optimizer.MADGRAD(params, lr=0.1, momentum=0.5, weight_decay=0.1) | zeros
torch_optimizer.A2GradUni(params, beta=10.0, lips=10.0)
torch_optimizer.A2GradInc(params, beta=10.0, lips=10.0)
torch_optimizer.A2GradExp(params, beta=10.0, lips=10.0, rho=0.5)
torch_optimizer.Lookahead(torch.optim.SGD(params, lr=0.1), k=3, alpha=0.5)
pytorch_optimizer.Lookahead(torch.optim.SGD(params, lr=0.1), k=3, alpha=0.8)
pytorch_optimizer.SGDW(params, lr=0.1, momentum=0.9, weight_decay=0.1) | falling
pytorch_optimizer.Tiger(params, lr=0.1, weight_decay=0.1) | falling
pytorch_optimizer.SignSGD(params, lr=0.1, weight_decay=0.1) | falling
pytorch_optimizer.SM3(params, lr=0.1)
pytorch_optimizer.SM3(params, lr=0.1, momentum=0.9, beta=0.9) | falling
pytorch_optimizer.SM3(params, lr=0.1) | arrays
pytorch_optimizer.SM3(params, lr=0.1, momentum=0.9, beta=0.9) | arrays zeros
pytorch_optimizer.Fromage(params, lr=0.1) | falling
pytorch_optimizer.Fromage(params, lr=0.1, p_bound=1.0)
"""

MATRICES = """
muon.SingleDeviceMuon(params, lr=0.1, weight_decay=0.1) | matrices falling
pytorch_optimizer.Muon(group(use_muon=True), lr=0.1) | matrices
pytorch_optimizer.Muon(group(use_muon=True), lr=0.1, nesterov=False, use_adjusted_lr=True, \
weight_decay=0.1) | matrices falling
pytorch_optimizer.NorMuon(group(use_muon=True), lr=0.1) | matrices
pytorch_optimizer.NorMuon(group(use_muon=True), lr=0.1, nesterov=False, update_scale="match_rms") | matrices falling
pytorch_optimizer.AdaMuon(group(use_muon=True), lr=0.1) | matrices
pytorch_optimizer.SCION(params, lr=0.1) | matrices
pytorch_optimizer.SCION(params, lr=0.1, constraint=True, scale=3.0) | matrices falling
pytorch_optimizer.SCION(params, lr=0.1, norm_type=pytorch_optimizer.optimizer.scion.LMONorm.SIGN) | matrices
pytorch_optimizer.SPlus(params, lr=0.1) | squares
pytorch_optimizer.SPlus(params, lr=0.1, inverse_steps=3, weight_decay=0.1, ema_rate=0.9) | squares
pytorch_optimizer.Shampoo(params, lr=0.1) | matrices
pytorch_optimizer.Shampoo(params, lr=0.1, momentum=0.9, weight_decay=0.1, preconditioning_compute_steps=3) | squares
torch_optimizer.Shampoo(params, lr=0.1) | matrices
torch_optimizer.Shampoo(params, lr=0.1, momentum=0.9, weight_decay=0.1) | matrices falling
torch_optimizer.Shampoo(params, lr=0.1) | arrays
pytorch_optimizer.SOAP(params, lr=0.1, weight_decay=0.0) | squares
pytorch_optimizer.SOAP(params, lr=0.1, weight_decay=0.1, precondition_frequency=3) | squares falling
pytorch_optimizer.SOAP(params, lr=0.1, correct_bias=False) | squares
galore_torch.GaLoreAdamW(group(rank=2, update_proj_gap=50, scale=0.5, proj_type="std"), lr=0.1) | matrices
galore_torch.GaLoreAdamW(group(rank=1, update_proj_gap=50, scale=0.5, proj_type="std"), lr=0.1, \
weight_decay=0.1) | matrices falling
apollo_torch.APOLLOAdamW(group(rank=2, update_proj_gap=50, scale=4.0, proj="svd", proj_type="std", \
scale_type="channel"), lr=0.1) | matrices
apollo_torch.APOLLOAdamW(group(rank=1, update_proj_gap=50, scale=4.0, proj="svd", proj_type="std", \
scale_type="tensor"), lr=0.1, weight_decay=0.1) | matrices falling
"""

GROUPS = (TORCH, FREE_OF_RATES, ADAM, LAYERS_AND_MOMENTUM, MATRICES)
RUNS = tuple(line for group in GROUPS for line in group.split("\n") if line)

NAMES = {
    "scalar": "norm",
    "bias": "bias",
    "kernel": "block.mlp.weight",
    "square": "block.wq.weight",
    "stack": "stack.weight",
    "conv": "conv.weight",
}
"""What each leaf is called for optimizers that go by names."""


def load(name: str) -> Any:
    """A package. Two of them import others for what is not used here."""
    absent = ["transformers", "transformers.utils", "transformers.utils.versions", "bitsandbytes"]
    absent += [f"bitsandbytes.{part}" for part in ("functional", "optim", "optim.optimizer")]
    borrowed = dict.fromkeys(absent, unittest.mock.MagicMock()) if name in ("galore_torch", "apollo_torch") else {}
    with unittest.mock.patch.dict(sys.modules, borrowed):
        return importlib.import_module(name)


class Averaged:
    """An optimizer, and an average of its params that is updated after each of its steps."""

    def __init__(self, optimizer: Any, make: Any, **options: Any) -> None:
        self.optimizer, self.param_groups = optimizer, optimizer.param_groups
        self.model = torch.nn.ParameterList([p for group in optimizer.param_groups for p in group["params"]])
        self.average = make(self.model, **options)

    def step(self) -> None:
        self.optimizer.step()
        if hasattr(self.average, "update_parameters"):
            self.average.update_parameters(self.model)
        else:
            self.average.step()

    def weights(self) -> list[Any]:
        whole = self.average.module if hasattr(self.average, "module") else self.average.averaged_model
        return list(whole.parameters())


def used(optimizer: Any, params: list[Any]) -> list[Any] | None:
    """The weights to use, where they are not those that take the gradients."""
    if isinstance(optimizer, Averaged):
        return optimizer.weights()
    if isinstance(optimizer, torch.optim.ASGD):
        return [optimizer.state[p]["ax"] for p in params]
    if not hasattr(optimizer, "eval"):
        return None
    optimizer.eval()
    found = [p.detach().clone() for p in params]
    optimizer.train()
    return found


def flat(tensors: list[Any]) -> Any:
    return np.concatenate([t.detach().numpy().ravel() for t in tensors])


def run(text: str) -> Iterator[tuple[str, Any]]:
    """The params after the steps to keep, as one vector each; and those to use."""
    made, _, flags = text.partition(" | ")
    words = flags.split()
    leaves = next((KINDS[word] for word in words if word in KINDS), USUAL)
    params = [torch.nn.Parameter(torch.tensor(START[k])) for k in leaves]
    space = {name: load(name) for name in PACKAGES if name in made}
    space |= {
        "params": params,
        "averaged": Averaged,
        "named": [(NAMES[k], p) for k, p in zip(leaves, params, strict=True)],
    }
    space["group"] = lambda **options: [{"params": params, **options}]
    space["neurons"] = [(f"mlp.{k}", p) for k, p in zip(leaves, params, strict=True)]
    optimizer = eval(made, space)  # noqa: S307
    if hasattr(optimizer, "train"):
        optimizer.train()
    rates = [group["lr"] for group in optimizer.param_groups] if "falling" in words else []
    kept, averages = [], []
    for t in range(STEPS):
        for group, rate in zip(optimizer.param_groups, rates, strict=False):
            group["lr"] = rate * (1 - t / 20)
        for k, p in zip(leaves, params, strict=True):
            g = GRADS[k][t] + PULL * p.detach().numpy()
            if "zeros" in words:
                g = np.asarray(g * (t != 4))
                g.reshape(-1)[: int(g.ndim > 0)] = 0.0
            p.grad = torch.tensor(g)
        if made.startswith("momo"):
            optimizer.step(loss=torch.tensor(VALUES[t]))
        else:
            optimizer.step()
        assert all(p.dtype == torch.float64 for p in params)
        if t + 1 in KEPT:
            kept.append(flat(params))
            weights = used(optimizer, params)
            if weights is not None:
                averages.append(flat(weights))
    yield text, np.stack(kept)
    if averages:
        yield f"{text} @", np.stack(averages)


def main() -> None:
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("ignore")
    arrays: dict[str, Any] = {f"start/{k}": x for k, x in START.items()} | {f"grads/{k}": g for k, g in GRADS.items()}
    paths, table = {}, {}
    for text in RUNS:
        with Narrow():
            paths |= dict(run(text))
        packages = [package for name, package in PACKAGES.items() if re.search(rf"\b{name}\.", text)]
        table[text] = {package: importlib.metadata.version(package) for package in packages}
    wrong = [text for text, path in paths.items() if not np.isfinite(path).all()]
    assert not wrong, wrong
    texts = {"table": np.array(json.dumps(table)), "paths": np.array(json.dumps(list(paths)))}
    data = np.concatenate([path.ravel() for path in paths.values()])
    np.savez_compressed("recorded.npz", values=VALUES, data=data, **arrays, **texts)


if __name__ == "__main__":
    main()
