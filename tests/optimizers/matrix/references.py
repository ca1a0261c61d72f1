"""Matrix methods in plain NumPy float64, one matrix [inputs, outputs] at a time."""

from typing import Any

import numpy as np

KELLER = ((3.4445, -4.7750, 2.0315),) * 5


def newton_schulz(x: Any, rows: Any = KELLER, eps: float = 1e-7, norm_factor: float = 1.0) -> Any:
    """The iteration as its author writes it, on the side as it comes."""
    x = x / (norm_factor * np.linalg.norm(x) + eps)
    for a, b, c in rows:
        gram = x @ x.conj().T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def polar(x: Any) -> Any:
    """The polar factor."""
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return u @ vh


def factor(scaling: str | None, inputs: int, outputs: int) -> float:
    """How long the steps are."""
    factors = {
        None: 1.0,
        "keller": max(1, outputs / inputs) ** 0.5,
        "match_rms": 0.2 * max(inputs, outputs) ** 0.5,
        "spectral": (outputs / inputs) ** 0.5,
    }
    return float(factors[scaling])


class Muon:
    """Jordan et al. 2024; with `optax`, Optax's bias correction of both terms."""

    def __init__(
        self, beta: float = 0.95, nesterov: bool = True, scaling: str | None = "keller", optax: bool = False, **how: Any
    ) -> None:
        self.beta, self.nesterov, self.scaling, self.optax, self.how = beta, nesterov, scaling, optax, how
        self.t, self.m = 0, 0.0

    def __call__(self, g: Any) -> Any:
        self.t += 1
        b = self.beta
        self.m = b * self.m + (1 - b) * g
        of_average = 1 - b ** (self.t + self.nesterov) if self.optax else 1
        of_gradient = 1 - b**self.t if self.optax else 1
        u = self.m / of_average
        if self.nesterov:
            u = b * u + (1 - b) * g / of_gradient
        return factor(self.scaling, *g.shape) * newton_schulz(u, **self.how)
