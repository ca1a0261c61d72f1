"""The subcommands: what they print, and one clear line with exit code 2 for whatever is wrong."""

import re

import numpy as np
import pytest

PNG = b"\x89PNG\r\n\x1a\n"


def rows(table: str) -> dict[str, list[str]]:
    """The cells of a printed table by the first of each row; of a comparison, by the optimizer, places left out."""
    found = (re.split(r" {2,}", line.strip()) for line in table.splitlines())
    found = (cells[1:] if re.fullmatch(r"=?\d+|-", cells[0]) else cells for cells in found)
    return {cells[0]: cells[1:] for cells in found if len(cells) > 1}


# --- bad input --------------------------------------------------------------------------------------------------------

BAD = {
    ("compare", "--optimizer", "adm(1e-3)"): "gradtx.parse: expected a registered name, got 'adm'; did you mean adam",
    ("compare", "--optimizer", "adam(-1)"): "gradtx.adam: expected learning_rate in [0, inf), got -1",
    ("compare", "--optimizer", "adam("): "gradtx.parse: expected constructor text, got 'adam('",
    ("compare", "--optimizer", "__import__('os')"): "gradtx.parse: expected a registered name, got '__import__'",
    ("compare", "--optimizer", "constant_schedule(1.0)"): "gradtx: --optimizer 'constant_schedule(1.0)' is a schedule",
    ("compare", "--optimizer", "adam(array([[1.0]]))"): "gradtx: --optimizer 'adam(array([[1.0]]))': the arrays of",
    ("compare", "--optimizer", "sgd(array([1.0, 2.0]), array([0.5]))"): "gradtx: --optimizer 'sgd(array([1.0, 2.0]), a",
    ("compare", "--task", "mnist"): "gradtx: Invalid value for '--task'",
    ("compare", "--seeds", "0"): "gradtx: Invalid value for '--seeds'",
    ("compare", "--steps", "0"): "gradtx: Invalid value for '--steps'",
    ("compare", "--epochs", "many"): "gradtx: Invalid value for '--epochs'",
    ("compare", "--steps", "1", "--epochs", "1"): "gradtx: give --steps or --epochs, not both",
    ("compare", "--data", "somewhere"): "gradtx: --data is for the tasks airfoil and cifar10",
    ("compare", "--task", "airfoil"): "gradtx: --task airfoil needs --data PATH, or GRADTX_DATA",
    ("compare", "--task", "airfoil", "--data", "nowhere.dat"): "gradtx: nowhere.dat: no such file",
    ("compare", "--task", "cifar10", "--data", "."): "gradtx: cifar10/cifar10_10k_2k.npz: no such file",
    ("compare", "--all", "--optimizer", "sgd(0.1)"): "gradtx: --all chooses among the optimizers of the task",
    ("compare", "--schedules", "both", "--optimizer", "sgd(0.1)"): "gradtx: --schedules chooses among the optimizers",
    ("compare", "--schedules", "linear"): "gradtx: Invalid value for '--schedules'",
    (
        "compare",
        "--all",
        "--task",
        "airfoil",
    ): "gradtx: --all is for the task digits; airfoil has optimizers of its own",
    ("compare", "--out", "curves.txt"): "gradtx: --out curves.txt: expected a name that ends in .png, .pdf, .svg",
    ("compare", "--out", "nowhere/curves.png"): "gradtx: --out nowhere/curves.png: cannot be written",
    ("trajectories", "--optimizer", "adam(b1=2)"): "gradtx.adam: expected ",
    ("trajectories", "--optimizer", "masked(sgd(0.1), {'w': True})"): "gradtx.masked: expected",
    ("trajectories", "--out", "."): "gradtx: --out .: expected a name that ends in .png, .pdf, .svg",
    ("list", "adm"): "gradtx: expected a registered name, got 'adm'; did you mean adam",
    ("list", "--all"): "gradtx: No such option: --all",
    ("train",): "gradtx: No such command 'train'",
}


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_input_is_one_line_and_code_2(words, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command(*words)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith(BAD[words])
    assert result.err.count("\n") == 1


def test_a_target_that_nobody_reaches_is_an_error_after_the_table(command, tmp_path):
    tiny = ("--steps", 2, "--seeds", 1, "--out", tmp_path / "c.png")
    result = command("compare", "--optimizer", "sgd(0.1)", "--target", 1e-9, *tiny)
    assert result.code == 2
    assert rows(result.out)["sgd(0.1)"][0] == "never"
    assert result.err.splitlines()[1:] == ["gradtx: no optimizer reached the target loss of 1e-09 in 2 steps"]


# --- compare ----------------------------------------------------------------------------------------------------------


def test_compare_digits(command, tmp_path):
    out = tmp_path / "curves.png"
    words = ("--optimizer", "adam(array([0.03, 1e-6]))", "--optimizer", "sgd(0.0)", "--steps", 60, "--seeds", 2)
    result = command("compare", *words, "--target", 0.5, "--out", out)
    assert result.code == 0
    assert out.read_bytes().startswith(PNG)
    assert result.out.splitlines()[1].endswith("seconds on two idle cores")
    table = rows(result.out)
    names = ["adam(learning_rate=0.03)", "adam(learning_rate=1e-06)", "sgd(0.0)"]
    assert [line.partition(": final loss")[0] for line in result.err.splitlines()] == names
    assert [name for name in table if name in names] == sorted(names, key=lambda name: float(table[name][1]))
    good, slow, still = (table[name] for name in names)
    assert float(good[1]) < 0.4
    assert float(good[2].split()[0]) > 80
    assert 0 < float(good[0].split()[0]) <= 60
    assert slow[0] == still[0] == "never"
    assert "adam(learning_rate=0.03) gets to a loss of 0.5 first" in result.out


def test_compare_is_reproducible_and_its_seed_matters(command, tmp_path):
    words = ("compare", "--optimizer", "sgd(0.1)", "--steps", 5, "--seeds", 1, "--out", tmp_path / "c.svg")
    first, again, other = (rows(command(*words, "--seed", seed).out)["sgd(0.1)"][:3] for seed in (0, 0, 1))
    assert first == again != other


def test_a_diverging_optimizer_is_called_so(command, tmp_path):
    words = ("--optimizer", "scale(1e30)", "--steps", 10, "--seeds", 1, "--out", tmp_path / "c.pdf")
    result = command("compare", *words)
    assert result.code == 0
    assert rows(result.out)["scale(1e30)"][:2] == ["never", "diverged"]
    assert "Went uphill, and has no place: scale(1e30) (diverged)." in result.out


def test_compare_airfoil_on_a_made_up_file(command, tmp_path, airfoil_file):
    result = command("compare", "--task", "airfoil", "--data", airfoil_file, "--seeds", 3, "--out", tmp_path / "c.png")
    assert result.code == 0
    assert set(rows(result.out)) >= {"sgd", "momentum", "adagrad", "rmsprop", "adadelta", "adam", "yogi"}
    optimum, zero = map(float, re.search(r"optimum ([\d.]+); loss at zero weights ([\d.]+)", result.out).groups())
    for name in ("adam", "yogi"):
        low, mean, high = map(float, rows(result.out)[name][2:5])
        assert optimum - 1e-4 <= low <= mean <= high < zero


def test_compare_cifar10_on_a_made_up_file(command, tmp_path, cifar_file):
    plateau = "adam(plateau_schedule(1e-9, factor=0.5, patience=1))"
    words = ("--data", cifar_file, "--optimizer", plateau, "--epochs", 3, "--seeds", 1, "--out", tmp_path / "c.png")
    result = command("compare", "--task", "cifar10", *words)
    assert result.code == 0
    assert "36 images to train on, 4 to validate on, 20 to test on; 3 epochs of 36 rows, 1 seed" in result.out
    assert len(rows(result.out)[plateau]) >= 4
    assert f"{plateau} (rate), seed 0: 1e-09, 5e-10 from epoch 3" in result.out


def test_data_are_found_in_the_directory_of_the_environment(command, tmp_path, airfoil_file, monkeypatch):
    directory = tmp_path / "airfoil"
    directory.mkdir()
    (directory / "airfoil_self_noise.dat").symlink_to(airfoil_file)
    monkeypatch.setenv("GRADTX_DATA", str(tmp_path))
    words = ("--optimizer", "sgd(0.01)", "--steps", 2, "--seeds", 1, "--out", tmp_path / "c.png")
    assert command("compare", "--task", "airfoil", *words).code == 0
    assert command("compare", *words).code == 0


def test_the_textbook_run(real_data, command, tmp_path):
    result = command("compare", "--task", "airfoil", "--data", real_data, "--out", tmp_path / "c.png")
    assert result.code == 0
    assert "least-squares optimum 0.241688; loss at zero weights 0.4933" in result.out
    table = rows(result.out)
    for name in ("sgd", "momentum", "adagrad", "rmsprop", "adadelta", "adam", "yogi"):
        low, mean, high = np.array(table[name][2:5], float)
        assert 0.2416 <= low <= mean <= high <= 0.26
        assert table[name][5] == "yes"
        assert mean < 0.246 or name not in ("adam", "yogi")


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_without_words_it_shows_what_there_is(command):
    result = command()
    assert result.code == 0
    assert all(name in result.out for name in ("compare", "trajectories", "list"))


@pytest.mark.parametrize("words", [("--help",), ("compare", "--help"), ("--version",)], ids=" ".join)
def test_help_and_version(words, command):
    result = command(*words)
    assert (result.code, result.err) == (0, "")
    assert "gradtx" in result.out
