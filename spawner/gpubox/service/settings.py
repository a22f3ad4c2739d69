"""What an admin configures of the service: `c.GPUService` in the hub's config.

The hub's process reads the config, once; the service asks it for these (``control``, /settings), so that
no config file is run twice.
"""

from __future__ import annotations

from typing import Any

from traitlets import Enum, Float, Integer, List, Unicode
from traitlets.config import Configurable

SERVICE = "gpubox"
"""The service's name at the hub: its pages are at /services/gpubox/."""

ACCESS = f"access:services!service={SERVICE}"
"""The scope of those who may use the service at all: everybody who may log in."""

HUB_ADMIN = "admin-ui"
"""A scope that hub admins have; the service asks for it to know them by."""

MANAGE = "custom:gpubox:manage"
"""The scope of those who manage; with ``!group=students`` they manage that group's leases alone."""

TEMPLATES = "custom:gpubox:templates"
"""The scope of those who may save, share and change templates: everybody, unless the lab says otherwise."""

KINDS = ("free", "end", "idle", "budget", "lost", "ask")
"""The kinds of notices."""


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

    cull_seconds = Float(
        60.0,
        min=1,
        help="""Seconds between two looks for idle machines. After how long an idle machine is stopped is the
        machine type's. Example::

            c.GPUService.cull_seconds = 300
        """,
    ).tag(config=True)

    warn_seconds = Float(
        600.0,
        min=1,
        help="""Seconds between the notice that an idle machine will be stopped and the stop. Its user ends
        the countdown by using the machine, or with the notice's button. Example::

            c.GPUService.warn_seconds = 1800
        """,
    ).tag(config=True)

    busy_percent = Float(
        5.0,
        min=0,
        max=100,
        help="""The utilisation from which on a GPU counts as working; below, it is idle. Boxes have an option
        of the same meaning, ``c.GPUPanel.activity_percent``. Example::

            c.GPUService.busy_percent = 10
        """,
    ).tag(config=True)

    send_kinds = List(
        Enum(KINDS),
        list(KINDS),
        help="""Which notices also go out by webhook and e-mail: ``free`` (a machine that was waited for
        runs), ``end`` (a session ends), ``idle`` (an idle machine will be stopped), ``budget``, ``lost`` (a
        GPU fails) and ``ask`` (somebody asks for a machine). JupyterLab shows all of them. Example::

            c.GPUService.send_kinds = ["free", "idle", "budget"]
        """,
    ).tag(config=True)

    webhook_url = Unicode(
        help="""Where notices are posted: an incoming webhook of Slack, Mattermost or anything that takes JSON
        (``text``, ``kind``, ``user``, ``server``, ``due_at``). Example::

            c.GPUService.webhook_url = "https://chat.example.org/hooks/3q7x"
        """,
    ).tag(config=True)

    smtp_host = Unicode(
        help="""The mail server that sends notices to users; empty for no mail. Example::

            c.GPUService.smtp_host = "mail.example.org"
        """,
    ).tag(config=True)

    smtp_port = Integer(
        0,
        min=0,
        max=65535,
        help="""The mail server's port; 0 for the usual one of ``smtp_security``: 587, 465 or 25. Example::

            c.GPUService.smtp_port = 2525
        """,
    ).tag(config=True)

    smtp_security = Enum(
        ("starttls", "tls", "none"),
        "starttls",
        help="""How the way to the mail server is encrypted. Without it no password is sent. Example::

            c.GPUService.smtp_security = "tls"
        """,
    ).tag(config=True)

    smtp_user = Unicode(
        help="""The account at the mail server; empty where it asks for none. Example::

            c.GPUService.smtp_user = "gpubox"
        """,
    ).tag(config=True)

    smtp_password_file = Unicode(
        help="""The file with the account's password, which its owner alone may read (mode 600). Example::

            c.GPUService.smtp_password_file = "/etc/gpubox/smtp-password"
        """,
    ).tag(config=True)

    mail_from = Unicode(
        help="""The sender of mails. Example::

            c.GPUService.mail_from = "GPU machines <gpubox@example.org>"
        """,
    ).tag(config=True)

    mail_to = Unicode(
        help="""The address of a user; ``{username}`` is their name at the hub. Example::

            c.GPUService.mail_to = "{username}@example.org"
        """,
    ).tag(config=True)

    def as_dict(self) -> dict[str, Any]:
        """All options by name, as JSON takes them."""
        return {name: getattr(self, name) for name in self.trait_names(config=True)}
