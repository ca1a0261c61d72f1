"""``optax.scale_by_*``: gradtx's, their states by Optax's names."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

import gradtx
from gradtx.core import GradientTransformation, moving_average, zero_count
from gradtx.core import Schedule as _Schedule
from gradtx.errors import ArgumentValueError
from gradtx.optax._base import ScalarOrSchedule, Schedule, identity
from gradtx.optax._form import View, counted, moment_dtype, pair, renamed, unbounded, viewed
from gradtx.typing import EmptyState, Updates

ScaleByAdamState = gradtx.ScaleByAdamState
ScaleByAdaDeltaState = gradtx.ScaleByAdaDeltaState
ScaleByAmsgradState = gradtx.ScaleByAmsgradState
ScaleByNovogradState = gradtx.ScaleByNovogradState
ScaleByRpropState = gradtx.ScaleByRpropState
ScaleByRssState = gradtx.ScaleByRssState
FactoredState = gradtx.FactoredState

scale = unbounded(gradtx.scale)
scale_by_adadelta = unbounded(gradtx.scale_by_adadelta)
scale_by_novograd = unbounded(gradtx.scale_by_novograd)
scale_by_param_block_norm = unbounded(gradtx.scale_by_param_block_norm)
scale_by_param_block_rms = unbounded(gradtx.scale_by_param_block_rms)
scale_by_rprop = unbounded(gradtx.scale_by_rprop)
scale_by_sign = unbounded(gradtx.scale_by_sign)
normalize_by_update_norm = unbounded(gradtx.normalize_by_update_norm)


@unbounded
def scale_by_adam(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam's direction."""
    return gradtx.scale_by_adam(b1, b2, eps, eps_root, moment_dtype(mu_dtype), nesterov=nesterov)


@unbounded
def scale_by_yogi(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3, eps_root: Any = 0.0, initial_accumulator_value: Any = 1e-6
) -> GradientTransformation:
    """Yogi's direction."""
    return gradtx.scale_by_yogi(b1, b2, eps, eps_root, initial_accumulator_value)


@unbounded
def scale_by_radam(
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    threshold: Any = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """RAdam's direction."""
    return gradtx.scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)


@unbounded
def scale_by_rss(initial_accumulator_value: Any = 0.1, eps: Any = 1e-7) -> GradientTransformation:
    """AdaGrad's direction."""
    return gradtx.scale_by_rss(initial_accumulator_value, eps)


@unbounded
def scale_by_trust_ratio(min_norm: Any = 0.0, trust_coefficient: Any = 1.0, eps: Any = 0.0) -> GradientTransformation:
    """Scale each leaf by the ratio of the norms of its parameters and of its update."""
    return gradtx.scale_by_trust_ratio(min_norm, trust_coefficient, eps)


def centralize() -> GradientTransformation:
    """Subtract from each leaf its mean over all axes but the first."""
    return gradtx.centralize(output_axis=0)


# --- rates ------------------------------------------------------------------------------------------------------------


class ScaleByScheduleState(NamedTuple):
    """The state of `scale_by_schedule`: the step."""

    count: Any


_COUNT = View(lambda count: ScaleByScheduleState(count), lambda state: state.count)


def _following(tx: GradientTransformation, schedule: Any) -> GradientTransformation:
    """The transformation, whose state is the step unless the schedule observes something."""
    return tx if isinstance(schedule, _Schedule) and schedule.stateful else counted(tx, _COUNT)


@unbounded
def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """Scale updates by a function of the step."""
    return _following(gradtx.scale_by_schedule(step_size_fn), step_size_fn)


@unbounded
def scale_by_learning_rate(
    learning_rate: ScalarOrSchedule | None = None, *, flip_sign: bool = True
) -> GradientTransformation:
    """Scale updates by minus a number or a schedule; None leaves them as they are."""
    if learning_rate is None:
        return identity()
    tx = gradtx.scale_by_learning_rate(learning_rate, flip_sign=flip_sign)
    return _following(tx, learning_rate) if callable(learning_rate) else tx


# --- states of other names --------------------------------------------------------------------------------------------

_ADAMAX = renamed(gradtx.ScaleByAdamaxState, ScaleByAdamState, {})


@unbounded
def scale_by_adamax(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> GradientTransformation:
    """AdaMax's direction."""
    return viewed(gradtx.scale_by_adamax(b1, b2, eps), _ADAMAX)


class ScaleByBeliefState(NamedTuple):
    """The state of `scale_by_belief`."""

    count: Any
    mu: Updates
    nu: Updates


_BELIEF = renamed(ScaleByAdamState, ScaleByBeliefState, {})


@unbounded
def scale_by_belief(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16, *, nesterov: bool = False
) -> GradientTransformation:
    """AdaBelief's direction."""
    return viewed(gradtx.scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), _BELIEF)


_CONVENTIONS: dict[tuple[bool, bool], Any] = {(True, True): "before_max", (False, False): "none"}
"""By Optax's two flags, what gradtx calls the bias correction of AMSGrad."""


@unbounded
def scale_by_amsgrad(
    b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None,
    bias_correction_mu: bool = True, bias_correction_nu: bool = True,
) -> GradientTransformation:  # fmt: skip
    """AMSGrad's direction."""
    convention = _CONVENTIONS.get((bool(bias_correction_mu), bool(bias_correction_nu)))
    if convention is None:
        got = f"{bias_correction_mu} and {bias_correction_nu}"
        raise ArgumentValueError("both bias corrections or neither", got=got, origin="optax.scale_by_amsgrad")
    return gradtx.scale_by_amsgrad(b1, b2, eps, eps_root, moment_dtype(mu_dtype), bias_correction=convention)


class ScaleByRmsState(NamedTuple):
    """The state of `scale_by_rms`."""

    nu: Updates


class ScaleByRmsWithCountState(NamedTuple):
    """The state of `scale_by_rms` with a bias correction."""

    count: Any
    nu: Updates


class ScaleByRStdDevState(NamedTuple):
    """The state of `scale_by_stddev`."""

    mu: Updates
    nu: Updates


class ScaleByRStdDevWithCountState(NamedTuple):
    """The state of `scale_by_stddev` with a bias correction."""

    count: Any
    mu: Updates
    nu: Updates


def _uncounted(ours: type, theirs: type) -> View:
    view = renamed(ours, theirs, {})
    # Without a bias correction nothing looks at the counter.
    return View(view.to, lambda state: ours(count=zero_count(), **state._asdict()))


_RMS = _uncounted(gradtx.ScaleByRmsState, ScaleByRmsState)
_RMS_COUNTED = renamed(gradtx.ScaleByRmsState, ScaleByRmsWithCountState, {})
_STDDEV = _uncounted(gradtx.ScaleByStddevState, ScaleByRStdDevState)
_STDDEV_COUNTED = renamed(gradtx.ScaleByStddevState, ScaleByRStdDevWithCountState, {})


@unbounded
def scale_by_rms(
    decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0, eps_in_sqrt: bool = True, bias_correction: bool = False
) -> GradientTransformation:
    """RMSProp's direction."""
    tx = gradtx.scale_by_rms(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    return viewed(tx, _RMS_COUNTED if bias_correction else _RMS)


@unbounded
def scale_by_stddev(
    decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0, eps_in_sqrt: bool = True, bias_correction: bool = False
) -> GradientTransformation:
    """Centered RMSProp's direction."""
    tx = gradtx.scale_by_stddev(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    return viewed(tx, _STDDEV_COUNTED if bias_correction else _STDDEV)


class ScaleByLionState(NamedTuple):
    """The state of `scale_by_lion`; of gradtx's it is the moment alone."""

    count: Any
    mu: Updates


_LION = renamed(gradtx.ScaleByLionState, ScaleByLionState, {}, counter="count")


@unbounded
def scale_by_lion(
    b1: Any = 0.9, b2: Any = 0.99, mu_dtype: Any = None, *, mode: str = "hard", smooth_beta: Any = 1.0
) -> GradientTransformation:
    """Lion's direction, the sign of an average; or a smooth or a clipped one in place of the sign.

    Args:
      b1: the decay of the average whose sign is taken.
      b2: the decay of the average that is kept.
      mu_dtype: the dtype of the latter.
      mode: ``"hard"``, the sign; ``"smooth"``, the hyperbolic tangent; ``"refined"``, the sign only beyond 1.
      smooth_beta: the factor in the hyperbolic tangent.
    """
    tx = viewed(gradtx.scale_by_lion(b1, b2, moment_dtype(mu_dtype)), _LION)
    if mode == "hard":
        return tx
    if mode not in ("smooth", "refined"):
        raise ArgumentValueError("mode to be one of 'hard', 'smooth', 'refined'", got=repr(mode))

    def leaf(g: Any, m: Any) -> Any:
        x = moving_average(b1, m, g)
        return jnp.tanh(smooth_beta * x) if mode == "smooth" else jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))

    def update(updates: Updates, state: ScaleByLionState, params: Any = None) -> tuple[Updates, ScaleByLionState]:
        _, after = tx.update(updates, state)
        return gradtx.tree.map_leaves(leaf, updates, read=(state.mu,)), after

    return pair(tx.init, update)


class ScaleByAdanState(NamedTuple):
    """The state of `scale_by_adan`: moments of gradients, of their differences, and of both; the last gradient."""

    m: Updates
    v: Updates
    n: Updates
    g: Updates
    t: Any


_ADAN = renamed(
    gradtx.ScaleByAdanState, ScaleByAdanState, {"m": "mu", "v": "delta", "n": "nu", "g": "previous", "t": "count"}
)


@unbounded
def scale_by_adan(
    b1: Any = 0.98, b2: Any = 0.92, b3: Any = 0.99, eps: Any = 1e-8, eps_root: Any = 0.0
) -> GradientTransformation:
    """Adan's direction."""
    return viewed(gradtx.scale_by_adan(b1, b2, b3, eps, eps_root), _ADAN)


class ScaleBySM3State(NamedTuple):
    """The state of `scale_by_sm3`: accumulators by axis, and the momentum."""

    mu: Updates
    nu: Updates


_SM3 = renamed(gradtx.ScaleBySM3State, ScaleBySM3State, {"mu": "accumulators", "nu": "mu"})


@unbounded
def scale_by_sm3(b1: Any = 0.9, b2: Any = 1.0, eps: Any = 1e-8) -> GradientTransformation:
    """SM3's direction."""
    return viewed(gradtx.scale_by_sm3(b1, b2, eps), _SM3)


class ScaleByOptimisticGradientState(NamedTuple):
    """The state of `scale_by_optimistic_gradient`."""

    is_initial_step: Any
    previous_gradient: Updates


_OPTIMISTIC = View(
    lambda state: ScaleByOptimisticGradientState(state.count == 0, state.trace),
    lambda state: gradtx.ScaleByOptimisticGradientState(
        jnp.where(state.is_initial_step, 0, 1).astype(jnp.int32), state.previous_gradient
    ),
)


@unbounded
def scale_by_optimistic_gradient(alpha: Any = 1.0, beta: Any = 1.0) -> GradientTransformation:
    """The gradient, and once more its difference from the last."""
    return viewed(gradtx.scale_by_optimistic_gradient(alpha, beta), _OPTIMISTIC)


_POLYAK = View(lambda _: EmptyState(), lambda _: gradtx.ScaleByPolyakState(jnp.zeros(())))


@unbounded
def scale_by_polyak(
    f_min: Any = 0.0, max_learning_rate: Any = 1.0, eps: Any = 0.0, variant: Any = "sps"
) -> GradientTransformation:
    """Polyak's step size."""
    return viewed(gradtx.scale_by_polyak(f_min, max_learning_rate, eps, variant), _POLYAK)


@unbounded
def scale_by_distance_over_gradients(
    reps_rel: Any = 1e-6, eps: Any = 1e-8, param_dtype: Any = jnp.float32, global_scale: Any = 1.0
) -> GradientTransformation:
    """Distance over gradients, leaf by leaf."""
    return gradtx.scale_by_distance_over_gradients(reps_rel, eps, param_dtype, global_scale)


def _power(step: Any, exponent: Any) -> Any:
    return 1.0 - (step + 1.0) ** -exponent


@unbounded
def scale_by_factored_rms(
    factored: bool = True, decay_rate: Any = 0.8, step_offset: Any = 0, min_dim_size_to_factor: int = 128,
    epsilon: Any = 1e-30, decay_rate_fn: Callable[[Any, Any], Any] = _power,
) -> GradientTransformation:  # fmt: skip
    """Adafactor's direction; `decay_rate_fn` is the power of the step."""
    if decay_rate_fn is not _power:
        raise ArgumentValueError("the default decay_rate_fn", got=repr(decay_rate_fn), origin="scale_by_factored_rms")
    return gradtx.scale_by_factored_rms(factored, decay_rate, step_offset, min_dim_size_to_factor, epsilon)
