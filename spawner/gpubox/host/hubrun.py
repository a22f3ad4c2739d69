"""`gpubox run`: everything in place, the way in shown, then JupyterHub takes over this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import paths
from ..service.settings import SERVICE
from . import HostProblem, Say, admin, survey

CONFIG = "jupyterhub_config.py"


@dataclass(frozen=True)
class HubSettings:
    """What a config file says about the way in. Ports: the hub's door, its own, its proxy's.

    ``service_url`` is where the pages' service listens; empty without one.
    """

    bind_url: str
    hub_ip: str
    hub_port: int
    proxy_port: int
    authenticator: str
    is_own_password: bool
    service_url: str = ""

    @property
    def port(self) -> int:
        """The port that people open."""
        parts = urlsplit(self.bind_url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def address(self) -> str:
        """What people type into the browser on this machine."""
        parts = urlsplit(self.bind_url)
        host = parts.hostname or ""
        if host in ("", "0.0.0.0", "::"):  # noqa: S104  (it is compared, not bound)
            host = "127.0.0.1"
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path.rstrip('/')}"

    @property
    def ports(self) -> dict[int, str]:
        """All ports that the hub takes on this machine, and what for."""
        ports = {self.port: "web", self.proxy_port: "proxy's API", self.hub_port: "hub's API"}
        if self.service_url:
            ports[urlsplit(self.service_url).port or 80] = "pages"
        return ports

    def host_of(self, port: int) -> str:
        """The address at which one of them is taken."""
        if port == self.hub_port:
            return self.hub_ip
        service = urlsplit(self.service_url)
        return service.hostname or "127.0.0.1" if port == service.port else "127.0.0.1"


def find_config(named: str | None) -> Path:
    """The config to run: the one named, else this directory's, else the one that comes with gpubox."""
    if named:
        file = Path(named)
        if not file.is_file():
            raise HostProblem(f"There is no config file {named}.")
        return file.absolute()
    shipped = (Path(__file__).parents[3] / CONFIG, Path(sys.prefix) / "share" / "gpubox" / CONFIG)
    for file in (Path(CONFIG), *shipped):
        if file.is_file():
            return file.absolute()
    raise HostProblem(f"There is no {CONFIG} here. Name one: gpubox run --config FILE")


def read_config(file: Path) -> HubSettings:
    """Run a config file as JupyterHub will, for what it says about the way in.

    Raises `HostProblem` with the line at fault where it cannot be run.
    """
    from traitlets.config import Config
    from traitlets.config.loader import PyFileConfigLoader

    try:
        config: Config = PyFileConfigLoader(file.name, path=str(file.parent)).load_config()
    except HostProblem:
        raise
    except (Exception, SystemExit) as error:
        raise HostProblem(_config_problem(file, error)) from error
    return _settings(config)


def _config_problem(file: Path, error: BaseException) -> str:
    if isinstance(error, SystemExit):  # already a sentence for the admin
        return str(error)
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"{file}, line {line}" if line else str(file)
    return f"{where}: {type(error).__name__}: {error}"


def _settings(config: Any) -> HubSettings:
    hub = config.JupyterHub
    authenticator = hub.get("authenticator_class", "pam")
    bind_url = hub.get("bind_url", "http://:8000")
    password = config.SharedPasswordAuthenticator.get("admin_password", "")
    proxy_api = config.ConfigurableHTTPProxy.get("api_url", "http://127.0.0.1:8001")
    services = hub.get("services", [])
    return HubSettings(
        bind_url=str(bind_url),
        hub_ip=str(hub.get("hub_ip", "127.0.0.1")),
        hub_port=int(hub.get("hub_port", 8081)),
        proxy_port=urlsplit(proxy_api).port or 8001,
        authenticator=authenticator if isinstance(authenticator, str) else authenticator.__name__,
        is_own_password=authenticator == "shared-password" and password == admin.admin_password(),
        service_url=next((one.get("url", "") for one in services if one.get("name") == SERVICE), ""),
    )


def check_ports(settings: HubSettings) -> None:
    """Raise `HostProblem` where a port that the hub needs is taken.

    A proxy that a killed hub left behind is not in the way: the new hub ends it. (It would end
    that of a running hub too, so we ask for one first.)
    """
    if survey.port_user(settings.port) == "hub":
        raise HostProblem(
            f"A hub runs here already: open {settings.address}, or stop it. A second one needs a port and"
            " a state directory of its own: GPUBOX_DIR=/srv/second-hub make run PORT=8010"
        )
    if _is_alive(paths.state_dir() / "jupyterhub-proxy.pid"):
        return
    for port, use in settings.ports.items():
        if not survey.is_free(port, settings.host_of(port)):
            remedy = (
                "take another: make run PORT=8010"
                if port == settings.port
                else "run one hub only, or set c.JupyterHub.hub_port, c.ConfigurableHTTPProxy.api_url and"
                " the service's url"
            )
            raise HostProblem(
                f"Port {port} ({use}) is in use. Stop what uses it (ss -ltnp names it), or {remedy}"
            )


def _is_alive(pid_file: Path) -> bool:
    try:
        os.kill(int(pid_file.read_text().split()[0]), 0)
    except (OSError, ValueError, IndexError):
        return False
    return True


def greet(settings: HubSettings, *, is_first_run: bool, say: Callable[[str], Say]) -> None:
    """Tell the address and how to log in."""
    say("open")(settings.address)
    file = admin.password_file()
    if not settings.is_own_password:
        say("log in")(f"as the config says ({settings.authenticator})")
    elif is_first_run:
        say("log in")(f"admin, password {admin.admin_password()} (kept in {file})")
    else:
        say("log in")(f"admin, with the password in {file}")
    say("stop")("Ctrl+C; servers of users run on, the next start finds them")


def become_hub(config: Path, arguments: Sequence[str]) -> None:
    """Turn this process into JupyterHub; does not return.

    Raises `HostProblem` where it, or its proxy, is not installed.
    """
    if not survey.program("configurable-http-proxy"):
        raise HostProblem(
            "The hub's proxy is not installed. make run installs it, or:"
            " npm install -g configurable-http-proxy"
        )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "jupyterhub", "-f", str(config), *arguments]
    sys.stdout.flush()
    os.execve(sys.executable, command, {**os.environ, "PATH": path})
