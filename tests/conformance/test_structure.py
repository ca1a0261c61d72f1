"""Laws 1 and 3: a state keeps its structure, one trace serves every step, and donated buffers are used again.

That donation changes no result is part of `test_execution.py`: the compiled step there donates all it is given.
"""

import warnings

import chex
import jax
import jax.numpy as jnp
import pytest

from tests.conformance.cases import CASES, at, params_like, problem, step_once
from tests.conformance.laws import describe, law, programs, trace_step
from tests.conftest import x64_mode
from tests.effort import some


@law(1)
def test_the_state_keeps_its_structure(name):
    tx, (params, grads) = CASES[name], problem()
    state = tx.init(params)
    after_params, after = step_once(tx, params, state, at(grads, 0), 0)
    assert describe(after) == describe(state)
    assert describe(after_params) == describe(params)
    assert not any(weak for *_, weak in describe(after)[1])


@law(1)
@pytest.mark.parametrize("dtype", some(["every"], ["float32", "float64"]))
def test_the_state_keeps_its_structure_in_x64_mode(name, dtype):
    with x64_mode():
        alone = None if dtype == "every" else params_like(jnp.dtype(dtype))
        traced = programs(name).of_every_dtype if alone is None else trace_step(CASES[name], alone)
    for before, now in ((traced.params, traced.after), (traced.state, traced.next_state)):
        assert jax.tree.structure(before) == jax.tree.structure(now)
        for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(now), strict=True):
            assert (x.shape, x.dtype, False) == (y.shape, y.dtype, y.weak_type)


@law(1)
def test_twenty_steps_take_one_trace(name):
    case, (params, grads) = programs(name), problem()
    now, before = case.start(params), case.counted.traces
    for index in range(20):
        now = case.step(*now, at(grads, index), index)
    assert case.counted.traces - before <= 1
    assert case.counted.traces == 1
    assert case.donating._cache_size() == 1


@law(1)
def test_init_is_abstract(name):
    tx, params = CASES[name], params_like()
    chex.assert_trees_all_equal_shapes_and_dtypes(jax.eval_shape(tx.init, params), tx.init(params))


@law(3)
def test_init_aliases_nothing(name):
    tx, params = CASES[name], params_like()
    state = tx.init(params)
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves((params, state)) if x.size]
    assert len(set(buffers)) == len(buffers)


@law(3)
def test_every_donated_buffer_is_used_again(name):
    case, (params, grads) = programs(name), problem()
    arguments = (*case.start(params), at(grads, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*donated.*")
        compiled = case.donating.lower(*arguments, 0).compile()
    # For each donated buffer there is a result of its shape and dtype: params, state and updates.
    donated = sum(x.nbytes for x in jax.tree.leaves(arguments))
    assert compiled.memory_analysis().alias_size_in_bytes == donated
