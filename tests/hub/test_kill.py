"""kill -9 of the hub in each phase of a start and a stop: nothing is lost, leaked or orphaned."""

import threading

import pytest
import requests

from simgpu import SimulatedDriver

PAUSING = """
import asyncio
from pathlib import Path
from gpubox.engines.docker import DockerGPUSpawner

class Pausing(DockerGPUSpawner):
    async def pause(self, phase):
        if self.user.name == "alice" and os.environ.get("PAUSE_AT") == phase:
            Path("paused").touch()
            await asyncio.Event().wait()

    async def run_pre_spawn_hook(self):
        await super().run_pre_spawn_hook()
        await self.pause("leased")

    async def create_object(self):
        made = await super().create_object()
        await self.pause("created")
        return made

    async def start_object(self):
        await super().start_object()
        await self.pause("started")

    async def _until_it_answers(self, where, timeout):
        await super()._until_it_answers(where, timeout)
        await self.pause("answers")

    async def stop_object(self):
        await self.pause("stopping")
        await super().stop_object()
        await self.pause("stopped")

    async def run_post_stop_hook(self):
        await self.pause("before release")
        await super().run_post_stop_hook()
        await self.pause("released")

c.JupyterHub.spawner_class = Pausing
"""

START_PHASES = ["leased", "created", "started", "answers"]
STOP_PHASES = ["stopping", "stopped", "before release", "released"]


@pytest.fixture
def hub(make_hub, docker_client):
    with SimulatedDriver("2xH100") as driver:
        yield make_hub(environment=driver.environment(), extra_config=PAUSING)


def paused(hub):
    return (hub.directory / "paused").exists()


def ask_to_stop(hub, user):
    """The request of a browser that is cut off when the hub dies."""
    try:
        hub.api("DELETE", f"/users/{user}/server")
    except requests.RequestException:
        pass


def consistent(hub):
    """Whether servers, leases and containers are the same set, and no GPU is held twice."""
    leases = hub.open_leases()
    held = [uuid for lease in leases for uuid in lease["gpus"]]
    servers = {user for user in ("alice", "bob") if hub.server(user).get("ready")}
    pending = {user for user in ("alice", "bob") if hub.server(user).get("pending")}
    containers = {box.labels["gpubox.user"] for box in hub.containers(all=True)}
    return (
        not pending
        and servers == {lease["user"] for lease in leases} == containers
        and len(held) == len(set(held))
    )


def answers(hub, user):
    """Whether a server can be reached by way of the hub."""
    return requests.get(f"{hub.url}/user/{user}/api", timeout=10).ok


def restart_and_settle(hub):
    hub.environment.pop("PAUSE_AT", None)
    hub.start()
    hub.until(lambda: consistent(hub), "servers, leases and containers agree", 60)
    assert "bob" in hub.gpus_held()
    assert answers(hub, "bob"), "bob's server was lost"
    # Both GPUs can be had: nothing leaked.
    if "alice" not in hub.gpus_held():
        hub.run("alice", "h100")
    assert len({uuid for uuids in hub.gpus_held().values() for uuid in uuids}) == 2


@pytest.mark.parametrize("phase", START_PHASES)
def test_hub_killed_in_a_start(hub, phase):
    hub.environment["PAUSE_AT"] = phase
    hub.start()
    hub.run("bob", "h100")
    hub.ask_for("alice", "h100")
    hub.until(lambda: paused(hub), f"alice's start is at '{phase}'", 30)
    began = [box.id for box in hub.containers() if box.labels["gpubox.user"] == "alice"]
    hub.kill()
    restart_and_settle(hub)
    # What runs by then goes on to be hers.
    assert phase in ("leased", "created") or [hub.container("alice").id] == began
    assert answers(hub, "alice")


@pytest.mark.parametrize("phase", STOP_PHASES)
def test_hub_killed_in_a_stop(hub, phase):
    hub.environment["PAUSE_AT"] = phase
    hub.start()
    hub.run("bob", "h100")
    hub.run("alice", "h100")
    threading.Thread(target=ask_to_stop, args=(hub, "alice"), daemon=True).start()
    hub.until(lambda: paused(hub), f"alice's stop is at '{phase}'", 30)
    hub.kill()
    restart_and_settle(hub)


@pytest.mark.parametrize("phase", START_PHASES)
def test_cancel_in_a_start(hub, phase):
    hub.environment["PAUSE_AT"] = phase
    hub.start()
    hub.run("bob", "h100")
    hub.ask_for("alice", "h100")
    hub.until(lambda: paused(hub), f"alice's start is at '{phase}'", 30)
    hub.stop("alice")
    hub.until(lambda: consistent(hub), "servers, leases and containers agree", 30)
    assert set(hub.gpus_held()) == {"bob"}


def test_what_the_hub_has_forgotten_is_put_in_order(hub):
    hub.start()
    hub.run("alice", "h100")
    hub.run("bob", "h100")
    hub.kill()
    hub.container("bob").remove(force=True)
    (hub.directory / "state" / "jupyterhub.sqlite").unlink()
    hub.start()
    hub.until(lambda: not hub.containers(all=True), "the container that no server claims is stopped")
    hub.until(lambda: not hub.open_leases(), "leases without a server are closed")


def test_gpus_of_running_servers_are_known_again_when_the_ledger_was_lost(hub):
    hub.start()
    hub.run("alice", "h100")
    held = hub.gpus_held()
    hub.kill()
    for file in (hub.directory / "state").glob("gpubox.sqlite*"):
        file.unlink()
    hub.start()
    hub.until(lambda: hub.gpus_held() == held, "alice's lease is written down")
    assert hub.is_ready("alice")
    hub.run("bob", "h100")
    assert hub.gpus_held()["bob"] != held["alice"]
