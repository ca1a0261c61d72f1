"""Hearing what XLA compiles, in every test of this process."""

import jax

COMPILED = []
"""How long each compilation took."""


def _listen(event, duration, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(duration)


jax.monitoring.register_event_duration_secs_listener(_listen)
