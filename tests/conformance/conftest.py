"""The laws run case by case, all laws of one after another, so that they share what is compiled and can forget it."""

from pathlib import Path
from typing import Any

import jax
import pytest

from tests.conformance.laws import programs

HERE = Path(__file__).parent
EVERY = 60
"""How many cases compiled code is kept for."""

_seen: list[str] = []


def _case(item: Any) -> str:
    return item.callspec.params.get("name", "") if hasattr(item, "callspec") else ""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Sort the tests of this folder by case; the others stay where they are."""
    places = [i for i, item in enumerate(items) if HERE in item.path.parents]
    ordered = sorted((items[i] for i in places), key=_case)
    for i, item in zip(places, ordered, strict=True):
        items[i] = item


@pytest.fixture(autouse=True)
def _forget(request: Any) -> None:
    """Let go of compiled code from time to time: a worker would grow to several gigabytes."""
    name = _case(request.node)
    if name not in _seen:
        _seen.append(name)
        if len(_seen) % EVERY == 0:
            programs.cache_clear()
            jax.clear_caches()
