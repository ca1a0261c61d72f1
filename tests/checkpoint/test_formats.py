"""A run that is saved to a file and restored goes on with the same bits."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy

import gradtx
from gradtx import checkpoint
from tests.checkpoint.runs import TX, assert_same_bits, params, run


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
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
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
