"""Muon: matrices of one shape are orthogonalized in one batch, beside leaves that another method takes."""

from typing import Any

import numpy as np

import gradtx
from tests.proofs.runs import CLIP, DECAY, check, falling


def with_adam(rate: Any) -> Any:
    """Matrices by it, the rest by Adam; all with decay and a schedule."""
    direction = gradtx.partition({"bias": gradtx.scale_by_adam(), "*": gradtx.scale_by_muon()})
    return gradtx.chain(
        gradtx.clip_by_global_norm(CLIP), direction, gradtx.add_decayed_weights(DECAY),
        gradtx.scale_by_learning_rate(falling(rate)),
    )  # fmt: skip


# --- the reference ----------------------------------------------------------------------------------------------------


class Reference:
    """Jordan et al. 2024, a leaf; a vector by Adam."""

    def __init__(self) -> None:
        self.t, self.m, self.v = 0, 0.0, 0.0

    def __call__(self, g: Any, p: Any, rate: float) -> Any:
        self.t += 1
        if g.ndim == 2:
            self.m = 0.95 * self.m + 0.05 * g
            x = 0.95 * self.m + 0.05 * g
            x = x / (np.linalg.norm(x) + 1e-7)
            for _ in range(5):
                gram = x.T @ x
                x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
            u = np.sqrt(max(1, g.shape[1] / g.shape[0])) * x
        else:
            self.m, self.v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g**2
            u = self.m / (1 - 0.9**self.t) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)
        return -rate * (u + DECAY * p)


# --- the tests --------------------------------------------------------------------------------------------------------


def test_it_runs_everywhere():
    check(with_adam, Reference)
