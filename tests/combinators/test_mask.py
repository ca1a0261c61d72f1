"""A transformation on some of the leaves."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from gradtx.typing import MaskedNode

PARAMS = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "none": None}
GRADS = {"dense": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 3.0)}, "none": None}
CHOSEN = {"dense": {"kernel": True, "bias": False}, "none": None}

MASKS = {
    "glob": "*/kernel",
    "globs": ("*kernel", "dense/k*"),
    "tree": CHOSEN,
    "prefix": {"dense": CHOSEN["dense"], "none": None},
    "arrays": {"dense": {"kernel": np.array(True), "bias": np.False_}, "none": None},
    "function": lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree),
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


@every_mask
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_others_pass_through(mask, jit):
    tx = gradtx.masked(gradtx.scale(10.0), mask)
    updates, _ = jit(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    assert updates["dense"]["kernel"].tolist() == [[20.0, 20.0]] * 2
    assert updates["dense"]["bias"].tolist() == [3.0, 3.0]
    assert updates["none"] is None


@every_mask
def test_the_others_are_frozen(mask):
    tx = gradtx.masked(gradtx.scale(10.0), mask, unselected="freeze")
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    assert updates["dense"]["kernel"].tolist() == [[20.0, 20.0]] * 2
    assert updates["dense"]["bias"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("policy", "left"), [("pass_through", 3.0), ("freeze", 0.0)])
def test_the_others_around_two_functions(policy, left):
    tenfold = gradtx.from_functions(lambda params: (), lambda u, s, params=None: (jax.tree.map(lambda x: 10 * x, u), s))
    updates, _ = (tx := gradtx.masked(tenfold, "*/kernel", policy)).update(GRADS, tx.init(PARAMS), PARAMS)
    assert updates["dense"]["kernel"].tolist() == [[20.0, 20.0]] * 2
    assert updates["dense"]["bias"].tolist() == [left, left]


def test_a_norm_is_of_the_selected_leaves():
    tx = gradtx.masked(gradtx.clip_by_global_norm(1.0), "*/kernel")
    _, state = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    assert state.inner_state.norm == 4.0


@every_mask
def test_there_is_state_for_the_selected_leaves_only(mask):
    tx = gradtx.masked(gradtx.scale_by_adam(), mask)
    state = tx.init(PARAMS)
    assert isinstance(state, gradtx.MaskedState)
    assert state.inner_state.mu["dense"]["bias"] == MaskedNode()
    assert state.inner_state.mu["dense"]["kernel"].shape == (2, 2)
    _, new = tx.update(GRADS, state, PARAMS)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert len(jax.tree.leaves(state)) == 3


def test_the_inner_transformation_sees_the_selected_leaves_only():
    seen = []

    def update(updates, state, params=None, **extra):
        seen.append((updates, params, extra))
        return updates, state

    tx = gradtx.masked(gradtx.from_functions(lambda params: (), update), "*/kernel")
    tx.update(GRADS, tx.init(PARAMS), PARAMS, value=1.0)
    updates, params, extra = seen[0]
    assert updates["dense"]["bias"] == params["dense"]["bias"] == MaskedNode()
    assert params["dense"]["kernel"] is PARAMS["dense"]["kernel"]
    assert extra == {"value": 1.0}
    tx.update(GRADS, tx.init(PARAMS))
    assert seen[1][1] is None


@pytest.mark.parametrize("mask", [True, None, "*"])
def test_everything(mask):
    tx, plain = gradtx.masked(gradtx.scale_by_adam(), mask), gradtx.scale_by_adam()
    chex.assert_trees_all_equal(tx.update(GRADS, tx.init(PARAMS))[0], plain.update(GRADS, plain.init(PARAMS))[0])


def test_nothing():
    tx = gradtx.masked(gradtx.scale_by_adam(), False)
    chex.assert_trees_all_equal(tx.update(GRADS, tx.init(PARAMS))[0], GRADS)
    assert jax.tree.leaves(tx.init(PARAMS)) == [0]


def test_a_gradient_that_is_none_though_its_parameter_is_not():
    for mask in ("*", lambda tree: jax.tree.map(lambda x: x.ndim > 0, tree)):
        tx = gradtx.masked(gradtx.scale_by_adam(), mask)
        params = {"a": jnp.ones(2), "b": jnp.ones(2)}
        state = tx.init(params)
        updates, new = tx.update({"a": None, "b": jnp.ones(2)}, state, params)
        assert updates["a"] is None
        assert jax.tree.structure(new) == jax.tree.structure(state)
        assert new.inner_state.mu["a"].tolist() == [0.0, 0.0]


def test_gradients_of_integers_pass():
    params = {"n": jnp.array([1, 2]), "x": jnp.ones(2)}
    grads = jax.grad(lambda p: jnp.sum(p["x"] * p["n"]), allow_int=True)(params)
    for policy in ("pass_through", "freeze"):
        tx = gradtx.masked(gradtx.scale(-1.0), "x", policy)
        updates, _ = tx.update(grads, tx.init(params), params)
        assert updates["x"].tolist() == [-1.0, -2.0]
        assert updates["n"].shape == (2,)
        assert gradtx.apply_updates(params, updates)["n"].tolist() == [1, 2]


def test_masks_nest():
    params = {"a": {"x": jnp.ones(1), "y": jnp.ones(1)}, "b": {"x": jnp.ones(1), "y": jnp.ones(1)}}
    inner = gradtx.masked(gradtx.scale(10.0), "*/x")
    for outer in ("a/*", {"a": True, "b": False}):
        tx = gradtx.masked(inner, outer, "freeze")
        updates, _ = tx.update(params, tx.init(params), params)
        assert jax.tree.map(lambda u: u.item(), updates) == {"a": {"x": 10.0, "y": 1.0}, "b": {"x": 0.0, "y": 0.0}}
    inner = gradtx.masked(gradtx.scale(10.0), {"a": {"x": True, "y": False}, "b": True}, "freeze")
    tx = gradtx.masked(inner, "a/*")
    updates, _ = tx.update(params, tx.init(params), params)
    assert jax.tree.map(lambda u: u.item(), updates) == {"a": {"x": 10.0, "y": 0.0}, "b": {"x": 1.0, "y": 1.0}}


def test_scan_and_donation():
    tx = gradtx.masked(gradtx.adam(0.1), "*/kernel", "freeze")

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(GRADS, state, params)
        return (gradtx.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), length=3)
    np.testing.assert_allclose(params["dense"]["kernel"], np.full((2, 2), 0.7), rtol=1e-5)
    assert params["dense"]["bias"].tolist() == [1.0, 1.0]


def refusal(kind, function, *args):
    with pytest.raises(kind) as error:
        function(*args)
    return str(error.value)


def test_a_mask_that_does_not_fit():
    text = refusal(TreeMismatchError, gradtx.masked(gradtx.identity(), {"dense": {"kernel": True}}).init, PARAMS)
    assert text == (
        "gradtx.masked: expected the mask to be a tree like the params, or a prefix of it, "
        "got no entry at ['dense']['bias']"
    )
    text = refusal(ArgumentTypeError, gradtx.masked, gradtx.identity(), {"dense": 1, "none": None})
    assert text == (
        "gradtx.masked: expected mask to be True or False at each leaf, a function or globs, got 1 at ['dense']"
    )
    text = refusal(ArgumentTypeError, gradtx.masked(gradtx.identity(), lambda tree: {"dense": 1}).init, {"dense": 0.5})
    assert text == "gradtx.masked: expected a mask of booleans, got 1 at ['dense']; use True or False at each leaf"


def test_updates_and_params_that_differ():
    tx = gradtx.masked(gradtx.scale(1.0), "*")
    text = refusal(TreeMismatchError, tx.update, {"a": jnp.ones(1)}, tx.init({"a": jnp.ones(1)}), {"b": jnp.ones(1)})
    assert text.startswith("gradtx.masked: expected updates with the structure of params, got an extra leaf at ['a']")


def test_the_policy_is_one_of_two():
    assert refusal(ArgumentValueError, gradtx.masked, gradtx.identity(), "*", "zero") == (
        "gradtx.masked: expected unselected to be one of 'pass_through', 'freeze', got 'zero'"
    )


def test_the_inner_is_a_transformation():
    assert refusal(ArgumentTypeError, gradtx.masked, gradtx.sgd, "*") == (
        "gradtx.masked: expected inner to be a transformation, got the function 'sgd'; call it: sgd(...)"
    )


# --- freeze -----------------------------------------------------------------------------------------------------------


@every_mask
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_freeze_makes_the_selected_zero(mask, jit):
    tx = gradtx.freeze(mask)
    updates, state = jit(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    assert not updates["dense"]["kernel"].any()
    assert updates["dense"]["bias"].tolist() == [3.0, 3.0]
    assert updates["none"] is None
    assert not jax.tree.leaves(state)


def test_freeze_is_the_rest_of_a_frozen_mask():
    frozen = gradtx.chain(gradtx.adam(0.1), gradtx.freeze("*/bias"))
    masked = gradtx.masked(gradtx.adam(0.1), "*/kernel", unselected="freeze")
    chex.assert_trees_all_equal(*(tx.update(GRADS, tx.init(PARAMS), PARAMS)[0] for tx in (frozen, masked)))


def test_what_is_nan_is_frozen_too():
    tx = gradtx.freeze("*")
    bad = jax.tree.map(lambda g: g * jnp.nan, GRADS)
    assert not any(u.any() for u in jax.tree.leaves(tx.update(bad, tx.init(PARAMS))[0]))


def test_a_typo_in_what_to_freeze():
    with pytest.raises(ArgumentValueError) as error:
        gradtx.freeze("*/kernal").init(PARAMS)
    assert str(error.value).startswith(
        "gradtx.freeze: expected a glob that is the first to match some leaf of 'dense/bias', 'dense/kernel', "
        "'none', got '*/kernal'"
    )


# --- the mask the other way round -------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [{"a": True, "b": False}, True, False], ids=["tree", "all", "none"])
def test_selective_transform_equals_optaxs(frozen):
    params = {"a": jnp.array([4.0, -3.0]), "b": jnp.array([1.0])}
    whole = frozen if isinstance(frozen, dict) else dict.fromkeys(params, frozen)
    ours = gradtx.selective_transform(gradtx.adam(0.1), freeze_mask=frozen)
    theirs = optax.selective_transform(optax.adam(0.1), freeze_mask=whole)
    state, other = ours.init(params), theirs.init(params)
    for _ in range(3):
        updates, state = ours.update(params, state, params)
        expected, other = theirs.update(params, other, params)
        chex.assert_trees_all_close(updates, expected, rtol=1e-5)
    kept = {k: isinstance(x, gradtx.MaskedNode) for k, x in gradtx.tree.get_field(state, "mu").items()}
    assert kept == whole


def test_selective_transform_takes_globs_and_has_text():
    tx = gradtx.selective_transform(gradtx.sgd(0.1), freeze_mask="embed*")
    assert gradtx.parse(repr(tx)) == tx
    with pytest.raises(gradtx.errors.ArgumentValueError, match=r"match some leaf of 'head', got 'embed\*'"):
        tx.init({"head": jnp.ones(1)})
