"""`python -m gpubox.service`: the hub starts it (`gpubox.config.add_service`)."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys

from ..control.client import NoHub

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    """Serve until the hub ends; status 1 with a sentence where there is no hub to serve."""
    # A hub started in the background of a script ignores this signal, and so would its service: the hub stops
    # a service with it, and waits half a minute before it tries another.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from .app import run  # takes a second, in which the hub may already want to end

    form = "[%(levelname)1.1s %(asctime)s gpubox service] %(message)s"
    logging.basicConfig(format=form, level=logging.INFO)
    # JupyterHub's part of a service tells of each log-in, with the session's id.
    logging.getLogger("tornado.application").setLevel(logging.WARNING)
    # A hub that is killed takes its service along: the next one starts a service of its own, on this port.
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 0
    try:
        run()
    except KeyboardInterrupt:
        return 0
    except (NoHub, OSError) as error:
        print(f"gpubox service: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
