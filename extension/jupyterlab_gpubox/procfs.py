"""What /proc tells of processes: parents, names, and which GPU devices they hold open.

A process may end at any moment and another user's may be closed to us: then the answer is "not known",
never an error. All calls block, shortly.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# PROC_PID_INIT_INO of Linux's include/linux/proc_ns.h: the same on every machine.
_HOST_NAMESPACE = "pid:[4026531836]"
# /dev/kfd is AMD's, for computing; /dev/dxg is how WSL shows any GPU.
_DEVICE = re.compile(r"/dev/(nvidia[^/]*|nvidia-caps/.+|kfd|dxg)")
_CARD = re.compile(r"nvidia(\d+)")
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Stat:
    """A process's parent and start; pid and start together name a process for ever.

    ``cpu_ticks`` is the CPU time that it has spent.
    """

    parent: int
    started: int
    cpu_ticks: int = 0


class Procfs:
    """The processes that the proc file system at ``root`` shows, to the process ``own`` that reads it."""

    def __init__(self, root: Path | str = "/proc", own: int | None = None) -> None:
        self._root = os.fspath(root)
        self.own = os.getpid() if own is None else own

    def is_of_the_host(self) -> bool:
        """Whether this is the host's own PID namespace, with no containment."""
        try:
            return os.readlink(f"{self._root}/{self.own}/ns/pid") == _HOST_NAMESPACE
        except OSError:
            return False

    def is_a_box(self) -> bool:
        """Whether all processes here are this server's: it is what the container was made for."""
        if self.is_of_the_host():
            return False
        stat = self.stat(self.own)
        return self.own == 1 or (stat is not None and stat.parent in (0, 1))

    def pids(self) -> list[int]:
        """All processes that are to be seen."""
        try:
            return [int(name) for name in os.listdir(self._root) if name.isdigit()]
        except OSError:
            return []

    def stat(self, pid: int) -> Stat | None:
        """Parent and start; None if the process is gone."""
        # The name, in brackets, may hold anything.
        fields = self._read(f"{pid}/stat").rpartition(b")")[2].split()
        try:
            return Stat(int(fields[1]), int(fields[19]), cpu_ticks=int(fields[11]) + int(fields[12]))
        except (IndexError, ValueError):
            return None

    def name(self, pid: int) -> str:
        """The program's name as people know it; empty if the process is gone."""
        # Not "comm" first: PyTorch calls its main thread pt_main_thread.
        program = self._read(f"{pid}/cmdline").partition(b"\0")[0].decode(errors="replace").strip()
        if program.startswith("/"):
            program = program.rpartition("/")[2]
        program = program or self._read(f"{pid}/comm").decode(errors="replace").strip()
        return program[:_LONGEST_NAME]

    def devices(self, pid: int) -> frozenset[str] | None:
        """The GPU devices that a process holds open, such as ``nvidia0``; None where that cannot be seen."""
        try:
            files = os.listdir(f"{self._root}/{pid}/fd")
        except OSError:
            return None
        found = set()
        for file in files:
            try:
                target = os.readlink(f"{self._root}/{pid}/fd/{file}")
            except OSError:
                continue  # closed meanwhile
            if device := _DEVICE.fullmatch(target):
                found.add(device[1])
        return frozenset(found)

    def card_devices(self) -> dict[str, str]:
        """The device of each NVIDIA card by its UUID; empty where the driver does not say."""
        directory = f"{self._root}/driver/nvidia/gpus"
        try:
            cards = os.listdir(directory)
        except OSError:
            return {}
        found = {}
        for card in cards:
            text = self._read(f"driver/nvidia/gpus/{card}/information").decode(errors="replace")
            facts = dict(re.findall(r"^([^:]+):\s*(.*?)\s*$", text, re.MULTILINE))
            if facts.keys() >= {"GPU UUID", "Device Minor"}:
                found[facts["GPU UUID"]] = f"nvidia{facts['Device Minor']}"
        return found

    def _read(self, name: str) -> bytes:
        try:
            with open(f"{self._root}/{name}", "rb") as file:
                return file.read()
        except OSError:
            return b""


def cards_of(devices: frozenset[str]) -> frozenset[str]:
    """Those devices that are a card of their own, such as ``nvidia0``."""
    return frozenset(device for device in devices if _CARD.fullmatch(device))
