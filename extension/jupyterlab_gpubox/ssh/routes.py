"""The WebSocket /gpubox/api/ssh: one connection of the hub's SSH gateway.

First, as text, ``{"key": "ssh-ed25519 AAAA..."}``: who connects. The answer, as text, is ``{"user": ...,
"host_key": ...}``: as whom to log in and how to know the box, or ``{"message": ...}`` and the end. From then
on binary messages are the bytes of SSH, both ways. The text ``{"active": true}`` tells that the user did
something: what keeps a connection alive is not told, so a forgotten one keeps no machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..routes import RESOURCE

if TYPE_CHECKING:
    from .daemon import Connection

log = logging.getLogger(__name__)

PATH = "ssh"
"""Below gpubox/api; openapi.json has it."""

ACTIVITY = "ssh_last_activity"
"""Jupyter Server counts settings of such names as its activity (serverapp.py, ``last_activity``)."""

_LONGEST_MESSAGE_BYTES = 4 * 2**20
_CHUNK_BYTES = 1024 * 1024
_BULK_BYTES, _BULK_SECONDS = 32 * 1024, 0.001


class SSHHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """One connection: an sshd that ends with it, and that it ends with."""

    auth_resource = RESOURCE
    # The gateway looks whether the box is still there; a ping of ours would count as activity at a proxy.
    ping_interval = 0

    def initialize(self, mark_active: Callable[[datetime], None]) -> None:
        self._mark_active = mark_active
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()

    @property
    def max_message_size(self) -> int:
        return _LONGEST_MESSAGE_BYTES

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        if not await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "execute", RESOURCE)
        ):
            raise HTTPError(403, "You may not log in to this machine.")
        await super().get(*args, **kwargs)

    async def on_message(self, message: str | bytes) -> None:
        """Bytes for sshd, or a word of the gateway. The next message is read once this returns."""
        if isinstance(message, str):
            await self._heed(message)
        elif self._connection is not None:
            async with self._sending:
                try:
                    await asyncio.get_running_loop().sock_sendall(self._connection.socket, message)
                except OSError:
                    self.close()  # sshd has ended

    async def _heed(self, message: str) -> None:
        try:
            told = json.loads(message)
        except ValueError:
            return
        if not isinstance(told, dict):
            return
        if told.get("active") and self._connection is not None:
            self._mark_active(datetime.now(UTC))
        if self._connection is None and isinstance(told.get("key"), str):
            await self._begin(told["key"])

    async def _begin(self, key: str) -> None:
        from .daemon import NoSSH, daemon

        try:
            box = await asyncio.to_thread(daemon)
            self._connection = await box.start(key)
        except NoSSH as error:
            return self._refuse(str(error))
        except Exception:
            log.exception("An SSH connection could not be begun.")
            return self._refuse("This machine could not begin an SSH connection; its log has the details.")
        self._mark_active(datetime.now(UTC))
        self.write_message(json.dumps({"user": box.user, "host_key": box.host_key}))
        for work in (self._send(self._connection), self._follow(self._connection)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _refuse(self, sentence: str) -> None:
        self.write_message(json.dumps({"message": sentence}))
        self.close()

    async def _send(self, connection: Connection) -> None:
        """What sshd says; no more of it is read than the gateway takes."""
        loop = asyncio.get_running_loop()
        try:
            while told := await loop.sock_recv(connection.socket, _CHUNK_BYTES):
                await self.write_message(told, binary=True)
                if len(told) >= _BULK_BYTES:
                    # A large file: the more goes at once, the less work it is for all on the way.
                    await asyncio.sleep(_BULK_SECONDS)
        except (OSError, WebSocketClosedError):
            pass
        finally:
            self._hang_up(connection)
            self.close()
            # A socket must not be closed while the loop watches it for somebody.
            async with self._sending:
                connection.socket.close()

    async def _follow(self, connection: Connection) -> None:
        if complaint := await connection.ended():
            log.warning("sshd: %s", complaint)

    def on_close(self) -> None:
        """The gateway has gone: so must sshd, as when a network is lost."""
        super().on_close()
        if self._connection is not None:
            self._hang_up(self._connection)

    def _hang_up(self, connection: Connection) -> None:
        try:
            connection.socket.shutdown(SHUT_RDWR)
        except OSError:
            pass  # closed already


def handlers(base_url: str, settings: dict[str, Any]) -> list[tuple[str, type, dict[str, Any]]]:
    """The route, for `web_app.add_handlers`; ``settings`` are the application's, where activity is told."""

    def mark_active(when: datetime) -> None:
        settings[ACTIVITY] = when

    return [(url_path_join(base_url, "gpubox/api", PATH), SSHHandler, {"mark_active": mark_active})]
