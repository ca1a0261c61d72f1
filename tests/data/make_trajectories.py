"""Records what torch and Keras do, in float64, for tests of gradtx to compare with: ``torch.json`` and ``keras.json``.

It needs both, and transformers for its schedules, so run it where they are installed (``pip install torch keras jax
transformers``), in this folder:

    KERAS_BACKEND=jax python make_trajectories.py
"""

import json
import math
import platform
from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
import torch
import transformers
from transformers import optimization

STEPS, EPOCHS = 25, 16
START = [4.0, 3.0, -0.5]
LOSSES = [3.0, 2.0, 2.1, 2.0, 2.2, 1.9, 1.95, 1.9, 2.0, 1.9, 1.9, 1.89995, 1.8, 1.9, 1.9, 1.9]
"""What the plateaus see, one a epoch."""


def gradient(p: Any, sin: Callable[[Any], Any] = np.sin) -> Any:
    """The gradient of a bowl with waves in it."""
    return sin(3 * p) + 0.5 * p


TORCH = [
    "SGD(lr=0.1)",
    "SGD(lr=0.1, momentum=0.9)",
    "SGD(lr=0.1, momentum=0.9, nesterov=True)",
    "SGD(lr=0.1, momentum=0.9, dampening=0.5)",
    "SGD(lr=0.1, momentum=0.9, weight_decay=0.1)",
    "SGD(lr=0.1, momentum=0.9, maximize=True)",
    "Adam(lr=0.1)",
    "Adam(lr=0.1, weight_decay=0.1)",
    "Adam(lr=0.1, amsgrad=True)",
    "AdamW(lr=0.1)",
    "NAdam(lr=0.1)",
    "RAdam(lr=0.1)",
    "Adamax(lr=0.1)",
    "Adagrad(lr=0.1)",
    "Adagrad(lr=0.1, lr_decay=0.1)",
    "RMSprop(lr=0.1)",
    "RMSprop(lr=0.1, momentum=0.9)",
    "RMSprop(lr=0.1, centered=True)",
    "Adadelta(lr=1.0)",
    "Rprop(lr=0.1)",
    "ASGD(lr=0.1)",
]

TORCH_SCHEDULES = [
    "StepLR(step_size=10, gamma=0.5)",
    "MultiStepLR(milestones=[5, 12], gamma=0.5)",
    "ConstantLR(factor=0.5, total_iters=5)",
    "LinearLR(start_factor=0.25, total_iters=8)",
    "ExponentialLR(gamma=0.9)",
    "PolynomialLR(total_iters=20, power=2.0)",
    "CosineAnnealingLR(T_max=24)",
    "CosineAnnealingLR(T_max=24, eta_min=0.01)",
    "CosineAnnealingWarmRestarts(T_0=6, eta_min=0.01)",
    "CosineAnnealingWarmRestarts(T_0=3, T_mult=2)",
    "CyclicLR(base_lr=0.01, max_lr=0.1, step_size_up=4)",
    "CyclicLR(base_lr=0.01, max_lr=0.1, step_size_up=2, step_size_down=6, mode='triangular2')",
    "CyclicLR(base_lr=0.01, max_lr=0.1, step_size_up=4, mode='exp_range', gamma=0.9)",
    "OneCycleLR(max_lr=0.1, total_steps=25)",
    "OneCycleLR(max_lr=0.1, total_steps=25, pct_start=0.4)",
    "OneCycleLR(max_lr=0.1, total_steps=25, anneal_strategy='linear', three_phase=True)",
    "SequentialLR(schedulers=[LinearLR(optimizer, 0.5, 1.0, 5), CosineAnnealingLR(optimizer, 20)], milestones=[5])",
    "ChainedScheduler(schedulers=[ConstantLR(optimizer, 0.5, 4), ExponentialLR(optimizer, 0.9)])",
]

TRANSFORMERS = [
    "get_constant_schedule()",
    "get_constant_schedule_with_warmup(num_warmup_steps=5)",
    "get_linear_schedule_with_warmup(num_warmup_steps=5, num_training_steps=20)",
    "get_cosine_schedule_with_warmup(num_warmup_steps=5, num_training_steps=25)",
    "get_cosine_schedule_with_warmup(num_warmup_steps=5, num_training_steps=25, num_cycles=2.5)",
    "get_cosine_with_hard_restarts_schedule_with_warmup(num_warmup_steps=5, num_training_steps=20, num_cycles=2)",
    "get_polynomial_decay_schedule_with_warmup(num_warmup_steps=5, num_training_steps=20, lr_end=0.01, power=2.0)",
    "get_inverse_sqrt_schedule(num_warmup_steps=5)",
    "get_inverse_sqrt_schedule(num_warmup_steps=5, timescale=20)",
    "get_cosine_with_min_lr_schedule_with_warmup(num_warmup_steps=5, num_training_steps=25, min_lr=0.01)",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(num_warmup_steps=5, num_training_steps=25, min_lr_rate=0.1)",
    "get_wsd_schedule(num_warmup_steps=5, num_decay_steps=8, num_training_steps=20, min_lr_ratio=0.1)",
    "get_wsd_schedule(num_warmup_steps=5, num_decay_steps=8, num_stable_steps=7, decay_type='1-sqrt')",
]
"""Functions of transformers that make a scheduler of torch."""

TORCH_PLATEAUS = [
    "ReduceLROnPlateau(patience=2)",
    "ReduceLROnPlateau(patience=1, factor=0.5, cooldown=2)",
    "ReduceLROnPlateau(patience=2, threshold=0.05, threshold_mode='abs')",
]

KERAS = [
    "SGD(learning_rate=0.1)",
    "SGD(learning_rate=0.1, momentum=0.9)",
    "SGD(learning_rate=0.1, momentum=0.9, nesterov=True)",
    "SGD(learning_rate=0.1, weight_decay=0.1)",
    "SGD(learning_rate=ExponentialDecay(0.1, 5, 0.5), momentum=0.9)",
    "Adam(learning_rate=0.1)",
    "Adam(learning_rate=0.1, epsilon=0.1)",
    "Adam(learning_rate=0.1, amsgrad=True)",
    "AdamW(learning_rate=0.1)",
    "Nadam(learning_rate=0.1)",
    "Adamax(learning_rate=0.1)",
    "Adagrad(learning_rate=0.1)",
    "RMSprop(learning_rate=0.1)",
    "RMSprop(learning_rate=0.1, momentum=0.9)",
    "RMSprop(learning_rate=0.1, centered=True)",
    "Adadelta(learning_rate=0.1)",
    "Lion(learning_rate=0.01)",
]

KERAS_SCHEDULES = [
    "ExponentialDecay(0.1, decay_steps=5, decay_rate=0.5)",
    "ExponentialDecay(0.1, decay_steps=5, decay_rate=0.5, staircase=True)",
    "InverseTimeDecay(0.1, decay_steps=5, decay_rate=0.5)",
    "PiecewiseConstantDecay(boundaries=[5, 12], values=[0.1, 0.05, 0.01])",
    "PolynomialDecay(0.1, decay_steps=20, end_learning_rate=0.01, power=2.0)",
    "CosineDecay(0.1, decay_steps=20, alpha=0.1)",
    "CosineDecay(0.0, decay_steps=20, warmup_target=0.1, warmup_steps=5)",
    "CosineDecayRestarts(0.1, first_decay_steps=10)",
    "CosineDecayRestarts(0.1, first_decay_steps=4, t_mul=1.5, m_mul=0.5, alpha=0.1)",
]

KERAS_PLATEAUS = [
    "ReduceLROnPlateau(patience=2)",
    "ReduceLROnPlateau(patience=1, factor=0.5, cooldown=3)",
    "ReduceLROnPlateau(patience=2, min_delta=0.05)",
]


def call(text: str, space: Any, **given: Any) -> Any:
    """The object that constructor text makes, with further arguments."""
    name, _, rest = text.partition("(")
    return eval(f"{name}(**given, {rest}" if given else text, {**vars(space), "given": given})  # noqa: S307


def torch_trajectory(text: str) -> list[list[float]]:
    p = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer, path = call(text, torch.optim, params=[p]), []
    for _ in range(STEPS):
        p.grad = gradient(p.detach(), torch.sin)
        optimizer.step()
        path.append(p.tolist())
    return path


def torch_rates(text: str, losses: list[float] | None = None) -> list[float]:
    """The rate at each step, or after each loss."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    space = type("space", (), {**vars(optimization), **vars(torch.optim.lr_scheduler), "optimizer": optimizer})
    scheduler, rates = call(text, space, optimizer=optimizer), []
    for loss in losses or [None] * STEPS:
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step() if loss is None else scheduler.step(loss)
        rates.append(rate if loss is None else optimizer.param_groups[0]["lr"])
    return rates


def keras_trajectory(text: str) -> list[list[float]]:
    p = keras.Variable(np.array(START), dtype="float64")
    space = type("space", (), {**vars(keras.optimizers), **vars(keras.optimizers.schedules)})
    optimizer, path = call(text, space), []
    optimizer.build([p])
    for _ in range(STEPS):
        optimizer.apply([gradient(p.value, jax.numpy.sin)])
        path.append(np.asarray(p.value).tolist())
    return path


def keras_rates(text: str) -> list[float]:
    schedule = call(text, keras.optimizers.schedules)
    return [float(schedule(step)) for step in range(STEPS)]


def keras_plateau(text: str) -> list[float]:
    """The rate after each loss."""
    callback, model, rates = call(text, keras.callbacks), keras.Sequential([keras.layers.Dense(1)]), []
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, loss in enumerate(LOSSES):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        rates.append(float(np.asarray(model.optimizer.learning_rate)))
    return rates


def write(name: str, version: str, tables: dict[str, dict[str, Any]]) -> None:
    made = f"{name} {version}, Python {platform.python_version()}, by make_trajectories.py"
    lines = [f'"made with": {json.dumps(made)}', f'"start": {START}', f'"losses": {LOSSES}']
    for table, rows in tables.items():
        assert all(math.isfinite(x) for row in rows.values() for x in np.ravel(row)), table
        body = ",\n".join(f"  {json.dumps(text)}: {json.dumps(row)}" for text, row in rows.items())
        lines.append(f'"{table}": {{\n{body}\n}}')
    with open(f"{name}.json", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    keras.config.set_floatx("float64")
    write(
        "torch",
        f"{torch.__version__}, transformers {transformers.__version__}",
        {
            "optimizers": {text: torch_trajectory(text) for text in TORCH},
            "schedules": {text: torch_rates(text) for text in TORCH_SCHEDULES + TRANSFORMERS},
            "plateaus": {text: torch_rates(text, LOSSES) for text in TORCH_PLATEAUS},
        },
    )
    write(
        "keras",
        keras.__version__,
        {
            "optimizers": {text: keras_trajectory(text) for text in KERAS},
            "schedules": {text: keras_rates(text) for text in KERAS_SCHEDULES},
            "plateaus": {text: keras_plateau(text) for text in KERAS_PLATEAUS},
        },
    )
