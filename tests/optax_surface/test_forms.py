"""The forms that programs rely on, beside Optax: the same program, the same numbers and states."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradtx
import gradtx.optax as ours

PARAMS = {"w": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array([[0.5, -1.0]])}


def grads_at(params: Any, step: int) -> Any:
    return jax.tree.map(lambda p: 0.3 * p + 0.1 * jnp.cos(step + p), params)


def run(lib: Any, tx: Any, steps: int = 6, **extra: Any) -> tuple[Any, Any]:
    """The params after some steps, and the state."""
    params, state = PARAMS, tx.init(PARAMS)
    update = jax.jit(tx.update)
    for step in range(steps):
        updates, state = update(grads_at(params, step), state, params, **{k: f(step) for k, f in extra.items()})
        params = lib.apply_updates(params, updates)
    return params, state


def shape(state: Any) -> str:
    """A state by its classes and fields, without its numbers."""
    return str(jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", state))


def assert_same(build: Callable[[Any], Any], **extra: Any) -> tuple[Any, Any]:
    """A program under both: equal numbers, and states of one structure."""
    mine, expected = run(ours, build(ours), **extra), run(theirs, build(theirs), **extra)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), mine[0], expected[0])
    assert shape(mine[1]) == shape(expected[1])
    pairs = zip(jax.tree.leaves(mine[1]), jax.tree.leaves(expected[1]), strict=True)
    counters = [(int(x), int(y)) for x, y in pairs if jnp.issubdtype(jnp.result_type(x), jnp.integer) and not x.ndim]
    assert all(x == y for x, y in counters), counters
    return mine[1], expected[1]


SCHEDULE = theirs.linear_schedule(0.1, 0.01, 5)

PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "clipped adamw": lambda o: o.chain(o.clip_by_global_norm(0.5), o.adamw(SCHEDULE, mask={"w": True, "b": False})),
    "decay schedule": lambda o: o.adamw(0.1, weight_decay=SCHEDULE),
    "rmsprop": lambda o: o.rmsprop(0.1, momentum=0.9),
    "centered rmsprop": lambda o: o.rmsprop(0.1, eps=0.1, centered=True, bias_correction=True),
    "ascent": lambda o: o.rmsprop(-0.01),
    "ascent by sgd": lambda o: o.sgd(-1.0),
    "an infinite bound": lambda o: o.chain(o.clip_by_global_norm(jnp.inf), o.sgd(0.1)),
    "lion": lambda o: o.lion(0.01),
    "lion, smooth": lambda o: o.chain(o.scale_by_lion(mode="smooth", smooth_beta=2.0), o.scale(-0.1)),
    "lion, refined": lambda o: o.chain(o.scale_by_lion(mode="refined"), o.scale(-0.1)),
    "groups": lambda o: o.multi_transform({"a": o.adam(0.1), "b": o.set_to_zero()}, {"w": "a", "b": "b"}),
    "masked": lambda o: o.masked(o.adam(0.1), {"w": True, "b": False}),
    "frozen": lambda o: o.chain(o.sgd(0.1), o.freeze({"w": True, "b": False})),
    "selective": lambda o: o.selective_transform(o.adam(0.1), freeze_mask={"w": True, "b": False}),
    "named": lambda o: o.named_chain(("z", o.clip(1.0)), ("a", o.adam(SCHEDULE))),
    "injected": lambda o: o.inject_hyperparams(o.adam)(learning_rate=SCHEDULE, b1=0.8),
    "injected function": lambda o: o.inject_hyperparams(lambda rate, decay: o.adamw(rate, weight_decay=decay))(
        0.1, 0.01
    ),
    "multi steps": lambda o: o.MultiSteps(o.adam(0.1), 2).gradient_transformation(),
    "finite": lambda o: o.apply_if_finite(o.adam(0.1), 3),
    "every second": lambda o: o.chain(o.sgd(0.1), o.apply_every(2)),
    "at some steps": lambda o: o.conditionally_transform(o.scale(-0.1), lambda step: step > 2),
    "masked at some": lambda o: o.conditionally_mask(
        o.sgd(0.1), lambda step, **extra: step % 2 == 0, forward_extra_args=True
    ),
    "sam": lambda o: o.contrib.sam(o.sgd(0.1), o.chain(o.contrib.normalize(), o.sgd(0.05))),
    "monitor": lambda o: o.chain(
        o.sgd(0.1), o.monitor({"norm": o.global_norm, "mean": o.measure_with_ema(o.global_norm, 0.9)})
    ),
    "optimistic": lambda o: o.optimistic_gradient_descent(0.1),
    "units": lambda o: o.chain(o.adaptive_grad_clip(0.1), o.sgd(0.1)),
    "centralized": lambda o: o.chain(o.centralize(), o.sgd(0.1)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_as_under_optax(name: str) -> None:
    assert_same(PROGRAMS[name])


def test_any_number_binds() -> None:
    ours.adam(0.1, b2=1.0)
    ours.linear_schedule(1.0, 0.0, -1)
    ours.scale_by_backtracking_linesearch(5, increase_factor=jnp.inf)


def test_plateau_in_a_chain() -> None:
    def build(o: Any) -> Any:
        return o.chain(o.sgd(0.1), o.contrib.reduce_on_plateau(patience=2, factor=0.5, cooldown=1))

    mine, expected = assert_same(build, value=lambda step: jnp.float32(1.0))
    assert float(mine[-1].scale) == float(expected[-1].scale) < 1


def test_hyperparameters_are_read_and_set() -> None:
    tx = ours.inject_hyperparams(ours.adam)(learning_rate=0.1)
    state = tx.init(PARAMS)
    assert float(state.hyperparams["learning_rate"]) == np.float32(0.1)
    state.hyperparams["learning_rate"] = 0.0
    updates, state = tx.update(PARAMS, state, PARAMS)
    assert not any(jnp.any(u) for u in jax.tree.leaves(updates))
    assert set(state.hyperparams) == {"learning_rate", "b1", "b2", "eps", "eps_root"}
    typed = ours.inject_hyperparams(ours.adam, hyperparam_dtype=jnp.bfloat16)(learning_rate=0.1).init(PARAMS)
    assert typed.hyperparams["learning_rate"].dtype == jnp.bfloat16
    static = ours.inject_hyperparams(ours.adam, static_args=("b1",))(learning_rate=0.1).init(PARAMS)
    assert "b1" not in static.hyperparams


def test_a_scheduled_hyperparameter_is_in_the_state() -> None:
    def schedule(step: Any) -> Any:
        return 0.1 / (1 + step)

    tx = ours.inject_hyperparams(lambda learning_rate: ours.chain(ours.clip(1.0), ours.adam(learning_rate)))(schedule)
    _, state = run(ours, tx, steps=3)
    np.testing.assert_allclose(state.hyperparams["learning_rate"], 0.1 / 3, rtol=1e-6)


def test_multi_steps() -> None:
    def program(o: Any) -> list[Any]:
        tx = o.MultiSteps(
            o.sgd(1.0), lambda step: jnp.where(step < 1, 1, 3), use_grad_mean=False,
            should_skip_update_fn=functools.partial(o.skip_large_updates, max_squared_norm=100.0),
        )  # fmt: skip
        state, seen = tx.init(jnp.ones(2)), []
        for g in [1.0, 2.0, 1000.0, 3.0, 4.0]:
            updates, state = tx.update(jnp.full(2, g), state, jnp.ones(2))
            seen.append((updates.tolist(), bool(tx.has_updated(state)), bool(state.skip_state["should_skip"])))
        return [*seen, int(state.mini_step), int(state.gradient_step)]

    assert program(ours) == program(theirs)


def test_apply_if_finite_counts() -> None:
    def program(o: Any) -> list[Any]:
        tx = o.apply_if_finite(o.sgd(1.0), 2)
        state, seen = tx.init(jnp.ones(1)), []
        for g in [1.0, jnp.nan, jnp.nan, jnp.nan, 1.0]:
            updates, state = tx.update(jnp.array([g]), state, jnp.ones(1))
            counts = (int(state.notfinite_count), bool(state.last_finite), int(state.total_notfinite))
            seen.append((str(updates), counts))
        return seen

    assert program(ours) == program(theirs)


@pytest.mark.parametrize("reset", [False, True])
def test_lookahead_has_pairs_of_params(reset: bool) -> None:
    def program(o: Any) -> Any:
        tx = o.lookahead(o.sgd(0.1, momentum=0.9), 2, 0.5, reset_state=reset)
        params = o.LookaheadParams.init_synced(PARAMS)
        state = tx.init(params)
        for step in range(5):
            updates, state = tx.update(grads_at(params.fast, step), state, params)
            params = o.apply_updates(params, o.LookaheadParams(*updates))
        return tuple(params), shape(state)

    (mine, own_state), (expected, state) = program(ours), program(theirs)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), mine, expected)
    assert own_state == state


def test_opaque_sam() -> None:
    def build(o: Any) -> Any:
        ascent = o.chain(o.contrib.normalize(), o.sgd(0.05))
        return o.contrib.sam(o.adam(0.1), ascent, opaque_mode=True)

    def loop(o: Any) -> Any:
        tx, params = build(o), PARAMS
        state = tx.init(params)
        for step in range(4):
            grads = grads_at(params, step)
            updates, state = tx.update(grads, state, params, grad_fn=lambda p, i: grads_at(p, 0))
            params = o.apply_updates(params, updates)
        return params

    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4), loop(ours), loop(theirs))


def test_lbfgs_with_arguments_of_the_function() -> None:
    def loop(o: Any) -> Any:
        def loss(params: Any, batch: Any) -> Any:
            return jnp.sum((params - batch) ** 2 * jnp.array([1.0, 10.0]))

        tx, params, batch = o.lbfgs(), jnp.zeros(2), jnp.array([1.0, -2.0])
        state = tx.init(params)
        for _ in range(6):
            value, grad = o.value_and_grad_from_state(loss)(params, batch, state=state)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss, batch=batch)
            params = o.apply_updates(params, updates)
        return params, state[0].diff_params_memory.shape

    (mine, memory), (expected, wanted) = loop(ours), loop(theirs)
    np.testing.assert_allclose(mine, expected, atol=1e-4)
    assert memory == wanted
    ours.scale_by_zoom_linesearch(5, curv_rtol=jnp.inf, verbose=True)


def test_noise_needs_a_key_and_keeps_it() -> None:
    tx = ours.noisy_sgd(0.1, key=jax.random.key(1))
    state = tx.init(PARAMS)
    first, state = tx.update(PARAMS, state)
    second, state = tx.update(PARAMS, state)
    assert not jnp.allclose(first["w"], second["w"])
    private = ours.contrib.differentially_private_aggregate(1.0, 0.1, key=0)
    updates, _ = private.update({"w": jnp.ones((4, 3))}, private.init({"w": jnp.ones(3)}), {"w": jnp.ones(3)})
    assert updates["w"].shape == (3,)


def test_states_are_found_and_set_by_name() -> None:
    tx = ours.inject_hyperparams(ours.adamw)(learning_rate=0.1)
    state = tx.init(PARAMS)
    assert ours.tree.get(state, "learning_rate") == state.hyperparams["learning_rate"]
    state = ours.tree.set(state, learning_rate=jnp.float32(0.5))
    assert float(ours.tree_utils.tree_get(state, "learning_rate")) == 0.5
    doubled = ours.tree_map_params(tx, lambda x: x + 1, state)
    assert jnp.all(ours.tree.get(doubled, "mu")["w"] == 1)
    assert int(ours.tree.get(doubled, "ScaleByAdamState").count) == 0


@pytest.mark.parametrize("wrap", [lambda tx: tx, lambda tx: ours.masked(tx, {"w": True, "b": False})])
def test_params_in_states_are_found(wrap: Any) -> None:
    tx = wrap(ours.adam(ours.linear_schedule(0.1, 0.0, 5)))
    marked = ours.tree.map_params(tx, lambda _: "p", tx.init(PARAMS), transform_non_params=lambda _: "other")
    assert sorted(set(jax.tree.leaves(marked))) == ["other", "p"]


def test_a_state_of_shapes_is_that_of_zeros() -> None:
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), PARAMS)
    tx = gradtx.adam(0.1)
    assert shape(tx.init(shapes)) == shape(tx.init(PARAMS))


@pytest.mark.parametrize("state", [None, {}, (), theirs.EmptyState()])
def test_nothing_in_any_form_is_the_state_of_a_stateless_one(state: Any) -> None:
    updates, after = gradtx.scale(-1.0).update(jnp.ones(2), state)
    assert updates.tolist() == [-1.0, -1.0]
    assert jax.tree.structure(after) == jax.tree.structure(state)
