"""Joins a viewer's WebSocket to Xvnc's socket: pictures go out as they come, messages in as `Desk` lets
them.

Neither way is anything piled up: while a browser does not keep up nothing is read from Xvnc, which then
sends less; while Xvnc does not keep up nothing is read from the browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .desk import Desk
from .rfb import Reader

_CHUNK_BYTES = 1 << 16


class Bridge:
    """One viewer's connection to the display."""

    def __init__(
        self, desk: Desk, viewer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._desk, self._viewer = desk, viewer
        self._from_display, self._to_display = reader, writer
        self._from_viewer = Reader()

    async def show(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send the viewer all that the display sends, until that ends."""
        with suppress(ConnectionError):
            while chunk := await self._from_display.read(_CHUNK_BYTES):
                await send(chunk)

    async def take(self, data: bytes) -> None:
        """Pass on what the viewer sent. Raises `rfb.NotRFB`."""
        passed = [
            message.wire
            for message in self._from_viewer.feed(data)
            if self._desk.lets_pass(self._viewer, message.kind)
        ]
        if passed:
            with suppress(ConnectionError):
                self._to_display.write(b"".join(passed))
                await self._to_display.drain()

    def close(self) -> None:
        """The viewer has gone."""
        self._to_display.close()
