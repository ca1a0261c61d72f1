"""Transformations made of transformations: one after another, or each on its own leaves."""

from gradtx.combinators.chain import chain, named_chain
from gradtx.combinators.mask import MaskedState, masked
from gradtx.combinators.partition import PartitionState, partition

__all__ = ["MaskedState", "PartitionState", "chain", "masked", "named_chain", "partition"]
