"""What `import gradtx` offers: complete, documented, and by Optax's names where Optax has the thing."""

import inspect
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import optax
import pytest

import gradtx
from gradtx import checkpoint, errors, tree

FACTORIES = {
    name: factory
    for name, factory in gradtx.registry().items()
    if factory.function.__module__.startswith("gradtx.")  # tests may register their own
}

# --- the list of names ------------------------------------------------------------------------------------------------


PACKAGES = [gradtx, *(x for x in vars(gradtx).values() if isinstance(x, types.ModuleType) and hasattr(x, "__all__"))]


@pytest.mark.parametrize("module", PACKAGES, ids=lambda module: module.__name__)
def test_names_are_sorted_and_exist(module: types.ModuleType) -> None:
    assert list(module.__all__) == sorted(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)


def test_every_factory_and_alias_is_public_under_its_name() -> None:
    for name, factory in FACTORIES.items():
        assert getattr(gradtx, name) is factory.make, name
    for name, meant in gradtx.aliases().items():
        assert getattr(gradtx, name) is getattr(gradtx, meant), name
    assert set(gradtx.__all__) >= {*FACTORIES, *gradtx.aliases()}


def test_nothing_is_public_by_accident() -> None:
    present = {name for name, x in vars(gradtx).items() if name[0] != "_" and not isinstance(x, types.ModuleType)}
    assert present <= set(gradtx.__all__)


def test_a_name_is_registered_once() -> None:
    assert not set(gradtx.aliases()) & set(FACTORIES)
    assert len({factory.function for factory in FACTORIES.values()}) == len(FACTORIES)


def test_star_import_brings_the_list_and_no_more() -> None:
    namespace: dict[str, Any] = {}
    exec("from gradtx import *", namespace)  # noqa: S102
    assert set(namespace) - {"__builtins__"} == set(gradtx.__all__)


def test_the_library_needs_jax_alone() -> None:
    code = "import sys, gradtx; print(*{m.split('.')[0] for m in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    extras = {
        "optax",
        "flax",
        "chex",
        "equinox",
        "orbax",
        "safetensors",
        "typer",
        "rich",
        "matplotlib",
        "sklearn",
        "pandas",
    }
    assert not extras & set(run.stdout.split())


# --- docstrings -------------------------------------------------------------------------------------------------------


def summary(x: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(x) or "").partition("\n")[0]


def documented_objects() -> dict[str, Any]:
    """The public functions and classes; type aliases have no docstring at run time."""
    spaces = {"": gradtx, "checkpoint.": checkpoint, "tree.": tree, "errors.": errors}
    return {
        f"{prefix}{name}": x
        for prefix, space in spaces.items()
        for name, x in vars(space).items()
        if name in getattr(space, "__all__", vars(space)) and name[0] != "_"
        if inspect.isfunction(x) or inspect.isclass(x)
    }


@pytest.mark.parametrize("name", sorted(documented_objects()))
def test_a_public_name_has_a_summary(name: str) -> None:
    line = summary(documented_objects()[name])
    assert line.endswith(".")
    assert not line.startswith(f"{name.rpartition('.')[2]}("), "the docstring a named tuple makes of its fields"


@pytest.mark.parametrize("name", FACTORIES)
def test_a_docstring_has_its_sections(name: str) -> None:
    factory, text = FACTORIES[name], inspect.getdoc(FACTORIES[name].function) or ""
    sections = dict(re.findall(r"^(\w+):\n((?:  .*\n|\n)*)", text + "\n", re.MULTILINE))
    described = re.findall(r"^  \*?(\w+): ", sections.get("Args", ""), re.MULTILINE)
    assert described == list(factory.arguments), "Args describes each argument, in order"
    assert factory.kind == "schedule" or "State" in sections
    assert ">>> " in sections.get("Example", "")


COMMON = {
    "accumulate", "apply_every", "apply_if_finite", "clip", "ema", "flatten", "identity", "measure_with_ema", "monitor",
    "scale", "scale_by_learning_rate", "scale_by_schedule", "set_to_zero", "skip_if", "skip_large_updates",
    "snapshot", "split_real_and_imaginary", "stateless", "stateless_with_tree_map", "reduce_on_plateau", "tunable",
    "with_state_reset", "zero_nans",
}  # fmt: skip
"""What is nobody's idea in particular."""

ALGORITHMS = {
    "adam", "adaptive", "gradients", "layerwise", "matrix", "momentum", "parameter_free", "second_order", "wrappers",
}  # fmt: skip
"""Families whose other members are somebody's."""


@pytest.mark.parametrize(
    "name", [name for name, f in FACTORIES.items() if f.family in ALGORITHMS and name not in COMMON]
)
def test_an_algorithm_has_references(name: str) -> None:
    references = FACTORIES[name].references
    assert references
    assert all(re.search(r"\b(19|20)\d\d\b", entry) for entry in references), references


def test_families_are_the_folders() -> None:
    folders = {path.parent.name for path in (Path(gradtx.__file__).parent / "optimizers").glob("*/*.py")}
    assert {f.family for f in FACTORIES.values() if f.kind == "optimizer"} == folders
    assert FACTORIES["scale_by_yogi"].family == FACTORIES["yogi"].family == "adam"
    assert FACTORIES["cosine_decay_schedule"].family == "decay", "a schedule's is the file: all are in one folder"


# --- Optax's names ----------------------------------------------------------------------------------------------------

DIFFERENT = {
    "add_noise": {"key", "seed"},  # the key comes with each update
    "adafactor": {"dtype_momentum"},  # here that of the accumulators when none is given
    "adadelta": {"learning_rate"},  # here 1, the method as published, when none is given
    "adaptive_grad_clip": {"axis"},  # the axis of the outputs, as in `centralize`, not the axes to sum over
    "amsgrad": {"bias_correction_mu", "bias_correction_nu"},  # one argument for three conventions
    "apply_if_finite": {"max_consecutive_errors"},  # here 5 when none is given
    "chain": {"args"},
    "conditionally_mask": {"forward_extra_args"},  # the condition gets the extras it has parameters for
    "conditionally_transform": {"forward_extra_args"},
    "differentially_private_aggregate": {"key", "seed"},  # the key comes with each update
    "dpsgd": {"seed"},
    "global_norm": {"updates"},
    "inject_hyperparams": {"inner_factory", "static_args", "hyperparam_dtype"},  # `tunable` is the thing itself
    "lbfgs": {"linesearch"},  # the same search, as a value
    "lookahead": {"fast_optimizer", "sync_period", "slow_step_size", "reset_state"},
    "masked": {"mask_compatible_extra_args"},
    "noisy_sgd": {"key", "seed"},
    "optimistic_adam": {"optimism", "b1", "b2", "eps", "eps_root", "mu_dtype"},  # ours is Optax's optimistic_adam_v2
    "monitor": {"measures"},  # it knows what to measure; groups of leaves instead of functions of all
    "multi_transform": {"param_labels", "mask_compatible_extra_args"},  # globs need no labels
    "nadam": {"nesterov"},
    "named_chain": {"args"},
    "partition": {"param_labels", "mask_compatible_extra_args"},
    "scale_by_amsgrad": {"bias_correction_mu", "bias_correction_nu"},
    "scale_by_backtracking_linesearch": {"verbose"},  # the state says what was printed
    "scale_by_distance_over_gradients": {"param_dtype"},  # here that of the accumulators when none is given
    "scale_by_factored_rms": {"decay_rate_fn"},  # `max_decay` says what it was for
    "scale_by_learning_rate": {"learning_rate"},
    "scale_by_lion": {"mode", "smooth_beta"},  # the sign alone
    "scale_by_zoom_linesearch": {"verbose"},
    "skip_large_updates": {"updates", "gradient_step", "params", "max_squared_norm"},  # a predicate there
}
"""Where names are shared: the arguments of Optax that have another name or default here, or are missing."""


def in_optax(name: str) -> Any:
    """Optax's thing of that name, which may have moved to its ``contrib``; ``None`` if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(optax, name, None)


SHARED = sorted(name for name in gradtx.__all__ if inspect.isfunction(in_optax(name)))


@pytest.mark.parametrize("name", SHARED)
def test_arguments_are_optaxs(name: str) -> None:
    ours = inspect.signature(getattr(gradtx, name)).parameters
    theirs = inspect.signature(in_optax(name)).parameters
    known = [p for p in theirs if p not in DIFFERENT.get(name, set())]
    positional = [p for p in known if theirs[p].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    for argument in known:
        assert argument in ours, argument
        assert ours[argument].default == theirs[argument].default, argument
    if name not in DIFFERENT:
        assert [*ours][: len(positional)] == positional


def test_many_names_are_shared() -> None:
    assert len(SHARED) > 50


@pytest.mark.parametrize(
    ("name", "meant"), [("scale_by_radam", "scale_by_rectified_adam"), ("multi_transform", "partition")]
)
def test_optaxs_other_spellings(name: str, meant: str) -> None:
    assert gradtx.aliases()[name] == meant
    assert getattr(gradtx, name) is getattr(gradtx, meant)
    assert name not in gradtx.registry()
    if name == "scale_by_radam":
        assert gradtx.parse("scale_by_radam(threshold=4.0)") == gradtx.scale_by_rectified_adam(threshold=4.0)


def test_inject_hyperparams_is_optaxs_way_to_write_tunable() -> None:
    assert gradtx.inject_hyperparams(gradtx.adam)(learning_rate=1e-3) == gradtx.tunable(gradtx.adam(1e-3))
