"""Finding and replacing parts of a nested state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import tree
from gradtx.errors import UnknownNameError
from tests.conformance.cases import TRANSFORMATIONS


class Moments(NamedTuple):
    count: Any
    mu: Any


class Wrapped(NamedTuple):
    inner: Any
    steps: Any


def state(mu=3.0):
    return (Moments(1, {"w": mu}), Wrapped({"adam": Moments(2, {"w": 4.0})}, 5), None, ())


def test_get_field():
    assert tree.get_field(state(), "steps") == 5
    assert tree.get_field(Moments(1, None), "mu") is None


def test_get_all_fields_gives_paths():
    assert tree.get_all_fields(state(), "count") == [("0/count", 1), ("1/inner/adam/count", 2)]
    assert tree.get_all_fields(state(), "absent") == []
    assert tree.get_all_fields(jnp.ones(2), "count") == []
    assert tree.get_all_fields(None, "count") == []


def test_an_outer_field_hides_those_in_it():
    assert tree.get_all_fields(Wrapped(Wrapped(1, 2), 3), "inner") == [("inner", Wrapped(1, 2))]


def test_a_parameter_named_like_a_field_is_no_field():
    params = {"mu": jnp.zeros(2), "count": jnp.zeros(2)}
    nested = (Moments(0, params), {"mu": 1.0})
    assert tree.get_field(nested, "mu") is params
    changed = tree.set_field(nested, "count", 7)
    assert changed[0].count == 7
    assert changed[0].mu["count"] is params["count"]


def test_a_key_of_a_dict_is_no_field():
    """Nor is one of `named_chain`; what is in its members is found."""
    members = {"clip": Moments(1, 2), "sgd": ()}
    assert tree.get_all_fields(members, "clip") == []
    assert tree.get_all_fields(members, "count") == [("clip/count", 1)]


@pytest.mark.parametrize(
    ("name", "got"), [("count", "0/count, 1/inner/adam/count"), ("absent", "none")], ids=["several", "none"]
)
def test_get_field_wants_exactly_one(name, got):
    with pytest.raises(UnknownNameError) as error:
        tree.get_field(state(), name)
    hint = "use get_all_fields to see every one" if name == "count" else "the names are those of fields of named tuples"
    assert str(error.value) == f"gradtx: expected one field {name!r} in the state, got {got}; {hint}"
    assert isinstance(error.value, KeyError)


def test_set_field_by_value_and_by_function():
    assert tree.set_field(state(), "steps", 6)[1].steps == 6
    changed = tree.set_field(state(), "count", lambda count: count + 10)
    assert tree.get_all_fields(changed, "count") == [("0/count", 11), ("1/inner/adam/count", 12)]
    assert changed[0].mu == {"w": 3.0}
    assert changed[2:] == (None, ())


def test_set_field_does_not_change_its_argument():
    before = state()
    tree.set_field(before, "count", 0)
    assert before == state()


def test_set_field_under_jit():
    @jax.jit
    def reset(moments):
        return tree.set_field(moments, "mu", lambda mu: jax.tree.map(jnp.zeros_like, mu))

    out = reset(Moments(jnp.array(1), {"w": jnp.ones(2)}))
    assert out.mu["w"].tolist() == [0.0, 0.0]


def test_set_field_wants_at_least_one():
    with pytest.raises(UnknownNameError) as error:
        tree.set_field(state(), "absent", 0)
    assert str(error.value) == (
        "gradtx: expected a field 'absent' in the state, got none; see the state's repr for its fields"
    )


def test_nodes_by_type():
    assert tree.find_nodes(state(), Wrapped) == [state()[1]]
    assert [m.count for m in tree.find_nodes(state(), Moments)] == [1, 2]
    assert tree.find_nodes(jnp.ones(2), Moments) == []


def test_map_nodes_goes_from_the_inside_out():
    nested = Wrapped(Wrapped(1, 2), 3)
    assert tree.map_nodes(lambda node: node.inner + node.steps, nested, Wrapped) == 6
    assert tree.map_nodes(lambda node: node._replace(count=0), state(), Moments)[1].inner["adam"].count == 0


def test_map_nodes_of_another_type_changes_nothing():
    assert tree.map_nodes(lambda node: pytest.fail("called"), state(), set) == state()


FIELDS = ("trace", "mu", "count", "nu", "norm", "steps", "inner", "learning_rate")
NAMED = NamedTuple("NAMED", [(name, Any) for name in FIELDS])
"""Params with the names of fields."""


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_params_named_like_fields_are_no_fields(name):
    def abstract(params):
        return jax.eval_shape(TRANSFORMATIONS[name].init, {"kernel": jnp.ones(1), "rest": params})

    leaves = [jnp.ones(2)] * len(FIELDS)
    plain, named = abstract(leaves), (abstract(NAMED(*leaves)), abstract(dict(zip(FIELDS, leaves, strict=True))))
    scalars = [list(gradtx.metrics(_zeros(state))) for state in (plain, *named)]
    assert scalars == [scalars[0]] * 3
    for field in FIELDS:
        expected = [path for path, _ in tree.get_all_fields(plain, field)]
        for state in named:
            assert [path for path, _ in tree.get_all_fields(state, field)] == expected


def _zeros(state):
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)


def test_a_tuple_of_trees_like_the_params_is_not_looked_into():
    tx = gradtx.lookahead(gradtx.sgd(0.1, momentum=0.9), momentum="pullback")
    state = tx.init(NAMED(*[jnp.ones(2)] * len(FIELDS)))
    assert len(state.momenta) == 1
    assert [path for path, _ in tree.get_all_fields(state, "trace")] == ["inner/0/trace"]
    assert set(gradtx.metrics(state)) == {"lookahead/steps"}


@pytest.mark.parametrize("make", [NAMED, lambda *leaves: dict(zip(FIELDS, leaves, strict=True))], ids=["tuple", "dict"])
def test_what_goes_by_fields_leaves_params_of_those_names_alone(make):
    def leaves(tree):
        return jnp.stack(jax.tree.leaves(tree))

    def run(tx, params):
        state = tx.init(params)
        for _ in range(4):
            updates, state = tx.update(params, state, params)
        return updates, state

    params, plain = make(*jnp.arange(1.0, 9.0)[:, None]), list(jnp.arange(1.0, 9.0)[:, None])
    order = leaves(make(*range(8))).astype(int)
    for tx in (
        gradtx.lookahead(gradtx.adam(0.1), 2, momentum="reset"),
        gradtx.lookahead(gradtx.sgd(0.1, momentum=0.9), 2, momentum="pullback"),
        gradtx.with_state_reset(gradtx.adam(0.1), ("mu", "count"), 3),
    ):
        np.testing.assert_array_equal(leaves(run(tx, params)[0]), leaves(run(tx, plain)[0])[order])
    tx = gradtx.adam(0.1)
    _, state = run(tx, params)
    again = gradtx.reset_state(tx, state, params, "mu")
    assert not leaves(again[0].mu).any()
    np.testing.assert_array_equal(leaves(again[0].nu), leaves(state[0].nu))
    assert int(again[0].count) == 4
    changed = tree.set_field(state, "count", jnp.int32(7))
    np.testing.assert_array_equal(leaves(changed[0].mu), leaves(state[0].mu))
