"""The page for those who come from Optax names each of its optimizers and transformations, and says the truth."""

import operator
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
import gradtx.optax
from tests.optax_names import BETWEEN, FUNCTIONS, HEAD, INTERNAL, OTHER, PAGE, VERSION, lists, optaxs


def page() -> str:
    found = BETWEEN.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    return found[0]


@pytest.mark.skipif(optax.__version__ != VERSION, reason="the page is about another version of Optax")
def test_the_lists_are_up_to_date() -> None:
    assert page() == lists(), "write them anew: python -m tests.optax_names"


def test_every_name_is_in_one_list() -> None:
    same, other, missing = re.split(r"\*\*(?:Another name|Missing)", page())
    names = [re.findall(r"`([\w.]+)`", same), re.findall(r"^\| `([\w.]+)`", other, re.MULTILINE)]
    names.append(re.findall(r"`([\w.]+)`", missing.partition("\n")[2]))
    assert all(len(x) > 20 for x in names[:2]), "the first two are long lists; the last one becomes shorter"
    together = [name for part in names for name in part]
    assert len(together) == len(set(together))
    if optax.__version__ == VERSION:
        assert set(together) == {name for part in optaxs().values() for name in part}
    assert all(hasattr(gradtx, name.removeprefix("contrib.")) for name in names[0])


def test_other_names_are_there() -> None:
    named = {name for part in optaxs().values() for name in part}
    assert optax.__version__ != VERSION or set(OTHER) <= named
    for ours, _ in OTHER.values():
        assert hasattr(gradtx.tree, ours.removeprefix("tree.")) if ours.startswith("tree.") else hasattr(gradtx, ours)


@pytest.mark.parametrize("name", HEAD)
def test_a_name_of_optaxs_next_version_has_a_counterpart(name: str) -> None:
    """A transformation of that name, a documented one of another, or a function; and one in `gradtx.optax`."""
    here = OTHER[name][0] if name in OTHER else name.removeprefix("contrib.")
    assert hasattr(gradtx, here)
    assert (gradtx.aliases().get(here, here) in gradtx.registry()) is (here not in FUNCTIONS)
    assert callable(operator.attrgetter(name)(gradtx.optax))


@pytest.mark.skipif(optax.__version__ != VERSION, reason="the list was compared with this version of Optax")
def test_its_next_version_has_what_this_one_has() -> None:
    schedules = {*optaxs()["Schedules"]}
    assert {name for part in optaxs().values() for name in part} - schedules == {*HEAD} - INTERNAL


REPLACED: dict[str, tuple[Any, Any]] = {
    "nadamw": (lambda: optax.nadamw(0.1), "adamw(0.1, nesterov=True)"),
}


@pytest.mark.parametrize("name", REPLACED)
def test_what_another_name_replaces(name: str) -> None:
    paths = []
    for tx in (REPLACED[name][0](), gradtx.parse(REPLACED[name][1])):
        p = {"a": jnp.array([4.0, -3.0]), "b": jnp.array([1.0])}
        state, path = tx.init(p), []
        for _ in range(6):
            updates, state = tx.update(jax.tree.map(lambda x: x - 0.5, p), state, p)
            p = optax.apply_updates(p, updates)
            path.append(np.concatenate(jax.tree.leaves(p)))
        paths.append(path)
    np.testing.assert_allclose(*paths, rtol=1e-5)
