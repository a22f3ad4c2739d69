"""The host helper beside a running hub: there with the first GPU machine, and through restarts."""

import json
import os

import pytest

from simgpu import SimulatedDriver

ASK = """
import socket
helper = socket.socket(socket.AF_UNIX)
helper.settimeout(30)
helper.connect("/run/gpubox/host-helper.sock")
helper.sendall(b'{"pids": %s}\\n')
print(helper.makefile().readline())
"""
WITHOUT = "c.DockerGPUSpawner.host_helper = False\n"
NO_IMAGE = """
c.DockerSpawner.image = "gpubox/no-such-image"
for machine in c.GPUSpawner.machines:
    machine["image"] = "gpubox/cpu:" + os.environ.get("GPUBOX_IMAGE_TAG", "latest")
"""


@pytest.fixture
def make(make_hub, docker_client):
    with SimulatedDriver("2xH100") as driver:
        yield lambda **options: make_hub(environment=driver.environment(), **options)


def helper(hub):
    """The one that runs; None while there is none."""
    found = hub.helpers()
    assert len(found) <= 1
    return found[0] if found and found[0].status == "running" else None


def mounts(box):
    return [mount["Destination"] for mount in box.attrs["Mounts"]]


def told(box):
    """What the helper says when the box asks for its own processes and for this test; None if nothing."""
    pids = [int(line[1]) for line in box.top()["Processes"]]
    code, answer = box.exec_run(["python3", "-c", ASK % str([*pids, os.getpid()])])
    return json.loads(answer)["pids"] if code == 0 else None


def test_a_gpu_machine_learns_its_processes_and_nothing_stops_the_helper(make):
    hub = make().start()
    hub.run("carol", "cpu")
    assert hub.helpers() == [] and "/run/gpubox" not in mounts(hub.container("carol"))

    hub.run("alice", "h100")
    first = hub.until(lambda: helper(hub), "the helper runs")
    answer = hub.until(lambda: told(hub.container("alice")), "the helper answers")
    assert 1 in answer.values() and str(os.getpid()) not in answer

    # A helper that has died is back with a round, and with it the answers to the box that runs.
    first.remove(force=True)
    second = hub.until(lambda: helper(hub), "the helper is back")
    hub.until(lambda: told(hub.container("alice")), "it answers")

    # A hub that was killed finds it again, and leaves it alone.
    hub.kill()
    hub.start()
    hub.run("bob", "h100")
    assert helper(hub).id == second.id
    assert "no server claims it" not in hub.tail(1000)
    assert "could not be started" not in hub.tail(1000)
    assert {lease["user"] for lease in hub.open_leases()} == {"alice", "bob", "carol"}


def test_two_hubs_on_one_engine_have_a_helper_each(make):
    one, two = make().start(), make().start()
    one.run("alice", "h100")
    two.run("bob", "h100")

    assert helper(one).id != helper(two).id
    one.until(lambda: told(one.container("alice")), "the first answers")
    two.until(lambda: told(two.container("bob")), "the second answers")


def test_a_hub_may_do_without(make):
    hub = make(extra_config=WITHOUT).start()
    hub.run("alice", "h100")
    assert hub.helpers() == [] and "/run/gpubox" not in mounts(hub.container("alice"))


def test_a_helper_that_cannot_start_is_one_line_in_the_log_and_machines_start(make):
    hub = make(extra_config=NO_IMAGE).start()
    hub.run("alice", "h100")
    hub.run("bob", "h100")

    assert hub.is_ready("alice") and hub.is_ready("bob") and hub.helpers() == []
    assert hub.tail(1000).count("The host helper could not be started") == 1
