"""Methods for matrices: orthogonalized momentum and Kronecker-factored preconditioners."""

from gradtx.optimizers.matrix.layout import (
    Matrices,
    MatrixChoice,
    MatrixLayout,
    choose_matrices,
    in_batches,
    map_matrices,
    matrix_labels,
)
from gradtx.optimizers.matrix.muon import muon, scale_by_muon
from gradtx.optimizers.matrix.orthogonalization import orthogonalize, orthogonalize_updates
from gradtx.optimizers.matrix.shape_scaling import scale_by_shape

__all__ = [
    "Matrices",
    "MatrixChoice",
    "MatrixLayout",
    "choose_matrices",
    "in_batches",
    "map_matrices",
    "matrix_labels",
    "muon",
    "orthogonalize",
    "orthogonalize_updates",
    "scale_by_muon",
    "scale_by_shape",
]
