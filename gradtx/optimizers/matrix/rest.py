"""An optimizer for the matrices of a network, and one for the other leaves."""

import functools
from collections.abc import Callable
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

    def make(mask: Mask) -> tuple[GradientTransformation, GradientTransformation]:
        of_matrices = chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
        return of_matrices, rest or adamw(learning_rate, b2=0.95, weight_decay=weight_decay, mask=mask)

    return in_two_groups(make, weight_decay_mask, matrices)


def in_two_groups(
    make: Callable[[Mask], tuple[GradientTransformation, GradientTransformation]], mask: Mask, matrices: Matrices
) -> GradientTransformation:
    """An optimizer for the matrices and one for the other leaves, with one mask of the decay for both.

    Args:
      make: ``make(mask) -> (of_matrices, of_others)``. A glob in `mask` has to match among all leaves; the mask that
        `make` is given may match in one of the two groups alone.
      mask: the leaves to decay, of the whole tree.
      matrices: which leaves are matrices, and how. See `Matrices`.
    """
    of_matrices, others = make(functools.partial(resolve_mask, mask) if is_glob(mask) else mask)

    def labels(params: Params) -> Any:
        require_matches(mask, params)
        return matrix_labels(matrices, params)

    return partition({"matrix": of_matrices, "rest": others}, labels)
