"""``gradtx trajectories``: the paths of optimizers on a long, narrow valley."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import gradtx
from gradtx.cli import entrants, figures
from gradtx.cli.data import Array
from gradtx.cli.program import Transformation
from gradtx.inspect import plots

START = (4.0, 3.0)
STEPS = 100
COLUMNS = 4
BOX = ((-4.6, 4.6), (-3.7, 3.7))
"""What a panel shows of x1 and x2."""

CLASSICS: tuple[tuple[str, Transformation], ...] = (
    ("gradient descent, rate 0.1", gradtx.sgd(0.1)),
    ("gradient descent, rate 0.01", gradtx.sgd(0.01)),
    ("momentum, rate 0.01", gradtx.sgd(0.01, momentum=0.9)),
    ("Nesterov, rate 0.01", gradtx.sgd(0.01, momentum=0.9, nesterov=True)),
    ("gradient descent, rate 0.1", gradtx.sgd(0.1)),
    ("AdaGrad, rate 0.1", gradtx.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-8)),
    ("RMSProp, rate 0.1", gradtx.rmsprop(0.1, decay=0.9, eps=1e-8)),
    ("Adam, rate 0.1", gradtx.adam(0.1, eps=1e-8)),
)
"""The upper row goes on from plain descent at 0.1 with small rates, the lower row with adaptive ones."""


@dataclasses.dataclass(frozen=True)
class Track:
    """The path of one optimizer.

    Attributes:
      title: the title of its panel.
      points: the points, [steps + 1, 2].
    """

    title: str
    points: Array


def trajectories(texts: Sequence[str], out: Path, console: Console) -> None:
    """Draw the panels and print where the paths end.

    Raises:
      CommandError: a text is not an optimizer, or the figure cannot be saved.
      GradtxError: a text cannot be read, or the optimizer needs what a quadratic cannot give.
    """
    figures.check(out)
    chosen = [(entrant.label, entrant.tx) for entrant in entrants.from_texts(texts)] or CLASSICS
    paths = [Track(title, walk(tx)) for title, tx in chosen]
    console.print(table(paths))
    figures.save(draw(paths), out)
    console.print(f"figure: {out}", soft_wrap=True)


def valley(x: jax.Array) -> jax.Array:
    """The function: x1^2 + 10 x2^2."""
    return x[0] ** 2 + 10 * x[1] ** 2


def walk(tx: Transformation) -> Array:
    """The points an optimizer visits."""
    return plots.follow(valley, tx, START, STEPS)


def table(paths: Sequence[Track]) -> Table:
    """Where each path ends."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column(f"after {STEPS} steps from {START}")
    for header in ("x1", "x2", "x1² + 10 x2²"):
        made.add_column(header, justify="right", no_wrap=True)
    for path in paths:
        x1, x2 = path.points[-1]
        value = x1**2 + 10 * x2**2
        cells = [f"{x1:.4f}", f"{x2:.4f}", f"{value:.3g}"] if np.isfinite(value) else ["diverged", "", ""]
        made.add_row(Text(path.title), *cells)
    return made


# --- the figure -------------------------------------------------------------------------------------------------------


def draw(paths: Sequence[Track]) -> Figure:
    """A panel for each path, on the contours of the function."""
    columns = min(COLUMNS, len(paths))
    rows = -(-len(paths) // columns)
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(3.4 * columns + 0.8, 2.9 * rows + 0.4), layout="constrained")
        axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axis, path in zip(axes, paths, strict=False):
            plots.draw_contours(axis, valley, BOX)
            plots.draw_path(axis, path.points, STEPS)
            axis.plot(0, 0, marker="+", color="#bb1111", markersize=8, markeredgewidth=1.2, zorder=5)
            axis.set_title(figures.title(path.title, 46), fontsize=10)
        for axis in axes[len(paths) :]:
            axis.remove()
        figure.supxlabel("$x_1$", fontsize=11)
        figure.supylabel("$x_2$", fontsize=11)
        bar = figure.colorbar(plots.ages(STEPS), ax=axes[: len(paths)], aspect=18 * rows, pad=0.01)
        bar.set_label("step")
        bar.outline.set_visible(False)
    return figure
