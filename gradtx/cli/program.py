"""The compiled part of a race: many runs of many transformations, advanced together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import gradtx
from gradtx.cli.data import Rows
from gradtx.cli.models import Model
from gradtx.schedules.plateau import PlateauState
from gradtx.typing import Params, State

Transformation = gradtx.GradientTransformation
Over = Callable[[Callable[..., Any], Any], Any]
"""How a function of one is made a function of many: ``over(function, xs)`` maps over the first axis of `xs`."""


class Run(NamedTuple):
    """One training run: where its parameters are, what its transformation remembers, and the key of what follows."""

    params: Params
    state: State
    key: jax.Array


class Record(NamedTuple):
    """What is noted after each leg: the loss on the watched rows and the hyperparameters that follow a schedule."""

    loss: Any
    hyperparams: dict[str, Any]


def mapping(vectorised: bool) -> Over:
    """All at once (`jax.vmap`), or one after another (`jax.lax.map`), which is faster where one run is work enough."""
    return (lambda function, xs: jax.vmap(function)(xs)) if vectorised else jax.lax.map


def stack(txs: list[Transformation]) -> Transformation:
    """Transformations that differ in their numbers only, as one transformation of arrays."""
    stacked: Transformation = jax.tree.map(lambda *numbers: jnp.asarray(numbers, dtype=float), *txs)
    return stacked


def start(over: Over, txs: Transformation, count: int, params: Params, seed: int) -> Run:
    """The beginning of all runs, [transformations, seeds], from the parameters of each seed.

    `count` is the number of transformations, for those that have no numbers to tell it from.
    """
    params = jax.tree.map(jnp.asarray, params)
    keys = jax.random.split(jax.random.key(seed), len(jax.tree.leaves(params)[0]))

    def begin(tx_and_number: tuple[Transformation, jax.Array]) -> Run:
        tx, _ = tx_and_number
        return Run(params, over(tx.init, params), keys)

    runs: Run = jax.jit(lambda txs: over(begin, (txs, jnp.arange(count))))(txs)
    return runs


def step(tx: Transformation, run: Run, loss: Callable[[Params], jax.Array], key: jax.Array) -> Run:
    """One update. Whatever a transformation may ask for, it is given; but a plateau is not given the loss.

    It would take that for an observation, of one batch; it gets the loss on the watched rows instead.
    """
    value, grads = jax.value_and_grad(loss)(run.params)
    extras = {"grad": grads, "value_fn": loss, "key": key}
    if not _plateaus(run.state):
        extras["value"] = value
    updates, state = tx.update(grads, run.state, run.params, **extras)
    return run._replace(params=gradtx.apply_updates(run.params, updates), state=state)


def training(model: Model, over: Over) -> Callable[..., tuple[Run, Record]]:
    """The function ``(txs, runs, batches, train, watched) -> (runs, records)`` that makes some legs of all runs.

    The batches are row numbers, [seeds, legs, steps per leg, rows per batch], the same for all transformations; the
    records are [transformations, seeds, legs].
    """

    def leg(tx: Transformation, run: Run, batches: Any, train: Rows, watched: Rows) -> tuple[Run, Record]:
        def one_step(run: Run, rows_and_key: Any) -> tuple[Run, None]:
            rows, key = rows_and_key
            batch = train[rows]
            return step(tx, run, lambda params: model.loss(params, batch.x, batch.y), key), None

        keys = jax.random.split(run.key, len(batches) + 1)
        run, _ = jax.lax.scan(one_step, run._replace(key=keys[0]), (batches, keys[1:]))
        loss = model.loss(evaluated(run), watched.x, watched.y)
        record = Record(loss, gradtx.get_hyperparams(run.state))
        return run._replace(state=_observed(run.state, loss)), record

    def train(txs: Transformation, runs: Run, batches: Any, train: Rows, watched: Rows) -> tuple[Run, Record]:
        def one(tx: Transformation, run: Run, batches: Any) -> tuple[Run, Record]:
            return jax.lax.scan(lambda run, rows: leg(tx, run, rows, train, watched), run, batches)

        def all_seeds(tx: Transformation, runs: Run) -> tuple[Run, Record]:
            result: tuple[Run, Record] = over(lambda pair: one(tx, *pair), (runs, batches))
            return result

        result: tuple[Run, Record] = over(lambda pair: all_seeds(*pair), (txs, runs))
        return result

    return train


def measuring(function: Callable[..., jax.Array], over: Over) -> Callable[[Params, Rows], jax.Array]:
    """A function of parameters and rows, such as the accuracy, made one of all runs: [transformations, seeds]."""

    def measure(params: Params, rows: Rows) -> jax.Array:
        measured: jax.Array = over(lambda seeds: over(lambda one: function(one, rows.x, rows.y), seeds), params)
        return measured

    return jax.jit(measure)


def evaluated(run: Run) -> Params:
    """The parameters to evaluate: the slow weights of a lookahead, the average of schedule-free learning."""
    if len(gradtx.tree.find_nodes(run.state, gradtx.LookaheadState)) == 1:
        return gradtx.lookahead_params(run.state, run.params)
    if gradtx.tree.find_nodes(run.state, gradtx.AverageIteratesState):
        return gradtx.schedule_free_eval_params(run.state, run.params)
    return run.params


def _observed(state: State, loss: jax.Array) -> State:
    """The state after the plateaus in it, if there are any, have seen the loss of this leg."""
    return gradtx.observe(state, value=loss) if _plateaus(state) else state


def _plateaus(state: State) -> list[Any]:
    return gradtx.tree.find_nodes(state, PlateauState)
