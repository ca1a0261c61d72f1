"""Known trajectories, to the nine digits they are printed with.

A scalar parameter of 1, gradients that do not depend on it, a learning rate of 0.1: the parameter after steps 1, 2, 3
and 7. Where libraries disagree on a method there is a row for each convention, and the way to write it here.
"""

import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import tree
from tests.trajectories import run_eagerly, x64

GRADIENTS = (0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25)
FALLING = (1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)


def before_correction(eps, b2=0.999):
    """The eps to give, by step, so that it acts as one added before the bias correction (TensorFlow, Keras, torch's
    RAdam): eps / sqrt(1 - b2^t)."""
    return lambda step: eps / jnp.sqrt(1 - b2 ** (step + 1))


def descend(tx):
    """A direction as an optimizer."""
    return gradtx.chain(tx, gradtx.scale_by_learning_rate(0.1))


def from_zero_mu(tx):
    """Yogi with its first moment from zero, as in the paper and TensorFlow; Optax begins it at 1e-6."""
    return gradtx.from_functions(lambda params: tree.set_field(tx.init(params), "mu", jnp.zeros_like), tx.update)


ELEMENTWISE = {
    "adam": (lambda: gradtx.adam(0.1), (0.900000002, 0.880850199, 0.846107431, 0.741563002)),
    "adam, eps 1e-3 after correction": (
        lambda: gradtx.adam(0.1, eps=1e-3),
        (0.900199601, 0.881096135, 0.846450738, 0.742200913),
    ),
    "adam, eps 1e-3 before correction (Keras)": (
        lambda: gradtx.adam(0.1, eps=before_correction(1e-3)),
        (0.905948349, 0.887784007, 0.854737790, 0.754090446),
    ),
    "adan (authors' code)": (
        lambda: gradtx.adan(0.1, eps_root=0.0),
        (0.900000002, 0.935274085, 0.928374482, 0.911195815),
    ),
    "adopt": (lambda: gradtx.adopt(0.1), (1.000000000, 1.006000000, 1.007399872, 0.998732970)),
    "acprop (Optax)": (lambda: gradtx.acprop(0.1), (0.950000000, 1.010000000, 0.963653276, 0.826596753)),
    "mars": (lambda: gradtx.mars(0.1), (0.900000001, 0.898508589, 0.873110106, 0.808313801)),
    "stable_adamw (optimi)": (
        lambda: gradtx.stable_adamw(0.1, weight_decay=0.0),
        (0.900000200, 0.880830017, 0.846000179, 0.751683246),
    ),
    "laprop": (lambda: gradtx.laprop(0.1), (0.900000000, 0.890931186, 0.864466846, 0.784014945)),
    "adabound": (
        lambda: gradtx.adabound(0.1, final_ratio=10.0, gamma=0.5),
        (0.900000063, 0.880850270, 0.846107519, 0.710145190),
    ),
    "adabound, b2 0.5": (
        lambda: gradtx.adabound(0.1, b2=0.5, final_ratio=10.0, gamma=0.5),
        (0.900000003, 0.879147219, 0.836567919, 0.682850207),
    ),
    "amsbound, b2 0.5": (
        lambda: gradtx.amsbound(0.1, b2=0.5, final_ratio=10.0, gamma=0.5),
        (0.900000003, 0.880661926, 0.847956145, 0.717343196),
    ),
    "aggmo": (lambda: gradtx.aggmo(0.1), (0.950000000, 0.948500000, 0.917565000, 0.770230184)),
    "asgd (torch)": (lambda: gradtx.asgd(0.1, 0.1, t0=2), (0.940000000, 0.960446840, 0.931278807, 0.843130266)),
    "sgd, dampened (torch)": (
        lambda: gradtx.sgd(0.1, 0.9, dampening=0.5),
        (0.950000000, 0.920000000, 0.883000000, 0.735986300),
    ),
    "sgdw": (lambda: gradtx.sgdw(0.1, weight_decay=0.1), (0.940000000, 0.915600000, 0.872944000, 0.671551470)),
    "tiger": (lambda: gradtx.tiger(0.1, weight_decay=0.0), (0.900000000, 0.800000000, 0.700000000, 0.300000000)),
    "tiger, decayed": (
        lambda: gradtx.tiger(0.1, weight_decay=0.1),
        (0.890000000, 0.781100000, 0.673289000, 0.252718827),
    ),
    "sign_sgd": (lambda: gradtx.sign_sgd(0.1), (0.900000000, 1.000000000, 0.900000000, 0.700000000)),
    "signum": (lambda: gradtx.signum(0.1), (0.900000000, 0.800000000, 0.700000000, 0.500000000)),
    "ademamix, alpha 2 (authors' code)": (
        lambda: gradtx.ademamix(0.1, alpha=2.0),
        (0.899980002, 0.880820499, 0.846055250, 0.741385873),
    ),
    "ademamix (Optax)": (lambda: gradtx.ademamix(0.1), (0.899950002, 0.880775949, 0.845976980, 0.741120179)),
    "ademamix, alpha 8": (
        lambda: gradtx.ademamix(0.1, alpha=8.0),
        (0.899920002, 0.880731398, 0.845898709, 0.740854485),
    ),
    "simplified_ademamix": (
        lambda: gradtx.simplified_ademamix(1e-3),
        (0.999000000, 0.998524176, 0.997403888, 0.991326776),
    ),
    "simplified_ademamix, b1 0.9, alpha 2": (
        lambda: gradtx.simplified_ademamix(0.1, b1=0.9, alpha=2.0),
        (0.700000006, 0.809805522, 0.600312637, -0.126330392),
    ),
    "adamw (torch, Optax)": (
        lambda: gradtx.adamw(0.1, weight_decay=0.1),
        (0.890000002, 0.861950199, 0.818587929, 0.683151968),
    ),
    # p <- 0.99 (p + u), as u <- -(-0.99 u + 0.01 p)
    "adamw, decay after the step (bitsandbytes)": (
        lambda: gradtx.chain(
            gradtx.adam(0.1), gradtx.scale(-0.99), gradtx.add_decayed_weights(0.01), gradtx.scale(-1.0)
        ),
        (0.891000002, 0.863131697, 0.820105039, 0.685641101),
    ),
    "rprop (torch)": (lambda: gradtx.rprop(0.1), (0.900000000, 0.900000000, 0.850000000, 0.724000000)),
    "madgrad": (lambda: gradtx.madgrad(0.1), (0.982900185, 0.982352035, 0.972218006, 0.922313443)),
    "adamax (torch, Optax)": (lambda: gradtx.adamax(0.1), (0.900000002, 0.884194723, 0.859421956, 0.793530444)),
    "adamaxw (Optax)": (
        lambda: gradtx.adamaxw(0.1, weight_decay=0.1),
        (0.890000002, 0.865294723, 0.831869009, 0.734057469),
    ),
    "nadam (Optax)": (lambda: gradtx.nadam(0.1), (0.852631582, 0.878847733, 0.833465592, 0.724645647)),
    "nadam (torch)": (
        lambda: gradtx.nadam(0.1, momentum_decay=0.004),
        (0.894354824, 0.942730823, 0.904304326, 0.810012958),
    ),
    "nadam (Keras)": (
        lambda: gradtx.nadam(0.1, eps=1e-7, momentum_decay=1.0),
        (0.893721241, 0.940122352, 0.903339081, 0.818078543),
    ),
    "radam (Optax)": (lambda: gradtx.radam(0.1), (0.950000000, 0.942105263, 0.929743640, 0.916935623)),
    "radam (torch)": (
        lambda: gradtx.radam(0.1, eps=before_correction(1e-8)),
        (0.950000000, 0.942105263, 0.929743640, 0.916935624),
    ),
    "radam (paper)": (
        lambda: gradtx.radam(0.1, threshold=4.0),
        (0.950000000, 0.942105263, 0.929743640, 0.916041088),
    ),
    "radam (authors' code)": (
        lambda: gradtx.radam(0.1, eps=before_correction(1e-8), below_threshold="none"),
        (1.000000000, 1.000000000, 1.000000000, 0.997923079),
    ),
    "radam, b2 = 0.9 (Optax)": (
        lambda: gradtx.radam(0.1, b2=0.9),
        (0.950000000, 0.942105263, 0.929743640, 0.898523784),
    ),
    "yogi (Optax)": (lambda: gradtx.yogi(0.1), (0.900396416, 0.881326882, 0.846752886, 0.742714444)),
    "yogi (TensorFlow addons)": (
        lambda: from_zero_mu(gradtx.yogi(0.1, eps=before_correction(1e-3))),
        (0.906124755, 0.887992025, 0.855011460, 0.754562110),
    ),
    "yogi (paper)": (
        lambda: from_zero_mu(descend(gradtx.scale_by_yogi(bias_correction=False))),
        (0.703140410, 0.626083710, 0.462822154, -0.131529001),
    ),
    "adabelief (Optax)": (lambda: gradtx.adabelief(0.1), (0.888888889, 0.868561378, 0.831248523, 0.717843035)),
    "adabelief (authors' code)": (
        lambda: gradtx.adabelief(0.1, rectify=True),
        (0.950000000, 0.942105263, 0.929743640, 0.916756993),
    ),
    "lion": (lambda: gradtx.lion(0.1, weight_decay=0.0), (0.900000000, 1.000000000, 0.900000000, 0.700000000)),
    "sgd, Nesterov's momentum": (
        lambda: gradtx.sgd(0.1, momentum=0.9, nesterov=True),
        (0.905000000, 0.921500000, 0.871350000, 0.664541735),
    ),
}

AFTER_A_LARGE_GRADIENT = {
    "adam": (lambda: gradtx.adam(0.1, b2=0.9), (0.900000001, 0.823949427, 0.757232185, 0.520039709)),
    "amsgrad (Optax)": (lambda: gradtx.amsgrad(0.1, b2=0.9), (0.900000001, 0.847368423, 0.810468054, 0.716460386)),
    "amsgrad (torch)": (
        lambda: gradtx.amsgrad(0.1, b2=0.9, bias_correction="after_max"),
        (0.900000001, 0.827452377, 0.766706704, 0.573387767),
    ),
    "amsgrad (paper)": (
        lambda: gradtx.amsgrad(0.1, b2=0.9, bias_correction="none"),
        (0.968377224, 0.936754449, 0.905131673, 0.778640571),
    ),
}

ROWS = [
    pytest.param(gradients, make, expected, id=name)
    for gradients, table in ((GRADIENTS, ELEMENTWISE), (FALLING, AFTER_A_LARGE_GRADIENT))
    for name, (make, expected) in table.items()
]


@pytest.mark.parametrize(("gradients", "make", "expected"), ROWS)
def test_trajectory(gradients, make, expected):
    with x64():
        updates, _, _ = run_eagerly(make(), np.ones(()), np.array(gradients))
    path = 1 + np.cumsum(updates)
    np.testing.assert_allclose(path[[0, 1, 2, 6]], expected, rtol=0, atol=5.001e-10)


def test_lookahead_around_gradient_descent():
    """(fast, slow) after each step of k = 3, alpha = 0.5."""
    expected = [(0.95, 1), (0.98, 1), (0.98, 0.98), (0.97, 0.98), (1.01, 0.98), (0.965, 0.965), (0.94, 0.965)]
    with x64():
        tx = gradtx.lookahead(gradtx.sgd(0.1), sync_period=3, slow_step_size=0.5)
        params, state, path = jnp.ones(()), None, []
        state = tx.init(params)
        for g in GRADIENTS:
            updates, state = tx.update(jnp.asarray(g), state, params)
            params = gradtx.apply_updates(params, updates)
            path.append((float(params), float(gradtx.lookahead_params(state))))
    np.testing.assert_allclose(path, expected, rtol=1e-14)
