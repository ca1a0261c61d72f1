"""StableAdamW against its reference, and against what is not the same."""

import dataclasses

import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    decays,
    epsilons,
    run,
    x64,
)


@dataclasses.dataclass
class StableAdam(references.Adam):
    """Wortsman et al.: (Adam's step + wd p) / max(1, RMS(g / max(sqrt(vhat), eps)))."""

    b2: float = 0.99
    eps: float = 1e-6
    weight_decay: float = 0.0

    def step(self, g, p):
        u = super().step(g, p)
        root = np.sqrt(self.v / references.power_complement(self.b2, self.t))
        surprise = references.divide(np.abs(g), np.maximum(root, self.eps))
        factor = 1 / max(1.0, np.sqrt(np.mean(surprise**2)) if g.size else 0.0)
        self.size = factor * (self.size + self.weight_decay * np.abs(p))
        return factor * (u + self.weight_decay * p)


def test_equals_the_reference():
    arguments = {"b1": decays, "b2": decays, "eps": epsilons, "weight_decay": st.floats(0.0, 0.5)}
    check_all(gradtx.scale_by_stable_adam, StableAdam, arguments, reads_params=True)


@pytest.mark.parametrize("arguments", [{}, {"eps": 0.0, "weight_decay": 0.1}, {"b2": 0.5, "eps": 1e-3}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_stable_adam, StableAdam, arguments, reads_params=True)


def spikes():
    grads = 0.1 * np.random.default_rng(0).normal(size=(60, 5))
    grads[40] *= 10
    return np.zeros(5), grads


def test_a_jump_of_gradients_shortens_the_step_and_a_clip_of_the_update_does_not():
    params, grads = spikes()
    with x64():
        plain, stable, clipped = (
            run(tx, params, grads)[0]
            for tx in (
                gradtx.scale_by_adam(b2=0.99, eps=1e-6),
                gradtx.scale_by_stable_adam(),
                gradtx.chain(gradtx.scale_by_adam(b2=0.99, eps=1e-6), gradtx.clip_by_block_rms(1.0)),
            )
        )
    assert np.linalg.norm(stable[40]) < 0.5 * np.linalg.norm(plain[40])
    np.testing.assert_allclose(clipped[40], plain[40], rtol=1e-6)


def test_each_leaf_has_a_ratio_of_its_own():
    params, grads = spikes()
    with x64():
        together = run(gradtx.stable_adamw(0.1), {"a": params, "b": params}, {"a": grads, "b": 0 * grads + 1})[0]
        assert_close(together["a"], run(gradtx.stable_adamw(0.1), params, grads)[0], rtol=1e-12)
        adamw = gradtx.adamw(0.1, b2=0.99, eps=1e-6, weight_decay=0.01)
        assert_close(together["b"], run(adamw, params, 0 * grads + 1)[0], rtol=1e-6)


def test_a_mask_chooses_what_decays():
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        masked, decayed, plain = (
            run(gradtx.stable_adamw(0.1, **given), params, grads)[0]
            for given in ({"mask": "kernel", "weight_decay": 0.3}, {"weight_decay": 0.3}, {"weight_decay": 0.0})
        )
    assert_close([masked["kernel"], masked["bias"]], [decayed["kernel"], plain["bias"]], rtol=1e-12)
    assert np.abs(decayed["bias"] - plain["bias"]).max() > 1e-3
