"""When a Jupyter server last showed which kind of life: what the hub's culler goes by.

A browser that is merely open is none. What that rests on (jupyter_server 2.21, jupyter_server_terminals 0.5):

- ``kernel_at``: while a kernel is busy it is now, with a browser or without; else its ``last_activity``.
  Jupyter Server sets that when a kernel starts, and by its own IOPub socket, which needs no browser: by each
  message while the kernel is busy, and by each whose request is not among ``untracked_message_types``
  (kernelmanager.py, ``record_activity``). A page that connects asks for the kernel's info and comms:
  untracked. `ignore_polls` adds what it does not know of.
- ``terminal_at``: the terminal's ``last_activity``, set by output, which is read with nobody connected, too
  (terminalmanager.py, ``pre_pty_read_hook``), by input, and in the moment that a page opens or resizes it
  (handlers.py, ``_update_activity``). A prompt with a page before it sets nothing. A program that prints
  nothing shows no life here: if it works, its GPU or its output does. An SSH connection is a terminal, too:
  what its user sends through it counts (keys, files, what a forwarded port is told), what keeps it alive does
  not.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from .activity import SETTING
from .hub_link import Life
from .ssh.routes import ACTIVITY as SSH

DESKTOP = "desktop_last_activity"
# jupyter-resource-usage asks every open notebook's kernel for its memory, every few seconds.
POLLS = ("usage_request", "usage_reply")


def life_of(server: Any) -> Life:
    """The newest of each kind, Unix seconds, of a running `jupyter_server.serverapp.ServerApp`."""
    settings = server.web_app.settings
    return {
        "kernel_at": _kernel_at(server.kernel_manager),
        "terminal_at": max(
            filter(None, [_terminal_at(settings.get("terminal_manager")), _seconds(settings.get(SSH))]),
            default=None,
        ),
        "desktop_at": _seconds(settings.get(DESKTOP)),
        "gpu_at": _seconds(settings.get(SETTING)),
    }


def ignore_polls(manager: Any) -> None:
    """Have a kernel manager count no poll of a page as work: neither here nor for JupyterHub."""
    known = getattr(manager, "untracked_message_types", None)
    if known is not None:
        manager.untracked_message_types = [*known, *(name for name in POLLS if name not in known)]


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
    if not isinstance(moment, datetime):
        return None
    # A gateway's kernels tell UTC without saying so (jupyter_server/gateway/managers.py).
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
