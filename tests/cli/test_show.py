"""Schedules and optimizers in the terminal."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from gradtx.cli.show import HEIGHT, chart, parameters

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_schedule_in_the_terminal_and_in_a_file(command, tmp_path):
    out = tmp_path / "s.png"
    result = command("schedule", "linear_schedule(0.0, 1.0, 100)", "--steps", 101, "--png", out)
    assert (result.code, result.err) == (0, "")
    assert out.read_bytes().startswith(PNG)
    lines = result.out.splitlines()
    assert lines[:2] == ["linear_schedule", "linear from 0 to 1 over 100 steps"]
    assert lines[2].startswith("  1 ┤")
    assert lines[2].endswith("█")
    assert lines[-1] == f"figure: {out}"


def test_every_schedule_of_an_optimizer_is_shown(command):
    text = "adam(cosine_decay_schedule(0.1, 10), b1=linear_schedule(0.5, 0.9, 10))"
    result = command("schedule", text, "--steps", 10)
    assert result.code == 0
    assert [line for line in result.out.splitlines() if line.startswith("adam")] == ["adam.learning_rate", "adam.b1"]


@pytest.mark.parametrize("values", [[0.0], [1.0], [0.0, 1.0, 0.5], [-1.0, 1.0], [3.0] * 200])
def test_charts(values):
    lines = chart(np.array(values), np.arange(len(values)))
    assert len(lines) == HEIGHT + 2
    assert f"{max(0.0, *values, 0.0):.3g}" in lines[0]
    assert f"{min(0.0, *values, 0.0):.3g}" in lines[HEIGHT - 1]
    assert lines[-1].split() == [str(n) for n in sorted({0, len(values) - 1})]
    assert (lines[0].count("█") > 0) == (max(values) > 0)


def test_an_optimizer_and_its_cost(command):
    result = command("describe", "adam(1e-3)", "--params", "dense/kernel:1024x1024:bfloat16,dense/bias:1024,scale")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("1 million parameters in 3 leaves: 2.1 MB (bfloat16 2.1 MB, float32 4.1 kB)\n")
    assert "8.4 MB" in result.out
    assert "scale_by_adam" in command("describe", "adam(1e-3)").out
    assert "linear from 0 to 1" in command("describe", "linear_schedule(0.0, 1.0, 10)").out


@pytest.mark.parametrize(("page", "examples"), [("docs/cli.md", 5), ("README.md", 1)])
def test_pages_show_what_the_command_prints(page, examples, command):
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    fences = re.findall(r"^```text\n(\$ gradtx (?:schedule|describe|convert) .*?)^```", text, re.MULTILINE | re.DOTALL)
    shown = [
        part.partition("\n") for fence in fences for part in re.split(r"^\$ gradtx ", fence, flags=re.MULTILINE)[1:]
    ]
    assert len(shown) == examples
    for words, _, printed in shown:
        result = command(*shlex.split(words))
        assert result.code == 0
        assert [line.rstrip() for line in result.out.strip().splitlines()] == printed.strip().splitlines()


def test_names_with_slashes_are_nested():
    tree = parameters("a/b:2x3:float16, a/c:4,d")
    assert (tree["a"]["b"].shape, tree["a"]["b"].dtype) == ((2, 3), np.float16)
    assert (tree["a"]["c"].shape, tree["d"].shape) == ((4,), ())


BAD = {
    ("schedule", "adam(1e-3)", "--steps", "5"): "gradtx: expected a schedule, or a transformation with one, got adam",
    ("schedule", "linear(1)", "--steps", "5"): "gradtx.parse: expected a registered name, got 'linear'",
    ("schedule", "constant_schedule(1.0)"): "gradtx: Missing option '--steps'",
    ("schedule", "constant_schedule(1.0)", "--steps", "0"): "gradtx: Invalid value for '--steps'",
    ("schedule", "constant_schedule(1.0)", "--steps", "5", "--png", "a.txt"): "gradtx: --png a.txt: expected a name",
    (
        "schedule",
        "constant_schedule(array([1.0, 2.0]))",
        "--steps",
        "5",
    ): "gradtx: expected schedules of single numbers, got arrays of [2]",
    ("describe", "adm(1e-3)"): "gradtx.parse: expected a registered name, got 'adm'",
    ("describe", "adam(1e-3)", "--params", "a:2y3"): "gradtx: --params: expected a shape such as 4096x4096, got '2y3'",
    ("describe", "adam(1e-3)", "--params", "a:2:float17"): "gradtx: --params: expected a dtype such as bfloat16, got",
    ("describe", "adam(1e-3)", "--params", ":2"): "gradtx: --params: expected NAME:SHAPE:DTYPE",
    ("describe", "adam(1e-3)", "--params", "a:2,a:3"): "gradtx: --params: 'a' is there twice",
    ("describe", "adam(1e-3)", "--params", "a:2,a/b:3"): "gradtx: --params: 'a/b' is inside 'a', which is a parameter",
    ("describe", "constant_schedule(1.0)", "--params", "a:2"): "gradtx: --params: constant_schedule is a schedule",
    ("describe", "adamw(1e-3, mask='*/kernel')", "--params", "a:2"): "gradtx.add_decayed_weights: expected a glob that",
    ("describe", "adam(array([0.1, 0.2]))", "--params", "a:2"): "gradtx.adam: expected a single number for learning",
}


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_input_is_one_line_and_code_2(words, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(BAD[words])
    assert result.err.count("\n") == 1
