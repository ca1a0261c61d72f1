"""States saved and read back: nested dicts of plain arrays with names, and Optax's states."""

from gradtx.checkpoint.optax_state import from_optax_state
from gradtx.checkpoint.state_dict import (
    SCHEMA,
    fields_changed,
    flatten_state_dict,
    from_state_dict,
    to_state_dict,
    unflatten_state_dict,
)

__all__ = [
    "SCHEMA",
    "fields_changed",
    "flatten_state_dict",
    "from_optax_state",
    "from_state_dict",
    "to_state_dict",
    "unflatten_state_dict",
]
