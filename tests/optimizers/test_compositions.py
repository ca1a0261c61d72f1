"""Optimizers are the compositions their documentation says, with every argument where it belongs."""

import jax
import numpy as np
import pytest

import gradtx
from gradtx import chain, scale_by_learning_rate
from tests.trajectories import SHAPES, SINGLE, Problem, run_eagerly

MOMENTS = {"b1": 0.8, "b2": 0.9, "eps": 1e-3, "eps_root": 1e-5}
RATE = scale_by_learning_rate(0.5)
DECAY = gradtx.add_decayed_weights(0.25, "kernel")

COMPOSITIONS = {
    "sgd": (gradtx.sgd(0.5), RATE),
    "sgd with momentum": (
        gradtx.sgd(0.5, 0.8, nesterov=True, accumulator_dtype="bfloat16"),
        chain(gradtx.trace(0.8, nesterov=True, accumulator_dtype="bfloat16"), RATE),
    ),
    "adam": (
        gradtx.adam(0.5, **MOMENTS, mu_dtype="bfloat16", nesterov=True),
        chain(gradtx.scale_by_adam(**MOMENTS, mu_dtype="bfloat16", nesterov=True), RATE),
    ),
    "adamw": (
        gradtx.adamw(0.5, **MOMENTS, mu_dtype="bfloat16", weight_decay=0.25, mask="kernel", nesterov=True),
        chain(gradtx.scale_by_adam(**MOMENTS, mu_dtype="bfloat16", nesterov=True), DECAY, RATE),
    ),
    "adamw, independent": (
        gradtx.adamw(0.5, weight_decay=0.25, decay_convention="independent", peak_learning_rate=0.25),
        chain(gradtx.scale_by_adam(), gradtx.add_decayed_weights(1.0), RATE),
    ),
    "nadam": (
        gradtx.nadam(0.5, **MOMENTS, mu_dtype="bfloat16"),
        chain(gradtx.scale_by_adam(**MOMENTS, mu_dtype="bfloat16", nesterov=True), RATE),
    ),
    "madgrad": (
        gradtx.madgrad(0.5, 0.8, 0.25, 1e-3),
        chain(gradtx.add_decayed_weights(0.25), gradtx.scale_by_madgrad(0.5, 0.8, 1e-3)),
    ),
    "came": (
        gradtx.came(0.5, 0.8, 0.9, 0.95, 1e-3, 1e-5, 2.0, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_came(0.8, 0.9, 0.95, 1e-3, 1e-5, 2.0, "bfloat16"), DECAY, RATE),
    ),
    "dadapt_adamw": (
        gradtx.dadapt_adamw(0.5, (0.8, 0.9), 0.01, 0.1, 0.25, mask="kernel", growth_rate=1.5, bias_correction=False),
        chain(
            gradtx.scale_by_dadapt_adam(0.5, 0.8, 0.9, 0.01, 0.1, 0.25,
                                        mask="kernel", growth_rate=1.5, bias_correction=False),
            gradtx.scale(-1.0),
        ),
    ),
    "dadapt_sgd": (
        gradtx.dadapt_sgd(0.5, 0.8, 0.1, 0.25, mask="kernel", growth_rate=1.5),
        chain(
            DECAY,
            gradtx.scale_by_dadapt_sgd(0.5, 0.1, growth_rate=1.5),
            gradtx.ema(0.8, debias=False),
            gradtx.scale(-1.0),
        ),
    ),
    "dadapt_adagrad": (
        gradtx.dadapt_adagrad(0.5, 0.8, 0.01, 0.1, 0.3, 0.25, mask="kernel", growth_rate=1.5),
        chain(
            DECAY,
            gradtx.scale_by_dadapt_adagrad(0.5, 0.01, 0.1, 0.3, growth_rate=1.5),
            gradtx.ema(0.8, debias=False),
            gradtx.scale(-1.0),
        ),
    ),
    "dadapt_lion": (
        gradtx.dadapt_lion(0.5, (0.8, 0.9), 0.1, 0.25, mask="kernel", growth_rate=1.5),
        chain(
            gradtx.scale_by_dadapt_lion(0.5, 0.8, 0.9, 0.1, 0.25, mask="kernel", growth_rate=1.5),
            gradtx.scale(-1.0),
        ),
    ),
    "dadapt_adan": (
        gradtx.dadapt_adan(0.5, (0.8, 0.7, 0.9), 0.01, 0.1, 0.25, mask="kernel", growth_rate=1.5),
        chain(
            gradtx.scale_by_dadapt_adan(0.5, 0.8, 0.7, 0.9, 0.01, 0.1, 0.25, mask="kernel", growth_rate=1.5),
            gradtx.scale(-1.0),
        ),
    ),
    "prodigy": (
        gradtx.prodigy(0.5, (0.8, 0.9), 0.7, 0.01, 0.1, 2.0, 0.25, True,
                       weight_decay_mask="kernel", growth_rate=1.5, bias_correction=False),
        chain(
            gradtx.scale_by_prodigy(0.5, 0.8, 0.9, 0.7, 0.01, 0.1, 2.0, 0.25, True,
                                    weight_decay_mask="kernel", growth_rate=1.5, bias_correction=False),
            gradtx.scale(-1.0),
        ),
    ),
    "nadam, growing": (
        gradtx.nadam(0.5, **MOMENTS, mu_dtype="bfloat16", momentum_decay=0.5),
        chain(gradtx.scale_by_nadam(**MOMENTS, mu_dtype="bfloat16", momentum_decay=0.5), RATE),
    ),
    "adam_mini": (
        gradtx.adam_mini(0.5, {"kernel": 0}, **MOMENTS, mu_dtype="bfloat16", weight_decay=0.25, mask="kernel"),
        chain(gradtx.scale_by_adam_mini({"kernel": 0}, **MOMENTS, mu_dtype="bfloat16"), DECAY, RATE),
    ),
    "adabound": (
        gradtx.adabound(0.5, 0.8, 0.9, 1e-3, 3.0, 0.1, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_adabound(0.8, 0.9, 1e-3, 3.0, 0.1, "bfloat16"), DECAY, RATE),
    ),
    "amsbound": (
        gradtx.amsbound(0.5, 0.8, 0.9, 1e-3, 3.0, 0.1, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_amsbound(0.8, 0.9, 1e-3, 3.0, 0.1, "bfloat16"), DECAY, RATE),
    ),
    "adamp": (
        gradtx.adamp(0.5, 0.8, 0.9, 1e-3, "bfloat16", 0.25, 0.2, 0.3, output_axis=0),
        chain(
            gradtx.tangential(
                gradtx.scale_by_adam(0.8, 0.9, 1e-3, mu_dtype="bfloat16"), 0.2, 0.25, 0.3, 1e-3, output_axis=0
            ),
            RATE,
        ),
    ),
    "sgdp": (
        gradtx.sgdp(0.5, 0.75, True, "bfloat16", 0.25, 0.2, 0.3, output_axis=0),
        chain(gradtx.tangential(gradtx.trace(0.75, True, "bfloat16"), 0.2, 1.0, 0.3, output_axis=0), RATE),
    ),
    "sgdw": (
        gradtx.sgdw(0.5, 0.8, True, "bfloat16", 0.25, "kernel", dampening=0.5),
        chain(
            gradtx.scale(gradtx.piecewise_constant_schedule(1.0, {1: 0.5})),
            gradtx.trace(0.8, True, "bfloat16"),
            DECAY,
            RATE,
        ),
    ),
    "aggmo": (
        gradtx.aggmo(0.5, (0.0, 0.8), "bfloat16"),
        chain(gradtx.scale_by_aggmo((0.0, 0.8), "bfloat16"), RATE),
    ),
    "asgd": (
        gradtx.asgd(0.5, 0.1, 0.6, 2.0),
        chain(gradtx.add_decayed_weights(0.1), gradtx.scale_by_asgd(0.5, 0.1, 0.6, 2.0)),
    ),
    "tiger": (
        gradtx.tiger(0.5, 0.8, "bfloat16", 0.25, "kernel"),
        chain(gradtx.ema(0.8, debias=False, accumulator_dtype="bfloat16"), gradtx.scale_by_sign(), DECAY, RATE),
    ),
    "rprop": (
        gradtx.rprop(0.5, 0.4, 1.5, 0.01, 2.0),
        chain(gradtx.scale_by_rprop(0.5, 0.4, 1.5, 0.01, 2.0), gradtx.scale(-1.0)),
    ),
    "sm3": (gradtx.sm3(0.5, 0.8), chain(gradtx.scale_by_sm3(0.8), RATE)),
    "adamax": (gradtx.adamax(0.5, 0.8, 0.9, 0.01), chain(gradtx.scale_by_adamax(0.8, 0.9, 0.01), RATE)),
    "adamaxw": (
        gradtx.adamaxw(0.5, 0.8, 0.9, 0.01, 0.25, "kernel"),
        chain(gradtx.scale_by_adamax(0.8, 0.9, 0.01), DECAY, RATE),
    ),
    "adafactor": (
        gradtx.adafactor(0.5, 2, 0.7, 1.0, False, 2.0, 0.9, "bfloat16", 0.25, 1e-3, True, "kernel"),
        chain(
            gradtx.scale_by_factored_rms(True, 0.7, 1.0, 2, 1e-3),
            gradtx.clip_by_block_rms(2.0),
            gradtx.scale_by_learning_rate(0.5, flip_sign=False),
            gradtx.ema(0.9, debias=False, accumulator_dtype="bfloat16"),
            DECAY,
            gradtx.scale(-1.0),
        ),
    ),
    "amsgrad": (
        gradtx.amsgrad(0.5, **MOMENTS, mu_dtype="bfloat16", bias_correction="after_max"),
        chain(gradtx.scale_by_amsgrad(**MOMENTS, mu_dtype="bfloat16", bias_correction="after_max"), RATE),
    ),
    "adabelief": (
        gradtx.adabelief(0.5, **MOMENTS, nesterov=True),
        chain(gradtx.scale_by_belief(**MOMENTS, nesterov=True), RATE),
    ),
    "adabelief, rectified and decayed": (
        gradtx.adabelief(0.5, **MOMENTS, rectify=True, weight_decay=0.25, weight_decay_mask="kernel"),
        chain(gradtx.scale_by_belief(**MOMENTS, rectify=True), DECAY, RATE),
    ),
    "yogi": (
        gradtx.yogi(0.5, **MOMENTS, initial_accumulator_value=0.01),
        chain(gradtx.scale_by_yogi(**MOMENTS, initial_accumulator_value=0.01), RATE),
    ),
    "radam": (
        gradtx.radam(0.5, **MOMENTS, threshold=4.5, nesterov=True, below_threshold="none"),
        chain(
            gradtx.scale_by_rectified_adam(**MOMENTS, threshold=4.5, nesterov=True, below_threshold="none"),
            RATE,
        ),
    ),
    "adan": (
        gradtx.adan(0.5, **MOMENTS, b3=0.7, weight_decay=0.25, mask="kernel"),
        chain(gradtx.scale_by_adan(**MOMENTS, b3=0.7), DECAY, RATE),
    ),
    "adopt": (
        gradtx.adopt(0.5, 0.8, 0.9, 1e-3, "bfloat16", nesterov=True, use_clipping=False, clip_value_fn=2.0),
        chain(
            gradtx.scale_by_adopt(0.8, 0.9, 1e-3, "bfloat16", nesterov=True, use_clipping=False, clip_value_fn=2.0),
            RATE,
        ),
    ),
    "mars": (
        gradtx.mars(0.5, 0.8, 0.9, 0.01, 0.1, 2.0, 0.25, "kernel", "bfloat16"),
        chain(gradtx.mars_correction(0.8, 0.1, 2.0), gradtx.scale_by_adam(0.8, 0.9, 0.01, 0, "bfloat16"), DECAY, RATE),
    ),
    "mars_lion": (
        gradtx.mars_lion(0.5, 0.8, 0.1, 2.0, 0.25, "kernel", "bfloat16"),
        chain(
            gradtx.mars_correction(0.8, 0.1, 2.0),
            gradtx.ema(0.8, debias=False, accumulator_dtype="bfloat16"),
            gradtx.scale_by_sign(),
            DECAY,
            RATE,
        ),
    ),
    "schedule_free": (
        gradtx.schedule_free(gradtx.sgd(0.5), 0.5, 0.8, 1.5, "bfloat16"),
        chain(gradtx.sgd(0.5), gradtx.average_iterates(0.5, 0.8, 1.5, "bfloat16")),
    ),
    "schedule_free_sgd": (
        gradtx.schedule_free_sgd(0.5, None, 0.8, 0.25, 1.5, "bfloat16"),
        chain(gradtx.add_decayed_weights(0.25), RATE, gradtx.average_iterates(0.5, 0.8, 1.5, "bfloat16")),
    ),
    "schedule_free_adamw": (
        gradtx.schedule_free_adamw(0.5, None, 0.8, 0.9, 1e-3, 0.25, 1.5, "bfloat16"),
        chain(
            gradtx.scale_by_rms(0.9, 1e-3, eps_in_sqrt=False, bias_correction=True),
            gradtx.add_decayed_weights(0.25),
            RATE,
            gradtx.average_iterates(0.5, 0.8, 1.5, "bfloat16"),
        ),
    ),
    "schedule_free_radam": (
        gradtx.schedule_free_radam(0.5, 0.8, 0.9, 1e-3, 0.25, 1.5, "bfloat16"),
        gradtx.schedule_free_adamw(
            0.5 * gradtx.rectification_schedule(0.9), None, 0.8, 0.9, 1e-3, 0.25, 1.5, "bfloat16"
        ),
    ),
    "laprop": (
        gradtx.laprop(0.5, 0.8, 0.9, 1e-3, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_laprop(0.8, 0.9, 1e-3, "bfloat16"), DECAY, RATE),
    ),
    "acprop": (
        gradtx.acprop(0.5, **MOMENTS, weight_decay=0.25, mask="kernel"),
        chain(gradtx.scale_by_acprop(**MOMENTS), DECAY, RATE),
    ),
    "qhadam": (
        gradtx.qhadam(0.5, 0.8, 0.9, 0.6, 0.7, 1e-3, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_qhadam(0.8, 0.9, 0.6, 0.7, 1e-3, "bfloat16"), DECAY, RATE),
    ),
    "adamod": (
        gradtx.adamod(0.5, 0.8, 0.9, 0.7, 1e-3, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_adamod(0.8, 0.9, 0.7, 1e-3, "bfloat16"), DECAY, RATE),
    ),
    "diffgrad": (
        gradtx.diffgrad(0.5, 0.8, 0.9, 1e-3, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_diffgrad(0.8, 0.9, 1e-3, "bfloat16"), DECAY, RATE),
    ),
    "stable_adamw": (
        gradtx.stable_adamw(0.5, 0.8, 0.9, 1e-3, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_stable_adam(0.8, 0.9, 1e-3, "bfloat16", 0.25, "kernel"), RATE),
    ),
    "qhm": (gradtx.qhm(0.5, 0.8, 0.6), chain(gradtx.scale_by_qhm(0.8, 0.6), RATE)),
    "sign_sgd": (gradtx.sign_sgd(0.5), chain(gradtx.scale_by_sign(), RATE)),
    "signum": (
        gradtx.signum(0.5, 0.8, "bfloat16"),
        chain(gradtx.ema(0.8, debias=False, accumulator_dtype="bfloat16"), gradtx.scale_by_sign(), RATE),
    ),
    "ademamix": (
        gradtx.ademamix(0.5, **MOMENTS, b3=0.95, alpha=2.0, mu_dtype="bfloat16", weight_decay=0.25, mask="kernel"),
        chain(gradtx.scale_by_ademamix(**MOMENTS, b3=0.95, alpha=2.0, mu_dtype="bfloat16"), DECAY, RATE),
    ),
    "simplified_ademamix": (
        gradtx.simplified_ademamix(0.5, **MOMENTS, alpha=2.0, weight_decay=0.25, mask="kernel"),
        chain(gradtx.scale_by_simplified_ademamix(**MOMENTS, alpha=2.0), DECAY, RATE),
    ),
    "lion": (
        gradtx.lion(0.5, 0.8, 0.9, "bfloat16", 0.25, "kernel"),
        chain(gradtx.scale_by_lion(0.8, 0.9, "bfloat16"), DECAY, RATE),
    ),
    "dog": (
        gradtx.dog(0.5, ("distance", 0.1), 1e-3, 0.25, "kernel"),
        chain(DECAY, gradtx.scale_by_dog("distance", 0.1, 1e-3), RATE),
    ),
    "dowg": (
        gradtx.dowg(0.5, 0.1, 1e-3, 0.25, "kernel"),
        chain(DECAY, gradtx.scale_by_dowg(0.1, 1e-3), RATE),
    ),
    "cocob": (
        gradtx.cocob(0.5, 10.0, 1e-3, 0.25, "kernel"),
        chain(DECAY, scale_by_learning_rate(0.5, flip_sign=False), gradtx.scale_by_cocob(10.0, 1e-3)),
    ),
    "kt": (gradtx.kt(0.01, 0.25, "kernel"), chain(DECAY, gradtx.scale_by_kt(0.01))),
    "lamb": (
        gradtx.lamb(0.5, **MOMENTS, weight_decay=0.25, mask="kernel", bias_correction=False, max_norm=2.0,
                    trust_ratio_mask="*a*"),
        chain(
            gradtx.scale_by_adam(**MOMENTS, bias_correction=False),
            DECAY,
            gradtx.masked(gradtx.scale_by_trust_ratio(max_norm=2.0), "*a*"),
            RATE,
        ),
    ),
    "lars": (
        gradtx.lars(0.5, 0.25, "kernel", 0.1, 0.01, "*a*", 0.8, nesterov=True),
        chain(
            DECAY,
            gradtx.masked(gradtx.scale_by_trust_ratio(0.0, 0.1, 0.01), "*a*"),
            RATE,
            gradtx.trace(0.8, nesterov=True),
        ),
    ),
    "lars, sum of norms": (
        gradtx.lars(0.5, 0.25, trust_coefficient=0.1, eps=0.01, momentum=0.8, denominator="sum_of_norms"),
        chain(
            gradtx.add_decayed_weights(0.25),
            gradtx.scale_by_trust_ratio(0.0, 0.1, 0.01, weight_decay=0.25),
            RATE,
            gradtx.trace(0.8),
        ),
    ),
    "fromage": (
        gradtx.fromage(0.5, 0.01),
        chain(gradtx.scale_by_trust_ratio(0.01), RATE, gradtx.compensate_growth(0.5)),
    ),
    "novograd": (
        gradtx.novograd(0.5, **MOMENTS, weight_decay=0.25),
        chain(gradtx.scale_by_novograd(**MOMENTS, weight_decay=0.25), RATE),
    ),
    "optimistic_gradient_descent": (
        gradtx.optimistic_gradient_descent(0.5, 0.6, 0.7),
        chain(gradtx.scale_by_optimistic_gradient(0.6, 0.7), RATE),
    ),
    "optimistic_adam": (
        gradtx.optimistic_adam(0.5, alpha=0.6, beta=0.7, **MOMENTS, mu_dtype="bfloat16", nesterov=False),
        chain(
            gradtx.scale_by_adam(**MOMENTS, mu_dtype="bfloat16"), gradtx.scale_by_optimistic_gradient(0.6, 0.7), RATE
        ),
    ),
    "adagrad": (
        gradtx.adagrad(0.5, initial_accumulator_value=0.3, eps=0.01, eps_in_sqrt=False),
        chain(gradtx.scale_by_rss(initial_accumulator_value=0.3, eps=0.01, eps_in_sqrt=False), RATE),
    ),
    "rmsprop": (
        gradtx.rmsprop(0.5, 0.8, eps=0.01, initial_scale=0.3, eps_in_sqrt=False, bias_correction=True),
        chain(gradtx.scale_by_rms(0.8, eps=0.01, initial_scale=0.3, eps_in_sqrt=False, bias_correction=True), RATE),
    ),
    "rmsprop, centered, with momentum": (
        gradtx.rmsprop(0.5, 0.8, eps=0.01, initial_scale=0.3, eps_in_sqrt=False, bias_correction=True, centered=True,
                       momentum=0.7, nesterov=True),
        chain(
            gradtx.scale_by_stddev(0.8, eps=0.01, initial_scale=0.3, eps_in_sqrt=False, bias_correction=True),
            RATE,
            gradtx.trace(0.7, nesterov=True),
        ),
    ),
    "adadelta": (
        gradtx.adadelta(0.5, rho=0.8, eps=0.01, weight_decay=0.25, weight_decay_mask="kernel"),
        chain(DECAY, gradtx.scale_by_adadelta(rho=0.8, eps=0.01), RATE),
    ),
    "ranger": (
        gradtx.ranger(0.5, b1=0.8, b2=0.9, eps=0.01, weight_decay=0.25, mask="kernel", sync_period=3,
                      slow_step_size=0.75, threshold=4.5, output_axis=0),
        gradtx.lookahead(
            chain(
                gradtx.centralize(0),
                gradtx.scale_by_rectified_adam(b1=0.8, b2=0.9, eps=0.01, threshold=4.5),
                DECAY,
                RATE,
            ),
            3,
            0.75,
        ),
    ),
}  # fmt: skip

DEFAULTS = {
    "dadapt_adamw": (gradtx.dadapt_adamw(), chain(gradtx.scale_by_dadapt_adam(), gradtx.scale(-1.0))),
    "dadapt_sgd": (
        gradtx.dadapt_sgd(),
        chain(gradtx.add_decayed_weights(), gradtx.scale_by_dadapt_sgd(), gradtx.scale(-1.0)),
    ),
    "dadapt_adagrad": (
        gradtx.dadapt_adagrad(),
        chain(gradtx.add_decayed_weights(), gradtx.scale_by_dadapt_adagrad(), gradtx.scale(-1.0)),
    ),
    "dadapt_lion": (gradtx.dadapt_lion(), chain(gradtx.scale_by_dadapt_lion(), gradtx.scale(-1.0))),
    "dadapt_adan": (gradtx.dadapt_adan(), chain(gradtx.scale_by_dadapt_adan(), gradtx.scale(-1.0))),
    "prodigy": (gradtx.prodigy(), chain(gradtx.scale_by_prodigy(), gradtx.scale(-1.0))),
    "lbfgs": (
        gradtx.lbfgs(),
        chain(
            gradtx.scale_by_lbfgs(),
            gradtx.scale(-1.0),
            gradtx.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one"),
        ),
    ),
    "polyak_sgd": (gradtx.polyak_sgd(), chain(scale_by_learning_rate(1.0), gradtx.scale_by_polyak())),
    "sophia": (
        gradtx.sophia(0.5),
        chain(gradtx.scale_by_sophia(), gradtx.add_decayed_weights(1e-4), RATE),
    ),
    "dpsgd": (
        gradtx.dpsgd(0.5, 1.0, 0.25),
        chain(gradtx.differentially_private_aggregate(1.0, 0.25), gradtx.sgd(0.5)),
    ),
    "noisy_sgd": (gradtx.noisy_sgd(0.5), chain(gradtx.add_noise(0.01, 0.55), RATE)),
    "adam": (gradtx.adam(0.5), chain(gradtx.scale_by_adam(), RATE)),
    "adamw": (gradtx.adamw(0.5), chain(gradtx.scale_by_adam(), gradtx.add_decayed_weights(1e-4), RATE)),
    "adan": (
        gradtx.adan(0.5),
        chain(gradtx.scale_by_adan(eps_root=1e-8), gradtx.add_decayed_weights(), RATE),
    ),
    "adopt": (gradtx.adopt(0.5), chain(gradtx.scale_by_adopt(), RATE)),
    "laprop": (gradtx.laprop(0.5), chain(gradtx.scale_by_laprop(), gradtx.add_decayed_weights(), RATE)),
    "acprop": (gradtx.acprop(0.5), chain(gradtx.scale_by_acprop(), gradtx.add_decayed_weights(), RATE)),
    "qhadam": (gradtx.qhadam(0.5), chain(gradtx.scale_by_qhadam(), gradtx.add_decayed_weights(), RATE)),
    "adamod": (gradtx.adamod(0.5), chain(gradtx.scale_by_adamod(), gradtx.add_decayed_weights(), RATE)),
    "diffgrad": (gradtx.diffgrad(0.5), chain(gradtx.scale_by_diffgrad(), gradtx.add_decayed_weights(), RATE)),
    "stable_adamw": (gradtx.stable_adamw(0.5), chain(gradtx.scale_by_stable_adam(weight_decay=0.01), RATE)),
    "qhm": (gradtx.qhm(0.5), chain(gradtx.scale_by_qhm(), RATE)),
    "sign_sgd": (gradtx.sign_sgd(0.5), chain(gradtx.scale_by_sign(), RATE)),
    "signum": (gradtx.signum(0.5), chain(gradtx.ema(0.9, debias=False), gradtx.scale_by_sign(), RATE)),
    "ademamix": (
        gradtx.ademamix(0.5),
        chain(gradtx.scale_by_ademamix(alpha=5.0), gradtx.add_decayed_weights(), RATE),
    ),
    "simplified_ademamix": (
        gradtx.simplified_ademamix(0.5),
        chain(gradtx.scale_by_simplified_ademamix(), gradtx.add_decayed_weights(), RATE),
    ),
    "nadam": (gradtx.nadam(0.5), chain(gradtx.scale_by_adam(nesterov=True), RATE)),
    "madgrad": (gradtx.madgrad(0.5), chain(gradtx.add_decayed_weights(), gradtx.scale_by_madgrad(0.5))),
    "came": (gradtx.came(0.5), chain(gradtx.scale_by_came(), gradtx.add_decayed_weights(), RATE)),
    "adam_mini": (
        gradtx.adam_mini(0.5, {"kernel": 0}),
        chain(gradtx.scale_by_adam_mini({"kernel": 0}), gradtx.add_decayed_weights(), RATE),
    ),
    "adabound": (gradtx.adabound(0.5), chain(gradtx.scale_by_adabound(), gradtx.add_decayed_weights(), RATE)),
    "amsbound": (gradtx.amsbound(0.5), chain(gradtx.scale_by_amsbound(), gradtx.add_decayed_weights(), RATE)),
    "adamp": (gradtx.adamp(0.5), chain(gradtx.tangential(gradtx.scale_by_adam()), RATE)),
    "sgdp": (gradtx.sgdp(0.5), chain(gradtx.tangential(gradtx.trace(0.9)), RATE)),
    "sgdw": (gradtx.sgdw(0.5), chain(gradtx.trace(0.9), gradtx.add_decayed_weights(1e-4), RATE)),
    "aggmo": (gradtx.aggmo(0.5), chain(gradtx.scale_by_aggmo(), RATE)),
    "asgd": (gradtx.asgd(0.5), chain(gradtx.add_decayed_weights(1e-4), gradtx.scale_by_asgd(0.5))),
    "tiger": (
        gradtx.tiger(0.5),
        chain(gradtx.ema(0.965, debias=False), gradtx.scale_by_sign(), gradtx.add_decayed_weights(0.01), RATE),
    ),
    "rprop": (gradtx.rprop(0.5), chain(gradtx.scale_by_rprop(0.5), gradtx.scale(-1.0))),
    "sm3": (gradtx.sm3(0.5), chain(gradtx.scale_by_sm3(), RATE)),
    "adamax": (gradtx.adamax(0.5), chain(gradtx.scale_by_adamax(), RATE)),
    "adamaxw": (gradtx.adamaxw(0.5), chain(gradtx.scale_by_adamax(), gradtx.add_decayed_weights(1e-4), RATE)),
    "adafactor": (
        gradtx.adafactor(),
        chain(
            gradtx.scale_by_factored_rms(),
            gradtx.clip_by_block_rms(1.0),
            gradtx.scale_by_param_block_rms(),
            gradtx.scale(-1.0),
        ),
    ),
    "amsgrad": (gradtx.amsgrad(0.5), chain(gradtx.scale_by_amsgrad(), RATE)),
    "adabelief": (gradtx.adabelief(0.5), chain(gradtx.scale_by_belief(), RATE)),
    "yogi": (gradtx.yogi(0.5), chain(gradtx.scale_by_yogi(), RATE)),
    "radam": (gradtx.radam(0.5), chain(gradtx.scale_by_rectified_adam(), RATE)),
    "lion": (gradtx.lion(0.5), chain(gradtx.scale_by_lion(), gradtx.add_decayed_weights(1e-3), RATE)),
    "lamb": (
        gradtx.lamb(0.5),
        chain(gradtx.scale_by_adam(eps=1e-6), gradtx.add_decayed_weights(), gradtx.scale_by_trust_ratio(), RATE),
    ),
    "lars": (
        gradtx.lars(0.5),
        chain(
            gradtx.add_decayed_weights(),
            gradtx.scale_by_trust_ratio(trust_coefficient=0.001),
            RATE,
            gradtx.trace(0.9),
        ),
    ),
    "fromage": (
        gradtx.fromage(0.5),
        chain(gradtx.scale_by_trust_ratio(1e-6), RATE, gradtx.compensate_growth(0.5)),
    ),
    "novograd": (gradtx.novograd(0.5), chain(gradtx.scale_by_novograd(eps=1e-6), RATE)),
    "optimistic_gradient_descent": (
        gradtx.optimistic_gradient_descent(0.5),
        chain(gradtx.scale_by_optimistic_gradient(), RATE),
    ),
    "optimistic_adam": (
        gradtx.optimistic_adam(0.5),
        chain(gradtx.scale_by_adam(nesterov=True), gradtx.scale_by_optimistic_gradient(), RATE),
    ),
    "adagrad": (gradtx.adagrad(0.5), chain(gradtx.scale_by_rss(), RATE)),
    "rmsprop": (gradtx.rmsprop(0.5), chain(gradtx.scale_by_rms(), RATE)),
    "adadelta": (
        gradtx.adadelta(),
        chain(gradtx.add_decayed_weights(), gradtx.scale_by_adadelta(), scale_by_learning_rate(1.0)),
    ),
    "ranger": (
        gradtx.ranger(),
        gradtx.lookahead(
            chain(
                gradtx.centralize(),
                gradtx.scale_by_rectified_adam(b1=0.95, eps=1e-5),
                gradtx.add_decayed_weights(),
                scale_by_learning_rate(1e-3),
            ),
            6,
            0.5,
        ),
    ),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_every_argument_goes_where_it_belongs(name):
    tx, composition = COMPOSITIONS[name]
    assert gradtx.expand(tx) == composition


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_the_parts(name):
    tx, composition = DEFAULTS[name]
    assert gradtx.expand(tx) == composition


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_state_and_updates_are_those_of_the_composition_to_the_bit(name):
    params, grads = Problem(SHAPES[0], 2).draw(SINGLE, steps=7)
    ours, theirs = (run_eagerly(tx, params, grads) for tx in COMPOSITIONS[name])
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_every_optimizer_is_here():
    registry = gradtx.registry().items()
    optimizers = {name for name, factory in registry if factory.kind == "optimizer" and "." not in name}
    assert optimizers - {"ranger", *DEFAULTS} == {"sgd", *ELSEWHERE}


OF_MATRICES = {
    "adamuon", "apollo", "apollo_mini", "dion", "galore", "kron", "muon", "normuon", "scion", "shampoo", "soap",
    "splus",
}  # fmt: skip
SCHEDULE_FREE = {"schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd"}
ELSEWHERE = OF_MATRICES | SCHEDULE_FREE | {"cocob", "dog", "dowg", "kt", "mars", "mars_lion", "momo", "momo_adam"}
"""Partitions, and chains whose members share a number: their own files compare them with references."""
