"""Transformations made of transformations: one after another, or each on its own leaves."""

from gradtx.combinators.chain import chain, named_chain
from gradtx.combinators.mask import MaskedState, masked
from gradtx.combinators.partition import PartitionState, multi_transform, partition

__all__ = ["MaskedState", "PartitionState", "chain", "masked", "multi_transform", "named_chain", "partition"]
