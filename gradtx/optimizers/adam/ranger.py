"""Ranger: rectified Adam inside lookahead."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.gradients import add_decayed_weights, centralize, scale_by_learning_rate
from gradtx.optimizers.adam.radam import AtLeastFour, scale_by_rectified_adam
from gradtx.typing import AtLeastOne, Decay, Fraction, Mask, NonNegative
from gradtx.wrappers import lookahead


@optimizer
def ranger(
    learning_rate: NonNegative = 1e-3,
    b1: Decay = 0.95,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-5,
    weight_decay: NonNegative = 0.0,
    mask: Mask = None,
    sync_period: AtLeastOne = 6,
    slow_step_size: Fraction = 0.5,
    threshold: AtLeastFour = 5.0,
    output_axis: int | tuple[int, ...] = -1,
) -> GradientTransformation:
    """Ranger: centralized gradients, rectified Adam and lookahead.

    Composition: `lookahead` around `centralize`, `scale_by_rectified_adam`, `add_decayed_weights`,
    `scale_by_learning_rate`. Evaluate with `lookahead_params`.

    Args:
      learning_rate: at least 0.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      weight_decay: decoupled weight decay, at least 0.
      mask: the leaves to decay, as in `add_decayed_weights`.
      sync_period: of `lookahead`, at least 1.
      slow_step_size: of `lookahead`, in [0, 1].
      threshold: of `scale_by_rectified_adam`, at least 4.
      output_axis: of `centralize`: the axis of a kernel that numbers its outputs.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.ranger(1e-3, sync_period=5)
      ranger(sync_period=5)

    References:
      - Wright, Ranger: a synergistic optimizer combining RAdam and Lookahead, 2019.
      - Liu et al., On the variance of the adaptive learning rate and beyond, 2020, arXiv:1908.03265.
      - Zhang et al., Lookahead optimizer: k steps forward, 1 step back, 2019, arXiv:1907.08610.
      - Yong et al., Gradient centralization: a new optimization technique for deep neural networks, 2020,
        arXiv:2004.01461.

    Differences from the author's code: eps is added after the bias correction, as in `adam`; gradients are averaged
    over every axis but the last of a JAX kernel, not over every axis but the first of a torch one.
    """
    inner = chain(
        centralize(output_axis),
        scale_by_rectified_adam(b1, b2, eps, threshold=threshold),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
    return lookahead(inner, sync_period, slow_step_size)
