"""A part of Optax's own tests, in CI; ``python -m tests.optax_suite`` runs all."""

import pytest

from tests.optax_suite.__main__ import differences, files_of_tests, reasons, run

FILES = ["_src/base_test.py", "transforms/_conditionality_test.py", "transforms/_adding_test.py"]


@pytest.mark.parametrize("name", FILES)
def test_optaxs_tests_pass_as_the_table_says(name: str) -> None:
    outcomes = run(name)
    assert "passed" in outcomes.values()
    assert not differences(name, outcomes)


def test_the_table_names_files_that_exist() -> None:
    assert sorted(reasons()) == files_of_tests()
    assert all(len(entry["reason"]) > 10 for entries in reasons().values() for entry in entries)
