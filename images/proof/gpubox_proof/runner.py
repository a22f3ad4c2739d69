"""Runs steps, each in a process of its own, few at once: a crash or a hang of one is its row, not the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import failure
from .rows import Row, version

PROOF = Path(__file__).resolve().parent.parent
# What every step runs with: nothing asks a network, opens a window or leaves files in the user's home.
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "agg",
    # Threads that wait by spinning take each other's cores: a step of 1 ms then takes 100.
    "OMP_WAIT_POLICY": "passive",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUNBUFFERED": "1",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    # JAX and TensorFlow take most of a GPU's memory at once otherwise; two steps may share one.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


@dataclass(frozen=True)
class Result:
    """What became of a row."""

    name: str
    ok: bool
    version: str = ""
    device: str = ""
    note: str = ""
    sentence: str = ""  # what is wrong
    seconds: float = 0.0
    output: str = ""  # the end of what a failed step wrote


@dataclass(frozen=True)
class Place:
    """A Python environment, and what its kernel sets for programs that run in it."""

    python: str
    environment: Mapping[str, str]


def run_all(
    rows: Sequence[Row], timeout: float, at_once: int, started: Callable[[Row], None]
) -> Iterator[Result]:
    """The results, as they come."""
    pool = ThreadPoolExecutor(at_once)
    try:
        for future in as_completed([pool.submit(run_one, row, timeout, started) for row in rows]):
            yield future.result()
    finally:  # on Ctrl-C no further step begins; those that run hear the Ctrl-C's end of their runner
        pool.shutdown(wait=False, cancel_futures=True)


def run_one(row: Row, timeout: float, started: Callable[[Row], None]) -> Result:
    """The result of one row."""
    started(row)
    begin = time.monotonic()
    place = place_of(row)
    with tempfile.TemporaryDirectory(prefix="gpubox-check-", ignore_cleanup_errors=True) as scratch:
        report, log = Path(scratch, "report.json"), Path(scratch, "output")
        work = Path(scratch, "work")
        work.mkdir()
        # -P: a file of the user's called random.py or torch.py in the current folder is not ours.
        command = [place.python, "-P", "-m", "gpubox_proof.step", row.name, str(report)]
        with log.open("wb") as file:
            status = _run(command, work, environment_of(row, place, work), file.fileno(), timeout)
        told = log.read_text(errors="replace")
        model: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {"ok": False}
    if not model["ok"] and not model.get("sentence"):
        sentence = failure.of_timeout(timeout) if status is None else failure.of_exit(status, told)
        model["sentence"] = sentence
    model.setdefault("version", version(row.distributions))
    output = "" if model["ok"] else told[-4000:]
    return Result(row.name, seconds=time.monotonic() - begin, output=output, **model)


def _run(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], output: int, timeout: float
) -> int | None:
    """The exit status of a process; None where it had to be stopped. Ends its whole process group."""
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _running.add(process.pid)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _running.discard(process.pid)
        _end_group(process.pid)
        process.wait()


_running: set[int] = set()


def stop_all() -> None:
    """End what still runs: the steps are sessions of their own, a Ctrl-C in the terminal is not theirs."""
    for pid in tuple(_running):
        _end_group(pid)


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)  # also a data loader's workers, or a kernel that was started
    except (ProcessLookupError, PermissionError):
        pass


def environment_of(row: Row, place: Place, work: Path) -> dict[str, str]:
    """What a step sees in its environment."""
    environment = {**os.environ, **place.environment, **QUIET, **row.environment}
    for name, folder in (("KERAS_HOME", "keras"), ("HF_HOME", "huggingface"), ("IPYTHONDIR", "ipython")):
        environment[name] = str(work / folder)
    flags = environment.get("PYTENSOR_FLAGS", "")
    if "compiledir" not in flags:  # else the image has a warm one
        environment["PYTENSOR_FLAGS"] = f"{flags},base_compiledir={work}/pytensor".removeprefix(",")
    paths = [path for path in (environment.get("PYTHONPATH"), str(PROOF)) if path]
    return environment | {"PYTHONPATH": os.pathsep.join(paths)}


def place_of(row: Row, root: Path = Path("/opt")) -> Place:
    """Where a row's framework lives: an environment of its own, else the image's, else this Python.

    TensorFlow's CUDA libraries are found through a setting that belongs to its kernel alone, so that is
    read from the kernel's own file.
    """
    for home in (row.home, "ml"):
        python = root / home / "bin" / "python"
        if python.exists():
            return Place(str(python), _kernel_environment(str(python)) if home != "ml" else {})
    return Place(sys.executable, {})


def _kernel_environment(python: str) -> dict[str, str]:
    """What the kernel that runs this Python sets."""
    environment = Path(python).parent.parent
    for folder in (environment, Path("/opt/ml"), Path("/usr/local"), Path("/usr")):
        for file in sorted(folder.glob("share/jupyter/kernels/*/kernel.json")):
            try:
                kernel = json.loads(file.read_text())
            except (OSError, ValueError):
                continue
            if kernel.get("argv", [""])[0] == python:
                return {name: os.path.expandvars(value) for name, value in kernel.get("env", {}).items()}
    return {}
