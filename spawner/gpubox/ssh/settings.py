"""What an admin configures of the SSH gateway: `c.GPUSSH` in the hub's config.

The hub's process reads the config; gateway and pages ask it for these, as the service does for its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from traitlets import Float, Integer, Unicode, default
from traitlets.config import Configurable

from .. import paths

SSH_SERVICE = "gpubox-ssh"
"""The gateway's name among the hub's services; it has no address of the hub's."""


class GPUSSH(Configurable):
    """Options of the SSH gateway."""

    ip = Unicode(
        "127.0.0.1",
        help="""The address that the gateway listens at: this machine alone, until you open it. Empty for all
        addresses of this machine. Example::

            c.GPUSSH.ip = "0.0.0.0"
        """,
    ).tag(config=True)

    port = Integer(
        2222,
        min=0,
        max=65535,
        help="""The gateway's port; 0 for no gateway. Example::

            c.GPUSSH.port = 22
        """,
    ).tag(config=True)

    host = Unicode(
        help="""The name by which people reach the gateway, for the commands that the pages show; empty for
        the name by which they reach the page. Example::

            c.GPUSSH.host = "ssh.hub.example.org"
        """,
    ).tag(config=True)

    public_port = Integer(
        0,
        min=0,
        max=65535,
        help="""The port by which people reach the gateway, for the same commands, where something in front of
        it passes another port on; 0 for ``port``. Example::

            c.GPUSSH.public_port = 22
        """,
    ).tag(config=True)

    host_key_file = Unicode(
        help="""The gateway's private host key, by which people's clients know it again. Made where it is
        missing (Ed25519, mode 600), and kept. Default: ``ssh_host_ed25519_key`` in the state directory.
        Example::

            c.GPUSSH.host_key_file = "/etc/gpubox/ssh_host_ed25519_key"
        """,
    ).tag(config=True)

    login_seconds = Float(
        120.0,
        min=5,
        help="""Seconds in which somebody has to say who they are. Waiting for a machine does not count.
        Example::

            c.GPUSSH.login_seconds = 60
        """,
    ).tag(config=True)

    max_failures = Integer(
        20,
        min=1,
        help="""How many failed logins an address may have, and how many wrong tokens a user, within
        ``failure_seconds``. Beyond it the address is turned away, and no token is taken for the user (keys
        are). A connection whose keys are all unknown is one failure, however many they are. Example::

            c.GPUSSH.max_failures = 5
        """,
    ).tag(config=True)

    failure_seconds = Float(
        600.0,
        min=1,
        help="""For how long a failed login counts. Example::

            c.GPUSSH.failure_seconds = 3600
        """,
    ).tag(config=True)

    max_unknown = Integer(
        100,
        min=1,
        help="""How many connections there may be at once of which nobody knows yet who they are; a fifth of
        them from one address. Example::

            c.GPUSSH.max_unknown = 30
        """,
    ).tag(config=True)

    @default("host_key_file")
    def _default_host_key_file(self) -> str:
        return str(paths.state_dir() / "ssh_host_ed25519_key")

    @property
    def fingerprint(self) -> str:
        """The host key's fingerprint, for people to check; empty as long as there is no key."""
        try:
            return Path(f"{self.host_key_file}.fingerprint").read_text().strip()
        except OSError:
            return ""

    @property
    def shown_port(self) -> int:
        """The port in the commands that are shown; 0 where there is no gateway."""
        return self.public_port or self.port if self.port else 0

    def as_dict(self) -> dict[str, Any]:
        """All options by name, as JSON takes them."""
        return {name: getattr(self, name) for name in self.trait_names(config=True)}
