"""The Hessian's diagonal by random probes, and Sophia against the paper in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx import apply_updates, hutchinson_diagonal, scale_by_sophia
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError
from tests.conftest import x64_mode

KEY = jax.random.key(0)
PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.3])}


def estimate(tx, value_fn, params, key=KEY):
    return tx.update(jax.grad(value_fn)(params), tx.init(params), params, value_fn=value_fn, key=key)[0]


# --- Hutchinson -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_probes", [1, 3])
def test_a_diagonal_hessian_is_exact_whatever_the_probe(num_probes):
    separable = lambda p: jnp.sum(p["w"] ** 4) + jnp.sum(3 * p["b"] ** 2)  # noqa: E731
    for seed in range(3):
        h = estimate(hutchinson_diagonal(num_probes), separable, PARAMS, jax.random.key(seed))
        np.testing.assert_allclose(h["w"], 12 * PARAMS["w"] ** 2, rtol=1e-6)
        np.testing.assert_allclose(h["b"], [6.0], rtol=1e-6)


def dense(size=5):
    a = np.random.default_rng(1).normal(size=(size, size)).astype(np.float32)
    return a + a.T


def test_a_dense_hessian_is_met_on_average_and_more_probes_vary_less():
    a = dense()
    p, value_fn = {"x": jnp.zeros(2), "y": jnp.zeros(3)}, lambda p: _quadratic(a, p)
    keys = jax.random.split(KEY, 4000)
    variance = (np.sum(a**2, 1) - np.diag(a) ** 2) / 1  # of one probe, by hand: the off-diagonal squares of a row
    for n in (1, 4):
        h = jax.jit(jax.vmap(lambda key, n=n: estimate(hutchinson_diagonal(n), value_fn, p, key)))(keys)
        h = np.concatenate([h["x"], h["y"]], axis=1)
        error = np.sqrt(variance / n / len(keys))
        assert np.all(np.abs(h.mean(0) - np.diag(a)) < 4 * error)
        np.testing.assert_allclose(h.var(0), variance / n, rtol=0.15)


def _quadratic(a, p):
    x = jnp.concatenate([p["x"], p["y"]])
    return x @ a @ x / 2


def test_another_key_is_another_estimate_and_the_same_key_the_same():
    value_fn = lambda x: x @ dense() @ x / 2  # noqa: E731
    one, same, other = (estimate(hutchinson_diagonal(), value_fn, jnp.zeros(5), jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)


def test_raw_keys_work_too():
    assert estimate(hutchinson_diagonal(), lambda x: jnp.sum(x**2), jnp.ones(2), jax.random.PRNGKey(0)).tolist() == [
        2,
        2,
    ]


def test_a_complex_parameter_has_the_mean_curvature_of_its_axes():
    both_axes = lambda z: jnp.sum(jnp.real(z) ** 2 + 3 * jnp.imag(z) ** 2)  # noqa: E731
    z = jnp.array([1 + 2j, -1j])
    tx = hutchinson_diagonal()
    h, _ = tx.update(z, tx.init(z), z, value_fn=both_axes, key=KEY)
    np.testing.assert_allclose(h, [4 + 0j, 4 + 0j], rtol=1e-6)


def test_bfloat16_estimates_are_averaged_in_float32():
    """The estimates are of 32 + 1/4 each: added up in bfloat16 they would lose the quarter."""
    p = jnp.ones(3, jnp.bfloat16)
    h = estimate(hutchinson_diagonal(1000), lambda p: jnp.sum(16.125 * p**2), p)
    assert h.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(h), 32.25)


def test_absent_empty_and_integer_leaves_are_passed_over():
    params = {"w": jnp.ones(2), "frozen": jnp.ones(2), "no": None, "e": jnp.zeros((0, 3)), "i": jnp.arange(2)}
    value_fn = lambda p: jnp.sum(p["w"] ** 2 * p["frozen"] ** 3)  # noqa: E731
    grads = jax.grad(value_fn, allow_int=True)(params) | {"frozen": None}
    tx = hutchinson_diagonal()
    h, _ = tx.update(grads, tx.init(params), params, value_fn=value_fn, key=KEY)
    np.testing.assert_array_equal(h["w"], [2.0, 2.0])
    assert h["frozen"] is None
    assert h["i"].dtype == jax.dtypes.float0
    assert tx.update({}, tx.init({}), {}, value_fn=lambda p: jnp.float32(0), key=KEY)[0] == {}


def test_what_is_missing_is_named():
    tx, p = hutchinson_diagonal(), jnp.ones(2)
    with pytest.raises(MissingExtraError) as caught:
        tx.update(p, tx.init(p), p, grad_fn=lambda p: p)
    assert str(caught.value) == (
        "gradtx.hutchinson_diagonal: expected update(..., key=...), got no key; pass a new one at every step: "
        "key=jax.random.fold_in(key, step)"
    )
    with pytest.raises(MissingExtraError, match=r"hutchinson_diagonal: expected update\(..., grad_fn=...\)"):
        tx.update(p, tx.init(p), p, key=KEY)
    with pytest.raises(MissingExtraError, match=r"hutchinson_diagonal: expected update\(..., params=...\)"):
        tx.update(p, tx.init(p), key=KEY, grad_fn=lambda p: p)
    with pytest.raises(ArgumentValueError, match="hutchinson_diagonal: expected num_probes to be at least 1, got 0"):
        hutchinson_diagonal(0)


# --- Sophia -----------------------------------------------------------------------------------------------------------

CURVATURE = np.array([0.0, 30.0, 4.0, -2.0, 0.1])
START = np.array([1.0, -2.0, 0.5, 0.1, 3.0])


def curved(x):
    """A diagonal Hessian that depends on the point, of all signs."""
    return jnp.sum(jnp.asarray(CURVATURE, x.dtype) * x**2 / 2 + 0.3 * jnp.sin(x) + x**3 / 6)


def sophia_reference(steps, rate, decay, b1, b2, eps, gamma, c, k, corrected):
    """Liu et al., algorithm 3: the estimate at t mod k = 1 comes before the step that uses it."""
    x, m, h = START.copy(), 0.0, 0.0
    for t in range(1, steps + 1):
        m = b1 * m + (1 - b1) * (CURVATURE * x + 0.3 * np.cos(x) + x**2 / 2)
        if (t - 1) % k == 0:
            h = b2 * h + (1 - b2) * (CURVATURE - 0.3 * np.sin(x) + x)
        u = m / (1 - b1**t if corrected else 1) / np.maximum(gamma * h, eps)
        won = np.mean(np.abs(u) < c)
        x = x - rate * (np.clip(u, -c, c) + decay * x)
    return x, m, h, won


def descend(tx, steps, start=START, value_fn=curved):
    x, state = jnp.asarray(start), tx.init(jnp.asarray(start))

    @jax.jit
    def step(x, state, key):
        updates, state = tx.update(jax.grad(value_fn)(x), state, x, value_fn=value_fn, key=key)
        return apply_updates(x, updates), state

    for i in range(steps):
        x, state = step(x, state, jax.random.key(i))
    return x, state


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("k", [1, 3])
def test_sophia_equals_the_reference(k, corrected):
    given = {"b1": 0.8, "b2": 0.7, "eps": 1e-3, "gamma": 2.0}
    tx = gradtx.sophia(
        0.02, weight_decay=0.1, clip_threshold=0.7, update_interval=k, bias_correction=corrected, **given
    )
    with x64_mode():
        x, m, h, won = sophia_reference(8, 0.02, 0.1, c=0.7, k=k, corrected=corrected, **given)
        got, state = descend(tx, 8)
        np.testing.assert_allclose(got, x, rtol=1e-10)
        np.testing.assert_allclose(state[0].mu, m, rtol=1e-10)
        np.testing.assert_allclose(state[0].nu, h, rtol=1e-10)
        np.testing.assert_allclose(state[0].win_rate, won, rtol=1e-6)
    assert 0 < won < 1


def counting(seen):
    """An estimate that tells, when it is computed, at which value."""

    def update(updates, state, params=None, **extra):
        jax.debug.callback(lambda value: seen.append(int(value)), extra["value"])
        return jax.tree.map(jnp.ones_like, updates), state + 1

    return gradtx.from_functions(lambda params: jnp.zeros((), jnp.int32), update)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_estimate_is_computed_every_k_steps_and_no_oftener(compiled):
    seen = []
    tx, p = scale_by_sophia(update_interval=3, hessian_diagonal_fn=counting(seen)), jnp.ones(2)
    update = jax.jit(tx.update) if compiled else tx.update
    state = tx.init(p)
    for i in range(8):
        _, state = update(p, state, p, value=i)
    jax.effects_barrier()
    assert seen == [0, 3, 6]
    assert int(state.hessian_state) == 3
    assert int(state.count) == 8


def test_each_estimate_has_the_key_of_its_step():
    a = jnp.asarray(dense())
    tx = scale_by_sophia(b2=0.0, update_interval=2)
    p, quadratic = jnp.zeros(5), lambda x: x @ a @ x / 2
    state = tx.init(p)
    found = []
    for i in range(4):
        _, state = tx.update(p, state, p, value_fn=quadratic, key=jax.random.key(i))
        found.append(np.array(state.nu))
    np.testing.assert_allclose(found[0], estimate(hutchinson_diagonal(), quadratic, p, jax.random.key(0)), rtol=1e-6)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_allclose(found[2], estimate(hutchinson_diagonal(), quadratic, p, jax.random.key(2)), rtol=1e-6)
    assert np.any(found[2] != found[0])


def test_the_first_step_is_newtons_where_it_is_not_clipped():
    """With b2 = 0 and gamma = 1 the step is the gradient over the Hessian; Optax's first step is a sign step."""
    x = jnp.array([0.5, -0.25])
    value_fn = lambda x: jnp.sum(jnp.array([4.0, 10.0]) * x**2)  # noqa: E731
    tx = gradtx.chain(scale_by_sophia(b2=0.0, gamma=1.0), gradtx.scale_by_learning_rate(1.0))
    got, state = descend(tx, 1, x, value_fn)
    np.testing.assert_allclose(got, 0, atol=1e-6)
    assert float(state[0].win_rate) == 1.0


def test_without_a_threshold_nothing_is_clipped():
    tx = scale_by_sophia(b2=0.0, gamma=1.0, clip_threshold=None)
    p, bowl = jnp.array([3.0, 400.0]), lambda x: jnp.sum(x**2)
    updates, state = tx.update(jax.grad(bowl)(p), tx.init(p), p, value_fn=bowl, key=KEY)
    np.testing.assert_allclose(updates, p, rtol=1e-6)
    assert float(state.win_rate) == 1.0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_win_rate_counts_what_was_not_clipped(dtype):
    """0.7 is not a bfloat16 number: what is clipped to it comes out a little smaller."""
    ones = gradtx.from_functions(lambda params: (), lambda u, s, params=None: (jax.tree.map(jnp.ones_like, u), s))
    tx = scale_by_sophia(b2=0.0, gamma=1.0, clip_threshold=jnp.float32(0.7), hessian_diagonal_fn=ones)
    g = {"a": jnp.array([0.1, -5.0, 0.6], dtype), "b": jnp.array(-2.0, dtype), "c": None}
    updates, state = tx.update(g, tx.init(g), g)
    np.testing.assert_allclose(np.float32(updates["a"]), [0.1, -0.7, 0.6], rtol=4e-3)
    assert float(state.win_rate) == 0.5
    assert state.nu["a"].dtype == state.mu["a"].dtype == jnp.float32


def test_a_complex_step_is_clipped_by_parts():
    ones = gradtx.from_functions(lambda params: (), lambda u, s, params=None: (jnp.ones_like(u), s))
    tx = scale_by_sophia(b2=0.0, gamma=1.0, hessian_diagonal_fn=ones)
    g = jnp.array([0.5 - 3j, 0.6 + 0.6j])
    updates, state = tx.update(g, tx.init(g), g)
    np.testing.assert_allclose(updates, [0.5 - 1j, 0.6 + 0.6j], rtol=1e-6)
    assert float(state.win_rate) == 0.5
    assert state.nu.dtype == jnp.float32


def test_zero_gradients_and_no_eps_are_no_division_by_zero():
    tx, p = scale_by_sophia(eps=0.0), jnp.array([1.0, 2.0])
    flat = lambda x: jnp.sum(0 * x)  # noqa: E731

    def moved(g, gamma):
        return tx.replace(gamma=gamma).update(g, tx.init(p), p, value_fn=flat, key=KEY)[0]

    with jax.debug_nans(True):
        np.testing.assert_array_equal(moved(jnp.zeros(2), 0.01), [0, 0])
        assert float(tx.update(jnp.zeros(2), tx.init(p), p, value_fn=flat, key=KEY)[1].win_rate) == 1
        np.testing.assert_array_equal(moved(jnp.array([1e-30, -1e30]), 0.01), [1, -1])
        for g in (jnp.zeros(2), jnp.array([1e-30, 1e30])):
            assert all(np.all(np.isfinite(x)) for x in jax.jacobian(moved, (0, 1))(g, 0.01))


def test_a_missing_key_is_named_at_the_first_step():
    tx, p = gradtx.sophia(0.1), jnp.ones(2)
    with pytest.raises(MissingExtraError, match=r"gradtx.hutchinson_diagonal: expected update\(..., key=...\), got no"):
        tx.update(p, tx.init(p), p, grad_fn=lambda p: p)
    with pytest.raises(ArgumentTypeError, match="hessian_diagonal_fn to be a transformation, got the function"):
        scale_by_sophia(hessian_diagonal_fn=hutchinson_diagonal)


def test_inside_a_partition_the_hessian_is_of_the_part():
    params = {"a": jnp.array([2.0]), "b": jnp.array([3.0])}
    value_fn = lambda p: jnp.sum(p["a"] ** 2 * p["b"] ** 2)  # noqa: E731
    tx = gradtx.partition({"a": scale_by_sophia(b2=0.0, gamma=1.0), "b": gradtx.sgd(0.1)})
    state = tx.init(params)
    updates, _ = tx.update(jax.grad(value_fn)(params), state, params, value_fn=value_fn, key=KEY)
    np.testing.assert_allclose(updates["a"], np.clip(2 * 2 * 9 / (2 * 9), -1, 1))


def test_sam_around_sophia_in_a_training_step():
    a = jnp.asarray(dense() @ dense() + np.eye(5, dtype=np.float32))
    tx = gradtx.sam(gradtx.sophia(gradtx.linear_schedule(0.05, 0.0, 100), update_interval=2), rho=0.01)
    step = gradtx.build_step(lambda x, batch: x @ a @ x / 2, tx)
    x, state = jnp.ones(5), tx.init(jnp.ones(5))
    first = None
    for i in range(100):
        x, state, metrics = step(x, state, None, jax.random.key(i))
        first = metrics.loss if first is None else first
    assert float(metrics.loss) < 0.02 * float(first)
    np.testing.assert_allclose(gradtx.tree.get_field(state, "norm"), metrics.grad_norm, rtol=1e-6)
