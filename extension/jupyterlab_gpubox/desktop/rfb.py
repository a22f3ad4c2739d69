"""Reads the client's half of the RFB protocol, as far as the desktop's viewer and TigerVNC 1.15 speak it.

Pure and incremental: bytes go in as they arrive, whole messages come out, each with its kind and the bytes
that it is made of. The messages are those of RFC 6143 and of the community's rfbproto.rst
(github.com/rfbproto/rfbproto), which names the extensions; where the two leave a choice, it is read as
TigerVNC reads it (common/rfb/SMsgReader.cxx): what the server takes for one message must be one message
here, or a viewer who may only watch could smuggle keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from struct import unpack_from

# TigerVNC drops what is longer than its MaxCutText; nothing of that size need be kept in memory on the way.
LONGEST_CUT_TEXT = 1 << 20
EXTENDED_MOUSE_BUTTONS = -316
_VERSIONS = (b"RFB 003.007\n", b"RFB 003.008\n")
_NO_PASSWORD = 1
_EXTENDED_KEY = 0


class Kind(Enum):
    """What a message is for."""

    HANDSHAKE = "handshake"
    PICTURE = "picture"  # pixel format, encodings, requests for updates, fences
    KEY = "key"
    POINTER = "pointer"
    CUT_TEXT = "cut text"
    DESKTOP_SIZE = "desktop size"
    POWER = "power"


# A person's own doing; a page that repaints sends none of these.
INPUT = frozenset({Kind.KEY, Kind.POINTER})
# What changes the desktop, or tells it something.
CHANGES = INPUT | {Kind.CUT_TEXT, Kind.DESKTOP_SIZE, Kind.POWER}


@dataclass(frozen=True)
class Message:
    """One message; ``wire`` is all of it, as it was sent."""

    kind: Kind
    wire: bytes


class NotRFB(Exception):
    """The stream holds what no viewer of ours sends; the message says what."""


class Reader:
    """One viewer's stream, from its first byte."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._greetings = iter((_version, _security, _shared))
        self._greeting = next(self._greetings, None)
        self._extended_pointer = False
        self._to_skip = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete now. Raises `NotRFB`; nothing after that is to be read."""
        self._buffer += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        if self._to_skip:
            skipped = min(self._to_skip, len(self._buffer))
            del self._buffer[:skipped]
            self._to_skip -= skipped
        if not self._buffer or self._to_skip:
            return None
        if self._greeting is not None:
            length = self._greeting(self._buffer)
            if length is None:
                return None
            self._greeting = next(self._greetings, None)
            return self._take(Kind.HANDSHAKE, length)
        kind, length = _measure(self._buffer, self._extended_pointer)
        if kind is Kind.CUT_TEXT and length is not None and length - 8 > LONGEST_CUT_TEXT:
            self._to_skip = length
            return self._next()
        if length is None or len(self._buffer) < length:
            return None
        if self._buffer[0] == _SET_ENCODINGS:
            encodings = unpack_from(f">{(length - 4) // 4}i", self._buffer, 4)
            self._extended_pointer = EXTENDED_MOUSE_BUTTONS in encodings
        return self._take(kind, length)

    def _take(self, kind: Kind, length: int) -> Message:
        wire = bytes(self._buffer[:length])
        del self._buffer[:length]
        return Message(kind, wire)


def _version(buffer: bytearray) -> int | None:
    if len(buffer) < len(_VERSIONS[0]):
        return None
    # Version 3.3 has another handshake.
    if bytes(buffer[:12]) not in _VERSIONS:
        raise NotRFB("The viewer does not speak RFB 3.7 or 3.8.")
    return 12


def _security(buffer: bytearray) -> int | None:
    if buffer[0] != _NO_PASSWORD:
        raise NotRFB(f"The viewer wants security type {buffer[0]}; Jupyter's log-in is the desktop's.")
    return 1


def _shared(_: bytearray) -> int | None:
    return 1


_SET_ENCODINGS = 2
_CUT_TEXT = 6
_FIXED = {
    0: (Kind.PICTURE, 20),  # SetPixelFormat
    3: (Kind.PICTURE, 10),  # FramebufferUpdateRequest
    4: (Kind.KEY, 8),
    150: (Kind.PICTURE, 10),  # EnableContinuousUpdates
    250: (Kind.POWER, 4),  # xvp
}
# Type: kind, bytes of the head, where in it the number of items is and its format, bytes of an item.
_COUNTED = {
    _SET_ENCODINGS: (Kind.PICTURE, 4, 2, ">H", 4),
    248: (Kind.PICTURE, 9, 8, ">B", 1),  # ClientFence
    251: (Kind.DESKTOP_SIZE, 8, 6, ">B", 16),
}


def _measure(buffer: bytearray, extended_pointer: bool) -> tuple[Kind, int | None]:
    """The kind of the buffer's first message, and its bytes; None where its head is not all there."""
    number = buffer[0]
    if number in _FIXED:
        return _FIXED[number]
    if number in _COUNTED:
        kind, head, at, form, size = _COUNTED[number]
        if len(buffer) < head:
            return kind, None
        count: int = unpack_from(form, buffer, at)[0]
        return kind, head + count * size
    if number == 5:
        # The ninth button and those above come in a byte more, marked by the highest bit.
        if len(buffer) < 2:
            return Kind.POINTER, None
        return Kind.POINTER, 7 if extended_pointer and buffer[1] & 0x80 else 6
    if number == _CUT_TEXT:
        # A negative length marks the extended clipboard: so many bytes of another form.
        return Kind.CUT_TEXT, None if len(buffer) < 8 else 8 + abs(unpack_from(">i", buffer, 4)[0])
    if number == 255:
        if len(buffer) < 2:
            return Kind.KEY, None
        if buffer[1] == _EXTENDED_KEY:
            return Kind.KEY, 12
        raise NotRFB(f"The viewer sent QEMU's message {buffer[1]}, which the desktop does not know.")
    raise NotRFB(f"The viewer sent message {number}, which the desktop does not know.")
