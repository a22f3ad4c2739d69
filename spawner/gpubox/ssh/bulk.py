"""Data that goes straight through: from one SSH connection's cipher to the other's, with few copies.

asyncssh takes a message apart and puts it together in some fifteen steps that each copy it, which is what a
large file waits for. The data of channels needs none of them: it is decrypted, and encrypted as it is. All
else (key exchange, log-in, requests, windows) is asyncssh's own, and whenever either side is busy with such,
so is the data.

The format of a packet is that of RFC 4253, 6, with AES-GCM (RFC 5647, 7): length; padding length, message
and padding, encrypted; tag.
"""

from __future__ import annotations

import os
import struct
import time
from typing import Any

from asyncssh.encryption import GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_LENGTH = struct.Struct(">I")
_BLOCK, _TAG, _LEAST_PADDING = 16, 16, 4
# RFC 4254, 5.2.
_CHANNEL_DATA, _CHANNEL_EXTENDED_DATA = 94, 95


class Cipher(GCMEncryption):
    """asyncssh's cipher of one direction, gone on with; both ways to use it count the same packets."""

    def __init__(self, of: GCMEncryption) -> None:
        super().__init__(of._cipher)
        key, nonce = of._cipher._key, of._cipher._iv
        self._aead, self._fixed = AESGCM(key), nonce[:4]
        self._count = int.from_bytes(nonce[4:], "big")
        self._opened: bytes | None = None
        self._is_opened = False

    def _nonce(self) -> bytes:
        nonce = self._fixed + self._count.to_bytes(8, "big")
        self._count = (self._count + 1) & 0xFFFFFFFFFFFFFFFF
        return nonce

    def seal(self, header: bytes, packet: bytes) -> bytes:
        """The packet, encrypted, and its tag."""
        return self._aead.encrypt(self._nonce(), packet, header)

    def open(self, header: Any, sealed: Any) -> bytes | None:
        """What is in it; None where it is not what was sent."""
        try:
            return self._aead.decrypt(self._nonce(), sealed, header)
        except InvalidTag:
            return None

    def hand_over(self, packet: bytes | None) -> None:
        """Let asyncssh, which is given the same packet next, find this in it."""
        self._opened, self._is_opened = packet, True

    # --- as asyncssh knows it ----------------------------------------------------------------------

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        sealed = self.seal(header, packet)
        return header + sealed[:-_TAG], sealed[-_TAG:]

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        if self._is_opened:
            self._is_opened = False
            return self._opened
        return self.open(first[:header_len], first[header_len:] + rest + mac)


def pass_on(connection: Any, peer: Any, received: bytes) -> tuple[bytes, bytes]:
    """Pass on the data that comes first in what was received; returns what is asyncssh's next, and the rest.

    Nothing is next where the rest is no whole packet yet. The connection is told of data that was passed on,
    by ``passed_data()``.
    """
    if (missing := _missing(connection)) is not None:
        return received[:missing], received[missing:]
    received, connection._inpbuf = connection._inpbuf + received, b""
    view, at = memoryview(received), 0
    out: list[bytes] = []
    next_end = 0
    while source := _incoming(connection):
        end = _end_of_packet(connection, view, at)
        if end is None:
            break
        target = _outgoing(peer)
        if target is None:
            next_end = end
            break
        packet = source.open(view[at : at + 4], view[at + 4 : end])
        if packet is None or packet[1] not in (_CHANNEL_DATA, _CHANNEL_EXTENDED_DATA):
            source.hand_over(packet)
            next_end = end
            break
        at = end
        connection._recv_seq = (connection._recv_seq + 1) & 0xFFFFFFFF
        out += _sealed(peer, target, memoryview(packet)[1 : -packet[0]])
    else:
        next_end = len(view)
    if out:
        peer._send(b"".join(out))
        connection.passed_data()
    next_end = max(next_end, at)
    return received[at:next_end], received[next_end:]


def _missing(connection: Any) -> int | None:
    """How many bytes asyncssh waits for in the middle of a packet; None where it is between two."""
    if connection._recv_handler != connection._recv_packet:
        return None
    whole = 4 + connection._pktlen + connection._recv_macsize
    return max(0, int(whole - len(connection._packet) - len(connection._inpbuf)))


def _end_of_packet(connection: Any, view: memoryview, at: int) -> int | None:
    """Where the packet ends; None where that was not received yet."""
    if len(view) - at < _BLOCK:
        return None
    (length,) = _LENGTH.unpack_from(view, at)
    if length > connection._max_recv_pktlen:
        return len(view)  # asyncssh complains of it
    end = at + 4 + length + _TAG
    return end if end <= len(view) else None


def _incoming(connection: Any) -> Cipher | None:
    """The cipher of what the connection receives, where it may go past asyncssh now."""
    is_between_packets = connection._recv_handler == connection._recv_pkthdr
    if not is_between_packets or not connection._auth_complete or connection._decompressor:
        return None
    connection._recv_encryption = cipher = _own(connection._recv_encryption)
    return cipher if isinstance(cipher, Cipher) else None


def _outgoing(connection: Any) -> Cipher | None:
    """The cipher of what the connection sends, where it may go past asyncssh now."""
    is_rekey_due = connection._rekey_bytes_sent >= connection._rekey_bytes or (
        connection._rekey_seconds and time.monotonic() >= connection._rekey_time
    )
    is_ready = connection._kex_complete and connection._auth_complete and not connection._deferred_packets
    if not is_ready or is_rekey_due or connection._compressor:
        return None
    connection._send_encryption = cipher = _own(connection._send_encryption)
    return cipher if isinstance(cipher, Cipher) else None


def _own(cipher: Any) -> Any:
    return Cipher(cipher) if type(cipher) is GCMEncryption else cipher


def _sealed(peer: Any, cipher: Cipher, message: memoryview) -> tuple[bytes, bytes]:
    padding = _LEAST_PADDING + -(1 + len(message) + _LEAST_PADDING) % _BLOCK
    packet = b"".join((bytes((padding,)), message, os.urandom(padding)))
    header = _LENGTH.pack(len(packet))
    peer._send_seq = (peer._send_seq + 1) & 0xFFFFFFFF
    peer._rekey_bytes_sent += len(packet)
    return header, cipher.seal(header, packet)
