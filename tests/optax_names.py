"""Optax's names and gradtx's: the lists in docs/from-optax.md, which ``python -m tests.optax_names`` writes anew."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import optax

import gradtx

PAGE = Path(__file__).parents[1] / "docs" / "from-optax.md"
VERSION = "0.2.8"
"""The version of Optax the page is about."""

FAMILIES = {
    "Optimizers": r"optax\._src\.alias|functools",
    "Transformations": r"optax\._src\.(base|factorized|linesearch|transform|update)|optax\.transforms\.\w+",
    "Wrappers": r"optax\._src\.lookahead|optax\.microbatching\.\w+",
    "Schedules": r"optax\.schedules\.\w+",
    "optax.contrib": r"optax\.contrib",
}
"""Where Optax defines what. Losses, linear algebra, tree utilities and the classes of states are left out."""

OTHER: dict[str, tuple[str, str]] = {
    "MultiSteps": ("accumulate", "a transformation like any other; a NaN spoils one average, not all later ones"),
    "adadelta": ("adadelta", "the rate is 1, the method as published, if none is given"),
    "adafactor": ("adafactor", "momentum is at least float32; nothing overflows"),
    "adaptive_grad_clip": ("adaptive_grad_clip", "`output_axis` numbers the units, also where there are three axes"),
    "add_noise": ("add_noise", "a new `key` with each update"),
    "adan": ("adan", "differences weigh `b2`, as in the authors' code; Optax's `1 - b2`"),
    "amsgrad": ("amsgrad", "`bias_correction` names one of three conventions"),
    "apply_if_finite": ("apply_if_finite", "the result is looked at too, not only the gradients"),
    "centralize": ("centralize", "the last axis numbers the outputs, as in JAX's kernels; Optax takes the first"),
    "clip_by_global_norm": ("clip_by_global_norm", 'global inside `partition` too, unless `scope="group"`'),
    "conditionally_mask": ("conditionally_mask", "the condition gets the extras it has parameters for"),
    "conditionally_transform": ("conditionally_transform", "the condition gets the extras it has parameters for"),
    "inject_hyperparams": ("inject_hyperparams", "writes `tunable(factory(...))`; schedules need no injection"),
    "inject_stateful_hyperparams": ("tunable", "every number takes a schedule, a stateful one too"),
    "flatten": ("flatten", "a vector for each dtype, so that none is promoted"),
    "lbfgs": ("lbfgs", "pairs without curvature are not kept; the first step has length 1"),
    "lookahead": ("lookahead", "ordinary params; `lookahead_params(state)` are the slow ones"),
    "measure_with_ema": ("measure_with_ema", "a member of a chain, not an entry of `monitor`"),
    "microbatch": ("build_step", "`accumulate=k`"),
    "monitor": ("monitor", "it knows what to measure, by groups of leaves"),
    "nadamw": ("adamw", "`nesterov=True`"),
    "noisy_sgd": ("noisy_sgd", "a new `key` with each update"),
    "optimistic_adam": ("optimistic_adam", "this is Optax's `optimistic_adam_v2`"),
    "partition": ("partition", "labels may be globs on the names of leaves"),
    "multi_transform": ("multi_transform", "another name of `partition`"),
    "scale_by_adan": ("scale_by_adan", "differences weigh `b2`, as in the authors' code; Optax's `1 - b2`"),
    "scale_by_amsgrad": ("scale_by_amsgrad", "`bias_correction` names one of three conventions"),
    "scale_by_backtracking_linesearch": (
        "scale_by_backtracking_linesearch",
        "`increase_factor` is finite; the functions are of the params alone",
    ),
    "scale_by_distance_over_gradients": (
        "scale_by_distance_over_gradients",
        "`param_dtype` is that of the params; the update of a scalar is one",
    ),
    "scale_by_factored_rms": ("scale_by_factored_rms", "`max_decay` in place of a function; no params needed"),
    "scale_by_lion": ("scale_by_lion", "the sign alone, no smoothed ones"),
    "scale_by_radam": ("scale_by_radam", "another name of `scale_by_rectified_adam`"),
    "rprop": ("rprop", "torch's numbers: Optax 0.2.8 returns each update one call late"),
    "scale_by_rprop": ("scale_by_rprop", "each update at once"),
    "scale_by_sm3": ("scale_by_sm3", "scalars and complex numbers too"),
    "sm3": ("sm3", "scalars and complex numbers too; `momentum=None` keeps none"),
    "scale_by_zoom_linesearch": ("scale_by_zoom_linesearch", "`stepsize_precision` is relative"),
    "skip_large_updates": ("skip_large_updates", "a wrapper; `skip_if(accumulate(...), predicate)` takes Optax's"),
    "with_extra_args_support": (
        "from_functions",
        "not needed: `chain` hands on the extras a member has parameters for",
    ),
    "contrib.acprop": ("acprop", "the first gradient of an element after zeros makes no huge step"),
    "contrib.dog": ("dog", "nothing overflows; a first gradient of zero does not stop it"),
    "contrib.differentially_private_aggregate": ("differentially_private_aggregate", "a new `key` with each update"),
    "contrib.dpsgd": ("dpsgd", "a new `key` with each update"),
    "contrib.galore": ("galore", "the signs of singular vectors are fixed; embeddings and heads are not matrices"),
    "contrib.scale_by_galore": ("scale_by_galore", "the signs of singular vectors are fixed; all leaves are matrices"),
    "contrib.hutchinson_estimator_diag_hessian": ("hutchinson_diagonal", "the standard extras, and a `key`"),
    "contrib.momo": ("momo", "the step minimizes its model with a decay too, as in the authors' code"),
    "contrib.momo_adam": ("momo_adam", "the step minimizes its model with a decay too, as in the authors' code"),
    "contrib.mechanize": ("mechanize", "keeps the sum of steps, not the first params: those in bfloat16 move too"),
    "contrib.reduce_on_plateau": (
        "reduce_on_plateau",
        "an update without `value` leaves it alone; metrics may be negative",
    ),
    "contrib.scale_by_acprop": ("scale_by_acprop", "the first gradient of an element after zeros makes no huge step"),
    "contrib.muon": ("muon", "Moonlight's scale and the author's momentum; embeddings and heads are not matrices"),
    "contrib.scale_by_muon": ("scale_by_muon", "the author's momentum; `bias_correction=True` is Optax's"),
    "contrib.sam": ("sam", "one update is one step; `build_step` gives it its second gradient"),
    "contrib.schedule_free": ("schedule_free", "weights by the rate of the same step, not of the next"),
    "contrib.schedule_free_adamw": ("schedule_free_adamw", "the authors' warm-up, whose first step is not 0"),
    "contrib.schedule_free_sgd": ("schedule_free_sgd", "the authors' warm-up, whose first step is not 0"),
    "contrib.sophia": ("sophia", "an estimate is used at the step that makes it"),
}
"""By Optax's name: the name here, and what is different about it."""

HEAD = """
MultiSteps adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan adaptive_grad_clip
add_decayed_weights add_noise amsgrad apply_every apply_if_finite apply_updates centralize chain clip
clip_by_block_rms clip_by_global_norm conditionally_mask conditionally_transform ema flatten freeze fromage identity
incremental_update keep_params_nonnegative lamb lars lbfgs lion lookahead masked measure_with_ema microbatch monitor
multi_transform nadam nadamw named_chain noisy_sgd normalize_by_update_norm novograd optimistic_adam
optimistic_adam_v2 optimistic_gradient_descent partition per_example_global_norm_clip per_example_layer_norm_clip
periodic_update polyak_sgd radam rmsprop rprop scale scale_by_adadelta scale_by_adam scale_by_adamax scale_by_adan
scale_by_amsgrad scale_by_backtracking_linesearch scale_by_belief scale_by_distance_over_gradients
scale_by_factored_rms scale_by_lbfgs scale_by_learning_rate scale_by_lion scale_by_novograd
scale_by_optimistic_gradient scale_by_param_block_norm scale_by_param_block_rms scale_by_polyak scale_by_radam
scale_by_rms scale_by_rprop scale_by_rss scale_by_schedule scale_by_sign scale_by_sm3 scale_by_stddev
scale_by_trust_ratio scale_by_yogi scale_by_zoom_linesearch selective_transform set_to_zero sgd sign_sgd signum
skip_large_updates skip_not_finite sm3 snapshot stateless stateless_with_tree_map trace value_and_grad_from_state
with_extra_args_support yogi zero_nans contrib.acprop contrib.ademamix contrib.adopt contrib.cocob
contrib.dadapt_adamw contrib.differentially_private_aggregate contrib.dog contrib.dowg contrib.dpsgd contrib.galore
contrib.hutchinson_estimator_diag_hessian contrib.madgrad contrib.mechanize contrib.momo contrib.momo_adam
contrib.muon contrib.normalize contrib.prodigy contrib.reduce_on_plateau contrib.sam contrib.scale_by_acprop
contrib.scale_by_ademamix contrib.scale_by_adopt contrib.scale_by_cocob contrib.scale_by_galore
contrib.scale_by_madgrad contrib.scale_by_muon contrib.scale_by_simplified_ademamix contrib.schedule_free
contrib.schedule_free_adamw contrib.schedule_free_eval_params contrib.schedule_free_sgd contrib.simplified_ademamix
contrib.sophia contrib.split_real_and_imaginary
""".split()  # noqa: SIM905
"""The names of a development version of Optax (0.2.9, August 2026) that transform gradients, or help to."""

FUNCTIONS = {
    "apply_updates",
    "build_step",
    "incremental_update",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "periodic_update",
    "schedule_free_eval_params",
    "skip_not_finite",
    "value_and_grad_from_state",
}
"""Those of gradtx's counterparts that are functions and make no transformation."""

INTERNAL = {"init_empty_state", "optimistic_adam_v2", "value_and_grad_from_state"}
"""Not transformations, and aliases."""


def optaxs() -> dict[str, list[str]]:
    """Optax's functions that make transformations or schedules, by family."""
    named: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for space, prefix in ((optax, ""), (optax.contrib, "contrib.")):
        for name, x in inspect.getmembers(space, callable):
            where = "optax.contrib" if prefix else getattr(x, "__module__", "")
            family = next((family for family, modules in FAMILIES.items() if re.fullmatch(modules, where)), None)
            if family and name not in INTERNAL and (name[0].islower() or name == "MultiSteps"):
                named[family].append(prefix + name)
    return named


def lists() -> str:
    """The lists, as Markdown."""
    return "\n".join(_lines(optaxs()))


def _lines(named: dict[str, list[str]]) -> Iterator[str]:
    def here(name: str) -> bool:
        return hasattr(gradtx, name.removeprefix("contrib."))

    def rows(wanted: bool) -> Iterator[str]:
        yield "| | |\n|---|---|"
        for family, names in named.items():
            chosen = [f"`{name}`" for name in names if name not in OTHER and here(name) is wanted]
            if chosen:
                yield f"| {family} | {', '.join(chosen)} |"

    yield "**The same**, with the same arguments and, but for what differs above, the same numbers up to rounding:\n"
    yield from rows(True)
    yield "\n**Another name, or another meaning:**\n"
    yield "| Optax | gradtx | |\n|---|---|---|"
    every = [name for names in named.values() for name in names]
    yield from (f"| `{name}` | `{OTHER[name][0]}` | {OTHER[name][1]} |" for name in every if name in OTHER)
    missing = list(rows(False))[1:]
    yield "\n**Missing.** Most of these can be a member of a gradtx chain:\n" if missing else "\n**Missing:** nothing."
    yield from ["| | |\n|---|---|", *missing] if missing else []


BETWEEN = re.compile(
    r"(?<=<!-- optax names: made by tests/optax_names.py -->\n\n).*?(?=\n\n<!-- /optax names -->)", re.DOTALL
)

if __name__ == "__main__":
    PAGE.write_text(BETWEEN.sub(lambda _: lists(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
