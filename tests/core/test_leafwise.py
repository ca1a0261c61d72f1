"""Leafwise transformations: how many programs and calls a step has, and that nothing but their number changes."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.combinators.chain import groups
from gradtx.typing import Count, Updates

PARAMS = {f"layer{i}": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)} for i in range(4)}
GRADS = jax.tree.map(lambda p: 3 * p - 1, PARAMS)


def calls(tx: Any, params: Any = PARAMS) -> int:
    """How many calls of leaf functions an update has."""
    program = jax.make_jaxpr(tx.update)(params, tx.init(params), params)
    return sum(eqn.primitive.name in ("jit", "pjit") and any(v.aval.ndim for v in eqn.outvars) for eqn in program.eqns)


def agree(tx: Any, params: Any = PARAMS, grads: Any = GRADS, steps: int = 3) -> None:
    """Assert that a step under `jit` does what it does without."""
    jitted, eager = tx.init(params), tx.init(params)
    for _ in range(steps):
        expected, eager = tx.update(grads, eager, params)
        got, jitted = jax.jit(tx.update)(grads, jitted, params)
        chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-7)
        chex.assert_trees_all_close(jitted, eager, rtol=1e-5, atol=1e-7)
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves((got, jitted)))


def plain(function: Any) -> Any:
    """A transformation that is not leafwise."""
    return gradtx.from_functions(lambda params: (), lambda u, s, params=None: (jax.tree.map(function, u), s))


def test_a_leaf_is_one_call_however_long_the_chain():
    schedule = gradtx.cosine_decay_schedule(1e-3, 100)
    tx = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(schedule), gradtx.trace(0.5))
    assert calls(tx) == 8
    agree(tx)


def test_leaves_of_one_shape_and_dtype_share_a_trace():
    traced = []

    @gradtx.transformation
    def test_only_noting():
        def leaf(g):
            traced.append(g.shape)
            return g

        return gradtx.leafwise(leaf)

    tx = gradtx.chain(gradtx.scale(2.0), test_only_noting())
    jax.make_jaxpr(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    assert sorted(traced) == [(2,), (3, 2)]
    tx.update(GRADS, tx.init(PARAMS), PARAMS)
    jax.vmap(lambda g: tx.update(g, tx.init(PARAMS), PARAMS)[0])(jax.tree.map(lambda g: jnp.stack([g, g]), GRADS))
    assert len(traced) == 2


def test_a_member_that_looks_at_the_updates_begins_a_group():
    clip, adam, scale = gradtx.clip_by_global_norm(1.0), gradtx.scale_by_adam(), gradtx.scale(-1.0)
    forms = [tx.leafwise for tx in (adam, clip, scale, plain(jnp.sin), scale, adam)]
    assert groups(forms) == [[0], [1, 2], [3], [4, 5]]
    tx = gradtx.chain(adam, clip, scale, plain(jnp.sin), scale, adam)
    assert tx.leafwise is None
    assert calls(gradtx.chain(adam, clip, scale)) == 16
    agree(tx)


@pytest.mark.parametrize(
    "tx",
    [
        gradtx.adam(gradtx.cosine_decay_schedule(0.1, 10), b1=lambda step: 0.9 - 0.1 * (step == 0)),
        gradtx.tunable(gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(0.1))),
        gradtx.adam(jnp.array(0.1)),
        gradtx.masked(gradtx.adam(0.1), "*kernel"),
        gradtx.masked(gradtx.chain(gradtx.clip_by_global_norm(0.1), gradtx.sgd(0.1)), "*bias", unselected="freeze"),
        gradtx.partition(
            {
                "*kernel": gradtx.chain(
                    gradtx.clip_by_global_norm(0.1), gradtx.adamw(gradtx.linear_schedule(0.1, 0, 9))
                ),
                "*": gradtx.sgd(0.1, momentum=0.9),
            }
        ),
        gradtx.partition({"*kernel": gradtx.sgd(0.1), "*": gradtx.chain(gradtx.trace(0.9), plain(jnp.cos))}),
        gradtx.named_chain(("clip", gradtx.clip(0.5)), ("freeze", gradtx.freeze("layer0*"))),
        gradtx.adamw(0.1, weight_decay=0.5, mask=lambda p: jax.tree.map(lambda x: jnp.ndim(x) > 1, p)),
    ],
)
def test_what_holds_leafwise_members_is_leafwise(tx):
    inner = [
        x for x in jax.tree.leaves(tx.arguments, is_leaf=lambda x: hasattr(x, "leafwise")) if hasattr(x, "leafwise")
    ]
    assert (tx.leafwise is not None) == all(member.leafwise is not None for member in inner)
    agree(tx)
    # In a chain it is joined with its neighbours, and does what it does alone.
    chained = gradtx.chain(tx, gradtx.scale(0.5))
    alone = tx.update(GRADS, tx.init(PARAMS), PARAMS)[0]
    together = chained.update(GRADS, chained.init(PARAMS), PARAMS)[0]
    chex.assert_trees_all_close(together, jax.tree.map(lambda u: 0.5 * u, alone), rtol=1e-6)


def test_a_norm_in_the_middle_of_a_chain_is_that_of_what_comes_there():
    tx = gradtx.chain(gradtx.scale(0.5), gradtx.clip_by_global_norm(1e3), gradtx.scale(-1.0))
    _, state = jax.jit(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(state[1].norm, 0.5 * gradtx.global_norm(GRADS), rtol=1e-6)


@pytest.mark.parametrize("wrapper", [jax.jit, jax.checkpoint])
def test_a_wrapped_update_gets_arrays(wrapper):
    inner = gradtx.trace(0.5)
    agree(gradtx.chain(gradtx.scale_by_adam(), gradtx.from_functions(inner.init, wrapper(inner.update)), inner))


class Uneven(NamedTuple):
    count: Count
    rows: Updates
    pair: Updates
    largest: jax.Array


@gradtx.transformation
def uneven():
    """State of other shapes than the leaf: the means of rows, and a pair of a code and a key; and shared state."""

    def init_leaf(p):
        rows = jnp.zeros(p.shape[:-1]) if p.ndim > 1 else None
        return rows, {"code": jnp.zeros((), jnp.int8), "key": jax.random.key(0)}

    def prepare(state, updates, *, scale=1.0):
        largest = gradtx.global_norm(updates)
        return state._replace(count=state.count + 1, largest=largest), {"scale": scale}

    def leaf(g, rows, pair, *, p, index, scale):
        rows = None if rows is None else rows + jnp.mean(g, axis=-1)
        key = jax.random.fold_in(pair["key"], index)
        return scale * g + 0 * p, rows, {"code": pair["code"] + jnp.int8(index), "key": key}

    return gradtx.leafwise(
        leaf, state=Uneven, init_leaf=init_leaf, init_shared=lambda params: {"largest": jnp.zeros(())}, prepare=prepare
    )


@pytest.mark.parametrize("run", [lambda f: f, jax.jit])
def test_state_of_other_shapes_than_the_leaf(run):
    params = {"a": jnp.ones((3, 2), jnp.bfloat16), "b": jnp.ones(2), "c": None, "d": jnp.ones((3, 2))}
    tx = gradtx.chain(gradtx.masked(uneven(), {"a": True, "b": True, "c": None, "d": False}), gradtx.scale(2.0))
    state = tx.init(params)
    updates, after = run(tx.update)(params, state, params, scale=3.0)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
    inner = after[0].inner_state
    assert (inner.count, inner.rows["a"].tolist(), inner.rows["b"]) == (1, [1.0, 1.0, 1.0], None)
    assert [int(inner.pair[k]["code"]) for k in "ab"] == [0, 1]
    assert inner.pair["a"]["key"] != inner.pair["b"]["key"]
    assert inner.largest == np.sqrt(8, dtype=np.float32)
    assert {k: None if u is None else float(u.ravel()[0]) for k, u in updates.items()} == {
        "a": 6,
        "b": 6,
        "c": None,
        "d": 2,
    }


def test_a_leaf_function_computes_in_the_precision_of_its_leaf(x64):
    seen = []

    @gradtx.transformation
    def test_only_precise(rate: gradtx.Numeric):
        def prepare(state):
            return state, {"half": jnp.float64(0.5), "count": jnp.int32(1), "flag": jnp.array(True)}

        def leaf(g, m, *, p, half, count, flag):
            seen.append([str(x.dtype) for x in (g, m, p, half, rate, count, flag)])
            return rate * half * g, m

        return gradtx.leafwise(
            leaf, state=gradtx.TraceState, init_leaf=lambda p: jnp.zeros(p.shape, jnp.bfloat16), prepare=prepare
        )

    params = {dtype: jnp.ones(2, dtype) for dtype in ("bfloat16", "complex64", "float32", "float64")}
    tx = test_only_precise(lambda step: 0.1)
    for run in (lambda f: f, jax.jit):
        updates, state = run(tx.update)(params, tx.init(params), params)
        assert {str(u.dtype) for u in updates.values()} == set(params)
        assert {str(m.dtype) for m in state.inner.trace.values()} == {"bfloat16"}
    wide = {"bfloat16": "float32", "complex64": "complex64", "float32": "float32", "float64": "float64"}
    real = wide | {"complex64": "float32"}
    assert seen[:4] == [[wide[k], real[k], wide[k], real[k], real[k], "int32", "bool"] for k in params]


def test_scalars_of_a_step_may_be_of_any_kind():
    @gradtx.transformation
    def test_only_scalars(factor: gradtx.Numeric = 2.0):
        def prepare(state):
            return state, {"numbers": {"half": 0.5, "none": None, "flag": True}, "key": jax.random.key(1)}

        def leaf(g, *, numbers, key):
            noise = 0 * jax.random.normal(key, g.shape, g.dtype)
            return jnp.where(numbers["flag"], factor * numbers["half"] * g + noise, 0)

        return gradtx.leafwise(leaf, prepare=prepare)

    for tx in (test_only_scalars(), test_only_scalars(jnp.float32(2)), test_only_scalars(lambda step: 2.0)):
        chex.assert_trees_all_close(tx.update(GRADS, tx.init(PARAMS))[0], GRADS)
        agree(tx)


def test_absent_leaves_and_numbers():
    params = {"a": jnp.ones(2), "b": None, "c": 2.0, "d": jnp.ones(2)}
    agree(gradtx.chain(gradtx.trace(0.9), gradtx.scale(2.0), gradtx.scale(0.5)), params, params)
    empty = gradtx.chain(gradtx.trace(0.9), gradtx.scale(2.0))
    assert jax.jit(empty.update)({}, empty.init({}), {})[0] == {}


def test_random_keys_among_the_params_are_passed_over():
    params = {"w": jnp.ones(2), "dropout": jax.random.key(0)}
    assert gradtx.zero_nans().init(params).found_nan["dropout"] is None
    for tx in (gradtx.adam(0.1), gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.masked(gradtx.adam(0.1), "*"))):
        state = tx.init(params)
        assert gradtx.tree.get_field(state, "mu")["dropout"] is None
        for grads in (params, params | {"dropout": None}):
            updates, after = jax.jit(tx.update)(grads, state, params)
            assert jax.tree.structure(updates) == jax.tree.structure(grads)
            assert jax.tree.structure(after) == jax.tree.structure(state)
            assert gradtx.apply_updates(params, updates)["dropout"] == params["dropout"]


def test_a_parameter_of_another_shape_is_an_error_that_names_the_leaf():
    tx = gradtx.chain(gradtx.scale(1.0), gradtx.add_decayed_weights(0.1))
    other = PARAMS | {"layer2": {"kernel": jnp.ones((1, 2)), "bias": jnp.ones(2)}}
    message = r"of one shape, got float32\[3, 2\] and float32\[1, 2\] at \['layer2'\]\['kernel'\]"
    with pytest.raises(gradtx.errors.TreeMismatchError, match=message):
        tx.update(GRADS, tx.init(PARAMS), other)


@pytest.mark.parametrize("dtype", ["bfloat16", "complex64"])
def test_updates_leave_a_group_in_the_dtype_they_came_with(dtype):
    params = jax.tree.map(lambda x: x.astype(dtype), PARAMS)
    seen = []
    watch = plain(lambda u: seen.append((u.dtype, u.shape)) or u)
    tx = gradtx.chain(gradtx.scale_by_adam(), watch, gradtx.scale(-1.0))
    jax.make_jaxpr(tx.update)(params, tx.init(params), params)
    assert seen == [(jnp.dtype(dtype), (2,)), (jnp.dtype(dtype), (3, 2))] * 4


def test_a_group_rounds_once():
    grads = {"w": jnp.array([1.0, 3.0], jnp.bfloat16)}
    tx = gradtx.chain(gradtx.scale(1 / 3), gradtx.scale(3.0))
    assert tx.update(grads, tx.init(grads))[0]["w"].tolist() == [1.0, 3.0]


def test_derivatives_and_batches():
    def loss(tx, grads):
        updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
        return sum(jnp.sum(jnp.square(u)) for u in jax.tree.leaves(updates))

    tx = gradtx.chain(gradtx.scale_by_adam(b1=0.5), gradtx.add_decayed_weights(0.1), gradtx.scale(0.5))
    by_jit = jax.jit(jax.grad(loss))(tx, GRADS)
    chex.assert_trees_all_close(by_jit, jax.grad(loss)(tx, GRADS), rtol=1e-4)
    batched = jax.tree.map(lambda g: jnp.stack([g, 2 * g]), GRADS)
    each = jax.vmap(lambda g: tx.update(g, tx.init(PARAMS), PARAMS)[0])(batched)
    alone = tx.update(jax.tree.map(lambda g: 2 * g, GRADS), tx.init(PARAMS), PARAMS)[0]
    chex.assert_trees_all_close(jax.tree.map(lambda u: u[1], each), alone, rtol=1e-5)


def test_an_error_in_a_leaf_function_names_the_member_and_the_leaf():
    @gradtx.transformation
    def test_only_wrong():
        return gradtx.leafwise(lambda g: jnp.sum(g))

    tx = gradtx.chain(gradtx.scale_by_adam(), test_only_wrong(), gradtx.scale(-1.0))
    message = r"gradtx.test_only_wrong: expected a result of shape \[2\], got \[\] at \['layer0'\]\['bias'\]"
    for run in (jax.jit, lambda f: f):
        with pytest.raises(gradtx.errors.TreeMismatchError, match=message):
            run(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    agree(gradtx.chain(gradtx.scale_by_adam(), gradtx.scale(-1.0)))  # the failed trace leaves nothing behind


def test_a_state_of_other_params_is_an_error_that_names_the_leaf():
    tx = gradtx.chain(gradtx.clip(1.0), gradtx.adam(0.1))
    other = tx.init(jax.tree.map(lambda p: p[..., :1], PARAMS))
    with pytest.raises(
        gradtx.errors.TreeMismatchError,
        match=r"of one shape, got an update \S+\[2\] and a state \S+\[1\] at \['layer0'\]\['bias'\]; make the state",
    ):
        jax.jit(tx.update)(GRADS, other, PARAMS)


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (lambda g, m: g, "a leaf function that returns an update and an entry for each of"),
        (lambda g, m: (g, m, m), "got a tuple of 3"),
        (lambda g, m: (g, jnp.sum(m)), "a next state of a leaf with the structure and shapes of the last"),
    ],
)
def test_a_leaf_function_that_returns_something_else(leaf, expected):
    @gradtx.transformation
    def test_only_returning():
        return gradtx.leafwise(leaf, state=gradtx.TraceState, init_leaf=jnp.zeros_like)

    with pytest.raises(gradtx.errors.GradtxError, match=expected):
        test_only_returning().update(GRADS, test_only_returning().init(PARAMS))


def test_scopes_name_the_members():
    tx = gradtx.adamw(1e-3)
    lowered = jax.jit(tx.update).lower(GRADS, tx.init(PARAMS), PARAMS)
    text = lowered.compile().as_text()
    for member in ("scale_by_adam", "add_decayed_weights", "scale_by_learning_rate"):
        assert f"/{member}/" in text


class Sized(NamedTuple):
    mu: Updates
    size: jax.Array


def same(g, m):
    return g, m


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"state": gradtx.TraceState}, "expected init_leaf, which makes a leaf's entry of trace, got none"),
        ({"state": Sized, "init_leaf": jnp.zeros_like}, r"expected init_shared to return size, got \[\]; annotate"),
        (
            {"state": gradtx.TraceState, "init_leaf": jnp.zeros_like, "prepare": lambda state: state},
            "expected prepare to return the next state and a dict of scalars, got TraceState",
        ),
        (
            {"state": gradtx.TraceState, "init_leaf": jnp.zeros_like, "prepare": lambda state, value: (state, {})},
            r"expected update\(..., value=...\), got no value; pass it by name",
        ),
        (
            {"state": gradtx.TraceState, "init_leaf": jnp.zeros_like, "prepare": lambda state, *, params: (state, {})},
            r"expected update\(..., params=...\), got no params; pass them third",
        ),
    ],
)
def test_a_mistake_of_a_factory_is_an_error_that_names_it(arguments, expected, scratch_registry):
    @gradtx.transformation
    def test_only_mistaken():
        return gradtx.leafwise(same, **arguments)

    with pytest.raises(gradtx.errors.GradtxError, match=f"gradtx.test_only_mistaken: {expected}"):
        test_only_mistaken().update(GRADS, test_only_mistaken().init(PARAMS))


def test_a_leaf_function_may_use_a_loop_variable_that_goes_on(scratch_registry):
    @gradtx.transformation
    def times(*factors: float) -> gradtx.core.Form:
        def update(updates, state, params=None, **extra):
            for factor in factors:
                once = gradtx.from_functions(
                    lambda p: (),
                    lambda u, s, p=None: (gradtx.tree.map_leaves(lambda g: factor * g, u), s),  # noqa: B023
                )
                updates, _ = gradtx.chain(once, gradtx.scale(1.0)).update(updates, ((), gradtx.EmptyState()))
            return updates, state

        return lambda params: gradtx.EmptyState(), update

    @gradtx.transformation
    def times_leafwise(factor: float) -> gradtx.core.Form:
        for number in (factor, 2 * factor):
            form = gradtx.leafwise(lambda g: number * g)  # noqa: B023
        return form

    tx = gradtx.chain(times(2.0, 5.0), times_leafwise(3.0))
    for update in (tx.update, jax.jit(tx.update)):
        assert update(jnp.ones(2), tx.init(jnp.ones(2)))[0].tolist() == [60.0, 60.0]
