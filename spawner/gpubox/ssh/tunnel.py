"""The way into a machine: a WebSocket to its server, as a transport for an SSH connection.

`jupyterlab_gpubox.ssh.routes` is the other end, and tells what is said.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any, Protocol

import aiohttp
from yarl import URL

from .machine import Reach, Refused

_ROUTE = "gpubox/api/ssh"
_OPEN_SECONDS = 60.0
# How much may wait for the machine before its user is asked to send no more.
_MOST_UNSENT_BYTES = 2 * 2**20
_FRAME_BYTES = 256 * 1024
_ACTIVE_SECONDS = 10.0


class Receiver(Protocol):
    """The SSH connection over the transport: an asyncio protocol."""

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...


class Unreachable(Exception):
    """The server does not answer at its address: it may have ended."""


class Tunnel(asyncio.Transport):
    """An open WebSocket. ``user`` is who to log in as in the machine, ``host_key`` how to know it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, user: str, host_key: str) -> None:
        super().__init__()
        self.user, self.host_key = user, host_key
        self._socket = socket
        self._protocol: Receiver | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._wake = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._source: asyncio.ReadTransport | None = None
        self._source_waits = False
        self._active_at = 0.0
        self._told_active = True
        self._is_closing = False
        self._work: asyncio.Task[None] | None = None

    # --- what the gateway does with it -----------------------------------------------------------

    def carry(self, protocol: Receiver) -> None:
        """Be the transport of an SSH connection from here on."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._work = asyncio.create_task(self._run(protocol), name="SSH tunnel")

    def feed_from(self, source: asyncio.ReadTransport) -> None:
        """What is written comes from there: it is read no faster than the machine takes it."""
        self._source = source

    def active(self) -> None:
        """Its user did something: the machine is told, now and then."""
        if time.monotonic() - self._active_at >= _ACTIVE_SECONDS:
            self._active_at = time.monotonic()
            self._told_active = False
            self._wake.set()

    # --- asyncio's transport -----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        self._unsent.append(bytes(data))
        self._unsent_bytes += len(data)
        self._wake.set()
        if self._source and not self._source_waits and self._unsent_bytes > _MOST_UNSENT_BYTES:
            self._source_waits = True
            self._source.pause_reading()

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def close(self) -> None:
        self._is_closing = True
        self._wake.set()
        self._may_read.set()

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._is_closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default  # no socket of ours: its options are set in `open_tunnel`

    # --- what goes on ------------------------------------------------------------------------------

    async def _run(self, protocol: Receiver) -> None:
        receiving = asyncio.create_task(self._receive(protocol))
        sending = asyncio.create_task(self._send())
        try:
            await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._is_closing = True
            for task in (receiving, sending):
                task.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)
            self._go_on()
            protocol.connection_lost(None)
            await self._socket.close()

    async def _receive(self, protocol: Receiver) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                protocol.data_received(message.data)
                await self._may_read.wait()

    async def _send(self) -> None:
        while not self._is_closing or self._unsent:
            await self._wake.wait()
            self._wake.clear()
            if not self._told_active:
                self._told_active = True
                await self._socket.send_str('{"active":true}')
            while self._unsent:
                unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
                await self._send_all(unsent)
                self._go_on()

    async def _send_all(self, unsent: list[bytes]) -> None:
        """Few frames, and none that is very long."""
        begin = size = 0
        for end, data in enumerate(unsent):
            if size and size + len(data) > _FRAME_BYTES:
                await self._socket.send_bytes(b"".join(unsent[begin:end]))
                begin, size = end, 0
            size += len(data)
        await self._socket.send_bytes(b"".join(unsent[begin:]))

    def _go_on(self) -> None:
        if self._source_waits and self._source is not None:
            self._source_waits = False
            if not self._source.is_closing():
                self._source.resume_reading()


async def open_tunnel(session: aiohttp.ClientSession, reach: Reach, key: str) -> Tunnel:
    """Open the WebSocket for the holder of ``key``, a public key. Raises `Refused`, `Unreachable`."""
    headers = {"Authorization": f"token {reach.token}"}
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            opened = await session.ws_connect(
                # As it is: a server looks at each character of its user's name as the hub has escaped it.
                URL(f"{reach.url.rstrip('/')}/{_ROUTE}", encoded=True),
                headers=headers,
                max_msg_size=0,
                compress=0,
            )
    except aiohttp.WSServerHandshakeError as error:
        raise Refused(_why(error.status)) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unreachable("Your machine does not answer.") from error
    try:
        _keep_alive(opened.get_extra_info("socket"))
        async with asyncio.timeout(_OPEN_SECONDS):
            await opened.send_json({"key": key})
            answer = await opened.receive()
        told = json.loads(answer.data) if answer.type is aiohttp.WSMsgType.TEXT else {}
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        told = {}
    if "host_key" not in told:
        await opened.close()
        raise Refused(told.get("message") or "Your machine did not begin an SSH connection.")
    return Tunnel(opened, told["user"], told["host_key"])


def _why(status: int) -> str:
    if status == 404:
        return "The image of your machine knows nothing of SSH: it has no gpubox in it, or an older one."
    if status in (401, 403):
        return "You may not log in to this machine."
    return f"Your machine refused the connection ({status})."


def _keep_alive(connection: socket.socket | None) -> None:
    """Notice a machine that is gone without a word. (A ping of WebSocket's would wait behind what nobody
    reads.)"""
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
