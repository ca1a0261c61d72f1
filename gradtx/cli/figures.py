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

from gradtx.cli.data import Array
from gradtx.cli.entrants import CONSTANT
from gradtx.cli.failure import CommandError
from gradtx.cli.race import Outcome
from gradtx.cli.tasks import Task

FORMATS = (".png", ".pdf", ".svg")
INK, FAINT = "#222222", "#d8d8d8"
STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.dpi": 150,
    "font.size": 9.5,
    "text.color": INK,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}
PALETTE = (
    "#4477aa", "#ee6677", "#228833", "#ccaa22", "#66ccee", "#aa3377", "#777777",
    "#e07b00", "#004488", "#117755", "#bb1111", "#9988dd", "#885522", "#77bb33",
)  # fmt: skip
"""Colours that differ in lightness as well as hue, so that most pairs survive colour blindness and grey print."""

FEW = 8
"""So many curves fit in one panel, whatever their schedules."""

BANDS = 3
"""So many curves can have the range of their seeds shaded."""


def check(out: Path) -> None:
    """See that a figure can be saved before hours are spent on it.

    Raises:
      CommandError: it cannot, as far as can be seen.
    """
    if out.suffix.lower() not in FORMATS:
        raise CommandError(f"--out {out}: expected a name that ends in {', '.join(FORMATS)}")
    target = out if out.exists() else out.parent
    if out.is_dir() or not target.exists() or not os.access(target, os.W_OK):
        raise CommandError(f"--out {out}: cannot be written")


def save(figure: Figure, out: Path) -> None:
    """Write a figure to a file.

    Raises:
      CommandError: it cannot be written.
    """
    try:
        figure.savefig(out)
    except OSError as error:
        raise CommandError(f"--out {out}: cannot be written ({error.strerror or error})") from None


def curves(task: Task, outcomes: Sequence[Outcome], target: float) -> Figure:
    """The loss of every optimizer, mean over seeds, each curve named at its end.

    Many optimizers with and without a falling rate get a panel each for the two; a few share one.
    """
    panels = _panels(outcomes)
    labels = dict.fromkeys(outcome.entrant.label for outcome in outcomes)
    colours = {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4 if len(panels) == 1 else 12.5, 5.6), layout="constrained")
        axes: list[Axes] = list(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0])
        for axis in axes:
            axis.set_yscale("log")
            axis.set_ylim(*_limits(task, outcomes))
        for axis, (title, shown) in zip(axes, panels.items(), strict=True):
            axis.set_title(title)
            _draw(axis, task, shown, colours)
            _mark_target(axis, task, target, len(shown))
        axes[0].set_ylabel(task.loss if task.optimum is None else f"{task.loss} above the optimum")
    return figure


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


def _limits(task: Task, outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Room for everything that does not diverge."""
    start = np.nanmax([_curve(task, o.losses[:, 0]).max() for o in outcomes])
    lowest = np.nanmin([_curve(task, o.losses.mean(axis=0)) for o in outcomes])
    return float(lowest) * 0.7, float(start) * 1.6


def _draw(axis: Axes, task: Task, shown: Sequence[Outcome], colours: dict[str, str]) -> None:
    unit = shown[0].steps[1] if task.per_epoch else 1
    low, high = np.log(axis.get_ylim())
    ends, names = [], []
    for outcome in shown:
        entrant, x, y = outcome.entrant, outcome.steps / unit, _curve(task, outcome.losses.mean(axis=0))
        style = "-" if entrant.schedule in ("", CONSTANT) or len(shown) > FEW else "--"
        axis.plot(x, y, style, color=colours[entrant.label], linewidth=1.5)
        if len(shown) <= BANDS:
            seeds = _curve(task, outcome.losses)
            axis.fill_between(x, seeds.min(axis=0), seeds.max(axis=0), color=colours[entrant.label], alpha=0.12, lw=0)
        last = y[np.isfinite(y)][-1]
        ends.append(np.clip((np.log(last) - low) / (high - low), 0, 1))
        alike = len(shown) <= FEW and entrant.schedule
        names.append(textwrap.shorten(f"{entrant.label}, {entrant.schedule}" if alike else entrant.label, 60))
    axis.set_xlim(0, x[-1])
    axis.set_xlabel("epochs" if task.per_epoch else "steps")
    for end, place, name, outcome in zip(ends, spread(np.array(ends)), names, shown, strict=True):
        colour = colours[outcome.entrant.label]
        leader: dict[str, Any] = {
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.7,
            "relpos": (0, 0.5),
            "shrinkA": 1,
            "shrinkB": 0,
        }
        spot: dict[str, Any] = {
            "xycoords": "axes fraction",
            "textcoords": "axes fraction",
            "va": "center",
            "annotation_clip": False,
        }
        axis.annotate(name, (1.0, end), (1.06, place), color=colour, arrowprops=leader, **spot)


def spread(places: Array, gap: float = 0.042) -> Array:
    """Places on the unit interval moved apart until neighbours keep a distance, or as much of it as there is room."""
    order = np.argsort(places, kind="stable")
    gap = min(gap, 1 / max(len(places) - 1, 1))
    apart = places[order].astype(np.float64)
    for _ in range(500):
        lack = np.clip(gap - np.diff(apart), 0, None) / 2
        apart[:-1] -= lack
        apart[1:] += lack
        apart = np.clip(apart, 0, 1)
    result = np.empty_like(apart)
    result[order] = apart
    return result


def _mark_target(axis: Axes, task: Task, target: float, curves: int) -> None:
    height = target - (task.optimum or 0.0)
    low, high = axis.get_ylim()
    if low < height < high:
        axis.axhline(height, color="#555555", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
        inside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 8}
        axis.annotate(f"target {target:g}", (0, height), (4, 3), color="#555555", **inside)
