"""What a viewer sends, read message by message however the network has cut it."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_gpubox.desktop.rfb import LONGEST_CUT_TEXT, Kind, Message, NotRFB, Reader

HELLO = [
    Message(Kind.HANDSHAKE, b"RFB 003.008\n"),
    Message(Kind.HANDSHAKE, b"\x01"),
    Message(Kind.HANDSHAKE, b"\x01"),
]
WIRE = b"".join(message.wire for message in HELLO)
u8, u16, u32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


def packed(form: str, number: int, *values: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    return st.tuples(*values).map(lambda drawn: struct.pack(form, number, *drawn))


def cut_text(length: int, data: bytes) -> bytes:
    return struct.pack(">Bxxxi", 6, length) + data


def set_encodings(*encodings: int) -> bytes:
    return struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings)


def messages() -> st.SearchStrategy[Message]:
    """Any message of a viewer that has not asked for more mouse buttons, with the kind that it is."""
    sizes = st.lists(st.binary(min_size=16, max_size=16), max_size=3).map(
        lambda screens: struct.pack(">BxHHBx", 251, 640, 480, len(screens)) + b"".join(screens)
    )
    fences = st.binary(max_size=64).map(lambda data: struct.pack(">BxxxIB", 248, 7, len(data)) + data)
    texts = st.binary(max_size=40)
    encodings = st.lists(st.integers(-300, 30), max_size=6)
    wires = {
        Kind.PICTURE: st.one_of(
            packed(">Bxxx16B", 0, *[u8] * 16),
            encodings.map(lambda each: set_encodings(*each)),
            packed(">BB4H", 3, u8, *[u16] * 4),
            packed(">BB4H", 150, u8, *[u16] * 4),
            fences,
        ),
        Kind.KEY: st.one_of(packed(">BBxxI", 4, u8, u32), packed(">BxHII", 255, u16, u32, u32)),
        Kind.POINTER: packed(">BBHH", 5, u8, u16, u16),
        Kind.CUT_TEXT: st.one_of(
            texts.map(lambda data: cut_text(len(data), data)),
            texts.map(lambda data: cut_text(-len(data), data)),
        ),
        Kind.DESKTOP_SIZE: sizes,
        Kind.POWER: packed(">BxBB", 250, u8, u8),
    }
    return st.one_of(*(wire.map(lambda drawn, k=kind: Message(k, drawn)) for kind, wire in wires.items()))


def read(data: bytes, *cuts: int) -> list[Message]:
    """What a reader makes of a stream that comes in these pieces."""
    reader, found, at = Reader(), [], 0
    for end in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        found += reader.feed(data[at:end])
        at = end
    return found


@given(st.lists(messages(), max_size=12), st.lists(st.integers(0, 400), max_size=10))
def test_a_stream_cut_anywhere_gives_the_messages_that_were_sent(sent, cuts):
    stream = WIRE + b"".join(message.wire for message in sent)

    assert read(stream, *cuts) == HELLO + sent


@given(st.binary(max_size=200))
def test_of_nonsense_nothing_is_made_up(data):
    reader, found = Reader(), []
    with suppress(NotRFB):
        for at in range(len(WIRE + data)):
            found += reader.feed((WIRE + data)[at : at + 1])
    assert (WIRE + data).startswith(b"".join(message.wire for message in found))


def test_more_mouse_buttons_take_a_byte_more_once_they_were_asked_for():
    ninth = struct.pack(">BBHHB", 5, 0x81, 10, 20, 2)
    plain, key = struct.pack(">BBHH", 5, 1, 3, 4), struct.pack(">BBxxI", 4, 1, 0x61)

    found = read(WIRE + set_encodings(7, -316) + ninth + plain + key, 25, 26, 32)

    assert [message.wire for message in found[4:]] == [ninth, plain, key]

    *_, last = read(WIRE + set_encodings(-316) + set_encodings(7) + struct.pack(">BBHH", 5, 0x81, 1, 2))
    assert last.kind is Kind.POINTER


def test_a_clipboard_too_large_for_the_display_is_swallowed_without_being_kept():
    key = struct.pack(">BBxxI", 4, 1, 0x61)
    for sign in (1, -1):
        reader = Reader()
        list(reader.feed(WIRE))
        length = LONGEST_CUT_TEXT + 5
        assert not list(reader.feed(struct.pack(">Bxxxi", 6, sign * length) + b"x" * 100))
        left = length - 100
        while left:
            assert not list(reader.feed(b"y" * min(left, 65536)))
            left -= min(left, 65536)
            assert len(reader._buffer) <= 65536
        assert list(reader.feed(key)) == [Message(Kind.KEY, key)]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"RFB 003.003\n", "3.7 or 3.8"),
        (b"GET / HTTP/1", "3.7 or 3.8"),
        (b"RFB 003.008\n\x02", "security type 2"),
        (WIRE + b"\x63", "message 99"),
        (WIRE + b"\xff\x01\x00\x00", "QEMU's message 1"),
    ],
)
def test_a_viewer_that_speaks_something_else_is_told_what(sent, words):
    with pytest.raises(NotRFB, match=words):
        read(sent)
