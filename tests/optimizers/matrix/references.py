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


class NorMuon:
    """Li et al. 2025, as the paper (`match_rms`) or as the code of the authors."""

    def __init__(
        self, beta: float = 0.95, b2: float = 0.95, nesterov: bool = True, paper: bool = True, longer: bool = False
    ) -> None:
        self.beta, self.b2, self.nesterov, self.paper, self.longer = beta, b2, nesterov, paper, longer
        self.m, self.v = 0.0, 0.0

    def __call__(self, g: Any) -> Any:
        inputs, outputs = g.shape
        self.m = self.beta * self.m + (1 - self.beta) * g
        o = newton_schulz(self.beta * self.m + (1 - self.beta) * g if self.nesterov else self.m)
        axis = 1 if self.longer and inputs > outputs else 0
        self.v = self.b2 * self.v + (1 - self.b2) * np.mean(np.abs(o) ** 2, axis, keepdims=True)
        u = o / (np.sqrt(self.v) + 1e-8)
        if self.paper:
            return 0.2 * np.sqrt(inputs * outputs) * u / np.linalg.norm(u)
        return factor("keller", inputs, outputs) * np.linalg.norm(o) * u / np.linalg.norm(u)


class AdaMuon:
    """Si et al. 2025, second version."""

    def __init__(self, beta: float = 0.95, b2: float = 0.95, nesterov: bool = False) -> None:
        self.beta, self.b2, self.nesterov = beta, b2, nesterov
        self.m, self.v = 0.0, 0.0

    def __call__(self, g: Any) -> Any:
        self.m = self.beta * self.m + (1 - self.beta) * g
        o = newton_schulz(np.sign(self.beta * self.m + (1 - self.beta) * g if self.nesterov else self.m))
        self.v = self.b2 * self.v + (1 - self.b2) * np.abs(o) ** 2
        u = o / (np.sqrt(self.v) + 1e-8)
        return 0.2 * np.sqrt(g.size) * u / np.linalg.norm(u)


class Galore:
    """Zhao et al. 2024 with Adam on one matrix; the inputs are projected, or the outputs."""

    def __init__(self, rank: int, gap: int = 200, inputs: bool = True, rotate: bool = False, eps: float = 1e-8) -> None:
        self.rank, self.gap, self.inputs, self.rotate, self.eps = rank, gap, inputs, rotate, eps
        self.t, self.m, self.v, self.q = 0, 0.0, 0.0, None

    def __call__(self, g: Any) -> Any:
        g = g if self.inputs else g.conj().T
        if self.t % self.gap == 0:
            q = np.linalg.svd(g, full_matrices=False)[0][:, : self.rank]
            top = np.take_along_axis(q, np.abs(q).argmax(0)[None], 0)
            q = q * (top.conj() / np.abs(top))
            if self.rotate and self.t:
                change = q.conj().T @ self.q
                self.m, self.v = change @ self.m, np.abs(change) ** 2 @ self.v
            self.q = q
        self.t += 1
        low = self.q.conj().T @ g
        self.m = 0.9 * self.m + 0.1 * low
        self.v = 0.999 * self.v + 0.001 * np.abs(low) ** 2
        u = self.m / (1 - 0.9**self.t) / (np.sqrt(self.v / (1 - 0.999**self.t)) + self.eps)
        u = self.q @ u
        return u if self.inputs else u.conj().T


class Scion:
    """Pethick et al. 2025: momentum, then the farthest point of a ball by the kind of the layer."""

    def __init__(self, norm: str, radius: float = 1.0, beta: float = 0.9, points: int = 1, inputs: int = 1) -> None:
        self.norm, self.radius, self.beta, self.points, self.inputs = norm, radius, beta, points, inputs
        self.m = 0.0

    def __call__(self, g: Any) -> Any:
        self.m = self.beta * self.m + (1 - self.beta) * g
        if self.norm == "sign":
            return self.radius * np.sign(self.m) / self.inputs
        if self.norm == "rms":
            return self.radius * self.m / np.sqrt(np.mean(self.m**2, -1, keepdims=True))
        flat = self.m.reshape(-1, g.shape[-1])
        channels = len(flat) // self.points
        scale = np.sqrt(g.shape[-1] / channels) / self.points
        return (self.radius * scale * newton_schulz(flat)).reshape(g.shape)


class Soap:
    """Vyas et al. 2024, in the order of the author's code; the first call returns zeros, or Adam's step."""

    def __init__(
        self, b1: float = 0.95, b2: float = 0.95, b3: float = 0.95, every: int = 10, skip: bool = False,
        left: bool = True, right: bool = True,
    ) -> None:  # fmt: skip
        self.b1, self.b2, self.b3, self.every, self.skip, self.turns = b1, b2, b3, every, skip, (left, right)
        self.t, self.q, self.gram = 0, None, [0.0, 0.0]
        self.m, self.v = 0.0, 0.0

    def add(self, g: Any) -> None:
        grams = g @ g.conj().T, g.conj().T @ g
        self.gram = [self.b3 * old + (1 - self.b3) * new for old, new in zip(self.gram, grams, strict=True)]

    def __call__(self, g: Any) -> Any:
        if self.q is None:
            u = np.zeros_like(g) if self.skip else self.step(g, [np.eye(n) for n in g.shape])
            self.add(g)
            self.q = [
                np.linalg.eigh(gram)[1][:, ::-1] if turns else np.eye(len(gram))
                for gram, turns in zip(self.gram, self.turns, strict=True)
            ]
            self.m = self.q[0].conj().T @ (self.m * np.ones_like(g)) @ self.q[1]
            return u
        u = self.step(g, self.q)
        self.add(g)
        if self.t % self.every == 0:
            self.refresh()
        return u

    def step(self, g: Any, q: Any) -> Any:
        self.t += 1
        turned = q[0].conj().T @ g @ q[1]
        self.m = self.b1 * self.m + (1 - self.b1) * turned
        self.v = self.b2 * self.v + (1 - self.b2) * np.abs(turned) ** 2
        ratio = self.m / (1 - self.b1**self.t) / (np.sqrt(self.v / (1 - self.b2**self.t)) + 1e-8)
        return q[0] @ ratio @ q[1].conj().T

    def refresh(self) -> None:
        whole = self.q[0] @ self.m @ self.q[1].conj().T
        for axis in (0, 1):
            if self.turns[axis]:
                q, gram = self.q[axis], self.gram[axis]
                order = np.argsort(-np.diag(q.conj().T @ gram @ q).real)
                self.v = np.take(self.v, order, axis)
                self.q[axis] = np.linalg.qr(gram @ q[:, order])[0]
        self.m = self.q[0].conj().T @ whole @ self.q[1]


class Apollo:
    """Zhu et al. 2024 on one matrix; `project(g, t)` makes the projection of step t, of the short side."""

    def __init__(
        self, project: Any, gap: int = 200, scale: float = 1.0, tensor: bool = False, growth: Any = 1.01
    ) -> None:
        self.project, self.gap, self.scale, self.tensor, self.growth = project, gap, scale, tensor, growth
        self.t, self.m, self.v, self.p, self.before = 0, 0.0, 0.0, None, None

    def __call__(self, g: Any) -> Any:
        turned = g.shape[0] > g.shape[1]
        g = g.T if turned else g
        if self.t % self.gap == 0:
            self.p = self.project(g, self.t)
        self.t += 1
        low = self.p.conj().T @ g
        self.m = 0.9 * self.m + 0.1 * low
        self.v = 0.999 * self.v + 0.001 * np.abs(low) ** 2
        adam = self.m / (np.sqrt(self.v) + 1e-6)
        norm = np.linalg.norm if self.tensor else lambda x: np.linalg.norm(x, axis=0)
        x = g * norm(adam) / (norm(low) + 1e-8)
        size = np.linalg.norm(x)
        if self.growth and self.before is not None:
            limiter = max(size / (self.before + 1e-8), self.growth) / self.growth
            x, size = x / limiter, size / limiter
        self.before = size
        u = x * np.sqrt(self.scale * (1 - 0.999**self.t)) / (1 - 0.9**self.t)
        return u.T if turned else u


class Dion:
    """Ahn et al. 2025, from given first directions, on the matrices of torch: [outputs, inputs]."""

    def __init__(self, q: Any, beta: float = 0.95) -> None:
        self.q, self.beta, self.m = q, beta, 0.0

    def __call__(self, g: Any) -> Any:
        b = self.m + g.conj().T
        p = np.linalg.qr(b @ self.q)[0]
        r = b.conj().T @ p
        self.m = b - (1 - self.beta) * p @ r.conj().T
        self.q = r / np.linalg.norm(r, axis=0)
        return (p @ self.q.conj().T).conj().T


def inverse_power(a: Any, power: float, eps: float, relative: bool = True) -> Any:
    """A power of a symmetric matrix, by its eigenvalues."""
    values, vectors = np.linalg.eigh(a)
    values = np.maximum(values, 0)
    return (vectors * (values + eps * (values[-1] if relative else 1)) ** power) @ vectors.conj().T


class Shampoo:
    """Gupta et al. 2018, with moving averages or sums; `caspr` by its three terms."""

    def __init__(
        self, b2: float | None = 0.999, eps: float = 1e-6, relative: bool = True, root: int = 4, every: int = 10,
        start: int = 0, correct: bool = True, caspr: bool = False,
    ) -> None:  # fmt: skip
        self.b2, self.eps, self.relative, self.root, self.every = b2, eps, relative, root, every
        self.start, self.correct, self.caspr = start, correct, caspr
        self.t, self.gram, self.scaled = 0, [0.0, 0.0], None

    def __call__(self, g: Any) -> Any:
        new = g @ g.conj().T, g.conj().T @ g
        kept, added = (1.0, 1.0) if self.b2 is None else (self.b2, 1 - self.b2)
        self.gram = [kept * a + added * b for a, b in zip(self.gram, new, strict=True)]
        if self.t >= self.start and (self.t - self.start) % self.every == 0:
            weight = 1 - self.b2 ** (self.t + 1) if self.correct and self.b2 is not None else 1
            self.scaled = [gram / weight for gram in self.gram]
        self.t += 1
        if self.scaled is None:
            return g
        (half_left, left), (half_right, right) = (
            [inverse_power(a, -k / self.root, self.eps, self.relative) for k in (2, 1)] for a in self.scaled
        )
        product = left @ g @ right
        return (half_left @ g + 2 * product + g @ half_right) / 4 if self.caspr else product


class Kron:
    """Li 2015, 2024: whitening by triangular or diagonal factors; `draw(t, shape)` gives V and whether to balance."""

    def __init__(self, draw: Any, rate: float = 0.1, left: bool = True, right: bool = True) -> None:
        self.draw, self.rate, self.triangular, self.t, self.q = draw, rate, (left, right), 0, None

    def __call__(self, g: Any) -> Any:
        if self.q is None:
            self.q = [np.eye(n, dtype=g.dtype) for n in g.shape]
        v, balance = self.draw(self.t, g.shape)
        self.t += 1
        if balance:
            left, right = (np.abs(q).max() for q in self.q)
            self.q = [self.q[0] * np.sqrt(right / left), self.q[1] * np.sqrt(left / right)]
        left, right = self.q
        a = left @ (g + np.finfo(np.float32).eps ** 0.5 * np.abs(g).mean() * v) @ right.T
        b = np.linalg.inv(left).conj().T @ v @ np.linalg.inv(right).conj()
        pairs = ((a, b), (a.T, b.T))
        self.q = [self.step(q, *pair, full) for q, pair, full in zip(self.q, pairs, self.triangular, strict=True)]
        left, right = self.q
        return left.conj().T @ left @ g @ right.T @ right.conj()

    def step(self, q: Any, a: Any, b: Any, triangular: bool) -> Any:
        one, two = a @ a.conj().T, b @ b.conj().T
        if not triangular:
            one, two = (np.diag(np.diag(x)) for x in (one, two))
            return q - self.rate / np.max(np.abs(one + two)) * (one - two) @ q
        x = one + two
        y = x @ x[:, np.argmax(np.linalg.norm(x, axis=0))]
        size = np.linalg.norm(x @ y) / np.linalg.norm(y)
        return q - self.rate / size * np.triu(one - two) @ q


class Splus:
    """Frans et al. 2025 on one matrix; the bases are those after the first step and after every k-th."""

    def __init__(self, b1: float = 0.9, b2: float = 0.999, every: int = 100, largest: int = 10_000) -> None:
        self.b1, self.b2, self.every, self.largest = b1, b2, every, largest
        self.t, self.m, self.sides, self.q = 0, 0.0, None, None

    def __call__(self, g: Any) -> Any:
        if self.q is None:
            self.q, self.sides = [np.eye(n) for n in g.shape], [np.zeros((n, n)) for n in g.shape]
        self.t += 1
        self.m = self.b1 * self.m + (1 - self.b1) * g
        left, right = self.q
        turned = left.conj().T @ self.m @ right
        u = left @ (turned / np.abs(turned)) @ right.conj().T
        squares = (g @ g.conj().T, g.conj().T @ g)
        self.sides = [self.b2 * s + (1 - self.b2) * x for s, x in zip(self.sides, squares, strict=True)]
        if self.t == 1 or self.t % self.every == 0:
            self.q = [np.linalg.eigh(s)[1] if len(s) <= self.largest else np.eye(len(s)) for s in self.sides]
        return u
