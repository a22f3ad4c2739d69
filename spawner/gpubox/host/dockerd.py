"""Starting Docker's daemon: by systemd where it runs, by hand where it does not.

Only verbs and the daemon's own files; when to start it is ``engine``'s.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import Say

SETTINGS = Path("/etc/docker/daemon.json")
LOG = Path("/var/log/gpubox-dockerd.log")

_PID_FILES = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}
_CONTAINERD_SOCKETS = (
    Path("/run/containerd/containerd.sock"),
    Path("/var/run/docker/containerd/containerd.sock"),
)


@dataclass(frozen=True)
class Daemon:
    """A daemon on its way up: a process of ours, or (None) one that others look after."""

    process: subprocess.Popen[bytes] | None = None
    problem: str = ""
    log_start: int = 0

    def has_ended(self) -> bool:
        """Whether it is known that it will not come up."""
        return bool(self.problem) or (self.process is not None and self.process.poll() is not None)

    def last_words(self) -> str:
        """What it said at the end, or where that is to be read."""
        if self.process is None or not LOG.exists():
            return f"{self.problem} Its log: journalctl -u docker, or /var/log/docker.log".strip()
        with LOG.open("rb") as log:
            log.seek(self.log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join([f"The end of its log, {LOG}:", *lines[-8:]])


def start(say: Say) -> Daemon:
    """Start the daemon unless one is starting already. Must run as root; does not wait."""
    if Path("/run/systemd/system").exists():
        say("starting Docker (systemd)")
        done = subprocess.run(
            ["systemctl", "enable", "--now", "docker"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return Daemon(problem=done.stderr.strip() if done.returncode else "")
    forget_the_dead()
    if any(_is_running(pid, "dockerd") for pid in _pids()):
        say("waiting for Docker, which is starting")
        return Daemon()
    say(f"starting Docker (log: {LOG})")
    with LOG.open("ab") as log:
        log_start = log.tell()
        # A session and files of its own: it outlives this terminal and holds none of its pipes.
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    return Daemon(process, log_start=log_start)


def turn_cdi_on(settings: Path) -> None:
    """Switch CDI on in the engine's settings and leave all else as it is.

    An engine reads them when it starts. Raises ValueError with a sentence where the file cannot be
    understood.
    """
    current: Any = {}
    if settings.exists() and settings.read_text().strip():
        try:
            current = json.loads(settings.read_text())
        except ValueError as error:
            raise ValueError(f"{settings} is not JSON ({error}).") from error
    if not isinstance(current, dict) or not isinstance(current.get("features", {}), dict):
        raise ValueError(f"{settings} is not a JSON object with settings.")
    if current.get("features", {}).get("cdi") is True:
        return
    changed = {**current, "features": {**current.get("features", {}), "cdi": True}}
    settings.parent.mkdir(parents=True, exist_ok=True)
    draft = settings.with_name(settings.name + ".gpubox")
    draft.write_text(json.dumps(changed, indent=2) + "\n")
    draft.chmod(settings.stat().st_mode & 0o777 if settings.exists() else 0o644)
    draft.replace(settings)


# --- what a machine that was cut off leaves behind ------------------------------------------------


def forget_the_dead() -> None:
    """Remove pid files and sockets of engines that are gone: they keep a new one from starting.

    dockerd takes a pid file's number for itself or its containerd if *any* process has it now, and
    a containerd socket file for a containerd that serves.
    """
    for file, program in _PID_FILES.items():
        if file.exists() and not _is_running(_pid_in(file), program):
            file.unlink(missing_ok=True)
    for file in _CONTAINERD_SOCKETS:
        if file.exists() and not _is_served(file):
            file.unlink(missing_ok=True)


def _pid_in(file: Path) -> int:
    try:
        return int(file.read_text().strip())
    except (OSError, ValueError):
        return 0


def _is_running(pid: int, program: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == program and _state(pid) != "Z"
    except OSError:
        return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _pids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def _is_served(file: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(str(file))
        except OSError:
            return False
    return True
