"""An optimizer for the matrices of a network, and one for the other leaves."""

import functools
from typing import Any

from gradtx.combinators import chain, partition
from gradtx.core import GradientTransformation
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam import adamw
from gradtx.optimizers.matrix.choice import Matrices, matrix_labels
from gradtx.tree.select import is_glob, require_matches, resolve_mask
from gradtx.typing import Mask, Params


def matrices_and_rest(
    direction: GradientTransformation,
    rest: GradientTransformation | None,
    learning_rate: Any,
    weight_decay: Any,
    weight_decay_mask: Mask,
    matrices: Matrices,
) -> GradientTransformation:
    """An optimizer of matrices by a direction, with decoupled decay; of other leaves by `rest`, or `adamw`."""
    mask: Mask = weight_decay_mask
    if is_glob(mask):  # that has to match among all leaves, and not in each of the two groups
        mask = functools.partial(resolve_mask, weight_decay_mask)

    def labels(params: Params) -> Any:
        require_matches(weight_decay_mask, params)
        return matrix_labels(matrices, params)

    of_matrices = chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
    others = rest or adamw(learning_rate, b2=0.95, weight_decay=weight_decay, mask=mask)
    return partition({"matrix": of_matrices, "rest": others}, labels)
