"""The figures: where they may be saved, how they look, and the loss curves of a comparison."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from gradtx.cli.data import Array
from gradtx.cli.entrants import CONSTANT
from gradtx.cli.failure import CommandError
from gradtx.cli.race import Outcome
from gradtx.cli.ranking import Placed, finding
from gradtx.cli.tasks import Task
from gradtx.inspect.plots import FAINT, STYLE

FORMATS = (".png", ".pdf", ".svg")
MOST = 6
"""So many curves are drawn: those of the best."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")
"""Okabe and Ito's colours, which people who see fewer of them can tell apart."""

NAME_WIDTH = 30
"""Longer names of curves are broken into lines of so many characters."""

TITLE_WIDTH = 90


def check(out: Path, option: str = "--out") -> None:
    """See that a figure can be saved before hours are spent on it.

    Raises:
      CommandError: it cannot, as far as can be seen.
    """
    if out.suffix.lower() not in FORMATS:
        raise CommandError(f"{option} {out}: expected a name that ends in {', '.join(FORMATS)}")
    target = out if out.exists() else out.parent
    if out.is_dir() or not target.exists() or not os.access(target, os.W_OK):
        raise CommandError(f"{option} {out}: cannot be written")


def save(figure: Figure, out: Path, option: str = "--out") -> None:
    """Write a figure to a file.

    Raises:
      CommandError: it cannot be written.
    """
    try:
        figure.savefig(out)
    except OSError as error:
        raise CommandError(f"{option} {out}: cannot be written ({error.strerror or error})") from None


def curves(task: Task, ranked: Sequence[Placed], target: float | None) -> Figure:
    """The loss of the best, mean and range over seeds, each curve named at its end; the title says what they show."""
    shown = list(ranked[:MOST])
    labels = list(dict.fromkeys(placed.outcome.entrant.label for placed in shown))
    colours = [COLOURS[labels.index(placed.outcome.entrant.label)] for placed in shown]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 5.4), layout="constrained")
        axis: Axes = figure.subplots()
        _scale(axis, *_limits(task, [placed.outcome for placed in shown]))
        axis.set_title(title(_heading(ranked, target), TITLE_WIDTH), pad=12)
        ends = _draw(axis, task, [placed.outcome for placed in shown], colours)
        _name_ends(axis, ends, [placed.name for placed in shown], colours)
        if target is not None:
            _mark_target(axis, task, [placed.outcome for placed in shown], colours, target)
        axis.set_ylabel(_quantity(task, shown[0].outcome))
    return figure


def _heading(ranked: Sequence[Placed], target: float | None) -> str:
    """What the comparison found; and that there are others, if there are."""
    others = f" The best {MOST} of {len(ranked)}." if len(ranked) > MOST else ""
    return finding(ranked, target) + others


def _quantity(task: Task, outcome: Outcome) -> str:
    what = task.loss if task.optimum is None else f"{task.loss} above the optimum"
    seeds = len(outcome.losses)
    return what if seeds == 1 else f"{what}, mean and range of {seeds} seeds"


def title(text: str, width: int) -> str:
    """Text in lines of at most some width, as matplotlib is to print it: a dollar sign begins no formula."""
    return "\n".join(textwrap.wrap(text, width)).replace("$", r"\$")


def _curve(task: Task, losses: Array) -> Array:
    """Losses as they are drawn: above the optimum if it is known, with gaps where they have no logarithm."""
    above = losses.astype(np.float64) - (task.optimum or 0.0)
    return np.where(np.isfinite(above) & (above > 0), above, np.nan)


def _scale(axis: Axes, low: float, high: float) -> None:
    """A logarithmic axis whose numbers are written out; those between powers of ten, too, if there are few of these."""
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    if high < 15 * low:
        axis.yaxis.set_minor_locator(LogLocator(subs=(1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 8)))
        axis.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    axis.grid(axis="y", which="both" if high < 15 * low else "major", color=FAINT, linewidth=0.6)


def _limits(task: Task, outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Room for everything that does not diverge."""
    start = np.nanmax([_curve(task, o.losses[:, 0]).max() for o in outcomes])
    lowest = np.nanmin([_curve(task, o.losses.mean(axis=0)) for o in outcomes])
    margin = max((start / lowest) ** 0.06, 1.1)
    return float(lowest / margin), float(start * margin)


def _draw(axis: Axes, task: Task, shown: Sequence[Outcome], colours: Sequence[str]) -> list[float]:
    """Draw the curves, and return where they end, as fractions of the height."""
    unit = _unit(task, shown)
    low, high = np.log(axis.get_ylim())
    ends = []
    for outcome, colour in zip(shown, colours, strict=True):
        x, y = outcome.steps / unit, _curve(task, outcome.losses.mean(axis=0))
        axis.plot(x, y, _style(outcome, shown), color=colour, linewidth=1.6)
        seeds = _curve(task, outcome.losses)
        axis.fill_between(x, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.1, linewidth=0)
        drawn = y[np.isfinite(y)]
        ends.append(float(np.clip((np.log(drawn[-1]) - low) / (high - low), 0, 1)) if len(drawn) else 1.0)
    axis.set_xlim(0, shown[0].steps[-1] / unit)
    axis.set_xlabel("epochs" if task.per_epoch else "steps")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ends


def _unit(task: Task, shown: Sequence[Outcome]) -> float:
    """How many steps one unit of the horizontal axis has."""
    return float(shown[0].steps[1]) if task.per_epoch else 1.0


def _style(outcome: Outcome, shown: Sequence[Outcome]) -> str:
    """Dashed for the constant rate of an optimizer that has another curve, of a falling one."""
    both = any(o.entrant.label == outcome.entrant.label and o is not outcome for o in shown)
    return "--" if both and outcome.entrant.schedule == CONSTANT else "-"


def _name_ends(axis: Axes, ends: Sequence[float], names: Sequence[str], colours: Sequence[str]) -> None:
    """Write the names to the right of the curves' ends, apart from one another, with a line from end to name."""
    where: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "axes fraction", "annotation_clip": False}
    for end, place, name, colour in zip(ends, spread(np.array(ends)), names, colours, strict=True):
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0}
        text = title(name, NAME_WIDTH)
        axis.annotate(text, (1.0, end), (1.06, place), color=colour, va="center", arrowprops=line, **where)


def spread(places: Array, gap: float = 0.042) -> Array:
    """The nearest places on the unit interval, in the same order, that keep a distance from one another.

    Less the distance times the rank, places that keep it are places that do not fall: an isotonic regression. Where
    there is no room for the distance, it shrinks.
    """
    from sklearn.isotonic import isotonic_regression

    order, ranks = np.argsort(places, kind="stable"), np.arange(len(places))
    gap = min(gap, 1 / max(len(places) - 1, 1))
    shifts = gap * ranks
    apart = np.empty(len(places))
    apart[order] = isotonic_regression(places[order] - shifts, y_min=0, y_max=1 - shifts[-1]) + shifts
    return apart


def _mark_target(axis: Axes, task: Task, shown: Sequence[Outcome], colours: Sequence[str], target: float) -> None:
    """A line at the target, and a dot where each curve has reached it with all its seeds, on average."""
    height = target - (task.optimum or 0.0)
    low, high = axis.get_ylim()
    if not low < height < high:
        return
    axis.axhline(height, color="#555555", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    for outcome, colour in zip(shown, colours, strict=True):
        axis.plot(outcome.steps_to(target).mean() / _unit(task, shown), height, "o", color=colour, markersize=5)
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    halo = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    axis.annotate(f"target {target:g}", (0, height), (4, 4), color="#555555", fontsize=8, bbox=halo, **where)
