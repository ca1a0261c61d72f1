"""The training step."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, as_transformation, member_key
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError, require_extra
from gradtx.optimizers.second_order import value_and_grad_from_state
from gradtx.storage import apply_updates
from gradtx.training.objective import LossFn, WeightFn, as_loss, in_parts, whole
from gradtx.typing import Params, State
from gradtx.wrappers import ApplyIfFiniteState, SkipIfState, SkipLargeUpdatesState, get_hyperparams


class StepMetrics(NamedTuple):
    """What a step of `build_step` reports.

    Attributes:
      loss: the loss before the step, float [].
      aux: what `loss_fn` returned beside it, if ``has_aux``; with ``accumulate=k``, with a leading axis of k parts.
      grad_norm: the norm of the gradient, float32 [], or ``None`` if ``norms=False``.
      update_norm: the norm of the update, float32 [], or ``None`` if ``norms=False``.
      hyperparams: the values in force, as by `get_hyperparams`: those that follow a schedule or are tunable.
      skipped: how many updates have been skipped so far by guards such as `apply_if_finite`, int32 [].
    """

    loss: jax.Array
    aux: Any
    grad_norm: jax.Array | None
    update_norm: jax.Array | None
    hyperparams: dict[str, Any]
    skipped: jax.Array


Step = Callable[..., tuple[Params, State, StepMetrics]]


def build_step(
    loss_fn: LossFn,
    tx: GradientTransformation,
    *,
    has_aux: bool = False,
    accumulate: int = 1,
    weight_fn: WeightFn | None = None,
    reuse: bool = False,
    norms: bool = True,
    donate: bool = True,
    rounding: Literal["nearest", "stochastic"] = "nearest",
) -> Step:
    r"""A compiled training step that gives every transformation what it may ask for.

    ``params, state, metrics = step(params, state, batch, key=None)`` takes the gradient of the loss of a batch, updates
    the state, and moves the params. `update` gets all the standard extras, closed over this batch and this key:
    ``value``, ``grad``, ``value_fn``, ``grad_fn``, ``value_and_grad_fn``, and ``key`` if there is one. So
    ``adam(1e-3)``, ``sam(adam(1e-3))`` and ``lbfgs()`` take the same step. Further keywords of ``step`` are handed to
    `update` too.

    With ``accumulate=k``, the batch is split into k parts that are evaluated one after another, in a k-th of the memory
    for activations, and the optimizer runs once on the mean:

    .. math:: g = \frac{\sum_{i=1}^k w_i g_i}{\sum_{i=1}^k w_i}

    summed in at least float32. Part i has the examples whose number is i modulo k. So does every other evaluation that
    a transformation asks for. The gradient of a complex parameter is the direction of steepest ascent.

    Args:
      loss_fn: ``loss_fn(params, batch)`` or ``loss_fn(params, batch, key)``, which returns a scalar: the mean over the
        batch. Its key and that of the transformation are split from the step's.
      tx: the optimizer. Its state is ``tx.init(params)``.
      has_aux: `loss_fn` returns a pair of the loss and anything else.
      accumulate: k, at least 1; every leaf of the batch has a leading axis of examples that k divides.
      weight_fn: ``weight_fn(part)`` is the weight :math:`w_i` of a part, a scalar: the number of its tokens that
        count, if the loss is a mean over these. By default parts count alike. A part of weight 0 is left out.
      reuse: take the value and the gradient from the state where a line search left them, by
        `value_and_grad_from_state`; with `has_aux`, the loss is computed for what comes beside it. Only right where
        every step has the same batch and the same key, and nothing after the search changes the updates.
      norms: report the norms of gradient and update, which reads the one again and computes the other twice: on XLA's
        CPU backend 16 to 32 bytes more per parameter.
      donate: the buffers of params and state are reused for the new ones; the old arrays cannot be used afterwards.
      rounding: how the sum of a parameter in low precision and its update is rounded; ``"stochastic"`` rounds by
        chance, right in the mean, and needs a key at each step: see `apply_updates`.

    Returns:
      The step, a function compiled by `jax.jit` when it is first called; its third result is a `StepMetrics`.

    Raises:
      ArgumentTypeError: `loss_fn` takes or returns something else.
      UnknownNameError: `reuse` is asked for and the state has no line search.
      ArgumentValueError: the line search stores no gradient to `reuse`, `accumulate` is less than 1 or does not divide
        the batch, or the loss is not a real scalar.
      MissingExtraError: `loss_fn` takes a key, or the rounding is by chance, and the step was given none.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> def loss_fn(params, batch):
      ...     return jnp.mean((batch["x"] @ params - batch["y"]) ** 2)
      >>> batch = {"x": jnp.eye(2), "y": jnp.array([1.0, 2.0])}
      >>> tx = gradtx.sgd(0.5)
      >>> step = gradtx.build_step(loss_fn, tx)
      >>> params, state = jnp.zeros(2), tx.init(jnp.zeros(2))
      >>> params, state, metrics = step(params, state, batch)
      >>> params, metrics.loss
      (Array([0.5, 1. ], dtype=float32), Array(2.5, dtype=float32))
    """
    try:
        tx = as_transformation(tx, "tx to be a transformation")
        loss = as_loss(loss_fn, has_aux)
        _check_parts(accumulate)
        if rounding not in ("nearest", "stochastic"):
            raise ArgumentValueError("rounding to be 'nearest' or 'stochastic'", got=repr(rounding))
    except GradtxError as error:
        error.locate("build_step")
        raise

    def rounding_key(key: Any) -> Any:
        if rounding == "nearest":
            return None
        require_extra(key, "key", "rounding by chance needs a new one at every step: step(params, state, batch, key)")
        return member_key({"key": key}, "rounding")

    def update(params: Params, state: State, batch: Any, key: Any, extra: dict[str, Any]) -> Any:
        loss_key, tx_key = (None, None) if key is None else jax.random.split(key)
        parted = accumulate > 1
        objective = in_parts(loss, batch, loss_key, accumulate, weight_fn) if parted else whole(loss, batch, loss_key)
        if reuse:
            loss_of = objective.value_and_aux if has_aux else objective.value
            made, grads = value_and_grad_from_state(loss_of, has_aux)(params, state=state)
            value, aux = made if has_aux else (made, None)
        else:
            value, aux, grads = objective.evaluate(params)
        given = {"value": value, "grad": grads, **objective.functions()}
        if tx_key is not None:
            given["key"] = tx_key
        updates, state = tx.update(grads, state, params, **given | extra)
        metrics = StepMetrics(
            loss=value,
            aux=aux,
            grad_norm=tree.global_norm(grads) if norms else None,
            update_norm=tree.global_norm(updates) if norms else None,
            hyperparams=get_hyperparams(state),
            skipped=skipped_updates(state),
        )
        return apply_updates(params, updates, key=rounding_key(key)), state, metrics

    def step(params: Params, state: State, batch: Any = None, key: Any = None, **extra: Any) -> Any:
        try:
            return update(params, state, batch, key, extra)
        except GradtxError as error:
            error.locate("build_step")
            raise

    return jax.jit(step, donate_argnums=(0, 1) if donate else ())


def skipped_updates(state: State) -> jax.Array:
    """How many updates the guards in a state have skipped in all, int32 []."""
    guards = tree.find_nodes(state, (ApplyIfFiniteState, SkipIfState, SkipLargeUpdatesState))
    return sum((guard.skipped for guard in guards), start=jnp.zeros((), jnp.int32))


def _check_parts(accumulate: Any) -> None:
    if isinstance(accumulate, bool) or not isinstance(accumulate, int):
        got = f"{accumulate!r} ({type(accumulate).__name__})"
        raise ArgumentTypeError("accumulate to be a whole number", got=got, hint="it is a number of parts")
    if accumulate < 1:
        raise ArgumentValueError("accumulate in [1, inf)", got=str(accumulate))
