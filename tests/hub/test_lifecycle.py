"""From request to release, with a real hub, a real engine and the simulated driver."""

import json
import subprocess
import threading

import pytest
import requests

from fixtures.engine import IMAGE, STAND_IN_SERVER
from fixtures.hub import CPU, H100
from simgpu import SimulatedDriver


@pytest.fixture
def driver(docker_client):
    with SimulatedDriver("2xH100") as driver:
        yield driver


@pytest.fixture
def hub(make_hub, driver):
    return make_hub(environment=driver.environment()).start()


LIST_GPUS = """
import json, pynvml
pynvml.nvmlInit()
handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
print(json.dumps([pynvml.nvmlDeviceGetUUID(handle) for handle in handles]))
"""


def visible_gpus(container):
    """The GPUs that a program in the box sees."""
    code, output = container.exec_run(["python3", "-c", LIST_GPUS])
    assert code == 0, output.decode()
    return json.loads(output)


def test_a_box_sees_exactly_the_gpu_of_its_lease(hub):
    hub.run("alice", "h100")
    assert visible_gpus(hub.container("alice")) == hub.gpus_held()["alice"]
    assert len(hub.gpus_held()["alice"]) == 1


def test_two_at_once_get_different_gpus_and_the_third_waits_and_starts_when_one_stops(hub):
    for user in ("alice", "bob"):
        assert hub.ask_for(user, "h100").ok
    for user in ("alice", "bob"):
        hub.until(lambda user=user: hub.is_ready(user), f"{user} is ready", 90)
    held = hub.gpus_held()
    assert held["alice"] != held["bob"]
    assert visible_gpus(hub.container("bob")) == held["bob"]

    assert hub.ask_for("carol", "h100").status_code == 202
    assert hub.place("carol") == 1
    hub.stop("alice")
    hub.until(lambda: hub.is_ready("carol"), "carol is ready", 90)
    assert hub.gpus_held()["carol"] == held["alice"]


def test_a_cpu_box_sees_no_gpu(hub):
    hub.run("alice", "cpu")
    code, output = hub.container("alice").exec_run(["sh", "-c", "ls /dev/nvidia* 2>&1"])
    assert code != 0, output
    assert hub.gpus_held() == {"alice": []}


def test_cancel_in_line_leaves_nothing_behind(hub):
    hub.run("alice", "h100")
    hub.run("bob", "h100")
    hub.ask_for("carol", "h100")
    assert hub.place("carol") == 1
    hub.stop("carol")
    assert set(hub.gpus_held()) == {"alice", "bob"}
    assert len(hub.open_leases()) == 2
    hub.stop("alice")
    assert set(hub.gpus_held()) == {"bob"}


def test_named_servers_of_one_user_are_machines_of_their_own(hub):
    hub.run("alice", "h100", "train", display_name='say "hi" / <b>')
    hub.run("alice", "h100", "eval")
    train, evaluate = hub.container("alice", "train"), hub.container("alice", "eval")
    assert visible_gpus(train) != visible_gpus(evaluate)
    train.exec_run(["sh", "-c", "echo mine > /home/jovyan/note"])
    assert evaluate.exec_run(["cat", "/home/jovyan/note"]).output == b"mine\n"
    hub.stop("alice", "train")
    assert len(hub.open_leases()) == 1


def test_what_a_user_saved_outlives_the_container(hub):
    hub.run("alice", "cpu")
    hub.container("alice").exec_run(["sh", "-c", "echo kept > /home/jovyan/note"])
    hub.stop("alice")
    assert not hub.containers(all=True)
    hub.run("alice", "cpu")
    assert hub.container("alice").exec_run(["cat", "/home/jovyan/note"]).output == b"kept\n"


def test_limits_of_the_machine_type_hold_in_the_container(hub):
    hub.run("alice", "cpu")
    attributes = hub.container("alice").attrs
    config = attributes["HostConfig"]
    assert config["Memory"] == 2**30
    assert config["CpuQuota"] == 2 * config["CpuPeriod"]
    assert config["PidsLimit"] == 4096
    assert config["Init"] is True
    assert config["Privileged"] is False
    assert not any("docker.sock" in bind for bind in config["Binds"])
    assert hub.container("alice").exec_run(["id", "-u"]).output.strip() != b"0"


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        ("no-such", "There is no machine type 'no-such' here."),
        ("a100", "No A100"),
        ("h100x9", "9"),
        ("members", "is for members of vision"),
        ("imageless", "gpubox/nothing:here"),
    ],
)
def test_what_can_never_start_is_refused_at_once_with_a_sentence(make_hub, driver, machine, sentence):
    hub = make_hub(
        environment=driver.environment(),
        machines=[
            CPU,
            {"name": "a100", "title": "1x A100", "gpu": "A100"},
            {"name": "h100x9", "title": "9x H100", "gpu": "H100", "count": 9},
            {"name": "members", "title": "Members", "groups": ["vision"]},
            {"name": "imageless", "title": "Imageless", "image": "gpubox/nothing:here"},
        ],
    ).start()
    hub.ask_for("alice", machine)
    assert sentence in hub.failure("alice")
    assert not hub.open_leases() and not hub.containers(all=True)


def test_a_server_that_dies_gives_its_gpu_back(hub):
    hub.run("alice", "h100")
    hub.container("alice").kill()
    hub.until(lambda: not hub.open_leases(), "the lease is closed", 60)
    hub.run("alice", "h100")


def test_a_lost_gpu_is_not_handed_out_again(hub, driver):
    hub.run("alice", "h100")
    lost = hub.gpus_held()["alice"][0]
    next(gpu for gpu in driver.gpus if gpu.uuid == lost).lose()
    hub.until(lambda: ") is lost:" in hub.log.read_text(), "the pool knows of it")
    hub.stop("alice")
    hub.run("bob", "h100")
    hub.ask_for("carol", "h100")
    assert hub.place("carol") == 1
    assert hub.gpus_held()["bob"] != [lost]


def test_the_line_and_the_place_outlive_a_restart_of_the_hub(hub):
    hub.run("alice", "h100")
    hub.run("bob", "h100")
    hub.ask_for("carol", "h100")
    assert hub.place("carol") == 1
    (ticket,) = [lease["id"] for lease in hub.open_leases() if not lease["granted_at"]]
    hub.kill()
    hub.start()
    assert requests.get(f"{hub.url}/user/alice/api", timeout=10).ok
    hub.ask_for("carol", "h100")
    assert [lease["id"] for lease in hub.open_leases() if not lease["granted_at"]] == [ticket]
    hub.stop("bob")
    hub.until(lambda: hub.is_ready("carol"), "carol is ready", 90)


def test_the_ledger_may_be_in_postgresql(make_hub, driver, postgres_url):
    hub = make_hub(
        environment=driver.environment(), extra_config=f"c.GPUHub.database_url = {postgres_url!r}\n"
    )
    hub.database_url = postgres_url
    hub.start()
    hub.run("alice", "h100")
    hub.run("bob", "h100")
    hub.ask_for("carol", "h100")
    assert hub.place("carol") == 1
    held = hub.gpus_held()
    hub.kill()
    hub.start()
    assert hub.gpus_held() == held
    hub.ask_for("carol", "h100")
    hub.stop("alice")
    hub.until(lambda: hub.is_ready("carol"), "carol is ready", 90)
    assert hub.gpus_held()["carol"] == held["alice"]


def test_a_database_that_cannot_be_opened_stops_the_hub_with_a_sentence(make_hub, driver):
    hub = make_hub(
        environment=driver.environment(),
        extra_config='c.GPUHub.database_url = "sqlite:////no/such/directory/ledger.sqlite"\n',
    )
    hub.launch()
    assert hub.process.wait(60) != 0
    assert "c.GPUHub.database_url" in hub.tail(20)
    assert "Traceback" not in hub.tail(20)


def test_a_second_hub_over_the_same_ledger_is_refused_and_the_first_runs_on(make_hub, hub, driver):
    state = {"GPUBOX_DIR": str(hub.directory / "state")}
    second = make_hub(environment=driver.environment() | state)
    second.launch()
    assert second.process.wait(60) != 0
    assert "Another hub uses the database of leases" in second.tail(20)
    assert "Traceback" not in second.tail(20)
    hub.run("alice", "h100")


def test_a_wrong_machine_type_stops_the_hub_at_start_with_entry_and_field(make_hub, driver):
    hub = make_hub(environment=driver.environment(), machines=[CPU, {"title": "Big", "memory": "lots"}])
    hub.launch()
    assert hub.process.wait(60) != 0
    log = hub.tail(20)
    assert "c.GPUSpawner.machines[1] ('Big'), field 'memory'" in log
    assert "Traceback" not in log


def test_a_second_click_starts_no_second_machine(hub):
    hub.ask_for("alice", "h100")
    again = hub.ask_for("alice", "h100")
    assert again.status_code in (202, 400)
    hub.until(lambda: hub.is_ready("alice"), "alice is ready", 90)
    assert len(hub.open_leases()) == 1 and len(hub.containers(all=True)) == 1


def test_no_token_is_on_a_command_line(hub):
    hub.run("alice", "cpu")
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    environment = dict(entry.split("=", 1) for entry in hub.container("alice").attrs["Config"]["Env"])
    assert environment["JUPYTERHUB_API_TOKEN"]
    assert environment["JUPYTERHUB_API_TOKEN"] not in listing
    assert environment["JUPYTERHUB_API_TOKEN"] not in hub.log.read_text()


def test_a_user_without_a_choice_gets_the_first_machine_type(hub):
    hub.run("alice", None)
    assert hub.open_leases()[0]["machine"] == "cpu"


def test_a_machine_is_stopped_when_its_time_is_over(make_hub, driver):
    hub = make_hub(environment=driver.environment(), machines=[{**H100, "time_limit": "8h"}]).start()
    hub.run("alice", "h100")
    hub.run("bob", "h100")
    hub.kill()
    hub.sql("UPDATE lease SET ends_at = ends_at - 8 * 3600 WHERE \"user\" = 'alice'")
    hub.start()
    hub.until(lambda: "alice" not in hub.gpus_held(), "alice's time is over")
    assert not hub.server("alice") and hub.is_ready("bob")


def test_a_gpu_with_an_xid_that_asks_for_a_reset_is_not_handed_out(make_hub, driver):
    hub = make_hub(environment=driver.environment(), extra_config="c.GPUHub.watch_xid = True\n").start()
    broken, sound = driver.gpus
    driver.xid(broken, 79)
    hub.until(lambda: ") is lost:" in hub.log.read_text(), "the pool knows of it", 20)
    hub.run("alice", "h100")
    assert hub.gpus_held()["alice"] == [sound.uuid]
    hub.ask_for("bob", "h100")
    assert hub.place("bob") == 1


SLOW_TO_STOP = f"""
c.DockerSpawner.image = {IMAGE!r}
c.DockerSpawner.cmd = {[part.replace("sub { exit 0 }", "'IGNORE'") for part in STAND_IN_SERVER]!r}
"""


def test_one_slow_call_to_the_engine_holds_up_nobody_else(make_hub, driver):
    hub = make_hub(environment=driver.environment(), extra_config=SLOW_TO_STOP).start()
    hub.run("alice", "cpu")
    # Her server ignores SIGTERM, so that the engine waits ten seconds before it kills it.
    stopping = threading.Thread(target=hub.api, args=("DELETE", "/users/alice/server"))
    stopping.start()
    hub.until(lambda: hub.server("alice").get("pending") == "stop", "alice's server is stopping")
    hub.run("bob", "cpu")
    assert hub.server("alice").get("pending") == "stop"
    stopping.join()


DROPS_GPU_REQUESTS = """
from gpubox.engines.docker import DockerGPUSpawner

class LikePodman(DockerGPUSpawner):
    def docker(self, method, *args, **kwargs):
        if method == "create_container":
            kwargs["host_config"].pop("DeviceRequests", None)
        return super().docker(method, *args, **kwargs)

c.JupyterHub.spawner_class = LikePodman
"""


def test_a_machine_that_the_engine_starts_without_its_gpu_is_refused(make_hub, driver):
    hub = make_hub(environment=driver.environment(), extra_config=DROPS_GPU_REQUESTS).start()
    hub.ask_for("alice", "h100")
    assert "0 of its 1 GPUs" in hub.failure("alice")
    hub.until(lambda: not hub.containers(all=True), "the container is gone")
    hub.until(lambda: not hub.open_leases(), "the lease is closed")
