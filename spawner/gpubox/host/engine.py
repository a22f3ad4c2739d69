"""The container engine of this machine: afterwards a Docker engine answers.

An engine that answers is never touched. One that is missing or down is installed and started where
that is ours to do (root, this machine's own socket); else the person is told what to do.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from . import HostProblem, Say, debian, dockerd

SOCKET = Path("/var/run/docker.sock")
LOCK = Path("/run/gpubox-engine.lock")
START_SECONDS = 90.0


class EngineProblem(HostProblem):
    """No engine answers; str() says why, and what to do."""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says about itself. ``cdi_dirs`` is empty where CDI is off."""

    version: str
    root_dir: str
    cdi_dirs: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()

    @property
    def major(self) -> int:
        """The major version; 0 where it cannot be told."""
        return debian.engine_major(self.version)

    @property
    def has_cdi(self) -> bool:
        """Whether it attaches GPUs by CDI names."""
        return bool(self.cdi_dirs)


def connect() -> docker.DockerClient:
    """The engine that ``DOCKER_HOST`` names, or this machine's own.

    Raises `EngineProblem` where it does not answer.
    """
    try:
        client = docker.from_env()
        client.ping()
    except (DockerException, requests.RequestException, OSError) as error:
        raise EngineProblem(_silence(error)) from error
    return client


def facts(client: docker.DockerClient) -> EngineFacts:
    """What the engine says about itself. Raises `EngineProblem` where it answers with an error."""
    try:
        info: dict[str, Any] = client.info()
    except (DockerException, requests.RequestException, OSError) as error:
        raise EngineProblem(_silence(error)) from error
    return EngineFacts(
        version=str(info.get("ServerVersion", "")),
        root_dir=str(info.get("DockerRootDir", "")),
        cdi_dirs=tuple(info.get("CDISpecDirs") or ()),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
    )


def ensure_engine(say: Say) -> docker.DockerClient:
    """See to it that an engine answers, installing and starting Docker where needed.

    Raises `EngineProblem` or `HostProblem` with a sentence that says what to do.
    """
    try:
        return connect()
    except EngineProblem as problem:
        refusal = _why_not_ours(problem)
        if refusal:
            raise EngineProblem(refusal) from problem
    with _alone(say):
        try:
            return connect()  # whoever held the lock has started it
        except EngineProblem:
            pass
        _turn_cdi_on()
        if shutil.which("dockerd") is None:
            debian.install_docker(say)
        started = dockerd.start(say)
        return _wait(say, started)


def _silence(error: Exception) -> str:
    """Why an engine did not answer, in words."""
    where = os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
    if _causes(error, PermissionError):
        return (
            f"You may not use the Docker engine at {where}. Let an admin add you to its group"
            " (usermod -aG docker YOU), then log in again."
        )
    if isinstance(error, APIError):
        return f"The Docker engine at {where} answers with an error: {error.explanation or error}"
    return f"No Docker engine answers at {where}."


def _causes(error: BaseException | None, kind: type[Exception]) -> bool:
    """Whether an error, or what it came from, is of a kind: clients wrap the socket's own error."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        if isinstance(one, kind):
            return True
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, *one.args, getattr(one, "reason", None)]
    return False


def _why_not_ours(problem: EngineProblem) -> str:
    """Why this engine is not for us to start; empty where it is."""
    named = os.environ.get("DOCKER_HOST", "")
    if named and named not in (f"unix://{SOCKET}", "unix:///run/docker.sock"):
        return (
            f"{problem} DOCKER_HOST names it: start it there, or unset DOCKER_HOST to use this machine's own."
        )
    if os.geteuid() == 0:
        return ""
    if _causes(problem.__cause__, PermissionError):
        return str(problem)
    return (
        f"{problem} Run this as root once to install and start it (sudo make run), or do without"
        " containers: make run ENGINE=process"
    )


@contextmanager
def _alone(say: Say) -> Iterator[None]:
    """One process at a time installs and starts the engine; the lock ends with its process."""
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another gpubox that is starting Docker")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _turn_cdi_on() -> None:
    try:
        dockerd.turn_cdi_on(dockerd.SETTINGS)
    except ValueError as error:
        raise EngineProblem(f"{error} Mend it, then run this again.") from error


def _wait(say: Say, daemon: dockerd.Daemon) -> docker.DockerClient:
    """The engine, as soon as it answers; `EngineProblem` with its last words if it never does."""
    began = time.monotonic()
    told = 0.0
    while True:
        try:
            return connect()
        except EngineProblem as problem:
            waited = time.monotonic() - began
            if daemon.has_ended():
                raise EngineProblem(f"Docker ended as it started. {daemon.last_words()}") from problem
            if waited > START_SECONDS:
                raise EngineProblem(
                    f"Docker was started and has not answered for {waited:.0f} s. {daemon.last_words()}"
                ) from problem
        if waited - told >= 10:
            told = waited
            say(f"waiting for Docker to answer ({waited:.0f} s)")
        time.sleep(0.2)
