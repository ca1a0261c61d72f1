"""Adam-mini against its reference, and what blocks are."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from tests.references import Adam, square
from tests.trajectories import DOUBLE, SHAPES, SINGLE, Problem, assert_close, compare, run, run_compiled, x64


@dataclasses.dataclass
class AdamMini(Adam):
    """Zhang et al.: Adam with the mean square of a block for that of each of its elements."""

    label: Any = None
    """For each element, an integer that names its block."""

    def second_moment(self, g):
        numbers = self.label.ravel()
        sums = np.bincount(numbers, square(g).ravel()) / np.maximum(np.bincount(numbers), 1)
        return self.b2 * self.v + (1 - self.b2) * sums[numbers].reshape(g.shape)


rows, columns = np.indices((4, 6))

LABELS = {
    "outputs": (-1, columns),
    "rows": (0, rows),
    "both": ((0, 1), 6 * rows + columns),
    "elements": (None, 6 * rows + columns),
    "whole": ((), 0 * rows),
    "heads": ({1: 2}, columns // 3),
    "heads by rows": ({-1: 3, 0: 2}, 3 * (rows // 2) + columns // 2),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("precision", [SINGLE, DOUBLE], ids=["float32", "float64"])
@pytest.mark.parametrize("leaf", ["w", "zeta"])
def test_equals_the_reference(name, precision, leaf):
    entry, label = LABELS[name]
    numbers = {"b1": 0.75, "b2": 0.875, "eps": 2.0**-10, "eps_root": 2.0**-20}
    tx = gradtx.scale_by_adam_mini({leaf: entry}, **numbers)
    for runner in (run, run_compiled):
        compare(precision, tx, lambda: AdamMini(**numbers, label=label), Problem({leaf: (4, 6)}, 5), runner)


def test_what_no_glob_names_is_adams():
    params, grads = Problem(SHAPES[0], 2).draw(DOUBLE)
    with x64():
        mini, adam = (
            run(tx, params, grads)[0] for tx in (gradtx.scale_by_adam_mini({"kernel": 0}), gradtx.scale_by_adam())
        )
    for name in ("bias", "zeta"):
        assert_close(mini[name], adam[name], rtol=1e-12)
    assert not np.allclose(mini["kernel"], adam["kernel"], rtol=1e-3)


def test_the_first_step_by_hand():
    tx = gradtx.scale_by_adam_mini({"w": -1}, eps=0.0)
    g = {"w": jnp.array([[3.0, 1.0], [-4.0, 1.0]])}
    u, _ = tx.update(g, tx.init(g))
    np.testing.assert_allclose(u["w"], [[3 / 12.5**0.5, 1.0], [-4 / 12.5**0.5, 1.0]], rtol=1e-6)


def test_the_first_glob_that_matches_counts_and_further_axes_are_cut_too():
    blocks = {"*/query": {-1: 4}, "*/value": (1, 2), "embedding": 0, "*": -1}
    shapes = {"embedding": (9, 8), "layer": {"query": (8, 12), "value": (8, 4, 3), "kernel": (3, 3, 8, 5)}}
    params = jax.tree.map(jnp.zeros, shapes, is_leaf=lambda x: isinstance(x, tuple))
    nu = gradtx.scale_by_adam_mini(blocks).init(params).nu
    assert jax.tree.map(jnp.shape, nu) == {
        "embedding": (9, 1),
        "layer": {"query": (1, 4), "value": (1, 4, 3), "kernel": (1, 1, 1, 5)},
    }


def test_the_moments_of_narrow_and_of_complex_numbers():
    params = {
        "half": jnp.ones((2, 4), jnp.bfloat16),
        "phase": jnp.ones((2, 4), jnp.complex64),
        "key": jax.random.key(0),
    }
    state = gradtx.scale_by_adam_mini({"*": 0}, mu_dtype="bfloat16").init(params | {"key": None})
    assert [state.mu[k].dtype.name for k in ("half", "phase")] == ["bfloat16", "complex64"]
    assert [state.nu[k].dtype.name for k in ("half", "phase")] == ["float32", "float32"]


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("shape", [(2, 3), (0, 2), (2, 0)])
def test_zero_gradients_are_no_update_and_their_derivatives_are_finite(eps, shape):
    tx, p = gradtx.scale_by_adam_mini({"*": 0}, eps=eps), {"w": jnp.zeros(shape)}

    def second(g):
        return tx.update(g, tx.update(g, tx.init(p))[1])[0]

    updates, state = tx.update(p, tx.init(p))
    np.testing.assert_array_equal(updates["w"], p["w"])
    assert np.all(np.isfinite(state.nu["w"]))
    assert np.all(np.isfinite(jax.jacobian(second)(p)["w"]["w"]))


def test_what_is_no_cut_is_refused():
    p = {"layer": {"w": jnp.ones((4, 6))}}
    for entry in (1.0, "0", (0, "1"), {0: 2.0}, True):
        with pytest.raises(ArgumentTypeError, match="blocks to map globs"):
            gradtx.scale_by_adam_mini({"*": entry})
    with pytest.raises(ArgumentValueError, match="blocks of at least 1"):
        gradtx.adam_mini(0.1, {"*": {0: 0}})
    with pytest.raises(ArgumentValueError, match=r"a leaf with axis 2, got one of shape .* at layer/w"):
        gradtx.scale_by_adam_mini({"*": 2}).init(p)
    with pytest.raises(ArgumentValueError, match=r"an axis 1 of 4 equal parts, got a leaf of shape \[4, 6\]"):
        gradtx.scale_by_adam_mini({"*": {1: 4}}).init(p)
    with pytest.raises(ArgumentValueError, match="kernel"):
        gradtx.scale_by_adam_mini({"kernel": -1, "*": 0}).init(p)


def test_a_scalar_is_a_block():
    params = {"temperature": jnp.float32(2.0), "kernel": jnp.ones((2, 3))}
    tx = gradtx.scale_by_adam_mini({"*": -1})
    u, state = tx.update(params, tx.init(params))
    assert (state.nu["temperature"].shape, float(u["temperature"])) == ((), pytest.approx(1.0))


def test_text_and_value_are_one():
    tx = gradtx.adam_mini(0.1, {"*query": {-1: 4}, "*": (0, 1), "norm": None})
    assert gradtx.parse(repr(tx)) == tx
