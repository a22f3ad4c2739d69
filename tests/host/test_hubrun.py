"""What `gpubox run` reads from a config, and what it says before the hub takes over."""

import os
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gpubox.host import HostProblem
from gpubox.host.admin import admin_password
from gpubox.host.hubrun import check_ports, find_config, greet, read_config


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("GPUBOX_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


@pytest.fixture
def config(tmp_path):
    def write(text):
        file = tmp_path / "jupyterhub_config.py"
        file.write_text(f"c = get_config()\n{text}\n")
        return file

    return write


def words_of(settings, *, is_first_run):
    said = {}
    greet(settings, is_first_run=is_first_run, say=lambda topic: lambda line: said.update({topic: line}))
    return said


OWN_PASSWORD = """
from gpubox.config import configure
configure(c, engine="process")
c.JupyterHub.bind_url = "http://127.0.0.1:8123"
"""


def test_the_first_run_shows_the_password_and_where_it_is_kept(config, state):
    said = words_of(read_config(config(OWN_PASSWORD)), is_first_run=True)
    assert said["open"] == "http://127.0.0.1:8123"
    assert admin_password() in said["log in"]
    assert str(state / "admin-password") in said["log in"]


def test_a_later_run_shows_only_where_the_password_is(config, state):
    said = words_of(read_config(config(OWN_PASSWORD)), is_first_run=False)
    assert admin_password() not in said["log in"]
    assert str(state / "admin-password") in said["log in"]


def test_with_another_authenticator_no_password_is_shown(config):
    settings = read_config(config(OWN_PASSWORD + 'c.JupyterHub.authenticator_class = "pam"'))
    said = words_of(settings, is_first_run=True)
    assert said["log in"] == "as the config says (pam)"


@pytest.mark.parametrize(
    ("bind_url", "address", "port"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", 8000),
        ("http://0.0.0.0:9000", "http://127.0.0.1:9000", 9000),
        ("https://:443/hub-of-the-lab/", "https://127.0.0.1:443/hub-of-the-lab", 443),
        ("http://[::1]:8000", "http://[::1]:8000", 8000),
    ],
)
def test_the_address_shown_can_be_opened(config, bind_url, address, port):
    settings = read_config(config(f"c.JupyterHub.bind_url = {bind_url!r}"))
    assert (settings.address, settings.port) == (address, port)


def test_a_fault_in_the_config_is_a_sentence_with_its_line(config):
    file = config("\nc.JupyterHub.port = undefined_name")
    with pytest.raises(HostProblem, match=r"jupyterhub_config\.py, line 3: NameError: .*undefined_name"):
        read_config(file)


def test_a_config_that_is_no_python_is_a_sentence_with_its_line(config):
    with pytest.raises(HostProblem, match=r"line 2: SyntaxError"):
        read_config(config("c.JupyterHub.port = = 1"))


def test_a_port_in_use_is_a_sentence_before_the_hub_starts(config):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        settings = read_config(config(f'c.JupyterHub.bind_url = "http://127.0.0.1:{port}"'))
        with pytest.raises(HostProblem, match=rf"Port {port} \(web\) is in use.*PORT="):
            check_ports(settings)


def test_the_proxy_of_a_killed_hub_is_not_in_the_way(config, state):
    left_behind = subprocess.Popen(["sleep", "60"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        settings = read_config(config(f'c.JupyterHub.bind_url = "http://127.0.0.1:{port}"'))
        state.mkdir()
        (state / "jupyterhub-proxy.pid").write_text(str(left_behind.pid))
        check_ports(settings)
        left_behind.kill()
        left_behind.wait()
        with pytest.raises(HostProblem, match="is in use"):
            check_ports(settings)


def test_this_directorys_config_comes_before_the_shipped_one(config, tmp_path):
    assert find_config(None) != tmp_path / "jupyterhub_config.py"
    assert find_config(None).name == "jupyterhub_config.py"
    own = config("")
    assert find_config(None) == own
    assert os.path.isabs(find_config(str(own)))


def test_a_config_that_is_not_there_is_a_sentence():
    with pytest.raises(HostProblem, match=r"no config file other\.py"):
        find_config("other.py")


class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version": "6.1.1"}')

    def log_message(self, *arguments):
        pass


def test_a_second_hub_does_not_push_out_the_one_that_runs(config, state):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever).start()
        state.mkdir()
        (state / "jupyterhub-proxy.pid").write_text(str(os.getpid()))
        settings = read_config(config(f'c.JupyterHub.bind_url = "http://127.0.0.1:{server.server_port}"'))
        try:
            with pytest.raises(HostProblem, match="A hub runs here already"):
                check_ports(settings)
        finally:
            server.shutdown()


def test_the_port_of_the_pages_is_looked_at_too(config):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        settings = read_config(config(f'c.JupyterHub.services = [{{"name": "gpubox", "url": {url!r}}}]'))
        with pytest.raises(HostProblem, match=rf"Port {port} \(pages\) is in use"):
            check_ports(settings)
