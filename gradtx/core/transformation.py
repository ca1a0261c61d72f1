"""Transformations of gradients: pairs of pure functions, as values."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, Protocol, TypeAlias

import jax
import jax.numpy as jnp

from gradtx.core.leafwise import Leafwise, Outline, update_leaves
from gradtx.core.optax_protocol import class_for_optax
from gradtx.core.placement import placed_with
from gradtx.core.registry import register
from gradtx.core.schedule import Schedule, as_schedule
from gradtx.core.scheduled import following
from gradtx.core.value import Value, check_arguments, nested_values, show
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError
from gradtx.tree.mapping import require_shape
from gradtx.tree.paths import type_name
from gradtx.typing import EmptyState, Params, State, Updates

P = ParamSpec("P")


class Update(Protocol):
    """``update(updates, state, params=None, **extra) -> (updates, state)``."""

    def __call__(
        self, updates: Updates, state: State, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        """Turn incoming updates (gradients, at first) into outgoing ones, and the state into the next."""


Init = Callable[[Params], State]
Pair = tuple[Init, Update]
Form: TypeAlias = Leafwise | Pair
"""What a factory returns: a transformation said leaf by leaf, or its two functions."""


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

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """For `isinstance`: Optax's class too, or its wrappers would drop the extras. ``type(tx)`` is gradtx's."""
        return class_for_optax(type(self))

    @functools.cached_property
    def form(self) -> Form:
        """What the factory returned; where numbers change from step to step, made anew at each with those in force."""
        varying = {k: x for k, x in self.arguments.items() if self._schedulable(k) and _varies(x)}
        # The form outlives the trace in which it may be made: what is known then is computed there and then.
        with jax.ensure_compile_time_eval():
            for nested in nested_values(self.arguments):
                if isinstance(nested, GradientTransformation):
                    nested.form  # noqa: B018  made now, its factory's checks are those of this call
            return following(self.build, varying) if varying else self.build({})

    def build(self, numbers: dict[str, Any]) -> Form:
        """What the factory returns for some other numbers."""
        given = {k: self._as_declared(k, x) for k, x in (self.arguments | numbers).items()}
        made = self.factory.call(self.factory.function, given)
        if isinstance(made, GradientTransformation):
            return made.form
        if isinstance(made, Leafwise):
            return made
        init, update = made
        return init, accepting_extras(update)

    def _as_declared(self, name: str, x: Any) -> Any:
        """An argument as its annotation says: a transformation may have come from Optax."""
        argument = self.factory.arguments[name]
        absent = x is None and (argument.optional or argument.default is None)
        if absent or argument.variadic or not argument.transformation:
            return x
        return as_transformation(x, f"{name} to be a transformation")

    def _schedulable(self, name: str) -> bool:
        argument = self.factory.arguments[name]
        return argument.numeric and not argument.operand

    @functools.cached_property
    def leafwise(self) -> Leafwise | None:
        """The transformation leaf by leaf, its errors under its name; ``None`` if it is not of this form."""
        form, name = self.form, self.factory.name
        if not isinstance(form, Leafwise):
            return None

        def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Any]:
            with _locating(name):
                self._check_state(state)
                return form.prepare(updates, state, params, extra)

        def leaf(scalars: Any, index: Any, g: Any, s: Any, p: Any) -> tuple[Any, Any]:
            with _locating(name), jax.named_scope(name):
                u, s = form.leaf(scalars, index, g, s, p)
                require_shape(u, g)
                return u, s

        def split(state: State, outline: Outline) -> list[Any]:
            with _locating(name):
                return form.split(state, outline)

        return dataclasses.replace(form, init=self.init, prepare=prepare, split=split, leaf=leaf)

    @functools.cached_property
    def _state_type(self) -> type:
        """The class of the state, as the form says it or ``update`` annotates it; `object` if neither does."""
        if isinstance(self.form, Leafwise):
            return self.form.state_type
        declared = getattr(self.form[1], "__annotations__", {}).get("state")
        return declared if isinstance(declared, type) and issubclass(declared, tuple) else object

    def _check_state(self, state: State) -> None:
        if not isinstance(state, self._state_type):
            _refuse_state(self._state_type, state)

    def _refuse_arrays(self) -> None:
        arrays = [k for k, x in self.arguments.items() if self._schedulable(k) and getattr(x, "ndim", False)]
        if arrays:
            hint = "sweep with jax.vmap(step, in_axes=(sweep_axes(tx), ...)), which takes tx as an argument"
            raise ArgumentValueError(f"a single number for {', '.join(arrays)}", got="an array", hint=hint)

    @functools.cached_property
    def init(self) -> Init:
        """``init(params) -> state``: pure, and its state shares no buffer with the parameters.

        Its scalars are where the params are: on the same device, or on every device of the same mesh.
        """
        name = self.factory.name

        def init(params: Params) -> State:
            try:
                with _locating(name), _standard_promotion():
                    self._refuse_arrays()
                    form = self.form
                    begin = form.init if isinstance(form, Leafwise) else form[0]
                    return placed_with(params, begin(jax.tree.map(_as_array, params)))
            except TypeError as error:
                if not isinstance(error, GradtxError):
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

        def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
            with _locating(name), _standard_promotion():
                self._refuse_arrays()
                if self.leafwise:
                    return update_leaves(self.leafwise, updates, state, params, extra)
                self._check_state(state)
                return self.form[1](updates, state, params, **extra)  # type: ignore[index]

        return update

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.update))

    def __getitem__(self, index: int) -> Any:
        return (self.init, self.update)[index]


def _as_array(x: Any) -> Any:
    """Zeros in place of the shape of a parameter: of params that are not made yet, the state is that of zeros."""
    return jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x


def _varies(x: Any) -> bool:
    """Whether a number is no part of the program: a schedule, or an array, which may be traced."""
    return isinstance(x, Schedule) or hasattr(x, "dtype")


@contextlib.contextmanager
def _locating(name: str) -> Iterator[None]:
    """Name the factory that complains, unless an inner one is named already."""
    try:
        yield
    except GradtxError as error:
        error.locate(name)
        raise


def _standard_promotion() -> contextlib.AbstractContextManager[Any]:
    """JAX's ordinary promotion, in which the transformations are written; a caller may have chosen the strict one."""
    if jax.config.jax_numpy_dtype_promotion == "standard":  # type: ignore[attr-defined]
        return contextlib.nullcontext()
    promotion: contextlib.AbstractContextManager[Any] = jax.numpy_dtype_promotion("standard")
    return promotion


def _refuse_state(expected: type, state: Any) -> None:
    """Refuse the state of another transformation, or something else in its place; nothing in it is nothing in it."""
    if expected is EmptyState and (state is None or (isinstance(state, tuple | dict) and not state)):
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
        with _locating(factory.name):
            made.form  # noqa: B018  a factory checks its arguments against one another when it is called
        return made

    factory = register(kind, function, make)
    make.factory = factory  # type: ignore[attr-defined]
    return make


def transformation(function: Callable[P, Form | GradientTransformation]) -> Callable[P, GradientTransformation]:
    """Make a factory of leafwise transformations or of ``(init, update)`` pairs return values, and register it.

    The annotations say what the arguments are: `Numeric` and its kin are numbers in a range (checked when the factory
    is called) and may be schedules, which the factory never sees; everything else is static. The function returns what
    `leafwise` makes, ``init`` and ``update``, or a composition of others (if it is annotated so). ``update`` must
    accept ``params=None`` and ``**extra``, and its state must keep its structure.

    Example:
      >>> import jax, gradtx
      >>> def example():
      ...     @gradtx.transformation
      ...     def scale_by_half(power: gradtx.Numeric = 1.0):
      ...         return gradtx.leafwise(lambda g: 0.5**power * g)
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
    if not tx.factory.composed:
        return tx
    composition = tx.factory.call(tx.factory.function, tx.arguments)
    if not isinstance(composition, GradientTransformation):
        hint = "decorate it with gradtx.transformation, or return a chain of gradtx's"
        got, name = type_name(composition), tx.factory.name
        raise ArgumentTypeError("a composition from the factory of an optimizer", got=got, hint=hint, origin=name)
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
