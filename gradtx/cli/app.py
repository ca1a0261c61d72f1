"""The subcommands and their options, and what happens when something is wrong with them."""

import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from gradtx.cli import compare as comparison
from gradtx.cli import convert as conversion
from gradtx.cli import listing, report, show
from gradtx.cli import trajectories as paths
from gradtx.cli.entrants import Schedules
from gradtx.cli.failure import CommandError
from gradtx.cli.tasks import TaskName
from gradtx.errors import GradtxError

BAD_INPUT = 2
INTERRUPTED = 130

# Typer brings a copy of click that has no public name of its own: this is click's base of all usage errors.
UsageError: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="gradtx", add_completion=False, rich_markup_mode=None, help="Gradient transformations for JAX, seen at work."
)

Optimizers = Annotated[
    list[str] | None,
    typer.Option("--optimizer", metavar="TEXT", help="Constructor text, such as 'adam(1e-3)'; may be repeated."),
]
Out = Annotated[Path, typer.Option("--out", metavar="PATH", help="Where the figure goes (.png, .pdf or .svg).")]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 after one line on standard error.

    Args:
      arguments: the words after ``gradtx``; those of the process if ``None``.
    """
    command = typer.main.get_command(app)
    try:
        code = command.main(None if arguments is None else list(arguments), prog_name="gradtx", standalone_mode=False)
    except (CommandError, GradtxError) as error:
        return _complain(str(error))
    except UsageError as error:
        return _complain(error.format_message())
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _complain(message: str) -> int:
    line = " ".join(message.split())
    print(line if line.startswith("gradtx") else f"gradtx: {line}", file=sys.stderr)
    return BAD_INPUT


def _version() -> str:
    try:
        return metadata.version("gradtx")
    except metadata.PackageNotFoundError:
        return "(not installed)"


@app.callback(invoke_without_command=True)
def gradtx(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Compare optimizers on real data, draw their paths, and show what they are."""
    if version:
        typer.echo(f"gradtx {_version()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def compare(
    task: Annotated[TaskName, typer.Option(help="What to learn.")] = TaskName.DIGITS,
    optimizer: Optimizers = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Data file, or a directory with airfoil/ and cifar10/ in it (or set GRADTX_DATA)."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates per run.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data, instead of --steps.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each optimizer.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="What all randomness is derived from.")] = 0,
    target: Annotated[float | None, typer.Option(help="The loss to reach.")] = None,
    out: Out = Path("gradtx-compare.png"),
    everyone: Annotated[bool, typer.Option("--all", help="Every optimizer there is, on the digits.")] = False,
    schedules: Annotated[
        Schedules | None, typer.Option(help="Rates on the digits: cosine falls to zero.", show_default="cosine")
    ] = None,
) -> None:
    """Train one model with several optimizers and show which one gets there first.

    digits: scikit-learn's handwritten digits, a small perceptron, and the five optimizers that people choose between;
    about twenty seconds. airfoil: linear regression on NASA's airfoil
    self-noise measurements. cifar10: LeNet-5 with and without a learning rate that falls on a plateau.
    """
    if steps is not None and epochs is not None:
        raise CommandError("give --steps or --epochs, not both")
    options = comparison.Options(
        task, optimizer or (), data, steps, epochs, seeds, seed, target, out, everyone, schedules
    )
    comparison.compare(options, report.console(), report.console(stderr=True))


@app.command()
def trajectories(optimizer: Optimizers = None, out: Out = Path("trajectories.png")) -> None:
    """Draw the paths of optimizers on the contours of x1^2 + 10 x2^2."""
    paths.trajectories(optimizer or (), out, report.console())


Constructor = Annotated[str, typer.Argument(metavar="TEXT", help="Constructor text, such as 'adam(1e-3)'.")]


@app.command()
def schedule(
    text: Constructor,
    steps: Annotated[int, typer.Option(min=1, help="How many steps to show.")],
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="A figure, too (.png, .pdf or .svg).")] = None,
) -> None:
    """Draw a schedule, or the schedules in an optimizer, in the terminal."""
    show.schedule(text, steps, png, report.console())


@app.command()
def describe(
    text: Constructor,
    params: Annotated[
        str | None,
        typer.Option(metavar="SHAPES", help="Parameters, such as 'dense/kernel:4096x4096:bfloat16,dense/bias:4096'."),
    ] = None,
) -> None:
    """Show what an optimizer is made of and what it costs in memory."""
    show.describe(text, params, report.console())


@app.command()
def convert(
    library: Annotated[conversion.Library, typer.Argument(help="Where the configuration comes from.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Such as 'AdamW(lr=1e-3)'; for Keras JSON, too.")],
) -> None:
    """Print the constructor text for an optimizer or schedule of torch or Keras, and where conventions differ."""
    conversion.convert(library, text, report.console())


@app.command(name="list")
def list_registry(
    name: Annotated[str | None, typer.Argument(help="One entry in full.", show_default=False)] = None,
) -> None:
    """List every transformation, optimizer and schedule, or describe one."""
    if name is None:
        listing.print_registry(report.console())
    else:
        listing.print_entry(name, report.console())
