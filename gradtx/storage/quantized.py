"""States in eight bits: codes of numbers relative to the largest of each block."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata

from gradtx.core import Form, GradientTransformation, one_for_zero, transformation
from gradtx.core.leafwise import LeafState, Leafwise, Outline, Scalars
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.tree.fields import second_moments_of
from gradtx.typing import Params, State


def dynamic_map(*, signed: bool) -> np.ndarray:
    """The 256 numbers in [-1, 1] or (0, 1] that codes stand for: ever finer, decade by decade, towards 0.

    Without a sign the smallest is no zero: a second moment of zero, under the root of a divisor, would make a huge step
    of a first moment that is not quite zero.
    """
    found = [0.0, 1.0]
    for decade in range(7):
        edges = np.linspace(0.1, 1, 2**decade * (1 if signed else 2) + 1)
        middles = (edges[1:] + edges[:-1]) / 2 * 10.0 ** (decade - 6)
        found += [*middles, *-middles] if signed else [*middles]
    table = np.sort(found)
    if not signed:
        table[0] = table[1] / 2
    return table


MAPS = {signed: dynamic_map(signed=signed).astype(np.float32) for signed in (True, False)}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quantized:
    """An array in eight bits.

    Attributes:
      codes: which number of the map each element is, uint8, of the shape of the array.
      scales: the largest magnitude in each block along the last axis, float32 [..., blocks].
      block_size: how many elements have one scale; the last block may have fewer.
      signed: whether elements may be negative.
    """

    codes: jax.Array
    scales: jax.Array
    block_size: int = dataclasses.field(metadata={"static": True})
    signed: bool = dataclasses.field(metadata={"static": True})


def encode(x: jax.Array, block_size: int, *, signed: bool) -> Quantized:
    """An array [..., n] in eight bits, each element by the nearest number of the map; what is not finite becomes 0."""
    x = jnp.where(jnp.isfinite(x), x, 0).astype(jnp.float32)
    scales = jnp.max(jnp.abs(_in_blocks(x, block_size)), axis=-1)
    relative = x / _of_elements(one_for_zero(scales), block_size, x.shape[-1])
    return Quantized(_codes(relative, signed=signed), scales, block_size, signed)


def decode(x: Quantized) -> jax.Array:
    """The array that was stored, float32."""
    return jnp.asarray(MAPS[x.signed])[x.codes] * _of_elements(x.scales, x.block_size, x.codes.shape[-1])


def _in_blocks(x: jax.Array, block_size: int) -> jax.Array:
    """An array [..., n] as [..., blocks, block_size], the last block filled up with zeros."""
    surplus = -x.shape[-1] % block_size
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, surplus)]) if surplus else x
    return padded.reshape(*x.shape[:-1], padded.shape[-1] // block_size, block_size)


def _of_elements(scales: jax.Array, block_size: int, size: int) -> jax.Array:
    """The scale of each element, [..., n]."""
    repeated = jnp.broadcast_to(scales[..., None], (*scales.shape, block_size))
    return repeated.reshape(*scales.shape[:-1], scales.shape[-1] * block_size)[..., :size]


def _codes(x: jax.Array, *, signed: bool) -> jax.Array:
    """The codes of the nearest numbers: how many of the points halfway between two lie below, decade by decade.

    Counted by arithmetic: a search in the table would read it eight times for each element.
    """
    size, first = jnp.abs(x), 0
    code: Any = 0
    numbers = np.sort(dynamic_map(signed=signed))
    numbers = numbers[numbers >= 0].astype(np.float32)
    halfway = (numbers[1:] + numbers[:-1]) / 2
    for decade in range(7):
        count = 2**decade * (1 if signed else 2)
        inside = jnp.floor((size * 10.0 ** (6 - decade) - 0.1) / 0.9 * count)
        code += (size > halfway[first]) + jnp.clip(inside, 0, count - 1)
        first += count
    code += size > halfway[first]
    return (jnp.maximum(127 + jnp.sign(x) * code, 0) if signed else code).astype(jnp.uint8)


@transformation
def quantized(inner: GradientTransformation, block_size: int = 256, min_size: int = 4096) -> Form:
    r"""Keep the state of an optimizer in eight bits.

    .. math::
        x_i \approx s_b\, \operatorname{map}[c_i], \qquad s_b = \max_{i \in b} |x_i|

    Every array of real numbers in the state is stored as a code of 8 bits for each element, and a float32 scale for
    each block along the last axis. Between 1 and 0.1 of the largest number of a block there are 64 numbers (128 without
    a sign), in each decade below half as many, down to 5.5e-7. An update reads the codes, computes in float32, and
    stores what comes out; of the arrays of one leaf at a time. Moments that are never negative, which the class of the
    state declares as `SecondMoments`, have codes without a sign, and none for zero.

    What is not finite is stored as zero. The update that made it is not changed: guard it with `apply_if_finite`, or
    `zero_nans` before.

    The state lies like the parameters, so it is sharded as they are, with the scales of a block where its elements are
    if a shard holds whole blocks. Codes are constants to derivatives.

    Args:
      inner: a transformation that is leafwise, as most are: all optimizers but those of matrices, line searches, and
        chains with a norm in the middle. Put a clip by the global norm first.
      block_size: how many elements have one scale, at least 1. One outlier costs its block the small numbers.
      min_size: arrays of fewer elements stay as they are, and so do scalars.

    State:
      That of the inner transformation, with `Quantized` arrays: 1.016 bytes for each 4; of `adamw` 2.03 per parameter.

    Raises:
      ArgumentTypeError: `inner` is not leafwise.
      ArgumentValueError: `block_size` or `min_size` is less than 1.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> params, tx = jnp.ones((64, 256)), gradtx.quantized(gradtx.adamw(1e-3))
      >>> round(sum(x.nbytes for x in jax.tree.leaves(tx.init(params))) / params.size, 2)
      2.03

    References:
      - Dettmers et al., 8-bit optimizers via block-wise quantization, 2021, arXiv:2110.02861.

    Differences from bitsandbytes: blocks lie along the last axis and not along the flattened array; a second moment is
    never stored as zero.
    """
    for name, value in (("block_size", block_size), ("min_size", min_size)):
        if value < 1:
            raise ArgumentValueError(f"{name} of at least 1", got=str(value))
    form = inner.leafwise
    if form is None:
        hint = "put norms of the whole tree first in a chain, and the methods of matrices outside"
        raise ArgumentTypeError("inner to be leafwise", got=repr(inner), hint=hint)
    return _quantized(form, block_size, min_size)


def _quantized(form: Leafwise, block_size: int, min_size: int) -> Leafwise:
    """A leafwise transformation whose large arrays are stored in eight bits."""

    def stored(x: Any, positive: bool) -> Any:
        real = jnp.issubdtype(x.dtype, jnp.floating)
        return encode(x, block_size, signed=not positive) if real and x.ndim and x.size >= min_size else x

    def init(params: Params) -> State:
        state, outline = form.init(params), Outline.of(params)
        rows = zip(form.split(state, outline), form.split(second_moments_of(state), outline), strict=True)
        return form.merge(state, outline, [jax.tree.map(stored, *row) for row in rows])

    def leaf(scalars: Scalars, index: Any, g: Any, s: LeafState, p: Any) -> tuple[Any, LeafState]:
        wide = jax.tree.map(lambda x: decode(x) if _is_stored(x) else x, s, is_leaf=_is_stored)
        u, new = form.leaf(scalars, index, g, wide, p)
        again = jax.tree.map(
            lambda old, x: encode(x, block_size, signed=old.signed) if _is_stored(old) else x,
            s, new, is_leaf=_is_stored,
        )  # fmt: skip
        return u, again

    @jax.jit
    def one_call(*args: Any) -> Any:
        with set_xla_metadata(inlineable="true"):  # type: ignore[no-untyped-call]
            return leaf(*args)

    def apart(*args: Any) -> Any:
        # XLA's CPU backend would begin all leaves together, with the float32 state of all of them in memory: 8 bytes
        # per parameter of Adam's. As calls they run one after another.
        with set_xla_metadata(inlineable="false"):  # type: ignore[no-untyped-call]
            return one_call(*args)

    return dataclasses.replace(form, init=init, leaf=apart)


def _is_stored(x: Any) -> bool:
    return isinstance(x, Quantized)
