"""The fast lane's page and WebSocket, handed on from its server's socket; behind Jupyter's log-in.

Its protocol has no way to watch only that would hold here, so it is for those who may execute on this
server. Only GET is handed on: nothing below this path changes anything for a forged request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado.httpclient import HTTPRequest
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import HTTPError, authenticated
from tornado.websocket import WebSocketClosedError, WebSocketHandler, websocket_connect

from ..routes import RESOURCE

if TYPE_CHECKING:
    from tornado.websocket import WebSocketClientConnection

    from .desk import Desk

_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:;"
    " font-src 'self' data:; connect-src 'self' data: blob:; manifest-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HANDED_ON = ("Content-Type", "Cache-Control", "Etag", "Last-Modified")
_SOCKET = "api/websockets"


class _ToSocket(Resolver):
    """Leads every name to one Unix socket."""

    def initialize(self, path: Path) -> None:
        self._path = str(path)

    async def resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[tuple[int, Any]]:
        """The socket, whatever is asked for."""
        return [(socket.AF_UNIX, self._path)]


class _FastLane(JupyterHandler):
    auth_resource = RESOURCE
    _track_activity = False

    def initialize(self, desk: Callable[[], Desk]) -> None:
        self.desk = desk

    async def resolver(self) -> Resolver:
        """The way to its server, which runs. Raises HTTPError: 403, 404, or 503 with the reason."""
        from .session import Ended

        user = self.current_user
        if not await ensure_async(self.authorizer.is_authorized(self, user, "execute", RESOURCE)):
            raise HTTPError(403, "The fast lane is for those who may run programs on this server.")
        if not self.desk().fast_lane.is_there:
            raise HTTPError(404, "This machine's image was built without the desktop's fast lane.")
        try:
            return _ToSocket(path=await self.desk().fast_lane.socket())
        except Ended as error:
            raise HTTPError(503, f"{error} Open the desktop first, then the fast lane from it.") from error


class FastLanePageHandler(_FastLane):
    """GET /gpubox/desktop/fast/FILE"""

    @authenticated
    async def get(self, file: str | None) -> None:
        if file is None:
            self.redirect(self.request.path + "/")
            return
        client = SimpleAsyncHTTPClient(force_instance=True, resolver=await self.resolver())
        try:
            answer = await client.fetch(HTTPRequest(f"http://localhost/{file}"), raise_error=False)
        finally:
            client.close()
        self.set_status(answer.code)
        for name in _HANDED_ON:
            if name in answer.headers:
                self.set_header(name, answer.headers[name])
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("X-Content-Type-Options", "nosniff")
        await self.finish(answer.body)

    # Its page asks so whether the server is there again.
    head = get


class FastLaneSocketHandler(WebSocketMixin, WebSocketHandler, _FastLane):
    """The WebSocket /gpubox/desktop/fast/api/websockets. Neither way is anything piled up."""

    # configurable-http-proxy counts a ping as activity: an idle server would never be culled.
    ping_interval = 0
    _server: WebSocketClientConnection | None = None

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        self._way = await self.resolver()
        await super().get(*args, **kwargs)

    async def open(self, *args: Any, **kwargs: Any) -> None:
        """Join the page to the server; nothing is read from the page before."""
        super().open(*args, **kwargs)
        self.set_nodelay(True)
        query = f"?{self.request.query}" if self.request.query else ""
        try:
            server = await websocket_connect(f"ws://localhost/{_SOCKET}{query}", resolver=self._way)
        except Exception as error:
            self.log.warning("The desktop's fast lane takes no viewer: %s", error)
            self.close(1011, "The fast lane takes no viewer.")
            return
        if self.ws_connection is None:
            server.close()
            return
        self._server = server
        self._showing = asyncio.create_task(self._show(server))

    async def _show(self, server: WebSocketClientConnection) -> None:
        with suppress(WebSocketClosedError):
            while (message := await server.read_message()) is not None:
                await self.write_message(message, binary=isinstance(message, bytes))
            self.close(server.close_code, server.close_reason)
        server.close()

    async def on_message(self, message: str | bytes) -> None:
        """Tornado reads the next message only once this one was taken."""
        from .fastlane import is_input

        if self._server is None:
            return
        if is_input(message):
            self.desk().note_activity()
        with suppress(WebSocketClosedError):
            await self._server.write_message(message, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        """Leave."""
        if self._server is not None:
            self._server.close()


def fast_lane_handlers(base_url: str, desk: Callable[[], Desk]) -> list[tuple[Any, ...]]:
    """Its routes, for `web_app.add_handlers`."""
    place = url_path_join(base_url, "gpubox/desktop/fast")
    return [
        (f"{place}/{_SOCKET}/?", FastLaneSocketHandler, {"desk": desk}),
        (f"{place}(?:/(.*))?", FastLanePageHandler, {"desk": desk}),
    ]
