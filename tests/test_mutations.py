"""The mutation check itself: its list fits the sources, and it tells what is caught from what is not."""

import ast
import re
from pathlib import Path

import pytest

from tests.mutations import BROKEN, CAUGHT, ROOT, SURVIVED, Fault, check, load
from tests.mutations.__main__ import main, table

FAULTS = load()


def test_names_are_unique_and_there_are_enough():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_sources_and_its_tests_exist(fault):
    source = (ROOT / fault.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(fault.applied(source))) != ast.dump(ast.parse(source))
    for test in fault.tests:
        path, _, name = test.partition("::")
        assert not name or f"def {name.partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A tree with one function and one test."""
    root = tmp_path / "root"
    (root / "gradtx").mkdir(parents=True)
    (root / "gradtx" / "__init__.py").write_text(
        "def half(x):\n    return x / 2  # exact\n\n\ndef two():\n    return 2\n"
    )
    mutations = root / "tests" / "mutations"
    mutations.mkdir(parents=True)
    (root / "tests" / "__init__.py").write_text("")
    (mutations / "__init__.py").write_text("")
    (mutations / "profile.py").write_text("")
    (root / "tests" / "test_half.py").write_text(
        "import gradtx\n\n\ndef test_half():\n    assert gradtx.half(4) == gradtx.two()\n"
    )
    return root


def fault(before: str, after: str, within: str = "half", test: str = "tests/test_half.py::test_half") -> Fault:
    return Fault(f"{before} for {after}", "gradtx/__init__.py", within, before, after, (test,))


def test_what_is_caught_and_what_is_not(small):
    source = (small / "gradtx" / "__init__.py").read_text()
    faults = [fault("/ 2", "/ 3"), fault("# exact", "# rounded"), fault("return", "retrun")]
    outcomes = [outcome for _, outcome in check(faults, root=small)]
    assert outcomes == [CAUGHT, SURVIVED, BROKEN]
    assert (small / "gradtx" / "__init__.py").read_text() == source


def test_tests_that_fail_anyway_show_nothing(small):
    (small / "gradtx" / "__init__.py").write_text(
        "def half(x):\n    return x / 3  # exact\n\n\ndef two():\n    return 2\n"
    )
    with pytest.raises(RuntimeError, match="without a fault"):
        list(check([fault("# exact", "# rounded")], root=small))


@pytest.mark.parametrize(
    ("before", "within", "message"),
    [("/ 3", "half", "occurs 0 times"), ("x", "half", "occurs 3 times"), ("2", "third", "there is no third")],
)
def test_a_list_that_rots_is_noticed(small, before, within, message):
    with pytest.raises(ValueError, match=message):
        fault(before, "y", within).applied((small / "gradtx" / "__init__.py").read_text())


def test_the_command(capsys):
    assert main(["--list", "--only", "Adam: "]) == 0
    assert "| Adam: eps inside the root | `_RootDivision` in `core/roots.py` |" in capsys.readouterr().out
    assert main(["--only", "Errors: the outermost"]) == 0
    assert re.search(r"^caught +Errors: the outermost.*\n1 of 1 caught$", capsys.readouterr().out, re.MULTILINE)
    with pytest.raises(SystemExit):
        main(["--only", "nothing of that name"])


def test_the_page_has_the_list():
    assert table(FAULTS) in (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
