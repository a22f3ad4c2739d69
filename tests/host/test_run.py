"""`gpubox run`, from the command to the first log-in, and its end."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from fixtures.hub import free_ports

CONFIG = """
from gpubox.config import configure
c = get_config()
configure(c, engine="process")
c.JupyterHub.bind_url = "http://127.0.0.1:{}"
c.JupyterHub.hub_port = {}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{}"
c.JupyterHub.services[0]["url"] = "http://127.0.0.1:{}"
"""


class Run:
    """One `gpubox run` with a state directory of its own; ``by`` is what starts it."""

    def __init__(self, directory, by=()):
        self.state = directory / "state"
        self.port, *others = free_ports(4)
        self.url = f"http://127.0.0.1:{self.port}"
        config = directory / "jupyterhub_config.py"
        config.write_text(CONFIG.format(self.port, *others))
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*by, Path(sys.executable).parent / "gpubox", "run", "--engine", "process"],
                cwd=directory,
                env={**os.environ, "GPUBOX_DIR": str(self.state)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.until(self.serves, "serving")

    def serves(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self.url}/hub/login", timeout=10).ok
        except requests.ConnectionError:
            return False

    def log_in(self, name, password):
        """Log in with the form, as a browser does; the page that follows."""
        with requests.Session() as session:
            form = session.get(f"{self.url}/hub/login", timeout=10).text
            token = re.search(r'name="_xsrf" value="([^"]+)"', form)[1]
            return session.post(
                f"{self.url}/hub/login",
                data={"username": name, "password": password, "_xsrf": token},
                timeout=10,
            )

    def until(self, condition, what):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"not {what}:\n{self.log.read_text()}"
            time.sleep(0.1)

    def is_port_free(self):
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) != 0

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("run"))
    yield run
    run.end()


def test_the_admin_gets_in_with_the_password_shown_and_nobody_else_does(run):
    (password,) = re.findall(r"^log in +admin, password (\S+)", run.log.read_text(), re.MULTILINE)
    assert run.log_in("admin", password).ok
    assert run.log_in("admin", "x" * 32).status_code == 403
    assert run.log_in("eve", password).status_code == 403
    assert run.log_in("eve", "").status_code == 403


def test_the_address_shown_is_the_one_that_serves(run):
    assert re.search(rf"^open +{re.escape(run.url)}$", run.log.read_text(), re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_the_hub_ends_its_proxy_ends_too(tmp_path, number):
    run = Run(tmp_path)
    run.process.send_signal(number)
    run.process.wait(30)
    run.until(run.is_port_free, "free again")


def test_a_hub_in_the_background_of_a_script_ends_with_its_service_when_asked(tmp_path):
    run = Run(tmp_path, by=["sh", "-c", "trap '' INT; exec \"$@\"", "sh"])
    run.process.terminate()
    run.process.wait(20)  # JupyterHub's own time-out for a service that does not listen is 30 s
    run.until(run.is_port_free, "free again")


def test_what_the_hub_keeps_is_for_its_owner_alone(run):
    assert run.state.stat().st_mode & 0o077 == 0
    assert (run.state / "admin-password").stat().st_mode & 0o777 == 0o600
