"""The switch between the ordinary run of the tests and the exhaustive one."""

import os

import pytest

from tests import effort


@pytest.mark.parametrize(("value", "expected"), [(None, [1]), ("1", [1, 2, 3])])
def test_further_examples_are_for_the_exhaustive_run(monkeypatch, value, expected):
    monkeypatch.delenv(effort.EXHAUSTIVE, raising=False)
    if value:
        monkeypatch.setenv(effort.EXHAUSTIVE, value)
    assert effort.exhaustive() == (value == "1")
    assert effort.some([1], [2, 3]) == expected


def test_flags_of_the_environment_win(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    effort.add_flags("--ours")
    assert os.environ["XLA_FLAGS"] == "--ours --mine"
    assert effort.on_devices(3)["XLA_FLAGS"] == "--ours --mine --xla_force_host_platform_device_count=3"


def test_a_run_that_is_not_exhaustive_compiles_quickly():
    quick = effort.QUICK_FLAGS in os.environ.get("XLA_FLAGS", "")
    assert quick or effort.exhaustive() or not effort.flags_are_known()


def test_flags_that_xla_does_not_know_are_noticed(monkeypatch):
    monkeypatch.setattr(effort, "QUICK_FLAGS", "--xla_no_such_flag=1")
    assert not effort.flags_are_known()
