"""The service, put together: what it has once, and its routes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlparse

from jinja2 import Environment
from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler
from tornado.web import Application, RequestHandler, url

from ..control.client import HubClient
from ..db import connect
from ..rules import parse_rules
from ..ssh.settings import GPUSSH
from . import activities, api, bill, boxes, keys, metrics, pages, templates
from . import view as views
from .broadcast import Broadcast
from .live import Live
from .rounds import Rounds
from .settings import GPUService
from .viewer import Viewer

log = logging.getLogger(__name__)


# What openapi.json describes.
_TOPICS = (api, bill, activities, boxes, keys, metrics, templates)
API_ROUTES = [route for topic in _TOPICS for route in topic.ROUTES]


class Service:
    """What every route of one service process shares. ``rounds`` is what runs beside them: see `serve`."""

    rounds: Rounds

    def __init__(self, prefix: str, settings: Mapping[str, Any], live: Live) -> None:
        options: dict[str, Any] = settings["options"]
        self.prefix = prefix
        self.options = GPUService(**options)
        self.ssh = GPUSSH(**settings["ssh"])
        self.names = self.options.names == "everyone"
        self.announcement: str = settings["announcement"]
        self.templates: Environment = pages.environment(settings["template_paths"])
        self.rules = parse_rules(settings["rules"])
        # Read alone, but for the service's own tables; the hub has made them by now.
        self.ledger = connect(settings["database_url"])
        self.live = live
        self.broadcast = Broadcast(live, names=self.names)

    def told(self, viewer: Viewer, *, whole_line: bool = False) -> dict[str, Any]:
        """All that a viewer may know now: what api/state answers, and what the GPUs page begins with."""
        state = self.live.state
        return {
            "viewer": {
                "name": viewer.name,
                "is_admin": viewer.is_admin,
                "groups_managed": sorted(viewer.audience.groups),
            },
            "hub_answers": self.live.hub_answers,
            **views.view(state, viewer.audience, names=self.names, whole_line=whole_line),
            "mine": views.mine(state, viewer),
            "figures": self.live.figures,
        }


class HealthHandler(RequestHandler):
    """GET health: that this process serves, for whoever watches it; it tells nothing else."""

    async def get(self) -> None:
        self.finish({})


class CallbackHandler(HubOAuthCallbackHandler):
    """Where the hub sends people back after the log-in."""


def application(service: Service, cookie_secret: bytes) -> Application:
    """All routes below the service's prefix."""
    prefix = service.prefix
    shared = {"service": service}
    routes: list[Any] = [
        url(rf"{prefix}{path}", handler, shared) for path, handler in [*pages.ROUTES, *API_ROUTES]
    ]
    routes += [
        url(rf"{prefix}health", HealthHandler),
        url(rf"{prefix}oauth_callback", CallbackHandler),
        url(rf"{prefix}static/(.*)", pages.Static, {"path": str(pages.STATIC)}),
        url(rf"{prefix}api/.*", api.NothingHandler, shared),
        url(rf"{prefix}.*", pages.NothingPage, shared),
    ]
    return Application(routes, cookie_secret=cookie_secret, log_function=_log)


def _log(handler: RequestHandler) -> None:
    if handler.get_status() >= 500:
        log.error("%d %s %s", handler.get_status(), handler.request.method, handler.request.path)


async def serve(environment: Mapping[str, str] = os.environ) -> None:
    """Serve until cancelled, as JupyterHub's environment of a managed service says."""
    # JupyterHub keeps a service's token over the service's restarts: cookies stay good as long.
    cookie_secret = hashlib.sha256(b"cookies" + environment["JUPYTERHUB_API_TOKEN"].encode()).digest()
    where = urlparse(environment["JUPYTERHUB_SERVICE_URL"])
    HubOAuth.instance()
    async with HubClient() as hub:
        live = Live(hub)
        service = Service(environment["JUPYTERHUB_SERVICE_PREFIX"], await hub.settings(), live)
        service.rounds = Rounds(live, service.ledger, service.options, service.rules, environment)
        await service.rounds.open()
        server = application(service, cookie_secret).listen(where.port or 80, where.hostname or "")
        try:
            await service.rounds.run()
        finally:
            server.stop()


def run() -> None:
    """Serve until the process is asked to end (SIGINT, SIGTERM)."""

    async def until_asked() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await serve()

    asyncio.run(until_asked())
