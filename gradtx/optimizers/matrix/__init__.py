"""Methods for matrices: orthogonalized momentum and Kronecker-factored preconditioners."""

from gradtx.optimizers.matrix.adamuon import adamuon, scale_by_adamuon
from gradtx.optimizers.matrix.apollo import ScaleByApolloState, apollo, apollo_mini, scale_by_apollo
from gradtx.optimizers.matrix.batches import in_batches, map_matrices
from gradtx.optimizers.matrix.choice import Matrices, MatrixChoice, choose_matrices, matrix_labels
from gradtx.optimizers.matrix.dion import ScaleByDionState, dion, scale_by_dion
from gradtx.optimizers.matrix.galore import ScaleByGaloreState, galore, scale_by_galore
from gradtx.optimizers.matrix.inverse_root import InverseRoot, inverse_root
from gradtx.optimizers.matrix.kron import WhitenUpdatesState, kron, scale_by_kron, whiten_updates
from gradtx.optimizers.matrix.layout import MatrixLayout
from gradtx.optimizers.matrix.muon import muon, scale_by_muon
from gradtx.optimizers.matrix.normuon import NormalizeNeuronsState, normalize_neurons, normuon, scale_by_normuon
from gradtx.optimizers.matrix.orthogonalization import orthogonalize, orthogonalize_updates
from gradtx.optimizers.matrix.qk_clip import qk_clip
from gradtx.optimizers.matrix.scion import scale_by_scion, scion, steepest_direction
from gradtx.optimizers.matrix.shampoo import ScaleByShampooState, scale_by_shampoo, shampoo
from gradtx.optimizers.matrix.shape_scaling import scale_by_shape, scale_to_rms
from gradtx.optimizers.matrix.soap import ScaleBySoapState, scale_by_soap, soap
from gradtx.optimizers.matrix.splus import ScaleBySplusState, scale_by_splus, splus

__all__ = [
    "InverseRoot",
    "Matrices",
    "MatrixChoice",
    "MatrixLayout",
    "NormalizeNeuronsState",
    "ScaleByApolloState",
    "ScaleByDionState",
    "ScaleByGaloreState",
    "ScaleByShampooState",
    "ScaleBySoapState",
    "ScaleBySplusState",
    "WhitenUpdatesState",
    "adamuon",
    "apollo",
    "apollo_mini",
    "choose_matrices",
    "dion",
    "galore",
    "in_batches",
    "inverse_root",
    "kron",
    "map_matrices",
    "matrix_labels",
    "muon",
    "normalize_neurons",
    "normuon",
    "orthogonalize",
    "orthogonalize_updates",
    "qk_clip",
    "scale_by_adamuon",
    "scale_by_apollo",
    "scale_by_dion",
    "scale_by_galore",
    "scale_by_kron",
    "scale_by_muon",
    "scale_by_normuon",
    "scale_by_scion",
    "scale_by_shampoo",
    "scale_by_shape",
    "scale_by_soap",
    "scale_by_splus",
    "scale_to_rms",
    "scion",
    "shampoo",
    "soap",
    "splus",
    "steepest_direction",
    "whiten_updates",
]
