"""What an admin configures of the service: `c.GPUService` in the hub's config.

The hub's process reads the config, once; the service asks it for these (``control``, /settings), so that
no config file is run twice.
"""

from __future__ import annotations

from typing import Any

from traitlets import Enum, Float
from traitlets.config import Configurable

SERVICE = "gpubox"
"""The service's name at the hub: its pages are at /services/gpubox/."""

ACCESS = f"access:services!service={SERVICE}"
"""The scope of those who may use the service at all: everybody who may log in."""

HUB_ADMIN = "admin-ui"
"""A scope that hub admins have; the service asks for it to know them by."""

MANAGE = "custom:gpubox:manage"
"""The scope of those who manage; with ``!group=students`` they manage that group's leases alone."""


class GPUService(Configurable):
    """Options of the hub's pages and of what runs with them."""

    names = Enum(
        ("everyone", "admins"),
        "everyone",
        help="""Who sees the names of those who hold and wait: ``everyone``, or the ``admins`` alone; others
        then see "someone". Example::

            c.GPUService.names = "admins"
        """,
    ).tag(config=True)

    sample_seconds = Float(
        5.0,
        min=1,
        help="""Seconds between two readings of the GPUs' utilisation, memory and temperature. They feed the
        GPUs page, the day's history, the idle hours of the bill and the culler. Example::

            c.GPUService.sample_seconds = 15
        """,
    ).tag(config=True)

    def as_dict(self) -> dict[str, Any]:
        """All options by name, as JSON takes them."""
        return {name: getattr(self, name) for name in self.trait_names(config=True)}
