"""Hyperparameters in the state: what is in force, and changing it mid-run without recompiling."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import get_hyperparams, set_hyperparams, tunable
from gradtx.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError

PARAMS = {"w": jnp.array([1.0, -2.0])}
GRADS = {"w": jnp.array([0.5, -1.0])}


def refusal(kind, function, *args, **kwargs):
    with pytest.raises(kind) as error:
        function(*args, **kwargs)
    return str(error.value)


def test_all_numbers_are_in_the_state():
    state = tunable(gradtx.adam(1e-3)).init(PARAMS)
    assert isinstance(state, gradtx.TunableState)
    assert set(state.hyperparams) == {"learning_rate", "b1", "b2", "eps", "eps_root"}
    assert get_hyperparams(state) == state.hyperparams
    for value in state.hyperparams.values():
        assert (value.dtype, value.shape, value.weak_type) == (jnp.float32, (), False)


def test_double_precision(x64):
    state = tunable(gradtx.sgd(0.1)).init({"w": jnp.ones(2, jnp.float32)})
    assert get_hyperparams(state)["learning_rate"] == np.float64(0.1)


@pytest.mark.parametrize("names", [("learning_rate",), "learning_rate", ["learning_rate"]])
def test_some_numbers(names):
    state = tunable(gradtx.adam(1e-3), names).init(PARAMS)
    assert list(state.hyperparams) == ["learning_rate"]
    assert tunable(gradtx.adam(1e-3), ()).init(PARAMS).hyperparams == {}


def test_a_tunable_transformation_does_the_same():
    plain, tuned = gradtx.adamw(0.1), tunable(gradtx.adamw(0.1))
    state, tuned_state = plain.init(PARAMS), tuned.init(PARAMS)
    for _ in range(3):
        expected, state = plain.update(GRADS, state, PARAMS)
        updates, tuned_state = tuned.update(GRADS, tuned_state, PARAMS)
        chex.assert_trees_all_close(updates, expected, rtol=1e-6)


def test_a_change_takes_effect_and_compiles_nothing():
    tx = tunable(gradtx.sgd(0.1))
    step = jax.jit(chex.assert_max_traces(lambda g, s: tx.update(g, s), n=1))
    state = tx.init(PARAMS)
    for rate in (0.1, 0.5, 2, jnp.float32(3.0), np.float64(0.25)):
        state = set_hyperparams(state, learning_rate=rate)
        updates, state = step(GRADS, state)
        np.testing.assert_allclose(updates["w"], -np.float32(rate) * GRADS["w"])
    assert get_hyperparams(state) == {"learning_rate": 0.25}


def test_inside_jit():
    tx = tunable(gradtx.sgd(0.1))

    @jax.jit
    def halve(state):
        return set_hyperparams(state, learning_rate=0.5 * get_hyperparams(state)["learning_rate"])

    assert halve(tx.init(PARAMS)).hyperparams["learning_rate"] == np.float32(0.05)


def test_the_structure_of_the_state_is_fixed():
    tx = tunable(gradtx.adam(gradtx.linear_schedule(0.1, 0.0, 5)))
    state = tx.init(PARAMS)
    changed = set_hyperparams(state, b1=0.5)
    _, new = tx.update(GRADS, changed, PARAMS)
    signature = lambda s: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), s)  # noqa: E731
    assert signature(state) == signature(changed) == signature(new)
    assert jax.tree.structure(state) == jax.tree.structure(changed) == jax.tree.structure(new)


def test_the_numbers_of_a_schedule():
    tx = tunable(gradtx.sgd(gradtx.linear_schedule(1.0, 0.0, 4)))
    state = tx.init(PARAMS)
    assert set(state.hyperparams) >= {"learning_rate.init_value", "learning_rate.end_value"}
    _, state = tx.update(GRADS, state)
    assert get_hyperparams(state)["learning_rate"] == 1.0  # in force, by the schedule
    state = set_hyperparams(state, **{"learning_rate.init_value": 2.0})
    _, state = tx.update(GRADS, state)
    assert get_hyperparams(state)["learning_rate"] == 1.5
    assert get_hyperparams(set_hyperparams(state, end_value=1.0))["learning_rate.end_value"] == 1.0


def test_paths_in_a_chain():
    tx = tunable(gradtx.chain(gradtx.clip(1.0), gradtx.adam(0.1), gradtx.scale_by_adam()))
    state = tx.init(PARAMS)
    names = get_hyperparams(state)
    assert {"transforms[0].max_delta", "transforms[1].learning_rate", "transforms[1].b1", "transforms[2].b1"} < set(
        names
    )
    state = set_hyperparams(state, max_delta=0.5, **{"transforms[2].b1": 0.8})
    names = get_hyperparams(state)
    assert (names["transforms[0].max_delta"], names["transforms[2].b1"]) == (0.5, np.float32(0.8))
    assert names["transforms[1].b1"] == np.float32(0.9)
    chosen = tunable(gradtx.chain(gradtx.clip(1.0), gradtx.adam(0.1)), ("learning_rate", "transforms[1].b1"))
    assert set(chosen.init(PARAMS).hyperparams) == {"transforms[1].learning_rate", "transforms[1].b1"}


def nested():
    return gradtx.chain(
        tunable(gradtx.sgd(0.1)),
        gradtx.partition({"w": tunable(gradtx.sgd(0.2)), "*": gradtx.scale(lambda step: 3.0)}),
    )


def test_what_can_be_read_can_be_set():
    state = nested().init(PARAMS)
    names = get_hyperparams(state)
    first, second = "[0].learning_rate", "[1].inner_states['w'].learning_rate"
    assert names == {first: np.float32(0.1), second: np.float32(0.2), "step_size": 3.0}
    changed = get_hyperparams(set_hyperparams(state, **{second: 0.5}))
    assert changed == {first: np.float32(0.1), second: 0.5, "step_size": 3.0}
    assert get_hyperparams(state) == names  # the old state is as it was


def test_tunable_in_tunable():
    tx = tunable(tunable(gradtx.sgd(0.1)))
    state = set_hyperparams(tx.init(PARAMS), learning_rate=0.5)
    assert tx.update(GRADS, state)[0]["w"].tolist() == [-0.25, 0.5]


def test_states_without_hyperparameters():
    assert get_hyperparams(gradtx.adam(0.1).init(PARAMS)) == {}
    assert get_hyperparams(()) == {}
    assert get_hyperparams(None) == {}
    assert get_hyperparams({"hyperparams": {"x": 1.0}}) == {}


def test_unknown_names():
    text = refusal(UnknownNameError, tunable, gradtx.sgd(0.1), ("learning_rat",))
    assert text == (
        "gradtx.tunable: expected names among ['learning_rate'], got 'learning_rat'; did you mean 'learning_rate'?"
    )
    state = tunable(gradtx.sgd(0.1)).init(PARAMS)
    assert refusal(UnknownNameError, set_hyperparams, state, momentum=0.9) == (
        "gradtx.set_hyperparams: expected a hyperparameter among ['learning_rate'], got 'momentum'"
    )
    assert refusal(UnknownNameError, set_hyperparams, gradtx.sgd(0.1).init(PARAMS), learning_rate=0.9) == (
        "gradtx.set_hyperparams: expected a hyperparameter among [], got 'learning_rate'; "
        "wrap the transformation with tunable(...)"
    )


def test_a_name_of_a_schedule_suggests_its_numbers():
    tx = tunable(gradtx.chain(gradtx.sgd(gradtx.constant_schedule(0.1))))
    text = refusal(UnknownNameError, tx.replace, names=("learning_rate",))
    assert text.endswith("got 'learning_rate'; did you mean 'transforms[0].learning_rate.value'?")


def test_ambiguous_names():
    chain = gradtx.chain(gradtx.sgd(0.1), gradtx.sgd(0.2))
    both = "['transforms[0].learning_rate', 'transforms[1].learning_rate']"
    reason = f"expected one hyperparameter, got 'learning_rate', which is any of {both}; give the whole path"
    assert refusal(UnknownNameError, tunable, chain, ("learning_rate",)) == f"gradtx.tunable: {reason}"
    state = tunable(chain).init(PARAMS)
    assert refusal(UnknownNameError, set_hyperparams, state, learning_rate=1.0) == f"gradtx.set_hyperparams: {reason}"
    separate = gradtx.chain(tunable(gradtx.sgd(0.1)), tunable(gradtx.sgd(0.2))).init(PARAMS)
    assert refusal(UnknownNameError, set_hyperparams, separate, learning_rate=1.0) == (
        "gradtx.set_hyperparams: expected one hyperparameter, got 'learning_rate', which is any of "
        "['[0].learning_rate', '[1].learning_rate']; give the whole path"
    )


def test_what_follows_a_schedule_cannot_be_set():
    state = gradtx.sgd(gradtx.constant_schedule(0.1)).init(PARAMS)
    assert refusal(UnknownNameError, set_hyperparams, state, learning_rate=1.0) == (
        "gradtx.set_hyperparams: expected a tunable hyperparameter, got 'learning_rate', which follows a schedule; "
        "replace the schedule by a number and wrap the transformation with tunable(...)"
    )


def test_new_values_have_the_old_shape():
    state = tunable(gradtx.sgd(0.1)).init(PARAMS)
    assert refusal(ArgumentValueError, set_hyperparams, state, learning_rate=[0.1, 0.2]) == (
        "gradtx.set_hyperparams: expected learning_rate of shape [], got shape [2]"
    )
    assert refusal(ArgumentTypeError, set_hyperparams, state, learning_rate="fast") == (
        "gradtx.set_hyperparams: expected learning_rate to be a number, got 'fast'"
    )


def test_swept_values():
    tx = tunable(gradtx.sgd(jnp.array([0.1, 0.2])), ("learning_rate",))
    states = jax.vmap(lambda tx: tx.init(PARAMS), in_axes=(gradtx.sweep_axes(tx),))(tx)
    assert get_hyperparams(states)["learning_rate"].shape == (2,)
    assert get_hyperparams(set_hyperparams(states, learning_rate=[0.5, 0.6]))["learning_rate"].shape == (2,)


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: tunable(gradtx.sgd(rate)),
        lambda rate: gradtx.sgd(gradtx.constant_schedule(rate)),
        lambda rate: gradtx.sgd(lambda step: rate),
    ],
    ids=["tunable", "schedule", "function"],
)
def test_the_state_shares_no_buffer_with_the_transformation(make):
    rate = jnp.array(0.1, jnp.float32)
    state = make(rate).init(PARAMS)
    _, new = make(rate).update(GRADS, state)
    given = set_hyperparams(tunable(gradtx.sgd(0.5)).init(PARAMS), learning_rate=rate)
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves((state, new, given))]
    assert rate.unsafe_buffer_pointer() not in buffers
    jax.jit(lambda *states: states, donate_argnums=(0, 1))(new, given)
    assert not rate.is_deleted()


def test_inject_hyperparams_is_tunable():
    tx = gradtx.inject_hyperparams(gradtx.sgd)(learning_rate=0.1)
    assert tx == tunable(gradtx.sgd(0.1))
    assert set_hyperparams(tx.init(PARAMS), learning_rate=0.5).hyperparams["learning_rate"] == 0.5
    assert gradtx.inject_hyperparams(gradtx.sgd, static_args=("nesterov",))(0.1) == tx

    @gradtx.inject_hyperparams
    def clipped(learning_rate):
        """Clip, then descend."""
        return gradtx.chain(gradtx.clip(1.0), gradtx.sgd(learning_rate))

    assert clipped.__doc__ == "Clip, then descend."
    state = set_hyperparams(clipped(learning_rate=0.1).init(PARAMS), learning_rate=0.5)
    assert get_hyperparams(state)["transforms[1].learning_rate"] == 0.5


def test_only_transformations_are_tunable():
    assert refusal(ArgumentTypeError, tunable, gradtx.sgd) == (
        "gradtx.tunable: expected inner to be a transformation, got the function 'sgd'; call it: sgd(...)"
    )


def test_the_numbers_of_optax_are_out_of_reach():
    optax = pytest.importorskip("optax")
    text = refusal(ArgumentTypeError, tunable, optax.sgd(0.1))
    assert text.startswith("gradtx.tunable: expected inner to be a transformation made by gradtx, got one of Optax's")
    assert "use optax.inject_hyperparams" in text


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (float("nan"), ArgumentValueError, "learning_rate to be finite, got nan"),
        (float("-inf"), ArgumentValueError, "learning_rate to be finite, got -inf"),
        (np.float32("inf"), ArgumentValueError, "learning_rate to be finite, got np.float32(inf)"),
        (np.array(np.nan), ArgumentValueError, "learning_rate to be finite, got array(nan)"),
        (True, ArgumentTypeError, "learning_rate to be a number, got True"),
        (1j, ArgumentTypeError, "learning_rate to be a number, got 1j"),
        ("fast", ArgumentTypeError, "learning_rate to be a number, got 'fast'"),
        (10**400, ArgumentTypeError, "learning_rate to be a number, got 1000"),
    ],
)
def test_new_values_are_finite_numbers(value, kind, text):
    state = tunable(gradtx.sgd(0.1)).init(PARAMS)
    assert refusal(kind, set_hyperparams, state, learning_rate=value).startswith(
        f"gradtx.set_hyperparams: expected {text}"
    )


@pytest.mark.parametrize("wrap", [lambda tx: tx, tunable], ids=["plain", "tunable"])
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_function_of_the_user_is_checked_inside_an_update_as_outside(wrap, jit):
    def value_fn(params):
        gradtx.sgd(-1.0)
        return jnp.sum(params["w"] ** 2)

    tx = wrap(gradtx.chain(gradtx.sgd(1.0), gradtx.scale_by_backtracking_linesearch(5)))
    with pytest.raises(ArgumentValueError, match=r"gradtx\.sgd: expected learning_rate in \[0, inf\), got -1\.0"):
        jit(lambda g, s, p: tx.update(g, s, p, value_fn=value_fn))(GRADS, tx.init(PARAMS), PARAMS)
