"""The pages for those who come from torch and Keras: what their tables call the same gives the same numbers."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest

import gradtx
from gradtx.cli.convert import Library, converted
from tests.conftest import x64_mode
from tests.frameworks import distance, recorded

DOCS = Path(__file__).parents[1] / "docs"
TABLES = {name: recorded(name) for name in ("torch", "keras")}
TEXTS = {
    name: [text for kind in ("optimizers", "schedules", "plateaus") for text in TABLES[name][kind]] for name in TABLES
}


def rows(name: str) -> list[tuple[str, str, bool]]:
    """The rows of a page's tables that have been recorded: its text, ours, and whether they are called the same."""
    page = (DOCS / f"from-{name}.md").read_text(encoding="utf-8")
    same, _, near = page.partition("## Near, but not the same")
    return [
        (theirs, ours, part is same)
        for part in (same, near)
        for theirs, ours in re.findall(r"^\| `(.+?)` \| `(.+?)` \|", part, re.MULTILINE)
        if theirs in TEXTS[name]
    ]


ROUNDING = {
    "ASGD(lr=0.1)": 1e-8,
    "NAdam(lr=0.1)": 1e-8,
    "RAdam(lr=0.1)": 1e-8,
    "Adam(learning_rate=0.1)": 1e-6,
    "AdamW(learning_rate=0.1)": 1e-6,
    "Adamax(learning_rate=0.1)": 1e-9,
}
"""Where the pages say that fewer digits agree."""


def bound(text: str) -> float:
    return 1e-6 if "Cosine" in text or "amsgrad" in text else ROUNDING.get(text, 1e-13)


@pytest.mark.parametrize(("name", "theirs", "ours", "same"), [(name, *row) for name in TABLES for row in rows(name)])
def test_a_row_says_what_was_measured(name: str, theirs: str, ours: str, same: bool) -> None:
    with x64_mode():
        apart = distance(TABLES[name], theirs, gradtx.parse(ours))
    assert apart <= bound(theirs) if same else 1e-3 < apart < 0.5


@pytest.mark.parametrize("name", TABLES)
def test_a_page_has_all_that_was_recorded(name: str) -> None:
    page = (DOCS / f"from-{name}.md").read_text(encoding="utf-8")
    assert [text for text in TEXTS[name] if f"`{text}`" not in page] == []
    assert sum(same for _, _, same in rows(name)) > 20


def test_keras_epsilon_is_a_schedule() -> None:
    with x64_mode():
        tx = gradtx.adam(0.1, eps=lambda step: 0.1 / jnp.sqrt(1 - 0.999 ** (step + 1)))
        assert distance(TABLES["keras"], "Adam(learning_rate=0.1, epsilon=0.1)", tx) < 1e-13


@pytest.mark.parametrize(("name", "theirs", "ours", "same"), [(name, *row) for name in TABLES for row in rows(name)])
def test_the_command_agrees_or_says_why_not(name: str, theirs: str, ours: str, same: bool) -> None:
    """What ``gradtx convert`` makes of a row does the same, or comes with a note."""
    whole = name == "keras" or theirs in TABLES[name]["optimizers"]
    made, notes = converted(Library(name), theirs if whole else theirs.replace("(", "(SGD(lr=0.1), ", 1))
    made = made if whole else made.learning_rate
    if made.factory.name == "reduce_on_plateau":  # a factor: there is no rate in the text
        made = gradtx.plateau_schedule(0.1, **{k: x for k, x in made.arguments.items() if k != "min_scale"})
    with x64_mode():
        apart = distance(TABLES[name], theirs, made)
    assert apart <= bound(theirs) or notes
    assert apart <= bound(theirs) or not same
