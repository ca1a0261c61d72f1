"""Steps whose length is that of a layer's parameters, or does not depend on that of its gradients."""

from gradtx.optimizers.layerwise.fromage import compensate_growth, fromage
from gradtx.optimizers.layerwise.lamb import lamb
from gradtx.optimizers.layerwise.lars import lars
from gradtx.optimizers.layerwise.novograd import ScaleByNovogradState, novograd, scale_by_novograd
from gradtx.optimizers.layerwise.trust_ratio import scale_by_trust_ratio

__all__ = [
    "ScaleByNovogradState",
    "compensate_growth",
    "fromage",
    "lamb",
    "lars",
    "novograd",
    "scale_by_novograd",
    "scale_by_trust_ratio",
]
