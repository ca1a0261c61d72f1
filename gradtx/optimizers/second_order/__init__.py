"""Curvature: quasi-Newton directions, searches along them, and the diagonal of the Hessian."""

from gradtx.optimizers.second_order.backtracking import scale_by_backtracking_linesearch
from gradtx.optimizers.second_order.hutchinson import hutchinson_diagonal
from gradtx.optimizers.second_order.lbfgs import ScaleByLbfgsState, lbfgs, scale_by_lbfgs
from gradtx.optimizers.second_order.linesearch import LinesearchState, LinesearchStop, value_and_grad_from_state
from gradtx.optimizers.second_order.sophia import ScaleBySophiaState, scale_by_sophia, sophia
from gradtx.optimizers.second_order.zoom import scale_by_zoom_linesearch

__all__ = [
    "LinesearchState",
    "LinesearchStop",
    "ScaleByLbfgsState",
    "ScaleBySophiaState",
    "hutchinson_diagonal",
    "lbfgs",
    "scale_by_backtracking_linesearch",
    "scale_by_lbfgs",
    "scale_by_sophia",
    "scale_by_zoom_linesearch",
    "sophia",
    "value_and_grad_from_state",
]
