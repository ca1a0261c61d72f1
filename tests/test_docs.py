"""Documentation that runs: the snippets of every page and the examples in every docstring."""

import contextlib
import doctest
import importlib
import io
import math
import pkgutil
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

import gradtx

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _clean_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Snippets may register factories and write files; neither survives. Errors come without JAX's notes on them."""
    monkeypatch.chdir(tmp_path)
    filtering = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "off")
    registry = sys.modules["gradtx.core.registry"]
    factories, aliases = dict(registry._factories), dict(registry._aliases)
    yield
    jax.config.update("jax_traceback_filtering", filtering)
    registry._factories.clear()
    registry._factories.update(factories)
    registry._aliases.clear()
    registry._aliases.update(aliases)


# --- examples ---------------------------------------------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*(?:e[-+]?\d+)?)(?![\w.])")


class NumbersWithinRounding(doctest.OutputChecker):
    """Output is right if its text is and its numbers differ by rounding alone, which versions of XLA do differently."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if super().check_output(want, got, optionflags):
            return True
        texts = ["".join(NUMBER.sub("#", text).split()) for text in (want, got)]
        wanted, came = ([float(x) for x in NUMBER.findall(text)] for text in (want, got))
        return texts[0] == texts[1] and all(
            math.isclose(a, b, rel_tol=2e-6, abs_tol=1e-9) for a, b in zip(wanted, came, strict=True)
        )


def runner() -> doctest.DocTestRunner:
    return doctest.DocTestRunner(NumbersWithinRounding(), optionflags=doctest.ELLIPSIS)


def test_examples_are_compared_up_to_rounding() -> None:
    check = NumbersWithinRounding().check_output
    assert check("Array([ 1., -1.], dtype=float32)\n", "Array([ 1.       , -1.0000001], dtype=float32)\n", 0)
    assert check("Array(1.e-04, dtype=float32)\n", "Array(0.0001, dtype=float32)\n", 0)
    assert not check("Array([1., 2.])\n", "Array([1., 2.1])\n", 0)
    assert not check("Array([1., 2.])\n", "Array([1., -2.])\n", 0)
    assert not check("Array([1., 2.])\n", "Array([1., 2., 3.])\n", 0)
    assert not check("dtype=float32\n", "dtype=float64\n", 0)


# --- pages ------------------------------------------------------------------------------------------------------------


def snippets(page: str) -> list[tuple[int, str, str]]:
    """The fenced blocks of a page: line, language, text."""
    return [(page[: m.start()].count("\n") + 2, m[2], textwrap.dedent(m[3])) for m in FENCE.finditer(page)]


def run_page(path: Path) -> None:
    """Run the ``python`` and ``pycon`` blocks of a page, in order, in one namespace."""
    namespace = {"__name__": re.sub(r"\W", "_", path.stem)}
    for line, language, text in snippets(path.read_text(encoding="utf-8")):
        where = f"{path.relative_to(ROOT)}:{line}"
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile("\n" * (line - 1) + text, str(path), "exec"), namespace)  # noqa: S102
        elif language == "pycon":
            report = io.StringIO()
            test = doctest.DocTestParser().get_doctest(text, namespace, where, str(path), line - 1)
            result = runner().run(test, out=report.write, clear_globs=False)
            namespace.update(test.globs)
            assert not result.failed, f"{where}\n{report.getvalue()}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_snippets_of_a_page_run(path: Path) -> None:
    run_page(path)


def test_a_wrong_snippet_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\n```\n\n- in a list\n\n    ```pycon\n    >>> x\n    2\n    ```\n", encoding="utf-8"
    )
    with pytest.raises(AssertionError, match=r"page\.md:8"):
        run_page(page)
    page.write_text("```python\nx = 1\nassert x == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        run_page(page)


def test_pages_have_snippets_that_run() -> None:
    languages = [language for path in PAGES for _, language, _ in snippets(path.read_text(encoding="utf-8"))]
    assert languages.count("python") + languages.count("pycon") > 60
    assert set(languages) <= {"python", "pycon", "sh", "text", "yaml"}


def test_links_between_pages_lead_somewhere() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


# --- docstrings -------------------------------------------------------------------------------------------------------


def modules() -> list[str]:
    """Every module of the package."""
    return ["gradtx", *(m.name for m in pkgutil.walk_packages(gradtx.__path__, "gradtx.") if "__main__" not in m.name)]


@pytest.mark.parametrize("name", modules())
def test_docstring_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    report = io.StringIO()
    results = [runner().run(test, out=report.write) for test in doctest.DocTestFinder().find(module, name)]
    assert not sum(result.failed for result in results), report.getvalue()


def test_doctest_finds_the_examples_of_decorated_factories() -> None:
    found = set()
    for module in map(importlib.import_module, modules()):
        found |= {test.name for test in doctest.DocTestFinder().find(module) if test.examples}
    with_examples = {
        f"{factory.function.__module__}.{factory.name}"
        for factory in gradtx.registry().values()
        if ">>>" in (factory.function.__doc__ or "") and factory.function.__module__.startswith("gradtx.")
    }
    assert with_examples
    assert with_examples <= found


# --- the reference ----------------------------------------------------------------------------------------------------


def test_every_public_name_is_documented_once() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    documented = re.findall(r"^::: gradtx\.([\w.]+)$", text, re.MULTILINE)
    assert sorted(documented) == sorted(set(documented))
    submodules = {"checkpoint", "errors", "tree"}
    assert set(documented) >= {name for name in gradtx.__all__ if name not in submodules}
    for space in (gradtx.checkpoint, gradtx.tree):
        prefix = space.__name__.removeprefix("gradtx.")
        assert set(documented) >= {f"{prefix}.{name}" for name in space.__all__ if name not in gradtx.__all__}
    for name in documented:
        target = gradtx
        for part in name.split("."):
            target = getattr(target, part)


def test_a_name_is_on_the_page_of_its_family() -> None:
    for name, factory in gradtx.registry().items():
        if factory.kind == "schedule" or factory.family == "core" or name not in gradtx.__all__:
            continue
        page = ROOT / "docs" / "api" / f"{factory.family.replace('_', '-')}.md"
        assert f"::: gradtx.{name}\n" in page.read_text(encoding="utf-8"), name
