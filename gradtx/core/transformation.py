"""Transformations of gradients: pairs of pure functions, as values."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, Protocol

import jax
import jax.numpy as jnp

from gradtx.core.arguments import rebuilding
from gradtx.core.numerics import increment, zero_count
from gradtx.core.registry import register
from gradtx.core.schedule import Schedule, as_schedule
from gradtx.core.value import Value, check_arguments, show
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError
from gradtx.tree.fusion import fusible, run
from gradtx.tree.leaves import map_leaves
from gradtx.tree.paths import type_name
from gradtx.typing import Count, EmptyState, Params, State, Updates

P = ParamSpec("P")


class Update(Protocol):
    """``update(updates, state, params=None, **extra) -> (updates, state)``."""

    def __call__(
        self, updates: Updates, state: State, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        """Turn incoming updates (gradients, at first) into outgoing ones, and the state into the next."""


Init = Callable[[Params], State]
Pair = tuple[Init, Update]


class ScheduledState(NamedTuple):
    """The state of a transformation some of whose numeric arguments are schedules.

    Attributes:
      count: the number of updates made, int32 []; the first update sees step 0.
      hyperparams: by name, the values the last update used (before the first: those it will use).
      schedules: by name, the states of stateful schedules.
      inner: the state of the transformation itself.
    """

    count: Count
    hyperparams: dict[str, Any]
    schedules: dict[str, State]
    inner: State


class GradientTransformation(Value):
    """A pair of pure functions that turns gradients into parameter updates, made by a factory such as `adam`.

    ``state = tx.init(params)``, then at each step ``updates, state = tx.update(grads, state, params, **extra)`` and
    ``params = apply_updates(params, updates)``. The pair also unpacks: ``init, update = tx``. It works wherever an
    Optax transformation does.

    ``GradientTransformation(init, update)`` makes one from two functions, nameless; decorate a factory with
    `transformation` to give it a name, a repr and a config.
    """

    def __new__(cls, init: Init, update: Update) -> "GradientTransformation":
        """A transformation from two functions."""
        return from_functions(init, update)

    @functools.cached_property
    def pair(self) -> Pair:
        """The functions the factory returned; where arguments are schedules, wrapped to evaluate them."""
        scheduled = {k: v for k, v in self.arguments.items() if self._schedulable(k) and isinstance(v, Schedule)}
        # The pair outlives the trace in which it may be made: what is known then is computed there and then.
        with jax.ensure_compile_time_eval():
            return _follow_schedules(self, scheduled) if scheduled else self._build(self.arguments)

    def _schedulable(self, name: str) -> bool:
        argument = self.factory.arguments[name]
        return argument.numeric and not argument.operand

    def _build(self, arguments: dict[str, Any]) -> Pair:
        init, update = self.factory.call(self.factory.function, arguments)
        return init, accepting_extras(update)

    @functools.cached_property
    def _state_type(self) -> type:
        """The class that ``update`` declares its state to be, if it declares one."""
        declared = getattr(self.pair[1], "__annotations__", {}).get("state")
        return declared if isinstance(declared, type) and issubclass(declared, tuple) else object

    @functools.cached_property
    def _arrays(self) -> str:
        """The numeric arguments that hold arrays, for a sweep."""
        return ", ".join(k for k, x in self.arguments.items() if self._schedulable(k) and getattr(x, "ndim", False))

    def _refuse_arrays(self) -> None:
        if self._arrays:
            hint = "sweep with jax.vmap(step, in_axes=(sweep_axes(tx), ...)), which takes tx as an argument"
            raise ArgumentValueError(f"a single number for {self._arrays}", got="an array", hint=hint)

    @functools.cached_property
    def init(self) -> Init:
        """``init(params) -> state``: pure, and its state shares no buffer with the parameters."""
        name = self.factory.name

        def init(params: Params) -> State:
            try:
                self._refuse_arrays()
                return self.pair[0](params)
            except GradtxError as error:
                error.locate(name)
                raise
            except TypeError:
                _check_arrays(params, name)
                raise

        return init

    @functools.cached_property
    def update(self) -> Update:
        """``update(updates, state, params=None, **extra) -> (updates, state)``: pure.

        Standard extras: ``value`` (the loss), ``grad``, ``value_fn``, ``grad_fn``, ``value_and_grad_fn`` (functions
        of the parameters) and ``key`` (a JAX PRNG key). Those a transformation does not know, it ignores.
        """
        name = self.factory.name

        @fusible
        def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
            try:
                self._refuse_arrays()
                if not isinstance(state, self._state_type):
                    _check_state(self._state_type, state)
                return run(name, self.pair[1], updates, state, params, **extra)
            except GradtxError as error:
                error.locate(name)
                raise

        return update

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.update))


def _check_state(expected: type, state: Any) -> None:
    """Refuse the state of another transformation, or something else in its place; nothing in it is nothing in it."""
    if expected is EmptyState and isinstance(state, tuple) and not state:
        return
    got, name = type_name(state), expected.__name__
    hint = "pass the state that init(params) of this transformation made: tx.update(grads, state, params)"
    if type(state).__module__.partition(".")[0] == "optax":
        got, hint = f"Optax's {got}", "convert it once: checkpoint.from_optax_state(tx, optax_state, params)"
    raise ArgumentTypeError(f"the state to be {'an' if name[0] in 'AEIOU' else 'a'} {name}", got=got, hint=hint)


def _check_arrays(params: Params, origin: str) -> None:
    """Refuse params that hold something else than arrays and numbers, such as functions."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not (hasattr(leaf, "dtype") or isinstance(leaf, bool | int | float | complex)):
            at, hint = jax.tree_util.keystr(path), "give the others apart: equinox.filter(model, equinox.is_array)"
            raise ArgumentTypeError("params that are arrays", got=show(leaf), at=at, hint=hint, origin=origin)


def _follow_schedules(tx: GradientTransformation, scheduled: dict[str, Schedule]) -> Pair:
    """The pair of a transformation that evaluates its schedules at each update and hands the values to the factory."""

    def values(count: Any, states: dict[str, State]) -> dict[str, Any]:
        # Copies: the state is donated, and a schedule may have returned an array that it keeps.
        return {name: jnp.array(s.value(count, states.get(name, ()))) for name, s in scheduled.items()}

    def init(params: Params) -> ScheduledState:
        states = {name: s.init() for name, s in scheduled.items() if s.stateful}
        hyperparams = values(zero_count(), states)
        with rebuilding():
            inner_init, _ = tx._build(tx.arguments | hyperparams)
        inner = inner_init(params)
        return ScheduledState(zero_count(), hyperparams, states, inner)

    @fusible
    def update(
        updates: Updates, state: ScheduledState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        states = {name: scheduled[name].update(s, **extra) for name, s in state.schedules.items()}
        hyperparams = values(state.count, states)
        with rebuilding():
            _, inner_update = tx._build(tx.arguments | hyperparams)
        updates, inner = run(tx.factory.name, inner_update, updates, state.inner, params, **extra)
        return updates, ScheduledState(increment(state.count), hyperparams, states, inner)

    return init, update


def _schedule_for(origin: str, name: str, value: Any) -> Schedule:
    """The schedule that a callable given for a number means; a factory that was not called is a mistake."""
    if hasattr(value, "factory") and not isinstance(value, Value):
        given = getattr(value, "__name__", repr(value))
        got, hint = f"the factory {given!r}", f"call it: {given}(...)"
        raise ArgumentTypeError(f"{name} to be a number or a schedule", got=got, hint=hint, origin=origin)
    return as_schedule(value)


def _make_factory(kind: str, function: Callable[P, Any]) -> Callable[P, GradientTransformation]:
    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> GradientTransformation:
        arguments = check_arguments(factory, args, kwargs)
        for name, value in arguments.items():
            if factory.arguments[name].numeric and callable(value):
                arguments[name] = _schedule_for(factory.name, name, value)
        made = GradientTransformation.of(factory, arguments)
        try:
            made.pair  # noqa: B018  a factory checks its arguments against one another when it is called
        except GradtxError as error:
            error.locate(factory.name)
            raise
        return made

    factory = register(kind, function, make)
    make.factory = factory  # type: ignore[attr-defined]
    return make


def transformation(function: Callable[P, Pair]) -> Callable[P, GradientTransformation]:
    """Make a factory of ``(init, update)`` pairs return `GradientTransformation` values, and register it.

    The annotations say what the arguments are: `Numeric` and its kin are numbers in a range (checked when the factory
    is called) and may be schedules, which the factory never sees; everything else is static. ``update`` must accept
    ``params=None`` and ``**extra``, and its state must keep its structure.

    Example:
      >>> import jax, gradtx
      >>> def example():
      ...     @gradtx.transformation
      ...     def scale_by_half(power: gradtx.Numeric = 1.0):
      ...         def init(params):
      ...             return gradtx.EmptyState()
      ...         def update(updates, state, params=None, **extra):
      ...             return gradtx.tree.map_leaves(lambda g: 0.5**power * g, updates), state
      ...         return init, update
      ...     return scale_by_half(power=2.0)
      >>> example()
      scale_by_half(power=2.0)
    """
    return _make_factory("transformation", function)


def optimizer(function: Callable[P, GradientTransformation]) -> Callable[P, GradientTransformation]:
    """Make a factory of compositions return a value that remembers its own name and arguments, and register it.

    The function returns a transformation made of others; `expand` opens it again.
    """
    return _make_factory("optimizer", function)


def expand(tx: GradientTransformation) -> GradientTransformation:
    """The composition an optimizer stands for: ``expand(adam(1e-3))`` is a `chain`; a primitive is itself."""
    if tx.factory.kind != "optimizer":
        return tx
    composition: GradientTransformation = tx.factory.call(tx.factory.function, tx.arguments)
    return composition


@transformation
def from_functions(init: Callable[..., Any], update: Callable[..., Any]) -> Pair:
    """A transformation from two functions, for code that has them already. It has no text.

    Args:
      init: ``init(params) -> state``.
      update: ``update(updates, state, params=None, **extra) -> (updates, state)``; of the extras, those it has
        parameters for are passed on.

    State:
      What `init` returns.

    Raises:
      ArgumentTypeError: one of them is not a function, or takes fewer arguments.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> halve = gradtx.from_functions(lambda params: (), lambda updates, state, params=None: (updates / 2, state))
      >>> gradtx.chain(halve, gradtx.sgd(1.0)).update(jnp.ones(2), ((), gradtx.EmptyState()))[0]
      Array([-0.5, -0.5], dtype=float32)
    """
    require_function(init, "init", "params")
    require_function(update, "update", "updates", "state", "params")
    return init, update


def require_function(function: Any, argument: str, *taken: str) -> None:
    """Check that a function can be called with arguments of these names, by their place.

    Raises:
      ArgumentTypeError: it is no function, or takes fewer.
    """
    if not callable(function):
        raise ArgumentTypeError(f"{argument} to be a function of ({', '.join(taken)})", got=repr(function))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind_partial(*taken)
    except TypeError as error:
        form = f"{argument} to be a function of ({', '.join(taken)})"
        raise ArgumentTypeError(form, got=f"one of {signature}") from error


def accepting_extras(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, ignoring the extras it has no parameters for."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return function
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return function
    known = set(parameters)

    def filtered(*args: Any, **extra: Any) -> Any:
        return function(*args, **{name: x for name, x in extra.items() if name in known})

    return filtered


def leafwise(leaf: Callable[..., Any], *operands: Any, share: bool = True) -> Pair:
    """The pair that applies a function to every leaf of the updates and remembers nothing (arguments: `map_leaves`)."""

    def init(params: Params) -> EmptyState:
        return EmptyState()

    @fusible
    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        return map_leaves(leaf, updates, operands=operands, share=share), state

    return init, update


def as_transformation(tx: Any, label: str = "a transformation") -> GradientTransformation:
    """A gradtx transformation unchanged; anything else with ``init`` and ``update`` (Optax) wrapped.

    Raises:
      ArgumentTypeError: it is neither.
    """
    if isinstance(tx, GradientTransformation):
        return tx
    if hasattr(tx, "init") and hasattr(tx, "update") and not isinstance(tx, Schedule | type):
        return from_functions(tx.init, tx.update)
    name = getattr(tx, "__name__", None)
    hint = f"call it: {name}(...)" if callable(tx) and name else "use a factory such as adam(1e-3)"
    hint = "pass them one by one: chain(*transforms)" if isinstance(tx, tuple | list) else hint
    raise ArgumentTypeError(label, got=repr(tx) if name is None else f"the function {name!r}", hint=hint)


def sweep_axes(tx: GradientTransformation) -> GradientTransformation:
    """The ``in_axes`` of `jax.vmap` for a transformation that holds arrays of hyperparameters.

    0 where an argument is an array with at least one axis, ``None`` where it is a scalar shared by all.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx = gradtx.adam(jnp.array([1e-3, 1e-2]))
      >>> params = jnp.ones(3)
      >>> states = jax.vmap(lambda tx: tx.init(params), in_axes=(gradtx.sweep_axes(tx),))(tx)
      >>> gradtx.tree.get_field(states, "mu").shape
      (2, 3)
    """
    axes: GradientTransformation = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, tx)
    return axes
