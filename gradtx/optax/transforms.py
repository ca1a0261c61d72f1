"""``optax.transforms``: clipping, noise, decay, averages, masks, partitions, conditions, and accumulation."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

import gradtx
from gradtx.combinators import ConditionalState
from gradtx.core import GradientTransformation, as_transformation, increment, zero_count
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.gradients import ApplyEveryState as _ApplyEveryState
from gradtx.gradients import ClipByGlobalNormState as _ClipByGlobalNormState
from gradtx.gradients import (
    SnapshotState,
    ZeroNansState,
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
    snapshot,
)
from gradtx.optax._base import (
    NO_PARAMS_MSG,
    NonNegativeParamsState,
    as_key,
    init_empty_state,
    set_to_zero,
    stateless,
    with_extra_args_support,
)
from gradtx.optax._form import View, apart_from_params, counted, moment_dtype, pair, renamed, unbounded, viewed
from gradtx.optimizers import EmaState, TraceState
from gradtx.tree.arithmetic import cast_like
from gradtx.typing import EmptyState, MaskedNode, Params, State, Updates
from gradtx.wrappers import AccumulateState, skip_not_finite
from gradtx.wrappers import ApplyIfFiniteState as _ApplyIfFiniteState
from gradtx.wrappers.skip import update_unless

# --- clipping ---------------------------------------------------------------------------------------------------------

_NO_NORM = View(lambda _: EmptyState(), lambda _: _ClipByGlobalNormState(jnp.zeros(()), zero_count()))

clip = unbounded(gradtx.clip)
clip_by_block_rms = unbounded(gradtx.clip_by_block_rms)


@unbounded
def clip_by_global_norm(max_norm: Any) -> GradientTransformation:
    """Bound the norm of all updates together; inside a partition, of the group's."""
    return viewed(gradtx.clip_by_global_norm(max_norm, scope="group"), _NO_NORM)


def adaptive_grad_clip(clipping: Any, eps: Any = 1e-3, axis: Any = None) -> GradientTransformation:
    """Bound the norm of each unit by that of its parameters.

    `axis` is summed over: by default all axes of a vector, the first of two or three, all but the last of four or five.
    """

    def leaf(g: Any, p: Any) -> Any:
        bound = clipping * jnp.maximum(unitwise_norm(p, axis), eps)
        return unitwise_clip(unitwise_norm(g, axis), bound, g)

    def update(updates: Updates, state: EmptyState, params: Params | None = None) -> tuple[Updates, EmptyState]:
        _require_params(params)
        return gradtx.tree.map_leaves(leaf, updates, read=(params,)), state

    return pair(init_empty_state, update)


def unitwise_norm(x: jax.Array, axis: Any = None) -> jax.Array:
    """The norm over some axes, of the shape of `x`."""
    if axis is None:
        if jnp.squeeze(x).ndim <= 1:
            axis = tuple(range(jnp.ndim(x)))
        elif jnp.ndim(x) in (2, 3):
            axis = 0
        elif jnp.ndim(x) in (4, 5):
            axis = tuple(range(jnp.ndim(x) - 1))
        else:
            expected = "a leaf with at most five axes, or the axes to sum over"
            raise ArgumentValueError(expected, got=f"shape {list(jnp.shape(x))}", origin="optax.unitwise_norm")
    summed = {a % max(jnp.ndim(x), 1) for a in ((axis,) if isinstance(axis, int) else axis)}
    if len(summed) == jnp.ndim(x):
        return jnp.broadcast_to(gradtx.tree.global_norm(x), jnp.shape(x))
    return gradtx.unitwise_norm(x, output_axis=tuple(a for a in range(jnp.ndim(x)) if a not in summed))


def unitwise_clip(g_norm: jax.Array, max_norm: jax.Array, grad: jax.Array, div_eps: Any = 1e-6) -> jax.Array:
    """The gradient, shortened where its norm exceeds the bound. `div_eps` is not needed, and not used."""
    del div_eps
    return gradtx.unitwise_clip(g_norm, max_norm, grad)


def _require_params(params: Params | None) -> None:
    if params is None:
        raise ValueError(NO_PARAMS_MSG)


# --- noise and decay --------------------------------------------------------------------------------------------------


class WeightDecaySchedule(NamedTuple):
    """The state of a weight decay that follows a schedule: the step."""

    count: Any


_DECAY_COUNT = View(lambda count: WeightDecaySchedule(count), lambda state: state.count)


@unbounded
def add_decayed_weights(weight_decay: Any = 0.0, mask: Any = None) -> GradientTransformation:
    """Add the parameters, times a number or a schedule, to the updates."""
    tx = gradtx.add_decayed_weights(weight_decay)
    if callable(weight_decay):
        tx = counted(tx, _DECAY_COUNT)
    return tx if mask is None else masked(tx, mask)


class AddNoiseState(NamedTuple):
    """The state of `add_noise`: the number of updates, and the key of the next."""

    count: Any
    rng_key: Any


@unbounded
def add_noise(eta: Any, gamma: Any, key: Any = None, *, seed: Any = None) -> GradientTransformation:
    """Add Gaussian noise whose variance is ``eta / t**gamma``, from a key in the state."""
    key = _one_key(key, seed, "add_noise")
    inner = gradtx.add_noise(eta, gamma)

    def init(params: Params) -> AddNoiseState:
        return AddNoiseState(zero_count(), as_key(key))

    def update(updates: Updates, state: AddNoiseState, params: Params | None = None) -> tuple[Updates, AddNoiseState]:
        rng_key, now = jax.random.split(state.rng_key)
        updates, own = inner.update(updates, gradtx.AddNoiseState(state.count), params, key=now)
        return updates, AddNoiseState(own.count, rng_key)

    return pair(init, update)


def _one_key(key: Any, seed: Any, origin: str) -> Any:
    if seed is not None:
        warnings.warn("the argument seed is deprecated: say key", DeprecationWarning, stacklevel=4)
        if key is not None:
            raise ArgumentValueError("a key or a seed", got="both", origin=f"optax.{origin}")
        return seed
    if key is None:
        warnings.warn("without a key, noise is that of key 0", stacklevel=4)
        return 0
    return key


def keep_params_nonnegative() -> GradientTransformation:
    """Bound the updates so that parameters stay at least 0."""
    return gradtx.keep_params_nonnegative()


def zero_nans() -> GradientTransformation:
    """Zeros in place of NaN."""
    return gradtx.zero_nans()


# --- averages ---------------------------------------------------------------------------------------------------------


@unbounded
def trace(decay: Any, nesterov: bool = False, accumulator_dtype: Any = None) -> GradientTransformation:
    """Momentum: a decayed sum of the updates."""
    return gradtx.trace(decay, nesterov, moment_dtype(accumulator_dtype))


@unbounded
def ema(decay: Any, debias: bool = True, accumulator_dtype: Any = None) -> GradientTransformation:
    """An exponential moving average of the updates."""
    return gradtx.ema(decay, debias, moment_dtype(accumulator_dtype))


class ApplyEvery(NamedTuple):
    """The state of `apply_every`."""

    count: Any
    grad_acc: Updates


_APPLY_EVERY = renamed(_ApplyEveryState, ApplyEvery, {})


@unbounded
def apply_every(k: Any = 1) -> GradientTransformation:
    """Sum updates, and let the sum out at every k-th."""
    return viewed(gradtx.apply_every(k), _APPLY_EVERY)


class MonitorState(NamedTuple):
    """The state of `monitor`: what was measured, and the states of the measures."""

    measurements: dict[str, Any]
    measure_states: tuple[State, ...]


def monitor(measures: Mapping[str, Any]) -> GradientTransformation:
    """Keep measurements of the updates in the state.

    Args:
      measures: by name, functions of the updates, or transformations whose outgoing updates are the measurement.
    """
    known = {
        name: stateless(lambda updates, _, f=measure: f(updates)) if callable(measure) else as_transformation(measure)
        for name, measure in measures.items()
    }

    def init(params: Params) -> MonitorState:
        return MonitorState({}, tuple(tx.init(params) for tx in known.values()))

    def update(
        updates: Updates, state: MonitorState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, MonitorState]:
        made = [
            tx.update(updates, s, params, **extra) for tx, s in zip(known.values(), state.measure_states, strict=True)
        ]
        measured = {name: x for name, (x, _) in zip(known, made, strict=True)}
        return updates, MonitorState(measured, tuple(s for _, s in made))

    return pair(init, update)


def measure_with_ema(
    measure: Callable[[Updates], Any], decay: Any, debias: bool = True, accumulator_dtype: Any = None
) -> GradientTransformation:
    """The average of a measurement, as an entry of `monitor`."""
    average = ema(decay, debias, accumulator_dtype)
    of_measured = pair(lambda params: average.init(measure(params)), average.update)
    return chain(stateless(lambda updates, _: measure(updates)), of_measured)


# --- one after another, masks and partitions --------------------------------------------------------------------------


def chain(*args: Any) -> GradientTransformation:
    """Transformations one after another; the state is a tuple of theirs."""
    return gradtx.chain(*args)


_ORDERED = View(OrderedDict, dict)


def named_chain(*args: tuple[str, Any]) -> GradientTransformation:
    """A `chain` whose members have names; the state is an `OrderedDict` of theirs."""
    return viewed(gradtx.named_chain(*args), _ORDERED)


MaskedState = gradtx.MaskedState


def masked(inner: Any, mask: Any, *, mask_compatible_extra_args: bool = False) -> GradientTransformation:
    """Apply a transformation to some leaves; the updates of others stay as they are.

    Args:
      inner: the transformation.
      mask: a tree (or prefix) of booleans, or a function of the tree that returns one.
      mask_compatible_extra_args: whether extras with the structure of the updates are masked too.
    """
    tx = as_transformation(inner, "inner to be a transformation")
    made = gradtx.masked(_with_masked_extras(tx) if mask_compatible_extra_args else tx, mask)
    return apart_from_params(made, lambda params: MaskedState(tx.init(params)))


def _with_masked_extras(tx: GradientTransformation) -> GradientTransformation:
    """The transformation, with extras masked as its updates are."""

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        structure: Any = jax.tree.structure(updates, is_leaf=_is_masked)

        def like_updates(x: Any) -> Any:
            if jax.tree.structure(x) != structure:
                return x
            return jax.tree.map(lambda u, y: u if _is_masked(u) else y, updates, x, is_leaf=_is_masked)

        return tx.update(updates, state, params, **{name: like_updates(x) for name, x in extra.items()})

    return pair(tx.init, update)


def _is_masked(node: Any) -> bool:
    return isinstance(node, MaskedNode)


PartitionState = gradtx.PartitionState
MultiTransformState = PartitionState

_MASKED_GROUPS = View(
    lambda state: PartitionState({k: MaskedState(s) for k, s in state.inner_states.items()}),
    lambda state: PartitionState({k: s.inner_state for k, s in state.inner_states.items()}),
)


def partition(
    transforms: Mapping[Hashable, Any], param_labels: Any, *, mask_compatible_extra_args: bool = False
) -> GradientTransformation:
    """Apply to each leaf the transformation of its label.

    Args:
      transforms: transformations by label.
      param_labels: a tree (or prefix) of labels, or a function of the tree that returns one.
      mask_compatible_extra_args: whether extras with the structure of the updates are masked too.
    """
    members = {k: as_transformation(tx) for k, tx in transforms.items()}
    if mask_compatible_extra_args:
        members = {k: _with_masked_extras(tx) for k, tx in members.items()}
    # A function, so that wrong labels are an error of `init`, as in Optax.
    labels = param_labels if callable(param_labels) else lambda _: param_labels
    made = viewed(gradtx.partition(members, labels), _MASKED_GROUPS)

    def init_of_placeholder(params: Params) -> PartitionState:
        return PartitionState({k: MaskedState(tx.init(params)) for k, tx in members.items()})

    return apart_from_params(made, init_of_placeholder)


multi_transform = partition


def freeze(mask: Any) -> GradientTransformation:
    """Updates of zero where the mask is True."""
    return masked(set_to_zero(), mask)


def selective_transform(optimizer: Any, *, freeze_mask: Any) -> GradientTransformation:
    """Apply a transformation where the mask is False, and freeze the other leaves."""

    def labels(params: Params) -> Any:
        chosen = freeze_mask(params) if callable(freeze_mask) else freeze_mask
        return jax.tree.map(lambda frozen: "freeze" if frozen else "train", chosen)

    return partition({"train": optimizer, "freeze": set_to_zero()}, labels)


def flatten(inner: Any) -> GradientTransformation:
    """Apply a transformation to all leaves as one vector; here, one for each dtype."""
    return gradtx.flatten(inner)


# --- conditions -------------------------------------------------------------------------------------------------------


class ConditionFn(Protocol):
    """``should_transform_fn(step, **extra_args) -> bool``."""

    def __call__(self, step: Any, **extra_args: Any) -> Any:
        """Whether the transformation is applied."""


class ConditionallyTransformState(NamedTuple):
    """The state of `conditionally_transform`."""

    inner_state: State
    step: Any


class ConditionallyMaskState(NamedTuple):
    """The state of `conditionally_mask`."""

    step: Any
    inner_state: State


_TRANSFORM = renamed(ConditionalState, ConditionallyTransformState, {})
_MASK = renamed(ConditionalState, ConditionallyMaskState, {})


def _condition(function: Callable[..., Any], forward_extra_args: bool) -> Callable[..., Any]:
    return (lambda step, **extra: function(step, **extra)) if forward_extra_args else lambda step: function(step)


def conditionally_transform(
    inner: Any, should_transform_fn: Callable[..., Any], forward_extra_args: bool = False
) -> GradientTransformation:
    """Apply a transformation at some steps; at others, updates stay as they are."""
    condition = _condition(should_transform_fn, forward_extra_args)
    return viewed(gradtx.conditionally_transform(inner, condition), _TRANSFORM)


def conditionally_mask(
    inner: Any, should_transform_fn: Callable[..., Any], forward_extra_args: bool = False
) -> GradientTransformation:
    """Apply a transformation at some steps; at others, updates are zero."""
    return viewed(gradtx.conditionally_mask(inner, _condition(should_transform_fn, forward_extra_args)), _MASK)


class ApplyIfFiniteState(NamedTuple):
    """The state of `apply_if_finite`.

    Attributes:
      notfinite_count: steps in a row that were not finite.
      last_finite: whether the last was.
      total_notfinite: steps that were not.
      inner_state: the state of the transformation.
    """

    notfinite_count: Any
    last_finite: Any
    total_notfinite: Any
    inner_state: State


@unbounded
def apply_if_finite(inner: Any, max_consecutive_errors: Any) -> GradientTransformation:
    """Skip steps whose gradients, or whose result, are not finite, up to so many in a row."""
    guard = gradtx.apply_if_finite(inner, max_consecutive_errors)

    def init(params: Params) -> ApplyIfFiniteState:
        state = guard.init(params)
        return ApplyIfFiniteState(state.consecutive, state.last_finite, state.skipped, state.inner_state)

    def update(
        updates: Updates, state: ApplyIfFiniteState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, ApplyIfFiniteState]:
        own = _ApplyIfFiniteState(state.notfinite_count, state.total_notfinite, state.last_finite, state.inner_state)
        updates, own = guard.update(updates, own, params, **extra)
        # gradtx counts the steps that were skipped; Optax those past the limit too.
        total = jnp.where(own.last_finite, state.total_notfinite, increment(state.total_notfinite))
        return updates, ApplyIfFiniteState(own.consecutive, own.last_finite, total, own.inner_state)

    return pair(init, update)


# --- accumulation -----------------------------------------------------------------------------------------------------


class ShouldSkipUpdateFunction(Protocol):
    """``should_skip_update_fn(updates, gradient_step, params) -> (bool, state)``."""

    def __call__(self, updates: Updates, gradient_step: Any, params: Params | None) -> tuple[Any, Any]:
        """Whether these updates are left out, and what is kept of the decision."""


def skip_large_updates(
    updates: Updates, gradient_step: Any, params: Params | None, max_squared_norm: float
) -> tuple[Any, Any]:
    """Whether the squared norm of the updates is not below a bound: a `ShouldSkipUpdateFunction`."""
    del gradient_step, params
    squared = gradtx.tree.squared_norm(updates)
    skip = ~(squared < max_squared_norm)
    return skip, {"should_skip": skip, "norm_squared": squared}


class MultiStepsState(NamedTuple):
    """The state of `MultiSteps`.

    Attributes:
      mini_step: gradients in the sum.
      gradient_step: updates made.
      inner_opt_state: the state of the optimizer.
      acc_grads: the sum of the gradients; Optax keeps their mean.
      skip_state: what `should_skip_update_fn` returned.
    """

    mini_step: Any
    gradient_step: Any
    inner_opt_state: State
    acc_grads: Updates
    skip_state: Any = ()


class MultiSteps:
    """Average gradients over some calls, and make one update of them: `gradtx.accumulate` with Optax's interface."""

    def __init__(
        self,
        opt: Any,
        every_k_schedule: int | Callable[[Any], Any],
        use_grad_mean: bool = True,
        should_skip_update_fn: Callable[..., tuple[Any, Any]] | None = None,
        accumulator_dtype: Any = jnp.float32,
    ) -> None:
        self._opt = with_extra_args_support(opt)
        self._every_k_schedule = every_k_schedule if callable(every_k_schedule) else lambda _: every_k_schedule
        self._use_grad_mean = use_grad_mean
        self._should_skip_update_fn = should_skip_update_fn or (lambda *_: (jnp.zeros((), bool), ()))
        # Float32 is what it is anyway, but for params in float64, whose sums would lose digits in it.
        asked = None if accumulator_dtype is None else jnp.dtype(accumulator_dtype)
        self._accumulator_dtype = None if asked == jnp.float32 else asked

    @property
    def inner_opt(self) -> GradientTransformation:
        """The optimizer."""
        return self._opt

    def init(self, params: Params) -> MultiStepsState:
        """The state before any gradient."""
        own = self._accumulating(1).init(params)
        if self._accumulator_dtype is not None:
            own = own._replace(acc_grads=gradtx.tree.zeros_accumulator(params, dtype=self._accumulator_dtype))
        _, skip_state = self._should_skip_update_fn(gradtx.tree.zeros_like(params), own.gradient_step, params)
        return self._shown(own, skip_state)

    def update(
        self, updates: Updates, state: MultiStepsState, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, MultiStepsState]:
        """Updates of zero, or at every k-th call those of the optimizer."""
        every = self._every_k_schedule(state.gradient_step)
        skip, skip_state = self._should_skip_update_fn(updates, state.gradient_step, params)
        if jnp.shape(skip) or jnp.result_type(skip) != jnp.bool_:
            got = f"{jnp.result_type(skip)}{list(jnp.shape(skip))}"
            raise ArgumentTypeError("should_skip_update_fn to return a single boolean", got=got)

        def run() -> tuple[Updates, MultiStepsState]:
            own = AccumulateState(state.mini_step, state.gradient_step, state.acc_grads, state.inner_opt_state)
            changed, own = self._accumulating(every).update(updates, own, params, **extra_args)
            return cast_like(changed, updates), self._shown(own, ())

        def zeros() -> Updates:
            return gradtx.tree.zeros_like(updates)

        changed, state = update_unless(skip, run, zeros, state._replace(skip_state=()))
        return changed, state._replace(skip_state=skip_state)

    def has_updated(self, state: MultiStepsState) -> jax.Array:
        """Whether the last call made an update."""
        return jnp.logical_and(state.mini_step == 0, state.gradient_step > 0)

    def gradient_transformation(self) -> GradientTransformation:
        """The same as a transformation."""
        return pair(self.init, self.update)

    @unbounded
    def _accumulating(self, every: Any) -> GradientTransformation:
        def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
            whole = jax.tree.map(lambda g: (g * every).astype(g.dtype), updates)
            return self._opt.update(whole, state, params, **extra)

        inner = self._opt if self._use_grad_mean else pair(self._opt.init, update)
        return gradtx.accumulate(inner, every)

    def _shown(self, own: AccumulateState, skip_state: Any) -> MultiStepsState:
        return MultiStepsState(own.mini_step, own.gradient_step, own.inner_state, own.acc_grads, skip_state)


__all__ = [
    "AddNoiseState",
    "ApplyIfFiniteState",
    "ConditionFn",
    "ConditionallyMaskState",
    "ConditionallyTransformState",
    "EmaState",
    "MaskedNode",
    "MaskedState",
    "MonitorState",
    "MultiSteps",
    "MultiStepsState",
    "NonNegativeParamsState",
    "PartitionState",
    "ShouldSkipUpdateFunction",
    "SnapshotState",
    "TraceState",
    "ZeroNansState",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_noise",
    "apply_if_finite",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "conditionally_mask",
    "conditionally_transform",
    "ema",
    "flatten",
    "freeze",
    "keep_params_nonnegative",
    "masked",
    "measure_with_ema",
    "monitor",
    "named_chain",
    "partition",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "selective_transform",
    "skip_large_updates",
    "skip_not_finite",
    "snapshot",
    "trace",
    "unitwise_clip",
    "unitwise_norm",
    "zero_nans",
]
