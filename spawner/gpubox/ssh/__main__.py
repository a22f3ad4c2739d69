"""`python -m gpubox.ssh`: the hub starts it (`gpubox.config.add_ssh`), and it starts the gateway.

Sessions outlive the hub. JupyterHub ends its services when it ends, so what it ends is this process; the
gateway beside it reads its standard input to the end and knows then that it is to take no new connections. It
serves those that are open until their users have gone, while the next hub's gateway has the port.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    """Run a gateway; returns when the hub ends, or when the gateway does (with its status)."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    # A hub that is killed takes this process along, and with it the end of the pipe.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 0
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gpubox.ssh.gateway"], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        return gateway.wait()
    except KeyboardInterrupt:
        return 0


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # The gateway's end of the pipe closes with this process: nobody waits for it.
    os._exit(main())
