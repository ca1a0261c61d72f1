"""The optimizers of other people's packages, as recorded by ``tests/data/record_trajectories.py``: gradtx takes their
steps.

`ROWS` has each recorded run, and under it the same in gradtx, or ``none:`` and why there is nothing. After a bar:
``transposed`` gives gradtx its matrices as JAX has them, inputs first; a number is how far it may be away, of the
distance gone, where 1e-5 is too much to ask, and why.
"""

import contextlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.conftest import x64_mode

DATA = Path(__file__).parent / "data" / "recorded.npz"
PULL, KEPT = 0.2, (1, 2, 3, 6, 12)
KINDS = {
    "all": ("scalar", "bias", "kernel", "square", "stack", "conv"),
    "squares": ("square",),
    "matrices": ("kernel", "square"),
    "scalar": ("scalar",),
    "flat": ("scalar", "bias", "kernel", "square"),
    "arrays": ("bias", "kernel", "stack", "conv"),
}
USUAL = ("scalar", "bias", "kernel", "stack", "conv")

ROWS = """
torch.optim.SGD(params, lr=0.1)
    sgd(0.1)
torch.optim.SGD(params, lr=0.1, momentum=0.9) | falling
    sgd(linear_schedule(0.1, 0.0, 20), momentum=0.9)
torch.optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), scale_by_schedule(piecewise_constant_schedule(1.0, {1: 0.5})), sgd(linear_schedule(0.1, 0.0, 20), momentum=0.9))
torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), sgd(linear_schedule(0.1, 0.0, 20), momentum=0.9, nesterov=True))
torch.optim.SGD(params, lr=0.01, momentum=0.9, maximize=True)
    chain(scale(-1.0), sgd(0.01, momentum=0.9))
torch.optim.Adam(params, lr=0.1)
    adam(0.1)
torch.optim.Adam(params, lr=0.1) | zeros
    adam(0.1)
torch.optim.Adam(params, lr=0.1, eps=0.1, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), adam(linear_schedule(0.1, 0.0, 20), eps=0.1))
torch.optim.Adam(params, lr=0.1, betas=(0.8, 0.9), amsgrad=True) | falling
    amsgrad(linear_schedule(0.1, 0.0, 20), b1=0.8, b2=0.9, bias_correction="after_max")
torch.optim.AdamW(params, lr=0.1, weight_decay=0.1) | falling
    adamw(linear_schedule(0.1, 0.0, 20), weight_decay=0.1)
torch.optim.AdamW(params, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1, amsgrad=True)
    chain(scale_by_amsgrad(b1=0.8, b2=0.9, bias_correction="after_max"), add_decayed_weights(0.1), scale_by_learning_rate(0.1))
torch.optim.Adamax(params, lr=0.1, betas=(0.9, 0.9))
    adamax(0.1, b2=0.9)
torch.optim.Adamax(params, lr=0.1, eps=0.1) | zeros
    adamax(0.1, eps=0.1)
torch.optim.Adamax(params, lr=0.1, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), adamax(linear_schedule(0.1, 0.0, 20)))
torch.optim.NAdam(params, lr=0.1)
    nadam(0.1, momentum_decay=0.004)
torch.optim.NAdam(params, lr=0.1) | zeros
    nadam(0.1, momentum_decay=0.004)
torch.optim.NAdam(params, lr=0.1, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), nadam(linear_schedule(0.1, 0.0, 20), momentum_decay=0.004))
torch.optim.NAdam(params, lr=0.1, momentum_decay=0.1, weight_decay=0.1, decoupled_weight_decay=True) | falling
    chain(scale_by_nadam(momentum_decay=0.1), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
torch.optim.RAdam(params, lr=0.1)
    radam(0.1)
torch.optim.RAdam(params, lr=0.1, betas=(0.9, 0.9), eps=0.001) | zeros
    none: eps is added before the bias correction: a schedule of eps, which is a function
torch.optim.RAdam(params, lr=0.1, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), radam(linear_schedule(0.1, 0.0, 20)))
torch.optim.RAdam(params, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True) | falling
    chain(scale_by_rectified_adam(), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
torch.optim.Adagrad(params, lr=0.1)
    adagrad(0.1, initial_accumulator_value=0.0, eps=1e-10, eps_in_sqrt=False)
torch.optim.Adagrad(params, lr=0.1) | zeros
    adagrad(0.1, initial_accumulator_value=0.0, eps=1e-10, eps_in_sqrt=False)
torch.optim.Adagrad(params, lr=0.1, lr_decay=0.1, weight_decay=0.1)
    chain(add_decayed_weights(0.1), adagrad(inverse_time_decay(0.1, 1, 0.1), initial_accumulator_value=0.0, eps=1e-10, eps_in_sqrt=False))
torch.optim.Adagrad(params, lr=0.1, initial_accumulator_value=0.1, eps=0.001) | falling
    adagrad(linear_schedule(0.1, 0.0, 20), initial_accumulator_value=0.1, eps=0.001, eps_in_sqrt=False)
torch.optim.Adadelta(params, lr=1.0, eps=0.001)
    adadelta(1.0, eps=0.001)
torch.optim.Adadelta(params, lr=1.0, eps=0.001) | zeros
    adadelta(1.0, eps=0.001)
torch.optim.Adadelta(params, lr=0.5, rho=0.8, eps=0.01, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), adadelta(linear_schedule(0.5, 0.0, 20), rho=0.8, eps=0.01))
torch.optim.RMSprop(params, lr=0.01)
    rmsprop(0.01, decay=0.99, eps_in_sqrt=False)
torch.optim.RMSprop(params, lr=0.01, eps=0.1) | zeros
    rmsprop(0.01, decay=0.99, eps=0.1, eps_in_sqrt=False)
torch.optim.RMSprop(params, lr=0.01, momentum=0.9)
    rmsprop(0.01, decay=0.99, eps_in_sqrt=False, momentum=0.9)
torch.optim.RMSprop(params, lr=0.01, momentum=0.9) | falling
    chain(scale_by_rms(0.99, eps_in_sqrt=False), trace(0.9), scale_by_learning_rate(linear_schedule(0.01, 0.0, 20)))
torch.optim.RMSprop(params, lr=0.01, alpha=0.9, centered=True, weight_decay=0.1)
    chain(add_decayed_weights(0.1), rmsprop(0.01, decay=0.9, eps_in_sqrt=False, centered=True))
torch.optim.RMSprop(params, lr=0.01, alpha=0.9, centered=True, momentum=0.9, eps=0.001) | falling
    chain(scale_by_stddev(0.9, eps=0.001, eps_in_sqrt=False), trace(0.9), scale_by_learning_rate(linear_schedule(0.01, 0.0, 20)))
torch.optim.Rprop(params, lr=0.1)
    rprop(0.1)
torch.optim.Rprop(params, lr=0.1, etas=(0.4, 1.5), step_sizes=(0.03, 0.3)) | zeros
    rprop(0.1, 0.4, 1.5, 0.03, 0.3)
torch.optim.ASGD(params, lr=0.1)
    asgd(0.1)
torch.optim.ASGD(params, lr=0.1, lambd=0.1, alpha=1.0, t0=3, weight_decay=0.1)
    chain(add_decayed_weights(0.1), asgd(0.1, lambd=0.1, alpha=1.0, t0=3))
torch.optim.Adafactor(params, lr=0.1)
    none: the last two axes are factored, here the two largest
torch.optim.Adafactor(params, lr=0.1) | flat zeros
    chain(scale_by_factored_rms(min_dim_size_to_factor=1), clip_by_block_rms(1.0), scale_by_param_block_rms(0.001), scale_by_learning_rate(0.1))
torch.optim.Adafactor(params, lr=0.1, beta2_decay=-0.6, d=1.5, weight_decay=0.1) | flat falling
    chain(scale_by_factored_rms(decay_rate=0.6, min_dim_size_to_factor=1), clip_by_block_rms(1.5), scale_by_param_block_rms(0.001), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
torch.optim.Muon(params, lr=0.1) | matrices
    muon(0.1, scaling="keller") | transposed
torch.optim.Muon(params, lr=0.1, weight_decay=0.0) | matrices zeros
    muon(0.1, weight_decay=0.0, scaling="keller") | transposed
torch.optim.Muon(params, lr=0.1, nesterov=False, adjust_lr_fn="match_rms_adamw") | matrices falling
    muon(linear_schedule(0.1, 0.0, 20), nesterov=False) | transposed
torch.optim.Muon(params, lr=0.1, momentum=0.8, ns_steps=3, weight_decay=0.0) | matrices
    muon(0.1, 0.8, weight_decay=0.0, scaling="keller", steps=3) | transposed
schedulefree.SGDScheduleFree(params, lr=0.5)
    schedule_free_sgd(0.5)
schedulefree.SGDScheduleFree(params, lr=0.5, warmup_steps=5)
    schedule_free_sgd(0.5, warmup_steps=5)
schedulefree.SGDScheduleFree(params, lr=0.5, momentum=0.8, weight_decay=0.1) | falling
    schedule_free_sgd(linear_schedule(0.5, 0.0, 20), b1=0.8, weight_decay=0.1)
schedulefree.SGDScheduleFree(params, lr=0.5, r=1.0)
    none: weights that grow with the step, which r=1.0 asks for
schedulefree.AdamWScheduleFree(params, lr=0.1)
    schedule_free_adamw(0.1)
schedulefree.AdamWScheduleFree(params, lr=0.1) | zeros
    schedule_free_adamw(0.1)
schedulefree.AdamWScheduleFree(params, lr=0.1, warmup_steps=5)
    schedule_free_adamw(0.1, warmup_steps=5)
schedulefree.AdamWScheduleFree(params, lr=0.1, warmup_steps=3, weight_decay=0.1, weight_lr_power=1.0)
    schedule_free_adamw(0.1, warmup_steps=3, weight_decay=0.1, weight_lr_power=1.0)
schedulefree.AdamWScheduleFreeReference(params, lr=0.1, weight_decay=0.1, decay_at_z=True)
    none: the decay is that of z, here of the params
schedulefree.RAdamScheduleFree(params, lr=0.1)
    schedule_free_radam(0.1)
schedulefree.RAdamScheduleFree(params, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1)
    schedule_free_radam(0.1, b1=0.8, b2=0.9, weight_decay=0.1)
schedulefree.RAdamScheduleFree(params, lr=0.01, silent_sgd_phase=False)
    none: the first steps are those of gradient descent, here there are none
schedulefree.ScheduleFreeWrapper(torch.optim.SGD(params, lr=0.5)) | arrays
    schedule_free(sgd(0.5), 0.5)
pytorch_optimizer.ScheduleFreeWrapper(torch.optim.Adam(params, lr=0.1, betas=(0.0, 0.9)), momentum=0.8)
    schedule_free(adam(0.1, b1=0.0, b2=0.9), 0.1, b1=0.8)
pytorch_optimizer.ScheduleFreeWrapper(torch.optim.RMSprop(params, lr=0.01))
    schedule_free(rmsprop(0.01, decay=0.99, eps_in_sqrt=False), 0.01)
prodigyopt.Prodigy(params, d0=0.01)
    prodigy(estim_lr0=0.01, bias_correction=False)
prodigyopt.Prodigy(params, d0=0.01) | zeros
    prodigy(estim_lr0=0.01, bias_correction=False)
prodigyopt.Prodigy(params, d0=0.01, weight_decay=0.1) | falling
    prodigy(linear_schedule(1.0, 0.0, 20), estim_lr0=0.01, weight_decay=0.1, bias_correction=False)
prodigyopt.Prodigy(params, d0=0.01, weight_decay=0.1, decouple=False)
    chain(add_decayed_weights(0.1), prodigy(estim_lr0=0.01, bias_correction=False))
prodigyopt.Prodigy(params, d0=0.01, use_bias_correction=True)
    prodigy(estim_lr0=0.01)
prodigyopt.Prodigy(params, d0=0.01, safeguard_warmup=True) | falling
    prodigy(linear_schedule(1.0, 0.0, 20), estim_lr0=0.01, safeguard_warmup=True, bias_correction=False)
prodigyopt.Prodigy(params, d0=0.01, d_coef=2.0, beta3=0.8)
    prodigy(estim_lr0=0.01, estim_lr_coef=2.0, beta3=0.8, bias_correction=False)
prodigyopt.Prodigy(params, d0=0.01, growth_rate=1.02, betas=(0.8, 0.9))
    prodigy(betas=(0.8, 0.9), estim_lr0=0.01, growth_rate=1.02, bias_correction=False)
prodigyopt.Prodigy(params, d0=0.01, slice_p=2)
    none: the distance is estimated from every second entry
dadaptation.DAdaptSGD(params, d0=0.01)
    dadapt_sgd(estim_lr0=0.01)
dadaptation.DAdaptSGD(params, d0=0.01, momentum=0.9) | falling
    dadapt_sgd(linear_schedule(1.0, 0.0, 20), momentum=0.9, estim_lr0=0.01)
dadaptation.DAdaptSGD(params, d0=0.01, weight_decay=0.1)
    none: the norm of the first gradient is taken without its decay, for want of an underscore: grad.add(...)
dadaptation.DAdaptSGD(params, d0=0.01, growth_rate=1.02) | zeros
    dadapt_sgd(estim_lr0=0.01, growth_rate=1.02)
dadaptation.DAdaptAdam(params, d0=0.01)
    dadapt_adamw(estim_lr0=0.01, bias_correction=False)
dadaptation.DAdaptAdam(params, d0=0.01) | zeros
    dadapt_adamw(estim_lr0=0.01, bias_correction=False)
dadaptation.DAdaptAdam(params, d0=0.01, use_bias_correction=True)
    dadapt_adamw(estim_lr0=0.01)
dadaptation.DAdaptAdam(params, d0=0.01, weight_decay=0.1, decouple=True) | falling
    dadapt_adamw(linear_schedule(1.0, 0.0, 20), estim_lr0=0.01, weight_decay=0.1, bias_correction=False)
dadaptation.DAdaptAdam(params, d0=0.01, weight_decay=0.1, growth_rate=1.02)
    chain(add_decayed_weights(0.1), dadapt_adamw(estim_lr0=0.01, growth_rate=1.02, bias_correction=False))
dadaptation.DAdaptLion(params, d0=0.01)
    dadapt_lion(estim_lr0=0.01)
dadaptation.DAdaptLion(params, d0=0.01, betas=(0.8, 0.9), weight_decay=0.1) | falling
    dadapt_lion(linear_schedule(1.0, 0.0, 20), betas=(0.8, 0.9), estim_lr0=0.01, weight_decay=0.1)
dadaptation.DAdaptAdaGrad(params, d0=0.01)
    dadapt_adagrad(eps=1e-6, estim_lr0=0.01)
dadaptation.DAdaptAdaGrad(params, d0=0.01, momentum=0.9, weight_decay=0.1) | falling
    dadapt_adagrad(linear_schedule(1.0, 0.0, 20), momentum=0.9, eps=1e-6, estim_lr0=0.01, weight_decay=0.1)
dadaptation.DAdaptAdan(params, d0=0.01, weight_decay=0.0)
    dadapt_adan(estim_lr0=0.01)
dadaptation.DAdaptAdan(params, d0=0.01, weight_decay=0.1, no_prox=True) | falling
    dadapt_adan(linear_schedule(1.0, 0.0, 20), estim_lr0=0.01, weight_decay=0.1)
dog.DoG(params, reps_rel=0.01)
    dog(init_step=("heuristic", 0.01))
dog.DoG(params, reps_rel=0.01, lr=0.5, weight_decay=0.1) | zeros
    dog(0.5, init_step=("heuristic", 0.01), weight_decay=0.1)
dog.DoG(params, init_eta=0.01)
    dog(init_step=("learning_rate", 0.01))
dog.LDoG(params, reps_rel=0.01)
    chain(scale_by_distance_over_gradients(0.01), scale(-1.0))
dog.LDoG(params, reps_rel=0.01, lr=0.5, weight_decay=0.1) | zeros
    chain(add_decayed_weights(0.1), scale_by_distance_over_gradients(0.01), scale(-0.5))
averaged(dog.DoG(params, reps_rel=0.01), dog.PolynomialDecayAverager)
    ema_params(dog(init_step=("heuristic", 0.01)), divide_schedules(linear_schedule(0.0, 12.0, 12), linear_schedule(9.0, 21.0, 12)))
momo.Momo(params, lr=1.0)
    momo(1.0)
momo.Momo(params, lr=0.02, weight_decay=0.1)
    momo(0.02, weight_decay=0.1)
momo.Momo(params, lr=1.0, weight_decay=0.1, beta=0.5) | falling
    momo(linear_schedule(1.0, 0.0, 20), beta=0.5, weight_decay=0.1)
momo.Momo(params, lr=1.0, bias_correction=True)
    none: averages that begin at zero, with their bias corrected; here they begin at the first loss, as by default
momo.Momo(params, lr=1.0, use_fstar=True)
    momo(1.0, adapt_lower_bound=True)
momo.MomoAdam(params, lr=0.1)
    momo_adam(0.1)
momo.MomoAdam(params, lr=1.0)
    momo_adam(1.0)
momo.MomoAdam(params, lr=1.0, weight_decay=0.1) | falling
    momo_adam(linear_schedule(1.0, 0.0, 20), weight_decay=0.1)
momo.MomoAdam(params, lr=1.0, use_fstar=True)
    momo_adam(1.0, adapt_lower_bound=True)
momo.MomoAdam(params, lr=1.0, weight_decay=0.1, divide=False)
    none: a decay that is not that of the proximal step
parameterfree.COCOB(params)
    cocob()
parameterfree.COCOB(params, alpha=2.0, eps=0.01) | zeros
    cocob(alpha=2.0, eps=0.01)
parameterfree.KT(params) | scalar
    kt()
adam_mini.Adam_mini(named, lr=0.1, dim=3, n_heads=3, verbose=False) | all
    adam_mini(0.1, {"kernel": 0, "square": 0, "stack": (), "conv": ()})
adam_mini.Adam_mini(named, lr=0.1, weight_decay=0.1, dim=3, n_heads=3, verbose=False) | all falling
    adam_mini(linear_schedule(0.1, 0.0, 20), {"kernel": 0, "square": 0, "stack": (), "conv": ()}, weight_decay=0.1, mask={"scalar": False, "bias": False, "kernel": True, "square": True, "stack": True, "conv": True})
adam_mini.Adam_mini(neurons, lr=0.1, dim=3, n_heads=3, verbose=False) | matrices
    adam_mini(0.1, {"*": -1}) | transposed
optimi.AdamW(params, lr=0.1, weight_decay=0.1, eps=0.001) | falling
    adamw(linear_schedule(0.1, 0.0, 20), b2=0.99, eps=0.001, weight_decay=0.1)
optimi.AdamW(params, lr=0.1, weight_decay=0.01, decouple_lr=True) | falling
    adamw(linear_schedule(0.1, 0.0, 20), b2=0.99, eps=1e-6, weight_decay=0.01, decay_convention="independent", peak_learning_rate=0.1)
optimi.StableAdamW(params, lr=0.1, weight_decay=0.0)
    stable_adamw(0.1, b2=0.99, eps=1e-6, weight_decay=0.0)
optimi.StableAdamW(params, lr=0.1, weight_decay=0.1) | falling
    stable_adamw(linear_schedule(0.1, 0.0, 20), b2=0.99, eps=1e-6, weight_decay=0.1)
optimi.StableAdamW(params, lr=0.1) | zeros
    stable_adamw(0.1, b2=0.99, eps=1e-6, weight_decay=0.01)
optimi.Adan(params, lr=0.1, weight_decay=0.1) | falling
    chain(adan(linear_schedule(0.1, 0.0, 20), eps=1e-6, eps_root=0.0), scale_by_schedule(divide_schedules(constant_schedule(-1.0), linear_schedule(1.01, 1.0, 20))), add_decayed_weights(divide_schedules(linear_schedule(0.01, 0.0, 20), linear_schedule(1.01, 1.0, 20))), scale(-1.0))
optimi.Adan(params, lr=0.1, weight_decay=0.1, adam_wd=True) | zeros
    chain(adan(0.1, eps=1e-6, eps_root=0.0), scale(-0.9900990099009901), add_decayed_weights(0.009900990099009901), scale(-1.0))
optimi.Lion(params, lr=0.1, weight_decay=0.1) | falling
    lion(linear_schedule(0.1, 0.0, 20), weight_decay=0.1)
optimi.Ranger(params, lr=0.1) | falling
    lookahead(radam(linear_schedule(0.1, 0.0, 20), b2=0.99, eps=1e-6), 6, 0.5)
optimi.Ranger(params, lr=0.1, weight_decay=0.1, k=3, alpha=0.8)
    lookahead(chain(scale_by_rectified_adam(b2=0.99, eps=1e-6), add_decayed_weights(0.1), scale_by_learning_rate(0.1)), 3, 0.8)
optimi.RAdam(params, lr=0.1)
    radam(0.1, b2=0.99, eps=1e-6)
lion_pytorch.Lion(params, lr=0.1, weight_decay=0.1) | falling
    lion(linear_schedule(0.1, 0.0, 20), weight_decay=0.1)
lion_pytorch.Lion(params, lr=0.1, betas=(0.5, 0.9)) | zeros
    lion(0.1, b1=0.5, b2=0.9, weight_decay=0.0)
lion_pytorch.Lion(params, lr=0.1, weight_decay=0.01, decoupled_weight_decay=True) | falling
    chain(lion(linear_schedule(0.1, 0.0, 20), weight_decay=0.0), add_decayed_weights(linear_schedule(-0.01, 0.0, 20)))
adamp.AdamP(params, lr=0.1)
    adamp(0.1, output_axis=0)
adamp.AdamP(params, lr=0.1, nesterov=True, weight_decay=0.1) | falling
    none: AdamP has no Nesterov momentum here
adamp.AdamP(params, lr=0.1, delta=10.0, weight_decay=0.1)
    adamp(0.1, delta=10.0, weight_decay=0.1, output_axis=0)
adamp.SGDP(params, lr=0.1, momentum=0.9)
    none: the projection is made in place, on the momentum itself; by the paper on what is taken from it
adamp.SGDP(params, lr=0.1, momentum=0.9, delta=10.0, nesterov=True, weight_decay=0.1) | falling
    sgdp(linear_schedule(0.1, 0.0, 20), momentum=0.9, delta=10.0, nesterov=True, weight_decay=0.1, output_axis=0)
adabound.AdaBound(params, lr=0.1)
    adabound(0.1, final_ratio=1.0)
adabound.AdaBound(params, lr=0.1, gamma=0.1, final_lr=0.2, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), adabound(linear_schedule(0.1, 0.0, 20), gamma=0.1, final_ratio=2.0))
adabound.AdaBound(params, lr=0.1, betas=(0.9, 0.9), gamma=0.1, amsbound=True)
    amsbound(0.1, b2=0.9, gamma=0.1, final_ratio=1.0)
adabelief_pytorch.AdaBelief(params, lr=0.1, rectify=False, print_change_log=False)
    adabelief(0.1)
adabelief_pytorch.AdaBelief(params, lr=0.1, print_change_log=False)
    adabelief(0.1, rectify=True)
adabelief_pytorch.AdaBelief(params, lr=0.1, betas=(0.9, 0.9), weight_decay=0.1, print_change_log=False) | falling
    adabelief(linear_schedule(0.1, 0.0, 20), b2=0.9, weight_decay=0.1, rectify=True)
adabelief_pytorch.AdaBelief(params, lr=0.1, weight_decay=0.1, weight_decouple=False, rectify=False, print_change_log=False) | falling
    chain(add_decayed_weights(0.1), adabelief(linear_schedule(0.1, 0.0, 20)))
came_pytorch.CAME(params, lr=0.1) | flat
    came(0.1)
came_pytorch.CAME(params, lr=0.1, betas=(0.8, 0.9, 0.95), weight_decay=0.1) | flat falling
    came(linear_schedule(0.1, 0.0, 20), b1=0.8, b2=0.9, b3=0.95, weight_decay=0.1)
came_pytorch.CAME(params, lr=0.1, clip_threshold=0.5) | matrices
    came(0.1, clipping_threshold=0.5)
torch_optimizer.Yogi(params, lr=0.1)
    yogi(0.1)
torch_optimizer.Yogi(params, lr=0.1, weight_decay=0.1, eps=0.1) | falling
    chain(add_decayed_weights(0.1), yogi(linear_schedule(0.1, 0.0, 20), eps=0.1))
torch_optimizer.AdaBelief(params, lr=0.1, rectify=True) | zeros
    none: the first steps are those of an average whose bias is not corrected; in the authors' own releases it is
torch_optimizer.AdaBound(params, lr=0.1) | zeros
    adabound(0.1, final_ratio=1.0)
torch_optimizer.AdaMod(params, lr=0.1)
    none: the correction of m is in the averaged step sizes, too; by the paper it is not
torch_optimizer.AdaMod(params, lr=0.1, beta3=0.8, weight_decay=0.1) | falling
    none: the same, and the decay comes before the moments
torch_optimizer.DiffGrad(params, lr=0.1)
    diffgrad(0.1)
torch_optimizer.DiffGrad(params, lr=0.1, weight_decay=0.1) | zeros falling
    chain(add_decayed_weights(0.1), diffgrad(linear_schedule(0.1, 0.0, 20)))
torch_optimizer.QHAdam(params, lr=0.1, nus=(0.7, 1.0))
    qhadam(0.1, b1=0.9, nu1=0.7, nu2=1.0)
torch_optimizer.QHAdam(params, lr=0.1, nus=(0.8, 0.6), weight_decay=0.1, decouple_weight_decay=True) | falling
    qhadam(linear_schedule(0.1, 0.0, 20), b1=0.9, nu1=0.8, nu2=0.6, weight_decay=0.1)
torch_optimizer.SWATS(params, lr=0.1)
    none: SWATS is not in gradtx
torch_optimizer.SWATS(params, lr=0.1, betas=(0.5, 0.5), nesterov=True, weight_decay=0.1)
    none: SWATS is not in gradtx
torch_optimizer.RAdam(params, lr=0.1)
    radam(0.1)
torch_optimizer.RAdam(params, lr=0.1, betas=(0.9, 0.9), weight_decay=0.1) | falling
    chain(scale_by_rectified_adam(b2=0.9), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
torch_optimizer.Ranger(params, lr=0.1)
    lookahead(radam(0.1, b1=0.95, eps=1e-5), 6, 0.5) | 1e-3: eps is added before the bias is corrected, and one leaf has gradients of 0.01
torch_optimizer.Adafactor(params) | matrices
    chain(scale_by_factored_rms(min_dim_size_to_factor=1), clip_by_block_rms(1.0), scale_by_param_block_rms(0.001), scale_by_learning_rate(0.01))
torch_optimizer.Adafactor(params, lr=0.1, relative_step=False, scale_parameter=False, beta1=0.9, weight_decay=0.1) | matrices falling
    chain(scale_by_factored_rms(min_dim_size_to_factor=1), clip_by_block_rms(1.0), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)), ema(0.9, debias=False), add_decayed_weights(linear_schedule(-0.01, 0.0, 20)))
torch_optimizer.Adafactor(params, warmup_init=True, clip_threshold=0.5) | matrices
    chain(scale_by_factored_rms(min_dim_size_to_factor=1), clip_by_block_rms(0.5), scale_by_param_block_rms(0.001), scale_by_learning_rate(linear_schedule(1e-6, 2.1e-5, 20)))
pytorch_optimizer.Ranger(params, lr=0.1)
    none: the first steps go uphill: the rate is -1 times what it should be until the variance is known
pytorch_optimizer.Ranger(params, lr=0.1, eps=1e-8, degenerated_to_sgd=True)
    ranger(0.1, eps=1e-8, output_axis=0)
pytorch_optimizer.Ranger(params, lr=0.1, eps=1e-8, weight_decay=0.1, k=3, alpha=0.8, degenerated_to_sgd=True) | falling
    ranger(linear_schedule(0.1, 0.0, 20), eps=1e-8, weight_decay=0.1, sync_period=3, slow_step_size=0.8, output_axis=0)
pytorch_optimizer.ADOPT(params, lr=0.1)
    none: the gradients of step t + 1 are clipped to (t + 1) ** 0.25, by the paper and its authors to t ** 0.25
pytorch_optimizer.ADOPT(params, lr=0.1, clip_lambda=None, weight_decay=0.1, weight_decouple=True) | falling
    chain(scale_by_adopt(use_clipping=False), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
pytorch_optimizer.ADOPT(params, lr=0.1, clip_lambda=None, weight_decay=0.1) | zeros
    chain(add_decayed_weights(0.1), adopt(0.1, use_clipping=False))
pytorch_optimizer.AdEMAMix(params, lr=0.1)
    ademamix(0.1)
pytorch_optimizer.AdEMAMix(params, lr=0.1, alpha=8.0, weight_decay=0.1, weight_decouple=True) | falling
    ademamix(linear_schedule(0.1, 0.0, 20), alpha=8.0, weight_decay=0.1)
pytorch_optimizer.AdEMAMix(params, lr=0.1, t_alpha_beta3=8)
    ademamix(0.1, b3=half_life_schedule(0.9992055562657982, 0.9999, 7), alpha=linear_schedule(0.625, 5.0, 7))
pytorch_optimizer.SimplifiedAdEMAMix(params, lr=0.01)
    none: the moment is an average, in the paper a sum; and the root of the bias divides the step, where it should multiply
pytorch_optimizer.SimplifiedAdEMAMix(params, lr=0.01, betas=(0.9, 0.95), alpha=2.0, weight_decay=0.1) | falling
    none: the moment is an average, in the paper a sum; and the root of the bias divides the step, where it should multiply
pytorch_optimizer.SimplifiedAdEMAMix(params, lr=0.01, beta1_warmup=8)
    none: the moment is an average, in the paper a sum; and the root of the bias divides the step, where it should multiply
pytorch_optimizer.LaProp(params, lr=0.1)
    laprop(0.1)
pytorch_optimizer.LaProp(params, lr=0.1) | falling
    none: the rate is inside the moment, as in the authors' code; the paper has it outside
pytorch_optimizer.LaProp(params, lr=0.1, weight_decay=0.1) | zeros
    chain(laprop(0.1), scale(-0.99), add_decayed_weights(0.01), scale(-1.0))
pytorch_optimizer.LaProp(params, lr=0.1, centered=True, steps_before_using_centered=3)
    none: the second moment of LaProp is not centred here
pytorch_optimizer.StableAdamW(params, lr=0.1, weight_decay=0.1) | falling
    stable_adamw(linear_schedule(0.1, 0.0, 20), b2=0.99, eps=1e-8, weight_decay=0.1)
pytorch_optimizer.GrokFastAdamW(params, lr=0.1, normalize_lr=False)
    chain(grokfast(0.98, 2.0), adam(0.1, b2=0.99))
grokfast_pytorch.GrokFastAdamW(params, lr=0.1, grokfast_alpha=0.8, weight_decay=0.1, normalize_lr=False) | falling
    chain(grokfast(0.8, 2.0), adamw(linear_schedule(0.1, 0.0, 20), b2=0.99, weight_decay=0.1, decay_convention="independent", peak_learning_rate=0.1))
pytorch_optimizer.GrokFastAdamW(params, lr=0.1, grokfast_alpha=0.8, grokfast_after_step=3, weight_decay=0.1) | falling
    none: steps before the filter begins, and a rate that is divided by the gain
pytorch_optimizer.MARS(params, lr=0.1)
    partition({"mars": mars(0.1), "adam": adamw(0.003, 0.9, 0.95, weight_decay=0.1)}, {"scalar": "adam", "bias": "adam", "kernel": "mars", "stack": "mars", "conv": "mars"})
pytorch_optimizer.MARS(params, lr=0.1, optimize_1d=True, weight_decay=0.1) | falling
    mars(linear_schedule(0.1, 0.0, 20), weight_decay=0.1)
pytorch_optimizer.MARS(params, lr=0.1, optimize_1d=True, mars_type="lion") | zeros
    mars_lion(0.1)
pytorch_optimizer.MARS(params, lr=0.1, optimize_1d=True, mars_type="shampoo") | matrices
    none: MARS with orthogonalized updates
pytorch_optimizer.Lion(params, lr=0.1, weight_decay=0.1, cautious=True) | falling
    chain(cautious(scale_by_lion(), xi=1.0), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
pytorch_optimizer.LaProp(params, lr=0.1, cautious=True)
    chain(cautious(scale_by_laprop(), xi=1.0), scale_by_learning_rate(0.1))
pytorch_optimizer.Grams(params, lr=0.1)
    chain(grams(scale_by_adam(eps=1e-6)), scale_by_learning_rate(0.1))
pytorch_optimizer.Grams(params, lr=0.1, weight_decay=0.1) | falling zeros
    chain(grams(scale_by_adam(eps=1e-6)), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
pytorch_optimizer.Adan(params, lr=0.1)
    adan(0.1, eps_root=0.0)
pytorch_optimizer.Adan(params, lr=0.1, weight_decay=0.1) | falling zeros
    chain(adan(linear_schedule(0.1, 0.0, 20), eps_root=0.0), scale_by_schedule(divide_schedules(constant_schedule(-1.0), linear_schedule(1.01, 1.0, 20))), add_decayed_weights(divide_schedules(linear_schedule(0.01, 0.0, 20), linear_schedule(1.01, 1.0, 20))), scale(-1.0))
pytorch_optimizer.Adan(params, lr=0.1, weight_decay=0.1, weight_decouple=True, max_grad_norm=1.0) | arrays
    chain(clip_by_global_norm(1.0), adan(0.1, eps_root=0.0, weight_decay=0.1))
averaged(torch.optim.SGD(params, lr=0.1), torch.optim.swa_utils.AveragedModel)
    swa(sgd(0.1))
averaged(torch.optim.SGD(params, lr=0.1), torch.optim.swa_utils.AveragedModel, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    ema_params(sgd(0.1), join_schedules([constant_schedule(0.0), constant_schedule(0.9)], [1]))
torch_optimizer.Lamb(params, lr=0.1)
    lamb(0.1, bias_correction=False, max_norm=10.0)
torch_optimizer.Lamb(params, lr=0.1, weight_decay=0.1, debias=True) | falling
    none: the bias is corrected after the trust ratio, which makes the first steps shorter
torch_optimizer.Lamb(params, lr=0.1, weight_decay=0.1, clamp_value=1.0) | zeros
    lamb(0.1, weight_decay=0.1, bias_correction=False, max_norm=1.0)
pytorch_optimizer.Lamb(params, lr=0.1, weight_decay=0.1)
    none: the rate is divided by 1 - b1^t after the trust ratio, so that the first step is ten times too long; the decay is outside
torch_optimizer.LARS(params, lr=1.0, momentum=0.9, trust_coefficient=0.02)
    sgd(1.0, momentum=0.9)
torch_optimizer.LARS(params, lr=1.0, momentum=0.9, trust_coefficient=0.02, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), scale_by_trust_ratio(trust_coefficient=0.02, eps=1e-8, weight_decay=0.1), trace(0.9), scale_by_learning_rate(linear_schedule(1.0, 0.0, 20)))
torch_optimizer.LARS(params, lr=1.0, momentum=0.9, trust_coefficient=0.02, weight_decay=0.1, nesterov=True) | zeros
    none: where all gradients of a leaf are zero, nothing decays
pytorch_optimizer.LARS(params, lr=1.0, trust_coefficient=0.02, weight_decay=0.1) | falling
    chain(masked(chain(add_decayed_weights(0.1), scale_by_trust_ratio(trust_coefficient=0.02, weight_decay=0.1)), {"scalar": False, "bias": False, "kernel": True, "stack": True, "conv": True}), trace(0.9), scale_by_learning_rate(linear_schedule(1.0, 0.0, 20)))
torch_optimizer.NovoGrad(params, lr=0.1)
    novograd(0.1, b1=0.95, b2=0.0, eps=1e-8)
torch_optimizer.NovoGrad(params, lr=0.1, betas=(0.9, 0.25), weight_decay=0.1) | falling
    novograd(linear_schedule(0.1, 0.0, 20), eps=1e-8, weight_decay=0.1)
torch_optimizer.NovoGrad(params, lr=0.1, betas=(0.95, 0.98), grad_averaging=True)
    chain(scale_by_novograd(0.95, 0.98), scale(0.05), scale_by_learning_rate(0.1))
pytorch_optimizer.NovoGrad(params, lr=0.1, weight_decay=0.1)
    novograd(0.1, b1=0.95, b2=0.98, eps=1e-8, weight_decay=0.1)
torch_optimizer.QHM(params, lr=0.1, momentum=0.9)
    qhm(0.1, 0.9, 0.7)
torch_optimizer.QHM(params, lr=0.1, momentum=0.9, nu=0.5, weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), qhm(linear_schedule(0.1, 0.0, 20), 0.9, 0.5))
torch_optimizer.QHM(params, lr=0.1, momentum=0.9, nu=0.5, weight_decay=0.1, weight_decay_type="direct") | falling
    chain(scale_by_qhm(0.9, 0.5), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
torch_optimizer.AggMo(params, lr=0.01)
    aggmo(0.01)
torch_optimizer.AggMo(params, lr=0.01, betas=(0.0, 0.5, 0.9, 0.99), weight_decay=0.1) | falling
    chain(add_decayed_weights(0.1), aggmo(linear_schedule(0.01, 0.0, 20), decays=(0.0, 0.5, 0.9, 0.99)))
torch_optimizer.AccSGD(params, lr=0.1)
    none: AccSGD is not in gradtx
torch_optimizer.AccSGD(params, lr=0.1, kappa=100.0, xi=5.0, weight_decay=0.1) | falling
    none: AccSGD is not in gradtx
torch_optimizer.PID(params, lr=0.01, momentum=0.9)
    none: PID is not in gradtx
torch_optimizer.PID(params, lr=0.01, momentum=0.9, dampening=0.1, weight_decay=0.1, integral=2.0, derivative=3.0) | falling
    none: PID is not in gradtx
torch_optimizer.SGDW(params, lr=0.1, momentum=0.9, weight_decay=0.1) | falling
    none: their decay takes the same number from every param, whatever it is: p - 0.1 * rate, not p - 0.1 * rate * p
torch_optimizer.MADGRAD(params, lr=0.1)
    madgrad(0.1)
torch_optimizer.MADGRAD(params, lr=0.1, momentum=0.0) | falling
    madgrad(linear_schedule(0.1, 0.0, 20), momentum=0.0)
torch_optimizer.MADGRAD(params, lr=0.1, momentum=0.5, weight_decay=0.1) | zeros
    madgrad(0.1, momentum=0.5, weight_decay=0.1)
torch_optimizer.A2GradUni(params, beta=10.0, lips=10.0)
    none: A2Grad is not in gradtx
torch_optimizer.A2GradInc(params, beta=10.0, lips=10.0)
    none: A2Grad is not in gradtx
torch_optimizer.A2GradExp(params, beta=10.0, lips=10.0, rho=0.5)
    none: A2Grad is not in gradtx
torch_optimizer.Lookahead(torch.optim.SGD(params, lr=0.1), k=3, alpha=0.5)
    none: the slow weights begin as the params after the first step, and are met in the steps 4, 7, ...; by the paper as the first params, and in the steps 3, 6, ...
pytorch_optimizer.Lookahead(torch.optim.SGD(params, lr=0.1), k=3, alpha=0.8)
    lookahead(sgd(0.1), 3, 0.8)
pytorch_optimizer.SGDW(params, lr=0.1, momentum=0.9, weight_decay=0.1) | falling
    sgdw(linear_schedule(0.1, 0.0, 20), momentum=0.9, weight_decay=0.1)
pytorch_optimizer.Tiger(params, lr=0.1, weight_decay=0.1) | falling
    tiger(linear_schedule(0.1, 0.0, 20), weight_decay=0.1)
    lion(linear_schedule(0.1, 0.0, 20), b1=0.965, b2=0.965, weight_decay=0.1)
pytorch_optimizer.SignSGD(params, lr=0.1, weight_decay=0.1) | falling
    chain(ema(0.9, debias=False), scale_by_sign(), add_decayed_weights(0.1), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
pytorch_optimizer.SM3(params, lr=0.1)
    chain(scale_by_sm3(b1=0.0, eps=1e-30), scale_by_learning_rate(0.1))
pytorch_optimizer.SM3(params, lr=0.1, momentum=0.9, beta=0.9) | falling
    none: with a beta the maximum is taken with the last one, too, which therefore never falls
pytorch_optimizer.SM3(params, lr=0.1) | arrays
    chain(scale_by_sm3(b1=0.0, eps=1e-30), scale_by_learning_rate(0.1))
pytorch_optimizer.SM3(params, lr=0.1, momentum=0.9, beta=0.9) | arrays zeros
    none: with a beta the maximum is taken with the last one, too, which therefore never falls
pytorch_optimizer.Fromage(params, lr=0.1) | falling
    fromage(linear_schedule(0.1, 0.0, 20))
pytorch_optimizer.Fromage(params, lr=0.1, p_bound=1.0)
    none: a bound on the norm of the params
muon.SingleDeviceMuon(params, lr=0.1, weight_decay=0.1) | matrices falling
    muon(linear_schedule(0.1, 0.0, 20), weight_decay=0.1, scaling="keller") | transposed
pytorch_optimizer.Muon(group(use_muon=True), lr=0.1) | matrices
    muon(0.1, weight_decay=0.0, scaling="keller") | transposed
pytorch_optimizer.Muon(group(use_muon=True), lr=0.1, nesterov=False, use_adjusted_lr=True, weight_decay=0.1) | matrices falling
    muon(linear_schedule(0.1, 0.0, 20), nesterov=False, weight_decay=0.1) | transposed
pytorch_optimizer.NorMuon(group(use_muon=True), lr=0.1) | matrices
    normuon(0.1, eps=1e-10, weight_decay=0.0, scaling="preserve_norm") | transposed
pytorch_optimizer.NorMuon(group(use_muon=True), lr=0.1, nesterov=False, update_scale="match_rms") | matrices falling
    normuon(linear_schedule(0.1, 0.0, 20), eps=1e-10, nesterov=False, weight_decay=0.0) | transposed
pytorch_optimizer.AdaMuon(group(use_muon=True), lr=0.1) | matrices
    none: the momentum is orthogonalized without taking its sign, as in the first version of the paper
pytorch_optimizer.SCION(params, lr=0.1) | matrices
    scion(0.1, radius=1.0) | transposed
pytorch_optimizer.SCION(params, lr=0.1, constraint=True, scale=3.0) | matrices falling
    scion(linear_schedule(0.1, 0.0, 20), constrained=True, radius=3.0) | transposed
pytorch_optimizer.SCION(params, lr=0.1, norm_type=pytorch_optimizer.optimizer.scion.LMONorm.SIGN) | matrices
    scion(0.1, norms={"*": "sign"}, sign_radius=1.0) | transposed
pytorch_optimizer.SPlus(params, lr=0.1) | squares
    chain(ema_params(splus(0.1, weight_decay=0.0)), scale(-0.9996666666666667), add_decayed_weights(0.0003333333333333), scale(-1.0))
pytorch_optimizer.SPlus(params, lr=0.1, inverse_steps=3, weight_decay=0.1, ema_rate=0.9) | squares
    chain(ema_params(splus(0.1, weight_decay=0.0, inverse_every=3), 0.9), scale(-0.9966666666666667), add_decayed_weights(0.0033333333333333), scale(-1.0))
pytorch_optimizer.Shampoo(params, lr=0.1) | matrices
    chain(scale_by_shampoo(None, relative_eps=False, precondition_frequency=1), scale_by_learning_rate(0.1))
pytorch_optimizer.Shampoo(params, lr=0.1, momentum=0.9, weight_decay=0.1, preconditioning_compute_steps=3) | squares
    none: its momentum is of gradients that are preconditioned already
torch_optimizer.Shampoo(params, lr=0.1) | matrices
    none: each factor is of gradients that those of the axes before have preconditioned
torch_optimizer.Shampoo(params, lr=0.1, momentum=0.9, weight_decay=0.1) | matrices falling
    none: each factor is of gradients that those of the axes before have preconditioned
torch_optimizer.Shampoo(params, lr=0.1) | arrays
    none: each factor is of gradients that those of the axes before have preconditioned
pytorch_optimizer.SOAP(params, lr=0.1, weight_decay=0.0) | squares
    chain(scale_by_soap(first_step="skip"), scale_by_learning_rate(0.1))
pytorch_optimizer.SOAP(params, lr=0.1, weight_decay=0.1, precondition_frequency=3) | squares falling
    chain(scale_by_soap(first_step="skip", precondition_frequency=3), scale_by_schedule(linear_schedule(0.99, 1.0, 20)), add_decayed_weights(linear_schedule(0.0, 0.1, 1)), scale_by_learning_rate(linear_schedule(0.1, 0.0, 20)))
pytorch_optimizer.SOAP(params, lr=0.1, correct_bias=False) | squares
    chain(scale_by_soap(first_step="skip", bias_correction=False), scale(0.999), add_decayed_weights(linear_schedule(0.0, 0.01, 1)), scale_by_learning_rate(0.1))
galore_torch.GaLoreAdamW(group(rank=2, update_proj_gap=50, scale=0.5, proj_type="std"), lr=0.1) | matrices
    galore(0.1, 2, 50, 0.5, base_optimizer=scale_by_adam(eps=1e-6), proj_type="std") | transposed 1e-4: eps is added before the bias is corrected
galore_torch.GaLoreAdamW(group(rank=1, update_proj_gap=50, scale=0.5, proj_type="std"), lr=0.1, weight_decay=0.1) | matrices falling
    chain(galore(linear_schedule(0.1, 0.0, 20), 1, 50, 0.5, base_optimizer=scale_by_adam(eps=1e-6), proj_type="std"), scale_by_schedule(linear_schedule(-0.99, -1.0, 20)), add_decayed_weights(linear_schedule(0.01, 0.0, 20)), scale(-1.0)) | transposed 1e-4: eps is added before the bias is corrected
apollo_torch.APOLLOAdamW(group(rank=2, update_proj_gap=50, scale=4.0, proj="svd", proj_type="std", scale_type="channel"), lr=0.1) | matrices
    apollo(0.1, 2, 50, 4.0, proj="svd") | transposed
apollo_torch.APOLLOAdamW(group(rank=1, update_proj_gap=50, scale=4.0, proj="svd", proj_type="std", scale_type="tensor"), lr=0.1, weight_decay=0.1) | matrices falling
    chain(apollo_mini(linear_schedule(0.1, 0.0, 20), 50, 4.0, proj="svd"), scale_by_schedule(linear_schedule(-0.99, -1.0, 20)), add_decayed_weights(linear_schedule(0.01, 0.0, 20)), scale(-1.0)) | transposed
"""  # noqa: E501


class Row(NamedTuple):
    """A recorded run, what gradtx calls it, and how to compare them."""

    theirs: str
    ours: str
    words: str

    @property
    def tolerance(self) -> float:
        return next((float(word.rstrip(":")) for word in self.words.split() if word[0].isdigit()), 1e-5)


def rows() -> list[Row]:
    found, theirs = [], ""
    for line in ROWS.strip().split("\n"):
        if line.startswith(" "):
            ours, _, words = line.strip().partition(" | ")
            found.append(Row(theirs, ours, words))
        else:
            theirs = line
    return found


def recorded() -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of the problem; and of each run the params after the steps of `KEPT`, by leaf."""
    with np.load(DATA) as file:
        arrays = dict(file)
    start = {name[6:]: x for name, x in arrays.items() if name.startswith("start/")}
    runs, at = {}, 0
    for text in json.loads(str(arrays["paths"])):
        leaves = leaves_of(text)
        size = len(KEPT) * sum(start[k].size for k in leaves)
        whole = arrays["data"][at : at + size].reshape(len(KEPT), -1)
        parts = np.split(whole, np.cumsum([start[k].size for k in leaves])[:-1], axis=1)
        runs[text] = {k: x.reshape(len(KEPT), *start[k].shape) for k, x in zip(leaves, parts, strict=True)}
        at += size
    assert at == len(arrays["data"])
    return arrays, runs


def flags(theirs: str) -> list[str]:
    return theirs.partition(" | ")[2].split()


def leaves_of(theirs: str) -> tuple[str, ...]:
    return next((KINDS[word] for word in flags(theirs) if word in KINDS), USUAL)


ARRAYS, RUNS = recorded()
READERS = (gradtx.averaged_params, gradtx.schedule_free_eval_params, gradtx.asgd_params)


def used(state: Any, params: Any) -> Any:
    """The weights to use, from whatever in the state keeps them."""
    for read in READERS:
        with contextlib.suppress(gradtx.errors.UnknownNameError):
            return read(state, params)
    raise AssertionError("no average in the state")


def turned(x: Any, row: Row) -> Any:
    return x.swapaxes(-1, -2) if "transposed" in row.words and np.ndim(x) > 1 else x


def follow(row: Row) -> dict[str, list[Any]]:
    """The params after the steps of `KEPT`, and the weights to use, by the names of the recorded runs.

    One operation after another: a program of all of them would be compiled for a single use.
    """
    tx = gradtx.parse(row.ours)
    params = {k: jnp.asarray(turned(ARRAYS[f"start/{k}"], row)) for k in RUNS[row.theirs]}
    state, paths = tx.init(params), {name: [] for name in (row.theirs, f"{row.theirs} @") if name in RUNS}
    for t in range(KEPT[-1]):
        grads = {k: ARRAYS[f"grads/{k}"][t] + PULL * turned(np.asarray(p), row) for k, p in params.items()}
        if "zeros" in flags(row.theirs):
            grads = {k: np.asarray(g * (t != 4)) for k, g in grads.items()}
            for g in grads.values():
                g.reshape(-1)[: int(g.ndim > 0)] = 0.0
        grads = {k: jnp.asarray(turned(g, row)) for k, g in grads.items()}
        updates, state = tx.update(grads, state, params, value=jnp.asarray(ARRAYS["values"][t]))
        params = gradtx.apply_updates(params, updates)
        for name, path in paths.items() if t + 1 in KEPT else ():
            path.append(used(state, params) if name.endswith("@") else params)
    return paths


def distance(row: Row) -> float:
    """How far gradtx is from what was recorded, relative to the way each leaf has gone."""
    apart = [0.0]
    for name, path in follow(row).items():
        for k, theirs in RUNS[name].items():
            ours = np.stack([turned(np.asarray(p[k]), row) for p in path])
            gone = np.max(np.abs(theirs - ARRAYS[f"start/{k}"]))
            apart.append(float(np.max(np.abs(ours - theirs)) / gone))
    return max(apart)


@pytest.mark.parametrize("row", [row for row in rows() if not row.ours.startswith("none:")], ids=lambda row: row.theirs)
def test_gradtx_takes_the_steps(row: Row) -> None:
    with x64_mode(), jax.disable_jit():
        apart = distance(row)
    assert apart <= row.tolerance


def test_every_run_has_a_row() -> None:
    assert {row.theirs for row in rows()} == {name for name in RUNS if not name.endswith("@")}


def test_every_row_without_a_counterpart_says_why() -> None:
    assert [row for row in rows() if row.ours.startswith("none:") and len(row.ours.split()) < 4] == []


def test_what_is_said_to_be_missing_is_missing() -> None:
    missing = {row.ours.split()[1].lower() for row in rows() if row.ours.endswith("is not in gradtx")}
    assert missing & set(gradtx.registry()) == set(), "write what takes these steps now into ROWS"


def test_every_rougher_row_says_why() -> None:
    assert [row for row in rows() if row.tolerance != 1e-5 and ":" not in row.words] == []
