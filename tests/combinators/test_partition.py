"""Different transformations for different leaves."""

import collections
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from gradtx.typing import MaskedNode

PARAMS = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "head": [jnp.ones(1)], "none": None}
LABELS = {"dense": {"kernel": "ten", "bias": "two"}, "head": ["two"], "none": None}
TENFOLD = {"ten": gradtx.scale(10.0), "two": gradtx.scale(2.0)}


def by_name(tree):
    return jax.tree.map(lambda name: "ten" if name.endswith("kernel") else "two", gradtx.tree.leaf_names(tree))


def by_shape(tree):
    return jax.tree.map(lambda x: "ten" if x.ndim > 1 else "two", tree)


WAYS = {
    "tree": (TENFOLD, LABELS),
    "prefix": (TENFOLD, {**LABELS, "head": "two"}),
    "names": (TENFOLD, by_name),
    "shapes": (TENFOLD, by_shape),
    "globs": ({"*/kernel": TENFOLD["ten"], "*": TENFOLD["two"]}, None),
    "unused": ({**TENFOLD, "spare": gradtx.scale_by_adam()}, LABELS),
    "numbers": (
        {10: TENFOLD["ten"], 2: TENFOLD["two"]},
        lambda t: jax.tree.map(lambda s: {"ten": 10}.get(s, 2), by_name(t)),
    ),
    "booleans": (
        {True: TENFOLD["ten"], False: TENFOLD["two"]},
        lambda t: jax.tree.map(lambda s: s == "ten", by_name(t)),
    ),
    "ordered": (collections.OrderedDict(TENFOLD), LABELS),
    "read only": (types.MappingProxyType(TENFOLD), LABELS),
}


@pytest.mark.parametrize(("transforms", "labels"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_each_leaf_gets_its_own(transforms, labels, jit):
    tx = gradtx.partition(transforms, labels)
    updates, state = jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS)
    assert updates["dense"]["kernel"].tolist() == [[10.0, 10.0]] * 2
    assert updates["dense"]["bias"].tolist() == [2.0, 2.0]
    assert updates["head"][0].tolist() == [2.0]
    assert updates["none"] is None
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(PARAMS))


def test_globs_are_tried_in_order():
    kernels = {name: {"kernel": jnp.ones(1)} for name in ("dense", "head", "tail")}

    def factor(*globs):
        tx = gradtx.partition({glob: gradtx.scale(float(i)) for i, glob in enumerate(globs, 1)})
        return tx.update(kernels, tx.init(kernels))[0]["dense"]["kernel"].item()

    assert factor("*/kernel", "*") == 1.0
    assert factor("tail/*", "*") == 2.0
    assert factor("head/*", "dense/*", "*/kernel") == 2.0


def test_each_state_holds_its_own_leaves():
    tx = gradtx.partition({"*/kernel": gradtx.scale_by_adam(), "*": gradtx.trace(0.9)})
    state = tx.init(PARAMS)
    assert isinstance(state, gradtx.PartitionState)
    assert state.inner_states["*/kernel"].mu == {
        "dense": {"kernel": state.inner_states["*/kernel"].mu["dense"]["kernel"], "bias": MaskedNode()},
        "head": [MaskedNode()],
        "none": MaskedNode(),
    }
    assert len(jax.tree.leaves(state.inner_states["*/kernel"])) == 3
    assert len(jax.tree.leaves(state.inner_states["*"])) == 2


def test_it_equals_separate_runs():
    adam, sgd = gradtx.adam(0.1), gradtx.sgd(0.1, momentum=0.9)
    tx = gradtx.partition({"dense/*": adam, "*": sgd})
    state = tx.init(PARAMS)
    parts = {"dense": PARAMS["dense"]}, {"head": PARAMS["head"], "none": None}
    states = [adam.init(parts[0]), sgd.init(parts[1])]
    for scale in (1.0, -3.0, 0.5):
        grads = jax.tree.map(lambda p, scale=scale: scale * p, PARAMS)
        together, state = tx.update(grads, state, PARAMS)
        first, states[0] = adam.update({"dense": grads["dense"]}, states[0], parts[0])
        second, states[1] = sgd.update({"head": grads["head"], "none": None}, states[1], parts[1])
        chex.assert_trees_all_equal(together, {**first, **second})


def test_params_and_extras_reach_the_members():
    seen = []

    def update(updates, state, params=None, **extra):
        seen.append((params, extra))
        return updates, state

    spy = gradtx.from_functions(lambda params: (), update)
    tx = gradtx.partition({"*/kernel": spy, "*": gradtx.identity()})
    tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=1.0)
    tx.update(PARAMS, tx.init(PARAMS))
    assert seen[0][0]["dense"]["bias"] == MaskedNode()
    assert seen[0][0]["dense"]["kernel"] is PARAMS["dense"]["kernel"]
    assert (seen[0][1], seen[1]) == ({"value": 1.0, "whole_updates": PARAMS}, (None, {"whole_updates": PARAMS}))


def test_a_gradient_that_is_none_though_its_parameter_is_not():
    grads = {**PARAMS, "dense": {"kernel": None, "bias": jnp.ones(2)}}
    for transforms, labels in (
        (TENFOLD, by_shape),
        ({"*/kernel": gradtx.scale_by_adam(), "*": gradtx.adam(0.1)}, None),
    ):
        tx = gradtx.partition(transforms, labels)
        state = tx.init(PARAMS)
        updates, new = tx.update(grads, state, PARAMS)
        assert updates["dense"]["kernel"] is None
        assert jax.tree.structure(new) == jax.tree.structure(state)


# --- norms ------------------------------------------------------------------------------------------------------------

GRADS = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0]), "c": jnp.array([12.0])}
CLIP = gradtx.clip_by_global_norm(1.0)
NESTED = gradtx.partition({"a": CLIP, "*": gradtx.chain(CLIP, gradtx.scale(2.0))})


@pytest.mark.parametrize(
    ("members", "factors"),
    [
        ({"a": CLIP, "*": gradtx.identity()}, (1 / 13, 1, 1)),
        ({"a": gradtx.chain(CLIP, gradtx.scale(2.0)), "*": CLIP}, (2 / 13, 1 / 13, 1 / 13)),
        ({"[ab]": NESTED, "*": CLIP}, (1 / 13, 2 / 13, 1 / 13)),
        ({"a": gradtx.clip_by_global_norm(1.0, scope="group"), "*": gradtx.identity()}, (1 / 3, 1, 1)),
        ({"[ab]": gradtx.clip_by_global_norm(1.0, scope="group"), "*": CLIP}, (1 / 5, 1 / 5, 1 / 13)),
        ({"[ab]": gradtx.masked(CLIP, "*"), "*": CLIP}, (1 / 5, 1 / 5, 1 / 13)),
        ({"a": gradtx.clip_by_global_norm(lambda step: 1.0), "*": gradtx.identity()}, (1 / 13, 1, 1)),
        ({"a": gradtx.apply_if_finite(CLIP), "*": gradtx.skip_if(CLIP, lambda u, p: False)}, (1 / 13,) * 3),
    ],
    ids=["one", "each", "nested", "group", "group of two", "masked", "schedule", "guarded"],
)
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_clip_is_of_the_whole_tree_or_of_the_group(members, factors, jit):
    tx = gradtx.partition(members)
    updates, _ = jit(tx.update)(GRADS, tx.init(GRADS))
    expected = {k: g * factor for (k, g), factor in zip(GRADS.items(), factors, strict=True)}
    chex.assert_trees_all_close(updates, expected, rtol=1e-6)


def test_a_partition_behind_something_clips_what_came_to_it():
    tx = gradtx.chain(gradtx.scale(2.0), gradtx.partition({"a": CLIP, "*": gradtx.identity()}))
    updates, state = tx.update(GRADS, tx.init(GRADS))
    assert float(gradtx.tree.get_field(state, "norm")) == 26.0
    np.testing.assert_allclose(updates["a"], GRADS["a"] / 13, rtol=1e-6)


def test_a_mask_around_a_partition_is_the_whole_to_it():
    tx = gradtx.masked(gradtx.partition({"a": CLIP, "*": CLIP}), "[ab]")
    updates, _ = tx.update(GRADS, tx.init(GRADS))
    chex.assert_trees_all_close(updates, {"a": GRADS["a"] / 5, "b": GRADS["b"] / 5, "c": GRADS["c"]}, rtol=1e-6)


@pytest.mark.parametrize("before", [gradtx.scale(1.0), gradtx.scale_by_adam(), gradtx.clip(1.0)], ids=repr)
def test_a_whole_norm_of_changed_updates_is_refused(before):
    tx = gradtx.partition({"a": gradtx.chain(before, CLIP), "*": gradtx.identity()})
    assert refusal(ArgumentValueError, tx.update, GRADS, tx.init(GRADS)) == (
        "gradtx.clip_by_global_norm: expected the updates as they came to the partition, whose norm is taken over the "
        "whole tree, got updates that an earlier member of the group has changed; "
        'put the clip first in its group, or take the norm over the group alone: scope="group"'
    )


def test_several_clips_compute_the_norm_once():
    def reductions(members):
        tx = gradtx.partition(members)
        return jax.jit(tx.update).lower(GRADS, tx.init(GRADS)).compile().as_text().count(" reduce(")

    one = reductions({"a": gradtx.chain(CLIP, gradtx.sgd(0.1)), "*": gradtx.sgd(0.1)})
    assert one == reductions({name: gradtx.chain(CLIP, gradtx.sgd(0.1)) for name in GRADS}) > 0


def test_partitions_nest():
    inner = gradtx.partition({"*/kernel": gradtx.scale(3.0), "*": gradtx.scale(5.0)})
    tx = gradtx.partition({"dense/*": inner, "*": gradtx.set_to_zero()})
    updates, _ = tx.update(PARAMS, tx.init(PARAMS))
    assert updates["dense"]["kernel"][0, 0].item() == 3.0
    assert updates["dense"]["bias"][0].item() == 5.0
    assert updates["head"][0].item() == 0.0


def test_empty_and_single_trees():
    tx = gradtx.partition({"*": gradtx.scale(2.0)})
    assert tx.update({}, tx.init({}))[0] == {}
    assert tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0].tolist() == [2.0]
    one_label = gradtx.partition({"x": gradtx.scale(2.0)}, "x")
    assert one_label.update(PARAMS, one_label.init(PARAMS))[0]["head"][0].tolist() == [2.0]


def test_multi_transform_is_another_name():
    assert gradtx.multi_transform is gradtx.partition


# --- errors -----------------------------------------------------------------------------------------------------------


def refusal(kind, function, *args):
    with pytest.raises(kind) as error:
        function(*args)
    return str(error.value)


def test_a_leaf_that_no_glob_matches():
    tx = gradtx.partition({"*/kernel": gradtx.identity(), "*/bias": gradtx.identity()})
    assert refusal(ArgumentValueError, tx.init, PARAMS) == (
        "gradtx.partition: expected a leaf that matches one of ['*/kernel', '*/bias'], got none at 'head/0'; "
        'add a "*" entry last for the leaves no other glob matches, or pass param_labels'
    )


def test_a_label_that_is_not_there():
    typo = {**LABELS, "dense": {"kernel": "tenn", "bias": "two"}}
    assert refusal(ArgumentValueError, gradtx.partition, TENFOLD, typo) == (
        "gradtx.partition: expected param_labels among ['ten', 'two'], got 'tenn' at ['dense']['kernel']; "
        "did you mean 'ten'?"
    )
    tx = gradtx.partition(TENFOLD, lambda tree: jax.tree.map(lambda _: "other", tree))
    assert "got 'other' at ['dense']['bias']" in refusal(ArgumentValueError, tx.init, PARAMS)


def test_labels_that_do_not_fit():
    tx = gradtx.partition(TENFOLD, {"dense": "ten"})
    assert refusal(TreeMismatchError, tx.init, PARAMS) == (
        "gradtx.partition: expected the labels to be a tree like the params, or a prefix of it, "
        "got no entry at ['head'][0]"
    )


def test_labels_that_are_no_globs():
    tx = gradtx.partition({1: gradtx.identity()})
    assert refusal(ArgumentTypeError, tx.init, PARAMS) == (
        "gradtx.partition: expected globs on leaf paths as labels, got 1; or pass param_labels"
    )


@pytest.mark.parametrize("transforms", [[gradtx.identity()], gradtx.identity(), None, "x"])
def test_transforms_are_a_mapping(transforms):
    text = refusal(ArgumentTypeError, gradtx.partition, transforms)
    assert (
        text
        == f"gradtx.partition: expected transforms to be a mapping, got {transforms!r} ({type(transforms).__name__})"
    )


def test_members_are_transformations():
    assert refusal(ArgumentTypeError, gradtx.partition, {"*": gradtx.sgd}) == (
        "gradtx.partition: expected transforms['*'] to be a transformation, got the function 'sgd'; call it: sgd(...)"
    )


def test_labels_can_be_sorted():
    text = refusal(ArgumentTypeError, gradtx.partition, {1: gradtx.identity(), "a": gradtx.identity()}, "a")
    assert text == (
        "gradtx.partition: expected labels that can be sorted, got [1, 'a']; "
        "'<' not supported between instances of 'str' and 'int'"
    )
