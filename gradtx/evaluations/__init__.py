"""Transformations that ask for values or gradients at other points."""

from gradtx.evaluations.extragradient import ExtragradientState, extragradient
from gradtx.evaluations.hessian import ScaleBySophiaState, hutchinson_diagonal, scale_by_sophia
from gradtx.evaluations.runge_kutta import heun, ralston, rk4, runge_kutta
from gradtx.evaluations.sharpness import SharpnessAwareState, adaptive_sharpness_aware, asam, sam, sharpness_aware

__all__ = [
    "ExtragradientState",
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
    "scale_by_sophia",
    "sharpness_aware",
]
