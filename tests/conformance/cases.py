"""One instance of every registered factory, for the laws to run over.

`ARGUMENTS` gives what a factory cannot be called without, by argument name; `VARIANTS` adds instances whose static
arguments change the mathematics. Nothing here excuses a name from a law: a law that does not apply to a case says why.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx


def two_axes(name: str, shape: tuple[int, ...]) -> Any:
    """What is taken for a matrix: leaves of two axes, whatever their names."""
    return "in out" if len(shape) == 2 else False


ARGUMENTS: dict[str, Any] = {
    "blocks": {"*kernel*": -1},
    "learning_rate": 0.1,
    "decay": 0.9,
    "step_size": 0.1,
    "step_size_fn": -0.1,
    "max_delta": 0.5,
    "max_norm": 1.0,
    "clipping": 0.1,
    "threshold": 0.5,
    "l2_norm_clip": 1.0,
    "noise_multiplier": 0.1,
    "max_backtracking_steps": 10,
    "max_linesearch_steps": 10,
    "inner": gradtx.adam(0.1),
    "optimizer": gradtx.adam(0.1),
    "mask": "*kernel",
    "freeze_mask": "*kernel",
    "measure_name": "norm",
    "measure": gradtx.global_norm,
    "f": lambda g, p: -0.1 * g,
    "transforms": {"*kernel": gradtx.adam(0.1), "*": gradtx.sgd(0.1, momentum=0.9)},
    "init": gradtx.adam(0.1).init,
    "update": gradtx.adam(0.1).update,
    "value": 0.5,
    "direction": gradtx.adam(0.1),
    "magnitude": gradtx.sgd(0.1, momentum=0.9),
    "init_value": 1.0,
    "end_value": 0.1,
    "peak_value": 2.0,
    "transition_steps": 10,
    "decay_steps": 20,
    "stable_steps": 5,
    "warmup_steps": 4,
    "decay_rate": 0.5,
    "power": 2.0,
    "left": 2.0,
    "right": 0.5,
    "function": jnp.sqrt,
    "every": 2,
    "should_transform_fn": lambda step: step != 2,
    "where": "mu",
    "when": 3,
    "predicate": lambda updates, params, **extra: jnp.zeros((), bool),
    "a": ((0.5,),),
    "b": (0.25, 0.75),
    "interpolate_type": "cosine",
    "schedules": (gradtx.constant_schedule(1.0), gradtx.constant_schedule(0.5)),
    "boundaries": (3,),
    "cycle": gradtx.linear_schedule(1.0, 0.1, 3),
    "period": 3,
    "checkpoints": (30, 60),
    "cosine_kwargs": (
        {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 2, "decay_steps": 5, "end_value": 0.1},
        {"init_value": 0.0, "peak_value": 0.5, "warmup_steps": 2, "decay_steps": 5, "end_value": 0.1},
    ),
}
"""An argument value for each name that some factory requires."""

SMOOTH = gradtx.adam(0.1, eps=0.1)
"""For what feeds gradients back: where a gradient is 0, Adam's slope is 1 / eps, and it compounds twice a step."""

OF_ONE: dict[str, dict[str, Any]] = {
    "adamw": {"learning_rate": 0.1, "decay_convention": "independent", "peak_learning_rate": 0.1},
    "adafactor": {"learning_rate": 0.1},
    "came": {"learning_rate": 0.01, "b3": 0.99},
    "apollo": {"learning_rate": 0.1, "rank": 2},
    "apollo_mini": {"learning_rate": 0.01},
    "apply_every": {"k": 2},
    "add_noise": {"eta": 0.01, "gamma": 0.55},
    "extragradient": {"inner": SMOOTH},
    "half_life_schedule": {"init_value": 0.5, "end_value": 0.9},
    "muon": {"learning_rate": 0.1, "weight_decay": 0.0},
    "shampoo": {"learning_rate": 0.1, "eps": 0.01, "weight_decay": 0.0},
    "scale_by_shampoo": {"eps": 0.01},
    "soap": {"learning_rate": 0.1, "weight_decay": 0.0},
    "normuon": {"learning_rate": 0.1, "weight_decay": 0.0},
    "scion": {"learning_rate": 0.1, "radius": 1.0},
    "dion": {"learning_rate": 0.1, "rank": 2, "weight_decay": 0.0},
    "scale_by_dion": {"rank": 2},
    "qk_clip": {"exponents": {"*kernel": 0.5}, "head_axis": -1},
    "adamuon": {"learning_rate": 0.1, "weight_decay": 0.0},
    "galore": {"learning_rate": 0.1, "rank": 2},
    "kron": {"learning_rate": 0.01},
    "lawa": {"k": 2, "every": 2},
    "splus": {"learning_rate": 0.1, "weight_decay": 0.0},
    "keep_params_in": {"low": -1.0, "high": 1.0},
    "scale": {"step_size": -0.1},
    "scale_by_galore": {"rank": 2},  # that of the gradients on many devices: further directions would be arbitrary
    "scale_by_layer": {"factors": {"*": 0.5}},
    "scale_by_came": {"b3": 0.99},
    "stateless": {"f": lambda updates, params: gradtx.tree.map_leaves(lambda g: -0.1 * g, updates)},
}
"""Arguments for one factory, where another takes the same name in another sense, or its defaults are not usual."""

POSITIONAL: dict[str, tuple[Any, ...]] = {
    "chain": (gradtx.clip_by_global_norm(1.0), gradtx.adamw(0.1)),
    "named_chain": (("clip", gradtx.clip(1.0)), ("step", gradtx.sgd(0.1, momentum=0.9, nesterov=True))),
}
"""The members of factories that take any number of them."""

VARIANTS: dict[str, Any] = {
    "adabelief+rectified": gradtx.adabelief(0.1, b2=0.9, rectify=True),
    "sgd+momentum": gradtx.sgd(0.1, momentum=0.9),
    "sgd+dampening": gradtx.sgd(0.1, momentum=0.9, dampening=0.5),
    "sgd+nesterov": gradtx.sgd(0.1, momentum=0.9, nesterov=True),
    "adagrad+eps_outside": gradtx.adagrad(0.1, eps_in_sqrt=False),
    "adafactor+factored": gradtx.adafactor(0.1, 2, momentum=0.9, weight_decay_rate=0.01, weight_decay_mask="*kernel"),
    "adam+bfloat16": gradtx.adam(0.1, mu_dtype="bfloat16"),
    "adam+schedules": gradtx.adam(gradtx.constant_schedule(0.1), b1=lambda step: jnp.where(step < 3, 0.8, 0.9)),
    "adamw+mask": gradtx.adamw(
        0.1, weight_decay=0.1, mask="*kernel", decay_convention="independent", peak_learning_rate=0.1
    ),
    "adamw+corrected": gradtx.adamw(
        gradtx.linear_schedule(0.1, 0.05, 9), weight_decay=0.1, decay_convention="corrected", peak_learning_rate=0.1
    ),
    "ademamix+schedules": gradtx.ademamix(
        0.1, b3=gradtx.linear_schedule(0.9, 0.95, 9), alpha=gradtx.linear_schedule(0.0, 2.0, 9)
    ),
    "adamp+projecting": gradtx.adamp(0.1, weight_decay=0.1, delta=10.0),
    "adopt+clipped": gradtx.adopt(0.1, nesterov=True, clip_value_fn=gradtx.linear_schedule(0.5, 2.0, 9)),
    "adopt+unclipped": gradtx.adopt(0.1, b2=0.99, use_clipping=False),
    "amsgrad+after_max": gradtx.amsgrad(0.1, bias_correction="after_max"),
    "adaptive_sharpness_aware+mask": gradtx.adaptive_sharpness_aware(gradtx.adam(0.1), mask="*kernel"),
    "amsgrad+none": gradtx.amsgrad(0.1, bias_correction="none"),
    "chain+empty": gradtx.chain(),
    "clip_by_global_norm+group": gradtx.clip_by_global_norm(1.0, scope="group"),
    "partition+clip": gradtx.partition(
        {
            "*kernel": gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(0.1)),
            "*": gradtx.chain(gradtx.clip_by_global_norm(2.0), gradtx.sgd(0.1)),
        }
    ),
    "apply_if_finite+skip": gradtx.apply_if_finite(gradtx.adam(0.1), past_limit="skip"),
    "extragradient+remember": gradtx.extragradient(SMOOTH, "remember"),
    "kt+clipped": gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.kt(0.01)),
    "lion+b2_below_b1": gradtx.lion(0.1, b1=0.9, b2=0.5),
    "lion+bfloat16": gradtx.lion(0.1, mu_dtype="bfloat16"),
    "grokfast_ma+growing": gradtx.grokfast_ma(3, warmup=False),
    "lamb+paper": gradtx.lamb(0.1, weight_decay=0.1, bias_correction=False, max_norm=1.0, trust_ratio_mask="*kernel"),
    "lars+sum_of_norms": gradtx.lars(
        0.1, 0.1, "*kernel", trust_coefficient=0.1, nesterov=True, denominator="sum_of_norms"
    ),
    "lookahead+reset": gradtx.lookahead(gradtx.sgd(0.1, momentum=0.9), 3, momentum="reset"),
    "lookahead+pullback": gradtx.lookahead(gradtx.adam(0.1), 3, momentum="pullback"),
    "momo+adapted": gradtx.momo(0.1, lower_bound=-1.0, weight_decay=0.1, adapt_lower_bound=True),
    "momo_adam+adapted": gradtx.momo_adam(0.1, weight_decay=0.1, adapt_lower_bound=True),
    "mars+unclipped": gradtx.mars(0.1, max_norm=None),
    "masked+freeze": gradtx.masked(gradtx.adam(0.1), "*kernel", unselected="freeze"),
    "nadam+growing": gradtx.nadam(0.1, momentum_decay=1.0),
    "scale_by_apollo+svd": gradtx.scale_by_apollo(2, 3, proj="svd", max_growth=None),
    "scale_by_galore+rotated": gradtx.scale_by_galore(2, 3, proj_type="std", rotate_moments=True),
    "scale_by_shampoo+newton": gradtx.scale_by_shampoo(
        None, 0.01, method="newton", precondition_frequency=2, start_preconditioning_step=2, block_size=3, axes="sum"
    ),
    "scale_by_soap+skip": gradtx.scale_by_soap(
        precondition_frequency=2, sides="shorter", first_step="skip", stagger=True, shampoo_beta=0.9
    ),
    "whiten_updates+diagonal": gradtx.whiten_updates(0.5, memory_save_mode="one_diag", timing="counter"),
    "scale_by_muon+optax": gradtx.scale_by_muon(bias_correction=True, scaling="spectral"),
    "scale_by_normuon+code": gradtx.scale_by_normuon(scaling="preserve_norm", neurons="longer", nesterov=False),
    "scion+constrained": gradtx.scion(0.1, constrained=True, radius=1.0, norms={"*kernel": "sign", "*": "rms"}),
    "master_weights+remainder": gradtx.master_weights(gradtx.adam(0.1), "remainder"),
    "monitor+groups": gradtx.monitor({"kernels": "*kernel", "rest": "*"}),
    "novograd+decay": gradtx.novograd(0.1, b2=0.98, weight_decay=0.1),
    "qhadam+newest": gradtx.qhadam(0.1, nu1=0.5, nu2=0.5),
    "dadapt_adamw+everything": gradtx.dadapt_adamw(
        estim_lr0=0.1, weight_decay=0.1, mask="*kernel", growth_rate=1.1, bias_correction=False
    ),
    "dadapt_adagrad+momentum": gradtx.dadapt_adagrad(momentum=0.9, eps=1e-3, estim_lr0=0.1, growth_rate=1.1),
    "dadapt_lion+decay": gradtx.dadapt_lion(estim_lr0=0.1, weight_decay=0.1, mask="*kernel", growth_rate=1.1),
    "dadapt_sgd+momentum": gradtx.dadapt_sgd(momentum=0.9, estim_lr0=0.1, weight_decay=0.1),
    "prodigy+everything": gradtx.prodigy(
        estim_lr0=0.1,
        weight_decay=0.1,
        safeguard_warmup=True,
        weight_decay_mask="*kernel",
        growth_rate=1.1,
        bias_correction=False,
    ),
    "quantized+small": gradtx.quantized(gradtx.adam(0.1), 4, 4),
    "radam+none": gradtx.radam(0.1, below_threshold="none"),
    "rprop+bounded": gradtx.rprop(0.1, 0.7, 1.5, 0.05, 0.2),
    "rmsprop+centered": gradtx.rmsprop(0.1, centered=True, momentum=0.9),
    "lbfgs+backtracking": gradtx.lbfgs(memory_size=2, linesearch=gradtx.scale_by_backtracking_linesearch(10)),
    "cautious+xi": gradtx.cautious(gradtx.adam(0.1), xi=gradtx.linear_schedule(0.0, 1.0, 5)),
    "schedule_free_adamw+warmup": gradtx.schedule_free_adamw(0.1, 4, b1=0.7),
    "scale_by_layer+schedules": gradtx.scale_by_layer({"*": gradtx.linear_schedule(0.5, 1.0, 5)}),
    "scale_by_adam+debiased": gradtx.scale_by_adam(bias_correction=False),
    "scale_by_trust_ratio+bounded": gradtx.scale_by_trust_ratio(0.1, 0.5, 1e-3, max_norm=1.0, weight_decay=0.1),
    "scale_by_sm3+forgetting": gradtx.scale_by_sm3(b1=None, b2=0.9),
    "scale_by_sophia+unclipped": gradtx.scale_by_sophia(clip_threshold=None, gamma=100.0, update_interval=2),
    "scale_by_factored_rms+factored": gradtx.scale_by_factored_rms(min_dim_size_to_factor=2, max_decay=0.9),
    "scale_by_optimistic_gradient+zero": gradtx.scale_by_optimistic_gradient(first="zero"),
    "sophia+bfloat16": gradtx.sophia(
        0.1, b2=0.9, gamma=10.0, update_interval=3, mu_dtype="bfloat16", bias_correction=False
    ),
    "with_state_reset+everything": gradtx.with_state_reset(gradtx.adam(0.1), "*", lambda step: step == 3),
    "scale_by_backtracking_linesearch+store_grad": gradtx.scale_by_backtracking_linesearch(10, store_grad=True),
    "scale_by_lbfgs+identity": gradtx.scale_by_lbfgs(memory_size=2, scale_init_precond=False),
    "scale_by_dog+learning_rate": gradtx.scale_by_dog("learning_rate", 0.01),
    "scale_by_polyak+positive": gradtx.scale_by_polyak(f_min=0.5, variant="sps+"),
    "swa+later": gradtx.swa(gradtx.adam(0.1), 2, 2),
    "yogi+zero": gradtx.yogi(0.1, initial_accumulator_value=0.0),
}


EXAMPLES = ("differentially_private_aggregate", "dpsgd")
"""Factories whose transformations take the gradient of each example."""

OF_MATRICES = (
    "normalize_neurons",
    "scale_by_dion",
    "orthogonalize_updates",
    "scale_by_adamuon",
    "scale_by_apollo",
    "scale_by_galore",
    "scale_by_kron",
    "scale_by_muon",
    "scale_by_normuon",
    "scale_by_shampoo",
    "scale_by_shape",
    "scale_by_splus",
    "scale_by_soap",
    "scale_to_rms",
    "whiten_updates",
)
"""Factories whose transformations take matrices alone; the laws give them those of a tree."""

SIGNED = ("average_iterates", "scale_by_backtracking_linesearch", "scale_by_zoom_linesearch")
"""Factories whose transformations take a step, sign and all: a direction of descent."""


def make(name: str, factory: Any) -> Any:
    """An instance of a factory, from the arguments above."""
    required = {
        key: ARGUMENTS.get(key)
        for key, parameter in factory.signature.parameters.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
    }
    return factory.make(*POSITIONAL.get(name, ()), **(required | OF_ONE.get(name, {})))


REGISTRY = {name: f for name, f in gradtx.registry().items() if f.function.__module__.startswith("gradtx.")}
SCHEDULES = {name: make(name, factory) for name, factory in REGISTRY.items() if factory.kind == "schedule"}
MADE = {name: make(name, factory) for name, factory in REGISTRY.items() if factory.kind != "schedule"} | VARIANTS
VALUES = MADE | SCHEDULES


def are_matrices(tree: Any) -> Any:
    """The mask of a tree's matrices."""
    return jax.tree.map(lambda x: np.ndim(x) == 2, tree)


TRANSFORMATIONS = {
    name: gradtx.masked(tx, are_matrices) if name.partition("+")[0] in OF_MATRICES else tx for name, tx in MADE.items()
}
CASES = TRANSFORMATIONS | {name: gradtx.scale_by_schedule(schedule) for name, schedule in SCHEDULES.items()}
"""What the laws run over: every transformation, and every schedule as a step size."""


def params_like(dtype: Any = jnp.float32) -> dict[str, Any]:
    """A small tree: a matrix, a vector and a None. Laws share what is compiled for its shapes."""
    random = np.random.default_rng(0)
    shapes = {"dense": {"kernel": (4, 3), "bias": (3,)}, "absent": None}
    return jax.tree.map(lambda shape: _draw(random, shape, dtype), shapes, is_leaf=lambda x: isinstance(x, tuple))


def mixed() -> dict[str, Any]:
    """A leaf of each dtype, all of different shapes, in x64 mode."""
    random = np.random.default_rng(2)
    leaves = {"kernel": ((4, 3), "float32"), "bias": ((3,), "bfloat16"), "phase": ((7,), "complex64")}
    leaves |= {"half": ((2, 2), "float16"), "double": ((5,), "float64")}
    return {name: _draw(random, shape, jnp.dtype(dtype)) for name, (shape, dtype) in leaves.items()}


def gradients(params: Any, steps: int = 20, seed: int = 1) -> Any:
    """Gradients like the params, with a leading axis of steps."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda p: _draw(random, (steps, *p.shape), p.dtype), params)


def _draw(random: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    real, imag = random.normal(size=(2, *shape))
    return jnp.asarray(real + 1j * imag if jnp.issubdtype(dtype, jnp.complexfloating) else real, dtype)


@functools.cache
def problem(dtype: str = "float32") -> tuple[Any, Any]:
    """Params and gradients of a dtype."""
    params = params_like(jnp.dtype(dtype))
    return params, gradients(params)


def extras(params: Any, grads: Any, index: Any) -> dict[str, Any]:
    r"""The standard extras of one step, all of one loss around the current params :math:`p`, with gradient g there.

    .. math:: f(q) = 1 + \cos(e\, i) + \mathrm{Re} \langle g, q - p \rangle + 0.06\, |q - p|^2

    Functions that are not called cost nothing. A step of -g leaves 0.88 of the slope, no round number that a line
    search might compare it with.
    """
    value = jnp.asarray(1.0 + jnp.cos(jnp.asarray(index, float) * math.e), float)

    def each(leaf: Any, absent: Callable[[Any], Any], q: Any) -> Any:
        def visit(g: Any, x: Any, p: Any) -> Any:
            return absent(g) if g is None or g.dtype == jax.dtypes.float0 else leaf(g, x - p)

        return jax.tree.map(visit, grads, q, params, is_leaf=lambda x: x is None)

    def value_fn(q: Any) -> jax.Array:
        def term(g: Any, d: Any) -> jax.Array:
            products = jnp.real(jnp.conj(g + 0.06 * d) * d)
            wide = np.promote_types(np.float32, products.dtype if products.dtype.itemsize >= 4 else np.float32)
            return jnp.sum(products, dtype=wide).astype(value.dtype)

        return sum(jax.tree.leaves(each(term, lambda g: None, q)), start=value)

    def grad_fn(q: Any) -> Any:
        return each(lambda g, d: (g + 0.12 * d).astype(g.dtype), lambda g: g, q)

    return {
        "value": value,
        "grad": grads,
        "value_fn": value_fn,
        "grad_fn": grad_fn,
        "value_and_grad_fn": lambda q: (value_fn(q), grad_fn(q)),
        "key": jax.random.key(index),
        "max_logits": 100.0 * (1 + 0.1 * jnp.cos(jnp.asarray([index], jnp.float32))),
    }


def as_given(tx: Any, grads: Any) -> Any:
    """The gradients as a transformation takes them: for `EXAMPLES`, of two examples; for `SIGNED`, negated."""
    if tx.factory.name in SIGNED:
        return jax.tree.map(lambda g: g if g.dtype == jax.dtypes.float0 else -g, grads)
    if not any(name in repr(tx) for name in EXAMPLES):
        return grads
    return jax.tree.map(lambda g: g if g.dtype == jax.dtypes.float0 else jnp.stack([g, g]), grads)


def step_once(tx: Any, params: Any, state: Any, grads: Any, index: Any) -> tuple[Any, Any]:
    """One training step, with every standard extra."""
    return full_step(tx, params, state, grads, index)[:2]


def full_step(tx: Any, params: Any, state: Any, grads: Any, index: Any) -> tuple[Any, Any, Any]:
    """`step_once`, with the updates too: a program that returns as many buffers as it takes."""
    updates, state = tx.update(as_given(tx, grads), state, params, **extras(params, grads, index))
    return gradtx.apply_updates(params, updates), state, updates


def advance(tx: Any, params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
    """The steps whose gradients are given, under `lax.scan`."""
    steps = jax.tree.leaves(grads)[0].shape[0]

    def body(carry: Any, xs: Any) -> Any:
        index, g = xs
        return step_once(tx, *carry, g, index), None

    return jax.lax.scan(body, (params, state), (jnp.arange(steps), grads))[0]


def run(tx: Any, params: Any, grads: Any) -> tuple[Any, Any]:
    """All steps from the start; returns final params and state."""
    return advance(tx, params, tx.init(params), grads)


def at(tree: Any, index: int) -> Any:
    """What is at an index of the leading axis of every leaf."""
    return jax.tree.map(lambda x: x[index], tree)
