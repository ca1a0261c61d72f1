"""Optax, Flax and Equinox: their transformations in ours, ours in theirs, and their training loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx

PARAMS = {"a": {"kernel": jnp.array([1.0, -2.0])}, "b": jnp.array([0.5])}
GRADS = {"a": {"kernel": jnp.array([3.0, -4.0])}, "b": jnp.array([1.0])}
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(16, 3)), jnp.float32)
TARGETS = jnp.sum(INPUTS, axis=1, keepdims=True)


def mean_squared_error(predictions):
    return jnp.mean((predictions - TARGETS) ** 2)


def trajectory(tx, steps=4, **extra):
    update = jax.jit(tx.update)
    params, state = PARAMS, tx.init(PARAMS)
    for step in range(steps):
        grads = jax.tree.map(lambda g, step=step: g * (1 - step), GRADS)
        updates, state = update(grads, state, params, **extra)
        params = gradtx.apply_updates(params, updates)
    return params


def observer(seen):
    """A gradtx transformation that notes its extras."""

    def update(updates, state, params=None, **extra):
        seen.append(extra)
        return updates, state

    return gradtx.from_functions(lambda params: (), update)


# --- Optax in gradtx --------------------------------------------------------------------------------------------------


def test_optax_members_of_a_chain():
    optax = pytest.importorskip("optax")
    ours = gradtx.chain(optax.clip_by_global_norm(1.0), gradtx.adam(0.1), optax.scale(2.0))
    theirs = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1), optax.scale(2.0))
    chex.assert_trees_all_close(trajectory(ours), trajectory(theirs), rtol=1e-5)
    assert repr(ours).startswith("chain(<optax.GradientTransformation")
    assert "0x" not in repr(ours)
    assert hash(ours) == hash(gradtx.chain(*ours.transforms))
    assert ours == gradtx.chain(*ours.transforms)


def test_extras_reach_optax_members_that_take_them():
    optax = pytest.importorskip("optax")
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    tx = gradtx.chain(optax.scale(1.0), gradtx.identity(), plateau)
    state = tx.init(PARAMS)
    for _ in range(4):
        updates, state = tx.update(GRADS, state, PARAMS, value=1.0, key="no member asks for this")
    chex.assert_trees_all_close(updates, jax.tree.map(lambda g: 0.125 * g, GRADS))


def test_optax_members_of_wrappers_and_partitions():
    optax = pytest.importorskip("optax")
    ours = gradtx.partition({"*/kernel": optax.adam(0.1), "*": gradtx.masked(optax.sgd(0.1), "b")})
    expected = gradtx.partition({"*/kernel": gradtx.adam(0.1), "*": gradtx.sgd(0.1)})
    chex.assert_trees_all_close(trajectory(ours), trajectory(expected), rtol=1e-5)


def test_optax_schedules_are_functions_of_the_step():
    optax = pytest.importorskip("optax")
    ours = gradtx.sgd(gradtx.exponential_decay(0.1, 2, 0.5))
    chex.assert_trees_all_close(
        trajectory(gradtx.sgd(optax.exponential_decay(0.1, 2, 0.5))), trajectory(ours), rtol=1e-6
    )


# --- gradtx in Optax --------------------------------------------------------------------------------------------------


def combinations(optax):
    yield optax.chain(optax.clip(1.0), gradtx.adam(0.1)), optax.chain(optax.clip(1.0), optax.adam(0.1))
    selected = {"a": {"kernel": True}, "b": False}
    yield optax.masked(gradtx.adam(0.1), selected), optax.masked(optax.adam(0.1), selected)
    labels = {"a": {"kernel": "x"}, "b": "y"}
    yield (
        optax.multi_transform({"x": gradtx.adamw(0.1), "y": gradtx.sgd(0.1)}, labels),
        optax.multi_transform({"x": optax.adamw(0.1), "y": optax.sgd(0.1)}, labels),
    )
    yield optax.apply_if_finite(gradtx.adam(0.1), 3), optax.apply_if_finite(optax.adam(0.1), 3)
    yield optax.MultiSteps(gradtx.adam(0.1), 2), optax.MultiSteps(optax.adam(0.1), 2)
    yield optax.inject_hyperparams(gradtx.adam)(0.1), optax.adam(0.1)
    yield optax.sgd(gradtx.exponential_decay(0.1, 2, 0.5)), optax.sgd(optax.exponential_decay(0.1, 2, 0.5))


@pytest.mark.parametrize("case", range(7))
def test_gradtx_members_of_optax_wrappers(case):
    optax = pytest.importorskip("optax")
    ours, theirs = list(combinations(optax))[case]
    chex.assert_trees_all_close(trajectory(ours), trajectory(theirs), rtol=1e-5)


def optax_wrappers(optax):
    """Optax's wrappers around a transformation of `PARAMS`, such that they do nothing but hand things on."""
    return {
        "chain": lambda tx: optax.chain(optax.identity(), tx),
        "masked": lambda tx: optax.masked(tx, jax.tree.map(lambda p: True, PARAMS)),
        "partition": lambda tx: optax.partition({"all": tx}, jax.tree.map(lambda p: "all", PARAMS)),
        "MultiSteps": lambda tx: optax.MultiSteps(tx, 1),
        "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
        "named_chain": lambda tx: optax.named_chain(("ours", tx)),
        "conditionally_mask": lambda tx: optax.conditionally_mask(tx, lambda step: step >= 0),
        "inject_hyperparams": lambda tx: optax.inject_hyperparams(lambda: tx)(),
    }


WRAPPERS = (
    "chain", "masked", "partition", "MultiSteps", "apply_if_finite", "named_chain", "conditionally_mask",
    "inject_hyperparams",
)  # fmt: skip
every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS)


@every_wrapper
def test_extras_in_optax_wrappers(wrapper):
    optax = pytest.importorskip("optax")
    seen = []
    tx = optax_wrappers(optax)[wrapper](observer(seen))
    tx.update(GRADS, tx.init(PARAMS), PARAMS, value=1.0)
    assert seen
    assert all(extra == {"value": 1.0} for extra in seen)


NEEDY = {
    "plateau": lambda: gradtx.chain(gradtx.sgd(0.1), gradtx.reduce_on_plateau(factor=0.5, patience=1)),
    "plateau_schedule": lambda: gradtx.sgd(gradtx.plateau_schedule(0.1, factor=0.5, patience=1)),
    "polyak": lambda: gradtx.polyak_sgd(),
    "linesearch": lambda: gradtx.chain(gradtx.sgd(1.0), gradtx.scale_by_backtracking_linesearch(5)),
    "sam": lambda: gradtx.sharpness_aware(gradtx.sgd(0.1), 0.1),
}
"""Transformations that do something else, or fail, without their extras."""


def needy_trajectory(tx):
    """Three steps on a bowl, with every extra; the ``value`` does not fall, so that a plateau reduces."""

    def loss(params):
        return sum(jnp.sum((p - 3) ** 2) for p in jax.tree.leaves(params))

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        extra = {"grad": grads, "value_fn": loss, "value_and_grad_fn": jax.value_and_grad(loss)}
        updates, state = tx.update(grads, state, params, value=value, **extra)
        return gradtx.apply_updates(params, updates), state

    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(3):
        _, state = step(PARAMS, state)  # the loss of a point where it was before
        params, state = step(params, state)
    return params


@pytest.mark.parametrize("name", NEEDY)
@every_wrapper
def test_what_needs_extras_gets_them_in_optax_wrappers(wrapper, name):
    optax = pytest.importorskip("optax")
    tx = NEEDY[name]()
    inside = needy_trajectory(optax_wrappers(optax)[wrapper](tx))
    chex.assert_trees_all_close(inside, needy_trajectory(tx), rtol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_params_of_numpy_in_an_optax_chain(jit):
    optax = pytest.importorskip("optax")
    tx = optax.chain(optax.clip(1.0), gradtx.adamw(0.1), gradtx.clip_by_global_norm(1.0))
    params = {"a": np.array([1.0, -2.0], np.float32), "b": 0.5}
    grads = {"a": np.array([3.0, -4.0], np.float32), "b": 1.0}
    expected, _ = tx.update(jax.tree.map(jnp.asarray, grads), tx.init(params), jax.tree.map(jnp.asarray, params))
    updates, _ = (jax.jit(tx.update) if jit else tx.update)(grads, tx.init(params), params)
    chex.assert_trees_all_close(updates, expected, rtol=1e-6)
    # The arrays beside the traced ones are constants of the program.
    updates, _ = jax.jit(lambda grads, state: tx.update(grads, state, params))(grads, tx.init(params))
    chex.assert_trees_all_close(updates, expected, rtol=1e-6)


def test_optax_applies_our_updates():
    optax = pytest.importorskip("optax")
    tx = gradtx.adam(0.1)
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_equal(optax.apply_updates(PARAMS, updates), gradtx.apply_updates(PARAMS, updates))


# --- Flax -------------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "adam": lambda: gradtx.adam(0.02),
    "scheduled": lambda: gradtx.chain(
        gradtx.clip_by_global_norm(10.0), gradtx.adamw(gradtx.exponential_decay(0.02, 10, 0.9), mask="*/kernel")
    ),
    "partitioned": lambda: gradtx.partition({"*/kernel": gradtx.adam(0.02), "*/bias": gradtx.sgd(0.05)}),
    "tunable": lambda: gradtx.tunable(gradtx.adam(0.02)),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def linen_state(tx):
    linen = pytest.importorskip("flax.linen")
    train_state = pytest.importorskip("flax.training.train_state")

    class Model(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(1)(linen.relu(linen.Dense(16)(x)))

    model = Model()
    params = model.init(jax.random.key(0), INPUTS)["params"]
    return train_state.TrainState.create(apply_fn=model.apply, params=params, tx=tx)


def linen_train(state, steps=30):
    traces, losses = [], []

    @jax.jit
    def step(state):
        traces.append(state)
        loss, grads = jax.value_and_grad(lambda p: mean_squared_error(state.apply_fn({"params": p}, INPUTS)))(
            state.params
        )
        return state.apply_gradients(grads=grads), loss

    for _ in range(steps):
        state, loss = step(state)
        losses.append(float(loss))
    return state, losses, len(traces)


@every_optimizer
def test_flax_linen_train_state(make):
    state, losses, traces = linen_train(linen_state(make()))
    assert losses[-1] < 0.5 * losses[0]
    assert traces == 1
    assert state.step == 30


@pytest.mark.parametrize("rate", [jnp.array(0.02), np.array(0.02), gradtx.constant_schedule(jnp.array(0.02))])
def test_a_train_state_with_arrays_in_its_transformation(rate):
    # Flax holds the transformation as static metadata: jit hashes it and compares it, array leaves and all.
    state = linen_state(gradtx.adam(rate))
    trained, losses, traces = linen_train(state)
    assert losses[-1] < 0.5 * losses[0]
    assert traces == 1
    equal = state.replace(tx=gradtx.adam(rate))
    assert jax.tree.structure(equal) == jax.tree.structure(state)
    other = state.replace(tx=gradtx.adam(jnp.array(0.03)))
    assert jax.tree.structure(other) != jax.tree.structure(state)
    assert trained.tx is state.tx


def nnx_train(tx, steps=30):
    nnx = pytest.importorskip("flax.nnx")
    rngs = nnx.Rngs(0)

    class Model(nnx.Module):
        def __init__(self):
            self.inner, self.outer = nnx.Linear(3, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

        def __call__(self, x):
            return self.outer(nnx.relu(self.inner(x)))

    model = Model()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda model: mean_squared_error(model(INPUTS)))(model)
        optimizer.update(model, grads)
        return loss

    return model, [float(step(model, optimizer)) for _ in range(steps)]


@every_optimizer
def test_flax_nnx_optimizer(make):
    _, losses = nnx_train(make())
    assert losses[-1] < 0.5 * losses[0]


def test_nnx_optimizers_with_arrays_are_given_as_functions():
    # Flax refuses what has array leaves before it calls anything of ours.
    tx = gradtx.adam(jnp.array(0.02))
    with pytest.raises(ValueError, match="static attribute"):
        nnx_train(tx, steps=1)
    _, losses = nnx_train(gradtx.from_functions(*tx))
    _, expected = nnx_train(gradtx.adam(0.02))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_the_leaves_of_nnx_have_the_names_of_their_variables():
    nnx = pytest.importorskip("flax.nnx")
    model, _ = nnx_train(gradtx.sgd(0.0), steps=1)
    names = jax.tree.leaves(gradtx.tree.leaf_names(nnx.state(model, nnx.Param)))
    assert sorted(names) == ["inner/bias", "inner/kernel", "outer/bias", "outer/kernel"]
    before = nnx.state(model, nnx.Param)
    frozen, _ = nnx_train(gradtx.masked(gradtx.sgd(0.1), "outer/*", unselected="freeze"), steps=3)
    after = nnx.state(frozen, nnx.Param)
    chex.assert_trees_all_equal(before["inner"]["kernel"], after["inner"]["kernel"])
    assert not np.allclose(before["outer"]["kernel"][...], after["outer"]["kernel"][...])


# --- Equinox ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: gradtx.adam(0.02),
        lambda: gradtx.partition(
            {"*/weight": gradtx.adamw(gradtx.exponential_decay(0.02, 10, 0.9)), "*": gradtx.sgd(0.05)}
        ),
    ],
    ids=["adam", "partition"],
)
def test_an_equinox_loop(make):
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(3, 1, 16, 1, key=jax.random.key(0))
    tx = make()
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        loss, grads = eqx.filter_value_and_grad(lambda model: mean_squared_error(jax.vmap(model)(INPUTS)))(model)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        return gradtx.apply_updates(model, updates), state, loss

    losses = []
    for _ in range(30):
        model, state, loss = step(model, state)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
