"""No registered name escapes a law without a written reason."""

import importlib
from pathlib import Path

import pytest

from tests.conformance.cases import REGISTRY, VALUES
from tests.conformance.laws import LAWS

for path in sorted(Path(__file__).parent.glob("test_*.py")):
    importlib.import_module(f"tests.conformance.{path.stem}")


def registered(names):
    """The registered names of cases such as ``"adam+bfloat16"``."""
    return {name.partition("+")[0] for name in names}


def test_there_are_ten_laws():
    assert {law.number for law in LAWS.values()} == set(range(1, 11))


@pytest.mark.parametrize("test", LAWS)
def test_every_name_obeys_every_law_or_is_excused_by_name_and_reason(test):
    law = LAWS[test]
    assert registered(law.cases) == set(REGISTRY)
    assert set(law.cases) == set(VALUES)
    for excuses in (law.exempt, law.weaker):
        assert set(excuses) <= set(law.cases)
        assert all(isinstance(reason, str) and len(reason) > 3 for reason in excuses.values())
    assert not set(law.exempt) & set(law.weaker)


def test_every_name_is_run_by_some_test_of_every_law():
    for number in range(1, 10):  # random chains say themselves which names they do without
        run = [set(law.cases) - set(law.exempt) for law in LAWS.values() if law.number == number]
        assert registered(set().union(*run)) == set(REGISTRY)
