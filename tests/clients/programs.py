"""Small programs of libraries that use Optax, as their users write them. Each returns numbers by name."""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Numbers = dict[str, list[float]]

X = np.linspace(-1.0, 1.0, 32, dtype=np.float32)[:, None]
Y = np.sin(3 * X) + 0.1 * np.cos(20 * X)


def flat(tree: Any) -> list[float]:
    """The sums of a tree's leaves and of their squares."""
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    return [float(f(x)) for x in leaves for f in (np.sum, lambda x: np.sum(x * x))]


def flax_nnx() -> Numbers:
    """`nnx.Optimizer` with a clipped AdamW under a warm-up."""
    import optax
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first, self.last = nnx.Linear(1, 16, rngs=rngs), nnx.Linear(16, 1, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.last(nnx.tanh(self.first(x)))

    model = Net(nnx.Rngs(0))
    rate = optax.warmup_cosine_decay_schedule(0.0, 3e-2, 5, 20)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=1e-2))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any) -> Any:
        loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(X) - Y) ** 2))(model)
        optimizer.update(model, grads)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(20)]
    return {"losses": losses, "params": flat(nnx.state(model, nnx.Param))}


def flax_linen() -> Numbers:
    """`TrainState` with groups of params, and hyperparameters that are read and set."""
    import optax
    from flax import linen
    from flax.training.train_state import TrainState

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return linen.Dense(1)(jnp.tanh(linen.Dense(16)(x)))

    model = Net()
    params = model.init(jax.random.key(0), X)
    labels = {"params": {"Dense_0": "slow", "Dense_1": "fast"}}
    groups = optax.multi_transform({"slow": optax.sgd(1e-2, momentum=0.9), "fast": optax.adam(1e-2)}, labels)
    injected = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.chain(groups, injected))
    losses = []
    for i in range(20):
        loss, grads = jax.value_and_grad(lambda p: jnp.mean((model.apply(p, X) - Y) ** 2))(state.params)
        state.opt_state[1].hyperparams["learning_rate"] = jnp.float32(-1.0 if i < 15 else -0.1)
        state = state.apply_gradients(grads=grads)
        losses.append(float(loss))
    return {"losses": losses, "rate": [float(state.opt_state[1].hyperparams["learning_rate"])]}


def equinox() -> Numbers:
    """A filtered step of Equinox's tutorials, with accumulated gradients."""
    import equinox as eqx
    import optax

    model = eqx.nn.MLP(1, 1, 16, 2, key=jax.random.key(0))
    tx = optax.MultiSteps(optax.chain(optax.adaptive_grad_clip(0.1), optax.adabelief(1e-2)), 2)
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model: Any, state: Any) -> Any:
        loss, grads = eqx.filter_value_and_grad(lambda m: jnp.mean((jax.vmap(m)(X) - Y) ** 2))(model)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
        return loss, eqx.apply_updates(model, updates), state

    losses = []
    for _ in range(20):
        loss, model, state = step(model, state)
        losses.append(float(loss))
    return {"losses": losses}


def haiku() -> Numbers:
    """Haiku's params, and a target network."""
    import haiku as hk
    import optax

    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([16, 1])(x)))
    params = target = net.init(jax.random.key(0), X)
    tx = optax.chain(optax.scale_by_rms(), optax.scale_by_schedule(optax.exponential_decay(-1e-2, 10, 0.5)))
    state = tx.init(params)
    for i in range(20):
        grads = jax.grad(lambda p: jnp.mean((net.apply(p, X) - Y) ** 2))(params)
        updates, state = tx.update(grads, state)
        params = optax.apply_updates(params, updates)
        target = optax.incremental_update(params, target, 0.1)
        target = optax.periodic_update(params, target, i, 7)
    return {"params": flat(params), "target": flat(target)}


def ppo() -> Numbers:
    """The training step of PPO on a bandit of two arms, vectorised over seeds: annealed Adam behind a clipped norm."""
    import optax

    def train(key: Any) -> Any:
        tx = optax.chain(
            optax.clip_by_global_norm(0.5),
            optax.inject_hyperparams(optax.adam)(learning_rate=lambda count: 0.05 * (1 - count / 40), eps=1e-5),
        )
        params = {"logits": jnp.zeros(2), "value": jnp.zeros(())}

        def loss_fn(params: Any, actions: Any, rewards: Any, old: Any) -> Any:
            logs = jax.nn.log_softmax(params["logits"])[actions]
            ratio, gain = jnp.exp(logs - old), rewards - jax.lax.stop_gradient(params["value"])
            clipped = jnp.minimum(ratio * gain, jnp.clip(ratio, 0.8, 1.2) * gain)
            return -clipped.mean() + 0.5 * jnp.mean((params["value"] - rewards) ** 2)

        def step(carry: Any, key: Any) -> Any:
            params, state = carry
            actions = jax.random.categorical(key, params["logits"], shape=(64,))
            rewards = jnp.where(actions == 1, 1.0, 0.2)
            old = jax.nn.log_softmax(params["logits"])[actions]
            grads = jax.grad(loss_fn)(params, actions, rewards, old)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), state[1].hyperparams["learning_rate"]

        return jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, 40))

    (params, _), rates = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 4))
    return {"params": flat(params), "rates": np.asarray(rates[0], np.float64).tolist()}


def numpyro() -> Numbers:
    """Stochastic variational inference; numpyro asks whether it is given an Optax transformation."""
    import numpyro
    import optax
    from numpyro import distributions as dist
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoNormal

    def model(x: Any, y: Any) -> None:
        w, b = numpyro.sample("w", dist.Normal(0, 1)), numpyro.sample("b", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(w * x + b, 0.5), obs=y)

    svi = SVI(model, AutoNormal(model), optax.chain(optax.clip(10.0), optax.adam(1e-2)), Trace_ELBO())
    result = svi.run(jax.random.key(0), 50, X[:, 0], 2 * X[:, 0] - 1, progress_bar=False)
    return {"losses": np.asarray(result.losses, np.float64).tolist(), "params": flat(result.params)}


def optimistix() -> Numbers:
    """Optimistix's wrapper of Optax's optimizers, and a solution by L-BFGS."""
    import optax
    import optimistix as optx

    def fn(y: Any, args: Any) -> Any:
        return jnp.sum((y - args) ** 2 * jnp.array([1.0, 4.0]))

    target, found = jnp.array([1.0, -2.0]), {}
    for name, tx in {"adam": optax.adam(0.1), "rmsprop": optax.rmsprop(0.03, momentum=0.5)}.items():
        solver = optx.OptaxMinimiser(tx, rtol=1e-5, atol=1e-5)
        solution = optx.minimise(fn, solver, jnp.zeros(2), target, max_steps=3000, throw=False)
        found[name] = np.asarray(solution.value, np.float64).tolist()
    return found


def diffrax() -> Numbers:
    """A neural differential equation; the second group of params ascends, as a discriminator does."""
    import diffrax as dfx
    import equinox as eqx
    import optax

    model = (eqx.nn.MLP(2, 2, 8, 1, key=jax.random.key(0)), jnp.ones(2))
    tx = optax.multi_transform({"down": optax.adabelief(3e-3), "up": optax.rmsprop(-1e-3)}, ("down", "up"))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        def loss_fn(params: Any) -> Any:
            net, weights = eqx.combine(params, static)
            term = dfx.ODETerm(lambda t, y, args: net(y))
            solution = dfx.diffeqsolve(term, dfx.Tsit5(), 0.0, 1.0, 0.1, jnp.array([1.0, 0.0]))
            return jnp.sum(weights * (solution.ys[-1] - jnp.array([0.0, 1.0])) ** 2)

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grads, state, params)
        return loss, eqx.apply_updates(params, updates), state

    losses = []
    for _ in range(15):
        loss, params, state = step(params, state)
        losses.append(float(loss))
    return {"losses": losses}


def jaxopt() -> Numbers:
    """JAXopt's solver of Optax's optimizers."""
    import jaxopt
    import optax

    def fn(y: Any, scale: Any) -> Any:
        return jnp.sum((y - 3.0) ** 2 * scale)

    solver = jaxopt.OptaxSolver(fn, optax.chain(optax.scale_by_adam(), optax.scale(-0.1)), maxiter=100)
    solution = solver.run(jnp.zeros(3), scale=jnp.array([1.0, 2.0, 3.0]))
    return {"params": flat(solution.params), "error": [float(solution.state.error)]}


PROGRAMS: dict[str, tuple[Callable[[], Numbers], str]] = {
    "flax nnx": (flax_nnx, "flax"),
    "flax linen": (flax_linen, "flax"),
    "equinox": (equinox, "equinox"),
    "haiku": (haiku, "haiku"),
    "ppo": (ppo, "jax"),
    "numpyro": (numpyro, "numpyro"),
    "optimistix": (optimistix, "optimistix"),
    "diffrax": (diffrax, "diffrax"),
    "jaxopt": (jaxopt, "jaxopt"),
}
"""By name, a program and the package it needs."""


def is_installed(name: str) -> bool:
    """Whether the package that a program needs is there."""
    return importlib.util.find_spec(PROGRAMS[name][1]) is not None
