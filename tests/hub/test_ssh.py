"""SSH into a real machine, a container of the image: what only that shows."""

import hashlib
import os

import pexpect
import pytest
import requests

from fixtures.ssh import Laptop, keys_api, token_of

TAG = os.environ.get("GPUBOX_IMAGE_TAG", "latest")
MACHINES = [{"name": "cpu", "title": "CPU", "cpus": 2, "memory": "2G", "image": f"gpubox/cpu:{TAG}"}]


@pytest.fixture(scope="module")
def hub(make_module_hub):
    return make_module_hub(machines=MACHINES, ssh=True).start()


@pytest.fixture(scope="module")
def alice(hub, tmp_path_factory):
    laptop = Laptop(tmp_path_factory.mktemp("laptop") / "home", hub, "alice")
    hub.until(lambda: requests.get(f"{hub.url}/services/gpubox/health", timeout=5).ok, "the service serves")
    answer = keys_api(hub, token_of(hub, "alice"), "POST", json={"key": laptop.public_key})
    assert answer.status_code == 201, answer.text
    hub.until(lambda: "gpubox ssh] SSH at port" in hub.tail(1000), "the gateway listens")
    return laptop


def test_a_container_without_rights_takes_sessions_and_terminals(hub, alice):
    first = alice.ssh("box", "id -un; grep -c Seccomp:.*2 /proc/self/status; grep CapEff /proc/self/status")
    assert first.stdout == "jovyan\n1\nCapEff:\t0000000000000000\n", first.stderr

    shell = pexpect.spawn(
        "ssh", ["-F", str(alice.config), "box"], env=alice.environment, dimensions=(30, 100), timeout=60
    )
    shell.sendline(
        "stty size; shopt -q login_shell && echo login-${0#-}; python -c 'import torch; print(1+1)'"
    )
    shell.expect("30 100")
    shell.expect("login-bash")
    shell.expect("\r\n2\r\n")
    shell.setwinsize(41, 123)
    shell.sendline("sleep 0.3; stty size")
    shell.expect("41 123")
    shell.sendline("sleep 300")
    shell.sendintr()
    shell.sendline("exit 5")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 5


def test_a_hundred_megabytes_arrive_as_they_were_sent(alice, tmp_path):
    here = tmp_path / "here"
    here.write_bytes(os.urandom(100_000_000))
    wanted = hashlib.sha256(here.read_bytes()).hexdigest()
    for copy in (["scp", "-q", "-F", str(alice.config)], ["rsync"]):
        told = alice.run(*copy, str(here), "box:there")
        assert told.returncode == 0, told.stderr
        assert alice.ssh("box", "sha256sum there").stdout.split()[0] == wanted
        told = alice.run(*copy, "box:there", str(tmp_path / "back"))
        assert told.returncode == 0, told.stderr
        assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == wanted
        assert alice.ssh("box", "rm there").returncode == 0


def test_sessions_live_on_when_the_hub_is_killed_and_nothing_is_left_of_them(hub, alice):
    session = alice.begin("box", "while read word; do echo $word; done; echo end")
    session.stdin.write("before\n")
    session.stdin.flush()
    assert session.stdout.readline() == "before\n"
    hub.kill()
    hub.start()
    told, _ = session.communicate("after\n", timeout=60)
    assert told == "after\nend\n"

    def left():
        processes = hub.container("alice").top()["Processes"]
        return [words for words in processes if "sshd" in words[-1]]

    hub.until(lambda: not left(), "every sshd has ended, and was waited for")
