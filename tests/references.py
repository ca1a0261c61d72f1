"""The papers' equations in plain NumPy float64, one leaf at a time, with no thought for speed or memory.

Each class follows one leaf: ``rule(g, p)`` takes the gradient (and the parameter, where the method reads it) of the
next step and returns the update. Argument names are those of the transformations; moments begin at zero unless said
otherwise.

After a step two attributes say how rounding errors show in it: ``rule.size`` is how large the update would be had none
of the terms of its momentum cancelled, and ``rule.condition`` how much the step magnifies errors otherwise (1 where
nothing is subtracted from something of its size). The error of a faithful computation is a few roundings of their
product.
"""

import dataclasses
import functools
from typing import Any

import numpy as np


def power_complement(b: float, t: int) -> float:
    """1 - b^t, in extended precision, since at t = 1 and b near 1 it has few digits."""
    return float(1 - np.longdouble(b) ** t)


def square(x: Any) -> Any:
    """|x|^2."""
    return np.real(x) ** 2 + np.imag(x) ** 2


def divide(x: Any, y: Any) -> Any:
    """x / y, where a denominator of zero, which only zero gradients make, leaves x."""
    return x / np.where(y == 0, 1, y)


class Rule:
    """The state all rules begin with."""

    t = 0
    m: Any = 0.0
    v: Any = 0.0
    total: Any = 0.0
    size: Any = None
    condition: Any = 1.0

    def __call__(self, g: Any, p: Any = None) -> Any:
        """The update of the next step."""
        self.t += 1
        self.size = None
        u = self.step(g, p)
        self.size = np.abs(u) if self.size is None else self.size
        return u

    def step(self, g: Any, p: Any) -> Any:
        """The equations, at step ``self.t``."""
        raise NotImplementedError


# --- momentum ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Trace(Rule):
    """v <- mu v + g; the step is v, or g + mu v (Nesterov, with one gradient)."""

    decay: float
    nesterov: bool = False

    def step(self, g, p):
        self.m = self.decay * self.m + g
        self.total = self.decay * self.total + np.abs(g)
        self.size = np.abs(g) + self.decay * self.total if self.nesterov else self.total
        return g + self.decay * self.m if self.nesterov else self.m


@dataclasses.dataclass
class Ema(Rule):
    """m <- b m + (1-b) g; the step is m / (1 - b^t)."""

    decay: float
    debias: bool = True

    def step(self, g, p):
        self.m = self.decay * self.m + (1 - self.decay) * g
        self.total = self.decay * self.total + (1 - self.decay) * np.abs(g)
        correction = power_complement(self.decay, self.t) if self.debias else 1.0
        self.size = self.total / correction
        return self.m / correction


@dataclasses.dataclass
class Lion(Rule):
    """The step is the sign of c = b1 m + (1-b1) g (of a complex number, c / |c|), then m <- b2 m + (1-b2) g."""

    b1: float = 0.9
    b2: float = 0.99

    def step(self, g, p):
        c = self.b1 * self.m + (1 - self.b1) * g
        total = self.b1 * self.total + (1 - self.b1) * np.abs(g)
        self.m = self.b2 * self.m + (1 - self.b2) * g
        self.total = self.b2 * self.total + (1 - self.b2) * np.abs(g)
        # A sign has no digits to lose, but where c is a rounding of its terms it may be any.
        self.condition = np.where(total > 0, total / np.maximum(np.abs(c), 1e-30 * total + 1e-300), 1.0)
        self.size = np.ones_like(total)
        return divide(c, np.abs(c))


# --- the Adam family --------------------------------------------------------------------------------------------------


class Moments(Rule):
    """What rules with a first moment share."""

    b1: float
    nesterov: bool = False

    def mean(self, g: Any, debias: bool = True) -> tuple[Any, Any]:
        """Mhat after m <- b1 m + (1-b1) g, and the same of absolute values."""
        now = power_complement(self.b1, self.t) if debias else 1.0
        ahead = power_complement(self.b1, self.t + 1) if debias else 1.0

        def estimate(m: Any, g: Any) -> Any:
            return self.b1 * m / ahead + (1 - self.b1) * g / now if self.nesterov else m / now

        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.total = self.b1 * self.total + (1 - self.b1) * np.abs(g)
        return estimate(self.m, g), estimate(self.total, np.abs(g))

    def normalize(self, means: tuple[Any, Any], denominator: Any) -> Any:
        """Mhat / denominator."""
        mhat, total = means
        self.size = divide(total, denominator)
        return divide(mhat, denominator)


@dataclasses.dataclass
class Adam(Moments):
    """Kingma and Ba: mhat / (sqrt(vhat + eps_root) + eps)."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    nesterov: bool = False
    bias_correction: bool = True

    def second_moment(self, g: Any) -> Any:
        """V <- b2 v + (1-b2) |g|^2."""
        return self.b2 * self.v + (1 - self.b2) * square(g)

    def denominator(self, g: Any) -> Any:
        """Of the step, after g."""
        self.v = self.second_moment(g)
        bc2 = power_complement(self.b2, self.t) if self.bias_correction else 1.0
        return np.sqrt(self.v / bc2 + self.eps_root) + self.eps

    def step(self, g, p):
        return self.normalize(self.mean(g, self.bias_correction), self.denominator(g))


@dataclasses.dataclass
class Amsgrad(Moments):
    """Reddi et al.: the denominator never falls. The maximum is of vhat, of v (corrected after), or uncorrected."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    bias_correction: str = "before_max"
    v_max: Any = 0.0

    def step(self, g, p):
        bc2 = power_complement(self.b2, self.t)
        self.v = self.b2 * self.v + (1 - self.b2) * square(g)
        self.v_max = np.maximum(self.v_max, self.v / bc2 if self.bias_correction == "before_max" else self.v)
        v = self.v_max / bc2 if self.bias_correction == "after_max" else self.v_max
        return self.normalize(self.mean(g, self.bias_correction != "none"), np.sqrt(v + self.eps_root) + self.eps)


@dataclasses.dataclass
class Belief(Moments):
    """Zhuang et al.: s <- b2 s + (1-b2) |g - m|^2 + eps_root; the step is mhat / (sqrt(shat) + eps)."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-16
    eps_root: float = 1e-16
    nesterov: bool = False
    rectify: bool = False

    def step(self, g, p):
        means = self.mean(g)
        self.v = self.b2 * self.v + (1 - self.b2) * square(g - self.m) + self.eps_root
        self.condition = 1 + divide(np.abs(g) + self.total, np.abs(g - self.m))
        denominator = np.sqrt(self.v / power_complement(self.b2, self.t)) + self.eps
        if not self.rectify:
            return self.normalize(means, denominator)
        r, condition = rectifier(self.b2, self.t, 5.0)
        self.condition, self.size = (self.condition * condition, None) if r is not None else (1.0, means[1])
        return means[0] if r is None else self.normalize((r * means[0], r * means[1]), denominator)


@dataclasses.dataclass
class Adamax(Moments):
    """Kingma and Ba, section 7.1: v <- max(b2 v, |g| + eps); the step is mhat / v."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def step(self, g, p):
        self.v = np.maximum(self.b2 * self.v, np.abs(g) + self.eps)
        return self.normalize(self.mean(g), self.v)


@dataclasses.dataclass
class Yogi(Adam):
    """Zaheer et al.: v <- v - (1-b2) sign(v - g^2) g^2, with both moments beginning at a constant."""

    eps: float = 1e-3
    initial_accumulator_value: float = 1e-6
    rounded: Any = 0.0

    def __post_init__(self):
        self.m = self.v = self.total = self.initial_accumulator_value

    def second_moment(self, g):
        change = (1 - self.b2) * np.sign(self.v - square(g)) * square(g)
        self.rounded = self.rounded + self.v + np.abs(change)
        self.condition = 1 + divide(self.rounded, self.v - change)
        return self.v - change


@dataclasses.dataclass
class RectifiedAdam(Adam):
    """Liu et al.: Adam times r_t once rho_t reaches the threshold; before that mhat alone, or nothing."""

    threshold: float = 5.0
    below_threshold: str = "momentum"

    def step(self, g, p):
        mhat, total = self.mean(g)
        denominator = self.denominator(g)
        r, self.condition = rectifier(self.b2, self.t, self.threshold)
        if r is None:
            self.size = total
            return mhat if self.below_threshold == "momentum" else 0 * mhat
        return self.normalize((r * mhat, r * total), denominator)


def rectifier(b2: float, t: int, threshold: float) -> tuple[float | None, float]:
    """r_t and its condition; no r_t before rho_t reaches the threshold."""
    rho, rho_inf = average_length(b2, t), 2 / (1 - np.longdouble(b2)) - 1
    if rho_inf <= 4 or rho < threshold:
        return None, 1.0
    r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    return float(r), float(rho / (rho - 4)) + 1


def average_length(b2: float, t: int) -> np.longdouble:
    """rho_t = rho_inf - 2 t b2^t / (1 - b2^t), with rho_inf = 2 / (1-b2) - 1."""
    b = np.longdouble(b2)
    return 2 / (1 - b) - 1 - 2 * t * b**t / (1 - b**t)


# --- adaptive methods without momentum --------------------------------------------------------------------------------


def by_root(g: Any, v: Any, eps: float, eps_in_sqrt: bool) -> Any:
    """g / sqrt(v + eps), or g / (sqrt(v) + eps)."""
    return divide(g, np.sqrt(v + eps) if eps_in_sqrt else np.sqrt(v) + eps)


@dataclasses.dataclass
class Rss(Rule):
    """AdaGrad (Duchi et al.): h <- h + g^2."""

    initial_accumulator_value: float = 0.1
    eps: float = 1e-7
    eps_in_sqrt: bool = True

    def __post_init__(self):
        self.v = self.initial_accumulator_value

    def step(self, g, p):
        self.v = self.v + square(g)
        return by_root(g, self.v, self.eps, self.eps_in_sqrt)


@dataclasses.dataclass
class Rms(Rule):
    """RMSProp (Tieleman and Hinton): v <- a v + (1-a) g^2."""

    decay: float = 0.9
    eps: float = 1e-8
    initial_scale: float = 0.0
    eps_in_sqrt: bool = True
    bias_correction: bool = False

    def __post_init__(self):
        self.v = self.initial_scale

    def step(self, g, p):
        self.v = self.decay * self.v + (1 - self.decay) * square(g)
        correction = power_complement(self.decay, self.t) if self.bias_correction else 1.0
        return by_root(g, self.v / correction, self.eps, self.eps_in_sqrt)


@dataclasses.dataclass
class Stddev(Rms):
    """Graves: RMSProp with the variance v - m^2 for v."""

    def step(self, g, p):
        self.m = self.decay * self.m + (1 - self.decay) * g
        self.v = self.decay * self.v + (1 - self.decay) * square(g)
        correction = power_complement(self.decay, self.t) if self.bias_correction else 1.0
        mean, mean_square = self.m / correction, self.v / correction
        variance = np.maximum(mean_square - square(mean), 0)
        self.condition = 1 + divide(mean_square + square(mean), variance + self.eps * self.eps_in_sqrt)
        return by_root(g, variance, self.eps, self.eps_in_sqrt)


@dataclasses.dataclass
class Adadelta(Rule):
    """Zeiler: the step is RMS of past steps / RMS of gradients, times g."""

    rho: float = 0.9
    eps: float = 1e-6
    steps: Any = 0.0

    def step(self, g, p):
        self.v = self.rho * self.v + (1 - self.rho) * square(g)
        u = divide(np.sqrt(self.steps + self.eps) * g, np.sqrt(self.v + self.eps))
        self.steps = self.rho * self.steps + (1 - self.rho) * square(u)
        return u


@dataclasses.dataclass
class FactoredRms(Rule):
    """Shazeer and Stern, algorithm 4: g over the root of the product of the means of rows and of columns."""

    factored: bool = True
    decay_rate: float = 0.8
    step_offset: float = 0
    min_dim_size_to_factor: int = 128
    epsilon: float = 1e-30
    max_decay: float = 1.0
    r: Any = 0.0
    c: Any = 0.0

    def step(self, g, p):
        b = min(1 - max(self.t - self.step_offset, 1) ** -self.decay_rate, self.max_decay)
        s = square(g) + self.epsilon
        sizes = sorted(g.shape)[-2:]
        if not self.factored or len(sizes) < 2 or sizes[0] < self.min_dim_size_to_factor:
            self.v = b * self.v + (1 - b) * s
            return divide(g, np.sqrt(self.v))
        second, largest = np.argsort(g.shape, kind="stable")[-2:]
        self.r = b * self.r + (1 - b) * s.mean(axis=largest, keepdims=True)
        self.c = b * self.c + (1 - b) * s.mean(axis=second, keepdims=True)
        return divide(g, np.sqrt(divide(self.r * self.c, self.r.mean(axis=second, keepdims=True))))


# --- layer by layer ---------------------------------------------------------------------------------------------------


def norm(x: Any) -> Any:
    """The Euclidean norm of a whole leaf."""
    return np.sqrt(np.sum(square(x)))


@dataclasses.dataclass
class TrustRatio(Rule):
    """You et al.: u = c phi(|p|) / (n + eps) g, with 1 for the ratio where a norm is zero.

    n = |g|, or where g holds a decay, |g - decay p| + decay |p|.
    """

    min_norm: float = 0.0
    trust_coefficient: float = 1.0
    eps: float = 0.0
    max_norm: float = np.inf
    weight_decay: float = 0.0

    def step(self, g, p):
        length = norm(g - self.weight_decay * p) + self.weight_decay * norm(p)
        size, length = max(norm(p), self.min_norm), max(length, self.min_norm)
        if size == 0 or length == 0:
            return g
        return self.trust_coefficient * min(size, self.max_norm) / (length + self.eps) * g


@dataclasses.dataclass
class Growth(Rule):
    """Bernstein et al.: the parameters after the step, over sqrt(1 + rate^2)."""

    learning_rate: float

    def step(self, g, p):
        growth = np.sqrt(1 + np.longdouble(self.learning_rate) ** 2)
        self.size = np.abs(g) + np.abs(p)
        return ((p + g) / growth - p).astype(g.dtype)


@dataclasses.dataclass
class Novograd(Rule):
    """Ginsburg et al.: m <- b1 m + g / (sqrt(v) + eps) + decay p, with the mean v of |g|^2, which begins at |g_1|^2."""

    b1: float = 0.9
    b2: float = 0.25
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 0.0

    def step(self, g, p):
        square_norm = norm(g) ** 2
        self.v = square_norm if self.t == 1 else self.b2 * self.v + (1 - self.b2) * square_norm
        u = divide(g, np.sqrt(self.v + self.eps_root) + self.eps)
        self.m = self.b1 * self.m + u + self.weight_decay * p
        self.total = self.b1 * self.total + np.abs(u) + self.weight_decay * np.abs(p)
        self.size = self.total
        return self.m


@dataclasses.dataclass
class Rprop(Rule):
    """Igel and Huesken's iRprop-, as in torch: sign(g) times a size that the signs of gradients change."""

    learning_rate: float
    eta_minus: float = 0.5
    eta_plus: float = 1.2
    min_step_size: float = 1e-6
    max_step_size: float = 50.0
    sizes: Any = None
    before: Any = 0.0

    def step(self, g, p):
        parts = np.stack([np.real(g), np.imag(g)])
        self.sizes = np.full(parts.shape, self.learning_rate) if self.sizes is None else self.sizes
        product = np.sign(parts) * np.sign(self.before)
        factor = np.select([product > 0, product < 0], [self.eta_plus, self.eta_minus], 1.0)
        self.sizes = np.clip(self.sizes * factor, self.min_step_size, self.max_step_size)
        self.before = np.where(product < 0, 0, parts)
        real, imag = np.sign(self.before) * self.sizes
        return real + 1j * imag if np.iscomplexobj(g) else real


@dataclasses.dataclass
class Sm3(Rule):
    """Anil et al., SM3-II: g over the root of a sum of squares, bounded by a number for each index of an axis."""

    b1: float | None = 0.9
    b2: float = 1.0
    eps: float = 1e-8
    bounds: Any = (0.0,)

    def step(self, g, p):
        share = 1.0 if self.b2 == 1 else 1 - self.b2
        v = self.b2 * functools.reduce(np.minimum, self.bounds) + share * square(g)
        others = [tuple(k for k in range(g.ndim) if k != axis) for axis in range(g.ndim)]
        self.bounds = [np.max(v, axis=axes, keepdims=True, initial=0) for axes in others] or [v]
        u, b1 = divide(g, np.sqrt(v + self.eps)), self.b1 or 0.0
        self.m = b1 * self.m + (1 - b1) * u
        self.size = self.total = b1 * self.total + (1 - b1) * np.abs(u)
        return self.m


# --- single steps -----------------------------------------------------------------------------------------------------


def clip(g: Any, max_delta: float) -> Any:
    """Each real number into [-max_delta, max_delta]."""
    bounded = np.clip(np.real(g), -max_delta, max_delta)
    return bounded + 1j * np.clip(np.imag(g), -max_delta, max_delta) if np.iscomplexobj(g) else bounded


def clip_by_global_norm(leaves: list[Any], max_norm: float) -> tuple[list[Any], float]:
    """All leaves times min(1, max_norm / norm), and the norm."""
    norm = float(np.sqrt(sum(np.sum(square(g)) for g in leaves)))
    return [g * (max_norm / norm if norm > max_norm else 1.0) for g in leaves], norm


def adaptive_grad_clip(g: Any, p: Any, clipping: float, eps: float = 1e-3) -> Any:
    """Brock et al., equation 3, unit by unit: kernels are [..., in, out], all else is one unit."""

    def clip_unit(g: Any, p: Any) -> Any:
        size = np.sqrt(np.sum(square(g)))
        bound = clipping * max(np.sqrt(np.sum(square(p))), eps)
        return g * (bound / size) if size > bound else g

    if np.ndim(g) < 2:
        return clip_unit(g, p)
    return np.stack([clip_unit(g[..., j], p[..., j]) for j in range(g.shape[-1])], axis=-1)


def clip_by_block_rms(g: Any, threshold: float) -> Any:
    """Shazeer and Stern, section 6: g / max(1, RMS(g) / d)."""
    rms = np.sqrt(np.mean(square(g))) if np.size(g) else 0.0
    return g / max(1.0, rms / threshold)


def private_mean(examples: dict[str, Any], bound: float) -> tuple[dict[str, Any], int]:
    """Abadi et al., algorithm 1 without noise: the mean of the clipped gradients of a batch, and how many were."""
    count = len(next(iter(examples.values())))
    total = {name: np.zeros(g.shape[1:], g.dtype) for name, g in examples.items()}
    outside = 0
    for i in range(count):
        clipped, norm = clip_by_global_norm([g[i] for g in examples.values()], bound)
        outside += norm > bound
        for name, g in zip(total, clipped, strict=True):
            total[name] = total[name] + g
    return {name: g / count for name, g in total.items()}, outside


def centralize(g: Any, output_axes: tuple[int, ...]) -> Any:
    """Yong et al.: each output's slice of the gradient minus the mean of that slice."""
    g = np.array(g)
    outputs = [axis % g.ndim for axis in output_axes]
    for index in np.ndindex(*(g.shape[axis] for axis in outputs)):
        chosen: list[Any] = [slice(None)] * g.ndim
        for axis, place in zip(outputs, index, strict=True):
            chosen[axis] = place
        g[tuple(chosen)] -= g[tuple(chosen)].mean()
    return g


@dataclasses.dataclass
class Centralized(Rule):
    """Another rule, on centralized gradients where there are two axes or more."""

    rule: Rule
    output_axes: tuple[int, ...] = (-1,)
    cancelled: Any = 1.0

    def step(self, g, p):
        u = centralize(g, self.output_axes) if np.ndim(g) > 1 else g
        self.cancelled = np.maximum(self.cancelled, 1 + divide(np.max(np.abs(g), initial=0), np.abs(u)))
        update = self.rule(u, p)
        self.size, self.condition = self.rule.size, self.rule.condition * self.cancelled
        return update


# --- whole optimizers -------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Descent(Rule):
    """p <- p - learning_rate * (u + weight_decay * p), with u of another rule (the gradient itself if none)."""

    learning_rate: float
    rule: Rule | None = None
    weight_decay: float = 0.0

    def step(self, g, p):
        u, size = g, np.abs(g)
        if self.rule is not None:
            u = self.rule(g, p)
            size, self.condition = self.rule.size, self.rule.condition
        self.size = self.learning_rate * (size + self.weight_decay * np.abs(p))
        return -self.learning_rate * (u + self.weight_decay * p)


@dataclasses.dataclass
class Lookahead(Rule):
    """Zhang et al.: every k steps, slow <- slow + alpha (fast - slow) and fast <- slow.

    k and alpha may be functions of the number of steps made before. `momentum` says what becomes of the momentum buffer
    ``m`` of the inner rule's rule at a synchronisation: kept, set to zero, or ("pullback", the authors' code)
    alpha * m + (1 - alpha) * (m at the last synchronisation).
    """

    inner: Descent
    sync_period: Any = 5
    slow_step_size: Any = 0.5
    momentum: str = "keep"
    slow: Any = None
    since: int = 0
    kept: Any = 0.0

    def step(self, g, p):
        k, alpha = (x(self.t - 1) if callable(x) else x for x in (self.sync_period, self.slow_step_size))
        self.slow = p if self.slow is None else self.slow
        fast = p + self.inner(g, p)
        self.size, self.condition = self.inner.size, self.inner.condition
        self.since += 1
        if self.since < k:
            return fast - p
        self.since = 0
        self.slow = self.slow + alpha * (fast - self.slow)
        rule = self.inner.rule
        if rule is not None and self.momentum == "reset":
            rule.m = 0 * rule.m
        if rule is not None and self.momentum == "pullback":
            rule.m = self.kept = alpha * rule.m + (1 - alpha) * self.kept
        return self.slow - p
