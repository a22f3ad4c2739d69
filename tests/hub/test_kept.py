"""Machines that are kept when they stop: on a real engine, with simulated GPUs and a small server in them."""

import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest
import requests

from fixtures.engine import IMAGE, STAND_IN_SERVER
from simgpu import SimulatedDriver
from simgpu.nodes import CDI_DIRECTORY

CPU = {"name": "kept-cpu", "title": "Kept CPU", "cpus": 1, "memory": "256M", "persistent": True}
H100 = {"name": "kept-h100", "title": "Kept H100", "gpu": "H100", "memory": "512M", "persistent": True}
ROOT = {**CPU, "name": "kept-root", "title": "Kept with root", "root": True}
PLAIN = {"name": "plain", "title": "Plain H100", "gpu": "H100"}
OWN = f"gpubox-test/kept-{os.getpid()}"
CONFIG = f"""
c.DockerSpawner.image = "{OWN}:now"
c.DockerSpawner.cmd = {STAND_IN_SERVER!r}
c.GPUHub.rules = [{{"users": ["dora"], "kept": "1M", "words": "Ask Dr. Ada."}}]
c.Spawner.environment = {{"ODD": "two\\nlines and 'quotes' $(reboot)"}}
"""


@pytest.fixture(scope="module")
def driver():
    with SimulatedDriver("2xH100") as driver:
        yield driver


WITHOUT_CDI = """
from gpubox.engines.keeping import KeepingSpawner
async def nowhere(spawner):
    return None
KeepingSpawner._spec_files = nowhere  # in place of an engine whose directories the hub may not write to
"""


@pytest.fixture(scope="module")
def now(docker_client):
    """An image of the test's own, as its machines start from."""
    docker_client.images.get(IMAGE).tag(OWN, "now")
    yield
    docker_client.images.remove(f"{OWN}:now", force=True)


@pytest.fixture(scope="module")
def hub(make_module_hub, driver, now):
    hub = make_module_hub(
        machines=[CPU, H100, ROOT, PLAIN],
        users=("alice", "bob", "carol", "dora"),
        environment=driver.environment(),
        extra_config=CONFIG,
    )
    yield hub.start()
    hub.stop_all()


def leave(hub, user, server=""):
    """Write a file outside the home, as an installation would."""
    code, output = hub.container(user, server).exec_run(["sh", "-c", "echo left >/opt/file"], user="root")
    assert code == 0, output


@pytest.fixture
def left(hub):
    """What alice has left, by this test or one before."""
    if not any(box.name == f"{hub.prefix}-alice-" for box in hub.containers(all=True)):
        hub.run("alice", "kept-h100")
        leave(hub, "alice")
        hub.stop("alice")
    return hub.container("alice")


def is_left(hub, user, server=""):
    return hub.container(user, server).exec_run(["cat", "/opt/file"]).output == b"left\n"


def token(hub, user, server=""):
    """The token that the running server has, from its own environment."""
    script = "cat /proc/$(pidof perl)/environ"
    told = hub.container(user, server).exec_run(["sh", "-c", script]).output.decode()
    environment = dict(pair.split("=", 1) for pair in told.split("\0") if pair)
    assert environment["ODD"] == "two\nlines and 'quotes' $(reboot)"
    return environment["JUPYTERHUB_API_TOKEN"]


def is_taken(hub, token):
    """Whether the hub takes a token."""
    answer = requests.get(f"{hub.url}/hub/api/user", headers={"Authorization": f"token {token}"}, timeout=30)
    return answer.status_code == 200


def nodes(hub, driver, user, server=""):
    """The GPUs of which the container has the device, by UUID."""
    listed = hub.container(user, server).exec_run(["sh", "-c", "ls /dev/nvidia[0-9]*"]).output.decode()
    return [gpu.uuid for gpu in driver.gpus if f"/dev/nvidia{gpu.minor}" in listed.split()]


def specs(hub):
    return list(CDI_DIRECTORY.glob(f"gpubox-{hub.id}*"))


def kept_key(hub, user, server=""):
    return hub.container(user, server).id[:16]


def renew(hub):
    """Make the image anew."""
    box = hub.engine().containers.create(f"{OWN}:now")
    box.commit(OWN, "now")
    box.remove()


def gpubox(hub, *words):
    command = [Path(sys.executable).with_name("gpubox"), *words]
    environment = {**os.environ, "GPUBOX_DIR": str(hub.directory / "state")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_stopped_machine_is_there_again_on_another_gpu_with_another_token(hub, driver):
    hub.run("alice", "kept-h100")
    first, before = hub.gpus_held()["alice"], token(hub, "alice")
    assert nodes(hub, driver, "alice") == first and is_taken(hub, before)
    leave(hub, "alice")
    (spec,) = specs(hub)
    assert spec.stat().st_mode & 0o077 == 0 and before not in spec.read_text()
    hub.stop("alice")

    left = hub.container("alice")
    assert left.status == "exited"
    assert before not in str(left.attrs) and not is_taken(hub, before)
    assert specs(hub) == []
    with pytest.raises(docker.errors.APIError, match="unresolvable CDI devices"):
        left.start()  # its GPU is somebody else's by now

    hub.run("bob", "plain")
    assert hub.gpus_held()["bob"] == first
    hub.run("alice", "kept-h100")
    second = hub.gpus_held()["alice"]
    assert second != first and nodes(hub, driver, "alice") == second
    assert is_left(hub, "alice") and hub.container("alice").id == left.id
    assert token(hub, "alice") != before and is_taken(hub, token(hub, "alice"))
    hub.stop_all()


def test_it_is_started_as_another_type_and_no_other_than_fits(hub, driver, left):
    hub.run("alice", "kept-cpu")
    assert nodes(hub, driver, "alice") == [] and is_left(hub, "alice")
    config = hub.container("alice").attrs["HostConfig"]
    assert (config["Memory"], config["CpuQuota"], config["PidsLimit"]) == (256 * 2**20, 100_000, 4096)
    hub.stop("alice")
    for machine, words in (("plain", "does not keep what is installed"), ("kept-root", "made without root")):
        hub.ask_for("alice", machine)
        assert words in hub.failure("alice") and "start afresh" in hub.failure("alice")
        hub.until(lambda: not hub.server("alice"), "the start has ended")
    hub.run("alice", "kept-h100")
    config = hub.container("alice").attrs["HostConfig"]
    assert config["Memory"] == 512 * 2**20 and len(nodes(hub, driver, "alice")) == 1
    assert is_left(hub, "alice")
    hub.stop("alice")


def test_what_runs_outlives_the_hub_and_is_kept_when_it_ends_without_it(hub, driver, left):
    for user in ("alice", "bob"):
        hub.run(user, "kept-h100")
    leave(hub, "bob")
    gpu = hub.gpus_held()["bob"]
    hub.kill()
    hub.container("alice").kill()
    # What bob holds is in no ledger any more: the engine, and what was written for it, know.
    hub.sql("DELETE FROM lease_gpu WHERE lease_id IN (SELECT id FROM lease WHERE user = 'bob')")
    hub.sql("DELETE FROM lease WHERE user = 'bob'")
    hub.start()
    hub.until(lambda: list(hub.gpus_held()) == ["bob"], "the lease of what ended is closed")
    hub.until(lambda: len(specs(hub)) == 1, "its GPU is withdrawn")
    assert hub.server("bob")["ready"] and hub.gpus_held()["bob"] == gpu
    hub.stop("bob")
    assert hub.container("bob").status == "exited"
    for user in ("alice", "bob"):
        hub.run(user, "kept-cpu")
        assert is_left(hub, user)
        hub.stop(user)
    hub.api("DELETE", "/users/bob")


def test_a_start_that_is_cancelled_leaves_what_was_left(hub, left):
    hub.ask_for("alice", "kept-h100")
    hub.until(lambda: specs(hub), "it is being started")
    hub.stop("alice")
    hub.until(lambda: hub.container("alice").status == "exited", "it is stopped")
    hub.run("alice", "kept-cpu")
    assert is_left(hub, "alice")
    hub.stop("alice")


def test_afresh_deletes_the_machine_that_was_meant_and_no_later_one(hub, left):
    hub.run("alice", "kept-cpu", fresh=kept_key(hub, "alice"))
    assert hub.container("alice").id != left.id and not is_left(hub, "alice")
    leave(hub, "alice")
    hub.stop("alice")
    # The hub keeps the options of a start for those that bring none.
    hub.api("POST", "/users/alice/server")
    hub.until(lambda: hub.is_ready("alice"), "it runs again")
    assert is_left(hub, "alice")
    hub.stop("alice")
    hub.run("alice", "plain", fresh=kept_key(hub, "alice"))
    hub.stop("alice")
    hub.until(lambda: hub.containers(all=True) == [], "a plain machine is not kept")


def test_two_at_once_are_two_machines_and_go_with_their_servers_and_users(hub, driver):
    for server in ("", "two"):
        hub.run("carol", "kept-h100", server)
        leave(hub, "carol", server)
    held = [lease["gpus"] for lease in hub.open_leases()]
    assert sorted(held) == sorted(nodes(hub, driver, "carol", server) for server in ("", "two"))
    hub.stop_all()
    listing = gpubox(hub, "kept", "list").stdout
    assert "carol/two" in listing and "kept-h100" in listing and "an older one" not in listing
    renew(hub)
    assert gpubox(hub, "kept", "list").stdout.count("an older one") == 2
    assert "nothing to delete" in gpubox(hub, "kept", "prune", "--older", "1d", "--yes").stdout
    renamed = hub.api("PATCH", "/users/carol/servers/two", json={"name": "three"})
    assert renamed.status_code == 409 and "kept" in renamed.text

    hub.api("DELETE", "/users/carol/servers/two", json={"remove": True})
    hub.until(lambda: len(hub.containers(all=True)) == 1, "it goes with its server")
    done = gpubox(hub, "kept", "rm", "carol")
    assert done.returncode == 0 and hub.containers(all=True) == [], done.stderr
    assert gpubox(hub, "kept", "rm", "carol").stderr == "gpubox: Nothing is kept of carol.\n"

    hub.run("carol", "kept-cpu")
    hub.stop("carol")
    assert hub.api("DELETE", "/users/carol").status_code == 204
    assert hub.containers(all=True) == []


def test_with_as_much_kept_as_a_rule_lets_no_new_machine_is_made(hub):
    hub.run("dora", "kept-cpu")
    fill = "head -c 2000000 /dev/zero >/opt/big"
    assert hub.container("dora").exec_run(["sh", "-c", fill], user="root").exit_code == 0
    hub.stop("dora")
    hub.ask_for("dora", "kept-cpu", "two")
    assert "no new one is made" in hub.failure("dora", "two")
    hub.run("dora", "kept-cpu")  # what she has goes on
    hub.stop("dora")


def test_where_the_hub_can_give_no_gpus_machines_without_are_kept_all_the_same(make_hub, driver, now):
    hub = make_hub(machines=[CPU, H100], environment=driver.environment(), extra_config=CONFIG + WITHOUT_CDI)
    hub.start()
    hub.run("alice", "kept-cpu")
    before = token(hub, "alice")
    leave(hub, "alice")
    hub.stop("alice")
    assert before not in str(hub.container("alice").attrs) and not is_taken(hub, before)
    hub.run("alice", "kept-cpu")
    assert is_left(hub, "alice") and is_taken(hub, token(hub, "alice"))
    hub.ask_for("bob", "kept-h100")
    assert "may write CDI specifications" in hub.failure("bob")
