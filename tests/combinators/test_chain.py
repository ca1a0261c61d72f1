"""One transformation after another."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError, TreeMismatchError

PARAMS = {"w": jnp.array([1.0, -2.0]), "b": None}
GRADS = {"w": jnp.array([3.0, -4.0]), "b": None}


def recorder(name, seen):
    """A transformation that notes what it is given."""

    def update(updates, state, params=None, **extra):
        seen.append((name, updates, params, extra))
        return jax.tree.map(lambda u: u + 1, updates), state + 1

    return gradtx.from_functions(lambda params: jnp.zeros((), jnp.int32), update)


def refusal(kind, function, *args):
    with pytest.raises(kind) as error:
        function(*args)
    return str(error.value)


def test_members_act_in_order():
    first = gradtx.chain(gradtx.clip(1.0), gradtx.scale(2.0))
    second = gradtx.chain(gradtx.scale(2.0), gradtx.clip(1.0))
    assert first.update(GRADS, first.init(PARAMS))[0]["w"].tolist() == [2.0, -2.0]
    assert second.update(GRADS, second.init(PARAMS))[0]["w"].tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    "members",
    [
        (gradtx.clip_by_global_norm(1.0), gradtx.scale_by_adam(), gradtx.scale(-0.1)),
        (gradtx.trace(0.5), gradtx.trace(0.9), gradtx.ema(0.5)),  # members whose states are alike
    ],
    ids=["different", "alike"],
)
def test_a_chain_equals_its_members_one_by_one(members):
    tx = gradtx.chain(*members)
    state, states = tx.init(PARAMS), [m.init(PARAMS) for m in members]
    for _ in range(3):
        together, state = tx.update(GRADS, state, PARAMS)
        separate = GRADS
        for i, member in enumerate(members):
            separate, states[i] = member.update(separate, states[i], PARAMS)
        chex.assert_trees_all_equal(together, separate)
        chex.assert_trees_all_equal(state, tuple(states))


def test_an_empty_chain_is_the_identity():
    tx = gradtx.chain()
    assert tx.init(PARAMS) == ()
    updates, state = tx.update(GRADS, ())
    chex.assert_trees_all_equal(updates, GRADS)
    assert state == ()


def test_every_member_gets_params_and_extras():
    seen = []
    tx = gradtx.chain(recorder("a", seen), gradtx.chain(recorder("b", seen)))
    updates, state = tx.update(GRADS, tx.init(PARAMS), PARAMS, value=1.0, key="k")
    assert [name for name, *_ in seen] == ["a", "b"]
    assert [u["w"].tolist() for _, u, *_ in seen] == [[3.0, -4.0], [4.0, -3.0]]
    assert all(params is PARAMS and extra == {"value": 1.0, "key": "k"} for *_, params, extra in seen)
    assert updates["w"].tolist() == [5.0, -2.0]
    assert jax.tree.leaves(state) == [1, 1]


def test_a_missing_extra_names_the_member():
    tx = gradtx.chain(gradtx.clip(1.0), gradtx.add_decayed_weights(0.1))
    text = refusal(MissingExtraError, tx.update, GRADS, tx.init(PARAMS))
    assert text.startswith("gradtx.add_decayed_weights: expected update(..., params")


def test_chains_nest_without_being_flattened():
    inner = gradtx.chain(gradtx.clip(1.0), gradtx.scale(2.0))
    nested, flat = gradtx.chain(inner, gradtx.identity()), gradtx.chain(*inner.transforms, gradtx.identity())
    assert nested != flat
    chex.assert_trees_all_equal(nested.update(GRADS, nested.init(PARAMS))[0], flat.update(GRADS, flat.init(PARAMS))[0])


@pytest.mark.parametrize(
    ("state", "got"),
    [((), "a tuple of 0"), (({},) * 3, "a tuple of 3"), ({}, "a dict with []"), (None, "None"), (3.0, "float")],
)
def test_a_state_of_another_chain(state, got):
    tx = gradtx.chain(gradtx.clip(1.0), gradtx.scale(2.0))
    assert refusal(TreeMismatchError, tx.update, GRADS, state) == (
        f"gradtx.chain: expected a state with 2 members, got {got}; "
        "make it with init(params), and pass it second: tx.update(grads, state, params)"
    )


def test_a_restored_state_may_be_a_list():
    tx = gradtx.chain(gradtx.clip(1.0), gradtx.scale(2.0))
    assert tx.update(GRADS, list(tx.init(PARAMS)))[0]["w"].tolist() == [2.0, -2.0]


# --- named chain ------------------------------------------------------------------------------------------------------


def test_a_named_chain_does_what_a_chain_does():
    members = gradtx.clip_by_global_norm(1.0), gradtx.scale_by_adam()
    plain, named = gradtx.chain(*members), gradtx.named_chain(("z_first", members[0]), ("a_second", members[1]))
    state = named.init(PARAMS)
    assert list(state) == ["z_first", "a_second"]
    expected, plain_state = plain.update(GRADS, plain.init(PARAMS), PARAMS)
    for update in (named.update, jax.jit(named.update)):  # jit sorts the keys of a dict; the order is the chain's
        updates, new = update(GRADS, state, PARAMS)
        chex.assert_trees_all_close(updates, expected, rtol=1e-6)
        chex.assert_trees_all_close((new["z_first"], new["a_second"]), plain_state, rtol=1e-6)
    assert gradtx.tree.get_field(new, "count") == 1


def test_the_members_of_a_named_chain_get_extras():
    seen = []
    tx = gradtx.named_chain(("a", recorder("a", seen)), ("b", recorder("b", seen)))
    tx.update(GRADS, tx.init(PARAMS), PARAMS, value=1.0)
    assert [(name, extra) for name, _, _, extra in seen] == [("a", {"value": 1.0}), ("b", {"value": 1.0})]


class Two(NamedTuple):
    first: str
    second: object


@pytest.mark.parametrize("pair", [("a", gradtx.identity()), ["a", gradtx.identity()], Two("a", gradtx.identity())])
def test_pairs(pair):
    assert gradtx.named_chain(pair).init(PARAMS) == {"a": gradtx.EmptyState()}


@pytest.mark.parametrize("pair", [gradtx.identity(), ("a",), (1, gradtx.identity()), "ab", ("a", 1, 2)])
def test_what_is_no_pair(pair):
    text = refusal(ArgumentTypeError, gradtx.named_chain, pair)
    assert text == f"gradtx.named_chain: expected argument 0 to be a pair of a name and a transformation, got {pair!r}"


def test_names_differ():
    text = refusal(ArgumentValueError, gradtx.named_chain, *[("a", gradtx.identity()), ("a", gradtx.clip(1.0))])
    assert text == "gradtx.named_chain: expected different names, got 'a' twice"


def test_a_named_member_is_a_transformation():
    text = refusal(ArgumentTypeError, gradtx.named_chain, ("lr", gradtx.sgd))
    assert text == (
        "gradtx.named_chain: expected member 'lr' to be a transformation, got the function 'sgd'; call it: sgd(...)"
    )


def test_a_state_of_another_named_chain():
    tx = gradtx.named_chain(("a", gradtx.identity()), ("b", gradtx.identity()))
    for state, got in (({"a": ()}, "a dict with ['a']"), (((), ()), "a tuple of 2")):
        assert refusal(TreeMismatchError, tx.update, GRADS, state) == (
            f"gradtx.named_chain: expected a state with members ['a', 'b'], got {got}; "
            "make it with init(params), and pass it second: tx.update(grads, state, params)"
        )
