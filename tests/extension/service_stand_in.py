"""A stand-in for the hub's service, as far as a box speaks with it: what it says and hears is the test's."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

TOKEN = "the-box's-own"


class StandInService:
    """Listens on ``url`` between `start` and `stop`, on the same port each time."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.open: list[tuple[str, dict[str, Any]]] = []
        self.saves: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.streams: set[EventsHandler] = set()
        self.tokens: list[str] = []
        self.refused = 0
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/services/gpubox/"

    def start(self) -> StandInService:
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True).start()
        assert ready.wait(10)
        return self

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        prefix = "/services/gpubox/api"
        routes: list[Any] = [
            (rf"{prefix}/box/events", EventsHandler, {"service": self}),
            (rf"{prefix}/(.*)", WishHandler, {"service": self}),
        ]
        server = HTTPServer(Application(routes, log_function=lambda handler: None))
        sockets = bind_sockets(self._port, "127.0.0.1")
        self._port = sockets[0].getsockname()[1]
        server.add_sockets(sockets)
        ready.set()
        await self._over.wait()
        server.stop()
        for stream in list(self.streams):
            stream.over.set()
        await server.close_all_connections()

    def stop(self) -> None:
        """Go away in the middle of everything."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)

    def say(self, event: str, **told: Any) -> None:
        """Send all boxes an event; who comes later gets it first."""
        if event == "closed":
            self.open = [(one, body) for one, body in self.open if body["id"] != told["id"]]
        else:
            self.open.append((event, told))
        self.send(event, **told)

    def save(self, *saves: dict[str, Any]) -> None:
        """These are the saves of the machine from now on."""
        self.saves = list(saves)
        self.send("saves", saves=self.saves)

    def send(self, event: str, **told: Any) -> None:
        """Send all boxes an event."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(lambda: [stream.send(event, told) for stream in self.streams])

    def of(self, path: str) -> list[dict[str, Any]]:
        """The bodies of what was asked at a path."""
        return [body for asked, body in self.heard if asked == path]


class EventsHandler(RequestHandler):
    def initialize(self, service: StandInService) -> None:
        self.service, self.over = service, asyncio.Event()

    async def get(self) -> None:
        self.service.tokens.append(self.request.headers.get("Authorization", ""))
        if self.request.headers.get("Authorization") != f"token {TOKEN}":
            self.service.refused += 1
            self.set_status(403)
            self.finish({"message": "no"})
            return
        self.service.heard.append(("box/events", {"server": self.get_query_argument("server")}))
        self.set_header("Content-Type", "text/event-stream")
        self.service.streams.add(self)
        self.send("saves", {"saves": self.service.saves})
        for kind, told in self.service.open:
            self.send(kind, told)
        await self.flush()
        try:
            await self.over.wait()
        finally:
            self.service.streams.discard(self)

    def send(self, kind: str, told: dict[str, Any]) -> None:
        self.write(f"event: {kind}\ndata: {json.dumps(told)}\n\n: a comment\n\n")
        self.flush()

    def on_connection_close(self) -> None:
        self.over.set()


class WishHandler(RequestHandler):
    def initialize(self, service: StandInService) -> None:
        self.service = service

    def get(self, path: str) -> None:
        self.answer(path, {})

    def post(self, path: str) -> None:
        self.answer(path, json.loads(self.request.body))

    def answer(self, path: str, body: dict[str, Any]) -> None:
        if self.request.headers.get("Authorization") != f"token {TOKEN}":
            self.service.refused += 1
            self.set_status(403)
            self.finish({"message": "no"})
            return
        self.service.heard.append((path, body))
        status, told = self.service.answers.get(path, (200, {}))
        self.set_status(status)
        self.finish(told)
