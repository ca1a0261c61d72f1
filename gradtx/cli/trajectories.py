"""``gradtx trajectories``: the paths of optimizers on a long, narrow valley."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import gradtx
from gradtx.cli import entrants, figures, program
from gradtx.cli.data import Array
from gradtx.cli.program import Transformation

START = (4.0, 3.0)
STEPS = 100
COLUMNS = 4
BOX = ((-4.6, 4.6), (-3.7, 3.7))
"""What a panel shows of x1 and x2."""

LEVELS = np.array([0.0, *np.geomspace(0.3, 170, 12)])
SHADES = mpl.colormaps["Blues_r"](np.linspace(0.68, 1.0, len(LEVELS)))
AGES = LinearSegmentedColormap.from_list("ages", mpl.colormaps["plasma_r"](np.linspace(0.18, 1.0, 256)))
AGE = Normalize(0, STEPS)

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

    def step(run: program.Run, key: jax.Array) -> tuple[program.Run, jax.Array]:
        run = program.step(tx, run, valley, key)
        return run, run.params

    @jax.jit
    def path(start: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.key(0), STEPS + 1)
        return jax.lax.scan(step, program.Run(start, tx.init(start), keys[0]), keys[1:])[1]

    start = jnp.array(START)
    return np.concatenate([[START], np.asarray(path(start))])


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
    with mpl.rc_context(figures.STYLE | {"axes.spines.top": True, "axes.spines.right": True}):
        figure = Figure(figsize=(3.4 * columns + 0.8, 2.9 * rows + 0.4), layout="constrained")
        axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axis, path in zip(axes, paths, strict=False):
            _panel(axis, path)
        for axis in axes[len(paths) :]:
            axis.remove()
        figure.supxlabel("$x_1$", fontsize=11)
        figure.supylabel("$x_2$", fontsize=11)
        bar = figure.colorbar(ScalarMappable(AGE, AGES), ax=axes[: len(paths)], aspect=18 * rows, pad=0.01)
        bar.set_label("step")
        bar.outline.set_visible(False)
    return figure


def _panel(axis: Axes, path: Track) -> None:
    x, y = np.meshgrid(np.linspace(*BOX[0], 200), np.linspace(*BOX[1], 200))
    axis.contourf(x, y, x**2 + 10 * y**2, levels=LEVELS, colors=SHADES, extend="max")
    axis.contour(x, y, x**2 + 10 * y**2, levels=LEVELS[1:], colors="#c3ccd6", linewidths=0.6)
    points = path.points[np.isfinite(path.points).all(axis=1)]
    ages = np.arange(1, len(points))
    segments = np.stack([points[:-1], points[1:]], axis=1)
    axis.add_collection(LineCollection(list(segments), array=ages, cmap=AGES, norm=AGE, linewidths=1.2))
    axis.scatter(points[1:, 0], points[1:, 1], c=ages, cmap=AGES, norm=AGE, s=8, linewidths=0, zorder=3)
    axis.plot(*START, marker="o", color=figures.INK, markersize=5, zorder=4)
    axis.plot(0, 0, marker="+", color="#bb1111", markersize=8, markeredgewidth=1.2, zorder=5)
    axis.set_title(figures.title(path.title, 46), fontsize=10)
    axis.set(xlim=BOX[0], ylim=BOX[1])
