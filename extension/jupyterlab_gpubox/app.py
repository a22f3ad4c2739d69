"""The server extension: its options, and what is put together when Jupyter Server loads it.

Loading it opens no driver and starts no thread. `c.GPUPanel` in jupyter_server_config.py configures it.
"""

from __future__ import annotations

import atexit
import os
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import prometheus_client
from traitlets import Bool, Float, default
from traitlets.config import LoggingConfigurable

from . import activity
from .box import find_box
from .desktop.fastlane_routes import fast_lane_handlers
from .desktop.routes import handlers as desktop_handlers
from .hub_link import find_link
from .jupyter_processes import known_processes
from .life import ignore_polls, life_of
from .metrics import GPUCollector
from .monitor import Monitor
from .pages import page_handlers
from .routes import handlers
from .sampler import Intervals, Sampler
from .ssh import routes as ssh

if TYPE_CHECKING:
    from .desktop.desk import Desk


class GPUPanel(LoggingConfigurable):
    """Options of the GPU panel's server side."""

    core_seconds = Float(
        1.0,
        min=0.2,
        help="""Seconds between readings of utilisation, memory, power, temperature and clock while a page
        watches. No page can ask for less. Example, for a slow driver::

            c.GPUPanel.core_seconds = 2
        """,
    ).tag(config=True)

    process_seconds = Float(
        5.0,
        min=1,
        help="""Seconds between readings of the process list, which takes a driver about 5 ms a GPU. Example::

            c.GPUPanel.process_seconds = 10
        """,
    ).tag(config=True)

    health_seconds = Float(
        30.0,
        min=1,
        help="""Seconds between readings of what seldom changes: ECC errors, Xid, throttle reasons, retired
        pages, power limit, MIG slices. Example::

            c.GPUPanel.health_seconds = 60
        """,
    ).tag(config=True)

    unwatched_seconds = Float(
        10.0,
        min=1,
        help="""Seconds between readings while no page watches. Example::

            c.GPUPanel.unwatched_seconds = 30
        """,
    ).tag(config=True)

    close_after_seconds = Float(
        120.0,
        min=0,
        help="""Seconds without a watching page after which the driver is let go: a laptop's GPU cannot sleep
        while a program has it open. Where GPU work counts as activity the driver stays open. Example::

            c.GPUPanel.close_after_seconds = 30
        """,
    ).tag(config=True)

    count_as_activity = Bool(
        help="""Whether GPU work counts as activity of the server, so that training with no browser open
        is not culled. By default where somebody culls: in a server of a JupyterHub, and with
        ``c.ServerApp.shutdown_no_activity_timeout``. Example::

            c.GPUPanel.count_as_activity = False
        """,
    ).tag(config=True)

    activity_percent = Float(
        5.0,
        min=0.1,
        max=100,
        help="""The utilisation from which a GPU counts as at work. Example::

            c.GPUPanel.activity_percent = 20
        """,
    ).tag(config=True)

    @default("count_as_activity")
    def _somebody_culls(self) -> bool:
        time_out: float = getattr(self.parent, "shutdown_no_activity_timeout", 0)
        return "JUPYTERHUB_SERVICE_PREFIX" in os.environ or time_out > 0

    @property
    def intervals(self) -> Intervals:
        """The options as the sampler takes them."""
        return Intervals(
            core_seconds=self.core_seconds,
            process_seconds=self.process_seconds,
            health_seconds=self.health_seconds,
            # Who sets a slow tick for pages wants none that is faster without them.
            idle_seconds=max(self.unwatched_seconds, self.core_seconds),
            close_after_seconds=float("inf") if self.count_as_activity else self.close_after_seconds,
        )


def load(serverapp: Any) -> Monitor:
    """Add the routes, the metrics and the activity to a Jupyter server."""
    options = GPUPanel(parent=serverapp)
    settings = serverapp.web_app.settings

    def mark_active(when: datetime) -> None:
        settings[activity.SETTING] = when

    @cache
    def desk() -> Desk:
        from .desktop.desk import Desk

        return Desk(settings, serverapp.log)

    sampler = Sampler(options.intervals)
    atexit.register(sampler.stop)
    monitor = Monitor(
        sampler,
        box=find_box(),
        known=lambda: known_processes(serverapp),
        activity_percent=options.activity_percent if options.count_as_activity else None,
        mark_active=mark_active,
    )
    serverapp.web_app.add_handlers(".*$", handlers(serverapp.base_url, monitor))
    serverapp.web_app.add_handlers(".*$", desktop_handlers(serverapp.base_url, desk))
    serverapp.web_app.add_handlers(".*$", fast_lane_handlers(serverapp.base_url, desk))
    serverapp.web_app.add_handlers(".*$", page_handlers(serverapp.base_url))
    serverapp.web_app.add_handlers(".*$", ssh.handlers(serverapp.base_url, settings))
    prometheus_client.REGISTRY.register(GPUCollector(monitor.scraped))
    if options.count_as_activity:
        serverapp.io_loop.add_callback(monitor.start)
    monitor.link = find_link(monitor.box, tell=monitor.tell, life=lambda: life_of(serverapp))
    if monitor.link is not None:
        ignore_polls(serverapp.kernel_manager)
        serverapp.io_loop.add_callback(monitor.link.start)
    return monitor
