"""Which axes of a kernel number its outputs."""

from typing import Any, TypeAlias

import jax

from gradtx.errors import ArgumentTypeError, ArgumentValueError

OutputAxis: TypeAlias = int | tuple[int, ...]
"""The axis (or axes) that numbers outputs: the last one in JAX, where kernels are [..., in, out]."""


def as_axes(output_axis: Any, argument: str = "output_axis") -> tuple[int, ...]:
    """The axes that an argument ``output_axis``, or one of another name, means."""
    axes = output_axis if isinstance(output_axis, tuple) else (output_axis,)
    if not all(type(axis) is int for axis in axes):
        raise ArgumentTypeError(f"{argument} to be an integer or a tuple of integers", got=repr(output_axis))
    return axes


def other_axes(x: jax.Array, output_axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a kernel but those of its outputs: an output's slice extends over them."""
    outputs = axes_of(x, output_axes)
    return tuple(axis for axis in range(x.ndim) if axis not in outputs)


def axes_of(x: jax.Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of an array, counted from the first one, each once."""
    if not all(-x.ndim <= axis < x.ndim for axis in axes):
        shown = axes[0] if len(axes) == 1 else axes
        raise ArgumentValueError(f"leaves with axis {shown}", got=f"a leaf of shape {list(x.shape)}")
    return tuple(dict.fromkeys(axis % x.ndim for axis in axes))
