"""The control socket: what the service and the command line ask of the running hub.

HTTP over a Unix socket in the state directory, for its owner's eyes only: whoever may open it may do all.
``state`` puts together what there is to know, ``feed`` tells when that has changed, ``server`` answers in
the hub's process, ``client`` asks from another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import paths

NAME = "hub.sock"


@contextmanager
def short_path(directory: Path | None = None) -> Iterator[str]:
    """A path of the socket that is short enough: the kernel takes 107 characters (unix(7)), a state
    directory may be longer. It serves as long as the block lasts. Raises OSError."""
    opened = os.open(directory or paths.state_dir(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{NAME}"
    finally:
        os.close(opened)
