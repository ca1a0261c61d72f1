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
from gradtx.cli.tasks import Task
from gradtx.inspect.plots import FAINT, PALETTE, STYLE

FORMATS = (".png", ".pdf", ".svg")
FEW = 8
"""So many curves fit in one panel, whatever their schedules."""

NAME_WIDTH = 40
"""Longer names of curves are broken into lines of so many characters."""

BANDS = 3
"""So many curves can have the range of their seeds shaded."""


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


def curves(task: Task, outcomes: Sequence[Outcome], target: float | None) -> Figure:
    """The loss of every optimizer, mean over seeds, each curve named at its end.

    Many optimizers with and without a falling rate get a panel each for the two; a few share one.
    """
    panels = _panels(outcomes)
    labels = list(dict.fromkeys(outcome.entrant.label for outcome in outcomes))
    colours = {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}
    widest = min(NAME_WIDTH, max(len(_name(o, shared=len(panels) == 1)) for o in outcomes))
    with mpl.rc_context(STYLE):
        width = (6.8 if len(panels) == 1 else 5.2) + 0.085 * widest
        figure = Figure(figsize=(0.6 + len(panels) * width, 5.6), layout="constrained")
        axes: list[Axes] = list(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0])
        for axis in axes:
            _scale(axis, *_limits(task, outcomes))
        for axis, (heading, shown) in zip(axes, panels.items(), strict=True):
            axis.set_title(heading)
            ends = _draw(axis, task, shown, colours)
            names = [_name(outcome, shared=len(panels) == 1) for outcome in shown]
            _name_ends(axis, ends, names, [colours[outcome.entrant.label] for outcome in shown])
            if target is not None:
                _mark_target(axis, task, target)
        axes[0].set_ylabel(_quantity(task, outcomes))
    return figure


def _quantity(task: Task, outcomes: Sequence[Outcome]) -> str:
    what = task.loss if task.optimum is None else f"{task.loss} above the optimum"
    seeds = len(outcomes[0].losses)
    return what if seeds == 1 else f"{what}, mean of {seeds} seeds"


def title(text: str, width: int) -> str:
    """Text in lines of at most some width, as matplotlib is to print it: a dollar sign begins no formula."""
    return "\n".join(textwrap.wrap(text, width)).replace("$", r"\$")


def _panels(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    if len(outcomes) <= FEW:
        return {"": list(outcomes)}
    panels: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        schedule = outcome.entrant.schedule
        panels.setdefault(f"{schedule} rate" if schedule else "", []).append(outcome)
    return panels


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


def _draw(axis: Axes, task: Task, shown: Sequence[Outcome], colours: dict[str, str]) -> list[float]:
    """Draw the curves, and return where they end, as fractions of the height."""
    unit = shown[0].steps[1] if task.per_epoch else 1
    low, high = np.log(axis.get_ylim())
    ends = []
    for outcome in shown:
        colour, x = colours[outcome.entrant.label], outcome.steps / unit
        y = _curve(task, outcome.losses.mean(axis=0))
        axis.plot(x, y, _style(outcome, shown), color=colour, linewidth=1.5)
        if len(shown) <= BANDS:
            seeds = _curve(task, outcome.losses)
            axis.fill_between(x, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.12, linewidth=0)
        ends.append(float(np.clip((np.log(y[np.isfinite(y)][-1]) - low) / (high - low), 0, 1)))
    axis.set_xlim(0, shown[0].steps[-1] / unit)
    axis.set_xlabel("epochs" if task.per_epoch else "steps")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ends


def _style(outcome: Outcome, shown: Sequence[Outcome]) -> str:
    """Dashed for a falling rate that shares its panel with constant ones."""
    alike = len({other.entrant.schedule for other in shown}) == 1
    return "-" if alike or outcome.entrant.schedule in ("", CONSTANT) else "--"


def _name(outcome: Outcome, *, shared: bool) -> str:
    """What a curve is called; its schedule is part of it where curves of several share a panel."""
    entrant = outcome.entrant
    return f"{entrant.label}, {entrant.schedule}" if shared and entrant.schedule else entrant.label


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


def _mark_target(axis: Axes, task: Task, target: float) -> None:
    height = target - (task.optimum or 0.0)
    low, high = axis.get_ylim()
    if low < height < high:
        axis.axhline(height, color="#555555", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        halo = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
        axis.annotate(f"target {target:g}", (0, height), (4, 4), color="#555555", fontsize=8, bbox=halo, **where)
