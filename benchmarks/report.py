"""What every benchmark does with its results: a line about the machine, a JSON file, a figure."""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


def machine() -> dict[str, Any]:
    """Where and with what a benchmark ran."""
    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": f"{device.platform}: {device.device_kind}",
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: v for name in ("gradtx", "jax", "jaxlib", "optax", "torch") if (v := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")


def describe(where: dict[str, Any]) -> str:
    """The machine in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return f"{where['device']} ({where['processor']}, {where['cores']} cores), {versions}, {where['date']}"


def parser(module: str, doc: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=doc.partition("\n")[0])
    made.add_argument("--json", metavar="PATH", help="write the results to a file")
    made.add_argument("--png", metavar="PATH", help="draw the results")
    return made


def save(options: argparse.Namespace, results: Any, draw: Callable[[Any], Any]) -> None:
    """Write the files that were asked for; ``draw(axes)`` fills a figure."""
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n")
    if options.png:
        import matplotlib as mpl

        mpl.use("agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
        draw(axes)
        figure.savefig(options.png, dpi=150)
        plt.close(figure)
