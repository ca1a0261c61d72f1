"""Who is best: places, ties, and the finding in words.

An optimizer is better than another if it reaches the target in fewer steps or, where neither always reaches it or there
is none, ends at a lower loss. Two tie if their means over the seeds differ by no more than the larger of their standard
deviations over the seeds.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gradtx.cli.data import Array
from gradtx.cli.race import Outcome


@dataclasses.dataclass(frozen=True)
class Placed:
    """An outcome and its place.

    Attributes:
      outcome: how the entrant fared.
      name: what it is called; with its schedule, where one optimizer takes part with several.
      place: 1 is best; optimizers that tie with the best of a group share its place; ``None`` if the loss rose.
      tied: whether others have the same place.
    """

    outcome: Outcome
    name: str
    place: int | None
    tied: bool


def rank(outcomes: Sequence[Outcome], target: float | None) -> list[Placed]:
    """All outcomes, the best first, those that went uphill last."""
    names = _names(outcomes)
    ordered = sorted((o for o in outcomes if not uphill(o)), key=lambda o: _order(o, target))
    places: list[int] = []
    for i, outcome in enumerate(ordered):
        together = bool(i) and tie(ordered[places[-1] - 1], outcome, target)
        places.append(places[-1] if together else i + 1)
    ranked = [
        Placed(outcome, names[outcome], place, places.count(place) > 1)
        for outcome, place in zip(ordered, places, strict=True)
    ]
    return ranked + [Placed(o, names[o], None, False) for o in outcomes if uphill(o)]


def uphill(outcome: Outcome) -> bool:
    """Whether the loss is higher at the end than at the start, or no number."""
    return bool(outcome.final.mean() > outcome.losses[:, 0].mean())


def tie(better: Outcome, worse: Outcome, target: float | None) -> bool:
    """Whether two differ by no more than chance, as far as the seeds can tell."""
    if target is not None and _arrived(better, target):
        first, second = better.steps_to(target), worse.steps_to(target)
    else:
        first, second = better.final, worse.final
    if not np.isfinite(second).all():
        return False
    return bool(second.mean() - first.mean() <= max(spread(first), spread(second)))


def spread(values: Array) -> float:
    """The standard deviation (of a sample) over seeds; 0 for one seed, which has none to tell."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def finding(ranked: Sequence[Placed], target: float | None) -> str:
    """One sentence on who is best."""
    best = [placed for placed in ranked if placed.place == 1]
    rest = [placed for placed in ranked if placed.place not in (1, None)]
    if not best:
        return "Nothing learned: the loss rose with every one."
    names = _listed([placed.name for placed in best])
    several, seeds = len(best) > 1, len(best[0].outcome.losses)
    chance = f": too close for {seeds} seeds to tell apart" if several and seeds > 1 else ""
    if target is None or not _arrived(best[0].outcome, target):
        unless = "" if target is None else f"None always gets to a loss of {target:g}; "
        losses = _span([placed.outcome.final.mean() for placed in best], ".3g")
        sentence = f"{unless}{names} {'end' if several else 'ends'} lowest, at {losses}{chance}"
        return sentence + (f"; {rest[0].name} follows at {rest[0].outcome.final.mean():.3g}." if rest else ".")
    steps = _span([_mean_steps(placed, target) for placed in best], ".0f")
    sentence = f"{names} {'get' if several else 'gets'} to a loss of {target:g} first, in {steps} steps{chance}"
    if not rest:
        return sentence + "."
    if not _arrived(rest[0].outcome, target):
        return f"{sentence}; no other always gets there."
    ratio = _mean_steps(rest[0], target) / max(_mean_steps(best[0], target), 1)
    return f"{sentence}; {rest[0].name} comes next, with {ratio:.2g} times as many."


def climbed(ranked: Sequence[Placed]) -> str | None:
    """What to say of those whose loss rose, if there are any."""
    lost = [placed for placed in ranked if placed.place is None]
    if not lost:
        return None
    told = []
    for placed in lost:
        start, end = placed.outcome.losses[:, 0].mean(), placed.outcome.final.mean()
        told.append(
            f"{placed.name} (loss {start:.3g} to {end:.3g})" if np.isfinite(end) else f"{placed.name} (diverged)"
        )
    return (
        f"Went uphill, and has no place: {_listed(told)}. Either the rate is too large, or there is none: a "
        "transformation descends once a rate follows it, as in chain(clip(1.0), sgd(0.1))."
    )


def _names(outcomes: Sequence[Outcome]) -> dict[Outcome, str]:
    courses: dict[str, set[str]] = {}
    for outcome in outcomes:
        courses.setdefault(outcome.entrant.label, set()).add(outcome.entrant.schedule)

    def name(o: Outcome) -> str:
        label = o.entrant.label
        return f"{label}, {o.entrant.schedule}" if len(courses[label]) > 1 else label

    return {outcome: name(outcome) for outcome in outcomes}


def _order(outcome: Outcome, target: float | None) -> tuple[float, float]:
    """The order: optimizers whose every run reaches the target, by their steps; then the others, by their loss."""
    steps = 0.0 if target is None else float(outcome.steps_to(target).mean())
    return steps, float(outcome.final.mean())


def _arrived(outcome: Outcome, target: float) -> bool:
    return bool(np.isfinite(outcome.steps_to(target)).all())


def _mean_steps(placed: Placed, target: float) -> float:
    return float(placed.outcome.steps_to(target).mean())


def _listed(names: Sequence[str]) -> str:
    """Names as a sentence has them; those beyond the fourth are only counted."""
    if len(names) > 5:
        names = [*names[:4], f"{len(names) - 4} others"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _span(values: Sequence[float], form: str) -> str:
    low, high = (format(bound, form) for bound in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
