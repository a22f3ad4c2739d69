"""A stand-in for a VNC server: a desktop of one colour that speaks RFB 3.8 (RFC 6143, and its registry).

It repeats what it was sent, in words: ``("key", keysym, is_down)``, ``("pointer", x, y, buttons)``,
``("cut", text)``, ``("size", width, height)``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import Any

RAW_TIGHT, EXTENDED_DESKTOP_SIZE = 7, -308
_TIGHT_FILL = 0x80
Message = tuple[Any, ...]


class Screen:
    """What all connections show: a size, a colour, and who looks."""

    def __init__(self) -> None:
        self.width, self.height = 640, 480
        self.colour = (40, 90, 160)
        self.connections: list[Connection] = []

    def resize(self, width: int, height: int, by: Connection) -> None:
        self.width, self.height = width, height
        for connection in self.connections:
            connection.update(is_new_size=True, reason=1 if connection is by else 2)

    def paint(self, colour: tuple[int, int, int]) -> None:
        self.colour = colour
        for connection in self.connections:
            connection.update()

    def copy(self, text: str) -> None:
        """Somebody copies on the desktop: ServerCutText."""
        told = text.encode("latin-1")
        for connection in self.connections:
            connection.send(struct.pack(">BxxxI", 3, len(told)) + told)


class Connection:
    """One client: give it what comes in; what goes out and what was said goes to the two callbacks."""

    def __init__(
        self, screen: Screen, send: Callable[[bytes], None], said: Callable[[Message], None]
    ) -> None:
        self.send, self._said, self._screen = send, said, screen
        self._buffer = bytearray()
        self._reader = self._talk()
        self._is_waiting = False
        self._wanted = next(self._reader)
        screen.connections.append(self)

    def close(self) -> None:
        self._screen.connections.remove(self)

    def receive(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= self._wanted:
            taken = bytes(self._buffer[: self._wanted])
            del self._buffer[: self._wanted]
            self._wanted = self._reader.send(taken)

    def update(self, *, is_new_size: bool = False, reason: int = 0) -> None:
        """The whole screen, in its colour."""
        screen = self._screen
        rectangles = []
        if is_new_size:
            size = struct.pack(">HHHHi", reason, 0, screen.width, screen.height, EXTENDED_DESKTOP_SIZE)
            layout = struct.pack(">BxxxIHHHHI", 1, 1, 0, 0, screen.width, screen.height, 0)
            rectangles.append(size + layout)
        fill = struct.pack(">HHHHiB", 0, 0, screen.width, screen.height, RAW_TIGHT, _TIGHT_FILL)
        rectangles.append(fill + bytes(screen.colour))
        self.send(struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles))

    def _talk(self) -> Generator[int, bytes, None]:
        """Asks for so many bytes and is sent them, for as long as the connection lasts."""
        self.send(b"RFB 003.008\n")
        yield 12
        self.send(b"\x01\x01")
        yield 1
        self.send(bytes(4))
        yield 1
        pixels = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        name = b"stand-in"
        head = struct.pack(">HH", self._screen.width, self._screen.height)
        self.send(head + pixels + struct.pack(">I", len(name)) + name)
        while True:
            (kind,) = yield 1
            yield from getattr(self, f"_read_{kind}")()

    def _read_0(self) -> Generator[int, bytes, None]:
        yield 19  # SetPixelFormat

    def _read_2(self) -> Generator[int, bytes, None]:
        (count,) = struct.unpack(">xH", (yield 3))
        yield 4 * count  # SetEncodings

    def _read_3(self) -> Generator[int, bytes, None]:
        (incremental,) = struct.unpack(">Bxxxxxxxx", (yield 9))
        if not incremental:
            self.update(is_new_size=True)

    def _read_4(self) -> Generator[int, bytes, None]:
        is_down, keysym = struct.unpack(">BxxI", (yield 7))
        self._said(("key", keysym, bool(is_down)))

    def _read_5(self) -> Generator[int, bytes, None]:
        buttons, x, y = struct.unpack(">BHH", (yield 5))
        self._said(("pointer", x, y, buttons))

    def _read_6(self) -> Generator[int, bytes, None]:
        (length,) = struct.unpack(">xxxI", (yield 7))
        text = (yield length).decode("latin-1") if length else ""
        self._said(("cut", text))

    def _read_251(self) -> Generator[int, bytes, None]:
        width, height, count = struct.unpack(">xHHBx", (yield 7))
        yield 16 * count
        self._said(("size", width, height))
        self._screen.resize(width, height, by=self)
