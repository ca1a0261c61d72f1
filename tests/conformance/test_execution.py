"""Laws 2 and 7: however it is executed, a transformation does the same; saved, restored or run again, bit for bit.

Execution on several devices is in `test_sharding.py`.
"""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from tests.compilations import COMPILED
from tests.conformance.cases import advance, at, problem, step_once
from tests.conformance.laws import close, law, programs, trace_step

FEW = 3


@law(2)
def test_eager_equals_jit_and_scan(name):
    case, (params, grads) = programs(name), problem()
    eager, jitted = (params, case.tx.init(params)), case.start(params)
    for index in range(FEW):
        eager = step_once(case.tx, *eager, at(grads, index), index)
        jitted = case.step(*jitted, at(grads, index), index)
    close(eager, jitted)
    for index in range(FEW, 20):
        jitted = case.step(*jitted, at(grads, index), index)
    close(jitted, case.advance(params, case.tx.init(params), grads), rtol=2e-4, atol=2e-5)


def test_compilations_are_heard():
    before = len(COMPILED)
    jax.jit(lambda x: x + 1)(0)
    assert len(COMPILED) == before + 1


@law(2)
def test_eager_updates_compile_what_they_need_once(name):
    tx, (params, grads) = programs(name).tx, problem()

    def compilations():
        before, carry = len(COMPILED), (params, tx.init(params))
        for index in range(FEW):
            carry = step_once(tx, *carry, at(grads, index), index)
        return len(COMPILED) - before

    compilations()
    assert compilations() == 0


@law(2)
def test_fori_and_vmap_over_params_equal_separate_runs(name):
    """A loop whose length is not known, of a step on a batch: one program for both."""
    case, (params, grads) = programs(name), problem()
    factors = (1.0, 2.0, -1.0)
    batch, batch_grads = jax.tree.map(lambda x: jnp.stack([x * f for f in factors]), (params, grads))

    @jax.jit
    def run(batch, grads, steps):
        def body(index, carry):
            return jax.vmap(functools.partial(step_once, case.tx), in_axes=(0, 0, 0, None))(
                *carry, jax.tree.map(lambda x: x[:, index], grads), index
            )

        return jax.lax.fori_loop(0, steps, body, (batch, jax.vmap(case.tx.init)(batch)))

    together = run(batch, batch_grads, FEW)
    for lane in range(len(factors)):
        alone = case.start(at(batch, lane))
        for index in range(FEW):
            alone = case.step(*alone, at(at(batch_grads, lane), index), index)
        close(at(together, lane), alone)


@law(2)
def test_vmap_over_every_hyperparameter_equals_separate_runs(name):
    case, (params, grads) = programs(name), problem()
    numbers, treedef = jax.tree.flatten(case.tx)
    # Most ranges that have an end at 1 exclude what is just below it.
    factors = [jnp.array([1.0, 1.0 if x == 1 else 0.97]) for x in numbers]
    swept = treedef.unflatten([x * f for x, f in zip(numbers, factors, strict=True)])
    axes, lanes = gradtx.sweep_axes(swept), jnp.arange(2)

    @jax.jit
    def run(swept, grads):
        def lane(tx, _):
            return advance(tx, params, tx.init(params), grads)

        return jax.vmap(lane, in_axes=(axes, 0))(swept, lanes)

    together = run(swept, jax.tree.map(lambda x: x[:FEW], grads))
    for lane in range(2):
        tx = treedef.unflatten([x * f[lane] for x, f in zip(numbers, factors, strict=True)])
        alone = params, tx.init(params)
        for index in range(FEW):
            alone = case.of_any(tx, *alone, at(grads, index), index)
        close(at(together, lane), alone, rtol=1e-4, atol=1e-5)


@law(2)
def test_a_transformation_is_an_argument_of_a_compiled_function(name):
    case, (params, grads) = programs(name), problem()
    arrays = jax.tree.map(jnp.float32, case.tx)
    inside, outside = case.start(params), case.start(params)
    for index in range(FEW):
        inside = case.of_any(arrays, *inside, at(grads, index), index)
        outside = case.step(*outside, at(grads, index), index)
    # As an argument, 0.999 is a float32, and 1 - 0.999 then has a relative error of 6e-5.
    close(inside, outside, rtol=2e-4, atol=2e-5)
    before = case.of_any._cache_size()
    case.of_any(jax.tree.map(lambda x: x * 0.99, arrays), *inside, at(grads, 0), 0)
    assert case.of_any._cache_size() == before


@law(7)
def test_a_saved_and_restored_state_continues_with_the_same_bits(name):
    case, (params, grads) = programs(name), problem()
    straight, resumed = case.start(params), case.start(params)
    for index in range(FEW):
        g = at(grads, index)
        straight, resumed = case.step(*straight, g, index), case.step(*resumed, g, index)
        if index == FEW // 2:
            paths, _ = jax.tree_util.tree_flatten_with_path(resumed[1])
            saved = {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in paths}
            treedef = jax.tree.structure(jax.eval_shape(case.tx.init, params))
            resumed = resumed[0], treedef.unflatten(map(jnp.asarray, saved.values()))
            assert len(saved) == treedef.num_leaves
    chex.assert_trees_all_equal(straight, resumed)


@law(7)
def test_the_same_seed_gives_the_same_bits(name):
    case, (params, grads) = programs(name), problem()
    runs = [case.step(*case.start(params), at(grads, 0), 3) for _ in range(2)]
    chex.assert_trees_all_equal(*runs)
    # Another instance knows nothing of what this one did: its program is the same.
    fresh = [str(trace_step(tx, params).program) for tx in (case.tx, case.tx.replace())]
    assert len({re.sub("0x[0-9a-f]+", "", program) for program in fresh}) == 1
