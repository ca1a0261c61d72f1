"""A run that is saved to a file and restored goes on with the same bits."""

import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy

import gradtx
from gradtx import checkpoint
from gradtx.errors import TreeMismatchError
from tests.checkpoint.runs import TX, assert_same_bits, params, run
from tests.effort import on_devices


def arrays(tree: Any) -> dict[str, np.ndarray]:
    """A tree as NumPy arrays by path."""
    flat = checkpoint.flatten_state_dict(checkpoint.to_state_dict(tree))
    return {path: np.asarray(x) for path, x in flat.items()}


def test_npz(tmp_path: Path) -> None:
    halfway = run(params(), TX.init(params()), 5)
    np.savez(tmp_path / "run.npz", **arrays(halfway))
    with np.load(tmp_path / "run.npz") as file:
        restored = checkpoint.from_state_dict((params(), TX.init(params())), checkpoint.unflatten_state_dict(file))
    assert_same_bits(restored, halfway)
    assert_same_bits(run(*restored, 5), run(*halfway, 5))


def through_npz(state: Any) -> Any:
    """A nested dict of a state that went through a file of NumPy's."""
    file = io.BytesIO()
    np.savez(file, **arrays(state))
    file.seek(0)
    with np.load(file) as entries:
        return checkpoint.unflatten_state_dict(entries)


FLOATS = [name for name in dir(jnp) if re.fullmatch(r"(float[48]_|bfloat)\w+", name) and name != "float_power"]
SMALL = [*FLOATS, *(f"{sign}int{bits}" for sign in ("", "u") for bits in (2, 4))]
"""The formats of JAX that NumPy does not know by name."""


@pytest.mark.parametrize("name", SMALL)
def test_npz_of_small_formats(name: str) -> None:
    assert len([name for name in FLOATS if name.startswith("float8")]) == 8
    # All bit patterns, among them NaNs and infinities, have their bits again.
    dtype = jnp.dtype(name)
    bits = np.arange(256, dtype=np.uint8).view(dtype) if name in FLOATS and dtype.itemsize == 1 else np.arange(2)
    state = {
        "moment": jnp.asarray(bits.astype(dtype)),
        "one": jnp.ones((), dtype),
        "codes": jnp.arange(3, dtype="uint8"),
    }
    d = through_npz(state)
    for template in (state, jax.eval_shape(lambda: state)):
        restored = checkpoint.from_state_dict(template, d)
        assert jax.tree.map(lambda x: x.dtype, restored) == jax.tree.map(lambda x: x.dtype, state)
        for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize("name", [name for name in FLOATS if jnp.zeros((), name) == 0])
def test_npz_of_a_moment_in_a_small_format(name: str) -> None:
    tx = gradtx.adam(0.1, mu_dtype=name)
    _, state = tx.update({"w": jnp.linspace(-3.0, 3.0, 8)}, tx.init({"w": jnp.zeros(8)}))
    assert_same_bits(checkpoint.from_state_dict(state, through_npz(state)), state)


def test_nothing_but_nameless_bytes_is_taken_for_a_small_format() -> None:
    """Another format of as many bits, and bits where they are not written, are mistakes."""
    for dtype, saved in (
        ("float8_e4m3fn", np.zeros(2, "uint8")),
        ("float8_e4m3fn", np.zeros(2, jnp.float8_e5m2)),
        ("float8_e5m2", np.zeros(2, "int8")),
        ("float8_e5m2", np.zeros(2, "V2")),
        ("float16", np.zeros(2, "V2")),
        ("uint8", np.zeros(2, "V1")),
    ):
        with pytest.raises(TreeMismatchError, match=rf"expected {dtype}\[2\], got \S+\[2\] at the top"):
            checkpoint.from_state_dict(jnp.zeros(2, dtype), {"schema": 1, "state": saved})


def test_bits_that_numpy_cannot_read_are_written_as_numbers() -> None:
    state = {"e5m2": jnp.ones(2, jnp.float8_e5m2), "e4m3": jnp.ones(2, jnp.float8_e4m3fn)}
    for given in (state, jax.tree.map(np.asarray, state), jax.eval_shape(lambda: state)):
        flat = checkpoint.flatten_state_dict(checkpoint.to_state_dict(given))
        assert (flat["state/e5m2"].dtype, flat["state/e4m3"].dtype) == (jnp.uint8, jnp.float8_e4m3fn)
        assert flat["state/e5m2"].shape == (2,)


def test_safetensors_with_the_config_restore_an_optimizer_without_its_source_line(tmp_path: Path) -> None:
    halfway = run(params(), TX.init(params()), 5)
    metadata = {"optimizer": json.dumps(gradtx.to_config(TX))}
    safetensors.numpy.save_file(arrays(halfway), tmp_path / "run.safetensors", metadata)

    with safetensors.safe_open(tmp_path / "run.safetensors", "numpy") as file:
        tx = gradtx.from_config(json.loads(file.metadata()["optimizer"]))
    d = checkpoint.unflatten_state_dict(safetensors.numpy.load_file(tmp_path / "run.safetensors"))
    assert tx == TX
    template = (params(), jax.eval_shape(tx.init, params()))
    restored = checkpoint.from_state_dict(template, d)
    assert_same_bits(run(*restored, 5), run(*halfway, 5))


# --- files of version 0.1.0 -------------------------------------------------------------------------------------------

DATA = Path(__file__).parents[1] / "data"


def of_0_1_0(name: str, template: Any) -> Any:
    """What version 0.1.0 wrote: by ``np.savez(name, **arrays(...))`` of this module, as is all below.

    ``state_0_1_0.npz`` has ``run(params(), TX.init(params()), 4)`` of `tests.checkpoint.runs`, and
    ``params_after_0_1_0.npz`` the params of 4 more steps. ``values_0_1_0.json`` has, of several optimizers in one
    order, ``configs`` by `to_config` and ``texts`` by `str`.
    """
    with np.load(DATA / name) as file:
        return checkpoint.from_state_dict(template, checkpoint.unflatten_state_dict(file))


def test_a_state_of_version_0_1_0_goes_on() -> None:
    halfway = of_0_1_0("state_0_1_0.npz", (params(), TX.init(params())))
    expected = of_0_1_0("params_after_0_1_0.npz", params())
    got, state = run(*halfway, 4)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        x, y, rounding = x.astype("float32"), y.astype("float32"), 2 * 4 * float(jnp.finfo(x.dtype).eps)
        np.testing.assert_allclose(x, y, rtol=rounding, atol=rounding)
    forgot, _ = run(halfway[0], TX.init(params()), 4)
    assert not np.allclose(forgot["dense"]["kernel"], expected["dense"]["kernel"], rtol=1e-3)
    assert int(gradtx.tree.get_field(state, "steps")) == 8 % 3


def values_of_0_1_0() -> list[tuple[str, Any]]:
    values = json.loads((DATA / "values_0_1_0.json").read_text())
    return list(zip(values["texts"], values["configs"], strict=True))


@pytest.mark.parametrize(("text", "config"), values_of_0_1_0())
def test_values_of_version_0_1_0_are_read(text: str, config: Any) -> None:
    tx = gradtx.parse(text)
    assert gradtx.from_config(config) == tx
    assert str(tx) == text


# --- several devices --------------------------------------------------------------------------------------------------


def placed() -> Any:
    """The params on eight devices, the kernel in eight parts."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    where = {True: jax.sharding.PartitionSpec("data"), False: jax.sharding.PartitionSpec()}
    return jax.tree.map(
        lambda x: jax.device_put(x, jax.sharding.NamedSharding(mesh, where[x.shape == (8, 2)])), params()
    )


def check_orbax(start: Any, folder: str) -> None:
    """Save to Orbax mid-run, restore, and go on; the arrays come back in the places of the template's."""
    halfway = run(start, TX.init(start), 5)
    end = run(*halfway, 5)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(folder) / "run", checkpoint.to_state_dict(halfway))
        checkpointer.wait_until_finished()
        template = (start, TX.init(start))
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, checkpoint.to_state_dict(template))
        for saved in (
            checkpointer.restore(Path(folder) / "run", target),
            checkpointer.restore(Path(folder) / "run", jax.tree.map(np.asarray, checkpoint.to_state_dict(template))),
        ):
            restored = checkpoint.from_state_dict(template, saved)
            for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves(template), strict=True):
                assert x.sharding == y.sharding
                assert x.committed or not y.committed
            assert_same_bits(restored, halfway)
            assert_same_bits(run(*restored, 5), end)


def check_eight_devices() -> None:
    for start in (params(), placed()):
        with tempfile.TemporaryDirectory() as folder:
            check_orbax(start, folder)
    mu = gradtx.tree.get_field(TX.init(placed()), "mu")["dense"]["kernel"]
    print(f"same bits; a moment is on {len(mu.sharding.device_set)} devices in {mu.addressable_shards[0].data.shape}")


def test_orbax_with_arrays_on_eight_devices() -> None:
    environment = on_devices(8)
    done = subprocess.run(
        [sys.executable, "-m", "tests.checkpoint.test_formats"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "same bits; a moment is on 8 devices in (1, 2)\n"


if __name__ == "__main__":
    check_eight_devices()
