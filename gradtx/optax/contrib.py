"""``optax.contrib``: contributed optimizers and wrappers."""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from gradtx.core import GradientTransformation, as_transformation, increment, zero_count
from gradtx.errors import ArgumentValueError, require_extra
from gradtx.optax._aliases import adamw, sgd
from gradtx.optax._base import ScalarOrSchedule, as_key, identity, init_empty_state
from gradtx.optax._form import View, moment_dtype, pair, renamed, unbounded, viewed
from gradtx.optax._scaling import ScaleByBeliefState, scale_by_adam, scale_by_learning_rate, scale_by_rms
from gradtx.optax.transforms import _one_key, add_decayed_weights, chain, partition, trace
from gradtx.optimizers import MadgradState
from gradtx.optimizers.matrix.orthogonalization import coefficients
from gradtx.schedules import PlateauState
from gradtx.storage import apply_updates
from gradtx.tree.fields import map_nodes, one_level
from gradtx.typing import EmptyState, MaskedNode, Params, State, Updates
from gradtx.wrappers import AverageIteratesState, SplitRealAndImaginaryState

# The package has a function of the same name.
_galore = importlib.import_module("gradtx.optimizers.matrix.galore")

NormalizeState = EmptyState
normalize = unbounded(gradtx.normalize)
madgrad = unbounded(gradtx.madgrad)
scale_by_madgrad = unbounded(gradtx.scale_by_madgrad)
split_real_and_imaginary = gradtx.split_real_and_imaginary

# --- Adam's kin -------------------------------------------------------------------------------------------------------

_BELIEF = renamed(gradtx.ScaleByAdamState, ScaleByBeliefState, {})


@unbounded
def scale_by_acprop(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16) -> GradientTransformation:
    """ACProp's direction."""
    return viewed(gradtx.scale_by_acprop(b1, b2, eps, eps_root), _BELIEF)


def acprop(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16,
    weight_decay: Any = 0.0, mask: Any = None,
) -> GradientTransformation:  # fmt: skip
    """ACProp."""
    direction = scale_by_acprop(b1, b2, eps, eps_root)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


class ScaleByAdemamixState(NamedTuple):
    """The state of `scale_by_ademamix`; both counters are one in gradtx."""

    count: Any
    count_m2: Any
    m1: Updates
    m2: Updates
    nu: Updates


_ADEMAMIX = View(
    lambda state: ScaleByAdemamixState(state.count, state.count, state.m1, state.m2, state.nu),
    lambda state: gradtx.ScaleByAdemamixState(state.count, state.m1, state.m2, state.nu),
)


@unbounded
def scale_by_ademamix(
    b1: Any = 0.9, b2: Any = 0.999, b3: ScalarOrSchedule = 0.9999, alpha: ScalarOrSchedule = 6.0, eps: Any = 1e-8,
    eps_root: Any = 0.0, mu_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """AdEMAMix's direction."""
    return viewed(gradtx.scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, moment_dtype(mu_dtype)), _ADEMAMIX)


def ademamix(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0, eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None,
    weight_decay: Any = 0.0, mask: Any = None,
) -> GradientTransformation:  # fmt: skip
    """AdEMAMix."""
    direction = scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


class ScaleBySimplifiedAdEMAMixState(NamedTuple):
    """The state of `scale_by_simplified_ademamix`."""

    t: Any
    m: Updates
    n: Updates


_SIMPLIFIED = renamed(gradtx.ScaleByAdamState, ScaleBySimplifiedAdEMAMixState, {"t": "count", "m": "mu", "n": "nu"})


@unbounded
def scale_by_simplified_ademamix(
    b1: Any = 0.99, b2: Any = 0.95, alpha: Any = 0.0, eps: Any = 1e-8, eps_root: Any = 0.0
) -> GradientTransformation:
    """The direction of Simplified AdEMAMix."""
    return viewed(gradtx.scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root), _SIMPLIFIED)


def simplified_ademamix(
    learning_rate: ScalarOrSchedule, b1: Any = 0.99, b2: Any = 0.95, alpha: Any = 0.0, eps: Any = 1e-8,
    eps_root: Any = 0.0, weight_decay: Any = 0.0, mask: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Simplified AdEMAMix."""
    direction = scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


def _fourth_root(count: Any) -> Any:
    return count**0.25


@unbounded
def scale_by_adopt(
    b1: Any = 0.9, b2: Any = 0.9999, eps: Any = 1e-6, mu_dtype: Any = None, *, nesterov: bool = False,
    use_clipping: bool = True, clip_value_fn: Callable[[Any], Any] = _fourth_root,
) -> GradientTransformation:  # fmt: skip
    """ADOPT's direction."""
    bound = None if clip_value_fn is _fourth_root else clip_value_fn
    return gradtx.scale_by_adopt(
        b1, b2, eps, moment_dtype(mu_dtype), nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=bound
    )


def adopt(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.9999, eps: Any = 1e-6, mu_dtype: Any = None, *,
    nesterov: bool = False, use_clipping: bool = True, clip_value_fn: Callable[[Any], Any] = _fourth_root,
) -> GradientTransformation:  # fmt: skip
    """ADOPT."""
    direction = scale_by_adopt(
        b1, b2, eps, mu_dtype, nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=clip_value_fn
    )
    return chain(direction, scale_by_learning_rate(learning_rate))


# --- without a learning rate ------------------------------------------------------------------------------------------


class COCOBState(NamedTuple):
    """The state of `scale_by_cocob`."""

    init_particles: Params
    cumulative_gradients: Updates
    scale: Updates
    subgradients: Updates
    reward: Updates


_COCOB = renamed(
    gradtx.ScaleByCocobState,
    COCOBState,
    {"init_particles": "init_params", "cumulative_gradients": "theta", "subgradients": "grad_sum"},
)


@unbounded
def scale_by_cocob(alpha: Any = 100.0, eps: Any = 1e-8) -> GradientTransformation:
    """COCOB's direction."""
    return viewed(gradtx.scale_by_cocob(alpha, eps), _COCOB)


def cocob(
    learning_rate: ScalarOrSchedule = 1.0, alpha: Any = 100.0, eps: Any = 1e-8, weight_decay: Any = 0.0,
    mask: Any = None,
) -> GradientTransformation:  # fmt: skip
    """COCOB."""
    decay = add_decayed_weights(weight_decay, mask)
    return chain(decay, scale_by_learning_rate(learning_rate, flip_sign=False), scale_by_cocob(alpha, eps))


def _first_of_two(ours: type, theirs: type, names: dict[str, str]) -> View:
    """The state of an optimizer that is two members here and one in Optax: the second remembers nothing."""
    view = renamed(ours, theirs, names)
    return View(lambda state: view.to(state[0]), lambda state: (view.back(state), EmptyState()))


_MOMENTS = {"exp_avg": "mu", "exp_avg_sq": "nu"}


class DAdaptAdamWState(NamedTuple):
    """The state of `dadapt_adamw`."""

    exp_avg: Updates
    exp_avg_sq: Updates
    grad_sum: Updates
    estim_lr: Any
    numerator_weighted: Any
    count: Any


_DADAPT = _first_of_two(gradtx.ScaleByDadaptAdamState, DAdaptAdamWState, _MOMENTS)


@unbounded
def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0, betas: Any = (0.9, 0.999), eps: Any = 1e-8, estim_lr0: Any = 1e-6,
    weight_decay: Any = 0.0,
) -> GradientTransformation:  # fmt: skip
    """D-Adaptation of AdamW."""
    return viewed(gradtx.dadapt_adamw(learning_rate, betas, eps, estim_lr0, weight_decay), _DADAPT)


class ProdigyState(NamedTuple):
    """The state of `prodigy`: Optax's fields, and the largest estimate so far."""

    exp_avg: Updates
    exp_avg_sq: Updates
    grad_sum: Updates
    params0: Params
    estim_lr: Any
    numerator_weighted: Any
    count: Any
    estim_lr_max: Any


_PRODIGY = _first_of_two(gradtx.ScaleByProdigyState, ProdigyState, _MOMENTS)


@unbounded
def prodigy(
    learning_rate: ScalarOrSchedule = 1.0, betas: Any = (0.9, 0.999), beta3: Any = None, eps: Any = 1e-8,
    estim_lr0: Any = 1e-6, estim_lr_coef: Any = 1.0, weight_decay: Any = 0.0, safeguard_warmup: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Prodigy."""
    tx = gradtx.prodigy(learning_rate, betas, beta3, eps, estim_lr0, estim_lr_coef, weight_decay, safeguard_warmup)
    return viewed(tx, _PRODIGY)


DoGState = gradtx.ScaleByDogState
DoWGState = gradtx.ScaleByDowgState


@unbounded
def dog(
    learning_rate: ScalarOrSchedule = 1.0, init_step: Any = ("heuristic", 1e-6), eps: Any = 1e-8,
    weight_decay: Any = None, mask: Any = None,
) -> GradientTransformation:  # fmt: skip
    """DoG."""
    return gradtx.dog(learning_rate, init_step, eps, weight_decay, mask)


@unbounded
def dowg(
    learning_rate: ScalarOrSchedule = 1.0, init_estim_sq_dist: Any = None, eps: Any = 1e-4,
    weight_decay: Any = None, mask: Any = None,
) -> GradientTransformation:  # fmt: skip
    """DoWG."""
    return gradtx.dowg(learning_rate, init_estim_sq_dist, eps, weight_decay, mask)


class MomoState(NamedTuple):
    """The state of `momo`."""

    exp_avg: Updates
    barf: Any
    gamma: Any
    lb: Any
    count: Any


class MomoAdamState(NamedTuple):
    """The state of `momo_adam`."""

    exp_avg: Updates
    exp_avg_sq: Updates
    barf: Any
    gamma: Any
    lb: Any
    count: Any


_AVERAGES = _MOMENTS | {"barf": "mean_value", "gamma": "mean_product", "lb": "lower_bound"}
_MOMO = _first_of_two(gradtx.ScaleByMomoState, MomoState, _AVERAGES)
_MOMO_ADAM = _first_of_two(gradtx.ScaleByMomoAdamState, MomoAdamState, _AVERAGES)


@unbounded
def momo(
    learning_rate: ScalarOrSchedule = 1.0, beta: Any = 0.9, lower_bound: Any = 0.0, weight_decay: Any = 0.0,
    adapt_lower_bound: bool = False,
) -> GradientTransformation:  # fmt: skip
    """MoMo."""
    return viewed(gradtx.momo(learning_rate, beta, lower_bound, weight_decay, adapt_lower_bound), _MOMO)


@unbounded
def momo_adam(
    learning_rate: ScalarOrSchedule = 1e-2, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8,
    lower_bound: Any = 0.0, weight_decay: Any = 0.0, adapt_lower_bound: bool = False,
) -> GradientTransformation:  # fmt: skip
    """MoMo with Adam."""
    tx = gradtx.momo_adam(learning_rate, b1, b2, eps, lower_bound, weight_decay, adapt_lower_bound)
    return viewed(tx, _MOMO_ADAM)


class MechanicState(NamedTuple):
    """The state of `mechanize`: Optax's fields, but for the sum of steps in place of the first params."""

    base_optimizer_state: State
    count: Any
    r: Any
    m: Any
    v: Any
    s: Any
    delta: Updates


_MECHANIC = renamed(gradtx.MechanicState, MechanicState, {"base_optimizer_state": "inner"}, counter="count")


@unbounded
def mechanize(
    base_optimizer: Any, weight_decay: Any = 1e-2, eps: Any = 1e-8, s_init: Any = 1e-6, num_betas: int = 6
) -> GradientTransformation:
    """Mechanic."""
    return viewed(gradtx.mechanize(base_optimizer, weight_decay, eps, s_init, num_betas), _MECHANIC)


# --- matrices ---------------------------------------------------------------------------------------------------------


class MuonDimensionNumbers(NamedTuple):
    """Which axes of a leaf are inputs, and which outputs; others are a batch."""

    reduction_axis: Sequence[int] | int = 0
    output_axis: Sequence[int] | int = 1


class GaLoreDimensionNumbers(NamedTuple):
    """Which axes of a leaf are inputs, and which outputs."""

    reduction_axis: Sequence[int] | int = 0
    output_axis: Sequence[int] | int = 1


class MuonState(NamedTuple):
    """The state of `scale_by_muon`."""

    count: Any
    mu: Updates
    ns_coeffs: Any


_NS_COEFFS = (3.4445, -4.7750, 2.0315)
_NS_NAMES = {"standard": "newton_schulz", "dion": "dion"}
"""By Optax's names of coefficients, gradtx's."""


def _is_dimension_numbers(x: Any) -> bool:
    return x is None or hasattr(x, "reduction_axis")


def _dimension_numbers(numbers: Any, tree: Any) -> Any:
    """The numbers of each leaf, from those of a prefix of the tree or from a function of it."""
    given = numbers(tree) if callable(numbers) else numbers
    spread = lambda own, part: jax.tree.map(lambda _: own, part)  # noqa: E731
    return jax.tree.map(spread, given, tree, is_leaf=_is_dimension_numbers)


@unbounded
def scale_by_muon(
    ns_coeffs: Any = _NS_COEFFS, ns_steps: int = 5, beta: Any = 0.95, eps: Any = 1e-8, mu_dtype: Any = None, *,
    nesterov: bool = True, adaptive: bool = False, preconditioning: Any = "frobenius",
    weight_dimension_numbers: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Muon's direction."""
    rows = coefficients(_method(ns_coeffs), ns_steps)
    shown = rows[0] if len(set(rows)) == 1 else rows
    dimensions = MuonDimensionNumbers() if weight_dimension_numbers is None else weight_dimension_numbers

    def of(tree: Any) -> GradientTransformation:
        return gradtx.scale_by_muon(
            beta, nesterov=nesterov, method=_method(ns_coeffs), steps=ns_steps, preconditioning=preconditioning,
            scaling=None, eps=eps, bias_correction=True, adaptive=adaptive, mu_dtype=mu_dtype,
            matrices=_dimension_numbers(dimensions, tree),
        )  # fmt: skip

    def init(params: Params) -> MuonState:
        state = of(params).init(params)[0]
        return MuonState(state.count, state.ema, jnp.asarray(shown, jnp.result_type(float)))

    def update(updates: Updates, state: MuonState, params: Params | None = None) -> tuple[Updates, MuonState]:
        own = (gradtx.EmaState(state.count, state.mu), EmptyState())
        updates, (own, _) = unbounded(of)(updates).update(updates, own, params)
        return updates, MuonState(own.count, own.ema, state.ns_coeffs)

    return pair(init, update)


def _method(ns_coeffs: Any) -> Any:
    if not isinstance(ns_coeffs, str):
        return np.asarray(ns_coeffs).tolist()
    if ns_coeffs not in _NS_NAMES:
        raise ArgumentValueError(f"ns_coeffs among {list(_NS_NAMES)}", got=repr(ns_coeffs))
    return _NS_NAMES[ns_coeffs]


def _scale_by_shape(dimensions: Any, consistent_rms: Any) -> GradientTransformation:
    """The length of Muon's steps: by the ratio of outputs to inputs, or for one root mean square."""
    scaling: Any = "keller" if consistent_rms is None else "match_rms"
    factor = 1.0 if consistent_rms is None else consistent_rms / 0.2  # 0.2 is that of match_rms

    def update(updates: Updates, state: EmptyState, params: Params | None = None) -> tuple[Updates, EmptyState]:
        tx = gradtx.chain(gradtx.scale_by_shape(scaling, _dimension_numbers(dimensions, updates)), gradtx.scale(factor))
        return tx.update(updates, (state, state), params)[0], state

    return pair(init_empty_state, update)


def muon(
    learning_rate: ScalarOrSchedule, ns_coeffs: Any = _NS_COEFFS, ns_steps: int = 5, beta: Any = 0.95,
    eps: Any = 1e-8, weight_decay: Any = 0.0, weight_decay_mask: Any = None, mu_dtype: Any = None, *,
    nesterov: bool = True, adaptive: bool = False, preconditioning: Any = "frobenius", adam_b1: Any = 0.9,
    adam_b2: Any = 0.999, adam_eps_root: Any = 0.0, adam_weight_decay: Any = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None, muon_weight_dimension_numbers: Any = None,
    consistent_rms: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Muon for leaves with two axes, or for those with dimension numbers; Adam for the others."""
    declared = muon_weight_dimension_numbers

    def labels(params: Params) -> Any:
        if declared is None:
            return jax.tree.map(lambda x: "muon" if jnp.ndim(x) == 2 else "adam", params)
        return jax.tree.map(
            lambda numbers, part: jax.tree.map(lambda _: "adam" if numbers is None else "muon", part),
            _dimension_numbers(declared, params),
            params,
            is_leaf=_is_dimension_numbers,
        )

    numbers = MuonDimensionNumbers() if declared is None else declared
    direction = scale_by_muon(
        ns_coeffs, ns_steps, beta, eps, mu_dtype, nesterov=nesterov, adaptive=adaptive,
        preconditioning=preconditioning, weight_dimension_numbers=numbers,
    )  # fmt: skip
    decay = add_decayed_weights(weight_decay, weight_decay_mask)
    of_matrices = chain(
        direction, _scale_by_shape(numbers, consistent_rms), decay, scale_by_learning_rate(learning_rate)
    )
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    rest = adamw(rate, adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay, nesterov=nesterov)
    return partition({"muon": of_matrices, "adam": rest}, labels)


def _galore_matrices(numbers: Any) -> Any:
    if numbers is None:
        return lambda _, shape: "in out" if len(shape) == 2 else False
    if isinstance(numbers, GaLoreDimensionNumbers):
        return lambda _, shape: numbers if len(shape) >= 2 else False
    return numbers


class GaLoreState(NamedTuple):
    """The state of `scale_by_galore`: moments of matrices are those of their projections.

    Attributes:
      count: the number of updates.
      base_optimizer_state: the state of the optimizer.
      projector: the basis of each matrix; of another leaf, an empty one.
    """

    count: Any
    base_optimizer_state: State
    projector: Updates


def _galore_state(state: Any) -> GaLoreState:
    own, rest = state.inner_states["matrix"], state.inner_states["rest"]
    # To gradtx the leaves are batches of matrices, one for each part of a leaf; here a leaf is one matrix.
    flat = functools.partial(jax.tree.map, lambda x: x[0][0] if type(x) is tuple else x, is_leaf=_is_batch)
    projector = jax.tree.map(
        lambda x: jnp.zeros((0, 0)) if _is_masked(x) else x, flat(own.projector), is_leaf=_is_masked
    )
    return GaLoreState(own.count, gradtx.tree.put_back(flat(own.inner_state), rest), projector)


def _own_galore_state(state: GaLoreState) -> Any:
    structure: Any = jax.tree.structure(state.projector)

    def part(node: Any, of_matrices: bool) -> Any:
        """The part of the optimizer's state that belongs to matrices, or to the others."""
        alike = jax.tree.structure(node) == structure and all(jnp.ndim(x) for x in jax.tree.leaves(node))
        if alike:
            wrapped = (lambda x: (x[None],)) if of_matrices else (lambda x: x)
            choose = lambda q, x: wrapped(x) if bool(q.size) is of_matrices else MaskedNode()  # noqa: E731
            return jax.tree.map(choose, state.projector, node)
        children, treedef = one_level(node)
        is_leaf = len(children) == 1 and children[0][1] is node
        return node if is_leaf else treedef.unflatten([part(child, of_matrices) for _, child in children])

    matrices, rest = part(state.base_optimizer_state, True), part(state.base_optimizer_state, False)
    own = _galore.ScaleByGaloreState(state.count, part(state.projector, True), matrices)
    return gradtx.PartitionState({"matrix": own, "rest": rest})


def _is_batch(node: Any) -> bool:
    return type(node) is tuple and len(node) == 1


def _is_masked(node: Any) -> bool:
    return isinstance(node, MaskedNode)


_GALORE = View(_galore_state, _own_galore_state)


@unbounded
def scale_by_galore(
    rank: int = 128, update_proj_gap: int = 200, scale: Any = 1.0, base_optimizer: Any = None,
    weight_dimension_numbers: Any = None,
) -> GradientTransformation:  # fmt: skip
    """GaLore's direction: of matrices from their projections, of other leaves from themselves."""
    base = scale_by_adam() if base_optimizer is None else as_transformation(base_optimizer)
    matrices = _galore_matrices(weight_dimension_numbers)
    of_matrices = _galore.scale_by_galore(rank, update_proj_gap, scale, base, matrices=matrices)
    labels = functools.partial(gradtx.matrix_labels, matrices)
    return viewed(gradtx.partition({"matrix": of_matrices, "rest": base}, labels), _GALORE)


def galore(
    learning_rate: ScalarOrSchedule, rank: int = 128, update_proj_gap: int = 200, scale: Any = 1.0,
    base_optimizer: Any = None, weight_decay: Any = 0.0, mask: Any = None, weight_dimension_numbers: Any = None,
) -> GradientTransformation:  # fmt: skip
    """GaLore."""
    direction = scale_by_galore(rank, update_proj_gap, scale, base_optimizer, weight_dimension_numbers)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


# --- noise ------------------------------------------------------------------------------------------------------------


class DifferentiallyPrivateAggregateState(NamedTuple):
    """The state of `differentially_private_aggregate`: the key of the next update."""

    rng_key: Any


@unbounded
def differentially_private_aggregate(
    l2_norm_clip: Any, noise_multiplier: Any, key: Any = None, *, seed: Any = None
) -> GradientTransformation:
    """The mean of clipped gradients of examples, with noise, from a key in the state."""
    key = _one_key(key, seed, "contrib.differentially_private_aggregate")
    inner = gradtx.differentially_private_aggregate(l2_norm_clip, noise_multiplier)

    def init(params: Params) -> DifferentiallyPrivateAggregateState:
        return DifferentiallyPrivateAggregateState(jnp.copy(as_key(key)))

    def update(
        updates: Updates, state: DifferentiallyPrivateAggregateState, params: Params | None = None
    ) -> tuple[Updates, DifferentiallyPrivateAggregateState]:
        rng_key, now = jax.random.split(state.rng_key)
        # Without the params: Optax does not look at them, and they may be given with any shape.
        updates, _ = inner.update(updates, EmptyState(), None, key=now)
        return updates, DifferentiallyPrivateAggregateState(rng_key)

    return pair(init, update)


def dpsgd(
    learning_rate: ScalarOrSchedule, l2_norm_clip: Any, noise_multiplier: Any, seed: Any, momentum: Any = None,
    nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Differentially private gradient descent."""
    velocity = identity() if momentum is None else trace(momentum, nesterov)
    private = differentially_private_aggregate(l2_norm_clip, noise_multiplier, key=seed)
    return chain(private, velocity, scale_by_learning_rate(learning_rate))


# --- wrappers and observers -------------------------------------------------------------------------------------------


class ReduceLROnPlateauState(NamedTuple):
    """The state of `reduce_on_plateau`."""

    scale: Any
    best_value: Any
    plateau_count: Any
    cooldown_count: Any
    count: Any
    avg_value: Any


def _plateau(state: PlateauState) -> ReduceLROnPlateauState:
    # What a user sees is the factor in force; it is the product of the reductions, bounded below.
    mean = state.total / jnp.maximum(state.count, 1)
    return ReduceLROnPlateauState(
        state.value, state.best_value, state.plateau_count, state.cooldown_count, state.count, mean
    )


def _own_plateau(state: ReduceLROnPlateauState) -> PlateauState:
    total, value = state.avg_value * state.count, jnp.asarray(state.scale)
    settings: Any = ()  # taken anew from the arguments at each update
    counts = (state.plateau_count, state.cooldown_count)
    return PlateauState(value, value, state.best_value, *counts, total, state.count, settings)


_PLATEAU = View(_plateau, _own_plateau)


def reduce_on_plateau(
    factor: Any = 0.1, patience: Any = 10, rtol: Any = 1e-4, atol: Any = 0.0, cooldown: Any = 0,
    accumulation_size: Any = 1, min_scale: Any = 0.0,
) -> GradientTransformation:  # fmt: skip
    """Scale updates down when the ``value`` of the update has stopped falling."""
    if rtol == 0 and atol == 0:
        raise ArgumentValueError("rtol or atol to be positive", got="both 0", origin="optax.contrib.reduce_on_plateau")
    tx = gradtx.reduce_on_plateau(factor, patience, rtol, atol, cooldown, accumulation_size, min_scale)
    return viewed(tx, _PLATEAU)


class SAMState(NamedTuple):
    """The state of `sam`."""

    steps_since_sync: Any
    opt_state: State
    adv_state: State
    cache: Params | None


def sam(
    optimizer: Any, adv_optimizer: Any, sync_period: int = 2, reset_state: bool = True, opaque_mode: bool = False,
    batch_axis_name: str | None = None,
) -> GradientTransformation:  # fmt: skip
    """Sharpness-aware minimization with any ascent: `adv_optimizer` moves away, and `optimizer` steps from there.

    Transparent, an update is one of the `sync_period` calls of a step; opaque, it is a whole step, with ``grad_fn``.
    """
    if sync_period < 1:
        raise ArgumentValueError("sync_period to be at least 1", got=repr(sync_period), origin="optax.contrib.sam")
    outer, ascent = as_transformation(optimizer), as_transformation(adv_optimizer)

    def init(params: Params) -> SAMState:
        cache = None if opaque_mode else jax.tree.map(jnp.copy, params)
        return SAMState(zero_count(), outer.init(params), ascent.init(params), cache)

    def climb(updates: Updates, state: State, params: Params | None) -> tuple[Updates, State]:
        updates, state = ascent.update(updates, state, params)
        return jax.tree.map(jnp.negative, updates), state

    def transparent(updates: Updates, state: SAMState, params: Params | None) -> tuple[Updates, SAMState]:
        first, last = state.steps_since_sync == 0, state.steps_since_sync == sync_period - 1
        up, adv_state = climb(updates, state.adv_state, params)
        down, opt_state = outer.update(updates, state.opt_state, state.cache)
        back = jax.tree.map(lambda start, p, u: start - p + u, state.cache, params, down)
        after = ascent.init(params) if reset_state else state.adv_state
        return _either(last, back, up), SAMState(
            steps_since_sync=(state.steps_since_sync + 1) % sync_period,
            opt_state=_either(last, opt_state, state.opt_state),
            adv_state=_either(last, after, adv_state),
            cache=_either(first, params, state.cache),
        )

    def opaque(updates: Updates, state: SAMState, params: Params | None, grad_fn: Any) -> tuple[Updates, SAMState]:
        require_extra(grad_fn, "grad_fn", "in the opaque mode pass grad_fn=lambda params, i: ...")
        there, adv_state, grads = params, state.adv_state, updates
        for i in range(sync_period - 1):
            up, adv_state = climb(grads, adv_state, there)
            there = apply_updates(there, up)
            grads = grad_fn(there, i)
            if batch_axis_name is not None:
                grads = jax.lax.pmean(grads, axis_name=batch_axis_name)  # type: ignore[no-untyped-call]
        adv_state = ascent.init(params) if reset_state else adv_state
        updates, opt_state = outer.update(grads, state.opt_state, params)
        return updates, SAMState(zero_count(), opt_state, adv_state, None)

    def update(
        updates: Updates, state: SAMState, params: Params | None = None, *, grad_fn: Any = None, **extra: Any
    ) -> tuple[Updates, SAMState]:
        return opaque(updates, state, params, grad_fn) if opaque_mode else transparent(updates, state, params)

    return pair(init, update)


def _either(condition: Any, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y).astype(jnp.result_type(y)), yes, no)


class ScheduleFreeState(NamedTuple):
    """The state of `schedule_free`."""

    b1: Any
    weight_sum: Any
    step_count: Any
    max_lr: Any
    base_optimizer_state: State
    z: Params


def _averaging(state: ScheduleFreeState) -> AverageIteratesState:
    return AverageIteratesState(state.b1, state.weight_sum, state.max_lr, state.z)


@unbounded
def schedule_free(
    base_optimizer: Any, learning_rate: ScalarOrSchedule, b1: Any = 0.9, weight_lr_power: Any = 2.0,
    state_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Schedule-free learning: an average of the iterates in place of a schedule.

    The weight of a step is that of its own rate; Optax takes the rate of the next.
    """
    base = as_transformation(base_optimizer)

    stored = None if state_dtype is None or jnp.issubdtype(state_dtype, jnp.complexfloating) else state_dtype

    @unbounded
    def average(rate: Any) -> GradientTransformation:
        return gradtx.average_iterates(rate, b1, weight_lr_power, stored)

    def init(params: Params) -> ScheduleFreeState:
        own = average(0.0).init(params)
        counted = zero_count() + 1
        return ScheduleFreeState(own.b1, own.weight_sum, counted, own.max_lr, base.init(params), own.z)

    def update(
        updates: Updates, state: ScheduleFreeState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, ScheduleFreeState]:
        rate = learning_rate(state.step_count - 1) if callable(learning_rate) else learning_rate
        updates, base_state = base.update(updates, state.base_optimizer_state, params, **extra)
        updates, own = average(rate).update(updates, _averaging(state), params)
        count = increment(state.step_count)
        return updates, ScheduleFreeState(own.b1, own.weight_sum, count, own.max_lr, base_state, own.z)

    return pair(init, update)


def schedule_free_eval_params(state: State, params: Params) -> Params:
    """The average of the iterates, to evaluate and save."""
    return gradtx.schedule_free_eval_params(map_nodes(_averaging, state, ScheduleFreeState), params)


def _warm(learning_rate: Any, warmup_steps: Any) -> Any:
    """The rate with a warm-up, which begins one step after 0: the first step of 0 would be for nothing."""
    if warmup_steps is None:
        return learning_rate
    return lambda count: learning_rate * jnp.minimum(1.0, (count + 1) / warmup_steps)


def schedule_free_sgd(
    learning_rate: Any = 1.0, warmup_steps: int | None = None, b1: Any = 0.9, weight_decay: Any = None,
    weight_lr_power: Any = 2.0, state_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Schedule-free gradient descent."""
    rate = _warm(learning_rate, warmup_steps)
    base = sgd(rate) if weight_decay is None else chain(add_decayed_weights(weight_decay), sgd(rate))
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype)


def schedule_free_adamw(
    learning_rate: Any = 0.0025, warmup_steps: int | None = None, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8,
    weight_decay: Any = 0.0, weight_lr_power: Any = 2.0, state_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Schedule-free AdamW."""
    rate = _warm(learning_rate, warmup_steps)
    direction = scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True)
    base = chain(direction, add_decayed_weights(weight_decay), scale_by_learning_rate(rate))
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype)


# --- curvature --------------------------------------------------------------------------------------------------------


class HutchinsonState(NamedTuple):
    """The state of `hutchinson_estimator_diag_hessian`: the key of the next estimate."""

    key: Any


def hutchinson_estimator_diag_hessian(random_seed: Any = None) -> GradientTransformation:
    """The diagonal of the Hessian of ``obj_fn``, estimated, from a key in the state."""
    inner = gradtx.hutchinson_diagonal()

    def init(params: Params) -> HutchinsonState:
        return HutchinsonState(jax.random.PRNGKey(0) if random_seed is None else random_seed)

    def update(
        updates: Updates, state: HutchinsonState, params: Params | None = None, obj_fn: Any = None
    ) -> tuple[Updates, HutchinsonState]:
        require_extra(obj_fn, "obj_fn", "pass obj_fn, a function of the params: the loss on this batch")
        key, now = jax.random.split(state.key)
        estimate, _ = inner.update(updates, EmptyState(), params, value_fn=obj_fn, key=now)
        return estimate, HutchinsonState(key)

    return pair(init, update)


class SophiaState(NamedTuple):
    """The state of `sophia`: Optax's fields, the steps since the last estimate, and the share that was not clipped."""

    count: Any
    mu: Updates
    nu: Updates
    hessian_fn_state: State
    since: Any
    win_rate: Any


_SOPHIA = renamed(gradtx.ScaleBySophiaState, SophiaState, {"hessian_fn_state": "hessian_state"})


@unbounded
def sophia(
    learning_rate: ScalarOrSchedule, b1: Any = 0.965, b2: Any = 0.99, eps: Any = 1e-8, weight_decay: Any = 1e-4,
    weight_decay_mask: Any = None, gamma: Any = 0.01, clip_threshold: Any = 1.0, update_interval: Any = 10,
    hessian_diagonal_fn: Any = hutchinson_estimator_diag_hessian(), mu_dtype: Any = None,  # noqa: B008
    verbose: bool = False, print_win_rate_every_n_steps: int = 0,
) -> GradientTransformation:  # fmt: skip
    """Sophia. An estimate is used at the step that makes it; the state has the win rate, which nothing prints."""
    del verbose, print_win_rate_every_n_steps
    direction = gradtx.scale_by_sophia(
        b1, b2, eps, gamma, clip_threshold, update_interval, hessian_diagonal_fn, mu_dtype
    )
    decay = add_decayed_weights(weight_decay, weight_decay_mask)
    return chain(viewed(direction, _SOPHIA), decay, scale_by_learning_rate(learning_rate))


__all__ = [
    "COCOBState",
    "DAdaptAdamWState",
    "DifferentiallyPrivateAggregateState",
    "DoGState",
    "DoWGState",
    "GaLoreDimensionNumbers",
    "GaLoreState",
    "HutchinsonState",
    "MadgradState",
    "MechanicState",
    "MomoAdamState",
    "MomoState",
    "MuonDimensionNumbers",
    "MuonState",
    "NormalizeState",
    "ProdigyState",
    "ReduceLROnPlateauState",
    "SAMState",
    "ScaleByAdemamixState",
    "ScaleBySimplifiedAdEMAMixState",
    "ScheduleFreeState",
    "SophiaState",
    "SplitRealAndImaginaryState",
    "acprop",
    "ademamix",
    "adopt",
    "cocob",
    "dadapt_adamw",
    "differentially_private_aggregate",
    "dog",
    "dowg",
    "dpsgd",
    "galore",
    "hutchinson_estimator_diag_hessian",
    "madgrad",
    "mechanize",
    "momo",
    "momo_adam",
    "muon",
    "normalize",
    "prodigy",
    "reduce_on_plateau",
    "sam",
    "scale_by_acprop",
    "scale_by_ademamix",
    "scale_by_adopt",
    "scale_by_cocob",
    "scale_by_galore",
    "scale_by_madgrad",
    "scale_by_muon",
    "scale_by_simplified_ademamix",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_eval_params",
    "schedule_free_sgd",
    "simplified_ademamix",
    "sophia",
    "split_real_and_imaginary",
]
