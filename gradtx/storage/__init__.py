"""How parameters and states are kept from step to step: in which dtypes, and rounded how."""

from gradtx.storage.apply import apply_updates

__all__ = ["apply_updates"]
