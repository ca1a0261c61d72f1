"""The entry point: it needs the extra packages, and says so."""

import importlib.util
import subprocess
import sys

import pytest

from gradtx.cli import entry


@pytest.mark.parametrize("module", list(entry.REQUIRED))
def test_a_missing_package_is_one_line_and_code_2(module, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    with pytest.raises(SystemExit) as stopped:
        entry.main(["list"])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"gradtx: the command needs {entry.REQUIRED[module]}; install with: pip install 'gradtx[cli]'\n"
    )


def test_entry_imports_none_of_the_extra_packages():
    code = f"import sys, gradtx.cli.entry; print(sorted(set(sys.modules) & {set(entry.REQUIRED)}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert shown.stdout == "[]\n"


def test_the_process_prints_nothing_but_its_answer():
    shown = subprocess.run(
        [sys.executable, "-m", "gradtx.cli.entry", "list", "sgd"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("sgd(learning_rate, momentum=None")
    assert shown.stderr == ""
