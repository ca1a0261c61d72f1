"""Pictures: matplotlib's Axes in, Axes out; pyplot and its global state are left alone."""

import fnmatch
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradtx.core import GradientTransformation, Schedule, as_transformation
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError, MissingPackageError
from gradtx.inspect.parts import members, schedules_of
from gradtx.storage import apply_updates

Array = NDArray[Any]
Axes = Any
"""`matplotlib.axes.Axes`; the library does not need matplotlib until something is drawn."""

Limits = tuple[tuple[float, float], tuple[float, float]]
"""What a picture shows of both coordinates."""

INK, FAINT = "#222222", "#e4e4e4"
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

POINTS = 2000
"""A curve of more steps is drawn through so many of them."""

GRID = 200
LOGARITHMIC = 50
"""Curves of positive numbers that span such a ratio are drawn on a logarithmic axis."""


def plot_schedule(what: Schedule | GradientTransformation, steps: int, ax: Axes | None = None) -> Axes:
    """Draw a schedule, or those that the numbers of a transformation follow, over steps 0 to ``steps - 1``.

    A plateau is drawn as if it observed nothing.

    Args:
      what: a schedule, or a transformation with schedules anywhere in it.
      steps: how many steps, at least 1.
      ax: the Axes to draw into; new ones, in a figure of their own, if ``None``.

    Returns:
      The Axes. ``ax.figure.savefig("schedule.png")`` saves the figure; a notebook shows ``ax.figure``.

    Raises:
      ArgumentValueError: there is no schedule in the transformation, or no step.
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> import gradtx
      >>> ax = gradtx.plot_schedule(gradtx.warmup_cosine_decay_schedule(0.0, 1e-3, 100, 1000), steps=1000)
      >>> ax.get_xlabel(), len(ax.lines)
      ('step', 1)
    """
    try:
        curves = sampled(what, steps)
    except GradtxError as error:
        error.locate("plot_schedule")
        raise
    ax = _axes(ax)
    for (name, (x, y)), colour in zip(curves.items(), _colours(), strict=False):
        ax.plot(x, y, color=colour, linewidth=1.6, label=name)
    ax.set(xlabel="step", xlim=(0, max(steps - 1, 1)))
    return _finished(ax, curves, log=False)


def sampled(what: Any, steps: int) -> dict[str, tuple[Array, Array]]:
    """By name, some steps and the values of the schedules there."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ArgumentValueError("steps to be a whole number in [1, inf)", got=repr(steps))
    schedules = {what.factory.name: what} if isinstance(what, Schedule) else dict(_all_schedules(what))
    if not schedules:
        hint = "give it one for a number: adam(cosine_decay_schedule(1e-3, 1000))"
        raise ArgumentValueError("a schedule, or a transformation with one", got=repr(what), hint=hint)
    at = np.unique(np.linspace(0, steps - 1, min(steps, POINTS)).round().astype(np.int32))
    values = {name: jax.vmap(lambda n, s=s: s.value(n, s.init()))(jnp.asarray(at)) for name, s in schedules.items()}
    for name, y in values.items():
        if y.ndim != 1:
            raise ArgumentValueError("schedules of single numbers", got=f"arrays of {list(y.shape[1:])}", at=name)
    return {name: (at, np.asarray(y)) for name, y in values.items()}


def _all_schedules(tx: Any) -> Iterator[tuple[str, Schedule]]:
    """The schedules in a transformation by factory and argument; those of an optimizer are its members' too."""
    if not isinstance(tx, GradientTransformation):
        return
    own = schedules_of(tx)
    yield from ((f"{tx.factory.name}.{name}", schedule) for name, schedule in own.items())
    if tx.factory.composed and own:
        return
    for member in members(tx):
        yield from _all_schedules(member.tx)


# --- trajectories -----------------------------------------------------------------------------------------------------

Problem = Callable[[Any], Any]


def plot_trajectories(
    problem: Problem,
    optimizers: GradientTransformation | Sequence[GradientTransformation] | Mapping[str, GradientTransformation],
    *,
    start: tuple[float, float] = (-1.0, 1.5),
    steps: int = 100,
    limits: Limits | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the paths of optimizers on the contour lines of a function of two numbers.

    The path of one optimizer is coloured by the step, the paths of several by the optimizer. The optimizers get every
    standard extra; the key of a step is derived from its number.

    Args:
      problem: a function of an array [2], written with `jax.numpy`, that returns a scalar.
      optimizers: one, several, or several by name.
      start: where they begin.
      steps: how many updates, at least 1.
      limits: what is shown of both coordinates; by default, where the paths lead as far as they do not diverge.
      ax: the Axes to draw into; new ones, in a figure of their own, if ``None``.

    Returns:
      The Axes.

    Raises:
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> import gradtx
      >>> def rosenbrock(x):
      ...     return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
      >>> ax = gradtx.plot_trajectories(rosenbrock, {"Adam": gradtx.adam(0.1), "descent": gradtx.sgd(1e-3)})
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['Adam', 'descent']
    """
    if not isinstance(optimizers, Mapping):
        several = optimizers if isinstance(optimizers, Sequence) else [optimizers]
        optimizers = {repr(tx): tx for tx in several}
    paths = {name: follow(problem, tx, start, steps) for name, tx in optimizers.items()}
    ax = _axes(ax)
    draw_contours(ax, problem, limits or _around(problem, [*paths.values()]))
    ax.set(xlabel="$x_1$", ylabel="$x_2$")
    if len(paths) == 1:
        draw_path(ax, next(iter(paths.values())), steps)
        return ax
    for (name, points), colour in zip(paths.items(), _colours(), strict=False):
        points = _finite(points)
        ax.plot(*points.T, color=colour, linewidth=1.3, marker="o", markersize=2.2, label=name)
    ax.plot(*start, marker="o", color=INK, markersize=5, zorder=5)
    _legend(ax)
    return ax


def follow(problem: Problem, tx: Any, start: tuple[float, float], steps: int) -> Array:
    """The points an optimizer visits, [steps + 1, 2]."""
    tx = as_transformation(tx, "optimizers to be transformations")

    def step(carry: Any, index: Any) -> Any:
        point, state = carry
        value, grad = jax.value_and_grad(problem)(point)
        extras = {"value": value, "grad": grad, "value_fn": problem, "key": jax.random.key(index)}
        updates, state = tx.update(grad, state, point, **extras)
        point = apply_updates(point, updates)
        return (point, state), point

    @jax.jit
    def path(start: jax.Array) -> jax.Array:
        visited: jax.Array = jax.lax.scan(step, (start, tx.init(start)), jnp.arange(steps))[1]
        return visited

    points: Array = np.concatenate([[start], np.asarray(path(jnp.asarray(start, float)))])
    return points


def draw_contours(ax: Axes, problem: Problem, limits: Limits) -> None:
    """Draw contour lines and shades of a function, dense near its least value in sight, and set the limits."""
    mpl = _matplotlib()
    x, y = np.meshgrid(*(np.linspace(*ends, GRID) for ends in limits))
    z = _values(problem, np.stack([x, y], axis=-1))
    lowest, highest = np.nanmin(z), np.nanmax(z)
    levels = lowest + np.array([0.0, *np.geomspace(2e-3, 1.0, 12)]) * max(highest - lowest, 1e-12)
    shades = mpl.colormaps["Blues_r"](np.linspace(0.68, 1.0, len(levels)))
    ax.contourf(x, y, z, levels=levels, colors=shades, extend="max")
    ax.contour(x, y, z, levels=levels[1:], colors="#c3ccd6", linewidths=0.6)
    ax.spines[:].set_visible(True)
    ax.set(xlim=limits[0], ylim=limits[1])


def ages(steps: int) -> Any:
    """The colours of steps, early ones light: what a colour bar is made of."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    shades = _matplotlib().colormaps["plasma_r"](np.linspace(0.18, 1.0, 256))
    return ScalarMappable(Normalize(0, steps), LinearSegmentedColormap.from_list("ages", shades))


def draw_path(ax: Axes, points: Array, steps: int) -> None:
    """Draw one path, coloured by the step, with its beginning marked."""
    from matplotlib.collections import LineCollection

    points, colours = _finite(points), ages(steps)
    segments = np.stack([points[:-1], points[1:]], axis=1)
    look: dict[str, Any] = {"cmap": colours.cmap, "norm": colours.norm}
    number = np.arange(1, len(points))
    ax.add_collection(LineCollection(list(segments), array=number, linewidths=1.2, **look), autolim=False)
    ax.scatter(points[1:, 0], points[1:, 1], c=number, s=8, linewidths=0, zorder=3, **look)
    ax.plot(*points[0], marker="o", color=INK, markersize=5, zorder=4)


def _values(problem: Problem, points: Array) -> Array:
    """The function at many points, [..., 2]; NaN where it is not finite."""
    flat = jax.vmap(problem)(jnp.asarray(points.reshape(-1, 2), float))
    values: Array = np.array(flat, np.float64).reshape(points.shape[:-1])
    values[~np.isfinite(values)] = np.nan
    return values


def _finite(points: Array) -> Array:
    """The path as far as it is finite."""
    bad = ~np.isfinite(points).all(axis=1)
    return points[: int(np.argmax(bad))] if bad.any() else points


def _around(problem: Problem, paths: list[Array]) -> Limits:
    """Room for all points that lie no higher above the start than the lowest lies below."""
    points = np.concatenate([_finite(path) for path in paths])
    values = _values(problem, points)
    first, lowest = values[0], np.nanmin(values)
    kept = points[values <= first + max(first - lowest, 1e-12)]
    low, high = kept.min(axis=0), kept.max(axis=0)
    margin = np.maximum(0.15 * (high - low), 0.05 * (high - low).max() + 1e-6)
    return tuple((float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True))  # type: ignore[return-value]


# --- metrics ----------------------------------------------------------------------------------------------------------


def plot_metrics(
    history: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    names: str | Sequence[str] = "*",
    ax: Axes | None = None,
) -> Axes:
    """Draw what `metrics` returned, step by step.

    The axis is logarithmic if the numbers are positive and span more than a factor of 50.

    Args:
      history: a list with the metrics of each step, or a dict of arrays [steps], as `jax.lax.scan` stacks them.
      names: globs on the names of those to draw, ``"*norm*"``; numbers of different size want different Axes.
      ax: the Axes to draw into; new ones, in a figure of their own, if ``None``.

    Returns:
      The Axes.

    Raises:
      ArgumentValueError: the history is empty, or no name matches.
      ArgumentTypeError: the history is something else.
      MissingPackageError: matplotlib is not installed.

    Example:
      >>> import gradtx
      >>> ax = gradtx.plot_metrics([{"loss": 1.0, "rate": 0.1}, {"loss": 0.5, "rate": 0.1}], "loss")
      >>> ax.lines[0].get_ydata().tolist()
      [1.0, 0.5]
    """
    curves = {name: y for name, y in _curves(history).items() if _named(name, names)}
    if not curves:
        known = ", ".join(map(repr, _curves(history))) or "none"
        raise ArgumentValueError(f"metrics named {names!r}", got=known, origin="plot_metrics")
    ax = _axes(ax)
    for (name, y), colour in zip(curves.items(), _colours(), strict=False):
        ax.plot(np.arange(len(y)), y, color=colour, linewidth=1.4, label=name)
    ax.set_xlabel("step")
    return _finished(ax, {name: (y, y) for name, y in curves.items()}, log=True)


def _named(name: str, globs: str | Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in ((globs,) if isinstance(globs, str) else globs))


def _curves(history: Any) -> dict[str, Array]:
    if isinstance(history, Mapping):
        return {name: np.asarray(y, np.float64).reshape(-1) for name, y in history.items()}
    if not isinstance(history, Sequence) or not all(isinstance(step, Mapping) for step in history):
        got = type(history).__name__
        raise ArgumentTypeError("history to be a list of dicts, or a dict of arrays", got=got, origin="plot_metrics")
    names = dict.fromkeys(name for step in history for name in step)
    return {name: np.array([step.get(name, np.nan) for step in history], np.float64) for name in names}


# --- axes -------------------------------------------------------------------------------------------------------------


def _matplotlib() -> Any:
    try:
        return importlib.import_module("matplotlib")
    except ImportError:
        hint = "install it with: pip install 'gradtx[plot]'"
        raise MissingPackageError("matplotlib, to draw", got="no such package", hint=hint) from None


def _axes(ax: Axes | None) -> Axes:
    """The Axes given, or new ones in a figure of their own, which pyplot does not know of."""
    if ax is not None:
        return ax
    with _matplotlib().rc_context(STYLE):
        from matplotlib.figure import Figure

        return Figure(figsize=(6.4, 3.8), layout="constrained").add_subplot()


def _colours() -> Iterator[str]:
    while True:
        yield from PALETTE


def _finished(ax: Axes, curves: Mapping[str, tuple[Array, Array]], log: bool) -> Axes:
    """A grid, and the name of one curve at the axis, of several in a legend."""
    ax.grid(axis="y", color=FAINT, linewidth=0.6)
    ax.set_axisbelow(True)
    values = np.concatenate([y[np.isfinite(y)] for _, y in curves.values()])
    if log and values.size and values.min() > 0 and values.max() > LOGARITHMIC * values.min():
        ax.set_yscale("log")
    if len(curves) == 1:
        ax.set_ylabel(next(iter(curves)).replace("$", r"\$"))
    else:
        _legend(ax)
    return ax


def _legend(ax: Axes) -> None:
    legend = ax.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize="small")
    for text in legend.get_texts():
        text.set_text(text.get_text().replace("$", r"\$"))
