"""Every argument reaches its place: with odd values for all of them, the steps are Optax's in float64."""

import inspect
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradtx.optax as ours

PARAMS = {"w": np.linspace(-1.0, 2.0, 6).reshape(2, 3), "b": np.array([0.5, -1.0])}

GIVEN: dict[str, dict[str, Any]] = {
    "adafactor": {"learning_rate": 0.1, "momentum": 0.8, "weight_decay_rate": 0.01, "min_dim_size_to_factor": 2},
    "scale_by_factored_rms": {"min_dim_size_to_factor": 2, "step_offset": 0},
    "add_noise": {"eta": 0.0, "gamma": 0.5, "key": 0},
    "noisy_sgd": {"learning_rate": 0.1, "eta": 0.0, "key": 0},
    "rmsprop": {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True, "initial_scale": 0.2},
    "sgd": {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True},
    "sm3": {"learning_rate": 0.1, "momentum": 0.8},
    "scale_by_sm3": {"b1": 0.8},
    "fromage": {"learning_rate": 0.1, "min_norm": 0.5},
    "contrib.dadapt_adamw": {"learning_rate": 1.0, "betas": (0.8, 0.95), "weight_decay": 0.01},
    "contrib.prodigy": {"learning_rate": 1.0, "betas": (0.8, 0.95), "weight_decay": 0.01},
    "contrib.muon": {"learning_rate": 0.1, "weight_decay": 0.1, "consistent_rms": 0.3, "beta": 0.8, "nesterov": False},
    "contrib.galore": {"learning_rate": 0.1, "rank": 1, "weight_decay": 0.1, "update_proj_gap": 2},
    "contrib.scale_by_galore": {"rank": 1, "update_proj_gap": 2},
    "contrib.momo": {"learning_rate": 0.1, "beta": 0.8},
    "contrib.momo_adam": {"learning_rate": 0.1},
    "contrib.reduce_on_plateau": {"patience": 2, "factor": 0.5},
    "contrib.ademamix": {"learning_rate": 0.1, "weight_decay": 0.1},
    "normalize_by_update_norm": {"scale_factor": 2.0},
    "clip_by_global_norm": {"max_norm": 0.5},
    "clip": {"max_delta": 0.2},
    "clip_by_block_rms": {"threshold": 0.2},
    "adaptive_grad_clip": {"clipping": 0.1},
    "ema": {"decay": 0.8},
    "trace": {"decay": 0.8},
    "scale": {"step_size": 0.3},
    "adadelta": {"learning_rate": 0.3, "weight_decay": 0.1},
    "contrib.scale_by_madgrad": {"learning_rate": 0.1, "momentum": 0.8},
    "contrib.mechanize": {"base_optimizer": None},
}
"""Arguments that are not the defaults with a tenth less."""

DIFFERENT = {
    "adan": "Optax's weights of differences",
    "scale_by_adan": "Optax's weights of differences",
    "rprop": "Optax is a step late",
    "scale_by_rprop": "Optax is a step late",
    "contrib.momo": "the step without the decay",
    "contrib.momo_adam": "the step without the decay",
}
"""Whose numbers are others, and why: the table of the page "Coming from Optax"."""

LEFT_OUT = {
    "inject_hyperparams", "inject_stateful_hyperparams",
    "chain", "named_chain", "masked", "partition", "multi_transform", "monitor", "stateless", "stateless_with_tree_map",
    "snapshot", "measure_with_ema", "flatten", "freeze", "selective_transform", "lookahead", "apply_if_finite",
    "conditionally_mask", "conditionally_transform", "lbfgs", "scale_by_lbfgs", "scale_by_zoom_linesearch",
    "scale_by_backtracking_linesearch", "scale_by_schedule", "with_extra_args_support", "keep_params_nonnegative",
    "contrib.dpsgd", "contrib.differentially_private_aggregate", "contrib.sam", "contrib.split_real_and_imaginary",
    "contrib.hutchinson_estimator_diag_hessian", "contrib.schedule_free", "contrib.mechanize", "optimistic_adam",
    "contrib.scale_by_muon", "dpsgd", "differentially_private_aggregate",
}  # fmt: skip
"""Made of others, or tested in test_forms."""


def _names() -> list[str]:
    found = []
    for module, prefix in ((ours, ""), (ours.contrib, "contrib.")):
        for name in module.__all__:
            function = getattr(module, name)
            made = inspect.isfunction(function) or name in ("nadam", "nadamw")
            is_factory = made and "GradientTransformation" in str(inspect.signature(function).return_annotation)
            if is_factory and prefix + name not in LEFT_OUT:
                found.append(prefix + name)
    return found


def _arguments(name: str, function: Any) -> dict[str, Any]:
    made = {}
    for p in inspect.signature(function).parameters.values():
        if p.name in ("learning_rate", "weight_decay"):
            made[p.name] = 0.1
        elif type(p.default) is float and p.default:
            made[p.name] = 0.9 * p.default
        elif type(p.default) is float:
            made[p.name] = 1e-3
    return made | GIVEN.get(name, {})


def _path(lib: Any, name: str, arguments: dict[str, Any]) -> Any:
    *space, last = name.split(".")
    tx = getattr(getattr(lib, space[0]) if space else lib, last)(**arguments)
    params = jax.tree.map(jnp.asarray, PARAMS)
    state = tx.init(params)
    observed = any(part in name for part in ("polyak", "momo", "plateau"))
    sophia = {"obj_fn": _quartic} if "sophia" in name else {}
    sign = 1.0 if "learning_rate" in arguments else -0.1

    @jax.jit
    def step(params: Any, state: Any, i: Any) -> Any:
        grads = jax.tree.map(lambda p: 0.3 * p + 0.1 * jnp.cos(i + 3 * p), params)
        extra = ({"value": 2.0 - 0.1 * i} if observed else {}) | sophia
        updates, state = lib.with_extra_args_support(tx).update(grads, state, params, **extra)
        return jax.tree.map(lambda p, u: p + sign * u, params, updates), state, updates

    seen = []
    for i in range(4):
        params, state, updates = step(params, state, jnp.asarray(float(i)))
        seen.append(updates)
    return seen


def _quartic(params: Any) -> Any:
    return sum(jnp.sum(x**4) for x in jax.tree.leaves(params))


@pytest.mark.parametrize("name", _names())
def test_steps_are_optaxs(name: str, x64: None) -> None:
    *space, last = name.split(".")
    arguments = _arguments(name, getattr(getattr(ours, space[0]) if space else ours, last))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, expected = _path(ours, name, arguments), _path(theirs, name, arguments)
    different = not all(
        np.allclose(x, y, rtol=1e-5, atol=1e-8)
        for x, y in zip(jax.tree.leaves(mine), jax.tree.leaves(expected), strict=True)
    )
    assert different is (name in DIFFERENT), (mine[-1], expected[-1])
