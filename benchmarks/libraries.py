"""The same step in each library, each in a process of its own: how long some steps on some leaves take."""

import importlib.util
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import jax

from benchmarks import lists
from benchmarks.program import compile_step, read_program

RATE, WARM_UP, STEPS = 1e-3, 10, 100
Leaves = dict[str, Any]


def _schedule(m: Any) -> Any:
    return m.warmup_cosine_decay_schedule(0.0, RATE, WARM_UP, STEPS)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda m: m.sgd(RATE),
    "sgd, momentum": lambda m: m.sgd(RATE, momentum=0.9),
    "rmsprop": lambda m: m.rmsprop(RATE),
    "adam": lambda m: m.adam(RATE),
    "adamw": lambda m: m.adamw(RATE),
    "clip + adamw": lambda m: m.chain(m.clip_by_global_norm(1.0), m.adamw(_schedule(m))),
    "lion": lambda m: m.lion(RATE),
    "adabelief": lambda m: m.adabelief(RATE),
}
"""By name, the optimizer as a function of the library, gradtx or Optax."""


class InJax:
    """A step of gradtx or of Optax, compiled with parameters and state donated."""

    def __init__(self, library: str, optimizer: str, shapes: Leaves) -> None:
        m = importlib.import_module(library)
        tx = OPTIMIZERS[optimizer](m)
        self.step = compile_step(tx, m.apply_updates, shapes)
        self.bytes = read_program(self.step).bytes
        self.params, self.grads = lists.draw(shapes), lists.draw(shapes, seed=1)
        self.state = jax.jit(tx.init)(self.params)

    def run(self, steps: int) -> None:
        """Make some steps and wait for them."""
        for _ in range(steps):
            self.params, self.state = self.step(self.params, self.state, self.grads)
        jax.block_until_ready(self.params)


class InTorch:
    """A step of torch.optim, in the ``fused`` or the ``foreach`` implementation."""

    def __init__(self, implementation: str, optimizer: str, shapes: Leaves) -> None:
        import torch

        self.torch = torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        generator = torch.Generator(device).manual_seed(0)
        self.params = [torch.randn(x.shape, generator=generator, device=device) for x in jax.tree.leaves(shapes)]
        for p in self.params:
            p.grad = torch.randn(p.shape, generator=generator, device=device)
        self.clip, self.bytes = optimizer.startswith("clip"), 0.0
        how = {implementation: True}
        make = torch.optim
        self.optimizer = {
            "sgd": lambda: make.SGD(self.params, RATE, **how),
            "sgd, momentum": lambda: make.SGD(self.params, RATE, momentum=0.9, **how),
            "rmsprop": lambda: make.RMSprop(self.params, RATE, **how),
            "adam": lambda: make.Adam(self.params, RATE, **how),
            "adamw": lambda: make.AdamW(self.params, RATE, **how),
            "clip + adamw": lambda: make.AdamW(self.params, RATE, **how),
        }[optimizer]()
        self.schedule = make.lr_scheduler.CosineAnnealingLR(self.optimizer, STEPS) if self.clip else None

    def run(self, steps: int) -> None:
        """Make some steps and wait for them."""
        for _ in range(steps):
            if self.clip:
                self.torch.nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
            self.optimizer.step()
            if self.schedule:
                self.schedule.step()
        if self.torch.cuda.is_available():
            self.torch.cuda.synchronize()


LIBRARIES: dict[str, Callable[[str, Leaves], Any]] = {
    "gradtx": lambda optimizer, shapes: InJax("gradtx", optimizer, shapes),
    "optax": lambda optimizer, shapes: InJax("optax", optimizer, shapes),
    "torch fused": lambda optimizer, shapes: InTorch("fused", optimizer, shapes),
    "torch foreach": lambda optimizer, shapes: InTorch("foreach", optimizer, shapes),
}


def installed() -> list[str]:
    """The libraries that can be imported."""
    return [name for name in LIBRARIES if importlib.util.find_spec(name.split()[0])]


class Worker:
    """A process that holds one library's step."""

    def __init__(self, library: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.library, (self.connection, other) = library, context.Pipe()
        self.process = context.Process(target=_serve, args=(library, other), daemon=True)
        self.process.start()

    def ask(self, *message: Any) -> Any:
        """Send a message and wait for the answer."""
        self.connection.send(message)
        answer = self.connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        self.connection.send(("end",))
        self.process.join()


def _serve(library: str, connection: Connection) -> None:
    """Answer until told to end: ``build`` makes a step (None if the library lacks it), ``run`` times some steps."""
    held: Any = None
    while (message := connection.recv())[0] != "end":
        try:
            if message[0] == "build":
                held = None  # the memory of the step before
                held = LIBRARIES[library](message[1], message[2])
                held.run(2)
                connection.send(held.bytes)
            else:
                began = time.perf_counter()
                held.run(message[1])
                connection.send((time.perf_counter() - began) / message[1])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            held = None
            connection.send(error if message[0] == "run" else None)


def copy_bandwidth(elements: int = 2**25, repeats: int = 9) -> float:
    """Bytes per second of the best of several passes that read an array and write it back."""
    x = jax.numpy.ones(elements)
    scale = jax.jit(lambda x: x * 1.0001, donate_argnums=0)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        x = jax.block_until_ready(scale(x))
        times.append(time.perf_counter() - began)
    return 8 * elements / min(times)


def interleave(workers: list[Worker], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per step of each library in each round; the libraries take turns within a round.

    Every turn has as many steps as fill about `seconds`.
    """
    steps = {w.library: max(1, round(seconds / w.ask("run", 2))) for w in workers}
    times: dict[str, list[float]] = {w.library: [] for w in workers}
    for i in range(rounds):
        for worker in workers if i % 2 == 0 else workers[::-1]:
            times[worker.library].append(worker.ask("run", steps[worker.library]))
    return times


def ratios(times: dict[str, list[float]], of: str, to: str) -> tuple[float, float, float]:
    """The median, least and largest ratio of two libraries over the rounds."""
    each = [a / b for a, b in zip(times[of], times[to], strict=True)]
    return statistics.median(each), min(each), max(each)
