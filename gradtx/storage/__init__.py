"""How parameters and states are kept from step to step: in which dtypes, and rounded how."""

from gradtx.storage.apply import apply_updates
from gradtx.storage.kahan import KahanState, kahan
from gradtx.storage.masters import MasterWeightsState, master_weights
from gradtx.storage.quantized import Quantized, quantized

__all__ = ["KahanState", "MasterWeightsState", "Quantized", "apply_updates", "kahan", "master_weights", "quantized"]
