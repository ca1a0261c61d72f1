"""The code of the documentation build: needs the extra `docs`."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mathematics_becomes_markdown(hooks: ModuleType) -> None:
    assert hooks.markdown_mathematics(r"a :math:`\beta_1` and :math:`b`") == r"a \(\beta_1\) and \(b\)"
    one_line = "Text.\n\n.. math:: x = 1\n\nMore."
    assert hooks.markdown_mathematics(one_line).split() == ["Text.", r"\[", "x", "=", "1", r"\]", "More."]
    below = "Text.\n\n.. math::\n    x =\n    1\n\nMore."
    assert hooks.markdown_mathematics(below).split() == ["Text.", r"\[", "x", "=", "1", r"\]", "More."]
    apart = "Text.\n\n.. math::\n\n    x = 1\n\nMore."
    assert hooks.markdown_mathematics(apart).split() == ["Text.", r"\[", "x", "=", "1", r"\]", "More."]


def test_unknown_sections_get_headings(hooks: ModuleType) -> None:
    text = "Line.\n\nState:\n  `S`: 4 bytes.\n\nReferences:\n  - A.\n  - B,\n    C."
    shown = hooks.markdown_sections(text)
    assert "\n`S`: 4 bytes.\n" in shown
    assert shown.endswith("- A.\n- B,\n  C.\n\n")
    assert shown.count("doc-section-title") == 2
    assert hooks.markdown_sections("A.\n\nExample:\n  >>> 1\n  1").count("Examples:\n  >>> 1") == 1


def test_names_become_links(hooks: ModuleType) -> None:
    address = hooks.address_in({"adam", "tree.map_leaves"})
    shown = hooks.markdown_links("`adam`, ``adam``, `nothing`, `tree.map_leaves`", address)
    assert shown == "[`adam`][gradtx.adam], ``adam``, `nothing`, [`tree.map_leaves`][gradtx.tree.map_leaves]"


def test_formulas_become_mathml(hooks: ModuleType) -> None:
    pytest.importorskip("latex2mathml")
    page = hooks.mathml(r'<p><span class="arithmatex">\(a &lt; b\)</span></p><div class="arithmatex">\[x^2\]</div>')
    assert page.count("<math") == page.count("</math>") == 2
    assert "arithmatex" not in page
    assert "<mo>&#x0003C;</mo>" in page
    assert "<mtext>a_b</mtext>" in hooks.mathml(r'<span class="arithmatex">\(\text{a\_b}\)</span>')


def test_bars_are_fences(hooks: ModuleType) -> None:
    pytest.importorskip("latex2mathml")
    assert hooks.mathml(r'<span class="arithmatex">\(|g|\)</span>').count('<mo lspace="0" rspace="0" stretchy') == 2


def test_empty_lines_of_examples_are_empty(hooks: ModuleType) -> None:
    assert hooks.blank_lines("a\n<BLANKLINE>\n  <BLANKLINE>\n`<BLANKLINE>` b") == "a\n\n  \n`<BLANKLINE>` b"


def test_included_files_link_from_where_they_end_up(hooks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "A.md").write_text("# A\n[x](docs/x.md)\n", encoding="utf-8")
    assert hooks.included("<!-- include A.md -->\n", tmp_path) == "# A\n[x](x.md)\n\n"
