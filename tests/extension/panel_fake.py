"""A fake of the panel's server: docs/panel-api.md with scripted figures, as a Jupyter server extension.

What it tells is a `Script`: PUT it (or parts of it) to /gpubox/fake. GET /gpubox/fake says who listens.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from typing import Any

from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, authenticated
from tornado.websocket import WebSocketHandler

COLUMNS = [
    "utilisation_percent",
    "memory_used_mib",
    "memory_utilisation_percent",
    "power_watts",
    "temperature_celsius",
    "clock_sm_mhz",
]
NO_GPU = {"vendor": "nvidia", "state": "none", "version": None, "cuda": None, "message": ""}


class Script:
    """What there is to be seen, and who looks. ``wave`` lets figures go up and down."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {
            "drivers": [NO_GPU],
            "gpus": [],
            "processes": [],
            "others": [],
            "message": "",
            "box": None,
            "wave": False,
            "core_seconds": 0.2,
        }
        if "GPUBOX_FAKE" in os.environ:
            self.told |= json.loads(os.environ["GPUBOX_FAKE"])
        self.streams: set[Stream] = set()
        self.opened = 0

    def gpus(self) -> dict[str, Any]:
        return {
            "time": time.time(),
            "drivers": self.told["drivers"],
            "columns": COLUMNS,
            "intervals": {"core_seconds": self.told["core_seconds"]},
            "gpus": self.told["gpus"],
            "unknown_field": {"of": "a later version"},
        }

    def processes(self) -> dict[str, Any]:
        return {"time": time.time(), **{key: self.told[key] for key in ("processes", "others", "message")}}

    def row(self, gpu: dict[str, Any], when: float) -> list[float | None]:
        row = [gpu["figures"].get(column) for column in COLUMNS]
        if not self.told["wave"]:
            return row
        total = gpu["memory_total_mib"] or 0
        phase = when / 47 + 1.7 * gpu["index"]
        busy = 60 + 38 * math.tanh(3 * math.sin(phase)) + 4 * math.sin(when * 2.1 + gpu["index"])
        share = (0.5 + 0.12 * gpu["index"] % 0.42) * (0.9 + 0.08 * math.tanh(4 * math.sin(phase - 0.4)))
        busy = min(100, max(0, round(busy)))
        waved = [busy, round(share * total), round(busy * 0.6), 90 + 6 * busy, 38 + busy / 4, 1980]
        return [None if value is None else new for value, new in zip(row, waved, strict=True)]

    def tick(self) -> dict[str, Any]:
        now = time.time()
        tick = {"type": "tick", "time": now, "values": [self.row(gpu, now) for gpu in self.told["gpus"]]}
        stale = {str(place): gpu["stale"] for place, gpu in enumerate(self.told["gpus"]) if gpu["stale"]}
        return {**tick, "stale": stale} if stale else tick

    def history(self, range_: str) -> dict[str, Any]:
        now = time.time()
        count, step = (600, 1) if range_ == "fine" else (1440, 60)
        times = [now - step * (count - place) for place in range(count)]
        rows = {gpu["id"]: [self.row(gpu, when) for when in times] for gpu in self.told["gpus"]}
        series = {
            gpu: {column: [row[place] for row in values] for place, column in enumerate(COLUMNS)}
            for gpu, values in rows.items()
        }
        peaks = {
            gpu: {COLUMNS[0]: [min(100, (value or 0) + 8) for value in columns[COLUMNS[0]]]}
            for gpu, columns in (series.items() if range_ == "coarse" else ())
        }
        return {"range": range_, "times": times, "columns": COLUMNS, "gpus": series, "peaks": peaks}

    def send(self, frame: dict[str, Any]) -> None:
        for stream in self.streams:
            stream.write_message(json.dumps(frame))

    def change(self, told: dict[str, Any]) -> None:
        self.told |= told
        if told.keys() & {"gpus", "drivers"}:
            self.send({"type": "gpus", **self.gpus()})
        if told.keys() & {"processes", "others", "message"}:
            self.send({"type": "processes", **self.processes()})

    async def run(self) -> None:
        while True:
            self.send(self.tick())
            await asyncio.sleep(self.told["core_seconds"])


class Answer(APIHandler):
    """GET of one of the resources."""

    def initialize(self, script: Script) -> None:
        self.script = script

    @authenticated
    def get(self, what: str) -> None:
        if what == "history":
            self.finish(json.dumps(self.script.history(self.get_argument("range", "fine"))))
        elif what == "gpus":
            self.finish(json.dumps(self.script.gpus()))
        elif what == "processes":
            self.finish(json.dumps(self.script.processes()))
        else:
            self.finish(json.dumps({"box": self.script.told["box"]}))


class Control(APIHandler):
    """How tests change what the fake tells, and see who listens."""

    def initialize(self, script: Script) -> None:
        self.script = script

    @authenticated
    def get(self) -> None:
        links = any(stream.links for stream in self.script.streams)
        told = {"streams": len(self.script.streams), "opened": self.script.opened, "links": links}
        self.finish(json.dumps(told))

    @authenticated
    def put(self) -> None:
        self.script.change(json.loads(self.request.body))
        self.finish("{}")


class Stream(WebSocketHandler, JupyterHandler):
    """The WebSocket."""

    links = False

    def initialize(self, script: Script) -> None:
        self.script = script

    async def get(self, *args: Any, **kwargs: Any) -> None:
        if not self.current_user:
            raise HTTPError(403)
        await super().get(*args, **kwargs)

    def open(self) -> None:
        self.script.streams.add(self)
        self.script.opened += 1
        self.write_message(json.dumps({"type": "gpus", **self.script.gpus()}))
        self.write_message(json.dumps({"type": "processes", **self.script.processes()}))

    def on_message(self, message: str | bytes) -> None:
        self.links = json.loads(message)["links"]

    def on_close(self) -> None:
        self.script.streams.discard(self)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    script = Script()

    def at(path: str) -> str:
        return url_path_join(server.web_app.settings["base_url"], path)

    options = {"script": script}
    server.web_app.add_handlers(
        ".*",
        [
            (at("gpubox/api/(gpus|history|processes|box)"), Answer, options),
            (at("gpubox/api/stream"), Stream, options),
            (at("gpubox/fake"), Control, options),
        ],
    )
    script.task = asyncio.get_event_loop().create_task(script.run())  # type: ignore[attr-defined]
