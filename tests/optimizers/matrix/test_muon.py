"""Muon against its equations, Optax, and what a matrix is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx.optimizers.matrix.shape_scaling import shape_factor
from tests.optimizers.matrix.references import KELLER, Muon, factor
from tests.trajectories import x64

SHAPES = {"tall": (6, 4), "wide": (3, 5), "square": (4, 4), "again": (4, 6)}


def trajectory(tx, params, grads):
    """The update of each step."""
    state, updates = tx.init(params), []
    step = jax.jit(tx.update)
    for g in grads:
        u, state = step(g, state, params)
        updates.append(u)
    return updates


def problem(shapes=SHAPES, steps=6):
    random = np.random.default_rng(0)
    draw = lambda: {name: jnp.asarray(random.normal(size=shape)) for name, shape in shapes.items()}  # noqa: E731
    return draw(), [draw() for _ in range(steps)]


DION = (
    (4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)  # fmt: skip
EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115951949, 0.5518191394370137),
)
SAFE_EXPRESS = [(a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in EXPRESS]


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        ({}, {}),
        ({"scaling": "match_rms", "beta": 0.9}, {"scaling": "match_rms", "beta": 0.9}),
        ({"scaling": "spectral", "nesterov": False}, {"scaling": "spectral", "nesterov": False}),
        ({"bias_correction": True, "eps": 1e-8}, {"optax": True, "eps": 1e-8}),
        ({"bias_correction": True, "nesterov": False}, {"optax": True, "nesterov": False}),
        ({"method": "dion", "scaling": None}, {"rows": DION, "scaling": None}),
        ({"method": "polar_express", "steps": 3}, {"rows": SAFE_EXPRESS, "norm_factor": 1.01}),
        ({"method": KELLER[:1], "steps": 2}, {"rows": KELLER[:2]}),
    ],
)
def test_it_follows_its_equations(arguments, reference):
    with x64():
        params, grads = problem()
        rules = {name: Muon(**reference) for name in SHAPES}
        for g, u in zip(grads, trajectory(gradtx.scale_by_muon(**arguments), params, grads), strict=True):
            for name, rule in rules.items():
                np.testing.assert_allclose(u[name], rule(np.asarray(g[name])), atol=1e-9)


def test_one_step_of_the_golden_table():
    with x64():
        g = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])
        tx = gradtx.chain(gradtx.scale_by_muon(), gradtx.scale_by_learning_rate(0.1))
        wanted = [[0.096954, -0.013492, -0.089372], [-0.077545, -0.045081, -0.030952]]
        np.testing.assert_allclose(tx.update(g, tx.init(g), g)[0], wanted, atol=1e-6)


@pytest.mark.parametrize("how", [{}, {"preconditioning": "aol"}, {"adaptive": True}, {"nesterov": False}])
def test_optaxs_muon(how):
    """With its conventions, gradtx's is Optax's."""
    with x64():
        shapes = {"kernel": (6, 4), "bias": (4,), "conv": (2, 3, 4, 5)}
        params, grads = problem(shapes)
        numbers = {"kernel": optax.contrib.MuonDimensionNumbers(), "bias": None}
        numbers["conv"] = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
        theirs = optax.contrib.muon(
            0.1, weight_decay=0.01, muon_weight_dimension_numbers=numbers, adam_b2=0.95, adam_weight_decay=0.01, **how
        )
        ours = gradtx.muon(
            0.1, weight_decay=0.01, scaling="keller", bias_correction=True, eps=1e-8, matrices=numbers, **how
        )
        pairs = zip(trajectory(ours, params, grads), trajectory(theirs, params, grads), strict=True)
        for ours_u, theirs_u in pairs:
            np.testing.assert_allclose(ours_u["kernel"], theirs_u["kernel"], atol=1e-7 if how else 1e-9)
            np.testing.assert_allclose(ours_u["conv"], theirs_u["conv"], atol=1e-7 if how else 1e-9)


def test_heavy_ball_momentum_has_the_same_direction():
    with x64():
        params, grads = problem()
        heavy = gradtx.chain(gradtx.trace(0.95, nesterov=True), gradtx.orthogonalize_updates(eps=0.0))
        average = gradtx.scale_by_muon(scaling=None, eps=0.0)
        for a, b in zip(trajectory(heavy, params, grads), trajectory(average, params, grads), strict=True):
            np.testing.assert_allclose(a["tall"], b["tall"], atol=1e-9)


def test_axes_decide():
    with x64():
        params, grads = problem({"w": (6, 4)}, 1)
        as_is, turned = (trajectory(gradtx.muon(1.0, scaling="keller", weight_decay=0.0, matrices={"w": text}), params, grads)[0]["w"] for text in ("in out", "out in"))  # fmt: skip  # noqa: E501
        np.testing.assert_allclose(turned, as_is * factor("keller", 4, 6), atol=1e-12)
        assert shape_factor("keller", 6, 4) == 1


def test_a_stack_is_its_layers_and_fused_projections_are_three():
    with x64():
        params, grads = problem({"stack": (3, 4, 6), "qkv": (4, 12)}, 3)
        matrices = {"stack": "batch in out", "qkv": "in out/3"}
        together = trajectory(gradtx.scale_by_muon(matrices=matrices), params, grads)
        apart = [{f"{i}": x for i, x in enumerate([*g["stack"], *jnp.split(g["qkv"], 3, 1)])} for g in grads]
        for whole, parts in zip(together, trajectory(gradtx.scale_by_muon(), apart[0], apart), strict=True):
            np.testing.assert_allclose(whole["stack"], [parts["0"], parts["1"], parts["2"]], atol=1e-12)
            np.testing.assert_allclose(whole["qkv"], np.hstack([parts["3"], parts["4"], parts["5"]]), atol=1e-12)


def test_the_rest_is_adamws():
    params, grads = problem({"kernel": (4, 3), "bias": (3,), "embedding": (7, 4)}, 3)
    rest = gradtx.adamw(1e-3)
    both = trajectory(gradtx.muon(0.1, rest=rest), params, grads)
    alone = trajectory(rest, params, grads)
    for name in ("bias", "embedding"):
        np.testing.assert_array_equal(both[-1][name], alone[-1][name])
    default = trajectory(gradtx.muon(0.1), params, grads)
    np.testing.assert_array_equal(default[-1]["bias"], trajectory(gradtx.adamw(0.1, b2=0.95, weight_decay=0.1), params, grads)[-1]["bias"])  # fmt: skip  # noqa: E501


def test_steps_are_as_long_as_adams():
    params, grads = problem({"kernel": (48, 64)}, 1)
    u = trajectory(gradtx.muon(1.0, weight_decay=0.0), params, grads)[0]["kernel"]
    assert 0.15 < float(jnp.sqrt(jnp.mean(u**2))) < 0.23  # Adam's are about 0.2 to 0.4 in training


def test_one_product_serves_matrices_of_a_shape_and_of_its_transpose():
    params = {f"layer{i}": {"up": jnp.ones((4, 6)), "down": jnp.ones((6, 4)), "q": jnp.ones((4, 4))} for i in range(4)}
    tx = gradtx.muon(0.1)
    program = jax.jit(tx.update).lower(params, tx.init(params), params).compile().as_text()
    assert program.count(" dot(") == 3 * 5 * (2 + 1)  # eight of one shape are two batches, four another


def test_the_warm_up_of_the_number_of_steps_is_a_schedule():
    tx = gradtx.muon(gradtx.linear_schedule(0.0, 0.1, 10), beta=gradtx.linear_schedule(0.85, 0.95, 10))
    params = {"kernel": jnp.ones((2, 3))}
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(params, state, params)
    assert np.isfinite(updates["kernel"]).all()
    assert state.hyperparams["beta"] == pytest.approx(0.87)


def test_a_glob_of_the_decay_may_match_in_one_of_the_two_groups_alone():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "embed": jnp.ones((4, 2))}
    grads = jax.tree.map(jnp.zeros_like, params)
    for mask, decayed in (("kernel", {"kernel"}), ("embed", {"embed"}), (("kernel", "bias"), {"kernel", "bias"})):
        updates = trajectory(gradtx.muon(0.1, weight_decay_mask=mask), params, [grads])[0]
        assert {name for name, u in updates.items() if u.any()} == decayed
    with pytest.raises(gradtx.errors.ArgumentValueError, match="kernels"):
        gradtx.muon(0.1, weight_decay_mask="kernels").init(params)
    tree = {"kernel": True, "bias": False, "embed": False}
    assert not trajectory(gradtx.muon(0.1, weight_decay_mask=tree), params, [grads])[0]["embed"].any()
