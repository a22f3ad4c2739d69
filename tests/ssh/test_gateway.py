"""OpenSSH's own client at the gateway of a real hub: each thing that people do with it, and what goes wrong.

The servers are processes of this machine, so both ends share its network and its files.
"""

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import asyncssh
import pytest
import requests

from fixtures.hub import CPU, H100
from fixtures.ssh import Laptop, keys_api, token_of
from simgpu import SimulatedDriver

ODD = "o'zoë+x@lab"
ACCOUNTS = """
c.ProcessGPUSpawner.account_template = "gpubox-sshtest"
c.GPUSSH.max_failures = 3
c.GPUSSH.failure_seconds = 10
"""


@pytest.fixture(scope="module")
def hub(make_process_hub):
    with SimulatedDriver("1xH100") as driver:
        hub = make_process_hub(
            engine="process",
            environment=driver.environment(),
            machines=[CPU, H100],
            users=("sshtest", "zoe", "yann", ODD),
            extra_config=ACCOUNTS,
            ssh=True,
        ).start()
        hub.until(
            lambda: requests.get(f"{hub.url}/services/gpubox/health", timeout=5).ok, "the service serves"
        )
        hub.until(lambda: listens(hub.ssh_port), "the gateway listens")
        yield hub


@pytest.fixture(scope="module")
def make_laptop(hub, tmp_path_factory):
    def make(user, name=None, *, known=True, **details):
        laptop = Laptop(tmp_path_factory.mktemp("laptops") / "home", hub, name or user, **details)
        if known:
            answer = keys_api(hub, token_of(hub, user), "POST", json={"key": laptop.public_key})
            assert answer.status_code == 201, answer.text
            laptop.number = answer.json()["id"]
        return laptop

    return make


@pytest.fixture(scope="module")
def zoe(make_laptop):
    return make_laptop("zoe")


@pytest.fixture
def echo():
    """A server on this machine's loopback address that says again what it hears; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=repeat, args=(peer,), daemon=True).start()

        def repeat(peer):
            with peer:
                while heard := peer.recv(65536):
                    peer.sendall(heard)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def listens(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def answers(address, words=b"hello there"):
    """Whether an echo server answers there: a port, or the path of a socket."""
    kind, where = (
        (socket.AF_UNIX, str(address))
        if not isinstance(address, int)
        else (
            socket.AF_INET,
            ("127.0.0.1", address),
        )
    )
    with socket.socket(kind) as caller:
        caller.settimeout(20)
        try:
            caller.connect(where)
            caller.sendall(words)
            return caller.recv(100) == words
        except OSError:
            return False


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def end(process):
    process.terminate()
    return process.communicate(timeout=30)


# --- who gets in ----------------------------------------------------------------------------------


def test_a_key_that_is_merely_offered_starts_nothing_and_one_that_is_proved_starts_the_machine(hub, zoe):
    # With the public half alone a client can ask whether it would be taken, and no more.
    shutil.copy(zoe.key.with_suffix(".pub"), zoe.directory / "spare.pub")
    offered = zoe.run(
        "ssh", "-v", "-F", zoe.without_key(), "-i", str(zoe.directory / "spare.pub"), "box", "id"
    )
    assert "Server accepts key" in offered.stderr and offered.returncode == 255
    assert not hub.server("zoe")

    first = zoe.ssh("box", "echo this is $(whoami); exit 7")
    assert (first.stdout, first.returncode) == ("this is gpubox-sshtest\n", 7), first.stderr
    assert "gpubox: Starting your machine" in first.stderr and "gpubox: CPU is yours" in first.stderr
    assert hub.is_ready("zoe")

    second = zoe.ssh("box", "true")
    assert (second.returncode, second.stderr) == (0, "")


def test_another_users_key_opens_nothing_and_the_log_says_why(hub, zoe, make_laptop):
    hub.api("POST", "/users/yann")
    yann = make_laptop("zoe", "yann")
    assert "Permission denied" in yann.ssh("box", "id").stderr
    assert not hub.server("yann")
    hub.until(
        lambda: re.search(r"no login as 'yann' from 127\.0\.0\.1: SHA256:\S+ is a key of 'zoe'", log(hub)),
        "logged",
    )


def log(hub):
    return hub.log.read_text(errors="replace")


def test_a_token_is_a_password_and_a_wrong_one_is_none(hub, zoe, make_laptop):
    with_token = make_laptop("zoe", known=False, tokens=True)
    good, narrow = token_of(hub, "zoe"), token_of(hub, "zoe", scopes=["read:users!user=zoe"])
    others = token_of(hub, "yann")

    def asking(token):
        asker = with_token.directory / "ask"
        asker.write_text(f"#!/bin/sh\necho '{token}'\n")
        asker.chmod(0o700)
        return {**with_token.environment, "SSH_ASKPASS": str(asker), "SSH_ASKPASS_REQUIRE": "force"}

    def log_in(token, *options):
        return with_token.ssh(*options, "box", "echo in", env=asking(token))

    assert log_in(good).stdout == "in\n"
    assert log_in(good, "-o", "PreferredAuthentications=password").stdout == "in\n"
    refused = log_in(narrow, "-o", "PreferredAuthentications=keyboard-interactive")
    assert refused.returncode == 255 and "may not use that machine" in refused.stderr
    assert log_in(others, "-o", "PreferredAuthentications=password").returncode == 255
    assert log_in("x" * 32, "-o", "PreferredAuthentications=password").returncode == 255
    for secret in (good, narrow, others):
        assert secret not in log(hub)
    # Every token that the gateway had made for itself is gone.
    tokens = hub.api("GET", "/users/zoe/tokens").json()["api_tokens"]
    assert not [one for one in tokens if "SSH" in one["note"]]

    # Who is in with a token that is revoked is cut off; who came with a key stays.
    hub.until(lambda: log_in(good).returncode == 0, "failures of before count no more")
    by_key = zoe.begin("box", "echo ready; cat")
    by_token = with_token.begin("box", "echo ready; sleep 300", env=asking(good))
    assert (by_key.stdout.readline(), by_token.stdout.readline()) == ("ready\n", "ready\n")
    for one in (one for one in tokens if one["note"] == "tests"):
        hub.api("DELETE", f"/users/zoe/tokens/{one['id']}")
    _, told = by_token.communicate(timeout=60)
    assert by_token.returncode == 255 and "The token with which you logged in is valid no more." in told
    assert by_key.communicate("still here", timeout=30)[0] == "still here"


def test_who_fails_too_often_is_turned_away_for_a_while(hub, zoe, make_laptop):
    stranger = make_laptop("zoe", "zoe", known=False)
    hub.until(lambda: zoe.ssh("box", "true").returncode == 0, "failures of before count no more")
    told = [stranger.ssh("box", "id").stderr for _ in range(5)]
    assert "Permission denied" in told[0]
    assert "Too many failed logins" in told[4] or "Too many failed logins" in told[3]
    hub.until(lambda: zoe.ssh("box", "true").returncode == 0, "it is forgotten after a while")


def test_an_agent_with_many_keys_gets_in_with_the_last_and_fails_but_once(hub, zoe, make_laptop):
    hub.until(lambda: zoe.ssh("box", "true").returncode == 0, "failures of before count no more")
    others = []
    for number in range(9):
        key = zoe.directory / f"other{number}"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        others += ["-o", f"IdentityFile={key}"]
    tried = zoe.run(
        "ssh", "-F", zoe.without_key(), *others, "-o", f"IdentityFile={zoe.key}", "box", "echo in"
    )
    assert tried.stdout == "in\n", tried.stderr


def test_names_with_odd_characters_and_named_machines(hub, zoe, make_laptop):
    hub.until(lambda: zoe.ssh("box", "true").returncode == 0, "failures of before count no more")
    hub.api("POST", f"/users/{requests.utils.quote(ODD, safe='')}")
    token = hub.api(
        "POST", f"/users/{requests.utils.quote(ODD, safe='')}/tokens", json={"note": "tests"}
    ).json()["token"]
    odd = make_laptop("zoe", ODD, known=False)
    assert keys_api(hub, token, "POST", json={"key": odd.public_key}).status_code == 201
    told = odd.ssh("box", "echo in")
    assert told.stdout == "in\n", told.stderr

    refused = odd.run("ssh", "-F", odd.called(f"{ODD}+nothing"), "box", "true")
    assert refused.returncode == 255 and "You have no machine 'nothing'" in refused.stderr
    hub.api(
        "PUT",
        f"/users/{requests.utils.quote(ODD, safe='')}/servers/second",
        json={"user_options": {"machine": "cpu"}},
    )
    named = odd.run("ssh", "-F", odd.called(f"{ODD}+second"), "box", "echo $GPUBOX_SERVER")
    assert named.stdout == "second\n", named.stderr
    hub.stop(ODD, "second")
    hub.stop(ODD)


def test_a_deleted_key_is_cut_off_at_once_and_opens_nothing_any_more(hub, zoe, make_laptop):
    lost = make_laptop("zoe")
    session = lost.begin("box", "echo ready; sleep 300")
    assert session.stdout.readline() == "ready\n"
    token = token_of(hub, "zoe")
    assert keys_api(hub, token, "GET").json()["keys"][-1]["last_used_at"] is not None
    assert keys_api(hub, token, "DELETE", f"api/keys/{lost.number}").status_code == 200
    _, told = session.communicate(timeout=30)
    assert session.returncode == 255 and "The key with which you logged in was deleted." in told
    assert "Permission denied" in lost.ssh("box", "true").stderr
    assert zoe.ssh("box", "true").returncode == 0


# --- what one does there --------------------------------------------------------------------------


def test_commands_have_their_streams_environment_status_and_signals(zoe):
    told = zoe.ssh("box", "cat; echo aside >&2; exit 42", stdin=None, input="through and back")
    assert (told.stdout, told.stderr, told.returncode) == ("through and back", "aside\n", 42)
    assert zoe.ssh("-o", "SetEnv=LC_MINE=väl", "box", "echo $LC_MINE").stdout == "väl\n"
    # As in a terminal of JupyterLab's.
    assert zoe.ssh("box", "echo $GPUBOX_HUB $JUPYTERHUB_USER").stdout.split()[1:] == ["zoe"]
    killed = zoe.ssh("box", "kill -TERM $$")
    assert killed.returncode == 255 or killed.returncode == 143
    raw = zoe.ssh("box", "cat", stdin=None, text=False, input=bytes(range(256)) * 1000)
    assert raw.stdout == bytes(range(256)) * 1000


def test_files_go_both_ways_by_scp_old_and_new_sftp_and_rsync(zoe, tmp_path, open_way):
    there, here = tmp_path / "there", tmp_path / "a file"
    there.mkdir()
    there.chmod(0o777)
    here.write_bytes(os.urandom(5_000_000))
    config = ["-q", "-F", str(zoe.config)]
    for name, protocol in (("new", "-s"), ("old", "-O")):
        assert zoe.run("scp", *config, protocol, str(here), f"box:{there}/{name}").returncode == 0
        back = zoe.run("scp", *config, protocol, f"box:{there}/{name}", str(tmp_path / f"{name} back"))
        assert back.returncode == 0, back.stderr
        assert digest(tmp_path / f"{name} back") == digest(here) == digest(there / name)
    batch = f'put "{here}" {there}/by-sftp\nls {there}\nchmod 600 {there}/by-sftp\n'
    told = zoe.run("sftp", *config, "-b", "-", "box", stdin=None, input=batch)
    assert told.returncode == 0 and "by-sftp" in told.stdout
    assert digest(there / "by-sftp") == digest(here)
    for _ in range(2):
        told = zoe.run("rsync", "-a", "--checksum", str(here), f"box:{there}/by-rsync")
        assert told.returncode == 0, told.stderr
    assert digest(there / "by-rsync") == digest(here)


def test_keys_are_exchanged_anew_while_data_goes_both_ways(zoe):
    data = os.urandom(12_000_000)
    told = zoe.ssh("-vv", "-o", "RekeyLimit=1M", "box", "cat", stdin=None, text=False, input=data)
    assert told.stdout == data
    assert told.stderr.count(b"rekeying in progress") + told.stderr.count(b"SSH2_MSG_NEWKEYS received") > 5


def test_a_client_with_other_ciphers_is_served_as_well(hub, zoe):
    data = os.urandom(3_000_000)

    async def both_ways(cipher):
        async with asyncssh.connect(
            "127.0.0.1", hub.ssh_port, username="zoe", client_keys=[str(zoe.key)], known_hosts=None,
            config=[], encryption_algs=[cipher], agent_path=None,
        ) as connection:  # fmt: skip
            return (await connection.run("cat", input=data, encoding=None, check=True)).stdout

    for cipher in ("chacha20-poly1305@openssh.com", "aes256-ctr", "aes256-gcm@openssh.com"):
        assert asyncio.run(both_ways(cipher)) == data


def test_bytes_that_were_changed_on_the_way_end_the_connection(hub, zoe):
    data = os.urandom(2_000_000)
    with changing(hub.ssh_port, at=1_000_000) as port:
        told = zoe.ssh("-p", str(port), "box", "cat", stdin=None, text=False, input=data)
    assert told.returncode == 255
    assert data.startswith(told.stdout) and len(told.stdout) < 1_000_000


@contextmanager
def changing(port, at):
    """A way to a port of this machine on which the byte number ``at`` of what goes there is changed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def carry():
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=pump, args=(far, near), daemon=True).start()
            pump(near, far, at)

        def pump(source, target, at=None):
            seen = 0
            with source, target:
                try:
                    while heard := bytearray(source.recv(65536)):
                        if at is not None and seen <= at < seen + len(heard):
                            heard[at - seen] ^= 1
                        seen += len(heard)
                        target.sendall(heard)
                except OSError:
                    pass

        threading.Thread(target=carry, daemon=True).start()
        yield listener.getsockname()[1]


def test_git_clones_and_pushes(zoe, tmp_path):
    told = zoe.ssh("box", "rm -rf repo.git && git init -q --bare -b main repo.git")
    assert told.returncode == 0, told.stderr
    clone = tmp_path / "clone"
    assert zoe.run("git", "clone", "-q", "box:repo.git", str(clone)).returncode == 0
    (clone / "file").write_text("words")
    who = ["-c", "user.name=zoe", "-c", "user.email=zoe@lab"]
    for command in (
        ["checkout", "-q", "-b", "main"],
        ["add", "file"],
        [*who, "commit", "-qm", "one"],
        ["push", "-q", "origin", "main"],
    ):
        done = zoe.run("git", "-C", str(clone), *command)
        assert done.returncode == 0, done.stderr
    assert zoe.ssh("box", "git -C repo.git log --format=%s main").stdout == "one\n"


def test_ports_and_sockets_are_forwarded_both_ways(hub, zoe, echo, free_port, tmp_path):
    near, far, proxy = free_port(), free_port(), free_port()
    near_socket, far_socket = tmp_path / "near", f"/tmp/gpubox-test-{os.getpid()}"
    session = zoe.begin(
        *("-N", "-L", f"{near}:127.0.0.1:{echo}", "-R", f"{far}:127.0.0.1:{echo}", "-D", str(proxy)),
        *("-L", f"{near_socket}:127.0.0.1:{echo}", "-R", f"{far_socket}:127.0.0.1:{echo}", "box"),
    )
    try:
        hub.until(lambda: listens(proxy), "ssh has begun")
        for where in (near, far, near_socket):
            hub.until(lambda where=where: answers(where), f"{where} answers", 30)
        # The far socket is in the machine, for its user alone.
        reach = f"from socket import *; s = socket(1); s.connect('{far_socket}'); s.send(b'hey');"
        reach += " print(s.recv(9))"
        assert zoe.ssh("box", f'python3 -c "{reach}"').stdout == "b'hey'\n"
        assert socks(proxy, echo)
        big = os.urandom(3_000_000)
        with socket.create_connection(("127.0.0.1", near), timeout=30) as caller:
            threading.Thread(target=caller.sendall, args=(big,), daemon=True).start()
            got = b""
            while len(got) < len(big):
                got += caller.recv(1 << 20)
        assert got == big
    finally:
        end(session)
    piped = zoe.ssh("-W", f"127.0.0.1:{echo}", "box", stdin=None, input="through -W")
    assert piped.stdout == "through -W"
    refused = zoe.ssh("-W", f"127.0.0.1:{free_port()}", "box")
    assert refused.returncode == 255 and "Connection refused" in refused.stderr


def socks(proxy, port):
    """Whether an echo server answers by way of a SOCKS5 proxy (RFC 1928)."""
    with socket.create_connection(("127.0.0.1", proxy), timeout=20) as caller:
        caller.sendall(b"\x05\x01\x00")
        assert caller.recv(2) == b"\x05\x00"
        caller.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
        assert caller.recv(10)[:2] == b"\x05\x00"
        caller.sendall(b"hello")
        return caller.recv(9) == b"hello"


def test_a_machine_is_a_jump_host_and_lends_the_agent(hub, zoe, tmp_path):
    agent = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL)
    environment = {**zoe.environment, "SSH_AUTH_SOCK": str(agent)}
    try:
        hub.until(agent.exists, "the agent runs")
        zoe.run("ssh-add", "-q", str(zoe.key), env=environment)
        lent = zoe.ssh("-A", "box", "ssh-add -l", env=environment)
        assert "zoe@laptop" in lent.stdout, lent.stderr
        assert "zoe@laptop" not in zoe.ssh("-a", "box", "ssh-add -l 2>&1", env=environment).stdout
        # From the machine to the gateway again: any host that it reaches would do.
        jumped = zoe.ssh("-J", "box", "-l", "zoe", "127.0.0.1", "echo by two", env=environment)
        assert jumped.stdout == "by two\n", jumped.stderr
    finally:
        process.kill()
        process.wait()


def test_x11_is_not_forwarded(zoe):
    told = zoe.ssh("-Y", "box", "echo [$DISPLAY]", env={**zoe.environment, "DISPLAY": "127.0.0.1:99"})
    assert told.stdout == "[]\n" and "X11 forwarding request failed" in told.stderr


def test_an_editor_brings_its_server_and_talks_to_it_by_a_forwarded_port(hub, zoe, free_port):
    """VS Code's Remote-SSH: a shell with no terminal is told a script, and -D reaches what that starts."""
    proxy, port = free_port(), free_port()
    server = (
        f"import socket; l = socket.create_server(('127.0.0.1', {port})); print('up', flush=True)\n"
        "c, _ = l.accept(); c.sendall(c.recv(99))"
    )
    session = zoe.begin("-T", "-D", str(proxy), "box", "bash")
    try:
        session.stdin.write(f"cat > editor.py <<'END'\n{server}\nEND\nuname -s; python3 editor.py &\n")
        session.stdin.flush()
        assert [session.stdout.readline() for _ in range(2)] == ["Linux\n", "up\n"]
        assert socks(proxy, port)
    finally:
        end(session)


def test_twenty_sessions_at_once(zoe):
    sessions = [zoe.begin("box", f"cat; echo {number}") for number in range(20)]
    told = [session.communicate("in\n", timeout=120) for session in sessions]
    assert [out for out, _ in told] == [f"in\n{number}\n" for number in range(20)], told


def test_what_its_user_does_counts_as_activity_and_what_keeps_it_alive_does_not(hub, zoe):
    def activity():
        told = requests.get(
            f"{hub.url}/user/zoe/api/status", headers={"Authorization": f"token {token}"}, timeout=10
        )
        return told.json()["last_activity"]

    token = token_of(hub, "zoe")
    session = zoe.begin("-o", "ServerAliveInterval=1", "box", "while read word; do echo $word; done")
    try:
        session.stdin.write("one\n")
        session.stdin.flush()
        assert session.stdout.readline() == "one\n"
        before = activity()
        # Ten seconds is how often it is told at most.
        hub.until(lambda: say(session) and activity() > before, "words count", 30)
        quiet = activity()
        time.sleep(4)  # some messages that keep alive; there is nothing to wait for
        assert activity() == quiet
    finally:
        end(session)


def say(session):
    session.stdin.write("word\n")
    session.stdin.flush()
    return session.stdout.readline() == "word\n"


# --- machines and hubs that come and go --------------------------------------------------------------


def test_who_waits_in_line_sees_the_place_and_leaves_it_with_ctrl_c(hub, zoe):
    hub.run("yann", "h100")
    hub.api("PUT", "/users/zoe/servers/big", json={"user_options": {"machine": "h100"}})
    waiting = zoe.begin("-l", "zoe+big", "box", "echo $GPUBOX_MACHINE")
    lines = iter(waiting.stderr.readline, "")
    assert any("1st in line" in line for line in lines)
    waiting.send_signal(signal.SIGINT)
    waiting.wait(30)
    hub.until(
        lambda: [lease["user"] for lease in hub.open_leases() if lease["machine"] == "h100"] == ["yann"],
        "zoe left",
    )
    hub.until(lambda: not hub.server("zoe", "big"), "the start has ended")

    again = zoe.begin("-l", "zoe+big", "box", "echo on $GPUBOX_MACHINE")
    lines = iter(again.stderr.readline, "")
    assert any("1st in line" in line for line in lines)
    hub.stop("yann")
    out, _ = again.communicate(timeout=90)
    assert out == "on h100\n"
    hub.stop("zoe", "big")


def test_a_machine_that_is_stopped_ends_its_sessions_with_a_sentence(hub, make_laptop):
    hub.api("PUT", "/users/zoe/servers/short", json={"user_options": {"machine": "cpu"}})
    laptop = make_laptop("zoe", "zoe+short")
    session = laptop.begin("box", "echo ready; sleep 300")
    assert session.stdout.readline() == "ready\n"
    hub.stop("zoe", "short")
    _, told = session.communicate(timeout=60)
    assert session.returncode == 255
    assert "Your machine has been stopped." in told


def test_sessions_live_on_when_the_hub_is_restarted(hub, zoe):
    session = zoe.begin("box", "while read word; do echo $word; done")
    assert say(session)
    before = gateways(hub)
    hub.terminate()
    assert say(session)
    hub.start()
    hub.until(lambda: gateways(hub) - before, "there is a new gateway")
    assert say(session)
    hub.until(lambda: zoe.ssh("box", "echo new").stdout == "new\n", "new ones get in")
    session.stdin.close()
    assert session.wait(30) == 0
    hub.until(lambda: not gateways(hub) & before, "the old gateway goes with its last session")


def gateways(hub):
    import psutil

    state = str(hub.directory / "state")
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        try:
            if (
                "gpubox.ssh.gateway" in (process.info["cmdline"] or [])
                and process.environ().get("GPUBOX_DIR") == state
            ):
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


def test_the_host_key_is_kept_for_its_owners_eyes(hub, zoe):
    key = hub.directory / "state/ssh_host_ed25519_key"
    assert key.stat().st_mode & 0o777 == 0o600
    told = keys_api(hub, token_of(hub, "zoe"), "GET").json()["gateway"]
    known = subprocess.run(
        ["ssh-keygen", "-lf", str(zoe.directory / "known_hosts")], capture_output=True, text=True
    )
    assert told["fingerprint"] in known.stdout and told["port"] == hub.ssh_port


def test_a_machine_may_not_change_its_users_keys(hub, zoe, make_laptop):
    """Its token is in every process there: whoever reads it once would be in for ever."""
    token = zoe.ssh("box", "echo $JUPYTERHUB_API_TOKEN").stdout.strip()
    stranger = make_laptop("zoe", known=False)
    refused = keys_api(hub, token, "POST", json={"key": stranger.public_key})
    assert refused.status_code == 403, refused.text
    assert keys_api(hub, token, "DELETE", f"api/keys/{zoe.number}").status_code == 403
    assert json.loads(keys_api(hub, token, "GET").text)["keys"]
