"""The WebSocket of the SSH gateway at a real Jupyter server, and the sshd behind it."""

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from websocket import ABNF, WebSocketBadStatusException

from fixtures.jupyter import until
from fixtures.parts import is_missing
from jupyterlab_gpubox.life import life_of
from jupyterlab_gpubox.ssh.daemon import configuration
from jupyterlab_gpubox.ssh.routes import ACTIVITY

PATH = "gpubox/api/ssh"
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="module")
def server(start_jupyter):
    if SSHD is None:
        is_missing("sshd is not installed (apt-get install openssh-server)")
    return start_jupyter()


@pytest.fixture
def key(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    return " ".join((tmp_path / "key.pub").read_text().split()[:2])


def begin(server, key):
    socket = server.stream(PATH)
    socket.send(json.dumps({"key": key}))
    return socket, json.loads(socket.recv())


def test_nobody_connects_without_being_logged_in(server):
    with pytest.raises(WebSocketBadStatusException, match="403"):
        server.stream(PATH, token="")


def test_whoever_brings_a_key_gets_an_sshd_and_is_told_how_to_know_it(server, key):
    socket, told = begin(server, key)
    assert told["host_key"].startswith("ssh-ed25519 ") and told["user"]
    opcode, hello = socket.recv_data()
    assert opcode == ABNF.OPCODE_BINARY and hello.startswith(b"SSH-2.0-OpenSSH")
    socket.send_binary(b"GET / HTTP/1.1\r\n\r\n")
    rest = b""
    while opcode == ABNF.OPCODE_BINARY:
        opcode, more = socket.recv_data()
        rest += more
    assert b"Invalid SSH identification string" in rest and opcode == ABNF.OPCODE_CLOSE


@pytest.mark.parametrize(
    "key", ["", "hello", 'command="id" ssh-ed25519 AAAA', "ssh-ed25519 AAAA\nssh-rsa AAAA"]
)
def test_what_is_no_key_is_refused_with_a_sentence(server, key):
    socket, told = begin(server, key)
    assert told == {"message": "The key that came with the connection is none."}
    assert socket.recv_data()[0] == ABNF.OPCODE_CLOSE


def test_an_image_with_no_sshd_says_so(start_jupyter, key):
    if SSHD is None or os.path.dirname(SSHD) != "/usr/sbin":
        is_missing("sshd is not where Debian has it")
    code = "import jupyterlab_gpubox.ssh.daemon as d; d._ELSEWHERE = ''; d.daemon()"
    told = subprocess.run(
        [shutil.which("python3"), "-c", code],
        env={**os.environ, "PATH": "/bin"},
        capture_output=True,
        text=True,
    )
    assert "This machine's image has no SSH server." in told.stderr.splitlines()[-1]


def test_sessions_get_the_environment_of_the_server_whatever_is_in_it(tmp_path):
    """sshd itself reads what is written, as its own dump of the configuration shows."""
    if SSHD is None:
        is_missing("sshd is not installed (apt-get install openssh-server)")
    odd = {"PATH": "/a:/b", "ODD": 'a "quoted" # \\ $HOME word', "EMPTY": "", "TOKEN": "s3cret"}
    left_out = {"HOME": "/x", "USER": "x", "SSH_CONNECTION": "x", "TWO_LINES": "a\nb", "TERM": "x"}
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "host_key")], check=True
    )
    config = tmp_path / "config"
    config.write_bytes(configuration(tmp_path, odd | left_out))
    dump = subprocess.run([SSHD, "-T", "-f", str(config)], capture_output=True, text=True)
    assert dump.returncode == 0, dump.stderr
    settings = [
        line.removeprefix("setenv ") for line in dump.stdout.splitlines() if line.startswith("setenv ")
    ]
    assert sorted(settings) == sorted(f"{name}={value}" for name, value in odd.items())
    for line in ("usepam no", "passwordauthentication no", "x11forwarding no", "allowtcpforwarding yes"):
        assert line in dump.stdout.splitlines()
    assert "SetEnv GPUBOX_SSH=1" in configuration(tmp_path, {}).decode()


def test_what_is_told_to_be_activity_is_a_terminals_life(server, key):
    socket, told = begin(server, key)
    assert "host_key" in told
    before = server.ask("api/status").json()["last_activity"]
    socket.send(json.dumps({"active": True}))
    until(lambda: server.ask("api/status").json()["last_activity"] > before, "it counts")
    socket.close()

    then = datetime(2026, 11, 27, tzinfo=UTC)
    settings = {ACTIVITY: then}
    kernels = SimpleNamespace(list_kernel_ids=list)
    told = life_of(SimpleNamespace(web_app=SimpleNamespace(settings=settings), kernel_manager=kernels))
    assert told["terminal_at"] == then.timestamp()
