"""Adam and its descendants as whole optimizers."""

from typing import Literal

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.transforms import (
    add_decayed_weights,
    scale_by_adam,
    scale_by_amsgrad,
    scale_by_belief,
    scale_by_learning_rate,
    scale_by_rectified_adam,
    scale_by_yogi,
)
from gradtx.transforms.rectified import AtLeastFour
from gradtx.typing import Decay, DTypeName, Mask, NonNegative


@optimizer
def adam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam.

    Composition: `scale_by_adam`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; 0.001 in the paper.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      nesterov: Nesterov's momentum, as in `nadam`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx = gradtx.adam(0.1)
      >>> params = jnp.array([1.0, 2.0])
      >>> state = tx.init(params)
      >>> updates, state = tx.update(jax.grad(lambda p: jnp.sum(p**2))(params), state, params)
      >>> gradtx.apply_updates(params, updates)
      Array([0.9, 1.9], dtype=float32)

    References:
      - Kingma, Ba, Adam: a method for stochastic optimization, 2015, arXiv:1412.6980.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov), scale_by_learning_rate(learning_rate)
    )


@optimizer
def adamw(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    weight_decay: NonNegative = 1e-4,
    mask: Mask = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    r"""Adam with decoupled weight decay: :math:`p \leftarrow p - \eta\,(u_\text{Adam} + \lambda p)`.

    Composition: `scale_by_adam`, `add_decayed_weights`, `scale_by_learning_rate`.

    The decay is multiplied by the learning rate, as in torch and Optax; in the paper only by its schedule.

    Args:
      learning_rate: :math:`\eta`, at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      weight_decay: :math:`\lambda`, at least 0; 0.0001 as in Optax, 0.01 in torch.
      mask: the leaves to decay, as in `add_decayed_weights`, for example ``"*/kernel"``.
      nesterov: Nesterov's momentum.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adamw(0.1, mask="*/kernel")).transforms[1]
      add_decayed_weights(weight_decay=0.0001, mask='*/kernel')

    References:
      - Loshchilov, Hutter, Decoupled weight decay regularization, 2019, arXiv:1711.05101.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@optimizer
def nadam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
) -> GradientTransformation:
    """Adam with Nesterov's momentum.

    Composition: `scale_by_adam` with ``nesterov=True``, `scale_by_learning_rate`.

    torch and Keras also let the momentum grow over the first steps (their ``momentum_decay``), which makes the first
    steps shorter; here, as in Optax, it is constant.

    Args:
      learning_rate: at least 0; 0.002 in torch.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.nadam(0.1))
      chain(scale_by_adam(nesterov=True), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016.
    """
    return chain(scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=True), scale_by_learning_rate(learning_rate))


@optimizer
def amsgrad(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    *,
    bias_correction: Literal["before_max", "after_max", "none"] = "before_max",
) -> GradientTransformation:
    """AMSGrad: Adam with a second moment that never falls.

    Composition: `scale_by_amsgrad`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      bias_correction: ``"before_max"`` (Optax), ``"after_max"`` (torch, TensorFlow) or ``"none"`` (the paper).

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.amsgrad(0.1, bias_correction="after_max"))
      chain(scale_by_amsgrad(bias_correction='after_max'), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Reddi, Kale, Kumar, On the convergence of Adam and beyond, ICLR 2018, arXiv:1904.09237.
    """
    return chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction=bias_correction),
        scale_by_learning_rate(learning_rate),
    )


@optimizer
def adabelief(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """AdaBelief: steps are long where gradients agree with their average.

    Composition: `scale_by_belief`, `scale_by_learning_rate`. The authors' later releases also rectify the rate, as
    `radam` does, by default; that is not done here.

    Args:
      learning_rate: at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0. The authors advise 1e-8 for convolutional networks.
      eps_root: added to the second moment at every step, at least 0.
      nesterov: Nesterov's momentum.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adabelief(0.1))
      chain(scale_by_belief(), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Zhuang et al., AdaBelief optimizer: adapting stepsizes by the belief in observed gradients, 2020,
        arXiv:2010.07468.
    """
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate))


@optimizer
def yogi(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-3,
    eps_root: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 1e-6,
) -> GradientTransformation:
    """Yogi: Adam with a second moment that changes slowly.

    Composition: `scale_by_yogi`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; 0.01 in the paper's experiments and the d2l chapter.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      initial_accumulator_value: both moments to begin with, at least 0; 0 as in the d2l chapter.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.yogi(0.01, initial_accumulator_value=0.0))
      chain(scale_by_yogi(initial_accumulator_value=0.0), scale_by_learning_rate(learning_rate=0.01))

    References:
      - Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018.
    """
    return chain(scale_by_yogi(b1, b2, eps, eps_root, initial_accumulator_value), scale_by_learning_rate(learning_rate))


@optimizer
def radam(
    learning_rate: NonNegative,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    threshold: AtLeastFour = 5.0,
    *,
    nesterov: bool = False,
    below_threshold: Literal["momentum", "none"] = "momentum",
) -> GradientTransformation:
    """Rectified Adam: no adaptive step before its variance is known, so that no warm-up is needed.

    Composition: `scale_by_rectified_adam`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      threshold: from which length of the average steps are rectified, at least 4.
      nesterov: Nesterov's momentum.
      below_threshold: ``"momentum"`` steps before, or ``"none"``.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.radam(0.1, threshold=4.0))
      chain(scale_by_rectified_adam(threshold=4.0), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Liu et al., On the variance of the adaptive learning rate and beyond, 2020, arXiv:1908.03265.
    """
    rescale = scale_by_rectified_adam(
        b1, b2, eps, eps_root, threshold, nesterov=nesterov, below_threshold=below_threshold
    )
    return chain(rescale, scale_by_learning_rate(learning_rate))
