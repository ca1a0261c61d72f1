"""The loss of one batch as a function of the parameters, with its gradient; whole, or as a mean over parts."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError
from gradtx.typing import Params, Updates

LossFn = Callable[..., Any]
Loss = Callable[[Params, Any, Any], tuple[jax.Array, Any]]
"""``loss(params, batch, key) -> (value, aux)``."""

WeightFn = Callable[[Any], Any]


class Objective(NamedTuple):
    """The loss of one batch.

    Attributes:
      value_and_aux: ``value_and_aux(params) -> (loss, aux)``.
      evaluate: ``evaluate(params) -> (loss, aux, gradient)``.
    """

    value_and_aux: Callable[[Params], tuple[jax.Array, Any]]
    evaluate: Callable[[Params], tuple[jax.Array, Any, Updates]]

    def value(self, params: Params) -> jax.Array:
        """The loss."""
        return self.value_and_aux(params)[0]

    def functions(self) -> dict[str, Callable[[Params], Any]]:
        """The extras that are functions of the params."""
        return {
            "value_fn": self.value,
            "grad_fn": lambda params: self.evaluate(params)[2],
            "value_and_grad_fn": lambda params: self.evaluate(params)[::2],
        }


def as_loss(loss_fn: LossFn, has_aux: bool) -> Loss:
    """A user's loss in the one form ``loss(params, batch, key) -> (value, aux)``.

    Raises:
      ArgumentTypeError: it is not a function, or not one of params, batch and perhaps a key.
    """
    if not callable(loss_fn):
        raise ArgumentTypeError("loss_fn to be a function", got=repr(loss_fn))
    takes_key = _takes_key(loss_fn)

    def loss(params: Params, batch: Any, key: Any) -> tuple[jax.Array, Any]:
        if takes_key and key is None:
            hint = "loss_fn takes one: step(params, state, batch, key)"
            raise MissingExtraError("a key", got="None", hint=hint)
        result = loss_fn(params, batch, key) if takes_key else loss_fn(params, batch)
        value, aux = _split(result, has_aux)
        return _scalar(value), aux

    return loss


def _takes_key(loss_fn: LossFn) -> bool:
    try:
        signature = inspect.signature(loss_fn)
    except (TypeError, ValueError):  # a callable without a signature
        return False
    for arguments, takes in (((0, 0, 0), True), ((0, 0), False)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return takes
    raise ArgumentTypeError("loss_fn(params, batch) or loss_fn(params, batch, key)", got=f"loss_fn{signature}")


def _split(result: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        if isinstance(result, tuple):
            raise ArgumentTypeError("loss_fn to return a number", got="a tuple", hint="pass has_aux=True")
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else "one value"
        raise ArgumentTypeError("loss_fn to return a pair (loss, aux), as has_aux is True", got=got)
    return result


def _scalar(value: Any) -> jax.Array:
    scalar: jax.Array = jnp.asarray(value)
    if scalar.ndim or not jnp.issubdtype(scalar.dtype, jnp.floating):
        got, hint = f"{scalar.dtype}{list(scalar.shape)}", "take the mean over the batch"
        raise ArgumentValueError("loss_fn to return a real scalar", got=got, hint=hint)
    return scalar


def whole(loss: Loss, batch: Any, key: Any) -> Objective:
    """The loss of a batch, evaluated at once."""
    differentiated = jax.value_and_grad(loss, has_aux=True, allow_int=True)

    def evaluate(params: Params) -> tuple[jax.Array, Any, Updates]:
        (value, aux), grads = differentiated(params, batch, key)
        return value, aux, jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, grads)

    return Objective(lambda params: loss(params, batch, key), evaluate)


def in_parts(loss: Loss, batch: Any, key: Any, parts: int, weight_fn: WeightFn | None) -> Objective:
    r"""The loss of a batch as the weighted mean over its parts, evaluated one after another.

    .. math:: L = \frac{\sum_i w_i L_i}{\sum_i w_i}, \qquad g = \frac{\sum_i w_i g_i}{\sum_i w_i}

    Sums are in at least float32. A part of weight 0 is left out, whatever its loss is.
    """
    micro = split(batch, parts)
    weights = jnp.ones(parts) if weight_fn is None else jax.vmap(lambda part: _weight(weight_fn(part)))(micro)
    total = weights.sum()
    shares = weights / jnp.where(total > 0, total, 1)
    keys = None if key is None else jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(parts))

    def share_of(share: jax.Array, x: Any) -> Any:
        return jnp.where(share > 0, share * x, 0)

    def value_and_aux(params: Params) -> tuple[jax.Array, Any]:
        def add(total: jax.Array, x: Any) -> tuple[jax.Array, Any]:
            part, share, key = x
            value, aux = loss(params, part, key)
            return total + share_of(share, value), aux

        mean: tuple[jax.Array, Any] = jax.lax.scan(add, jnp.zeros(()), (micro, shares, keys))
        return mean

    def evaluate(params: Params) -> tuple[jax.Array, Any, Updates]:
        def add(sums: Any, x: Any) -> tuple[Any, Any]:
            (total, grads), (part, share, key) = sums, x
            value, aux, g = whole(loss, part, key).evaluate(params)
            _, grads = tree.map_leaves(lambda g, s: (g, s + share_of(share, g)), g, grads)
            return (total + share_of(share, value), grads), aux

        zeros = (jnp.zeros(()), tree.zeros_accumulator(params))
        (value, grads), aux = jax.lax.scan(add, zeros, (micro, shares, keys))
        return value, aux, jax.tree.map(_gradient_like, params, grads)

    return Objective(value_and_aux, evaluate)


def split(batch: Any, parts: int) -> Any:
    """The batch with a new leading axis of parts; part i has every example whose number is i modulo `parts`.

    A batch sharded along its examples stays so: every device has a share of every part.

    Raises:
      ArgumentValueError: a leaf has no leading axis, or one that does not divide, or leaves have different ones.
    """
    sizes: set[int] = set()

    def reshape(path: Any, x: Any) -> jax.Array:
        at = f"batch{jax.tree_util.keystr(path)}"
        if not jnp.ndim(x):
            hint = "give every leaf of the batch a leading axis of examples"
            raise ArgumentValueError("a leaf with an axis of examples", got="a scalar", at=at, hint=hint)
        examples = jnp.shape(x)[0]
        sizes.add(examples)
        if len(sizes) > 1:
            raise ArgumentValueError("as many examples in every leaf of the batch", got=str(sorted(sizes)), at=at)
        if examples % parts:
            hint = f"choose a batch size that is a multiple of {parts}, or another accumulate"
            raise ArgumentValueError(f"a number of examples divisible by {parts}", got=str(examples), at=at, hint=hint)
        return jnp.moveaxis(jnp.reshape(x, (examples // parts, parts, *jnp.shape(x)[1:])), 1, 0)

    return jax.tree_util.tree_map_with_path(reshape, batch)


def _weight(weight: Any) -> jax.Array:
    if jnp.ndim(weight):
        got, hint = f"shape {list(jnp.shape(weight))}", "sum it: the number of tokens, for example"
        raise ArgumentValueError("weight_fn to return a scalar", got=got, hint=hint)
    return jnp.asarray(weight, jnp.result_type(float))


def _gradient_like(p: Any, g: jax.Array) -> Any:
    """The gradient of a leaf: none (float0) of an integer."""
    inexact = jnp.issubdtype(jnp.result_type(p), jnp.inexact)
    return g if inexact else np.zeros(jnp.shape(p), jax.dtypes.float0)
