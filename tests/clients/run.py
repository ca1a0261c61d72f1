"""Programs with Optax, or with gradtx.optax in its place: ``python -m tests.clients.run ours|theirs NAME ...``.

The libraries import Optax themselves: what they get under its name is gradtx's, and Optax's own where gradtx hands a
name on.
"""

import json
import sys
import types
from typing import Any

import jax


class Front(types.ModuleType):
    """A module under Optax's name: gradtx's names before Optax's."""

    def __init__(self, ours: types.ModuleType, theirs: types.ModuleType) -> None:
        super().__init__(theirs.__name__)
        self.__dict__.update(__path__=list(getattr(theirs, "__path__", [])), __spec__=theirs.__spec__)
        self.__dict__["_both"] = (ours, theirs)

    def __getattr__(self, name: str) -> Any:
        ours, theirs = self.__dict__["_both"]
        return vars(ours)[name] if name in vars(ours) else getattr(theirs, name)


def substitute() -> None:
    """Put gradtx.optax in Optax's place."""
    import optax
    import optax.contrib
    import optax.tree

    import gradtx.optax as ours

    for part in ("contrib", "schedules", "transforms", "tree", "tree_utils"):
        sys.modules[f"optax.{part}"] = Front(getattr(ours, part), getattr(optax, part))
    sys.modules["optax"] = Front(ours, optax)


if __name__ == "__main__":
    _, whose, *names = sys.argv
    jax.config.update("jax_platforms", "cpu")
    if whose == "ours":
        substitute()
    from tests.clients.programs import PROGRAMS

    print("\n" + json.dumps({name: PROGRAMS[name][0]() for name in names}))
