"""Transformations that ask for values or gradients at other points."""

from gradtx.evaluations.backtracking import scale_by_backtracking_linesearch
from gradtx.evaluations.extragradient import ExtragradientState, extragradient
from gradtx.evaluations.hessian import ScaleBySophiaState, hutchinson_diagonal, scale_by_sophia
from gradtx.evaluations.lbfgs import ScaleByLbfgsState, scale_by_lbfgs
from gradtx.evaluations.linesearch import LinesearchState, LinesearchStop, value_and_grad_from_state
from gradtx.evaluations.polyak import ScaleByPolyakState, scale_by_polyak
from gradtx.evaluations.runge_kutta import heun, ralston, rk4, runge_kutta
from gradtx.evaluations.sharpness import SharpnessAwareState, adaptive_sharpness_aware, asam, sam, sharpness_aware
from gradtx.evaluations.zoom import scale_by_zoom_linesearch

__all__ = [
    "ExtragradientState",
    "LinesearchState",
    "LinesearchStop",
    "ScaleByLbfgsState",
    "ScaleByPolyakState",
    "ScaleBySophiaState",
    "SharpnessAwareState",
    "adaptive_sharpness_aware",
    "asam",
    "extragradient",
    "heun",
    "hutchinson_diagonal",
    "ralston",
    "rk4",
    "runge_kutta",
    "sam",
    "scale_by_backtracking_linesearch",
    "scale_by_lbfgs",
    "scale_by_polyak",
    "scale_by_sophia",
    "scale_by_zoom_linesearch",
    "sharpness_aware",
    "value_and_grad_from_state",
]
