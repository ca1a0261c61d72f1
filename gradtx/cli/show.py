"""``gradtx schedule`` and ``gradtx describe``: what constructor text stands for."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.text import Text

import gradtx
from gradtx.cli import figures
from gradtx.cli.data import Array
from gradtx.cli.failure import CommandError
from gradtx.inspect.plots import sampled
from gradtx.inspect.words import in_words

WIDTH, HEIGHT = 64, 12
BLOCKS = " ▁▂▃▄▅▆▇█"


def schedule(text: str, steps: int, png: Path | None, out: Console) -> None:
    """Print the schedules in a text in words and as a chart of blocks, and draw them if there is a file to draw to.

    Raises:
      CommandError: the figure cannot be saved.
      GradtxError: the text cannot be read, or has no schedule.
    """
    if png is not None:
        figures.check(png, "--png")
    value = gradtx.parse(text)
    for name, (at, values) in sampled(value, steps).items():
        out.print(Text(name, style="bold"))
        if isinstance(value, gradtx.Schedule):
            out.print(Text(in_words(value)))
        for line in chart(values, at):
            out.print(Text(line), soft_wrap=True)
        out.print()
    if png is not None:
        figures.save(gradtx.plot_schedule(value, steps).figure, png, "--png")
        out.print(f"figure: {png}", soft_wrap=True)


def chart(values: Array, steps: Array) -> list[str]:
    """Values as columns of blocks between the least (or zero, if nothing is below it) and the largest, with axes."""
    columns = min(WIDTH, len(values))
    shown = np.array([part.mean() for part in np.array_split(values.astype(np.float64), columns)])
    low, high = min(0.0, values.min()), max(0.0, values.max())
    span = high - low or 1.0
    eighths = np.round((shown - low) / span * HEIGHT * 8).astype(int)
    labels = {0: f"{high:.3g}", HEIGHT - 1: f"{low:.3g}", HEIGHT // 2: f"{low + span / 2:.3g}"}
    margin = max(map(len, labels.values()))
    lines = []
    for row in range(HEIGHT):
        filled = np.clip(eighths - 8 * (HEIGHT - 1 - row), 0, 8)
        lines.append(f"{labels.get(row, ''):>{margin}} ┤{''.join(BLOCKS[n] for n in filled)}".rstrip())
    first, last = str(steps[0]), str(steps[-1])
    ends = first if len(steps) == 1 else f"{first}{last:>{max(columns - len(first), len(last) + 1)}}"
    return [*lines, f"{'':>{margin}} └{'─' * columns}", f"{'':>{margin}}  {ends}"]


def describe(text: str, shapes: str | None, out: Console) -> None:
    """Print what an optimizer is made of, and what it costs for parameters of some shapes.

    Raises:
      CommandError: the shapes cannot be read.
      GradtxError: the text cannot be read, or does not fit the parameters.
    """
    value = gradtx.parse(text)
    params = None if shapes is None else parameters(shapes)
    if params is not None and isinstance(value, gradtx.Schedule):
        raise CommandError(f"--params: {value.factory.name} is a schedule, which has no parameters")
    out.print(gradtx.describe(value, params))


def parameters(text: str) -> dict[str, Any]:
    """The shapes that ``'dense/kernel:4096x4096:bfloat16,scale'`` names, nested by the slashes.

    Raises:
      CommandError: an entry is not ``name:shape:dtype``, or a name is taken.
    """
    tree: dict[str, Any] = {}
    for entry in text.split(","):
        name, *rest = entry.strip().split(":")
        if not name or not all(name.split("/")) or len(rest) > 2:
            raise CommandError(f"--params: expected NAME:SHAPE:DTYPE such as kernel:4096x4096:bfloat16, got {entry!r}")
        *folders, leaf = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise CommandError(f"--params: {name!r} is inside {folder!r}, which is a parameter")
        if leaf in node:
            raise CommandError(f"--params: {name!r} is there twice")
        node[leaf] = _shape(entry, *rest)
    return tree


def _shape(entry: str, shape: str = "", dtype: str = "float32") -> jax.ShapeDtypeStruct:
    sizes = shape.split("x") if shape else []
    if not all(size.isdecimal() for size in sizes):
        raise CommandError(f"--params: expected a shape such as 4096x4096, got {shape!r} in {entry!r}")
    try:
        kind = jnp.dtype(dtype)
    except TypeError:
        raise CommandError(f"--params: expected a dtype such as bfloat16, got {dtype!r} in {entry!r}") from None
    return jax.ShapeDtypeStruct(tuple(map(int, sizes)), jax.dtypes.canonicalize_dtype(kind))  # type: ignore[no-untyped-call]
