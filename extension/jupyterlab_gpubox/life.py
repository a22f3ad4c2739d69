"""When a Jupyter server last showed which kind of life: what the hub's culler goes by.

A browser that is merely open is none. ``kernel_at``: while a kernel is busy it is now, with a browser or
without; else its last message that somebody asked for. Jupyter Server keeps that apart from what a page does
by itself, such as asking who the kernel is (kernelmanager.py, ``untracked_message_types``). ``terminal_at``:
output, which terminado tells with nobody connected, too (``pre_pty_read_hook``), and input.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from .activity import SETTING
from .hub_link import Life

DESKTOP = "desktop_last_activity"


def life_of(server: Any) -> Life:
    """The newest of each kind, Unix seconds, of a running `jupyter_server.serverapp.ServerApp`."""
    settings = server.web_app.settings
    return {
        "kernel_at": _kernel_at(server.kernel_manager),
        "terminal_at": _terminal_at(settings.get("terminal_manager")),
        "desktop_at": _seconds(settings.get(DESKTOP)),
        "gpu_at": _seconds(settings.get(SETTING)),
    }


def _kernel_at(manager: Any) -> float | None:
    found: list[float] = []
    for kernel_id in list(manager.list_kernel_ids()):
        try:
            kernel = manager.get_kernel(kernel_id)
        except KeyError:
            continue
        if getattr(kernel, "execution_state", "") == "busy":
            return time.time()
        found += filter(None, [_seconds(getattr(kernel, "last_activity", None))])
    return max(found, default=None)


def _terminal_at(manager: Any) -> float | None:
    terminals = list(getattr(manager, "terminals", {}).values())
    found = (_seconds(getattr(terminal, "last_activity", None)) for terminal in terminals)
    return max(filter(None, found), default=None)


def _seconds(moment: Any) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else None
