"""Laws 1 and 2 on eight CPU devices: sharded params and state, `jax.pmap` and `jax.shard_map`, for every name."""

import functools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from tests.compilations import COMPILED
from tests.conformance.cases import CASES, step_once
from tests.conformance.laws import Counting, law_of_all
from tests.effort import on_devices

STEPS = 3
PARAMS = {"kernel": np.linspace(-1.0, 2.0, 64, dtype=np.float32).reshape(16, 4), "bias": np.ones(3, np.float32)}


def gradient(params, index):
    return jax.tree.map(lambda p: np.sin(3 * p + index), params)


def agree(got, expected):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=2e-5, atol=2e-6)


def check_shapes(got, expected):
    """Instead of `agree`, where steps are free: there are numbers, and no others are expected."""
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert x.shape == y.shape
        assert np.isfinite(np.asarray(x)).all()


def follow(step, params, state, grads_at):
    for index in range(STEPS):
        params, state = step(params, state, grads_at(index), index)
    return params, state


def agree_roughly(got, expected):
    """Instead of `agree`, where rounding errors grow: a hundredfold and more."""
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=5e-3, atol=5e-4)


AMPLIFIED = dict.fromkeys(
    (
        "adamuon",
        "muon",
        "normuon",
        "orthogonalize_updates",
        "scale_by_muon",
        "scale_by_muon+optax",
        "scale_by_normuon",
        "scale_by_normuon+code",
        "scale_by_scion",
        "scion",
    ),
    "orthogonalization multiplies a small singular value, and its rounding error, by up to 3.4 five times",
)
FREE_BASES = dict.fromkeys(
    ("dion", "scale_by_dion", "scale_by_soap", "scale_by_soap+skip", "scale_by_splus", "soap", "splus"),
    "its steps depend on the eigenvectors of an eigenvalue of 0, and a long matrix has many: they differ by rounding",
)


SPREAD = dict.fromkeys(
    ("dion", "scale_by_dion"),
    "XLA spreads its basis, which is no leaf's, over the devices: the second step compiles once more",
)


def check_sharded(tx, step, expected, mesh, agree=agree):
    """Params over the devices by rows; the state lives where they live from the start, and stays there."""
    rows, everywhere = (jax.NamedSharding(mesh, jax.P(*axes)) for axes in (("data",), ()))
    places = {"kernel": rows, "bias": everywhere}
    params = jax.device_put(PARAMS, places)
    start, traced = (params, tx.init(params)), Counting(step)
    compiled = jax.jit(traced)
    after = follow(compiled, *start, lambda index: jax.device_put(gradient(PARAMS, index), places))
    agree(after, expected)
    assert (traced.traces, compiled._cache_size()) == (1, 1)
    for old, new in zip(jax.tree.leaves(start), jax.tree.leaves(after), strict=True):
        assert new.sharding.is_equivalent_to(old.sharding, new.ndim), (old.shape, old.sharding, new.sharding)
        if old.shape[-2:] == (16, 4):  # a memory of several moments has axes of its own before those
            like_params = jax.NamedSharding(mesh, jax.P(*[None] * (old.ndim - 2), "data"))
            assert new.sharding.is_equivalent_to(like_params, new.ndim), new.sharding
    check_tuned(tx, params)


def check_tuned(tx, params):
    """A state whose numbers were set looks to `jax.jit` as it did before: nothing is compiled again for it."""
    state = gradtx.tunable(tx).init(params)
    same = {name: jax.tree.map(np.float32, value) for name, value in state.hyperparams.items()}  # as if they were new
    changed = gradtx.set_hyperparams(state, **same)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(changed), strict=True):
        assert (jax.typeof(new), new.sharding, new.committed) == (jax.typeof(old), old.sharding, old.committed)


EXAMPLE = gradtx.tunable(
    gradtx.chain(
        gradtx.clip_by_global_norm(1.0), gradtx.adamw(0.1), gradtx.scale(gradtx.exponential_decay(1.0, 2, 0.5))
    )
)


def steps_of_example(params, init=EXAMPLE.init):
    """The params after three steps with new numbers between them, and how often the step was compiled."""
    grads = jax.tree.map(lambda p: 0.5 * p, params)

    @jax.jit
    def step(params, state):
        updates, state = EXAMPLE.update(grads, state, params)
        return gradtx.apply_updates(params, updates), state

    state, compiled = init(params), 0
    for index in range(STEPS):
        if index:
            state = gradtx.set_hyperparams(state, learning_rate=0.1 / (1 + index))
        before = len(COMPILED)
        params, state = step(params, state)
        compiled += len(COMPILED) - before
    return params, compiled


def check_places():
    """Other places than a mesh of one axis: one device, a mesh whose axes are in the types, several meshes at once."""
    expected, compiled = steps_of_example(jax.tree.map(jnp.asarray, PARAMS))
    assert compiled == 1
    device = jax.devices()[3]
    after, compiled = steps_of_example(jax.device_put(PARAMS, device))
    agree(after, expected)
    assert compiled == 1
    assert {x.device for x in jax.tree.leaves(after)} == {device}

    explicit = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    places = {"kernel": jax.NamedSharding(explicit, jax.P("data")), "bias": jax.NamedSharding(explicit, jax.P())}
    with jax.set_mesh(explicit):
        for init in (EXAMPLE.init, jax.jit(EXAMPLE.init)):
            after, compiled = steps_of_example(jax.device_put(PARAMS, places), init)
            agree(after, expected)
            assert compiled == 1

    square = jax.make_mesh((4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    flat = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    on_flat = {"kernel": jax.NamedSharding(flat, jax.P("data")), "bias": jax.NamedSharding(flat, jax.P())}
    params = jax.device_put(PARAMS, on_flat | {"bias": jax.NamedSharding(square, jax.P())})
    assert not any(x.committed for x in gradtx.get_hyperparams(EXAMPLE.init(params)).values())
    agree(steps_of_example(params)[0], expected)

    # `jax.jit` drops params that only shapes are taken from: the state begins on one device, and the second step is
    # compiled again, unless `out_shardings` says where.
    params = jax.device_put(PARAMS, on_flat)
    agree(steps_of_example(params, jax.jit(EXAMPLE.init))[0], expected)
    where = jax.tree.map(lambda x: x.sharding, EXAMPLE.init(params))
    assert steps_of_example(params, jax.jit(EXAMPLE.init, out_shardings=where))[1] == 1


def run_mapped(tx, step, mesh, agree=agree):
    """Eight runs, one per device, by `jax.pmap` and by `jax.shard_map`; returns the one that begins with `PARAMS`."""
    batch = jax.tree.map(lambda x: np.stack([x * (1 + i) for i in range(8)]), PARAMS)
    states = jax.vmap(tx.init)(batch)

    def local(*args):
        *trees, index = args
        after = step(*(jax.tree.map(lambda x: x[0], tree) for tree in trees), index)
        return jax.tree.map(lambda x: x[None], after)

    each = jax.P("data")
    shard_mapped = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(each, each, each, jax.P()), out_specs=each))
    pmapped = jax.pmap(step, in_axes=(0, 0, 0, None))
    results = [follow(f, batch, states, lambda index: gradient(batch, index)) for f in (pmapped, shard_mapped)]
    agree(*results)
    return jax.tree.map(lambda x: x[0], results[0])


def check_all() -> None:
    """Called in a process of its own that has eight devices."""
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is all that takes time here
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    check_places()
    failed = {}
    for name, tx in CASES.items():
        step = functools.partial(step_once, tx)
        try:
            # What `jax.pmap` gives a device is a program for that device alone.
            compare = check_shapes if name in FREE_BASES else agree_roughly if name in AMPLIFIED else agree
            mapped = run_mapped(tx, step, mesh, compare)
            if name not in SPREAD:
                check_sharded(tx, step, mapped, mesh, compare)
        except Exception as error:  # the others are checked too
            failed[name] = f"{type(error).__name__}: {error}"
    for name, message in failed.items():
        print(f"{name}: {message}", file=sys.stderr)
    print(f"{len(CASES) - len(failed)} cases agree on {jax.device_count()} devices")


@law_of_all(1, weaker=FREE_BASES | AMPLIFIED | SPREAD)
@law_of_all(2, weaker=FREE_BASES | AMPLIFIED | SPREAD)
def test_many_devices_do_what_one_does():
    environment = on_devices(8)
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.test_sharding"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{len(CASES)} cases agree on 8 devices\n", done.stderr[-8000:]


if __name__ == "__main__":
    check_all()
