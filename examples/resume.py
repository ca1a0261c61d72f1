"""Stop a training run, save it, and go on from the files with the same bits, without the optimizer's source line."""

import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from digits import accuracy, batches, init_params, load, loss_fn, model

import gradtx
from gradtx import checkpoint

STEPS, STOP = 300, 120


def run(tx, params, state, data, steps, start=0):
    step = gradtx.build_step(loss_fn, tx)
    for batch in batches(data, steps, start):
        params, state, _ = step(params, state, batch)
    return params, state


def save(path, tx, params, state):
    arrays = checkpoint.flatten_state_dict(checkpoint.to_state_dict({"params": params, "state": state}))
    np.savez(path, optimizer=json.dumps(gradtx.to_config(tx)), **arrays)


def restore(path):
    with np.load(path) as file:
        arrays = dict(file)
    tx = gradtx.from_config(json.loads(str(arrays.pop("optimizer"))))
    params = jax.eval_shape(init_params, jax.random.key(0))
    template = {"params": params, "state": jax.eval_shape(tx.init, params)}
    restored = checkpoint.from_state_dict(template, checkpoint.unflatten_state_dict(arrays))
    return tx, restored["params"], restored["state"]


def main():
    train, (x, y) = load()
    tx = gradtx.chain(
        gradtx.clip_by_global_norm(1.0), gradtx.adamw(gradtx.cosine_decay_schedule(1e-2, STEPS), mask="*/kernel")
    )
    params = init_params(jax.random.key(1))
    uninterrupted = run(tx, params, tx.init(params), train, STEPS)

    with tempfile.TemporaryDirectory() as folder:
        params = init_params(jax.random.key(1))
        save(Path(folder) / "run.npz", tx, *run(tx, params, tx.init(params), train, STOP))
        tx, params, state = restore(Path(folder) / "run.npz")
    print(f"restored at step {STOP}: {tx}")

    resumed = run(tx, params, state, train, STEPS, start=STOP)
    same = jax.tree.all(jax.tree.map(jnp.array_equal, resumed, uninterrupted))
    print("the same bits as without the stop" if same else "not the same bits")
    print(f"test accuracy {accuracy(model(resumed[0], x), y):.3f}")


if __name__ == "__main__":
    main()
