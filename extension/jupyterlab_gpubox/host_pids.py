"""Ask the hub's host helper which processes of this box host pids are.

The other side, and why a box learns of no other box's processes, is `gpubox.hosthelper`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Collection
from pathlib import Path

SOCKET = Path("/run/gpubox/host-helper.sock")
# The helper refuses more in one question.
_MOST_PIDS = 1024
_LONGEST_ANSWER = 64 * 1024
_SECONDS = 1.0


def ask(pids: Collection[int], path: Path = SOCKET) -> dict[int, int] | None:
    """The pids here of those host pids that are this box's; None where no helper answers."""
    question = json.dumps({"pids": sorted(set(pids))[:_MOST_PIDS]}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as helper:
            helper.settimeout(_SECONDS)
            helper.connect(str(path))
            helper.sendall(question)
            found = json.loads(_line(helper))["pids"]
        return {int(host): int(here) for host, here in found.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None  # the owners are estimated then


def _line(helper: socket.socket) -> bytes:
    answer = b""
    while not answer.endswith(b"\n") and len(answer) <= _LONGEST_ANSWER:
        received = helper.recv(_LONGEST_ANSWER)
        if not received:
            break
        answer += received
    return answer
