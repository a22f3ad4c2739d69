"""Training with no browser open is not culled, an idle GPU is: the stock culler against a real hub."""

import pytest

from simgpu import SimulatedDriver

CULLER = """
import sys
c.JupyterHub.services.append({"name": "culler", "command": [
    sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=8", "--cull-every=1"]})
c.JupyterHub.load_roles.append({"name": "culler", "services": ["culler"], "scopes": [
    "list:users", "read:users:activity", "read:servers", "delete:servers"]})
c.Spawner.environment = {"JUPYTERHUB_ACTIVITY_INTERVAL": "1"}
c.Spawner.args = ["--GPUPanel.unwatched_seconds=1", "--GPUPanel.process_seconds=1"]
"""


@pytest.fixture
def driver(docker_client):
    with SimulatedDriver("2xH100") as driver:
        yield driver


@pytest.fixture
def hub(make_hub, driver):
    return make_hub(environment=driver.environment(), extra_config=CULLER).start()


def test_a_working_gpu_keeps_its_server_and_an_idle_one_does_not(hub, driver):
    driver.gpus[0].set(utilisation=90)
    driver.gpus[1].set(utilisation=90)
    for user in ("alice", "bob"):
        hub.run(user, "h100")
    by_uuid = {gpu.uuid: gpu for gpu in driver.gpus}
    gpu_of = {user: by_uuid[uuid] for user, (uuid,) in hub.gpus_held().items()}

    gpu_of["bob"].set(utilisation=1)
    hub.until(lambda: not hub.server("bob"), "bob's idle server is culled", 60)
    assert hub.is_ready("alice")

    gpu_of["alice"].set(utilisation=0)
    hub.until(lambda: not hub.server("alice"), "alice's server is culled once its GPU is idle", 60)
