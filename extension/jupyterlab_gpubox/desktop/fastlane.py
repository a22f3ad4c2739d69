"""The desktop's fast lane: Selkies, a second server of pictures for the same display, in images that were
built with it (images/README.md). It encodes what moves as video.

It starts when its page is first opened, listens on a socket in the desktop's private folder alone, and ends
with the desktop. Who reaches that socket has passed Jupyter's log-in: it asks for none of its own.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from .process import Process
from .programs import Places, ends_with_the_server

if TYPE_CHECKING:
    from .session import Session

PROGRAM = "/opt/fast-lane/bin/selkies"
# What a page sends for a key, the pointer, a scroll and composed text (selkies, input_handler.py).
_INPUT = frozenset({"kd", "ku", "m", "m2", "sf", "co"})
# What the desktop's own page does better, or what would open another way in or out. The size is the
# controlling viewer's; a box has no sound server.
_OFF = (
    *("audio-enabled", "microphone-enabled", "gamepad-enabled", "webcam-enabled", "printing-enabled"),
    *("command-enabled", "enable-sharing", "enable-dual-mode", "enable-resize", "second-screen"),
)
_PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.05


def command(places: Places) -> list[str]:
    """Selkies', on the display that the environment names."""
    return [
        *ends_with_the_server(PROGRAM),
        *("--unix-socket", str(places.fast_lane), "--mode=websockets", "--wayland=false"),
        *("--enable-basic-auth=false", "--enable-https=false", "--frame-ancestors='none'"),
        *("--file-transfers=none", "--ui-title=Desktop"),
        *(f"--{name}=false|locked" for name in _OFF),
    ]


def is_input(message: str | bytes) -> bool:
    """Whether a page's message is a person's own doing; its acknowledgements of pictures are not."""
    return isinstance(message, str) and message.partition(",")[0] in _INPUT


class FastLane:
    """The fast lane of one desktop."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._process: Process | None = None
        self._socket = Path()
        self._starting = asyncio.Lock()
        self.is_there = which(PROGRAM) is not None

    async def socket(self) -> Path:
        """The socket of its server, which answers; started where it does not run.

        Raises `session.Ended` where there is none to be had.
        """
        async with self._starting:
            if self._process is None or not self._process.is_running:
                self._process, places = await self._session.beside("fast lane", command)
                self._socket = places.fast_lane
                await self._answers(self._process)
        return self._socket

    async def _answers(self, process: Process) -> None:
        from .session import Ended

        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while process.is_running:
                    try:
                        _, writer = await asyncio.open_unix_connection(str(self._socket))
                    except OSError:
                        await asyncio.sleep(_LOOK_SECONDS)
                    else:
                        writer.close()
                        return
        except TimeoutError:
            pass
        words = process.obituary("The desktop's fast lane, Selkies,")
        await process.end()
        raise Ended(words)
