"""Transformations that ask for values or gradients at other points."""

from gradtx.evaluations.extragradient import ExtragradientState, extragradient
from gradtx.evaluations.runge_kutta import heun, ralston, rk4, runge_kutta

__all__ = [
    "ExtragradientState",
    "extragradient",
    "heun",
    "ralston",
    "rk4",
    "runge_kutta",
]
