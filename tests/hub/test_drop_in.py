"""A config made for DockerSpawner, with one line changed: its options mean what they meant."""

import pytest
import requests

from fixtures.hub import free_ports
from simgpu import SimulatedDriver

# No call of gpubox.config.configure(): what a lab has today, and the one line.
PLAIN = """
c = get_config()
c.JupyterHub.spawner_class = "gpubox"
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.hub_ip = {gateway!r}
c.JupyterHub.cleanup_servers = False
c.JupyterHub.allow_named_servers = True
c.JupyterHub.db_url = "sqlite:///state/jupyterhub.sqlite"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.pid_file = "state/jupyterhub-proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allowed_users = {{"alice", "bob"}}
c.JupyterHub.services = [{{"name": "tester", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [{{"name": "tester", "services": ["tester"], "scopes": [
    "admin:users", "admin:servers", "admin:server_state", "access:servers"]}}]
c.DockerSpawner.image = "gpubox/cpu:latest"
c.DockerSpawner.network_name = "bridge"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.name_template = "{prefix}-{{username}}-{{servername}}"
c.DockerSpawner.volumes = {{"{prefix}-data-{{username}}": "/home/jovyan/data"}}
c.DockerSpawner.environment = {{"LAB": "vision"}}
c.DockerSpawner.extra_create_kwargs = {{"labels": {{"team": "vision"}}}}
c.DockerSpawner.extra_host_config = {{"sysctls": {{"net.ipv4.ip_unprivileged_port_start": "80"}}}}
c.DockerSpawner.mem_limit = "700M"
c.GPUHub.reconcile_seconds = 1
"""


@pytest.fixture
def hub(make_hub, docker_client):
    with SimulatedDriver("2xH100") as driver:
        hub = make_hub(environment=driver.environment(), users=("alice", "bob"))
        gateway = docker_client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
        (hub.directory / "state").mkdir(mode=0o700)
        hub.config.write_text(
            PLAIN.format(
                port=hub.port,
                hub_port=hub.hub_port,
                proxy_port=hub.proxy_port,
                gateway=gateway,
                token=hub.token,
                prefix=hub.prefix,
            )
        )
        yield hub


def add(hub, line):
    hub.config.write_text(hub.config.read_text() + line + "\n")
    return hub


def test_the_spawners_own_options_reach_the_container(hub):
    hub.start()
    hub.run("alice", "1x-h100")
    attributes = hub.container("alice").attrs
    config = attributes["HostConfig"]
    own = [bind for bind in config["Binds"] if not bind.startswith("gpubox-helper-")]
    assert own == [f"{hub.prefix}-data-alice:/home/jovyan/data:rw"]
    assert config["Sysctls"] == {"net.ipv4.ip_unprivileged_port_start": "80"}
    assert config["AutoRemove"] is False
    assert attributes["Config"]["Labels"]["team"] == "vision"
    assert "LAB=vision" in attributes["Config"]["Env"]
    assert len(hub.gpus_held()["alice"]) == 1


def test_a_general_limit_holds_where_the_machine_type_states_none(hub):
    add(hub, 'c.GPUSpawner.machines = [{"title": "Plain"}, {"title": "Large", "memory": "900M"}]').start()
    hub.run("alice", "plain")
    hub.run("bob", "large")
    assert hub.container("alice").attrs["HostConfig"]["Memory"] == 700 * 2**20
    assert hub.container("bob").attrs["HostConfig"]["Memory"] == 900 * 2**20


def test_a_container_that_is_kept_is_started_again_with_all_that_is_in_it(hub):
    hub.start()
    hub.run("alice", "cpu")
    first = hub.container("alice")
    first.exec_run(["touch", "/tmp/mine"])
    hub.stop("alice")
    assert hub.container("alice").status == "exited"
    hub.run("alice", "cpu")
    assert hub.container("alice").id == first.id
    assert hub.container("alice").exec_run(["ls", "/tmp/mine"]).exit_code == 0
    assert requests.get(f"{hub.url}/user/alice/api", timeout=10).ok


def test_a_kept_container_of_another_gpu_is_made_anew(hub):
    hub.start()
    hub.run("alice", "1x-h100")
    first, held = hub.container("alice"), hub.gpus_held()["alice"]
    hub.stop("alice")
    hub.run("bob", "1x-h100")
    assert hub.gpus_held()["bob"] == held
    hub.run("alice", "1x-h100")
    assert hub.container("alice").id != first.id
    assert hub.container("alice").labels["gpubox.gpus"] == hub.gpus_held()["alice"][0] != held[0]


def test_allowed_images_are_offered_and_others_refused(hub):
    add(hub, 'c.DockerSpawner.allowed_images = {"ours": "gpubox/cpu:latest", "base": "gpubox/base:trixie"}')
    hub.start()
    hub.run("alice", "cpu", image="ours")
    assert "JUPYTER_IMAGE_SPEC=gpubox/cpu:latest" in hub.container("alice").attrs["Config"]["Env"]
    hub.ask_for("bob", "cpu", image="evil/image")
    assert "not in allowed list" in hub.failure("bob")
    assert {lease["user"] for lease in hub.open_leases()} == {"alice"}


def test_two_hubs_on_one_engine_leave_each_others_containers_alone(hub, make_hub):
    hub.start()
    hub.run("alice", "cpu")
    other = make_hub(users=("alice", "bob"))
    (other.directory / "state").mkdir(mode=0o700)
    port, hub_port, proxy_port = free_ports(3)
    other.config.write_text(
        hub.config.read_text()
        .replace(str(hub.port), str(port))
        .replace(str(hub.hub_port), str(hub_port))
        .replace(str(hub.proxy_port), str(proxy_port))
        .replace(hub.prefix, other.prefix)
        .replace(hub.token, other.token)
    )
    other.url = f"http://127.0.0.1:{port}"
    other.start()
    other.run("bob", "cpu")
    rounds = "the other hub has compared its containers"
    other.container("bob").kill()
    other.until(lambda: not other.open_leases(), rounds)
    assert hub.is_ready("alice")
    assert hub.container("alice").status == "running"
