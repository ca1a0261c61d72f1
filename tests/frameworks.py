"""What torch and Keras did, as recorded by ``tests/data/make_trajectories.py``, and gradtx on the same problem."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx

DATA = Path(__file__).parent / "data"


def recorded(name: str) -> dict[str, Any]:
    """The tables of a framework: trajectories of optimizers, rates of schedules and of plateaus, by its own text."""
    tables: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return tables


def gradient(p: jax.Array) -> jax.Array:
    """The gradient of a bowl with waves in it."""
    return jnp.sin(3 * p) + 0.5 * p


def trajectory(tx: gradtx.GradientTransformation, start: list[float], steps: int) -> np.ndarray:
    """The params after each step."""

    def step(carry: Any, _: Any) -> Any:
        p, state = carry
        updates, state = tx.update(gradient(p), state, p)
        p = gradtx.apply_updates(p, updates)
        return (p, state), p

    p = jnp.asarray(start)
    _, path = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=steps))(p)
    return np.asarray(path)


def plateau_rates(schedule: gradtx.Schedule, losses: list[float]) -> np.ndarray:
    """The rate after each loss."""
    state, rates = schedule.init(), []
    for loss in losses:
        state = schedule.update(state, value=loss)
        rates.append(float(schedule(state)))
    return np.asarray(rates)


def distance(tables: dict[str, Any], text: str, ours: Any) -> float:
    """How far gradtx's value is from what another framework's text did, at most, relative to the largest number."""
    for kind in ("optimizers", "schedules", "plateaus"):
        if text in tables[kind]:
            wanted = np.asarray(tables[kind][text])
            break
    if kind == "optimizers":
        got = trajectory(ours, tables["start"], len(wanted))
    else:
        got = np.asarray(ours.sample(len(wanted))) if kind == "schedules" else plateau_rates(ours, tables["losses"])
    return float(np.max(np.abs(got - wanted)) / np.max(np.abs(wanted)))
