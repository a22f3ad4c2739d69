"""The REST API and the stream of docs/panel-api.md: thin handlers over `Monitor`.

Jupyter's own log-in and authoriser guard each: the resource is ``gpubox``. None counts as the
user's activity.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from .history import NoSuchRange
from .hub_link import HubLink
from .monitor import Monitor
from .sampler import Watch

RESOURCE = "gpubox"
_LONGEST_MESSAGE_BYTES = 1024


class _Handler(APIHandler):
    auth_resource = RESOURCE
    _track_activity = False  # a page that asks is no user at work

    def initialize(self, monitor: Monitor) -> None:
        self.monitor = monitor

    def answer(self, told: dict[str, Any] | str) -> None:
        """Send JSON, and keep it from caches: every figure is of now."""
        self.set_header("Cache-Control", "no-store")
        self.finish(told if isinstance(told, str) else json.dumps(told))


class GPUsHandler(_Handler):
    """GET /gpubox/api/gpus"""

    @authorized
    async def get(self) -> None:
        links = self.get_query_argument("links", "0") not in {"", "0", "false"}
        self.answer(await self.monitor.gpus(links=links))


class ProcessesHandler(_Handler):
    """GET /gpubox/api/processes"""

    @authorized
    async def get(self) -> None:
        self.answer(await self.monitor.processes())


class HistoryHandler(_Handler):
    """GET /gpubox/api/history"""

    @authorized
    async def get(self) -> None:
        wanted = self.get_query_argument("range", "fine")
        try:
            self.answer(await self.monitor.history(wanted))
        except NoSuchRange as error:
            raise HTTPError(400, str(error).replace("%", "%%")) from error


class BoxHandler(_Handler):
    """GET /gpubox/api/box"""

    @authorized
    async def get(self) -> None:
        self.answer(self.monitor.box_now())


class _LinkHandler(_Handler):
    """A wish that is passed on to the hub's service, with the box's own token; its answer comes back."""

    @property
    def link(self) -> HubLink:
        if self.monitor.link is None:
            raise HTTPError(404, "This server is no machine of a hub that has notices.")
        return self.monitor.link

    def wish(self) -> dict[str, Any]:
        """The body. Raises HTTPError (400) where it is no JSON object."""
        try:
            told = json.loads(self.request.body or b"{}")
        except ValueError as error:
            raise HTTPError(400, "Expected a JSON object.") from error
        if not isinstance(told, dict):
            raise HTTPError(400, "Expected a JSON object.")
        return told

    def pass_on(self, answered: tuple[int, dict[str, Any]]) -> None:
        """Answer as the service did."""
        status, told = answered
        # Our own page would take a 401 or 403 for its own log-in's.
        self.set_status(409 if status in (401, 403) else status)
        self.answer(told)


class ExtendHandler(_LinkHandler):
    """POST /gpubox/api/machine/extend"""

    @authorized
    async def post(self) -> None:
        seconds = self.wish().get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            raise HTTPError(400, "seconds: by how much the machine is to run longer.")
        self.pass_on(await self.link.extend(seconds))


class KeepHandler(_LinkHandler):
    """POST /gpubox/api/machine/keep"""

    @authorized
    async def post(self) -> None:
        self.pass_on(await self.link.keep())


class CloseNoticeHandler(_LinkHandler):
    """POST /gpubox/api/notices/{id}/close"""

    @authorized
    async def post(self, notice: str) -> None:
        self.pass_on(await self.link.close(int(notice)))


class TemplatesHandler(_LinkHandler):
    """GET /gpubox/api/templates"""

    @authorized
    async def get(self) -> None:
        self.pass_on(await self.link.templates())


class SaveHandler(_LinkHandler):
    """POST /gpubox/api/templates/save"""

    @authorized
    async def post(self) -> None:
        told = self.wish()
        name, note = told.get("name"), told.get("note", "")
        if not isinstance(name, str) or not isinstance(note, str):
            raise HTTPError(400, "name: what the template is to be called; note: what it is for.")
        self.pass_on(await self.link.save(name, note))


class CancelSaveHandler(_LinkHandler):
    """POST /gpubox/api/templates/cancel"""

    @authorized
    async def post(self) -> None:
        save = self.wish().get("save")
        if not isinstance(save, str):
            raise HTTPError(400, "save: which one is to end.")
        self.pass_on(await self.link.cancel_save(save))


class OpenAPIHandler(_Handler):
    """GET /gpubox/api/openapi.json"""

    @authorized
    async def get(self) -> None:
        self.answer(files(__package__).joinpath("openapi.json").read_text())


class StreamHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """The WebSocket /gpubox/api/stream: one a page."""

    auth_resource = RESOURCE
    # configurable-http-proxy counts a ping as activity: an idle server would never be culled.
    ping_interval = 0

    def initialize(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._watch: Watch | None = None
        self._deaf: Callable[[], None] = lambda: None

    @property
    def max_message_size(self) -> int:
        return _LONGEST_MESSAGE_BYTES

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        if not await ensure_async(self.authorizer.is_authorized(self, self.current_user, "read", RESOURCE)):
            raise HTTPError(403, "You may not see the GPUs of this server.")
        await super().get(*args, **kwargs)

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Watch, greet, and send every frame from here on."""
        super().open(*args, **kwargs)
        self._last_write: Any = None
        self._watch = self.monitor.sampler.watch()
        self._deaf = self.monitor.listen(self._send)
        for frame in self.monitor.greeting():
            self._send(frame)

    def _send(self, frame: str) -> None:
        # A browser that does not keep up gets no ticks meanwhile: they would pile up in memory.
        if (
            frame.startswith('{"type":"tick"')
            and self._last_write is not None
            and not self._last_write.done()
        ):
            return
        try:
            self._last_write = self.write_message(frame)
        except WebSocketClosedError:
            self.on_close()

    def on_message(self, message: str | bytes) -> None:
        """``{"links": true}`` or ``false``; anything else is ignored."""
        try:
            asked = json.loads(message)
        except ValueError:
            return
        if self._watch is not None and isinstance(asked, dict) and isinstance(asked.get("links"), bool):
            self._watch.links = asked["links"]

    def on_close(self) -> None:
        """Watch no longer."""
        self._deaf()
        if self._watch is not None:
            self._watch.close()


ROUTES = {
    "gpus": GPUsHandler,
    "history": HistoryHandler,
    "processes": ProcessesHandler,
    "box": BoxHandler,
    r"openapi\.json": OpenAPIHandler,
    "stream": StreamHandler,
    "machine/extend": ExtendHandler,
    "machine/keep": KeepHandler,
    r"notices/(\d{1,15})/close": CloseNoticeHandler,
    "templates": TemplatesHandler,
    "templates/save": SaveHandler,
    "templates/cancel": CancelSaveHandler,
}


def handlers(base_url: str, monitor: Monitor) -> list[tuple[str, type, dict[str, Any]]]:
    """All routes, for `web_app.add_handlers`."""
    return [
        (url_path_join(base_url, "gpubox/api", path), handler, {"monitor": monitor})
        for path, handler in ROUTES.items()
    ]
