"""Where the arrays of a state are: derived from where the params are, for any leafwise transformation."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import gradtx
from gradtx.core.leafwise import Outline
from tests.conformance.cases import CASES
from tests.effort import on_devices
from tests.proofs import runs, test_adafactor, test_lamb, test_muon, test_schedule_free
from tests.storage import test_quantized

P = jax.P

# --- the sketch -------------------------------------------------------------------------------------------------------


def specs_of_state(tx: Any, params: Any, specs: Any) -> Any:
    """The specs of a state from those of the params.

    An axis of an array of a leaf's state is divided as the axis of the leaf that it grows with; as the first, if it
    grows with several, such as the number of blocks of a leaf. What is shared by all leaves is everywhere.

    Args:
      tx: a leafwise transformation.
      params: a tree of arrays or of their shapes.
      specs: a tree like it of `jax.P`.
    """
    form, outline = tx.leafwise, Outline.of(params)
    leaves = outline.treedef.flatten_up_to(params)
    state = jax.eval_shape(tx.init, params)
    rows = form.split(state, outline)
    largest = max((p.ndim for p in leaves if p is not None), default=0)
    grown = [form.split(jax.eval_shape(tx.init, _grown(params, axis)), outline) for axis in range(largest)]

    def spec(i: int, place: int, x: Any) -> Any:
        axes = [_grows(x, [jax.tree.leaves(row[i])[place] for row in grown], j) for j in range(x.ndim)]
        leaf_spec = (*outline.leaves(specs, "the specs")[i], *[None] * largest)
        divided = [leaf_spec[with_axes[0]] if with_axes else None for with_axes in axes]
        return P(*(axis if axis not in divided[:j] else None for j, axis in enumerate(divided)))

    def row_of(i: int) -> Any:
        arrays, treedef = jax.tree.flatten(rows[i])
        return treedef.unflatten([spec(i, place, x) for place, x in enumerate(arrays)])

    return form.merge(jax.tree.map(lambda x: P(), state), outline, [row_of(i) for i in range(len(rows))])


def _grown(params: Any, axis: int) -> Any:
    """The shapes of the params with one axis of each twice as long."""

    def grow(p: Any) -> Any:
        shape = [size * (2 if i == axis else 1) for i, size in enumerate(p.shape)]
        return jax.ShapeDtypeStruct(tuple(shape), p.dtype)

    return jax.tree.map(grow, params)


def _grows(x: Any, grown: list[Any], j: int) -> list[int]:
    """The axes of a leaf with which an axis of an array of its state becomes twice as long."""
    return [k for k, y in enumerate(grown) if y.ndim == x.ndim and y.shape[j] == 2 * x.shape[j] > 0]


# --- the tests --------------------------------------------------------------------------------------------------------

SHAPES = {"w": jax.ShapeDtypeStruct((16, 8), jnp.float32), "b": jax.ShapeDtypeStruct((16,), jnp.bfloat16), "no": None}
SPECS = {"w": P("x", "y"), "b": P("x"), "no": None}


def test_moments_lie_as_the_params_and_counters_everywhere():
    specs = specs_of_state(gradtx.adamw(gradtx.linear_schedule(0.1, 0.0, 9)), SHAPES, SPECS)
    adam = gradtx.tree.find_nodes(specs, gradtx.ScaleByAdamState)[0]
    assert adam == gradtx.ScaleByAdamState(P(), SPECS, SPECS)
    assert (specs.count, specs.hyperparams) == (P(), {"learning_rate": P()})


def test_means_and_blocks_lie_as_the_axes_they_follow():
    specs = specs_of_state(test_adafactor.factored_rms(min_size=8), SHAPES, SPECS)
    assert (specs.rows["w"], specs.columns["w"], specs.nu["b"]) == (P("x"), P("y"), P("x"))
    eight = gradtx.quantized(gradtx.scale_by_adam(), 16, 64)
    specs = specs_of_state(eight, SHAPES, SPECS)
    assert (specs.mu["w"].codes, specs.mu["w"].scales, specs.mu["b"]) == (P("x", "y"), P("x", None), P("x"))


def test_two_axes_that_grow_with_one_are_not_both_divided():
    class Factor(NamedTuple):
        left: gradtx.Updates

    @gradtx.transformation
    def test_only_left_factor():
        def leaf(g, left):
            return g, left + g @ g.T

        return gradtx.leafwise(leaf, state=Factor, init_leaf=lambda p: jnp.zeros((p.shape[0], p.shape[0])))

    assert specs_of_state(test_only_left_factor(), {"w": SHAPES["w"]}, {"w": SPECS["w"]}).left["w"] == P("x", None)


LEAFWISE = [name for name, tx in CASES.items() if tx.leafwise is not None]


@pytest.mark.parametrize("name", LEAFWISE)
def test_every_leafwise_transformation_has_specs(name):
    shapes = {"kernel": SHAPES["w"], "bias": jax.ShapeDtypeStruct((16,), jnp.float32)}
    wanted = {"kernel": SPECS["w"], "bias": SPECS["b"]}
    state = jax.eval_shape(CASES[name].init, shapes)
    specs = specs_of_state(CASES[name], shapes, wanted)
    assert jax.tree.structure(specs) == jax.tree.structure(state)
    for x, spec in zip(jax.tree.leaves(state), jax.tree.leaves(specs), strict=True):
        expected = {(16, 8): P("x", "y"), (16,): P("x"), (): P()}
        assert x.shape not in expected or spec == expected[x.shape]


def sketches() -> dict[str, tuple[Any, Any, float]]:
    """The sketches in a chain, the references of a leaf, and the share of elements that must agree."""
    rate = runs.RATES[0]
    clip = gradtx.clip_by_global_norm(runs.CLIP)
    eight = test_quantized.small(gradtx.scale_by_adam())
    lamb = test_lamb.layerwise_adam(runs.falling(rate), weight_decay=0.1)
    free = test_schedule_free.without_schedule(test_schedule_free.adam_direction(), runs.falling(rate))
    return {
        "adafactor": (
            runs.in_chain(test_adafactor.direction(), rate),
            lambda: runs.descent(test_adafactor.Reference()),
            1.0,
        ),
        "eight bits": (runs.in_chain(eight, rate), lambda: runs.descent(test_quantized.Reference()), 0.98),
        "lamb": (gradtx.chain(clip, lamb), test_lamb.Reference, 1.0),
        "muon": (test_muon.with_adam(rate), test_muon.Reference, 1.0),
        "schedule free": (gradtx.chain(clip, free), test_schedule_free.Reference, 1.0),
    }


def check_all() -> None:
    """Called in a process of its own that has eight devices."""
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is all that takes time here
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = {"kernel": P("data"), "other": P(None, "data"), "bias": P(), "absent": None}

    def place(spec: Any) -> Any:
        return jax.NamedSharding(mesh, spec)

    for name, (tx, reference, share) in sketches().items():
        places = jax.tree.map(place, specs)
        params = jax.device_put(runs.PARAMS, places)
        step = jax.jit(lambda *args, tx=tx: runs.one_step(tx, *args))
        state = tx.init(params)
        if tx.leafwise is not None:
            kept = jax.tree.map(place, specs_of_state(tx, params, specs))
            state = jax.jit(tx.init, out_shardings=kept)(params)
            step = jax.jit(lambda *args, tx=tx: runs.one_step(tx, *args), out_shardings=(places, kept))
        params, state = runs.looped(tx, lambda _, *args, step=step: step(*args), params, state)
        runs.agree(jax.device_get(params), runs.expected(reference, runs.RATES[0]), share=share)
        divided = sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(state))
        print(f"{name}: {'leafwise' if tx.leafwise else 'in groups'}, {divided} arrays divided")


def test_they_run_on_many_devices():
    environment = on_devices(8)
    done = subprocess.run(
        [sys.executable, "-m", "tests.proofs.test_shardings"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "adafactor: leafwise, 2 arrays divided",
        "eight bits: leafwise, 6 arrays divided",
        "lamb: leafwise, 4 arrays divided",
        "muon: in groups, 2 arrays divided",
        "schedule free: leafwise, 6 arrays divided",
    ], done.stderr[-8000:]


if __name__ == "__main__":
    check_all()
