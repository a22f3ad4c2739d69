"""What is done to the host machine by `gpubox run` and looked at by `gpubox doctor`.

One facility a module; its verbs (`ensure_engine`, `ensure_network`, `ensure_image`) may be called
at any time, and afterwards what they name is there. Nothing here is used while servers start.
"""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""Tells the person at the terminal, in one line, what is being done."""


class HostProblem(Exception):
    """Something about this machine that stops gpubox; str() says what, and what to do."""
