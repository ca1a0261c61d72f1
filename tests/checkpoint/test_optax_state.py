"""Runs that Optax began and gradtx continues."""

import contextlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx import checkpoint
from gradtx.errors import TreeMismatchError
from tests.conftest import x64_mode

STEPS = 6
MASK = {"dense": {"kernel": True, "bias": False}, "head": False}


def params() -> Any:
    return {"dense": {"kernel": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3), "bias": jnp.ones(3)}, "head": jnp.ones(2)}


def gradients(p: Any) -> Any:
    return jax.tree.map(lambda x: jnp.sin(3 * x) + 0.1 * x, p)


def run(tx: Any, p: Any, state: Any, steps: int = STEPS) -> Any:
    update = jax.jit(lambda g, state, p: tx.update(g, state, p))
    for _ in range(steps):
        updates, state = update(gradients(p), state, p)
        p = optax.apply_updates(p, updates)
    return p, state


Make = Callable[[Any], Any]

BOTH: dict[str, Make] = {
    "sgd": lambda lib: lib.sgd(0.1),
    "sgd momentum": lambda lib: lib.sgd(0.1, momentum=0.9),
    "sgd nesterov schedule": lambda lib: lib.sgd(lib.cosine_decay_schedule(0.1, 9), momentum=0.9, nesterov=True),
    "adam": lambda lib: lib.adam(0.1),
    "adam schedule": lambda lib: lib.adam(lib.exponential_decay(0.1, 3, 0.5)),
    "nadam": lambda lib: lib.nadam(0.1),
    "adamw mask": lambda lib: lib.adamw(0.1, weight_decay=0.1, mask=MASK),
    "adamw clip schedule": lambda lib: lib.chain(
        lib.clip_by_global_norm(0.5),
        lib.adamw(lib.linear_schedule(0.1, 0.01, 8), weight_decay=0.1),
    ),
    "flat chain": lambda lib: lib.chain(
        lib.clip(0.5),
        lib.scale_by_adam(),
        lib.add_decayed_weights(0.1),
        lib.scale_by_learning_rate(lambda i: 0.1 / (i + 1)),
    ),
    "adafactor": lambda lib: lib.adafactor(0.1, min_dim_size_to_factor=2, momentum=0.9),
    "masked": lambda lib: lib.masked(lib.chain(lib.trace(0.9), lib.scale(-0.1)), MASK),
    "partition": lambda lib: lib.partition(
        {"a": lib.adam(0.1), "b": lib.sgd(lib.linear_schedule(0.1, 0.0, 9), momentum=0.5)}, {"dense": "a", "head": "b"}
    ),
    "named": lambda lib: lib.named_chain(("b", lib.trace(0.9)), ("a", lib.trace(0.5)), ("c", lib.scale(-0.02))),
    "adagrad": lambda lib: lib.adagrad(0.1),
    "rmsprop momentum schedule": lambda lib: lib.rmsprop(lib.linear_schedule(0.1, 0.01, 8), momentum=0.9),
    "adadelta": lambda lib: lib.adadelta(10.0),
    "amsgrad": lambda lib: lib.amsgrad(0.1),
    "adabelief": lambda lib: lib.adabelief(0.1),
    "yogi": lambda lib: lib.yogi(0.1),
    "radam": lambda lib: lib.radam(0.1),
    "ema": lambda lib: lib.chain(lib.ema(0.9), lib.scale(-0.1)),
    "lion": lambda lib: lib.lion(0.01, weight_decay=0.1),
    "lamb": lambda lib: lib.lamb(0.1, weight_decay=0.1),
    "lars": lambda lib: lib.lars(0.1, 0.1, trust_coefficient=0.1),
    "madgrad": lambda lib: getattr(lib, "contrib", lib).madgrad(0.1),
    "novograd": lambda lib: lib.novograd(0.1, b2=0.9),
}


@pytest.mark.parametrize("name", BOTH)
def test_a_run_goes_on_as_in_optax(name: str) -> None:
    # In float32, Optax loses digits of the length of RAdam's average; with double precision beside it, both agree.
    with x64_mode() if name == "radam" else contextlib.nullcontext():
        check_that_a_run_goes_on(BOTH[name](optax), BOTH[name](gradtx), stateful=name != "sgd")


def check_that_a_run_goes_on(theirs: Any, ours: Any, stateful: bool) -> None:
    p, optax_state = run(theirs, params(), theirs.init(params()))
    state = checkpoint.from_optax_state(ours, optax_state, p)
    fresh = ours.init(p)
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), fresh)
    expected, _ = run(theirs, p, optax_state)
    got, _ = run(ours, p, state)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)
    if stateful:  # a state that was not read would have been seen
        forgot, _ = run(ours, p, fresh)
        assert not np.allclose(jax.tree.leaves(forgot)[1], jax.tree.leaves(expected)[1], rtol=1e-3)


def test_the_values_in_force_are_those_of_the_last_update() -> None:
    make = BOTH["adamw clip schedule"]
    p, optax_state = run(make(optax), params(), make(optax).init(params()))
    state = checkpoint.from_optax_state(make(gradtx), optax_state, p)
    assert gradtx.get_hyperparams(state)["learning_rate"] == gradtx.linear_schedule(0.1, 0.01, 8)(STEPS - 1)


def test_moments_in_low_precision_are_raised() -> None:
    p = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params())
    tx = optax.adam(0.1)
    _, optax_state = tx.update(gradients(p), tx.init(p), p)
    state = checkpoint.from_optax_state(gradtx.adam(0.1), optax_state, p)
    nu = gradtx.tree.get_field(state, "nu")["head"]
    assert nu.dtype == jnp.float32
    np.testing.assert_array_equal(nu, optax_state[0].nu["head"].astype(jnp.float32))


def test_injected_hyperparameters_are_tunable_here() -> None:
    theirs = optax.inject_hyperparams(optax.adam)(learning_rate=0.1, b1=0.8)
    p, optax_state = run(theirs, params(), theirs.init(params()))
    optax_state.hyperparams["learning_rate"] = jnp.asarray(0.02)
    ours = gradtx.tunable(gradtx.adam(0.5, b1=0.5))
    state = checkpoint.from_optax_state(ours, optax_state, p)
    expected, got = run(theirs, p, optax_state)[0], run(ours, p, state)[0]
    np.testing.assert_allclose(got["head"], expected["head"], rtol=1e-5)

    scheduled = optax.inject_hyperparams(optax.adam)(optax.linear_schedule(0.1, 0.01, 8))
    p, optax_state = run(scheduled, params(), scheduled.init(params()))
    ours = gradtx.adam(gradtx.linear_schedule(0.1, 0.01, 8))
    state = checkpoint.from_optax_state(ours, optax_state, p)
    expected, got = run(scheduled, p, optax_state)[0], run(ours, p, state)[0]
    np.testing.assert_allclose(got["head"], expected["head"], rtol=1e-5)


def test_the_states_share_no_memory() -> None:
    tx = gradtx.adam(0.1)
    optax_state = optax.adam(0.1).init(params())
    state = checkpoint.from_optax_state(tx, optax_state, params())
    jax.jit(tx.update, donate_argnums=(1,))(gradients(params()), state)
    assert not optax_state[0].mu["head"].is_deleted()


WHERE = "gradtx.checkpoint.from_optax_state: expected "
HINT = "; make the same chain as in Optax; a wrapper's state cannot be read, but what it wraps can"
OTHER = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(3)}, "head": jnp.ones(2)}

MISTAKES: dict[str, tuple[Any, Any, str]] = {
    "too much": (
        gradtx.sgd(0.1),
        optax.adam(0.1),
        f"a place for every part of the Optax state, got ScaleByAdamState(count, mu, nu){HINT}",
    ),
    "too little": (
        gradtx.adam(0.1),
        optax.sgd(0.1),
        f"an Optax state with the fields ['count', 'mu', 'nu'], got nothing further{HINT}",
    ),
    "no schedule": (
        gradtx.sgd(gradtx.linear_schedule(0.1, 0.0, 9)),
        optax.sgd(0.1, momentum=0.9),
        f"an Optax state with the fields ['count'], got TraceState(trace){HINT}",
    ),
    "injected": (
        gradtx.adam(0.1),
        optax.inject_hyperparams(optax.adam)(0.1),
        (
            "a place for every part of the Optax state, got InjectStatefulHyperparamsState(count, hyperparams, "
            "hyperparams_states, inner_state); hyperparameters were injected: continue with tunable(...), or a schedule"
        ),
    ),
    "wrapper": (
        gradtx.accumulate(gradtx.sgd(0.1), 2),
        optax.MultiSteps(optax.sgd(0.1), 2),
        (
            "an Optax state with the fields ['mini_step', 'gradient_step', 'acc_grads', 'inner_state'], got "
            f"MultiStepsState(mini_step, gradient_step, inner_opt_state, acc_grads, skip_state){HINT}"
        ),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_states_that_do_not_match(name: str) -> None:
    ours, theirs, message = MISTAKES[name]
    with pytest.raises(TreeMismatchError) as caught:
        checkpoint.from_optax_state(ours, theirs.init(params()), params())
    assert str(caught.value) == WHERE + message


def test_states_of_other_params() -> None:
    tx = gradtx.sgd(0.1, momentum=0.9)
    message = "float32[2, 3], as the params, got float32[3, 2] at ['dense']['kernel']; pass its params"
    with pytest.raises(TreeMismatchError, match=re.escape(WHERE + message)):
        checkpoint.from_optax_state(tx, optax.sgd(0.1, momentum=0.9).init(OTHER), params())
    with pytest.raises(TreeMismatchError, match=r"moments of the same params, got a leaf in one only at \['more'\]"):
        checkpoint.from_optax_state(tx, optax.sgd(0.1, momentum=0.9).init(params() | {"more": jnp.ones(1)}), params())


# --- params with the names of fields ----------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Params in a named tuple whose fields are those of states."""

    count: Any
    hyperparams: Any
    mu: Any
    nu: Any
    trace: Any


class Inner(NamedTuple):
    """Params in what looks like the state of a mask."""

    inner_state: Any


LEAVES = (jnp.ones((2, 3)), jnp.ones(3), jnp.ones(()), jnp.ones((3, 2)), jnp.ones(2))
FORMS: dict[str, Callable[..., Any]] = {
    "keys": lambda *xs: dict(zip(Moments._fields, xs, strict=True)),
    "nested keys": lambda *xs: {"inner_state": {"trace": dict(zip(Moments._fields, xs, strict=True))}},
    "fields": Moments,
    "nested fields": lambda *xs: Inner(Moments(*xs)),
    "no names": lambda *xs: xs,
}

OF_ANY_PARAMS = {name: make for name, make in BOTH.items() if name not in ("adamw mask", "masked", "partition")}
OF_ANY_PARAMS |= {
    "masked": lambda lib: lib.masked(lib.chain(lib.trace(0.9), lib.scale(-0.1)), matrices),
    "partition": lambda lib: lib.partition(
        {"mu": lib.adam(0.1), "trace": lib.sgd(lib.linear_schedule(0.1, 0.0, 9), momentum=0.5)},
        lambda p: jax.tree.map(lambda x: "mu" if x.ndim == 2 else "trace", p),
    ),
}


def matrices(p: Any) -> Any:
    return jax.tree.map(lambda x: x.ndim == 2, p)


def numbered(state: Any) -> Any:
    """A state with other numbers in each array."""
    arrays, treedef = jax.tree.flatten(state)
    return treedef.unflatten([jnp.asarray(x + i + 1, x.dtype) for i, x in enumerate(arrays)])


@pytest.mark.parametrize("name", OF_ANY_PARAMS)
def test_names_in_the_params_are_not_taken_for_fields_of_the_state(name: str) -> None:
    ours, theirs = OF_ANY_PARAMS[name](gradtx), OF_ANY_PARAMS[name](optax)
    plain = dict(zip("abcde", LEAVES, strict=True))
    expected = jax.tree.leaves(checkpoint.from_optax_state(ours, numbered(theirs.init(plain)), plain))
    for form, make in FORMS.items():
        p = make(*LEAVES)
        state = checkpoint.from_optax_state(ours, numbered(theirs.init(p)), p)
        assert jax.tree.structure(state) == jax.tree.structure(ours.init(p)), form
        for x, y in zip(jax.tree.leaves(state), expected, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=form)


@pytest.mark.parametrize("form", FORMS)
def test_a_state_that_is_a_bare_tree_is_refused(form: str) -> None:
    """Nothing says what it is; with the fields of a moment, it would be read in place of one, else it would be lost."""
    p = FORMS[form](*LEAVES)
    bare = optax.GradientTransformation(lambda p: jax.tree.map(jnp.zeros_like, p), lambda g, s, p=None: (g, s))
    message = (
        r"expected states that are named tuples, got (float32\[2, 3\]|Moments\(.*\)|Inner\(inner_state\)); read the"
    )
    for ours, theirs in (
        (gradtx.chain(bare, gradtx.adam(0.1)), optax.chain(bare, optax.adam(0.1))),
        (gradtx.adam(0.1), bare),
        (gradtx.chain(bare), optax.adam(0.1)),
        (gradtx.masked(bare, matrices), optax.masked(bare, matrices)),
        (gradtx.adam(gradtx.linear_schedule(0.1, 0.0, 9)), optax.inject_hyperparams(lambda rate: bare)(rate=0.1)),
    ):
        with pytest.raises(TreeMismatchError, match=message):
            checkpoint.from_optax_state(ours, theirs.init(p), p)
