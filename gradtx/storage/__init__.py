"""How parameters and states are kept from step to step: in which dtypes, and rounded how."""

from gradtx.storage.apply import apply_updates
from gradtx.storage.kahan import KahanState, kahan
from gradtx.storage.masters import MasterWeightsState, master_weights

__all__ = ["KahanState", "MasterWeightsState", "apply_updates", "kahan", "master_weights"]
