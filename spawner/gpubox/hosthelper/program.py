"""The program in the host helper's container: one file, the standard library alone.

Run as ``program.py SOCKET IDLE_SECONDS``. A box connects, sends one line ``{"pids": [host pids]}`` and gets
one line ``{"pids": {"HOST PID": PID IN THE BOX}}`` with those of them that are its own. Who it is, the kernel
says (SO_PEERCRED); of a pid that is another's, or nobody's, nothing is said.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import time
from collections import Counter

LONGEST_QUESTION = 16 * 1024
MOST_PIDS = 1024
SECONDS = 2.0
AT_ONCE = 64
AT_ONCE_PER_BOX = 4
EXPECTED = 'Expected one line of JSON: {"pids": [numbers]}, at most 1024 of them.'


class Helper:
    """Answers boxes, each only about itself; ``proc`` shows the host's processes."""

    def __init__(self, proc: str = "/proc") -> None:
        self.proc = proc
        self.asked = time.monotonic()
        self._busy: Counter[str] = Counter()
        self._own = self._group("self")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, to its end."""
        self.asked = time.monotonic()
        try:
            # At once: a pid is its process's only as long as that lives.
            peer = _peer(writer)
            box, depth = self._box(peer), len(self._pids(peer))
            if box is None or self._busy[box] >= AT_ONCE_PER_BOX or self._busy.total() >= AT_ONCE:
                return
            self._busy[box] += 1
            try:
                await asyncio.wait_for(self._converse(reader, writer, box, depth), SECONDS)
            finally:
                self._busy[box] -= 1
                self._busy += Counter()  # boxes come and go: none is kept at zero
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()  # what a box has not taken by now, it does not get

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, box: str, depth: int
    ) -> None:
        try:
            pids = _asked(await reader.readuntil(b"\n"))
        except (ValueError, LookupError, TypeError, RecursionError, EOFError, asyncio.LimitOverrunError):
            said: dict[str, object] = {"message": EXPECTED}
        else:
            said = {"pids": self.translate(pids, box, depth)}
        writer.write(json.dumps(said).encode() + b"\n")
        await writer.drain()

    def translate(self, pids: list[int], box: str, depth: int) -> dict[int, int]:
        """Those of the host's pids that are processes of the box, with their pid in its namespace."""
        found = {}
        for pid in pids:
            group = self._group(str(pid))
            if group != box and not group.startswith(box + "/"):
                continue
            # As seen from each namespace from the host's inwards; a sandbox in the box has one more.
            seen = self._pids(pid)
            if len(seen) >= depth:
                found[pid] = seen[depth - 1]
        return found

    def _box(self, peer: int) -> str | None:
        """The control group of the box that a process is of; None where that tells no box from another."""
        group = self._group(str(peer))
        # An engine without control groups leaves all containers, and this one, in its own.
        if not group.strip("/") or (self._own + "/").startswith(group + "/"):
            return None
        return group

    def _group(self, process: str) -> str:
        """A process's control group, empty if it is gone. The engine makes one for every container, and
        nobody in it can leave it."""
        groups = {}
        for line in self._read(f"{process}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            groups.update(dict.fromkeys(controllers.split(","), path))
        # With cgroups v1, the one that keeps containers from each other's GPUs; "" is v2.
        return groups.get("devices") or groups.get("", "")

    def _pids(self, pid: int) -> list[int]:
        for line in self._read(f"{pid}/status").splitlines():
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
        return []

    def _read(self, name: str) -> str:
        try:
            with open(f"{self.proc}/{name}", encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""


def _peer(writer: asyncio.StreamWriter) -> int:
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _asked(question: bytes) -> list[int]:
    pids = json.loads(question)["pids"]
    if not isinstance(pids, list) or len(pids) > MOST_PIDS:
        raise ValueError
    if not all(type(pid) is int and 0 < pid < 2**31 for pid in pids):
        raise ValueError
    return pids


async def serve(path: str, idle_seconds: float) -> None:
    """Answer on a socket at ``path`` until nobody has asked for so long: then no hub misses it."""
    helper = Helper()
    server = await asyncio.start_unix_server(helper.answer, path, limit=LONGEST_QUESTION)
    os.chmod(path, 0o666)  # noqa: S103  whoever is shown the directory may ask
    async with server:
        while (left := helper.asked + idle_seconds - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], float(sys.argv[2])))
