"""Two SSH connections as one: what a user's client and the machine's sshd say to each other is passed on as
it is.

Both ends speak SSH's connection protocol (RFC 4254: sessions, forwarded ports and sockets, agents, their
windows and signals), message types 80 to 127. The gateway takes no part in it: it ends the transport layer on
both sides, and hands on each message, whatever it is. So all that the client and sshd know works, and what
fills a window at one end holds up the other.

asyncssh has connections between two of its own that it takes part in, channel by channel; this goes past
that, by the parts of it named here and in ``bulk``: `process_packet`, `send_packet`, `_channels` and
`send_userauth_success`, as in 2.24. The range in setup.py says for which versions that was looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh
from asyncssh.connection import SSHConnection

from . import bulk
from .tunnel import Tunnel

# RFC 4250, 4.1.2; PROTOCOL of OpenSSH.
_IGNORE = 2
_FIRST_OF_CONNECTION = 80
_GLOBAL_REQUEST = 80
_CHANNEL_DATA = 94
_BITE_BYTES = 64 * 1024
_HOST_KEYS = b"hostkeys-00@openssh.com"

# The fastest here and in OpenSSH, by far; a client chooses by its own taste, so one that has them gets no
# other.
FAST_CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"]
CIPHERS = [*FAST_CIPHERS, "chacha20-poly1305@openssh.com", "aes256-ctr", "aes128-ctr"]


class _Channels(dict[int, Any]):
    """Every channel is the connection's own business: it passes on what comes."""

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, number: int) -> Any:
        return self._connection


class _Relaying(SSHConnection):
    """One of the two; ``peer`` is the other one, once there is."""

    peer: _Relaying | None = None
    _received = b""
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word for a connection that has begun."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._channels = _Channels(self)
        super().connection_made(transport)

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Take bytes from the network: what is data of channels goes straight on, the rest is asyncssh's."""
        received, self._received = self._received + data, b""
        while received:
            if self.peer is None:
                return self._interpret(received)
            packet, received = bulk.pass_on(self, self.peer, received)
            if not packet:
                self._received = received
                return None
            self._interpret(packet)
        return None

    def _interpret(self, data: bytes) -> None:
        # A few bytes at a time, for asyncssh moves what is left with each message.
        for begin in range(0, len(data), _BITE_BYTES):
            super().data_received(data[begin : begin + _BITE_BYTES])

    def passed_data(self) -> None:
        """Data of its channels went on to the other side."""

    def log_received_packet(self, *args: Any, **kwargs: Any) -> None:
        """Say nothing of each message, which takes as long as to encrypt it."""

    def log_sent_packet(self, *args: Any, **kwargs: Any) -> None:
        """The same."""

    def process_packet(self, pkttype: int, pktid: int, packet: Any) -> Any:
        """Take a message that was received."""
        if pkttype < _FIRST_OF_CONNECTION:
            return super().process_packet(pkttype, pktid, packet)
        if self.peer is not None:
            self.pass_on(self.peer, pkttype, packet.get_full_payload())
        return True

    def pass_on(self, peer: _Relaying, pkttype: int, message: bytes) -> None:
        """Hand a message of the connection protocol to the other side."""
        peer.send_packet(pkttype, message[1:])
        if pkttype == _CHANNEL_DATA:
            self.passed_data()

    def send_packet(self, pkttype: int, *args: bytes, **kwargs: Any) -> None:
        """Send a message, without the filler that only CBC ciphers need before it (RFC 4251, 9.3.1)."""
        if pkttype != _IGNORE:
            super().send_packet(pkttype, *args, **kwargs)

    def pause_writing(self) -> None:
        """The network takes no more: neither does the other side read."""
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """The network takes more again."""
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()


class UserSide(_Relaying, asyncssh.SSHServerConnection):
    """A user's connection. ``admit`` is awaited when they have proved who they are, before they are told
    so."""

    admit: Callable[[], Awaitable[bool]]
    tunnel: Tunnel | None = None

    def _send_kexinit(self) -> None:
        # OpenSSH has had GCM since 6.2 (2013), and puts ChaCha20 first.
        if b"OpenSSH" in self._client_version:
            self._enc_algs = [name.encode() for name in FAST_CIPHERS]
        super()._send_kexinit()

    async def send_userauth_success(self) -> None:
        """Let the user in, if there is a machine to let them into."""
        if await self.admit():
            await super().send_userauth_success()

    def passed_data(self) -> None:
        """What is sent in a channel is its user's doing."""
        if self.tunnel is not None:
            self.tunnel.active()


class MachineSide(_Relaying, asyncssh.SSHClientConnection):
    """The connection to the machine's sshd."""

    def pass_on(self, peer: _Relaying, pkttype: int, message: bytes) -> None:
        """To the user, but for the machine's host keys: theirs is the gateway's."""
        if pkttype == _GLOBAL_REQUEST and message[5 : 5 + len(_HOST_KEYS)] == _HOST_KEYS:
            return
        super().pass_on(peer, pkttype, message)


async def log_in(
    tunnel: Tunnel, key: asyncssh.SSHKey, factory: Callable[[], asyncssh.SSHClient]
) -> MachineSide:
    """An SSH connection through the tunnel, logged in. Raises asyncssh.Error, OSError."""
    loop = asyncio.get_running_loop()
    host_key = asyncssh.import_public_key(tunnel.host_key)
    options = await asyncssh.SSHClientConnectionOptions.construct(
        client_factory=factory,
        host="machine",
        port=22,
        username=tunnel.user,
        client_keys=[key],
        known_hosts=([host_key], [], []),
        config=[],
        agent_path=None,
        preferred_auth="publickey",
        encryption_algs=FAST_CIPHERS,
        compression_algs=["none"],
        tcp_keepalive=False,
        login_timeout=60,
    )
    options.waiter = loop.create_future()
    connection = MachineSide(loop, options, wait="auth")
    tunnel.carry(connection)
    try:
        await options.waiter
    except BaseException:
        connection.abort()
        raise
    return connection
