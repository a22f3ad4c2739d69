"""The private folder of one desktop: its sockets, its cookie, and the pipe that programs on it speak
through.

Several servers may run for one account, and one may be killed: each has a folder of its own under a lock
that goes with its process, and whoever makes a folder first removes those that nobody holds any more.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .programs import Places

_PREFIX = "gpubox-desktop-"
_LOCK = "lock"
_LONGEST_WORD = 200


@dataclass
class Folder:
    """A folder that is ours as long as ``lock`` is open."""

    places: Places
    lock: int
    _words: int = -1
    _heard: bytearray = field(default_factory=bytearray)

    def listen(self, loop: asyncio.AbstractEventLoop, said: Callable[[str], None]) -> None:
        """Have ``said`` called with every line that a program writes to the pipe."""
        os.mkfifo(self.places.words, 0o600)
        # Open for writing, too: it does not end when a program closes it.
        self._words = os.open(self.places.words, os.O_RDWR | os.O_NONBLOCK)
        loop.add_reader(self._words, self._read, said)

    def remove(self) -> None:
        """Take it away."""
        if self._words >= 0:
            try:
                asyncio.get_running_loop().remove_reader(self._words)
            except RuntimeError:  # the server ends: its loop has
                pass
            os.close(self._words)
            self._words = -1
        shutil.rmtree(self.places.folder, ignore_errors=True)
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def _read(self, said: Callable[[str], None]) -> None:
        try:
            self._heard += os.read(self._words, 4096)
        except BlockingIOError:
            return
        *words, rest = self._heard.split(b"\n")
        self._heard = bytearray(rest[:_LONGEST_WORD])
        for word in words:
            said(word.decode(errors="replace"))


def make_folder() -> Folder:
    """A new folder, mode 0700. Raises OSError where none can be made."""
    top = Path(tempfile.gettempdir())
    for left in top.glob(_PREFIX + "*"):
        _remove_if_left(left)
    # It gets its name once it is locked: before that, nobody takes it for one that was left.
    made = Path(tempfile.mkdtemp(prefix=".gpubox-", dir=top))
    lock = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = made.rename(top / f"{_PREFIX}{made.name.removeprefix('.gpubox-')}")
    places = Places(folder)
    places.runtime.mkdir(mode=0o700)
    return Folder(places, lock)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder whose server is gone; one of another user stays."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)


def write_private(file: Path, content: bytes) -> None:
    """Write a new file that only its owner may read."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
