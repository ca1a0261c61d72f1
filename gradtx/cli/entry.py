"""Where the command starts: it sees to the extra packages before anything imports them."""

import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Sequence

REQUIRED = {"typer": "typer", "rich": "rich", "matplotlib": "matplotlib", "sklearn": "scikit-learn"}
"""The modules of the extra ``cli``, and the distributions they come from."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code.

    Args:
      arguments: the words after ``gradtx``; those of the process if ``None``.
    """
    missing = [name for module, name in REQUIRED.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(
            f"gradtx: the command needs {', '.join(missing)}; install with: pip install 'gradtx[cli]'", file=sys.stderr
        )
        sys.exit(2)
    _hush()
    from gradtx.cli.app import run

    sys.exit(run(arguments))


def _hush() -> None:
    """Keep the notes that JAX and others address to programmers out of the command's output."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("jax").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


if __name__ == "__main__":
    main()
