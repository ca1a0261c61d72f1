"""The mistakes people make, and what they read then."""

import jax.numpy as jnp
import pytest

import gradtx
from gradtx import errors

PARAMS = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
GRADS = PARAMS


def update(tx, grads=GRADS, state=None, params=PARAMS):
    return tx.update(grads, tx.init(PARAMS) if state is None else state, params)


MISTAKES = {
    "the rate by torch's name": (
        lambda: gradtx.adam(lr=0.1),
        errors.ArgumentTypeError,
        (
            "gradtx.adam: expected arguments among (learning_rate, b1, b2, eps, eps_root, mu_dtype, "
            "nesterov), got 'lr'; "
            "did you mean 'learning_rate'?"
        ),
    ),
    "a schedule that was not called": (
        lambda: gradtx.adam(gradtx.exponential_decay),
        errors.ArgumentTypeError,
        (
            "gradtx.adam: expected learning_rate to be a number or a schedule, got the factory 'exponential_decay'; "
            "call it: exponential_decay(...)"
        ),
    ),
    "an optimizer that was not called": (
        lambda: gradtx.chain(gradtx.clip(1.0), gradtx.adam),
        errors.ArgumentTypeError,
        "gradtx.chain: expected argument 1 to be a transformation, got the function 'adam'; call it: adam(...)",
    ),
    "a misspelt glob of a mask": (
        lambda: gradtx.adamw(0.1, mask="*/kernal").init(PARAMS),
        errors.ArgumentValueError,
        (
            "gradtx.add_decayed_weights: expected a glob that is the first to match some leaf of 'dense/bias', "
            "'dense/kernel', got '*/kernal'; '*' matches '/' too, but '*/kernel' does not match a "
            "leaf 'kernel' at the top"
        ),
    ),
    "a misspelt glob of a partition": (
        lambda: gradtx.partition({"*/kernal": gradtx.adam(0.1), "*": gradtx.sgd(0.1)}).init(PARAMS),
        errors.ArgumentValueError,
        (
            "gradtx.partition: expected a glob that is the first to match some leaf of "
            "'dense/bias', 'dense/kernel', got "
            "'*/kernal'; '*' matches '/' too, but '*/kernel' does not match a leaf 'kernel' at the top"
        ),
    ),
    "a glob behind one that takes all": (
        lambda: gradtx.partition({"*": gradtx.sgd(0.1), "*/bias": gradtx.sgd(0.2)}).init(PARAMS),
        errors.ArgumentValueError,
        (
            "gradtx.partition: expected a glob that is the first to match some leaf of "
            "'dense/bias', 'dense/kernel', got "
            "'*/bias'; '*' matches '/' too, but '*/kernel' does not match a leaf 'kernel' at the top"
        ),
    ),
    "a misspelt label": (
        lambda: gradtx.partition({"a": gradtx.sgd(0.1)}, {"dense": {"kernel": "a", "bias": "b"}}).init(PARAMS),
        errors.ArgumentValueError,
        "gradtx.partition: expected a label among ['a'], got 'b' at ['dense']['bias']",
    ),
    "a mask of numbers, noticed by init": (
        lambda: gradtx.adamw(0.1, mask={"dense": {"kernel": 1, "bias": False}}).init(PARAMS),
        errors.ArgumentTypeError,
        (
            "gradtx.add_decayed_weights: expected a mask of booleans, got 1 at ['dense']['kernel']; "
            "use True or False at each leaf"
        ),
    ),
    "params left out": (
        lambda: update(gradtx.adamw(0.1), params=None),
        errors.MissingExtraError,
        (
            "gradtx.add_decayed_weights: expected update(..., params=...), got no params; "
            "weight decay needs them: tx.update(grads, state, params)"
        ),
    ),
    "the state of another optimizer": (
        lambda: update(gradtx.scale_by_adam(), state=gradtx.EmptyState()),
        errors.ArgumentTypeError,
        (
            "gradtx.scale_by_adam: expected the state to be a ScaleByAdamState, got EmptyState; "
            "pass the state that init(params) of this transformation made, or its last update"
        ),
    ),
    "a layer added after init": (
        lambda: update(gradtx.adam(0.1), grads={**GRADS, "head": jnp.ones(2)}),
        errors.TreeMismatchError,
        (
            "gradtx.scale_by_adam: expected updates with the structure of the state, got an extra leaf at ['head']; "
            "make the state with init(params) from the params that the gradients belong to"
        ),
    ),
    "an array outside a sweep": (
        lambda: gradtx.adam(jnp.array([0.1, 0.2])).init(PARAMS),
        errors.ArgumentValueError,
        (
            "gradtx.adam: expected a single number for learning_rate, got an array; sweep with "
            "jax.vmap(step, in_axes=(sweep_axes(tx), ...)), which takes tx as an argument"
        ),
    ),
    "None for the updates": (
        lambda: gradtx.apply_updates(PARAMS, None),
        errors.TreeMismatchError,
        (
            "gradtx.apply_updates: expected updates like the params, got None; "
            "pass the updates that update(...) returned for these params"
        ),
    ),
    "a hyperparameter that is not tunable": (
        lambda: gradtx.set_hyperparams(gradtx.adam(0.1).init(PARAMS), learning_rate=0.2),
        errors.UnknownNameError,
        "gradtx.set_hyperparams: expected ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_said(mistake):
    make, kind, message = MISTAKES[mistake]
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_a_catch_all_may_catch_nothing_and_an_empty_tree_matches_anything():
    tx = gradtx.partition({"*kernel": gradtx.adam(0.1), "*bias": gradtx.sgd(0.1), "*": gradtx.set_to_zero()})
    update(tx)
    tx.init({})
    gradtx.masked(gradtx.sgd(0.1), "*/kernel").init({})
