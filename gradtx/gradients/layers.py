"""Factors of the updates of layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradtx.combinators.partition import partition
from gradtx.core import GradientTransformation, transformation
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.gradients.scaling import identity, scale, set_to_zero


@transformation
def scale_by_layer(factors: Mapping[str, Any]) -> GradientTransformation:
    r"""Multiply the updates of each layer by a factor of its own: :math:`u_k = f_k\, g_k`.

    After an optimizer, the factors are those of its learning rate: ``chain(adamw(1e-3), scale_by_layer({...}))``. A
    weight decay inside of the optimizer is multiplied, too; before it, in front of an optimizer that divides by the
    size of the gradient, a factor does nothing.

    Args:
      factors: numbers or schedules by globs on the paths of leaves, tried in order; ``*`` also matches ``/``. A leaf
        that matches none has the factor 1. With the number 0 it is frozen: its update is zero, also where the gradient
        is NaN.

    State:
      A `PartitionState`, which is empty but for the counters of schedules.

    Raises:
      ArgumentTypeError: `factors` is no mapping from globs to numbers or schedules.
      ArgumentValueError: a glob other than ``"*"`` is left without a leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.scale_by_layer({"embed/*": 0.1, "head/*": 10.0}))
      >>> grads = {"embed": {"table": jnp.ones(1)}, "dense": {"kernel": jnp.ones(1)}, "head": {"kernel": jnp.ones(1)}}
      >>> updates, _ = tx.update(grads, tx.init(grads))
      >>> updates["embed"]["table"], updates["dense"]["kernel"], updates["head"]["kernel"]
      (Array([-0.1], dtype=float32), Array([-1.], dtype=float32), Array([-10.], dtype=float32))

    References:
      - Howard, Ruder, Universal language model fine-tuning for text classification, 2018, arXiv:1801.06146.
    """
    if not all(isinstance(glob, str) for glob in factors):
        raise ArgumentTypeError("globs on the paths of leaves as keys of factors", got=str(list(factors)))
    members = {glob: _scaled(glob, factor) for glob, factor in factors.items()}
    return partition(members if "*" in members else {**members, "*": identity()})


def _scaled(glob: str, factor: Any) -> GradientTransformation:
    if isinstance(factor, int | float) and factor == 0:
        return set_to_zero()
    try:
        return scale(factor)
    except (ArgumentTypeError, ArgumentValueError) as error:
        expected = f"factors[{glob!r}] to be a finite number or a schedule"
        raise type(error)(expected, got=repr(factor), hint=error.hint) from None


def layer_decay_factors(layers: Sequence[str | tuple[str, ...]], decay: float) -> dict[str, float]:
    r"""The factors of a learning rate that decays with the depth, for `scale_by_layer`.

    .. math:: f_l = r^{L - l}, \qquad l = 0, \dots, L

    The last of the layers, the new head, has the factor 1; the first one, the embeddings, the smallest.

    Args:
      layers: globs on the paths of leaves, from the input to the output; a tuple of globs is one layer. ``"block_1/*"``
        and not ``"block_1*"``, which also matches ``block_10``.
      decay: :math:`r`, positive: 0.65 to 0.75 for vision transformers, 0.8 to 0.9 for small language models.

    Raises:
      ArgumentValueError: `decay` is not positive, or a glob is there twice.

    Example:
      >>> import gradtx
      >>> factors = gradtx.layer_decay_factors(["embed/*", "block_0/*", "block_1/*", ("norm/*", "head/*")], 0.5)
      >>> factors
      {'embed/*': 0.125, 'block_0/*': 0.25, 'block_1/*': 0.5, 'norm/*': 1.0, 'head/*': 1.0}
      >>> gradtx.chain(gradtx.adamw(1e-3), gradtx.scale_by_layer(factors)).factory.name
      'chain'

    References:
      - Clark et al., ELECTRA: pre-training text encoders as discriminators rather than generators, 2020,
        arXiv:2003.10555.
      - Bao et al., BEiT: BERT pre-training of image transformers, 2022, arXiv:2106.08254.
    """
    if not decay > 0:
        raise ArgumentValueError("decay in (0, inf)", got=repr(decay), origin="layer_decay_factors")
    groups = [(layer,) if isinstance(layer, str) else tuple(layer) for layer in layers]
    globs = [glob for group in groups for glob in group]
    twice = next((glob for glob in globs if globs.count(glob) > 1), None)
    if twice is not None:
        raise ArgumentValueError("each glob once", got=f"{twice!r} twice", origin="layer_decay_factors")
    return {glob: float(decay) ** (len(groups) - 1 - depth) for depth, group in enumerate(groups) for glob in group}
