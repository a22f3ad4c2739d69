"""The service's pages and API over a state of the test's own, with no hub behind: for labs that no test could
fill (100 GPUs, 1,000 in line, a GPU that is lost), and for pictures.

Who looks is told by the cookie ``as``; what the hub is asked to do is written down in ``asked``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jupyterhub._data import DATA_FILES_PATH
from playwright.sync_api import Page
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, StaticFileHandler, url

import gpubox
from gpubox import db as tables
from gpubox.service import api, keys, pages, templates
from gpubox.service.app import Service
from gpubox.service.live import Live
from gpubox.service.viewer import Audience, Viewer

PREFIX = "/services/gpubox/"
PHONE = {"width": 390, "height": 844}
# How much the words of an element stand out from what is behind them (WCAG 2.2, 1.4.3: 4.5 or more).
CONTRAST = """
element => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => {
    canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (parts) => parts.map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = [];
  for (let one = element; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
  let under = "white";
  for (const colour of behind) under = `rgb(${rgb(colour, under)})`;
  const [ink, paper] = [light(rgb(getComputedStyle(element).color, under)), light(rgb(under, under))];
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}
"""
LOOK = [str(Path(gpubox.__file__).parent / "templates")]


class Actor:
    """In the place of the hub: takes every wish, and answers when the test lets it.

    ``answers`` makes an answer of the fields of a wish; to all others it has none.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Callable[..., dict[str, Any]]] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()

    async def do(self, what: str, **fields: Any) -> dict[str, Any]:
        self.asked.append((what, fields))
        while not self.may_answer.is_set():
            await asyncio.sleep(0.02)
        return self.answers[what](**fields) if what in self.answers else {}


class OnStage:
    """Mixed into the service's handlers: a cookie's word for who looks."""

    hub_auth = SimpleNamespace(hub_prefix="/hub/")
    xsrf_token = b"xsrf"

    async def prepare(self) -> None:
        name = self.get_cookie("as", "alice")
        groups = frozenset({"students", "vision"})
        self.viewer = Viewer(name, Audience(manages_all=name == "admin"), may_save=True, groups=groups)

    def check_xsrf_cookie(self) -> None:
        pass


class Answers(OnStage, api.APIHandler):
    """Routes that the test answers: `Stage.answers`."""

    async def get(self, path: str) -> None:
        stage: Stage = self.service.stage
        stage.got.append(self.request.uri)
        told = stage.answers[path]
        told = told(self) if callable(told) else told
        if isinstance(told, int):
            self.answer({"message": f"No {path} today."}, told)
        elif told is not None:
            self.answer(told)

    async def post(self, path: str) -> None:
        self.service.stage.posted.append((path, self.request.body.decode()))
        self.answer({})


class Stage:
    """Serves on a port of its own from `open` until `close`, in a thread."""

    def __init__(self) -> None:
        self.hub = Actor()
        self.answers: dict[str, Any | Callable[[RequestHandler], Any]] = {}
        self.got: list[str] = []
        self.posted: list[tuple[str, str]] = []
        self.reset()

    def reset(self) -> None:
        """Forget what was asked, and answer as a service that has nothing to tell."""
        self.hub.asked.clear()
        self.hub.answers.clear()
        self.hub.may_answer.set()
        self.got.clear()
        self.posted.clear()
        self.answers |= {"history": 404, "usage": 404, "budgets": {"budgets": []}}
        self.answers |= {"rules": {"rules": []}, "notices": {"notices": []}}

    def open(self) -> Stage:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(30)
        return self

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    def show(self, state: dict[str, Any], figures: dict[str, Any] | None = None) -> None:
        """The hub's state from now on; pages that are open are told."""
        done = threading.Event()

        def take() -> None:
            self.live._take(state)
            if figures is not None:
                self.live.set_figures(figures)
            done.set()

        self._loop.call_soon_threadsafe(take)
        assert done.wait(30)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.live = Live(self.hub)  # type: ignore[arg-type]
        settings: dict[str, Any] = {"options": {}, "announcement": "", "template_paths": LOOK, "rules": []}
        settings["ssh"] = {"host_key_file": "/nowhere/key"}
        settings["database_url"] = "sqlite://"
        service = Service(PREFIX, settings, self.live)
        service.stage = self  # type: ignore[attr-defined]
        shared = {"service": service}
        routes: list[Any] = [url(rf"{PREFIX}api/(history|usage|budgets|rules|notices)", Answers, shared)]
        routes += [url(rf"{PREFIX}api/(notices/\d+/close|leases/\d+/ask)", Answers, shared)]
        # Keys are kept as ever, in a database of this stage alone.
        tables.metadata.create_all(service.ledger)
        for path, handler in [*pages.ROUTES, *api.ROUTES, *keys.ROUTES, *templates.ROUTES]:
            staged = type(handler.__name__, (OnStage, handler), {})
            routes.append(url(rf"{PREFIX}{path}", staged, shared))
        routes.append(url(rf"{PREFIX}static/(.*)", pages.Static, {"path": str(pages.STATIC)}))
        static = str(Path(DATA_FILES_PATH) / "static")
        routes.append(url(r"/hub/static/(.*)", StaticFileHandler, {"path": static}))
        server = HTTPServer(Application(routes))
        (socket, *_) = sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}{PREFIX}"
        ready.set()
        await self._end.wait()
        server.stop()
        await server.close_all_connections()


def fits(page: Page) -> bool:
    """Whether nothing of the page is beside the screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
