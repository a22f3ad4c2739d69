"""The desktop's REST API and its two WebSockets (docs/panel-api.md), behind Jupyter's log-in and
authoriser.

`Desk` is made, and all behind it imported, when a page first asks for any of it. None of this counts as the
user's activity; what does is decided there.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..routes import RESOURCE

if TYPE_CHECKING:
    from .bridge import Bridge
    from .desk import Desk

MISSING, FAILED, ENDED, NO_VIEWER = 4404, 4500, 1001, 4400
_VIEWER = re.compile(r"[A-Za-z0-9-]{8,64}")
# A close frame has room for so much (RFC 6455, 5.5).
_LONGEST_REASON_BYTES = 120
_LONGEST_CONTROL_BYTES = 1024


class _WithDesk:
    auth_resource = RESOURCE
    _track_activity = False

    def initialize(self, desk: Callable[[], Desk]) -> None:
        self.desk = desk


class StateHandler(_WithDesk, APIHandler):
    """GET /gpubox/api/desktop"""

    def answer(self) -> None:
        """The state as it is now."""
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(self.desk().told()))

    @authorized
    async def get(self) -> None:
        self.answer()


class StartHandler(StateHandler):
    """POST /gpubox/api/desktop/start"""

    @authorized
    async def post(self) -> None:
        self.desk().session.start()
        self.answer()


class StopHandler(StateHandler):
    """POST /gpubox/api/desktop/stop"""

    @authorized
    async def post(self) -> None:
        await self.desk().session.stop()
        self.answer()


class _Socket(_WithDesk, WebSocketMixin, WebSocketHandler, JupyterHandler):
    """A WebSocket of one viewer. Who may not execute on this server watches only."""

    # configurable-http-proxy counts a ping as activity: an idle server would never be culled.
    ping_interval = 0

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        if not await self._may("read"):
            raise HTTPError(403, "You may not see the desktop of this server.")
        self.viewer = self.get_query_argument("viewer", "")
        if not _VIEWER.fullmatch(self.viewer):
            raise HTTPError(400, "viewer: 8 to 64 letters, digits and hyphens that the page has made up.")
        asked = self.get_query_argument("view", "0") not in {"", "0", "false"}
        self.is_view_only = asked or not await self._may("execute")
        await super().get(*args, **kwargs)

    async def _may(self, action: str) -> bool:
        answer = self.authorizer.is_authorized(self, self.current_user, action, RESOURCE)
        return bool(await ensure_async(answer))

    def join(self) -> None:
        """Be one of the viewers until the connection closes."""
        user = self.current_user
        name = str(getattr(user, "display_name", "") or getattr(user, "username", "") or "somebody")
        self.leave = self.desk().join(self.viewer, name, is_view_only=self.is_view_only)

    def end(self, code: int, sentence: str) -> None:
        """Close with a reason, as far as a close frame takes it."""
        self.close(code, sentence.encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore"))


class ControlHandler(_Socket):
    """The WebSocket /gpubox/api/desktop/control: the state, who controls, and what to open."""

    @property
    def max_message_size(self) -> int:
        return _LONGEST_CONTROL_BYTES

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Join, and be told of every change."""
        super().open(*args, **kwargs)
        self.join()
        self.deaf = self.desk().listen(self.viewer, self._send)

    def _send(self, told: dict[str, Any]) -> None:
        try:
            self.write_message(json.dumps(told))
        except WebSocketClosedError:
            self.on_close()

    def on_message(self, message: str | bytes) -> None:
        """``{"type": "take-control"}``; anything else is ignored."""
        try:
            asked = json.loads(message)
        except ValueError:
            return
        if isinstance(asked, dict) and asked.get("type") == "take-control":
            self.desk().take_control(self.viewer)

    def on_close(self) -> None:
        """Leave."""
        self.deaf()
        self.leave()


class VncHandler(_Socket):
    """The WebSocket /gpubox/api/desktop/vnc: RFB, in binary frames."""

    _bridge: Bridge | None = None
    _is_closed = False

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """The one that VNC viewers in browsers know."""
        return "binary" if "binary" in subprotocols else None

    async def open(self, *args: Any, **kwargs: Any) -> None:
        """Start the desktop where it is off, and join it. Nothing is read from the page before."""
        from .bridge import Bridge
        from .session import Ended

        super().open(*args, **kwargs)
        self.set_nodelay(True)
        self.join()
        desk = self.desk()
        try:
            reader, writer = await desk.session.connect()
        except Ended as error:
            self.end(MISSING if desk.session.state.name == "missing" else FAILED, str(error))
            return
        self._bridge = Bridge(desk, self.viewer, reader, writer)
        if self._is_closed:
            self._bridge.close()
            return
        self._showing = asyncio.create_task(self._show(self._bridge))

    async def _show(self, bridge: Bridge) -> None:
        try:
            await bridge.show(lambda chunk: self.write_message(chunk, binary=True))
            self.end(ENDED, "The desktop has ended.")
        except WebSocketClosedError:
            pass
        finally:
            bridge.close()

    async def on_message(self, message: str | bytes) -> None:
        """Tornado reads the next message only once this one was taken."""
        from .rfb import NotRFB

        if self._bridge is None or self._is_closed:
            return
        try:
            await self._bridge.take(message if isinstance(message, bytes) else message.encode())
        except NotRFB as error:
            self.end(NO_VIEWER, str(error))
            self._bridge.close()

    def on_close(self) -> None:
        """Leave."""
        self._is_closed = True
        self.leave()
        if self._bridge is not None:
            self._bridge.close()


API = {
    "desktop": StateHandler,
    "desktop/start": StartHandler,
    "desktop/stop": StopHandler,
    "desktop/vnc": VncHandler,
    "desktop/control": ControlHandler,
}


def handlers(base_url: str, desk: Callable[[], Desk]) -> list[tuple[Any, ...]]:
    """All routes, for `web_app.add_handlers`."""
    return [
        (url_path_join(base_url, "gpubox/api", path), handler, {"desk": desk})
        for path, handler in API.items()
    ]
