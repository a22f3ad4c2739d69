"""The engine restarted, frozen or failing under running servers: never taken for stopped ones."""

import pytest
import requests

from fixtures.engine import IMAGE, STAND_IN_SERVER
from simgpu import SimulatedDriver

OWN_ENGINE = f"""
c.JupyterHub.hub_ip = "127.0.0.1"
c.DockerSpawner.image = {IMAGE!r}
c.DockerSpawner.cmd = {STAND_IN_SERVER!r}
c.DockerSpawner.client_kwargs = {{"timeout": 3}}
c.Spawner.poll_interval = 1
c.Spawner.args = []
c.JupyterHub.init_spawners_timeout = 1
"""


@pytest.fixture
def driver(docker_client):
    with SimulatedDriver("2xH100") as driver:
        yield driver


def hub_on(make_hub, driver, engine_url):
    environment = {**driver.environment(), "DOCKER_HOST": engine_url}
    return make_hub(environment=environment, extra_config=OWN_ENGINE).start()


def rounds_pass(hub, count=3):
    """Wait until the hub has tried to reconcile so many times more."""
    before = hub.log.read_text().count("could not be compared")
    hub.until(
        lambda: hub.log.read_text().count("could not be compared") >= before + count,
        f"{count} rounds have passed",
    )


def test_a_restart_of_the_engine_ends_servers_and_frees_their_gpus(make_hub, driver, second_engine):
    hub = hub_on(make_hub, driver, second_engine.url)
    hub.run("alice", "h100")
    held = hub.gpus_held()
    second_engine.stop()
    rounds_pass(hub)
    assert hub.gpus_held() == held, "the engine was silent, and that was taken for 'stopped'"
    second_engine.start()
    hub.until(lambda: not hub.gpus_held(), "the leases of ended servers are closed")
    # The GPU is free before the hub has done with the stop, and until then it refuses a new start.
    hub.until(lambda: not hub.server("alice"), "the hub knows that alice's server has ended")
    hub.run("alice", "h100")


@pytest.mark.parametrize("second_engine", [True], indirect=True, ids=["live-restore"])
def test_servers_that_live_through_an_engine_restart_keep_their_gpus(make_hub, driver, second_engine):
    hub = hub_on(make_hub, driver, second_engine.url)
    hub.run("alice", "h100")
    held = hub.gpus_held()
    second_engine.kill()
    rounds_pass(hub)
    second_engine.start()
    hub.run("bob", "h100")
    assert hub.gpus_held()["alice"] == held["alice"]
    assert hub.is_ready("alice")
    assert requests.get(f"{hub.url}/user/alice/api", timeout=10).ok


def test_a_frozen_engine_is_not_taken_for_stopped_servers(make_hub, driver, second_engine):
    hub = hub_on(make_hub, driver, second_engine.url)
    hub.run("alice", "h100")
    held = hub.gpus_held()
    second_engine.freeze()
    rounds_pass(hub, 2)
    assert hub.api("GET", "/users").ok, "the hub hangs with the engine"
    assert hub.gpus_held() == held
    second_engine.thaw()
    hub.run("bob", "h100")
    assert hub.gpus_held()["alice"] == held["alice"] and hub.is_ready("alice")


def test_an_engine_that_answers_with_errors_is_not_taken_for_stopped_servers(
    make_hub, driver, second_engine, faulty_engine
):
    hub = hub_on(make_hub, driver, faulty_engine.url)
    hub.run("alice", "h100")
    held = hub.gpus_held()
    faulty_engine.failing.set()
    rounds_pass(hub)
    assert hub.gpus_held() == held
    hub.ask_for("bob", "h100")
    assert "container engine" in hub.failure("bob")
    faulty_engine.failing.clear()
    hub.run("bob", "h100")
    assert hub.gpus_held()["alice"] == held["alice"] and hub.is_ready("alice")


def test_a_stop_that_the_engine_fails_keeps_the_gpu_until_the_box_is_really_gone(
    make_hub, driver, second_engine, faulty_engine
):
    hub = hub_on(make_hub, driver, faulty_engine.url)
    hub.run("alice", "h100")
    held = hub.gpus_held()
    faulty_engine.failing.set()
    hub.api("DELETE", "/users/alice/server")
    rounds_pass(hub)
    assert hub.gpus_held() == held
    faulty_engine.failing.clear()
    hub.until(lambda: not hub.gpus_held(), "the orphan is stopped and its lease closed")
    assert not second_engine.client().containers.list()
