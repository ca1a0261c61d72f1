"""Adaptive optimizers without Adam's momentum: AdaGrad, RMSProp, AdaDelta."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, optimizer
from gradtx.transforms import (
    add_decayed_weights,
    scale_by_adadelta,
    scale_by_learning_rate,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
    trace,
)
from gradtx.typing import Decay, Fraction, Mask, NonNegative


@optimizer
def adagrad(
    learning_rate: NonNegative,
    initial_accumulator_value: NonNegative = 0.1,
    eps: NonNegative = 1e-7,
    eps_in_sqrt: bool = True,
) -> GradientTransformation:
    """AdaGrad: each coordinate's rate falls with the sum of its squared gradients.

    Composition: `scale_by_rss`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      initial_accumulator_value: the sum to begin with, at least 0; 0 in the paper, torch and the d2l text.
      eps: at least 0.
      eps_in_sqrt: where eps is added.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adagrad(0.1))
      chain(scale_by_rss(), scale_by_learning_rate(learning_rate=0.1))

    References:
      - Duchi, Hazan, Singer, Adaptive subgradient methods for online learning and stochastic optimization, JMLR 2011.
    """
    return chain(scale_by_rss(initial_accumulator_value, eps, eps_in_sqrt), scale_by_learning_rate(learning_rate))


@optimizer
def rmsprop(
    learning_rate: NonNegative,
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    initial_scale: NonNegative = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Fraction | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformation:
    """RMSProp: each coordinate divided by the root mean square of its recent gradients.

    Composition: `scale_by_rms` (`scale_by_stddev` if centered), `scale_by_learning_rate`, `trace` (if there is a
    momentum).

    Args:
      learning_rate: at least 0.
      decay: of the moving average, in [0, 1); 0.99 in torch.
      eps: at least 0.
      initial_scale: the average to begin with, at least 0.
      eps_in_sqrt: where eps is added; ``False`` as in torch.
      centered: divide by the standard deviation.
      momentum: of the steps taken, in [0, 1]; ``None`` keeps none.
      nesterov: Nesterov's momentum.
      bias_correction: correct the averages for their start.

    State:
      4 bytes per float32 parameter, 4 more if centered and 4 more with momentum.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.rmsprop(0.1, momentum=0.9))
      chain(scale_by_rms(), scale_by_learning_rate(learning_rate=0.1), trace(decay=0.9))

    References:
      - Tieleman, Hinton, Lecture 6.5: RMSProp, Coursera: neural networks for machine learning, 2012.
      - Graves, Generating sequences with recurrent neural networks, 2013, arXiv:1308.0850 (for `centered`).
    """
    rescale = scale_by_stddev if centered else scale_by_rms
    members = [rescale(decay, eps, initial_scale, eps_in_sqrt, bias_correction), scale_by_learning_rate(learning_rate)]
    return chain(*members) if momentum is None else chain(*members, trace(momentum, nesterov))


@optimizer
def adadelta(
    learning_rate: NonNegative = 1.0,
    rho: Decay = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.0,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:
    """AdaDelta: steps in the units of past steps, so that no learning rate is needed.

    Composition: `add_decayed_weights`, `scale_by_adadelta`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0; 1 is the method as published.
      rho: of both moving averages, in [0, 1).
      eps: inside both roots, at least 0.
      weight_decay: an L2 penalty, at least 0.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.adadelta())
      chain(add_decayed_weights(), scale_by_adadelta(), scale_by_learning_rate(learning_rate=1.0))

    References:
      - Zeiler, ADADELTA: an adaptive learning rate method, 2012, arXiv:1212.5701.
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )
