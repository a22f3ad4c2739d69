"""A stand-in for the server half of the desktop: its routes in a Jupyter server, over `rfb_stand_in`.

PUT what is to be to /gpubox/desktop-stand-in; GET tells what came in.

- ``desktop``: parts of what GET /gpubox/api/desktop says
- ``held``: a new stream gets no picture until it is false
- ``drop``: close every stream now with that code, and ``reason``; ``refuse``: close each new one so
- ``copy``: somebody copies that on the desktop; ``open``: somebody clicks the icon for that
"""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, authenticated
from tornado.websocket import WebSocketHandler

from extension.rfb_stand_in import Connection, Message, Screen
from jupyterlab_gpubox.pages import page_handlers

ON = {
    "state": "on",
    "message": "",
    "phase": "",
    "renderer": {"name": "llvmpipe (LLVM 19)", "is_hardware": False},
    "viewers": 0,
    "fast_lane": False,
}


class Desktop:
    """The one desktop."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.told: dict[str, Any] = dict(ON)
        self.screen = Screen()
        self.said: list[Message] = []
        self.streams: list[Stream] = []
        self.controls: list[Control] = []
        self.controller = ""
        self.refuse: dict[str, Any] | None = None
        self.is_held = False
        self.opened = self.starts = 0

    def put(self, asked: dict[str, Any]) -> None:
        if asked.get("reset"):
            self.reset()
        self.refuse = asked.get("refuse", self.refuse)
        if "desktop" in asked:
            self.told |= asked["desktop"]
            self.tell({"type": "state", **self.told})
        if "held" in asked:
            self.is_held = asked["held"]
            for stream in self.streams:
                stream.begin()
        if "drop" in asked:
            self.drop(asked["drop"], asked.get("reason", ""))
        if "copy" in asked:
            self.screen.copy(asked["copy"])
        if "open" in asked:
            self.tell({"type": "open", "what": asked["open"]})

    def drop(self, code: int, reason: str) -> None:
        for stream in list(self.streams):
            assert stream.ws_connection is not None
            # 1006 is what a browser says of a connection that broke.
            stream.close(code, reason) if code != 1006 else stream.ws_connection._abort()

    def tell(self, frame: dict[str, Any]) -> None:
        for control in self.controls:
            control.say(frame)

    def take(self, viewer: str) -> None:
        self.controller = viewer
        self.tell_roles()

    def tell_roles(self) -> None:
        ids = [control.viewer for control in self.controls if not control.is_view_only]
        if self.controller not in ids:
            self.controller = ids[-1] if ids else ""
        for control in self.controls:
            controls = control.viewer == self.controller
            frame = {"controls": controls, "controller": "Ana", "viewers": len(self.controls)}
            control.say({"type": "role", **frame})


class _Socket(WebSocketMixin, WebSocketHandler, JupyterHandler):
    def initialize(self, desktop: Desktop) -> None:
        self.desktop = desktop
        self.viewer = self.get_query_argument("viewer")
        self.is_view_only = self.get_query_argument("view", "") == "1"

    async def get(self, *args: Any, **kwargs: Any) -> None:
        if not self.current_user:
            raise HTTPError(403)
        await super().get(*args, **kwargs)


class Stream(_Socket):
    """The pictures."""

    connection: Connection | None = None

    def open(self) -> None:
        self.desktop.opened += 1
        if self.desktop.refuse:
            self.close(self.desktop.refuse["code"], self.desktop.refuse["reason"])
            return
        self.desktop.streams.append(self)
        self.begin()

    def begin(self) -> None:
        if self.connection is None and not self.desktop.is_held:

            def send(data: bytes) -> None:
                if self.ws_connection is not None:
                    self.write_message(data, binary=True)

            self.connection = Connection(self.desktop.screen, send, self.desktop.said.append)

    def on_message(self, message: str | bytes) -> None:
        assert self.connection is not None and isinstance(message, bytes)
        self.connection.receive(message)

    def on_close(self) -> None:
        if self in self.desktop.streams:
            self.desktop.streams.remove(self)
        if self.connection is not None and self.connection in self.desktop.screen.connections:
            self.connection.close()


class Control(_Socket):
    """The JSON beside them."""

    def open(self) -> None:
        self.desktop.controls.append(self)
        self.say({"type": "state", **self.desktop.told})
        self.desktop.tell_roles()

    def say(self, frame: dict[str, Any]) -> None:
        if self.ws_connection is not None:
            self.write_message(json.dumps(frame))

    def on_message(self, message: str | bytes) -> None:
        if json.loads(message)["type"] == "take-control":
            self.desktop.take(self.viewer)

    def on_close(self) -> None:
        # It may be one of before a reset.
        if self in self.desktop.controls:
            self.desktop.controls.remove(self)
            self.desktop.tell_roles()


class State(APIHandler):
    """GET /gpubox/api/desktop, and POST to start it."""

    def initialize(self, desktop: Desktop) -> None:
        self.desktop = desktop

    @authenticated
    def get(self, *_: str) -> None:
        self.finish(json.dumps(self.desktop.told))

    @authenticated
    def post(self, *_: str) -> None:
        self.desktop.starts += 1
        self.desktop.refuse = None
        self.desktop.told |= ON
        self.get()


class Means(APIHandler):
    """How tests change what the desktop does, and see what came in."""

    def initialize(self, desktop: Desktop) -> None:
        self.desktop = desktop

    @authenticated
    def get(self) -> None:
        desktop = self.desktop
        size = [desktop.screen.width, desktop.screen.height]
        told = {"said": desktop.said, "size": size, "opened": desktop.opened, "starts": desktop.starts}
        self.finish(json.dumps({**told, "streams": len(desktop.streams)}))

    @authenticated
    def put(self) -> None:
        self.desktop.put(json.loads(self.request.body))
        self.finish("{}")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    base_url = server.web_app.settings["base_url"]
    options = {"desktop": Desktop()}

    def at(path: str) -> str:
        return url_path_join(base_url, path)

    server.web_app.add_handlers(
        ".*",
        [
            (at("gpubox/api/desktop/vnc"), Stream, options),
            (at("gpubox/api/desktop/control"), Control, options),
            (at("gpubox/api/desktop(/start|)"), State, options),
            (at("gpubox/desktop-stand-in"), Means, options),
            *page_handlers(base_url),
        ],
    )
