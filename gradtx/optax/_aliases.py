"""``optax.adam`` and the like: chains whose members, and so whose states, stand in Optax's order."""

import functools
import warnings
from typing import Any

import jax.numpy as jnp

import gradtx
from gradtx.core import GradientTransformation, as_transformation
from gradtx.errors import ArgumentTypeError
from gradtx.optax._base import MaskOrFn, ScalarOrSchedule, identity
from gradtx.optax._form import unbounded
from gradtx.optax._linesearch import scale_by_lbfgs, scale_by_zoom_linesearch
from gradtx.optax._scaling import (
    scale,
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_adan,
    scale_by_amsgrad,
    scale_by_belief,
    scale_by_factored_rms,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_novograd,
    scale_by_optimistic_gradient,
    scale_by_param_block_rms,
    scale_by_polyak,
    scale_by_radam,
    scale_by_rms,
    scale_by_rprop,
    scale_by_rss,
    scale_by_sign,
    scale_by_sm3,
    scale_by_stddev,
    scale_by_trust_ratio,
    scale_by_yogi,
)
from gradtx.optax.transforms import add_decayed_weights, add_noise, chain, clip_by_block_rms, ema, masked, trace


def adabelief(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16,
    *, nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """AdaBelief."""
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate))


def adadelta(
    learning_rate: ScalarOrSchedule | None = None, rho: Any = 0.9, eps: Any = 1e-6, weight_decay: Any = 0.0,
    weight_decay_mask: MaskOrFn = None,
) -> GradientTransformation:  # fmt: skip
    """Adadelta. Without a rate it ascends in Optax; here the rate is then 1."""
    rate = 1.0 if learning_rate is None else learning_rate
    decay = add_decayed_weights(weight_decay, weight_decay_mask)
    return chain(decay, scale_by_adadelta(rho, eps), scale_by_learning_rate(rate))


def adafactor(
    learning_rate: ScalarOrSchedule | None = None, min_dim_size_to_factor: int = 128, decay_rate: Any = 0.8,
    decay_offset: Any = 0, multiply_by_parameter_scale: bool = True, clipping_threshold: Any = 1.0,
    momentum: Any = None, dtype_momentum: Any = jnp.float32, weight_decay_rate: ScalarOrSchedule | None = None,
    eps: Any = 1e-30, factored: bool = True, weight_decay_mask: MaskOrFn = None,
) -> GradientTransformation:  # fmt: skip
    """Adafactor."""
    members = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        members.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        members.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        members.append(scale_by_param_block_rms())
    if momentum is not None:
        members.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        members.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*members, scale(-1.0))


def adagrad(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: Any = 0.1, eps: Any = 1e-7
) -> GradientTransformation:
    """AdaGrad."""
    return chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))


def adam(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None, *, nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Adam."""
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov), scale_by_learning_rate(learning_rate)
    )


nadam = functools.partial(adam, nesterov=True)


def adamw(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None, weight_decay: ScalarOrSchedule = 1e-4, mask: MaskOrFn = None, *, nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """AdamW."""
    direction = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


nadamw = functools.partial(adamw, nesterov=True)


def adan(
    learning_rate: ScalarOrSchedule, b1: Any = 0.98, b2: Any = 0.92, b3: Any = 0.99, eps: Any = 1e-8,
    eps_root: Any = 1e-8, weight_decay: ScalarOrSchedule = 0.0, mask: MaskOrFn = None,
) -> GradientTransformation:  # fmt: skip
    """Adan."""
    direction = scale_by_adan(b1, b2, b3, eps, eps_root)
    return chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


def adamax(learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> GradientTransformation:
    """AdaMax."""
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adamaxw(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4, mask: MaskOrFn = None,
) -> GradientTransformation:  # fmt: skip
    """AdaMax with a weight decay."""
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_adamax(b1, b2, eps), decay, scale_by_learning_rate(learning_rate))


def amsgrad(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None, bias_correction_mu: bool = True, bias_correction_nu: bool = True,
) -> GradientTransformation:  # fmt: skip
    """AMSGrad."""
    direction = scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu)
    return chain(direction, scale_by_learning_rate(learning_rate))


@unbounded
def fromage(learning_rate: ScalarOrSchedule, min_norm: Any = 1e-6) -> GradientTransformation:
    """Fromage."""
    return gradtx.fromage(learning_rate, min_norm)


def lamb(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-6, eps_root: Any = 0.0,
    weight_decay: ScalarOrSchedule = 0.0, mask: MaskOrFn = None,
) -> GradientTransformation:  # fmt: skip
    """LAMB."""
    decay = add_decayed_weights(weight_decay, mask)
    rate = scale_by_learning_rate(learning_rate)
    return chain(scale_by_adam(b1, b2, eps, eps_root), decay, scale_by_trust_ratio(), rate)


def lars(
    learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule = 0.0, weight_decay_mask: MaskOrFn = True,
    trust_coefficient: Any = 0.001, eps: Any = 0.0, trust_ratio_mask: MaskOrFn = True, momentum: Any = 0.9,
    nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """LARS."""
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


def lbfgs(
    learning_rate: ScalarOrSchedule | None = None, memory_size: int = 10, scale_init_precond: bool = True,
    linesearch: Any = scale_by_zoom_linesearch(20, initial_guess_strategy="one"),  # noqa: B008  it never changes
) -> GradientTransformation:  # fmt: skip
    """L-BFGS."""
    rate = scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    search = identity() if linesearch is None else as_transformation(linesearch)
    return chain(scale_by_lbfgs(memory_size, scale_init_precond), rate, search)


def lion(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.99, mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-3, mask: MaskOrFn = None,
) -> GradientTransformation:  # fmt: skip
    """Lion."""
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_lion(b1, b2, mu_dtype), decay, scale_by_learning_rate(learning_rate))


def noisy_sgd(
    learning_rate: ScalarOrSchedule, eta: Any = 0.01, gamma: Any = 0.55, key: Any = None, *, seed: Any = None
) -> GradientTransformation:
    """Gradient descent with noise."""
    return chain(add_noise(eta, gamma, key, seed=seed), scale_by_learning_rate(learning_rate))


def novograd(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.25, eps: Any = 1e-6, eps_root: Any = 0.0,
    weight_decay: Any = 0.0,
) -> GradientTransformation:  # fmt: skip
    """NovoGrad."""
    return chain(scale_by_novograd(b1, b2, eps, eps_root, weight_decay), scale_by_learning_rate(learning_rate))


def optimistic_adam(
    learning_rate: Any, optimism: Any = None, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None, *, nesterov: bool = True,
) -> GradientTransformation:  # fmt: skip
    """Optimistic Adam by Optax's older arguments: the learning rate is the weight of the gradient."""
    warnings.warn("`optimistic_adam` is deprecated: use `optimistic_adam_v2` instead", DeprecationWarning, stacklevel=2)
    if callable(learning_rate):
        hint = "use optimistic_adam_v2"
        raise ArgumentTypeError(
            "a number for learning_rate", got="a schedule", hint=hint, origin="optax.optimistic_adam"
        )
    optimism = learning_rate if optimism is None else optimism
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha=learning_rate, beta=optimism),
        scale_by_learning_rate(1.0),
    )


def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule, *, alpha: ScalarOrSchedule = 1.0, beta: ScalarOrSchedule = 1.0, b1: Any = 0.9,
    b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None, nesterov: bool = True,
) -> GradientTransformation:  # fmt: skip
    """Optimistic Adam."""
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )


def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: ScalarOrSchedule = 1.0, beta: ScalarOrSchedule = 1.0
) -> GradientTransformation:
    """Optimistic gradient descent."""
    return chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


def polyak_sgd(
    max_learning_rate: Any = 1.0, scaling: ScalarOrSchedule = 1.0, f_min: Any = 0.0, eps: Any = 0.0,
    variant: Any = "sps",
) -> GradientTransformation:  # fmt: skip
    """Gradient descent with Polyak's step size."""
    return chain(sgd(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))


def radam(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    threshold: Any = 5.0, *, nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """RAdam."""
    direction = scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)
    return chain(direction, scale_by_learning_rate(learning_rate))


def rmsprop(
    learning_rate: ScalarOrSchedule, decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True, centered: bool = False, momentum: Any = None, nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformation:  # fmt: skip
    """RMSProp."""
    direction = (scale_by_stddev if centered else scale_by_rms)(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    velocity = identity() if momentum is None else trace(momentum, nesterov)
    return chain(direction, scale_by_learning_rate(learning_rate), velocity)


def rprop(
    learning_rate: Any, eta_minus: Any = 0.5, eta_plus: Any = 1.2, min_step_size: Any = 1e-6, max_step_size: Any = 50.0
) -> GradientTransformation:
    """Rprop, each update at once; Optax returns it one call late."""
    return chain(scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size), scale(-1.0))


def sgd(
    learning_rate: ScalarOrSchedule, momentum: Any = None, nesterov: bool = False, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Gradient descent."""
    velocity = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(velocity, scale_by_learning_rate(learning_rate))


def sign_sgd(learning_rate: ScalarOrSchedule) -> GradientTransformation:
    """Gradient descent by signs."""
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def signum(learning_rate: ScalarOrSchedule, beta: Any = 0.9, accumulator_dtype: Any = None) -> GradientTransformation:
    """The sign of the momentum."""
    average = ema(beta, debias=False, accumulator_dtype=accumulator_dtype)
    return chain(average, scale_by_sign(), scale_by_learning_rate(learning_rate))


def sm3(learning_rate: Any, momentum: Any = 0.9) -> GradientTransformation:
    """SM3."""
    return chain(scale_by_sm3(momentum), scale(-learning_rate))


def yogi(learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3) -> GradientTransformation:
    """Yogi."""
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))
