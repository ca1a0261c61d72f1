"""Clipping of single examples, and the noise on their sum."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from gradtx.errors import ArgumentTypeError, MissingExtraError, TreeMismatchError
from tests import references
from tests.trajectories import DOUBLE, SETTINGS, SINGLE, problems, x64

KEY = jax.random.key(7)
EXAMPLES = {"w": jnp.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]), "b": jnp.array([12.0, 0.0, 0.0])}


def aggregate(grads, bound=1.0, multiplier=0.0, params=None, key=KEY):
    tx = gradtx.differentially_private_aggregate(bound, multiplier)
    return tx.update(grads, tx.init(grads), params, key=key)[0]


@pytest.mark.parametrize("precision", [SINGLE, DOUBLE])
def test_without_noise_it_equals_the_reference(precision):
    @SETTINGS
    @hypothesis.given(problems, st.sampled_from([0.0, 0.01, 1.0, 1e6]))
    def holds(problem, bound):
        bound = float(precision.real(bound))
        params, examples = problem.draw(precision)
        with x64(precision.x64):
            update = jax.device_get(aggregate(examples, bound, params=params))
            _, clipped = gradtx.per_example_global_norm_clip(examples, bound)
        wide = {k: g.astype(np.result_type(g, np.float64)) for k, g in examples.items()}
        expected, outside = references.private_mean(wide, bound)
        assert int(clipped) == outside
        for name, u in expected.items():
            assert update[name].dtype == examples[name].dtype
            size = 1e-30 + np.abs(wide[name]).mean(axis=0)
            np.testing.assert_array_less(np.abs(update[name] - u), 10 * precision.tolerance * size + 1e-300)

    holds()


def test_the_sum_is_optaxs():
    leaves = [EXAMPLES["w"], EXAMPLES["b"]]
    for bound in (0.0, 0.4, 1.25, jnp.inf):
        ours, theirs = (
            gradtx.per_example_global_norm_clip(leaves, bound),
            optax.per_example_global_norm_clip(leaves, bound),
        )
        assert int(ours[1]) == int(theirs[1])
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), ours[0], theirs[0])


def test_one_example_changes_the_sum_by_the_bound_at_most():
    """Whatever the example: this is what the privacy rests on."""
    others = jax.tree.map(lambda g: g.at[0].set(0.0), EXAMPLES)
    base, _ = gradtx.per_example_global_norm_clip(others, 0.5)
    for x in (1.0, -1e10, 3e30, np.inf, -np.inf, np.nan):
        spoilt = {**others, "w": others["w"].at[0, 1].set(x)}
        total, _ = gradtx.per_example_global_norm_clip(spoilt, 0.5)
        assert float(gradtx.global_norm(jax.tree.map(lambda a, b: a - b, total, base))) <= 0.5 * (1 + 1e-6)


@pytest.mark.parametrize("size", [1e20, 1e30, 1e33])
def test_an_example_whose_squares_overflow_is_clipped_like_any_other(size):
    """The example beside it is clipped as it is alone: its squares do not vanish."""
    grads = {"w": jnp.array([[3 * size, 0.0], [3e-4, 0.0]]), "b": jnp.array([4 * size, -4e-4])}
    for examples, expected in (
        (slice(0, 1), {"w": [0.6e-4, 0.0], "b": 0.8e-4}),
        (slice(1, 2), {"w": [0.6e-4, 0.0], "b": -0.8e-4}),
        (slice(0, 2), {"w": [1.2e-4, 0.0], "b": 0.0}),
    ):
        total, clipped = gradtx.per_example_global_norm_clip(jax.tree.map(lambda g, k=examples: g[k], grads), 1e-4)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-9), total, expected)
        assert int(clipped) == examples.stop - examples.start


@pytest.mark.parametrize("uniform", [True, False])
def test_layer_by_layer_is_optaxs(uniform):
    grads = [EXAMPLES["w"], EXAMPLES["b"]]
    for bound in (0.0, 0.4, 1.25, jnp.inf):
        ours = gradtx.per_example_layer_norm_clip(grads, bound, uniform)
        theirs = optax.per_example_layer_norm_clip(grads, bound, uniform)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), ours, theirs)


def test_layers_have_their_own_bounds():
    """By size: two of the three elements of an example are those of w, whose bound is the root of 2."""
    grads = {
        "w": jnp.array([[3.0, 4.0], [jnp.nan, 1.0]]),
        "b": jnp.array([9.0, 5.0]),
        "none": None,
        "e": jnp.ones((2, 0)),
    }
    total, clipped = gradtx.per_example_layer_norm_clip(grads, 3**0.5, uniform=False)
    np.testing.assert_allclose(total["w"], 2**0.5 * np.array([0.6, 0.8]), rtol=1e-6)
    np.testing.assert_allclose(total["b"], 2.0, rtol=1e-6)
    assert (total["none"], total["e"].shape, clipped) == (None, (0,), {"w": 2, "b": 2, "none": None, "e": 0})
    with pytest.raises(TreeMismatchError):
        gradtx.per_example_layer_norm_clip({"w": jnp.ones((2, 2)), "b": jnp.ones(3)}, 1.0)


def test_an_example_that_is_not_finite_is_left_out_and_counted():
    spoilt = {**EXAMPLES, "b": EXAMPLES["b"].at[0].set(jnp.nan)}
    total, clipped = gradtx.per_example_global_norm_clip(spoilt, 1.0)
    np.testing.assert_allclose(total["w"], [0.3, 0.4])
    assert (float(total["b"]), int(clipped)) == (0.0, 1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.complex64])
def test_the_noise_has_its_scale(dtype):
    """On 40000 numbers, the standard deviation is known to 0.4 per cent, and the mean to 0.005 of it."""
    bound, multiplier, examples = 0.5, 3.0, 4
    update = aggregate(jnp.zeros((examples, 40_000), dtype), bound, multiplier)
    assert update.dtype == dtype
    parts = [update.real, update.imag] if dtype == jnp.complex64 else [update.astype(jnp.float32)]
    scale = bound * multiplier / examples
    for part in parts:
        assert float(jnp.std(part)) == pytest.approx(scale, rel=0.02)
        assert abs(float(jnp.mean(part))) < 0.025 * scale
    if len(parts) == 2:
        assert abs(np.corrcoef(*parts)[0, 1]) < 0.025


def test_noise_in_low_precision_is_drawn_in_float32_and_rounded_once():
    high, low = (aggregate(jnp.zeros((2, 1000), dtype), 1.0, 1.0) for dtype in (jnp.float32, jnp.bfloat16))
    np.testing.assert_array_equal(high.astype(jnp.bfloat16), low)


def test_noise_differs_by_leaf_and_by_key_and_not_otherwise():
    zeros = {"a": jnp.zeros((1, 50)), "b": jnp.zeros((1, 50))}
    first, again = aggregate(zeros, 1.0, 1.0), aggregate(zeros, 1.0, 1.0)
    other = aggregate(zeros, 1.0, 1.0, key=jax.random.key(8))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    columns = np.stack([first["a"], first["b"], other["a"], other["b"]])
    assert np.abs(np.corrcoef(columns) - np.eye(4)).max() < 0.6


def test_groups_of_a_partition_draw_different_noise():
    group = gradtx.differentially_private_aggregate(1.0, 1.0)
    tx, zeros = gradtx.partition({"a": group, "b": group}), {"a": jnp.zeros((1, 50)), "b": jnp.zeros((1, 50))}
    update, _ = tx.update(zeros, tx.init(zeros), key=KEY)
    np.testing.assert_array_equal(update["a"], aggregate(zeros, 1.0, 1.0)["a"])  # the first group has the key as it is
    assert abs(np.corrcoef(update["a"], update["b"])[0, 1]) < 0.6


def test_keys_of_the_old_kind_are_keys():
    zeros = jnp.zeros((1, 5))
    np.testing.assert_array_equal(
        aggregate(zeros, 1.0, 1.0, key=jax.random.PRNGKey(7)), aggregate(zeros, 1.0, 1.0, key=jax.random.key(7))
    )


def test_a_batch_without_examples_is_noise_alone():
    assert aggregate(jnp.zeros((0, 2))).tolist() == [0.0, 0.0]


def test_derivatives_are_finite_at_zero_gradients():
    def loss(bound, grads):
        return sum(jnp.sum(u) for u in jax.tree.leaves(aggregate(grads, bound, 0.1)))

    with jax.debug_nans(True):
        for by in jax.tree.leaves(jax.grad(loss, (0, 1))(1.0, EXAMPLES)):
            assert bool(jnp.all(jnp.isfinite(by)))


def test_padding_with_zeros_adds_nothing():
    padded = jax.tree.map(lambda g: jnp.concatenate([g, jnp.zeros((3, *g.shape[1:]))]), EXAMPLES)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-6), aggregate(padded), aggregate(EXAMPLES))


def test_dpsgd_is_its_parts():
    tx = gradtx.dpsgd(0.5, 1.0, 0.25, momentum=0.9, nesterov=True)
    parts = gradtx.chain(gradtx.differentially_private_aggregate(1.0, 0.25), gradtx.sgd(0.5, 0.9, True))
    params = jax.tree.map(lambda g: g[0], EXAMPLES)
    ours, theirs = (t.update(EXAMPLES, t.init(params), params, key=KEY)[0] for t in (tx, parts))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


# --- errors -----------------------------------------------------------------------------------------------------------

VMAP = "pass the gradient of each example: jax.vmap(jax.grad(loss_fn), in_axes=(None, 0))(params, examples)"


def test_the_key_is_required():
    with pytest.raises(MissingExtraError) as error:
        aggregate(EXAMPLES, key=None)
    assert str(error.value) == (
        "gradtx.differentially_private_aggregate: expected update(..., key=...), got no key; "
        "pass a new one at every step: key=jax.random.fold_in(key, step)"
    )


@pytest.mark.parametrize(
    ("key", "got"),
    [(3, "3"), (jax.random.split(KEY), "key<fry>[2]"), (jnp.ones(2), "float32[2]")],
    ids=["seed", "keys", "floats"],
)
def test_the_key_is_a_key(key, got):
    with pytest.raises(ArgumentTypeError) as error:
        aggregate(EXAMPLES, key=key)
    assert str(error.value) == (
        f"gradtx.differentially_private_aggregate: expected key to be a single JAX PRNG key, got {got}; make one with "
        "jax.random.key(seed), and a new one for every step with jax.random.fold_in(key, step)"
    )


@pytest.mark.parametrize(
    ("grads", "expected", "got"),
    [
        (
            {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))},
            "a leading axis of 2 examples on every leaf",
            "the shape [3, 3]",
        ),
        ({"a": jnp.ones((2, 3)), "b": jnp.ones(())}, "a leading axis of 2 examples on every leaf", "the shape []"),
    ],
)
def test_examples_are_as_many_in_every_leaf(grads, expected, got):
    with pytest.raises(TreeMismatchError) as error:
        aggregate(grads)
    message = f"gradtx.differentially_private_aggregate: expected {expected}, got {got} at ['b']; {VMAP}"
    assert str(error.value) == message


def test_gradients_like_the_params_are_refused():
    params = {"w": jnp.ones((3, 2))}
    with pytest.raises(TreeMismatchError) as error:
        aggregate(params, params=params)
    assert str(error.value) == (
        "gradtx.differentially_private_aggregate: expected a leaf of shape [examples, 3, 2], "
        f"got [3, 2] at ['w']; {VMAP}"
    )
