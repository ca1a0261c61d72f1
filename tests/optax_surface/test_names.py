"""Every name of Optax that makes or uses transformations is in gradtx.optax, with Optax's arguments and fields."""

import importlib
import inspect
import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import optax as theirs
import pytest

import gradtx
import gradtx.optax as ours

SPACES = ("", ".contrib", ".schedules", ".transforms", ".tree", ".tree_utils")

OTHER_FIELDS = {
    "DoGState": "gradtx has no flag of the first step",
    "DoWGState": "gradtx keeps the norm and not its square",
    "GaLoreState": "the states of matrices, in batches",
    "MechanicState": "the sum of steps in place of the first params",
}
"""State classes with other fields, and why."""


def _pairs() -> Iterator[tuple[str, str, Any]]:
    for space in SPACES:
        module = importlib.import_module(f"optax{space}")
        for name, x in sorted(vars(module).items()):
            if not name.startswith("_") and not isinstance(x, types.ModuleType) and name not in ("functools", "typing"):
                yield space, name, x


def _is_foreign(x: Any) -> bool:
    module = getattr(x, "__module__", "") or ""
    parts = ("losses", "projections", "assignment", "perturbations", "second_order", "experimental", "microbatching")
    small = ("linear_algebra", "random", "custom_gradient")
    return module.startswith(tuple(f"optax.{part}" for part in parts)) or any(module.endswith(end) for end in small)


NAMES = {f"optax{space}.{name}": (space, name, x) for space, name, x in _pairs() if not _is_foreign(x)}


@pytest.mark.parametrize("space", SPACES)
def test_every_name_is_there(space: str) -> None:
    module = importlib.import_module(f"gradtx.optax{space}")
    missing = [name for where, name, x in NAMES.values() if where == space and name not in vars(module)]
    assert set(missing) <= HANDED_ON, missing


HANDED_ON = {"multi_normal", "scale_gradient", "nnls", "power_iteration", "matrix_inverse_pth_root"}
"""Names at Optax's top level that are not about transformations."""


def _form(function: Any) -> list[tuple[str, Any, Any]]:
    """The arguments of a function: names, kinds and defaults; of functions and transformations, that there is one."""
    rows = []
    for p in inspect.signature(function).parameters.values():
        default = p.default
        if default is not p.empty and (callable(default) or hasattr(default, "init")) and default is not jnp.float32:
            default = "a function or a transformation"
        rows.append((p.name, p.kind, default))
    return rows


def _functions() -> list[str]:
    found = []
    for label, (_, name, x) in NAMES.items():
        if name in HANDED_ON or not callable(x) or inspect.isclass(x):
            continue
        try:
            inspect.signature(x)
        except (TypeError, ValueError):
            continue
        if not (getattr(x, "__module__", "") or "").startswith("typing"):
            found.append(label)
    return found


@pytest.mark.parametrize("label", _functions())
def test_arguments_are_optaxs(label: str) -> None:
    space, name, x = NAMES[label]
    mine = getattr(importlib.import_module(f"gradtx.optax{space}"), name)
    expected, got = _form(x), _form(mine)
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    for (argument, _, default), (_, _, wanted) in zip(got, expected, strict=True):
        assert default is wanted or default == wanted, argument


def _is_state(name: str, x: Any) -> bool:
    is_named_tuple = inspect.isclass(x) and hasattr(x, "_fields")
    return is_named_tuple and name not in OTHER_FIELDS and not name.startswith("GradientTransformation")


STATES = sorted(label for label, (_, name, x) in NAMES.items() if _is_state(name, x))


@pytest.mark.parametrize("label", STATES)
def test_states_have_optaxs_fields_first(label: str) -> None:
    space, name, x = NAMES[label]
    mine = getattr(importlib.import_module(f"gradtx.optax{space}"), name)
    assert mine._fields[: len(x._fields)] == x._fields


def test_classes() -> None:
    tx = ours.adam(1e-3)
    assert isinstance(tx, ours.GradientTransformation)
    assert isinstance(tx, ours.GradientTransformationExtraArgs)
    assert isinstance(tx, theirs.GradientTransformation)
    init, update = tx
    assert tx[0] is init
    assert tx[1] is update
    made = ours.GradientTransformation(lambda params: (), lambda updates, state, params=None: (updates, state))
    assert isinstance(made, ours.GradientTransformation)


def test_losses_are_those_of_an_installed_optax() -> None:
    assert ours.softmax_cross_entropy is theirs.softmax_cross_entropy
    assert ours.losses is theirs.losses
    assert ours.projections is theirs.projections
    assert importlib.import_module("gradtx.optax.losses").l2_loss is theirs.losses.l2_loss
    from gradtx.optax.projections import projection_simplex

    assert projection_simplex is theirs.projections.projection_simplex
    with pytest.raises(AttributeError):
        _ = ours.no_such_name


def test_states_pickle() -> None:
    state = ours.chain(ours.clip_by_global_norm(1.0), ours.lion(1e-3)).init(jnp.ones(2))
    assert str(pickle.loads(pickle.dumps(state))) == str(state)  # noqa: S301


@pytest.mark.parametrize("build", [ours.rmsprop, ours.lion, ours.contrib.prodigy, ours.contrib.simplified_ademamix])
def test_transformations_pickle_and_are_equal(build: Any) -> None:
    tx = build(0.1)
    again = pickle.loads(pickle.dumps(tx))  # noqa: S301
    assert again == tx == build(0.1)
    assert hash(again) == hash(tx)


def test_nothing_of_it_is_in_gradtxs_registry() -> None:
    assert not [f for f in gradtx.registry().values() if f.function.__module__.startswith("gradtx.optax")]


@pytest.mark.parametrize("name", ["MultiSteps", "contrib", "losses", "tree_get"])
def test_gradtx_says_where_optaxs_names_are(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"gradtx\.optax\.{name}"):
        getattr(gradtx, name)


def test_gradtx_does_not_import_it() -> None:
    program = "import sys, gradtx; assert not {'optax', 'gradtx.optax'} & {*sys.modules}; gradtx.optax.adam"
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603


def test_it_works_without_optax() -> None:
    program = """
import sys
sys.modules["optax"] = None  # as if it were not installed
import gradtx.optax as optax
from gradtx.optax import contrib
optax.adam(1e-3), contrib.prodigy()
try:
    optax.softmax_cross_entropy
except ImportError as error:
    assert "pip install optax" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603
