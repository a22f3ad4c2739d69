"""The command `gpubox`: run, doctor, gpus, top, queue, drain, undrain, end, leases, usage, template,
kept, image.

What each does is in ``commands``; here are `main` and exit statuses. Whatever goes wrong ends in one sentence
and status 1; ``--debug`` shows where it came from.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__
from .commands import books, gpus, kept, line, starting, templates
from .engines import EngineError
from .host import HostProblem


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if arguments.debug:
            raise
        print(f"gpubox: {_sentence(error)}", file=sys.stderr)
        return 1


def _sentence(error: Exception) -> str:
    if isinstance(error, (HostProblem, EngineError)):
        return str(error)
    if isinstance(error, ImportError):
        return f"{error}. Install all that a hub needs: pip install 'gpubox[hub]'"
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return f"{type(error).__name__}: {error} (gpubox --debug ... shows where)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpubox", description="ML-in-a-box for your own GPU machines.")
    parser.add_argument("--version", action="version", version=f"gpubox {__version__}")
    parser.add_argument("--debug", action="store_true", help="on an error, show where it came from")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for topic in (starting, gpus, line, books, templates, kept):
        topic.add_to(commands)
    return parser
