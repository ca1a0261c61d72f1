"""Configurations of torch and Keras: the converted optimizer takes the steps of the original's published rule."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.cli.convert import Library, converted
from gradtx.cli.failure import CommandError
from tests.optimizers.matrix.references import KELLER
from tests.trajectories import x64

STEPS = 30
START = np.array([1.0, -2.0, 0.5])
GRADS = np.random.default_rng(0).normal(size=(STEPS, 3))


def path(tx):
    """The parameters after each step, in float32."""

    def step(carry, g):
        p, state = carry
        updates, state = tx.update(g, state, p)
        return (p + updates, state), p + updates

    p = jnp.asarray(START, jnp.float32)
    return jax.lax.scan(step, (p, tx.init(p)), jnp.asarray(GRADS, jnp.float32))[1]


def follow(rule):
    """The parameters after each step of ``rule(p, g, memory, t) -> p``."""
    p, memory, points = START, {}, []
    for t, g in enumerate(GRADS, start=1):
        p = rule(p, g, memory, t)
        points.append(p)
    return np.array(points)


def agree(text, rule, library=Library.TORCH, rtol=2e-5, skip=0):
    tx, _ = converted(library, text)
    assert gradtx.parse(repr(tx)) == tx
    np.testing.assert_allclose(path(tx)[skip:], follow(rule)[skip:], rtol=rtol, atol=2e-6)


# --- torch ------------------------------------------------------------------------------------------------------------


def torch_sgd(lr, momentum=0.0, dampening=0.0, wd=0.0, nesterov=False, sign=1):
    def rule(p, g, memory, t):
        g = sign * g + wd * p
        if momentum:
            memory["b"] = g if t == 1 else momentum * memory["b"] + (1 - dampening) * g
            g = g + momentum * memory["b"] if nesterov else memory["b"]
        return p - lr * g

    return rule


def torch_adam(lr, b1=0.9, b2=0.999, eps=1e-8, wd=0.0, decoupled=False, amsgrad=False):
    def rule(p, g, memory, t):
        if decoupled:
            p = p - lr * wd * p
        else:
            g = g + wd * p
        memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
        memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g * g
        memory["max"] = np.maximum(memory.get("max", 0), memory["v"])
        v = memory["max"] if amsgrad else memory["v"]
        return p - lr * memory["m"] / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return rule


def nadam(lr, b1=0.9, b2=0.999, eps=1e-8, psi=0.004, wd=0.0, decoupled=False):
    def rule(p, g, memory, t):
        p, g = (p - lr * wd * p, g) if decoupled else (p, g + wd * p)
        now, ahead = (b1 * (1 - 0.5 * 0.96 ** (psi * k)) for k in (t, t + 1))
        memory["product"] = memory.get("product", 1) * now
        memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
        memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g * g
        m = ahead * memory["m"] / (1 - memory["product"] * ahead) + (1 - now) * g / (1 - memory["product"])
        return p - lr * m / (np.sqrt(memory["v"] / (1 - b2**t)) + eps)

    return rule


def torch_rmsprop(lr, alpha, eps, momentum=0.0, centered=False):
    def rule(p, g, memory, t):
        memory["v"] = alpha * memory.get("v", 0) + (1 - alpha) * g * g
        memory["g"] = alpha * memory.get("g", 0) + (1 - alpha) * g
        root = np.sqrt(memory["v"] - centered * memory["g"] ** 2) + eps
        memory["b"] = momentum * memory.get("b", 0) + g / root
        return p - lr * memory["b"]

    return rule


def torch_adagrad(lr, lr_decay=0.0, eps=1e-10):
    def rule(p, g, memory, t):
        memory["s"] = memory.get("s", 0) + g * g
        return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(memory["s"]) + eps)

    return rule


def adadelta(lr, rho, eps, wd=0.0, decoupled=False):
    def rule(p, g, memory, t):
        g = g if decoupled else g + wd * p
        memory["g"] = rho * memory.get("g", 0) + (1 - rho) * g * g
        step = np.sqrt(memory.get("x", 0) + eps) / np.sqrt(memory["g"] + eps) * g
        memory["x"] = rho * memory.get("x", 0) + (1 - rho) * step * step
        return p - lr * (step + (wd * p if decoupled else 0))

    return rule


def adamax(lr, b1=0.9, b2=0.999, before=0.0, after=0.0, wd=0.0, decoupled=False):
    def rule(p, g, memory, t):
        p, g = (p - lr * wd * p, g) if decoupled else (p, g + wd * p)
        memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
        memory["v"] = np.maximum(b2 * memory.get("v", 0), np.abs(g) + before)
        return p - lr / (1 - b1**t) * memory["m"] / (memory["v"] + after)

    return rule


def torch_asgd(lr, lambd=1e-4, alpha=0.75, t0=1e6, wd=0.0):
    def rule(p, g, memory, t):
        eta, mu = memory.get("eta", lr), memory.get("mu", 1.0)
        p = p * (1 - lambd * eta) - eta * (g + wd * p)
        memory["ax"] = memory.get("ax", 0) + mu * (p - memory.get("ax", 0))
        memory["eta"] = lr / (1 + lambd * lr * t) ** alpha
        memory["mu"] = 1 / max(1, t - t0)
        return p

    return rule


def torch_rprop(lr, minus=0.5, plus=1.2, least=1e-6, largest=50):
    def rule(p, g, memory, t):
        sign = np.sign(g * memory.get("g", 0))
        size = memory.get("size", lr) * np.select([sign > 0, sign < 0], [plus, minus], 1)
        memory["size"] = np.clip(size, least, largest)
        memory["g"] = np.where(sign < 0, 0, g)
        return p - np.sign(memory["g"]) * memory["size"]

    return rule


def adafactor(lr, decay=0.8, d=1.0, least=1e-3, wd=0.0, tiny=0.0, added=0.0):
    def rule(p, g, memory, t):
        size = max(least, np.sqrt(np.mean(p**2)))
        p, b = p - lr * wd * p, 1 - t**-decay
        memory["v"] = b * memory.get("v", 0) + (1 - b) * (g * g + added)
        u = g / np.sqrt(np.maximum(memory["v"], tiny))
        return p - min(lr, t**-0.5) * size * u / max(1, np.sqrt(np.mean(u**2)) / d)

    return rule


TORCH = {
    "SGD(lr=0.1)": torch_sgd(0.1),
    "SGD(lr=0.1, momentum=0.9, weight_decay=0.01)": torch_sgd(0.1, 0.9, wd=0.01),
    "SGD(lr=0.1, momentum=0.9, nesterov=True)": torch_sgd(0.1, 0.9, nesterov=True),
    "SGD(lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.01)": torch_sgd(0.1, 0.9, 0.5, 0.01),
    "ASGD()": torch_asgd(0.01),
    "ASGD(lr=0.1, lambd=0.1, alpha=0.5, t0=3, weight_decay=0.1)": torch_asgd(0.1, 0.1, 0.5, 3, 0.1),
    "SGD(lr=0.1, momentum=0.9, weight_decay=0.1, maximize=True)": torch_sgd(0.1, 0.9, wd=0.1, sign=-1),
    "Adam(lr=0.01, betas=(0.8, 0.99), weight_decay=0.1)": torch_adam(0.01, 0.8, 0.99, wd=0.1),
    "Adam(lr=0.01, eps=0.1, amsgrad=True)": torch_adam(0.01, eps=0.1, amsgrad=True),
    "Adam(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)": torch_adam(0.01, wd=0.1, decoupled=True),
    "AdamW(lr=0.01)": torch_adam(0.01, wd=0.01, decoupled=True),
    "AdamW(lr=0.01, weight_decay=0.1, amsgrad=True)": torch_adam(0.01, wd=0.1, decoupled=True, amsgrad=True),
    "NAdam(weight_decay=0.1)": nadam(0.002, wd=0.1),
    "NAdam(lr=0.01, betas=(0.8, 0.9), eps=0.1, momentum_decay=0.5)": nadam(0.01, 0.8, 0.9, 0.1, 0.5),
    "NAdam(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)": nadam(0.01, wd=0.1, decoupled=True),
    "Adagrad(lr=0.1, lr_decay=0.5, eps=0.1)": torch_adagrad(0.1, 0.5, 0.1),
    "Adadelta(lr=0.5, rho=0.8, weight_decay=0.1)": adadelta(0.5, 0.8, 1e-6, 0.1),
    "Adamax(weight_decay=0.1)": adamax(0.002, wd=0.1),
    "Adamax(lr=0.01, betas=(0.8, 0.9), eps=0.1)": adamax(0.01, 0.8, 0.9, before=0.1),
    "Rprop()": torch_rprop(0.01),
    "Rprop(lr=0.1, etas=(0.8, 1.5), step_sizes=(0.05, 0.2))": torch_rprop(0.1, 0.8, 1.5, 0.05, 0.2),
    "Adafactor()": adafactor(0.01, tiny=1e-14),
    "Adafactor(lr=0.1, beta2_decay=-0.5, eps=(None, 3.0), d=0.5, weight_decay=0.1)": adafactor(0.1, 0.5, 0.5, 3.0, 0.1),
    "RMSprop(lr=0.01, eps=0.1)": torch_rmsprop(0.01, 0.99, 0.1),
    "RMSprop(lr=0.01, eps=0.1, alpha=0.9, momentum=0.5, centered=True)": torch_rmsprop(0.01, 0.9, 0.1, 0.5, True),
}


@pytest.mark.parametrize("text", TORCH)
def test_torch(text):
    agree(text, TORCH[text])


def test_torch_dampening_spares_the_first_gradient_only():
    tx, notes = converted(Library.TORCH, "SGD(lr=0.1, momentum=0.5, dampening=0.25)")
    assert tx == gradtx.sgd(0.1, 0.5, dampening=0.25)
    assert any("spares the first" in note for note in notes)
    assert converted(Library.TORCH, "SGD(lr=0.1, dampening=0.25)")[0] == gradtx.sgd(0.1)


@pytest.mark.parametrize("t0", [0, 5, 100])
def test_torch_asgd_averages(t0):
    tx, notes = converted(Library.TORCH, f"ASGD(lr=0.05, lambd=0.1, t0={t0})")
    p, memory = START, {}
    rule, state, q = (
        torch_asgd(0.05, 0.1, t0=t0),
        tx.init(jnp.asarray(START, jnp.float32)),
        jnp.asarray(START, jnp.float32),
    )
    for t, g in enumerate(GRADS, start=1):
        p = rule(p, g, memory, t)
        updates, state = tx.update(jnp.asarray(g, jnp.float32), state, q)
        q = q + updates
    np.testing.assert_allclose(gradtx.asgd_params(state), memory["ax"], rtol=2e-5, atol=2e-6)
    assert any("asgd_params" in note for note in notes)


def torch_muon(lr=1e-3, wd=0.1, momentum=0.95, nesterov=True, row=KELLER[0], eps=1e-7, steps=5, like_adamw=False):
    """As torch writes it, in float64 and with its matrices, [outputs, inputs]."""

    def rule(p, g, memory):
        memory["b"] = momentum * memory.get("b", 0) + (1 - momentum) * g
        x = (1 - momentum) * g + momentum * memory["b"] if nesterov else memory["b"]
        x = x / max(np.linalg.norm(x), eps)
        for _ in range(steps):
            gram = x @ x.T
            x = row[0] * x + (row[1] * gram + row[2] * gram @ gram) @ x
        outputs, inputs = p.shape
        factor = 0.2 * max(p.shape) ** 0.5 if like_adamw else max(1, outputs / inputs) ** 0.5
        return p - lr * wd * p - lr * factor * x

    return rule


MUON = {
    "Muon()": torch_muon(),
    "Muon(lr=0.1, momentum=0.8, ns_steps=3, weight_decay=0.0)": torch_muon(0.1, 0.0, 0.8, steps=3),
    "Muon(0.1, nesterov=False, adjust_lr_fn='match_rms_adamw')": torch_muon(0.1, nesterov=False, like_adamw=True),
    "Muon(0.1, ns_coefficients=(2, -1.5, 0.5), eps=1e-3, adjust_lr_fn='original')": torch_muon(
        0.1, row=(2, -1.5, 0.5), eps=1e-3
    ),
}


@pytest.mark.parametrize("text", MUON)
def test_torch_muon(text):
    tx, notes = converted(Library.TORCH, text)
    assert gradtx.parse(repr(tx)) == tx
    random = np.random.default_rng(0)
    with x64():
        p, memory, rule = random.normal(size=(4, 3)), {}, MUON[text]
        params = {"kernel": jnp.asarray(p.T)}
        state = tx.init(params)
        for g in random.normal(size=(10, 4, 3)):
            p = rule(p, g, memory)
            updates, state = tx.update({"kernel": jnp.asarray(g.T)}, state, params)
            params = gradtx.apply_updates(params, updates)
            np.testing.assert_allclose(params["kernel"].T, p, atol=1e-4 if "1e-3" in text else 1e-6)
    assert sum("bfloat16" in note or "tiny gradients" in note for note in notes) == 2


def test_torch_muon_is_what_was_recorded():
    """Of torch's own run, in float64, `tests/test_recorded.py` has the numbers."""
    assert converted(Library.TORCH, "Muon(params, lr=0.1)")[0] == gradtx.muon(0.1, scaling="keller")
    assert converted(Library.TORCH, "Muon(lr=0.1, nesterov=False, adjust_lr_fn='match_rms_adamw')")[0] == gradtx.muon(
        0.1, nesterov=False
    )


def test_torch_radam_says_that_it_differs():
    _, notes = converted(Library.TORCH, "RAdam()")
    assert any("eps is added after" in note for note in notes)
    tx, _ = converted(Library.TORCH, "RAdam(lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)")
    assert [member.factory.name for member in tx.transforms] == [
        "scale_by_rectified_adam",
        "add_decayed_weights",
        "scale_by_learning_rate",
    ]


SCHEDULERS = {
    "StepLR(SGD(lr=0.1), 3)": lambda n: 0.1 * 0.1 ** (n // 3),
    "MultiStepLR(SGD(lr=0.1), milestones=[2, 5, 5], gamma=0.5)": lambda n: 0.1 * 0.5 ** ((n >= 2) + 2 * (n >= 5)),
    "ExponentialLR(SGD(lr=0.1), gamma=0.9)": lambda n: 0.1 * 0.9**n,
    "CosineAnnealingLR(SGD(lr=0.1), T_max=6, eta_min=0.01)": lambda n: 0.055 + 0.045 * np.cos(np.pi * min(n, 6) / 6),
    "LinearLR(SGD(lr=0.1), start_factor=0.5, total_iters=4)": lambda n: 0.1 * (0.5 + 0.5 * min(n, 4) / 4),
    "ConstantLR(SGD(lr=0.1), factor=0.5, total_iters=4)": lambda n: 0.1 * (0.5 if n < 4 else 1),
    "PolynomialLR(SGD(lr=0.1), total_iters=4, power=2)": lambda n: 0.1 * (1 - min(n, 4) / 4) ** 2,
}


@pytest.mark.parametrize("text", SCHEDULERS)
def test_torch_schedulers(text):
    tx, notes = converted(Library.TORCH, text)
    expected = [SCHEDULERS[text](n) for n in range(8)]
    np.testing.assert_allclose(tx.learning_rate.sample(8), expected, rtol=2e-6)
    assert any("counts updates" in note for note in notes)


def torch_plateau(losses, rate, factor, patience, cooldown, threshold=1e-4):
    best, bad, cooling, rates = np.inf, 0, 0, []
    for loss in losses:
        best, bad = (loss, 0) if loss < best * (1 - threshold) else (best, bad + 1)
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > patience:
            rate, cooling, bad = rate * factor, cooldown, 0
        rates.append(rate)
    return rates


@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 0), (1, 2)])
def test_torch_plateau_counts_one_observation_more(patience, cooldown):
    text = f"ReduceLROnPlateau(SGD(lr=0.1), factor=0.5, patience={patience}, cooldown={cooldown})"
    tx, notes = converted(Library.TORCH, text)
    state, losses, rates = tx.init(jnp.ones(1)), [1.0, 0.9] + [0.95] * 12, []
    for loss in losses:
        state = gradtx.observe(state, value=loss)
        rates.append(float(gradtx.get_hyperparams(state)["learning_rate"]))
    np.testing.assert_allclose(rates, torch_plateau(losses, 0.1, 0.5, patience, cooldown), rtol=1e-6)
    assert f"patience {patience + 1} here is {patience} in torch, which reduces one observation later" in notes


def test_a_scheduler_without_an_optimizer_is_a_factor():
    value, notes = converted(Library.TORCH, "torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.5)")
    assert value == gradtx.exponential_decay(1.0, 30, 0.5, staircase=True)
    assert any("multiply it by the learning rate" in note for note in notes)
    value, _ = converted(Library.TORCH, "OneCycleLR(SGD(lr=0.1, weight_decay=0.1), max_lr=1.0, total_steps=21)")
    assert value.transforms[1].learning_rate == gradtx.piecewise_interpolate_schedule(
        "cosine", 0.04, {5.3: 25.0, 20: 1 / 250_000}
    )
    for text in ("StepLR(optimizer, 30, 0.5)", "StepLR(optimizer=opt, step_size=30, gamma=0.5)"):
        assert converted(Library.TORCH, text)[0] == gradtx.exponential_decay(1.0, 30, 0.5, staircase=True)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("'linear', optimizer, 5, 20", "get_linear_schedule_with_warmup(optimizer, 5, 20)"),
        (
            "'cosine', optimizer=optimizer, num_warmup_steps=5, num_training_steps=20",
            "get_cosine_schedule_with_warmup(o, 5, 20)",
        ),
        ("'constant'", "get_constant_schedule(optimizer)"),
        ("'inverse_sqrt', SGD(lr=0.1), num_warmup_steps=5", "get_inverse_sqrt_schedule(SGD(lr=0.1), 5)"),
        ("'reduce_lr_on_plateau', optimizer", "ReduceLROnPlateau(optimizer)"),
        (
            "'cosine_with_min_lr', optimizer, 5, 20, scheduler_specific_kwargs={'min_lr_rate': 0.1}",
            "get_cosine_with_min_lr_schedule_with_warmup(optimizer, 5, 20, min_lr_rate=0.1)",
        ),
    ],
)
def test_a_scheduler_of_transformers_by_name(text, same):
    assert converted(Library.TORCH, f"get_scheduler({text})") == converted(Library.TORCH, same)


def test_schedulers_in_a_scheduler_take_the_rate_of_its_optimizer():
    text = "ChainedScheduler([StepLR(optimizer, 3, 0.5), CosineAnnealingLR(optimizer, 6)])"
    made, _ = converted(Library.TORCH, text)
    expected = [0.5 ** (n // 3) * (0.5 + 0.5 * np.cos(np.pi * n / 6)) for n in range(7)]
    np.testing.assert_allclose(made.sample(7), expected, atol=1e-6)
    text = "SequentialLR(AdamW(lr=0.1), [ConstantLR(o, 0.5, 2), CosineAnnealingLR(o, T_max=4, eta_min=0.01)], [2])"
    rate = converted(Library.TORCH, text)[0].learning_rate
    falling = [0.01 + 0.09 * (0.5 + 0.5 * np.cos(np.pi * n / 4)) for n in range(5)]
    np.testing.assert_allclose(rate.sample(7), [0.05, 0.05, *falling], rtol=1e-5)


# --- Keras ------------------------------------------------------------------------------------------------------------


def keras_adam(lr, b1=0.9, b2=0.999, eps=1e-7, wd=0.0):
    def rule(p, g, memory, t):
        p = p - lr * wd * p
        memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
        memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g * g
        return p - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * memory["m"] / (np.sqrt(memory["v"]) + eps)

    return rule


def keras_sgd(lr, momentum, nesterov=False, wd=0.0, clip=np.inf):
    def rule(p, g, memory, t):
        p, g = p - lr * wd * p, np.clip(g, -clip, clip)
        memory["m"] = momentum * memory.get("m", 0) - lr * g
        return p + momentum * memory["m"] - lr * g if nesterov else p + memory["m"]

    return rule


def keras_rmsprop(lr, rho, eps, momentum):
    def rule(p, g, memory, t):
        memory["v"] = rho * memory.get("v", 0) + (1 - rho) * g * g
        memory["m"] = momentum * memory.get("m", 0) + lr * g / np.sqrt(memory["v"] + eps)
        return p - memory["m"]

    return rule


def keras_adagrad(p, g, memory, t):
    memory["s"] = memory.get("s", 0.1) + g * g
    return p - 0.01 * g / np.sqrt(memory["s"] + 0.1)


def keras_lion(p, g, memory, t):
    m = memory.get("m", 0)
    memory["m"] = 0.99 * m + 0.01 * g
    return p - 0.01 * (np.sign(0.9 * m + 0.1 * g) + 0.1 * p)


def keras_lamb(p, g, memory, t):
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * g * g
    r = memory["m"] / (1 - 0.9**t) / (np.sqrt(memory["v"] / (1 - 0.999**t)) + 0.1)
    return p - 0.01 * np.linalg.norm(p) / np.linalg.norm(r) * r


KERAS = {
    "SGD(0.1, momentum=0.9)": keras_sgd(0.1, 0.9),
    "SGD(0.1, 0.9, nesterov=True, weight_decay=0.1)": keras_sgd(0.1, 0.9, True, 0.1),
    "keras.optimizers.SGD(0.1, momentum=0.5, clipvalue=0.5)": keras_sgd(0.1, 0.5, clip=0.5),
    "Adam(learning_rate=0.01)": keras_adam(0.01),
    "AdamW(0.01, 0.1)": keras_adam(0.01, wd=0.1),
    "Adam(0.01, weight_decay=0.1)": keras_adam(0.01, wd=0.1),
    "Nadam(0.01, epsilon=0.1)": nadam(0.01, eps=0.1, psi=1.0),
    "Nadam(0.01, beta_1=0.8, weight_decay=0.1)": nadam(0.01, 0.8, eps=1e-7, psi=1.0, wd=0.1, decoupled=True),
    "RMSprop(0.01, rho=0.8, momentum=0.5, epsilon=0.1)": keras_rmsprop(0.01, 0.8, 0.1, 0.5),
    "Adagrad(0.01, epsilon=0.1)": keras_adagrad,
    "Adadelta(0.5, rho=0.9, weight_decay=0.1)": adadelta(0.5, 0.9, 1e-7, 0.1, decoupled=True),
    "Adamax(0.01, beta_2=0.9, weight_decay=0.1)": adamax(0.01, 0.9, 0.9, after=1e-7, wd=0.1, decoupled=True),
    "Adafactor()": adafactor(0.001),
    "Adafactor(0.1, -0.5, 0.1, 3.0, 0.5, weight_decay=0.1)": adafactor(0.1, 0.5, 0.5, 3.0, 0.1, added=0.1),
    "Lion(0.01, weight_decay=0.1)": keras_lion,
    "Lamb(0.01, epsilon=0.1)": keras_lamb,
}


@pytest.mark.parametrize("text", KERAS)
def test_keras(text):
    agree(text, KERAS[text], Library.KERAS, rtol=5e-5)


def test_keras_lamb_decays_outside_of_the_ratio():
    tx, notes = converted(Library.KERAS, "Lamb(weight_decay=0.1)")
    ratio = [gradtx.scale_by_adam(eps=1e-7), gradtx.scale_by_trust_ratio()]
    assert tx == gradtx.chain(*ratio, gradtx.add_decayed_weights(0.1), gradtx.scale_by_learning_rate(0.001))
    assert any("not a part of the ratio" in note for note in notes)


def test_keras_configs_in_json():
    rate = {
        "class_name": "ExponentialDecay",
        "config": {"initial_learning_rate": 0.0010000000474974513, "decay_steps": 100, "decay_rate": 0.5, "name": "x"},
    }
    config = {"name": "adam", "learning_rate": rate, "epsilon": 1e-7, "clipnorm": None, "use_ema": False}
    expected = gradtx.adam(gradtx.exponential_decay(0.001, 100, 0.5), eps=1e-7)
    nested = {"module": "keras.optimizers", "class_name": "Adam", "config": config, "registered_name": None}
    for text in (json.dumps(config), json.dumps(nested)):
        assert converted(Library.KERAS, text)[0] == expected


def test_keras_wrappers_go_around():
    text = "Adam(0.1, global_clipnorm=1.0, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=4)"
    adam = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(0.1, eps=1e-7))
    assert converted(Library.KERAS, text)[0] == gradtx.accumulate(gradtx.ema_params(adam, 0.5), 4)


KERAS_SCHEDULES = {
    "ExponentialDecay(0.1, 4, 0.5, staircase=True)": lambda n: 0.1 * 0.5 ** (n // 4),
    "InverseTimeDecay(0.1, 4, 0.5)": lambda n: 0.1 / (1 + 0.5 * n / 4),
    "PolynomialDecay(0.1, 4, 0.01, power=2.0)": lambda n: 0.09 * (1 - min(n, 4) / 4) ** 2 + 0.01,
    "PiecewiseConstantDecay([2, 5], [1.0, 0.5, 0.1])": lambda n: 1.0 if n <= 2 else 0.5 if n <= 5 else 0.1,
    "CosineDecay(0.1, 4, alpha=0.1)": lambda n: 0.1 * (0.1 + 0.9 * (0.5 + 0.5 * np.cos(np.pi * min(n, 4) / 4))),
    "CosineDecay(0.0, 4, warmup_target=0.1, warmup_steps=2)": lambda n: (
        0.05 * n if n < 2 else 0.1 * (0.5 + 0.5 * np.cos(np.pi * min(n - 2, 4) / 4))
    ),
}


@pytest.mark.parametrize("text", KERAS_SCHEDULES)
def test_keras_schedules(text):
    value, _ = converted(Library.KERAS, text)
    np.testing.assert_allclose(value.sample(8), [KERAS_SCHEDULES[text](n) for n in range(8)], rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("cooldown", [0, 1, 3])
def test_keras_plateau_counts_as_here(cooldown):
    text = f"ReduceLROnPlateau(monitor='val_loss', factor=0.5, patience=2, cooldown={cooldown})"
    tx, _ = converted(Library.KERAS, text)
    state, best, wait, cooling, rate = tx.init(jnp.ones(1)), np.inf, 0, 0, 1.0
    for loss in [1.0, 0.9] + [0.95] * 12:
        state = gradtx.observe(state, value=loss)
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if loss < best - 1e-4:
            best, wait = loss, 0
        elif cooling <= 0:
            wait += 1
            if wait >= 2:
                rate, cooling, wait = rate * 0.5, cooldown, 0
        assert state.value == pytest.approx(rate)
    assert converted(Library.KERAS, "ReduceLROnPlateau(monitor='val_acc')")[0].mode == "max"


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_text_comes_first_and_the_differences_as_comments(command):
    result = command(
        "convert", "torch", "torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), fused=True)"
    )
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "adamw(learning_rate=0.001, b2=0.95, weight_decay=0.01)",
        "# eps is added outside the root, as in torch",
        "# weight_decay is decoupled and multiplied by the learning rate, as in torch; gradtx's own default is 1e-4",
    ]


BAD = {
    ("torch", "AdmW(lr=1e-3)"): "gradtx: convert: AdmW has no counterpart; did you mean AdamW",
    ("torch", "Muon(adjust_lr_fn='adam')"): "gradtx: convert: adjust_lr_fn must be one of [None, 'original'",
    ("torch", "Muon(ns_coefficients=(1, 2))"): "gradtx: convert: ns_coefficients must be three numbers, got (1, 2)",
    ("torch", "LBFGS()"): "gradtx: convert: LBFGS has no counterpart; ",
    ("torch", "Adam(learning_rate=1)"): "gradtx: convert: Adam has no argument 'learning_rate'; ",
    ("torch", "Adam(1e-3, lr=1e-3)"): "gradtx: convert: Adam got 'lr' twice",
    ("torch", "Adam(lr=-1)"): "gradtx.adam: expected learning_rate in [0, inf), got -1",
    ("torch", "Adam(lr='x')"): "gradtx.adam: expected learning_rate to be a number",
    ("torch", "Adam(betas=0.9)"): "gradtx: convert: betas must be two numbers, got 0.9",
    ("torch", "Adam(lr=__import__('os').getpid())"): "gradtx: convert: getpid has no counterpart",
    ("torch", "Adam(lr=[x for x in 'a'])"): 'gradtx: convert: expected numbers, text and calls, got "[x for x',
    ("torch", "Adam(**{})"): "gradtx: convert: expected a call such as AdamW(lr=1e-3), got 'Adam(**{})'",
    ("torch", "Adam("): "gradtx: convert: cannot read 'Adam('",
    ("torch", "1 + 1"): "gradtx: convert: expected a call such as AdamW(lr=1e-3), got '1 + 1'",
    ("torch", "StepLR(SGD())"): "gradtx: convert: StepLR needs step_size",
    ("torch", "StepLR(3, 4)"): "gradtx: convert: the optimizer of a scheduler must be one, got 3",
    ("torch", "StepLR(StepLR(SGD(), 3), 3)"): "gradtx: convert: the learning rate follows a schedule already",
    ("torch", "OneCycleLR(max_lr=0.1)"): "gradtx: convert: OneCycleLR needs total_steps, or epochs and steps_per_epoch",
    (
        "torch",
        "OneCycleLR(o, 0.1, 9, anneal_strategy='x')",
    ): "gradtx: convert: anneal_strategy must be 'cos' or 'linear'",
    ("torch", "CyclicLR(o, 0.1, 0.2, mode='x')"): "gradtx: convert: mode must be 'triangular', 'triangular2' or 'exp_",
    (
        "torch",
        "SequentialLR(o, [1], [2])",
    ): "gradtx: convert: a scheduler of schedulers needs them written out: [",
    (
        "torch",
        "ChainedScheduler([CosineAnnealingLR(o, 9, eta_min=1.0)])",
    ): "gradtx: convert: CosineAnnealingLR in a Chai",
    ("torch", "ChainedScheduler([OneCycleLR(o, 0.1, 9)])"): "gradtx: convert: OneCycleLR in a ChainedScheduler is no",
    ("torch", "get_scheduler('greedy', o)"): "gradtx: convert: the name 'greedy' has no counterpart; known are linear",
    ("torch", "get_wsd_schedule(o, 5, 5)"): "gradtx: convert: get_wsd_schedule needs num_stable_steps or num_train",
    (
        "torch",
        "get_wsd_schedule(o, 5, 5, 20, warmup_type='cosine')",
    ): "gradtx: convert: get_wsd_schedule has a counterp",
    ("torch", "ReduceLROnPlateau(SGD(), patience='x')"): "gradtx: convert: ReduceLROnPlateau got an argument of the wr",
    ("torch", "SGD(nesterov=True)"): "gradtx: convert: SGD: Nesterov momentum requires a momentum and zero dampening",
    ("torch", "SGD(1, 2, 3, 4, 5, 6, 7)"): "gradtx: convert: SGD takes 6 arguments (lr, momentum",
    ("keras", "Adam(clipnorm=1.0)"): "gradtx: convert: clipnorm has no counterpart",
    ("keras", '{"class_name": "Adam"'): "gradtx: convert: cannot read the JSON (",
    ("keras", '{"a": 1}'): 'gradtx: convert: expected {"class_name": ..., "config": {...}}',
    ("keras", '{"name": "ftrl"}'): "gradtx: convert: ftrl has no counterpart",
    ("mxnet", "Adam()"): "gradtx: Invalid value for 'library'",
}


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_input_is_one_line_and_code_2(words, command):
    result = command("convert", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(BAD[words])
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("library", list(Library))
def test_every_class_converts_or_says_what_it_needs(library):
    from gradtx.cli import from_keras, from_torch

    for name in from_torch.CLASSES if library == Library.TORCH else from_keras.CLASSES:
        try:
            value, _ = converted(library, f"{name}()")
        except CommandError as error:
            assert "needs" in str(error)  # noqa: PT017
        else:
            assert gradtx.parse(repr(value)) == value
