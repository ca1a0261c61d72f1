"""Data files: what is read from a good one, and what is said of a bad one."""

import re

import numpy as np
import pytest

from gradtx.cli.data import AIRFOIL_FILE, Rows, load_airfoil, load_cifar10, load_digits, locate
from gradtx.cli.failure import CommandError


def refusal(load, path) -> str:
    with pytest.raises(CommandError) as error:
        load(path)
    message = str(error.value)
    assert message.startswith(f"{path}:")
    assert "\n" not in message
    return message.removeprefix(f"{path}:")


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_split_once_for_all():
    digits = load_digits()
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    assert digits.train.x.dtype == np.float32
    assert digits.train.x.min() == 0
    assert digits.train.x.max() == 1
    assert set(digits.test.y) == set(range(10))
    assert digits.watched is digits.train
    assert np.array_equal(load_digits().train.y, digits.train.y)


# --- airfoil ----------------------------------------------------------------------------------------------------------


def edited(airfoil_file, tmp_path, edit):
    """A copy of the file with its lines changed."""
    path = tmp_path / "edited.dat"
    path.write_text("\n".join(edit(airfoil_file.read_text().splitlines())))
    return path


def with_line(number, change):
    def edit(lines):
        lines[number - 1] = change(lines[number - 1])
        return lines

    return edit


def test_airfoil_is_standardised_over_all_rows(airfoil_file):
    table = np.loadtxt(airfoil_file)
    airfoil = load_airfoil(airfoil_file)
    assert airfoil.train.x.shape == (1500, 5)
    assert airfoil.test is None
    expected = ((table - table.mean(0)) / table.std(0))[:1500]
    np.testing.assert_allclose(airfoil.train.x, expected[:, :5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(airfoil.train.y, expected[:, 5], rtol=1e-5, atol=1e-6)


def test_blank_lines_are_passed_over(airfoil_file, tmp_path):
    path = edited(airfoil_file, tmp_path, lambda lines: ["", *lines, "  "])
    assert np.array_equal(load_airfoil(path).train.x, load_airfoil(airfoil_file).train.x)


BAD_LINES = {
    "a column short": (with_line(7, lambda line: line.rpartition("\t")[0]), "7: expected 6 columns, got 5"),
    "a column long": (with_line(1, lambda line: line + "\t1"), "1: expected 6 columns, got 7"),
    "a word": (with_line(1500, lambda line: "\t".join(["1", "2", "x3", "4", "5", "6"])), "1500: column 3 is not a"),
    "not a number": (with_line(2, lambda line: "nan\t2\t3\t4\t5\t6"), "2: column 1 is not a finite number: 'nan'"),
    "infinite": (with_line(2, lambda line: "1\t2\t3\t4\t5\t1e999"), "2: column 6 is not a finite number: '1e999'"),
    "too few": (lambda lines: lines[:1499], " expected at least 1500 rows, got 1499"),
    "empty": (lambda lines: [], " expected at least 1500 rows, got 0"),
    "constant": (lambda lines: ["1\t2\t3\t4\t5\t6"] * 1503, " column 1 is constant"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_tables(case, airfoil_file, tmp_path):
    edit, message = BAD_LINES[case]
    assert refusal(load_airfoil, edited(airfoil_file, tmp_path, edit)).startswith(message)


def test_a_binary_file_is_not_a_table(cifar_file):
    assert refusal(load_airfoil, cifar_file) == " not a text file of numbers"


# --- cifar10 ----------------------------------------------------------------------------------------------------------


def test_cifar10_holds_back_a_tenth_to_validate(cifar_file):
    cifar = load_cifar10(cifar_file)
    assert (len(cifar.train), len(cifar.watched), len(cifar.test)) == (36, 4, 20)
    assert cifar.train.x.dtype == np.uint8
    assert cifar.train.y.dtype == np.int32


X, Y = np.zeros((20, 32, 32, 3), np.uint8), np.zeros(20, np.uint8)
BAD_ARRAYS = {
    "missing": ({"y_test": None}, " expected the arrays x_train, y_train, x_test, y_test, got x_train, y_train, x_t"),
    "channels first": ({"x_train": X.transpose(0, 3, 1, 2)}, " expected x_train as uint8 [n, 32, 32, 3], got uint8 "),
    "floats": ({"x_test": X.astype(np.float32)}, " expected x_test as uint8 [n, 32, 32, 3], got float32 [20, 32, 32"),
    "short labels": ({"y_train": Y[:19]}, " expected y_train as integers [20], got uint8 [19]"),
    "one-hot labels": ({"y_test": np.eye(20)}, " expected y_test as integers [20], got float64 [20, 20]"),
    "large labels": ({"y_test": Y + 10}, " labels in y_test must lie in 0..9, got 10..10"),
    "no images": ({"x_test": X[:0], "y_test": Y[:0]}, " x_test is empty"),
    "too few": ({"x_train": X[:9], "y_train": Y[:9]}, " 9 training images are too few"),
    "objects": ({"y_train": np.array([object()] * 20)}, " not an .npz archive of plain arrays"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_archives(case, tmp_path):
    changes, message = BAD_ARRAYS[case]
    arrays = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y} | changes
    path = tmp_path / "bad.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    assert refusal(load_cifar10, path).startswith(message)


def test_what_is_no_archive(tmp_path, cifar_file, airfoil_file):
    single, cut = tmp_path / "single.npy", tmp_path / "cut.npz"
    np.save(single, X)
    cut.write_bytes(cifar_file.read_bytes()[:3000])
    assert refusal(load_cifar10, single) == " expected an .npz archive, got a single array"
    assert refusal(load_cifar10, cut) == " not an .npz archive of plain arrays"
    assert refusal(load_cifar10, airfoil_file) == " not an .npz archive of plain arrays"


# --- where ------------------------------------------------------------------------------------------------------------


def test_a_file_a_directory_or_the_environment(tmp_path, airfoil_file, monkeypatch):
    monkeypatch.delenv("GRADTX_DATA", raising=False)
    inside = tmp_path / AIRFOIL_FILE
    inside.parent.mkdir()
    inside.write_text("")
    assert locate(airfoil_file, AIRFOIL_FILE, "airfoil") == airfoil_file
    assert locate(tmp_path, AIRFOIL_FILE, "airfoil") == inside
    with pytest.raises(CommandError, match=re.escape("--task airfoil needs --data PATH")):
        locate(None, AIRFOIL_FILE, "airfoil")
    monkeypatch.setenv("GRADTX_DATA", str(tmp_path))
    assert locate(None, AIRFOIL_FILE, "airfoil") == inside


def test_rows_are_indexed_together():
    rows = Rows(np.arange(6).reshape(3, 2), np.arange(3))[np.array([2, 0])]
    assert rows.x.tolist() == [[4, 5], [0, 1]]
    assert rows.y.tolist() == [2, 0]
