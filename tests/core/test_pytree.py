"""Values as pytrees: arguments of compiled functions, sweeps, and hypergradients."""

import copy
import functools
import pickle
import sys
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.typing import Numeric
from tests.conformance.cases import VALUES

START = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}


def loss(params):
    return jnp.sum((params["w"] - 3.0) ** 2) + jnp.sin(params["b"])


def train(tx, params=None, steps=5):
    params = START if params is None else params

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (gradtx.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=steps)
    return loss(params)


def test_numbers_are_leaves_and_the_rest_is_static():
    tx = gradtx.chain(
        gradtx.clip_by_global_norm(1.0),
        gradtx.masked(gradtx.adamw(gradtx.exponential_decay(1e-3, 100, 0.9), mu_dtype="bfloat16"), "*"),
    )
    names = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tx)}
    rate = ".transforms[1].inner.learning_rate"
    assert names[".transforms[0].max_norm"] == 1.0
    assert (names[f"{rate}.init_value"], names[f"{rate}.decay_rate"]) == (1e-3, 0.9)
    assert names[".transforms[1].inner.b1"] == 0.9
    assert all(type(leaf) is float for leaf in names.values())


def test_whole_numbers_are_float_leaves():
    tx = gradtx.adam(1)
    assert repr(tx) == "adam(learning_rate=1)"
    assert [type(leaf) for leaf in jax.tree.leaves(tx)] == [float] * len(jax.tree.leaves(tx))


def test_unflatten_undoes_flatten():
    tx = gradtx.partition({"*/b": gradtx.sgd(0.1, momentum=0.9), "*/a": gradtx.adam(jnp.array([1.0, 2.0]))})
    leaves, treedef = jax.tree.flatten(tx)
    assert treedef.unflatten(leaves) == tx
    # Whatever stands at the leaves comes back as it is: pytree laws know nothing of numbers.
    marks = list(range(len(leaves)))
    assert jax.tree.leaves(treedef.unflatten(marks)) == marks
    assert all(type(mark) is int for mark in jax.tree.leaves(treedef.unflatten(marks)))


def test_tree_map_keeps_the_order_of_a_partition():
    tx = gradtx.partition({"*/z": gradtx.sgd(0.1), "*/a": gradtx.sgd(0.2), "*": gradtx.sgd(0.3)})
    mapped = jax.tree.map(lambda x: 2 * x, tx)
    assert list(mapped.transforms) == ["*/z", "*/a", "*"]
    assert mapped.transforms["*/a"] == gradtx.sgd(0.4)
    assert list(jax.jit(lambda tx: tx)(tx).transforms) == ["*/z", "*/a", "*"]


def test_an_absent_number_is_no_leaf():
    plain, heavy = gradtx.sgd(0.1), gradtx.sgd(0.1, momentum=0.9)
    assert jax.tree.leaves(plain) == [0.1]
    assert jax.tree.leaves(heavy) == [0.1, 0.9]
    assert jax.tree.structure(plain) != jax.tree.structure(heavy)
    assert jax.tree.map(lambda x: x, plain) == plain


def test_numbers_in_containers_are_leaves():
    @gradtx.schedule
    def steps(scales: dict[int, Numeric], rates: tuple[Numeric, ...], limit: int):
        return lambda step: scales[limit] * rates[0]

    value = steps({3: 1, 1: 0.5}, (2, 3.0), 1)
    assert jax.tree.leaves(value) == [1.0, 0.5, 2.0, 3.0]
    assert jax.tree.map(lambda x: x, value) == value
    assert list(jax.tree.map(lambda x: x, value).scales) == [3, 1]
    assert float(value(0)) == 1.0


def test_structures_compare_static_parts():
    structure = jax.tree.structure
    assert structure(gradtx.adam(0.1)) == structure(gradtx.adam(0.2))
    assert structure(gradtx.adam(0.1)) != structure(gradtx.adam(0.1, nesterov=True))
    assert structure(gradtx.adam(0.1)) != structure(gradtx.nadam(0.1))
    assert structure(gradtx.adam(0.1)) != structure(gradtx.adam(gradtx.constant_schedule(0.1)))


@pytest.mark.parametrize("name", VALUES)
def test_structures_copy_and_pickle(name):
    leaves, treedef = jax.tree.flatten(VALUES[name])
    copies = [copy.copy(treedef), copy.deepcopy(treedef)]
    try:
        pickle.dumps(VALUES[name])
    except (pickle.PicklingError, AttributeError):
        pass  # one of its arguments is a local function
    else:
        copies.append(pickle.loads(pickle.dumps(treedef)))  # noqa: S301
    for again in copies:
        assert again == treedef
        assert hash(again) == hash(treedef)
        assert again.unflatten(leaves) == VALUES[name]
        assert jax.tree.structure(again.unflatten(leaves)) == treedef
    duplicate = copy.deepcopy({"tx": VALUES[name], "structure": treedef})
    assert jax.tree.structure(duplicate["tx"]) == duplicate["structure"]


@pytest.fixture
def package(scratch_registry):
    """A module that can be imported, for factories that pickle."""
    module = types.ModuleType("package_of_a_user")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def define(module, function):
    """A version of a factory at the top of a module."""
    function.__module__, function.__qualname__ = module.__name__, function.__name__
    made = gradtx.schedule(function)
    setattr(module, function.__name__, made)
    return made


def test_a_structure_of_an_older_version_puts_the_leaves_where_they_were(package):
    def line(a: Numeric, b: Numeric, points: tuple[Numeric, ...] = (), mode: str = "x"):
        return lambda step: a + b * step

    line = define(package, line)
    leaves, treedef = jax.tree.flatten({"s": line(1.0, 2.0, (3.0, 4.0)), "t": 5.0})
    idle, busy = (pickle.dumps(jax.tree.structure(line(1.0, 2.0, mode=mode))) for mode in "xy")
    pickled = pickle.dumps(treedef)

    def line(new: Numeric = 7.0, *, points: tuple[Numeric, ...] = (), b: Numeric, a: Numeric):
        return lambda step: a + b * step

    line = define(package, line)
    loaded = pickle.loads(pickled)  # noqa: S301
    assert loaded.unflatten(leaves) == {"s": line(7.0, points=(3.0, 4.0), b=2.0, a=1.0), "t": 5.0}
    assert loaded == pickle.loads(pickle.dumps(loaded)) == copy.deepcopy(loaded)  # noqa: S301
    assert pickle.loads(idle).unflatten([1.0, 2.0]) == line(a=1.0, b=2.0)  # noqa: S301
    with pytest.raises(gradtx.errors.ArgumentTypeError, match=r"^gradtx.line: .* got a pickle with 'mode'; load it"):
        pickle.loads(busy)  # noqa: S301


@pytest.mark.parametrize("make", [gradtx.adam, lambda lr: gradtx.adam(gradtx.exponential_decay(lr, 10, 0.5))])
def test_a_sweep_of_arguments_compiles_once(make):
    traces = []

    @jax.jit
    def run(tx):
        traces.append(tx)
        return train(tx)

    rates = np.linspace(0.01, 0.1, 10)
    losses = [float(run(make(lr))) for lr in rates]
    assert len(traces) == 1
    assert len(set(losses)) == 10
    np.testing.assert_allclose(losses[::9], [float(train(make(lr))) for lr in rates[::9]], rtol=1e-5)


def test_static_arguments_compile_again():
    traces = []

    @jax.jit
    def run(tx):
        traces.append(tx)
        return train(tx)

    run(gradtx.adam(0.1)), run(gradtx.adam(0.1, nesterov=True))
    assert len(traces) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda lr, b1: gradtx.adam(lr, b1),
        lambda lr, b1: gradtx.sgd(lr, momentum=b1),
        lambda lr, b1: gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(gradtx.constant_schedule(lr), b1)),
        lambda lr, b1: gradtx.partition({"w": gradtx.adam(lr), "*": gradtx.adam(0.1, b1)}),
        lambda lr, b1: gradtx.tunable(gradtx.adam(lr, b1)),
    ],
    ids=["adam", "sgd", "chain", "partition", "tunable"],
)
def test_vmap_equals_separate_runs(make):
    rates, decays = jnp.array([1e-3, 1e-2, 0.1]), jnp.array([0.8, 0.9, 0.95])
    tx = make(rates, decays)
    swept = jax.jit(jax.vmap(train, in_axes=(gradtx.sweep_axes(tx),)))(tx)
    separate = jnp.stack([train(make(lr, b1)) for lr, b1 in zip(rates, decays, strict=True)])
    np.testing.assert_allclose(swept, separate, rtol=1e-5)
    assert len(set(swept.tolist())) == 3


def test_sweep_axes():
    axes = gradtx.sweep_axes(gradtx.adam(jnp.array([0.1, 0.2]), b1=jnp.array(0.5)))
    assert (axes.learning_rate, axes.b1, axes.b2) == (0, None, None)
    with_none = gradtx.sweep_axes(gradtx.sgd(jnp.array([0.1, 0.2])))
    assert (with_none.learning_rate, with_none.momentum) == (0, None)


def test_an_array_of_rates_without_vmap_is_an_error():
    tx = gradtx.sgd(jnp.array([0.1, 0.2]))
    expected = (
        "gradtx.sgd: expected a single number for learning_rate, got an array; "
        "sweep with jax.vmap(step, in_axes=(sweep_axes(tx), ...)), which takes tx as an argument"
    )
    state = gradtx.sgd(0.1).init(START)
    for call in (lambda: tx.init(START), lambda: tx.update(START, state)):
        with pytest.raises(gradtx.errors.ArgumentValueError) as error:
            call()
        assert str(error.value) == expected


@pytest.mark.parametrize(
    "tx",
    [
        gradtx.adam(0.1),
        gradtx.sgd(0.05, momentum=0.9, nesterov=True),
        gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(gradtx.exponential_decay(0.1, 3, 0.9))),
        gradtx.sgd(0.1 * gradtx.constant_schedule(0.5)),
    ],
    ids=["adam", "sgd", "chain", "arithmetic"],
)
def test_hypergradients_match_finite_differences(tx, x64):
    params = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    run = functools.partial(train, params=params)
    grads = jax.jit(jax.grad(run))(tx)
    assert type(grads) is type(tx)
    assert grads.factory is tx.factory
    leaves, treedef = jax.tree.flatten(tx)
    h = 1e-6 * jnp.maximum(jnp.abs(jnp.array(leaves)), 1e-3)
    at = jax.jit(jax.vmap(lambda leaves: run(treedef.unflatten(leaves))))
    slopes = (at(jnp.array(leaves) + jnp.diag(h)) - at(jnp.array(leaves) - jnp.diag(h))) / (2 * h)
    np.testing.assert_allclose(jax.tree.leaves(grads), slopes, rtol=1e-4, atol=1e-6)
    assert any(abs(float(g)) > 1e-3 for g in jax.tree.leaves(grads))


def test_as_static_metadata():
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def step(tx, grads):
        traces.append(tx)
        return tx.update(grads, tx.init(grads), grads)[0]

    first = step(gradtx.adam(jnp.array(0.1)), START)
    step(gradtx.adam(jnp.array(0.1)), START)  # equal: the compiled program is used again
    assert len(traces) == 1
    second = step(gradtx.adam(jnp.array(0.2)), START)  # another number under the same hash
    assert len(traces) == 2
    chex.assert_trees_all_close(jax.tree.map(lambda x: 2 * x, first), second)


def test_values_made_in_a_trace_outlive_it():
    @gradtx.transformation
    def rooted(rate: Numeric):
        factor = jnp.sqrt(rate)  # computed when the pair is made, perhaps within a trace
        return gradtx.scale(factor)

    for tx in (rooted(4.0), gradtx.sgd(gradtx.join_schedules([gradtx.constant_schedule(2.0), lambda n: 1.0], [3]))):
        fresh = jax.tree.map(lambda x: x, tx)  # its pair is not made yet
        inside = jax.jit(lambda grads, fresh=fresh: fresh.update(grads, fresh.init(grads))[0])(START)
        outside = fresh.update(START, fresh.init(START))[0]
        chex.assert_trees_all_equal(inside, outside)


def test_hyperparameters_can_be_trained():
    tx = gradtx.sgd(0.01)
    first = train(tx)
    learner = gradtx.adam(0.01)
    state = learner.init(tx)
    for _ in range(5):
        updates, state = learner.update(jax.grad(train)(tx), state, tx)
        tx = gradtx.apply_updates(tx, updates)
    assert isinstance(tx, gradtx.GradientTransformation)
    np.testing.assert_allclose(tx.learning_rate, 0.06, atol=0.01)
    assert train(tx) < first
