"""Which axes of a kernel number its outputs."""

from typing import Any, TypeAlias

import jax

from gradtx.errors import ArgumentTypeError, ArgumentValueError

OutputAxis: TypeAlias = int | tuple[int, ...]
"""The axis (or axes) that numbers outputs: the last one in JAX, where kernels are [..., in, out]."""


def as_axes(output_axis: Any) -> tuple[int, ...]:
    """The axes that an argument ``output_axis`` means."""
    axes = output_axis if isinstance(output_axis, tuple) else (output_axis,)
    if not all(type(axis) is int for axis in axes):
        raise ArgumentTypeError("output_axis to be an integer or a tuple of integers", got=repr(output_axis))
    return axes


def other_axes(x: jax.Array, output_axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a kernel but those of its outputs: an output's slice extends over them."""
    if not all(-x.ndim <= axis < x.ndim for axis in output_axes):
        shown = output_axes[0] if len(output_axes) == 1 else output_axes
        raise ArgumentValueError(f"leaves with axis {shown}", got=f"a leaf of shape {list(x.shape)}")
    outputs = {axis % x.ndim for axis in output_axes}
    return tuple(axis for axis in range(x.ndim) if axis not in outputs)
