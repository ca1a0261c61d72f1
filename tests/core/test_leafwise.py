"""Leaf functions of a chain joined: how many calls a step has, and that nothing but their number changes."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import pytest

import gradtx
from gradtx import tree

PARAMS = {f"layer{i}": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)} for i in range(4)}
GRADS = jax.tree.map(lambda p: 3 * p - 1, PARAMS)


def calls(tx: Any, params: Any = PARAMS) -> list[str]:
    """The names of the shared calls of an update that return arrays of a leaf's size."""
    program = jax.make_jaxpr(tx.update)(params, tx.init(params), params)
    return [
        eqn.params["name"]
        for eqn in program.eqns
        if eqn.primitive.name in ("jit", "pjit") and any(v.aval.ndim for v in eqn.outvars)
    ]


def count(primitive: str, program: Any) -> int:
    """How often a program has a primitive; those of a call, as often as it is called."""
    inside = [x.jaxpr for eqn in program.eqns for x in eqn.params.values() if hasattr(x, "jaxpr")]
    own = sum(eqn.primitive.name == primitive for eqn in program.eqns)
    return own + sum(count(primitive, p) for p in inside)


def agree(tx: Any, params: Any = PARAMS, grads: Any = GRADS, steps: int = 3) -> None:
    """Assert that a step under `jit`, where calls are joined, does what it does without, where they are not."""
    jitted, eager = tx.init(params), tx.init(params)
    for _ in range(steps):
        expected, eager = tx.update(grads, eager, params)
        got, jitted = jax.jit(tx.update)(grads, jitted, params)
        chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-7)
        chex.assert_trees_all_close(jitted, eager, rtol=1e-5, atol=1e-7)
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves((got, jitted)))


def test_a_layer_is_one_call_however_long_the_chain():
    schedule = gradtx.cosine_decay_schedule(1e-3, 100)
    tx = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(schedule), gradtx.trace(0.5))
    members = ["clip_by_global_norm", "scale_by_adam", "add_decayed_weights", "scale_by_learning_rate", "trace"]
    assert calls(tx) == ["_and_".join(members)] * 4
    agree(tx)


def test_kinds_of_which_there_are_not_equally_many_are_called_apart():
    params = {**PARAMS, "norm": jnp.ones(2)}  # five vectors, four matrices
    assert len(calls(gradtx.adam(1e-3), params)) == 9
    agree(gradtx.adam(1e-3), params, params)


def test_a_kind_is_divided_between_two_others_if_that_saves_calls():
    def leaves(**counts):
        shapes = {"a": (2,), "b": (3,), "c": (4,)}
        return {f"{kind}{i}": jnp.full(shapes[kind], i + 1.0) for kind, n in counts.items() for i in range(n)}

    for params, expected in ((leaves(a=5, b=4, c=9), 5 + 4), (leaves(a=4, b=8), 4), (leaves(a=3, b=6), 3 + 6)):
        assert len(calls(gradtx.adam(1e-3), params)) == expected
        agree(gradtx.adam(1e-3), params, jax.tree.map(lambda p: 2 - p, params))


def test_a_leaf_alone_of_its_kind_needs_no_call():
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    assert calls(gradtx.adamw(1e-3), params) == []
    agree(gradtx.adamw(1e-3), params, params)


def test_short_functions_are_joined_only_when_there_are_several():
    assert calls(gradtx.scale(2.0)) == []
    assert calls(gradtx.chain(gradtx.scale(2.0), gradtx.scale(0.5))) == []
    assert calls(gradtx.chain(*[gradtx.scale(2.0)] * 3)) == ["scale"] * 4


def test_a_norm_in_the_middle_does_not_make_calls_twice():
    tx = gradtx.chain(gradtx.scale_by_adam(), gradtx.clip_by_global_norm(1.0), gradtx.scale(-1.0))
    program = jax.make_jaxpr(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    assert count("sqrt", program) == len(jax.tree.leaves(PARAMS)) + 1
    agree(tx)


def test_a_member_that_does_not_declare_it_gets_arrays():
    @gradtx.transformation
    def test_only_sine():
        def update(updates, state, params=None, **extra):
            assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(updates))
            return jax.tree.map(jnp.sin, updates), state

        return lambda params: gradtx.EmptyState(), update

    tx = gradtx.chain(gradtx.scale_by_adam(), test_only_sine(), gradtx.trace(0.9), gradtx.scale(-1.0))
    assert calls(tx) == ["scale_by_adam"] * 4 + ["trace_and_scale"] * 4
    agree(tx)


def test_its_own_use_of_map_leaves_gives_arrays_too():
    @gradtx.transformation
    def test_only_sine_of_half():
        def update(updates, state, params=None, **extra):
            half = tree.map_leaves(lambda g: 0.5 * g, updates)
            return jax.tree.map(jnp.sin, half), state

        return lambda params: gradtx.EmptyState(), update

    agree(gradtx.chain(gradtx.scale_by_adam(), test_only_sine_of_half(), gradtx.scale(-1.0)))


def test_apart_from_a_program_nothing_is_joined_as_it_would_be_compiled_each_time():
    seen = []

    @gradtx.transformation
    def test_only_square():
        @tree.fusible
        def update(updates, state, params=None, **extra):
            def leaf(g):
                seen.append(g.shape)
                return g * g

            return tree.map_leaves(leaf, updates), state

        return lambda params: gradtx.EmptyState(), update

    tx = gradtx.chain(gradtx.scale(2.0), test_only_square(), gradtx.scale(0.5))

    def update(grads):
        return tx.update(grads, tx.init(PARAMS), PARAMS)[0]

    twice = jax.tree.map(lambda g: jnp.stack([g, -g]), GRADS)
    for function, grads in ((jax.vmap(update), twice), (lambda grads: jax.linearize(update, grads)[0], GRADS)):
        for compiled, calls in ((jax.jit(function), 2), (function, 8)):
            seen.clear()
            chex.assert_trees_all_close(compiled(grads), jax.tree.map(lambda g: 2 * g * g, grads), rtol=1e-6)
            assert len(seen) == calls


@pytest.mark.parametrize("wrapper", [jax.jit, jax.checkpoint])
def test_a_wrapped_update_gets_arrays(wrapper):
    inner = gradtx.trace(0.5)
    agree(gradtx.chain(gradtx.scale_by_adam(), gradtx.from_functions(inner.init, wrapper(inner.update)), inner))


class Kept(NamedTuple):
    before: Any
    after: Any


@gradtx.transformation
def keeping():
    """Both the updates that come and those that go are kept in the state."""

    @tree.fusible
    def update(updates, state, params=None, **extra):
        after = tree.map_leaves(lambda g: 2 * g, updates)
        return after, Kept(updates, after)

    return lambda params: Kept(tree.zeros_like(params), tree.zeros_like(params)), update


def test_what_is_kept_in_a_state_is_an_array_also_when_it_was_passed_on():
    tx = gradtx.chain(gradtx.scale(3.0), keeping(), gradtx.clip_by_global_norm(1.0), keeping(), gradtx.scale(0.5))
    agree(tx)
    _, state = jax.jit(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_close(state[1].before, jax.tree.map(lambda g: 3 * g, GRADS))
    chex.assert_trees_all_close(state[1].after, jax.tree.map(lambda g: 6 * g, GRADS))


def test_two_trees_of_updates_may_meet_again():
    @gradtx.transformation
    def test_only_difference():
        @tree.fusible
        def update(updates, state, params=None, **extra):
            one = tree.map_leaves(lambda g: 3 * g, updates)
            other = tree.map_leaves(lambda p: 0.5 * p, params)
            return tree.map_leaves(lambda a, b: a - b, one, read=(other,)), state

        return lambda params: gradtx.EmptyState(), update

    agree(gradtx.chain(gradtx.scale(2.0), test_only_difference(), gradtx.scale(-1.0)))


def test_a_mask_may_be_a_function_of_the_updates():
    tx = gradtx.adamw(1e-3, weight_decay=0.5, mask=lambda p: jax.tree.map(lambda x: jnp.ndim(x) > 1, p))
    agree(tx)


def test_absent_leaves_and_numbers():
    params = {"a": jnp.ones(2), "b": None, "c": 2.0, "d": jnp.ones(2)}
    agree(gradtx.chain(gradtx.trace(0.9), gradtx.scale(2.0), gradtx.scale(0.5)), params, params)
    empty = gradtx.chain(gradtx.trace(0.9), gradtx.scale(2.0))
    assert jax.jit(empty.update)({}, empty.init({}), {})[0] == {}


@pytest.mark.parametrize("dtype", ["bfloat16", "complex64"])
def test_between_members_updates_have_the_dtype_they_came_with(dtype):
    params = jax.tree.map(lambda x: x.astype(dtype), PARAMS)
    seen = []

    @gradtx.transformation
    def test_only_watch():
        @tree.fusible
        def update(updates, state, params=None, **extra):
            seen.extend((x.dtype, x.shape, x.ndim, x.size) for x in jax.tree.leaves(updates))
            return updates, state

        return lambda params: gradtx.EmptyState(), update

    tx = gradtx.chain(gradtx.scale_by_adam(), test_only_watch(), gradtx.scale(-1.0))
    jax.make_jaxpr(tx.update)(params, tx.init(params), params)
    assert seen == [(jnp.dtype(dtype), (2,), 1, 2), (jnp.dtype(dtype), (3, 2), 2, 6)] * 4


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
        @tree.fusible
        def update(updates, state, params=None, **extra):
            return tree.map_leaves(lambda g: jnp.sum(g), updates), state

        return lambda params: gradtx.EmptyState(), update

    tx = gradtx.chain(gradtx.scale_by_adam(), test_only_wrong(), gradtx.scale(-1.0))
    message = r"gradtx.test_only_wrong: expected a result of shape \[2\], got \[\] at \['layer0'\]\['bias'\]"
    with pytest.raises(gradtx.errors.TreeMismatchError, match=message):
        jax.jit(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    # The failed trace leaves nothing behind.
    agree(gradtx.chain(gradtx.scale_by_adam(), gradtx.scale(-1.0)))


def test_scopes_name_the_members():
    tx = gradtx.adamw(1e-3)
    lowered = jax.jit(tx.update).lower(GRADS, tx.init(PARAMS), PARAMS)
    text = lowered.compile().as_text()
    for member in ("scale_by_adam", "add_decayed_weights", "scale_by_learning_rate"):
        assert f"/{member}/" in text


def test_settle_leaves_other_trees_alone():
    nodes = {"a": 1.5, "b": None, "c": "text"}
    assert tree.settle(nodes) == nodes
