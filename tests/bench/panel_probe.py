"""A server extension for bench_panel: /bench/calls tells this process's NVML calls and CPU seconds."""

from __future__ import annotations

import time
from typing import Any

import tornado.web
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join

from simgpu.library import calls


class CallsHandler(APIHandler):
    """GET /bench/calls"""

    @tornado.web.authenticated
    def get(self) -> None:
        self.finish({"calls": calls(), "cpu_seconds": time.process_time()})


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "bench.panel_probe"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    route = url_path_join(serverapp.base_url, "bench/calls")
    serverapp.web_app.add_handlers(".*$", [(route, CallsHandler)])
