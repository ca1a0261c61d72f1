"""L-BFGS directions against the matrices of the textbook, and what enters the memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradtx
from gradtx import scale_by_lbfgs
from gradtx.errors import ArgumentValueError, MissingExtraError
from tests.conftest import x64_mode


def inverse_hessian(pairs, scale, size):
    """Nocedal and Wright 2006, equation 7.19: the matrix the two loops multiply by."""
    H = scale * np.eye(size)
    for s, y in pairs:
        rho = 1 / (s @ y)
        V = np.eye(size) - rho * np.outer(y, s)
        H = V.T @ H @ V + rho * np.outer(s, s)
    return H


def reference(points, grads, memory, scale_init=True):
    """The directions at each point, from equation 7.19 and 7.20; pairs without curvature are left out."""
    pairs, skipped, directions = [], 0, []
    for k, g in enumerate(grads):
        if k:
            s, y = points[k] - points[k - 1], g - grads[k - 1]
            if s @ y > 2.3e-16 * np.linalg.norm(s) * np.linalg.norm(y):
                pairs.append((s, y))
            else:
                skipped += 1
        kept = pairs[-memory:]
        scale = kept[-1][0] @ kept[-1][1] / (kept[-1][1] @ kept[-1][1]) if kept else 1 / np.linalg.norm(g)
        directions.append(inverse_hessian(kept, scale if scale_init else 1.0, g.size) @ g)
    return directions, len(kept), skipped


def as_tree(x):
    return {"a": x[..., :2], "b": (x[..., 2:], None)}


def run(tx, points, grads):
    """All directions, from trees of the points and gradients."""

    def body(state, inputs):
        point, grad = inputs
        updates, state = tx.update(grad, state, point)
        return state, updates

    first = jax.tree.map(lambda x: x[0], points)
    return jax.jit(lambda points, grads: jax.lax.scan(body, tx.init(first), (points, grads)))(points, grads)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), memory=st.sampled_from([1, 2, 5]), convex=st.booleans(), scale_init=st.booleans())
def test_directions_are_those_of_the_matrix(seed, memory, convex, scale_init):
    rng = np.random.default_rng(seed)
    points, A = rng.normal(size=(9, 5)), rng.normal(size=(5, 5))
    H = A @ A.T + 0.1 * np.eye(5) if convex else A + A.T
    grads = points @ H
    expected, kept, skipped = reference(points, grads, memory, scale_init)
    with x64_mode():
        tx = scale_by_lbfgs(memory, scale_init)
        state, got = run(tx, as_tree(jnp.array(points)), as_tree(jnp.array(grads)))
        got = np.concatenate([got["a"], got["b"][0]], axis=1)
    size = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(got / size, expected / size, atol=1e-6)
    assert (int(state.kept), int(state.skipped), int(state.count)) == (kept, skipped, 9)
    assert not convex or skipped == 0


def test_on_a_quadratic_with_exact_steps_the_direction_becomes_newtons(x64):
    del x64
    H = jnp.diag(jnp.array([1.0, 5.0, 30.0]))
    tx, p = scale_by_lbfgs(), jnp.array([1.0, -2.0, 0.5])
    state = tx.init(p)
    for _ in range(4):
        g = H @ p
        u, state = tx.update(g, state, p)
        newton = p  # the inverse Hessian times the gradient
        p, error = p - (u @ g) / (u @ H @ u) * u, u - newton
    np.testing.assert_allclose(error, 0, atol=1e-10)


def test_the_first_direction_has_length_one_and_the_identity_is_on_request():
    g = jnp.array([3e-6, 4e-6])
    for tx, expected in ((scale_by_lbfgs(), g / 5e-6), (scale_by_lbfgs(scale_init_precond=False), g)):
        np.testing.assert_allclose(tx.update(g, tx.init(g), g)[0], expected, rtol=1e-6)


def feed(tx, *steps):
    state = tx.init(steps[0][0])
    for p, g in steps:
        u, state = tx.update(jnp.asarray(g), state, jnp.asarray(p))
    return u, state


A, B = jnp.array([1.0, 1.0]), jnp.array([0.5, 0.8])


def test_a_pair_without_curvature_is_counted_and_not_kept():
    for grad, kept, skipped in [(0.5 * A, 1, 0), (A, 0, 1), (2 * A, 0, 1), (A - jnp.array([0.8, -2.0]), 0, 1)]:
        _, state = feed(scale_by_lbfgs(), (A, A), (B, grad))
        assert (int(state.kept), int(state.skipped)) == (kept, skipped)


def test_the_threshold_is_relative():
    # The pair of a step of 1e-12 along a gradient of 1e-12 has <s, y> = 1e-24, and is as good as any.
    tiny = 1e-12
    _, state = feed(scale_by_lbfgs(), (tiny * A, tiny * A), (tiny * B, tiny * 0.5 * A))
    assert int(state.kept) == 1


def test_a_step_of_zero_empties_the_memory():
    tx = scale_by_lbfgs()
    _, before = feed(tx, (A, A), (B, 0.5 * A))
    u, after = tx.update(3 * A, before, B)
    assert (int(before.kept), int(after.kept), int(after.skipped)) == (1, 0, 1)
    np.testing.assert_allclose(u, A / np.sqrt(2), rtol=1e-6)
    u, again = tx.update(0.1 * A, after, 0.5 * B)
    assert int(again.kept) == 1


def test_a_gradient_with_nan_leaves_the_memory_alone():
    tx = scale_by_lbfgs()
    steps = [(A, A), (B, 0.5 * A)]
    expected, clean = feed(tx, *steps, (0.5 * B, 0.2 * A))
    spoilt, state = feed(tx, *steps, (0.7 * B, jnp.array([jnp.nan, 1.0])))
    assert bool(jnp.isnan(spoilt[0]))
    assert bool(jnp.isfinite(spoilt[1]))
    got, state = tx.update(0.2 * A, state, 0.5 * B)
    np.testing.assert_array_equal(got, expected)
    chex.assert_trees_all_equal(state, clean)
    _, state = feed(tx, (0.7 * B, jnp.array([jnp.nan, 1.0])), (A, A))
    assert (int(state.kept), int(state.skipped)) == (0, 0)


def test_complex_params_give_what_their_parts_do(x64):
    del x64
    rng = np.random.default_rng(0)
    z, g = rng.normal(size=(2, 6, 3)) + 1j * rng.normal(size=(2, 6, 3))
    g = g + 2 * z
    _, together = run(scale_by_lbfgs(3), jnp.array(z), jnp.array(g))
    _, parts = run(scale_by_lbfgs(3), *(jnp.stack([x.real, x.imag], axis=1) for x in (z, g)))
    np.testing.assert_allclose(together, parts[:, 0] + 1j * parts[:, 1], rtol=1e-10)


def test_a_leaf_without_a_gradient_for_a_while_does_not_spoil_the_pairs(x64):
    del x64
    tx = scale_by_lbfgs()
    first, second, third = ({"a": A * c, "b": B * c} for c in (4.0, 2.0, 1.0))
    # The gradient is the params: every pair has s = y, whatever is left out, and the direction is the gradient.
    state = tx.init(first)
    _, state = tx.update(first, state, first)
    updates, state = tx.update({"a": second["a"], "b": None}, state, second)
    assert updates["b"] is None
    np.testing.assert_allclose(updates["a"], second["a"])
    updates, state = tx.update(third, state, third)
    chex.assert_trees_all_close(updates, third, rtol=1e-12)
    assert (int(state.kept), int(state.skipped)) == (2, 0)


def test_memory_is_wide_and_has_the_bytes_it_says():
    params = {"w": jnp.zeros((4, 5), jnp.bfloat16)}
    state = scale_by_lbfgs(7).init(params)
    assert state.params_memory["w"].shape == (7, 4, 5)
    assert {x.dtype for x in jax.tree.leaves((state.params_memory, state.grads_memory))} == {jnp.dtype("float32")}
    assert sum(x.nbytes for x in jax.tree.leaves(state) if x.ndim > 1) == 8 * (7 + 1) * 20


def test_mistakes_are_errors():
    message = "gradtx.scale_by_lbfgs: expected memory_size of at least 1, got 0"
    with pytest.raises(ArgumentValueError, match=message):
        scale_by_lbfgs(0)
    with pytest.raises(ArgumentValueError, match=r"gradtx.scale_by_lbfgs: expected memory_size"):
        gradtx.lbfgs(memory_size=0)
    with pytest.raises(MissingExtraError, match=r"gradtx.scale_by_lbfgs: expected update\(..., params=...\)"):
        scale_by_lbfgs().update(A, scale_by_lbfgs().init(A))


@pytest.mark.parametrize("size", [1e-24, 1e24])
def test_pairs_are_kept_whose_squares_are_no_floats(size):
    tx, curvature = gradtx.scale_by_lbfgs(), jnp.array([1.0, 10.0]) * size
    p = jnp.array([4.0, 3.0])
    state = tx.init(p)
    for _ in range(4):
        updates, state = tx.update(curvature * p, state, p)
        p = p - updates
    assert (int(state.kept), int(state.skipped)) == (3, 0)
    assert float(jnp.max(jnp.abs(p))) < 0.1
