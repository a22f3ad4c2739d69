"""``python -m simgpu 4xH100 -- command ...``: runs a command on a machine with simulated GPUs.

Installs the simulated driver (for the command alone where we are not root), runs the command with its
environment, and removes it when the command ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .driver import RUN_DIRECTORY, SimulatedDriver, SimulatedLibrary
from .library import CannotBuild
from .models import MODELS, UnknownGPU
from .nodes import SimulationRefused


def main() -> int:
    parser = argparse.ArgumentParser(prog="simgpu", description="Run a command with GPUs.")
    parser.add_argument("gpus", help=f"such as 4xH100 or 1xA100:mig=7x1g.10gb; models: {', '.join(MODELS)}")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command to run, after --")
    asked = parser.parse_args()
    command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    if not command:
        parser.error("say which command to run, after --")
    try:
        driver = (SimulatedDriver if os.geteuid() == 0 else SimulatedLibrary)(asked.gpus)
        with driver, _found_by_all(driver):
            return _run(command, driver)
    except (UnknownGPU, SimulationRefused, CannotBuild) as refused:
        print(f"simgpu: {refused}", file=sys.stderr)
        return 1


@contextmanager
def _found_by_all(driver: SimulatedLibrary) -> Iterator[None]:
    """The library finds its state without its environment, of which servers that are processes get none."""
    state = Path(driver.environment()["SIMGPU_STATE"])
    link = RUN_DIRECTORY / "state"
    if not isinstance(driver, SimulatedDriver):
        yield
        return
    scratch = link.with_name(f"state.{os.getpid()}")
    scratch.symlink_to(state)
    scratch.replace(link)
    try:
        yield
    finally:
        if link.is_symlink() and link.readlink() == state:
            link.unlink()


PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


def _take_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)


def _run(command: list[str], driver: SimulatedLibrary) -> int:
    """Runs the command to its end. It gets the terminal's Ctrl-C itself, and our SIGTERM from us."""
    names = ", ".join(gpu.name for gpu in driver.gpus) or "none"
    announcement = f"Simulated GPUs: {driver.specification}. They show how it all works; nothing computes."
    print(f"simgpu: simulated GPUs are installed while this runs: {names}.", file=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What comes before there is anybody to pass it on to waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    for number in PASSED_ON:
        signal.signal(number, lambda received, _: process.send_signal(received))
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **driver.environment(), "GPUBOX_ANNOUNCEMENT": announcement},
            preexec_fn=_take_signals,
        )
    except OSError as error:
        print(f"simgpu: {command[0]} cannot be run: {error.strerror}.", file=sys.stderr)
        return 127
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    status = process.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
