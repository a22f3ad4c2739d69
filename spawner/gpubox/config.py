"""gpubox's defaults for a hub's config: one call in jupyterhub_config.py.

What is set here is plumbing that fits together (state directory, pages, network, names); what a
lab decides for itself stands in jupyterhub_config.py. Whatever is set after the call wins.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from jupyterhub.app import JupyterHub

from . import pages, paths
from .host import HostProblem
from .host.admin import admin_password
from .hub import open_with
from .service.settings import ACCESS, HUB_ADMIN, MANAGE, SERVICE, TEMPLATES
from .ssh.settings import SSH_SERVICE

NETWORK = "gpubox"


def configure(c: Any, engine: str = "docker") -> None:
    """Set gpubox's defaults on the config object ``c``, for servers run by ``engine``.

    ``engine`` is ``docker`` or ``process``. Talks to the container engine once, to make sure of
    the network that servers live in. Raises SystemExit with a sentence for the admin where the
    hub could not work: another engine's name, an engine that does not answer.
    """
    if engine not in ("docker", "process"):
        raise SystemExit(f"ENGINE={engine}: expected 'docker' or 'process'.")
    if JupyterHub.initialized():
        open_with(JupyterHub.instance())
    state = paths.state_dir()
    c.JupyterHub.spawner_class = f"gpubox-{engine}"
    c.JupyterHub.template_paths = [pages.TEMPLATES]
    if announcement := os.environ.get("GPUBOX_ANNOUNCEMENT"):
        c.JupyterHub.template_vars = {"announcement": announcement}
    _listen(c, int(os.environ.get("GPUBOX_PORT", "8000")))
    _keep_state_in(c, state)
    _let_waiting_wait(c)
    _let_the_admin_in(c)
    host = "127.0.0.1"
    if engine == "docker":
        # Boxes ask the service, too: it listens where they reach the hub.
        host = _run_in_docker(c)
    else:
        _run_as_processes(c)
    add_service(c, f"http://{host}:{int(os.environ.get('GPUBOX_PORT', '8000')) + 82}")
    add_ssh(c, int(os.environ.get("GPUBOX_PORT", "8000")))


def add_service(c: Any, url: str) -> None:
    """Add the service `gpubox` (pages, API, culler, notices), which listens at ``url``, and its rights."""
    c.JupyterHub.services = [
        {
            "name": SERVICE,
            "url": url,
            "command": [sys.executable, "-m", "gpubox.service"],
            "environment": {"GPUBOX_DIR": str(paths.state_dir())},
            # Part of the hub: nobody is asked whether it may know who they are.
            "oauth_no_confirm": True,
            "oauth_client_allowed_scopes": [ACCESS, MANAGE, TEMPLATES, HUB_ADMIN],
        }
    ]
    c.JupyterHub.custom_scopes = {
        MANAGE: {"description": "Manage the GPU machines of others: see, end and extend them"},
        TEMPLATES: {"description": "Save machines as templates, share and change them"},
    }
    c.JupyterHub.load_roles = [
        {
            "name": "gpubox-service",
            "description": "See who is idle, and stop those servers",
            "services": [SERVICE],
            "scopes": [
                *("list:users", "read:users:activity", "read:servers"),
                *("admin:server_state", "delete:servers"),
            ],
        }
    ]
    c.JupyterHub.extra_user_scopes = {ACCESS, TEMPLATES}
    # What a box asks the service, it asks as its user.
    c.Spawner.server_token_scopes = ["users:activity!user", "access:servers!server", ACCESS, TEMPLATES]


def add_ssh(c: Any, hub_port: int) -> None:
    """Add the SSH gateway (``c.GPUSSH``) and its rights; call it after `add_service`."""
    if hub_port != 8000:
        c.GPUSSH.port = (hub_port + 83) % 65536  # two hubs can run
    c.JupyterHub.services.append(
        {
            "name": SSH_SERVICE,
            "command": [sys.executable, "-m", "gpubox.ssh"],
            "environment": {"GPUBOX_DIR": str(paths.state_dir())},
            "display": False,
        }
    )
    c.JupyterHub.load_roles.append(
        {
            "name": "gpubox-ssh-service",
            "description": "Start the servers of those who log in by SSH, and give a place in line up",
            "services": [SSH_SERVICE],
            "scopes": ["start:servers", "read:servers", "delete:servers"],
        }
    )


def _listen(c: Any, port: int) -> None:
    # JupyterHub's own ports beside the default one; moved along, so that two hubs can run.
    c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
    c.JupyterHub.hub_port = port + 81
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 1}"


def _keep_state_in(c: Any, state: Any) -> None:
    c.JupyterHub.db_url = f"sqlite:///{state / 'jupyterhub.sqlite'}"
    c.JupyterHub.cookie_secret_file = str(state / "jupyterhub_cookie_secret")
    c.ConfigurableHTTPProxy.pid_file = str(state / "jupyterhub-proxy.pid")
    c.GPUHub.database_url = f"sqlite:///{state / 'gpubox.sqlite'}"


def _let_waiting_wait(c: Any) -> None:
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.named_server_limit_per_user = 10
    # A restart of the hub leaves servers running, and the line as it was.
    c.JupyterHub.cleanup_servers = False
    # A server whose start was cut short asks the hub before it answers; the hub must not wait for it.
    c.JupyterHub.init_spawners_timeout = 1
    # People in line count as spawning: a limit here would turn the 101st away.
    c.JupyterHub.concurrent_spawn_limit = 0
    # The waiting page takes over after this many seconds, without a warning in the log.
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    c.Spawner.start_timeout = 120


def _let_the_admin_in(c: Any) -> None:
    # JupyterHub's own authenticator with one password, of the admin alone: nobody else gets in
    # until the lab chooses how (jupyterhub_config.py shows PAM, OAuth and sign-up).
    c.JupyterHub.authenticator_class = "shared-password"
    # Named on its class alone: with another authenticator the lab says who is admin.
    c.SharedPasswordAuthenticator.admin_users = {"admin"}
    c.SharedPasswordAuthenticator.allowed_users = {"admin"}
    c.SharedPasswordAuthenticator.admin_password = admin_password()


def _run_in_docker(c: Any) -> str:
    """Returns the address at which boxes reach this machine."""
    from .host.engine import connect
    from .host.network import ensure_network

    try:
        gateway = ensure_network(connect(), NETWORK)
    except HostProblem as error:
        raise SystemExit(str(error)) from error
    c.JupyterHub.hub_ip = gateway
    c.DockerSpawner.network_name = NETWORK
    c.DockerSpawner.use_internal_ip = True
    c.DockerSpawner.remove = True
    return gateway


def _run_as_processes(c: Any) -> None:
    c.ProcessGPUSpawner.create_accounts = os.geteuid() == 0
    c.ProcessGPUSpawner.account_template = "gpubox-{username}" if os.geteuid() == 0 else _own_name()
    c.Spawner.notebook_dir = "~"


def _own_name() -> str:
    """The account that runs the hub: with no root rights, servers can run as no other."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
